"""The slow line carries all bytes in order, and leaves nothing behind when it is closed under those that use it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from scripts.bench.shaped_link import ShapedLinks
from wire.line import Line

SENT = bytes(range(256)) * 400


@pytest.fixture
def links() -> Iterator[ShapedLinks]:
    links = ShapedLinks(Line.parse("100mbps/5ms"))
    yield links
    if links._thread.is_alive():
        links.close()


@pytest.fixture
def target() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)
        yield listening


def dialled(links: ShapedLinks, target: socket.socket) -> tuple[socket.socket, socket.socket]:
    host, _, port = links.open(f"127.0.0.1:{target.getsockname()[1]}").rpartition(":")
    near = socket.create_connection((host, int(port)), timeout=10)
    far, _ = target.accept()
    far.settimeout(10)
    return near, far


def all_of(source: socket.socket) -> bytes:
    return b"".join(iter(lambda: source.recv(1 << 16), b""))


def test_both_directions_carry_all_bytes_in_order_and_end_when_a_sender_does(
    links: ShapedLinks, target: socket.socket
) -> None:
    near, far = dialled(links, target)
    with near, far:
        for sender, receiver in ((near, far), (far, near)):
            sending = threading.Thread(target=sender.sendall, args=(SENT,))
            sending.start()
            assert receiver.makefile("rb").read(len(SENT)) == SENT
            sending.join()
        near.shutdown(socket.SHUT_WR)
        assert all_of(far) == b""


def test_a_line_that_is_closed_in_use_hangs_up_and_leaves_no_task(
    links: ShapedLinks, target: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    near, far = dialled(links, target)
    with near, far:
        near.sendall(SENT)
        assert far.recv(1)
        links.close()
        assert not links._thread.is_alive()
        with contextlib.suppress(ConnectionError):
            assert all_of(near) == b""
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


def test_a_target_that_is_down_ends_its_caller_s_connection_only(links: ShapedLinks, target: socket.socket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = f"127.0.0.1:{gone.getsockname()[1]}"
    host, _, port = links.open(address).rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as near:
        assert all_of(near) == b""
    near, far = dialled(links, target)
    with near, far:
        near.sendall(b"still here")
        assert far.makefile("rb").read(10) == b"still here"
