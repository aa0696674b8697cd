"""The audit log: append-only JSON lines, each chained to the one before by its hash; 0600, fsynced.

One line per decision; messages are folded into one line per (job, stage, channel, direction, kind) with
count, bytes and a running digest over each message's digest. Fail-closed: if a line cannot be written the
caller gets AuditError and must not act. Heads are signed and countersigned by the peers at job end, so that
no bank alone rewrites history.
Refuses content: fields are short texts and integers; a message is known by kind, size and digest only.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import RLock
from typing import Any, Literal

from mpc.domains import Domain
from mpc.errors import LocalError, PeerError, Reason
from party_node.records.store import HeadRow
from wire.signing import Identity, verify
from wire.spec.job import canonical

MAX_FIELD = 600          # characters of one field: room for a sentence, not for data
FLUSH_EVERY = 1024       # messages of one channel folded before their line is written
Direction = Literal["sent", "received"]
Field = str | int


class AuditError(LocalError):
    """The log could not be written, so what was to be logged must not happen."""


class AuditBroken(LocalError):
    """The log is not what was written; `line` (from 1) is the first bad one."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"audit log, line {line}: {what}",
                         "keep the file and tell the auditor and the peers: their signatures are evidence")
        self.line = line


@dataclass(frozen=True)
class Head:
    """The end of a log: how many lines, and the hash of the last one (hexadecimal)."""

    count: int
    hash: str


@dataclass(frozen=True)
class SignedHead:
    """A party's word on the end of its log at the end of a job."""

    party: str
    job: str
    count: int
    hash: str
    signature: bytes

    def signed_text(self) -> bytes:
        """What the signature covers."""
        return _head_text(self.party, self.job, self.count, self.hash)


_Key = tuple[str, str, str, str, str]  # job, stage, channel, direction, kind


@dataclass
class _Folded:
    count: int = 0
    size_bytes: int = 0
    digest: bytes = b"\0" * 32


def genesis(party: str) -> str:
    """The `prev` of a party's first line."""
    return hashlib.sha256(Domain.AUDIT.encode() + b"\0genesis\0" + party.encode()).hexdigest()


def line_hash(body: Mapping[str, Any]) -> str:
    """The hash of a line: over its canonical JSON without the field `hash`, so over `prev` too."""
    return hashlib.sha256(Domain.AUDIT.encode() + b"\0" + canonical(dict(body))).hexdigest()


def _head_text(party: str, job: str, count: int, head: str) -> bytes:
    return canonical({"party": party, "job": job, "count": count, "hash": head})


class AuditLog:
    """One party's log. Several processes may append (the daemon, a command): a file lock orders them."""

    def __init__(self, path: Path, party: str, clock: Callable[[], float] = time.time) -> None:
        """Open or make the log; AuditError if it cannot be opened or its last line is damaged."""
        self._party = party
        self._clock = clock
        self._mutex = RLock()
        self._folded: dict[_Key, _Folded] = {}
        self._head = Head(0, genesis(party))
        self._size = 0
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise AuditError(f"the audit log cannot be opened ({error.strerror})",
                             f"check the disk and the permissions of {path}") from None
        with self._mutex:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                self._catch_up()
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def event(self, kind: str, job: str = "", **fields: Field) -> Head:
        """Append one line, durably; returns the new head. AuditError: it was not written, so do not act."""
        for name, value in fields.items():
            if not isinstance(value, str | int) or (isinstance(value, str) and len(value) > MAX_FIELD):
                raise AuditError(f"the audit field {name} is not a short text or an integer")
        with self._mutex:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX)
                try:
                    self._catch_up()
                    return self._append(kind, job, fields)
                finally:
                    fcntl.flock(self._file, fcntl.LOCK_UN)
            except OSError as error:
                raise AuditError(f"the audit log cannot be written ({error.strerror})",
                                 "free disk space or mend the disk; nothing was done") from None

    def _append(self, kind: str, job: str, fields: Mapping[str, Field]) -> Head:
        body: dict[str, Any] = {
            "seq": self._head.count + 1,
            "at": datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds"),
            "kind": kind,
            "prev": self._head.hash,
        }
        if job:
            body["job"] = job
        if fields:
            body["fields"] = dict(fields)
        digest = line_hash(body)
        line = canonical({**body, "hash": digest}) + b"\n"
        try:
            if os.write(self._file, line) != len(line):
                raise OSError(0, "the disk is full")
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, self._size)  # half a line is no line
            raise
        self._head = Head(self._head.count + 1, digest)
        self._size += len(line)
        return self._head

    def _catch_up(self) -> None:
        """Read what another process appended; cut off a crash's torn half line (never acted upon)."""
        end = os.fstat(self._file).st_size
        if end < self._size:
            raise AuditError("the audit log became shorter while in use", "run: party-node audit verify")
        if end == self._size:
            return
        fresh = os.pread(self._file, end - self._size, self._size)
        whole = fresh[: fresh.rfind(b"\n") + 1]
        lines = whole.splitlines()
        if lines:
            try:
                last = json.loads(lines[-1])
                count, digest = last["seq"], last["hash"]
            except (ValueError, KeyError, TypeError):
                count, digest = -1, ""
            if count != self._head.count + len(lines) or not isinstance(digest, str):
                raise AuditError("the last line of the audit log is damaged", "run: party-node audit verify")
            self._head = Head(count, digest)
            self._size += len(whole)
        if len(whole) < len(fresh):
            os.ftruncate(self._file, self._size)
            self._append("audit.torn-line-removed", "", {"size_bytes": len(fresh) - len(whole)})

    # ------------------------------------------------------------------ messages

    def message(self, job: str, stage: str, channel: str, direction: Direction, kind: str,
                size_bytes: int, digest: bytes) -> None:
        """Fold one message, known by kind, size and SHA-256, into its channel's line (written by `flush`)."""
        with self._mutex:
            key = (job, stage, channel, direction, kind)
            folded = self._folded.setdefault(key, _Folded())
            folded.count += 1
            folded.size_bytes += size_bytes
            folded.digest = hashlib.sha256(Domain.AUDIT.encode() + b"\0" + folded.digest + digest).digest()
            if folded.count >= FLUSH_EVERY:
                self._flush_key(key)

    def flush(self, job: str) -> None:
        """Write the folded lines of `job`: at the end of each stage and when the job stops."""
        with self._mutex:
            for key in sorted(key for key in self._folded if key[0] == job):
                self._flush_key(key)

    def _flush_key(self, key: _Key) -> None:
        job, stage, channel, direction, kind = key
        folded = self._folded[key]
        self.event("messages", job, stage=stage, channel=channel, direction=direction, message=kind,
                   count=folded.count, size_bytes=folded.size_bytes, digest=folded.digest.hex())
        del self._folded[key]

    # ------------------------------------------------------------------ heads

    def head(self) -> Head:
        """The end of the log as this process knows it."""
        with self._mutex:
            return self._head

    def signed_head(self, identity: Identity, job: str) -> SignedHead:
        """Our word on the log's end, for the peers of `job` to countersign."""
        head = self.head()
        text = _head_text(self._party, job, head.count, head.hash)
        return SignedHead(self._party, job, head.count, head.hash, identity.sign(Domain.AUDIT_HEAD, text))

    def close(self) -> None:
        """Write what is folded and close the file."""
        with self._mutex:
            for job in sorted({key[0] for key in self._folded}):
                self.flush(job)
            os.close(self._file)


def countersign(
    identity: Identity, head: SignedHead, peer_public_hex: str, earlier: Iterable[HeadRow]
) -> tuple[bytes, HeadRow]:
    """Countersign a peer's head: the signature to send back, and the row to keep. PeerError blames the peer.

    `peer_public_hex`: its Ed25519 key as the signed spec names it. `earlier`: the peers' heads that we kept
    (`Store.heads(ours=False)`); a log never gets shorter, nor says something else at the same length.
    """
    if not verify(peer_public_hex, Domain.AUDIT_HEAD, head.signed_text(), head.signature):
        raise PeerError(head.party, "audit head", Reason.BAD_SIGNATURE)
    for row in earlier:
        if row.peer == head.party and (head.count < row.count
                                       or (head.count == row.count and head.hash != row.head)):
            raise PeerError(head.party, "audit head", Reason.BAD_AUDIT_HEAD)
    signature = identity.sign(Domain.AUDIT_COUNTERSIGN, head.signed_text())
    return signature, HeadRow(head.job, head.party, False, head.count, head.hash, head.signature)


def countersigned(ours: SignedHead, peer: str, peer_public_hex: str, signature: bytes) -> HeadRow:
    """Check a peer's countersignature on our head; the row to keep. PeerError if it is not the peer's."""
    if not verify(peer_public_hex, Domain.AUDIT_COUNTERSIGN, ours.signed_text(), signature):
        raise PeerError(peer, "audit head", Reason.BAD_SIGNATURE)
    return HeadRow(ours.job, peer, True, ours.count, ours.hash, signature)


def verify_log(path: Path, party: str, heads: Iterable[HeadRow] = ()) -> Head:
    """Check every line and the chain; AuditBroken names the first bad line.

    `heads`: our countersigned heads (`Store.heads(ours=True)`); a log shorter than one of them, or that says
    something else at that line, was cut or rewritten.
    """
    expected: dict[int, list[HeadRow]] = {}
    for row in heads:
        expected.setdefault(row.count, []).append(row)
    head = Head(0, genesis(party))
    try:
        file = path.open("rb")
    except OSError as error:
        raise AuditError(f"the audit log cannot be read ({error.strerror})", f"check {path}") from None
    with file:
        fcntl.flock(file, fcntl.LOCK_SH)  # never look at half a line that a running node is writing
        left = os.fstat(file.fileno()).st_size
        fcntl.flock(file, fcntl.LOCK_UN)
        for number, line in enumerate(file, start=1):
            if left <= 0:
                break
            left -= len(line)
            head = Head(number, _checked(number, line, head.hash))
            for row in expected.pop(number, []):
                if row.head != head.hash:
                    raise AuditBroken(number, f"{row.peer} countersigned another line: the log was rewritten")
    if expected:
        row = expected[min(expected)][0]
        raise AuditBroken(head.count + 1, f"missing, and {row.peer} countersigned line {row.count}")
    return head


def _checked(number: int, line: bytes, previous: str) -> str:
    """The hash of line `number` after all checks."""
    try:
        body = json.loads(line)
        digest = body.pop("hash")
        exact = canonical({**body, "hash": digest}) + b"\n"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise AuditBroken(number, "not a line of the log") from None
    if exact != line:
        raise AuditBroken(number, "not in the form in which it was written")
    if body.get("seq") != number:
        raise AuditBroken(number, "a line is missing or out of order")
    if body.get("prev") != previous:
        raise AuditBroken(number, "it does not follow from the line before")
    if line_hash(body) != digest:
        raise AuditBroken(number, "its content does not fit its hash")
    return str(digest)
