"""The audit log: every forgery is found at its line, and what cannot be logged does not happen."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.errors import PeerError, Reason
from party_node.records.audit import (
    AuditBroken,
    AuditError,
    AuditLog,
    countersign,
    countersigned,
    genesis,
    line_hash,
    verify_log,
)
from wire.signing import Identity
from wire.spec.job import canonical

JOB = "a" * 64


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def filled(path: Path, lines: int = 6) -> AuditLog:
    log = AuditLog(path, "bank-a")
    for number in range(lines):
        log.event("decision", JOB, number=number, verdict="allow")
    return log


def rewritten(lines: list[bytes], index: int, **changes: object) -> list[bytes]:
    """Line `index` with other fields and a hash that fits them: what a careful forger writes."""
    body = json.loads(lines[index])
    del body["hash"]
    body |= changes
    return [*lines[:index], canonical({**body, "hash": line_hash(body)}), *lines[index + 1:]]


FORGERIES: dict[str, tuple[int, Callable[[list[bytes]], list[bytes]]]] = {
    "a field is changed": (3, lambda ls: [*ls[:2], ls[2].replace(b"allow", b"denyx"), *ls[3:]]),
    "a line is changed with a fitting hash": (4, lambda ls: rewritten(ls, 2, kind="other")),
    "a line is deleted": (3, lambda ls: ls[:2] + ls[3:]),
    "two lines are swapped": (2, lambda ls: [ls[0], ls[2], ls[1], *ls[3:]]),
    "a line is repeated": (4, lambda ls: [*ls[:3], ls[2], *ls[3:]]),
    "the first line is deleted": (1, lambda ls: ls[1:]),
    "blanks are added inside a line": (2, lambda ls: [ls[0], ls[1].replace(b",", b", ", 1), *ls[2:]]),
    "a line is not JSON": (5, lambda ls: [*ls[:4], b"hello", ls[5]]),
    "a line is a list": (5, lambda ls: [*ls[:4], b"[]", ls[5]]),
    "a line is empty": (1, lambda ls: [b"", *ls]),
    "the chain of another party is shown": (1, lambda ls: rewritten(ls, 0, prev=genesis("bank-b"))),
}


@pytest.mark.parametrize("what", FORGERIES)
def test_the_first_bad_line_is_named_when(what: str, path: Path) -> None:
    filled(path).close()
    assert verify_log(path, "bank-a").count == 6
    line, forge = FORGERIES[what]
    path.write_bytes(b"\n".join(forge(path.read_bytes().splitlines())) + b"\n")
    with pytest.raises(AuditBroken) as caught:
        verify_log(path, "bank-a")
    assert caught.value.line == line
    assert f"line {line}" in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_changed_byte_goes_unseen(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("audit") / "audit.jsonl"
    filled(path, 3).close()
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with pytest.raises(AuditBroken):
        verify_log(path, "bank-a")


def test_a_cut_log_verifies_alone_but_not_against_the_countersigned_head(path: Path) -> None:
    mine, peer = Identity.generate(), Identity.generate()
    log = filled(path)
    head = log.signed_head(mine, JOB)
    signature, _ = countersign(peer, head, mine.public_hex, ())
    row = countersigned(head, "bank-b", peer.public_hex, signature)
    log.event("later")
    log.close()
    assert verify_log(path, "bank-a", [row]).count == 7
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:4]))
    assert verify_log(path, "bank-a").count == 4
    with pytest.raises(AuditBroken, match="bank-b countersigned line 6") as caught:
        verify_log(path, "bank-a", [row])
    assert caught.value.line == 5


def test_a_log_rewritten_from_the_start_does_not_fit_the_countersigned_head(path: Path) -> None:
    mine, peer = Identity.generate(), Identity.generate()
    log = filled(path)
    head = log.signed_head(mine, JOB)
    row = countersigned(head, "bank-b", peer.public_hex, countersign(peer, head, mine.public_hex, ())[0])
    path.unlink()
    forged = AuditLog(path, "bank-a")
    for number in range(8):
        forged.event("decision", JOB, number=number, verdict="deny")
    assert verify_log(path, "bank-a").count == 8
    with pytest.raises(AuditBroken, match="rewritten") as caught:
        verify_log(path, "bank-a", [row])
    assert caught.value.line == 6


HEADS = {
    "a stranger signed it": ({}, True, Reason.BAD_SIGNATURE),
    "its count was changed": ({"count": 9}, False, Reason.BAD_SIGNATURE),
    "its hash was changed": ({"hash": "00"}, False, Reason.BAD_SIGNATURE),
    "it is signed for another job": ({"job": "b" * 64}, False, Reason.BAD_SIGNATURE),
    "it is another party's": ({"party": "bank-c"}, False, Reason.BAD_SIGNATURE),
}


@pytest.mark.parametrize("what", HEADS)
def test_a_peers_head_is_not_countersigned_when(what: str, path: Path) -> None:
    changes, stranger, reason = HEADS[what]
    me, peer = Identity.generate(), Identity.generate()
    signer = Identity.generate() if stranger else peer
    head = replace(filled(path).signed_head(signer, JOB), **changes)
    with pytest.raises(PeerError) as caught:
        countersign(me, head, peer.public_hex, ())
    assert caught.value.reason is reason


def test_a_shorter_or_other_head_of_a_peer_is_refused(path: Path, tmp_path: Path) -> None:
    me, peer = Identity.generate(), Identity.generate()
    _, kept = countersign(me, filled(path).signed_head(peer, JOB), peer.public_hex, ())
    other = AuditLog(tmp_path / "other.jsonl", "bank-a")
    for count in (5, 6):
        while other.head().count < count:
            other.event("forged")
        with pytest.raises(PeerError) as caught:
            countersign(me, other.signed_head(peer, JOB), peer.public_hex, [kept])
        assert caught.value.reason is Reason.BAD_AUDIT_HEAD
    other.event("forged")
    countersign(me, other.signed_head(peer, JOB), peer.public_hex, [kept])


def test_a_countersignature_by_another_or_reflected_is_refused(path: Path) -> None:
    me, peer = Identity.generate(), Identity.generate()
    head = filled(path).signed_head(me, JOB)
    for signature in (countersign(Identity.generate(), head, me.public_hex, ())[0], head.signature, b""):
        with pytest.raises(PeerError):
            countersigned(head, "bank-b", peer.public_hex, signature)


def test_what_cannot_be_logged_does_not_happen(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = filled(path)
    before = path.read_bytes()

    def full(handle: int, data: bytes) -> int:
        real_write(handle, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    real_write = os.write
    with monkeypatch.context() as patch:
        patch.setattr("party_node.records.audit.os.write", full)
        with pytest.raises(AuditError, match="No space left"):
            log.event("decision", JOB)
    assert path.read_bytes() == before
    log.event("decision", JOB)
    assert verify_log(path, "bank-a").count == 7


def test_a_log_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="cannot be opened"):
        AuditLog(tmp_path / "absent" / "audit.jsonl", "bank-a")


def test_a_torn_last_line_is_removed_and_the_removal_is_logged(path: Path) -> None:
    filled(path).close()
    with path.open("ab") as file:
        file.write(b'{"seq":7,"at"')
    AuditLog(path, "bank-a").close()
    assert verify_log(path, "bank-a").count == 7
    assert b"torn-line-removed" in path.read_bytes().splitlines()[-1]


def test_two_processes_share_one_chain(path: Path) -> None:
    daemon, command = filled(path), AuditLog(path, "bank-a")
    for _ in range(3):
        daemon.event("one")
        command.event("two")
    assert verify_log(path, "bank-a") == command.head()
    assert command.head().count == 12


def test_a_log_cut_under_a_running_node_is_noticed_before_the_next_line(path: Path) -> None:
    log = filled(path)
    os.truncate(path, 10)
    with pytest.raises(AuditError, match="shorter"):
        log.event("decision")


def test_fields_take_no_content(path: Path) -> None:
    log = filled(path, 1)
    bad_values: list[object] = [b"bytes", [1, 2], 1.5, "x" * 601]
    for value in bad_values:
        with pytest.raises(AuditError, match="short text"):
            log.event("decision", JOB, value=value)  # type: ignore[arg-type]
    assert verify_log(path, "bank-a").count == 1


def test_messages_are_folded_with_every_digest(path: Path, tmp_path: Path) -> None:
    def last(digests: list[bytes], name: str) -> dict[str, object]:
        log = AuditLog(tmp_path / name, "bank-a")
        for digest in digests:
            log.message(JOB, "train", "bank-b", "sent", "Masked", 100, digest)
        log.message("b" * 64, "train", "bank-b", "sent", "Masked", 100, b"\2" * 32)
        log.flush(JOB)
        lines = (tmp_path / name).read_bytes().splitlines()
        assert len(lines) == 1  # the other job's messages are still folded
        fields: dict[str, object] = json.loads(lines[0])["fields"]
        return fields

    digests = [bytes([n]) * 32 for n in range(3)]
    fields = last(digests, "one")
    assert (fields["count"], fields["size_bytes"], fields["message"]) == (3, 300, "Masked")
    assert fields == last(digests, "same")
    assert fields["digest"] != last(digests[::-1], "order")["digest"]
    assert fields["digest"] != last([*digests[:2], b"\7" * 32], "other")["digest"]


def test_the_file_is_private(path: Path) -> None:
    filled(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
