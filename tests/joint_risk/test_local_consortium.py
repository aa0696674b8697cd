"""The local cluster starts its commands in another folder than the one it was called from; its ports are its own."""

from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from joint_risk.local_consortium import CommandFailed, LocalCluster, command_here, free_ports
from wire import command as wire_command
from wire.errors import Cancelled

SESSION = SimpleNamespace(program="coordinator", party="coordinator")


def test_a_relative_folder_stays_where_the_caller_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cluster = LocalCluster(Path("result"), [])
    assert cluster.directory("bank") == tmp_path / "result" / "bank"


def test_a_port_of_a_cluster_is_its_nodes_alone_even_while_they_are_down() -> None:
    (port,) = free_ports(1)
    for _ in range(2):   # a node that stops and starts again
        with socket.create_server(("127.0.0.1", port)):
            pass
        with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
            stranger.bind(("127.0.0.1", port))


@pytest.mark.parametrize(("stop", "seen"), [(KeyboardInterrupt(), KeyboardInterrupt),
                                            (Cancelled("bank-a is shutting down"), CommandFailed)])
def test_a_stop_at_the_keyboard_is_for_all_of_the_process(
    stop: BaseException, seen: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise stop

    monkeypatch.setattr("coordinator.__main__.run_command", lambda line: wire_command.run(stopped, line, SESSION))
    with pytest.raises(seen):
        command_here("coordinator", "jobs")
