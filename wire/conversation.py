"""One ordered conversation inside a job: sequence numbers, running transcript, window, fragments. No network.

  a message is cut into pieces of at most PIECE bytes; each piece travels in one envelope
  seq       counts envelopes per channel and direction, from 0, without gap
  previous  SHA-256 of the envelope before (of the agreed opening for seq 0): a running transcript of the direction
  window    the receiver holds at most `window` bytes that nobody has taken; the sender waits for credit

Rules for what arrives, in this order: it names the two of us and this job's approvals; its seq is the next one;
its previous is our running digest; it fits into the window. The first that fails is blamed on the sender.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from mpc.domains import Domain
from mpc.errors import MpcError, Reason
from wire import codec
from wire.codec import Envelope, Line, Malformed

PIECE = 256 << 10             # small enough that a ping is not held up for long on a slow line
REMEMBERED = 64               # digests of past envelopes, to tell a duplicate from other bytes
Failure = Callable[[], MpcError | None]


@dataclass(frozen=True)
class Place:
    """Where a conversation happens; its digest opens the transcript."""

    job: str
    approvals: bytes
    channel: str
    sender: str
    receiver: str

    def opening(self) -> bytes:
        """The `previous` of the first envelope. Every part has its length before it."""
        digest = hashlib.sha256(Domain.TRANSCRIPT.encode() + b"\0")
        names = (self.job, self.channel, self.sender, self.receiver)
        for part in (self.approvals, *(name.encode() for name in names)):
            digest.update(len(part).to_bytes(4, "little") + part)
        return digest.digest()


class Outgoing:
    """The sending half: numbers, chains, and waits for credit. `turn` keeps one message's pieces together."""

    def __init__(self, place: Place, window: int) -> None:
        self._place, self._window, self._room = place, window, window
        self._seq, self.transcript = 0, place.opening()
        self._changed = asyncio.Event()
        self.turn = asyncio.Lock()

    def credit(self, size: int) -> None:
        """The receiver has taken `size` bytes; Malformed if it cannot have."""
        if self._room + size > self._window:
            raise Malformed(Reason.OUT_OF_RANGE)
        self._room += size
        self._changed.set()

    def wake(self) -> None:
        """Let a waiting sender look at `failure` again."""
        self._changed.set()

    async def room(self, failure: Failure, timeout_s: float) -> None:
        """Wait for credit; raises what `failure` returns, or TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while self._room <= 0 and failure() is None:
                self._changed.clear()
                await self._changed.wait()
        if (error := failure()) is not None:
            raise error

    def wrap(self, line: Line, piece: bytes) -> bytes:
        """The next envelope, around a serialised body."""
        place = self._place
        header = Envelope(
            seq=self._seq, job=place.job, channel=place.channel, sender=place.sender, receiver=place.receiver,
            protocol=line.protocol, version=codec.VERSIONS[line.protocol],
            approvals=place.approvals, previous=self.transcript,
        )
        # Serialised messages of one type merge when they are joined: no second copy of the body.
        raw = header.SerializeToString() + piece
        self._seq += 1
        self.transcript = hashlib.sha256(raw).digest()
        self._room -= len(raw)
        return raw


@dataclass(frozen=True)
class Arrived:
    """One envelope that kept the rules, its size as it came, and the transcript up to and with it."""

    envelope: Envelope
    size: int
    transcript: bytes


class Incoming:
    """The receiving half: checks each envelope where it arrives, keeps it until somebody takes it."""

    def __init__(self, place: Place, window: int) -> None:
        self._place, self._window = place, window
        self._seq, self._previous = 0, place.opening()
        self._waiting: deque[Arrived] = deque()
        self._seen: deque[bytes] = deque(maxlen=REMEMBERED)
        self._held = self._uncredited = 0
        self._changed = asyncio.Event()

    def put(self, raw: bytes, envelope: Envelope) -> None:
        """Take over one envelope; Malformed says which rule it breaks."""
        place, digest = self._place, hashlib.sha256(raw).digest()
        if envelope.approvals != place.approvals:
            raise Malformed(Reason.OTHER_SPEC)
        if envelope.seq < self._seq:
            age = self._seq - envelope.seq
            known = age <= len(self._seen) and self._seen[-age] == digest
            raise Malformed(Reason.DUPLICATE if known else Reason.OTHER_BYTES)
        if envelope.seq > self._seq:
            raise Malformed(Reason.GAP)
        if envelope.previous != self._previous:
            raise Malformed(Reason.BAD_TRANSCRIPT)
        # One envelope may overshoot: the sender starts it while there is any room left.
        if self._held + self._uncredited >= self._window:
            raise Malformed(Reason.FLOODED)
        self._seq += 1
        self._previous = digest
        self._seen.append(digest)
        self._held += len(raw)
        self._waiting.append(Arrived(envelope, len(raw), digest))
        self._changed.set()

    def wake(self) -> None:
        """Let a waiting receiver look at `failure` again."""
        self._changed.set()

    def drop(self) -> None:
        """Nobody will take what has come."""
        self._waiting.clear()
        self._held = 0

    @property
    def empty(self) -> bool:
        return not self._waiting

    async def take(self, failure: Failure, timeout_s: float) -> tuple[Arrived, int]:
        """The next envelope and the credit that is now due to the sender (0: not yet worth an envelope).

        Raises what `failure` returns, or TimeoutError.
        """
        async with asyncio.timeout(timeout_s):
            while failure() is None and not self._waiting:
                self._changed.clear()
                await self._changed.wait()
        if (error := failure()) is not None:
            raise error
        arrived = self._waiting.popleft()
        self._held -= arrived.size
        self._uncredited += arrived.size
        credit = 0
        if self._uncredited >= self._window // 4:
            credit, self._uncredited = self._uncredited, 0
        return arrived, credit


class Assembly:
    """Puts the fragments of one message together, bounded by what the first one announced (codec.require_due)."""

    def __init__(self, first: Envelope) -> None:
        self._protocol, self._version, self._field = first.protocol, first.version, first.fragment.field
        self._total, self._parts, self._got = first.fragment.total_size, list[bytes](), 0
        if self._total <= PIECE:
            raise Malformed(Reason.WRONG_LENGTH)

    def add(self, envelope: Envelope) -> object | None:
        """The message, once its last fragment is in."""
        fragment = envelope.fragment
        if envelope.WhichOneof("body") != "fragment" or (fragment.total_size, fragment.field) != (
            self._total, self._field
        ):
            raise Malformed(Reason.WRONG_KIND)
        due = min(PIECE, self._total - self._got)
        if fragment.index != len(self._parts) or len(fragment.data) != due:
            raise Malformed(Reason.WRONG_LENGTH)
        self._parts.append(fragment.data)
        self._got += due
        if self._got < self._total:
            return None
        return codec.parse_body(self._protocol, self._version, self._field, b"".join(self._parts))


def pieces(line: Line, body: bytes) -> list[bytes]:
    """Serialised bodies of envelopes: the message of this line itself, or its fragments."""
    if len(body) <= PIECE:
        return [body]
    if len(body) > codec.MAX_MESSAGE:
        raise ValueError("a message is larger than the contract allows")
    view = memoryview(body)
    return [
        codec.fragment(line, index, len(body), bytes(view[start : start + PIECE]))
        for index, start in enumerate(range(0, len(body), PIECE))
    ]
