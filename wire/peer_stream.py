"""One connected stream with one peer, symmetrical after the dialling: greeting, proofs, reading, writing, heartbeat.

  dialler -> dialled   Hello: the instance, a nonce for this stream
  dialled -> dialler   Hello
  dialler -> dialled   Proof: the identity key over both greetings and the serial numbers of both certificates
  dialled -> dialler   Proof: the same, signer first; it says that the dialler is let in
Whoever holds a party's TLS key and not its identity key comes no further. Knows no job: what arrives is handed on; how
the stream ended is kept as a Reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from mpc.errors import PeerError, Reason
from mpc.link import PartyId
from wire import codec
from wire.awaited import first_of
from wire.codec import Envelope, Malformed
from wire.errors import to_public, to_wire
from wire.signing import Identity, StreamEnd, job_opened, open_job, prove_stream, stream_proven
from wire.v1 import peer_pb2

CONTRACT_VERSION = 2
INSTANCE_BYTES = NONCE_BYTES = 16
QUEUED = 64                    # envelopes waiting for the transport
FLUSH_S = 2.0

_log = structlog.get_logger("wire")
Read = Callable[[], Awaitable[bytes | None]]
Write = Callable[[bytes], Awaitable[None]]
Deliver = Callable[["PeerStream", bytes, Envelope], Awaitable[None]]


@dataclass(frozen=True)
class Keys:
    """What the two ends sign with, and which certificates (serial numbers, hexadecimal) they show each other."""

    ours: Identity
    our_serial: str
    theirs: str                    # their public identity key, from the consortium file
    their_serial: str


class PeerStream:
    """`read` gives None at the end of the stream; `read` and `write` may raise anything when it breaks."""

    def __init__(
        self, me: PartyId, peer: PartyId, instance: bytes, keys: Keys, read: Read, write: Write, deliver: Deliver
    ) -> None:
        self.me, self.peer = me, peer
        self.instance = b""                    # theirs, once they have greeted
        self.reason: Reason | None = None      # set once the stream has ended
        self._keys = keys
        self._ours = StreamEnd(me, keys.our_serial, instance, secrets.token_bytes(NONCE_BYTES))
        self._theirs = StreamEnd(peer, keys.their_serial, b"", b"")
        self._read, self._write, self._deliver = read, write, deliver
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(QUEUED)
        self._ended = asyncio.Event()
        self._heard = False

    @property
    def ended(self) -> bool:
        return self.reason is not None

    async def say_hello(self) -> None:
        """Ours: the one who dials says it first."""
        ours = self._ours
        hello = peer_pb2.Hello(instance=ours.instance, version=CONTRACT_VERSION, nonce=ours.nonce)
        await self._write(self._header(hello=hello).SerializeToString())

    async def hear_hello(self) -> None:
        """Theirs: PeerError unless the other side speaks this contract."""
        hello = (await self._hear("hello")).hello
        if hello.version != CONTRACT_VERSION:
            raise PeerError(self.peer, "greeting", Reason.WRONG_VERSION)
        if len(hello.instance) != INSTANCE_BYTES or len(hello.nonce) != NONCE_BYTES:
            raise PeerError(self.peer, "greeting", Reason.WRONG_KIND)
        self.instance = hello.instance
        self._theirs = StreamEnd(self.peer, self._keys.their_serial, hello.instance, hello.nonce)

    async def say_proof(self) -> None:
        """Ours: the one who dials says it first."""
        proof = peer_pb2.Proof(signature=prove_stream(self._keys.ours, self._ours, self._theirs))
        await self._write(self._header(proof=proof).SerializeToString())

    async def hear_proof(self) -> None:
        """Theirs: PeerError BAD_SIGNATURE unless the peer's identity key speaks, over the certificates of both ends."""
        signature = (await self._hear("proof")).proof.signature
        if not stream_proven(self._keys.theirs, self._theirs, self._ours, signature):
            raise PeerError(self.peer, "greeting", Reason.BAD_SIGNATURE)

    async def send_open(self, job: str, approvals: bytes) -> None:
        """Queue our opening of a job."""
        signature = open_job(self._keys.ours, self._ours, self._theirs, job, approvals)
        await self.send_body(job, open=peer_pb2.Open(signature=signature))

    def opened_alike(self, job: str, approvals: bytes, signature: bytes) -> bool:
        """Whether the peer's opening of `job` is over the same approvals as ours."""
        return job_opened(self._keys.theirs, self._theirs, self._ours, job, approvals, signature)

    async def run(self, ping_s: float, dead_s: float) -> None:
        """Carry envelopes until the stream ends, for whichever cause."""
        try:
            await first_of(self._reading(), self._writing(), self._beating(ping_s, dead_s), self._ended.wait())
        finally:
            self.end(Reason.GONE)

    async def send(self, raw: bytes) -> None:
        """Queue one serialised envelope; returns at once when the stream has ended."""
        if self.ended:
            return
        if not self._queue.full():
            self._queue.put_nowait(raw)
            return
        await first_of(self._queue.put(raw), self._ended.wait())

    async def send_body(self, job: str = "", channel: str = "", approvals: bytes = b"", **body: object) -> None:
        """Queue an envelope of the stream itself: open, credit, close."""
        await self.send(self._header(job, channel, approvals, **body).SerializeToString())

    async def flush(self) -> None:
        """Give what is queued a moment to leave."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_S):
                while not self.ended and not self._queue.empty():
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.01)

    def end(self, reason: Reason) -> None:
        """The stream is over; the first reason stays."""
        if self.reason is None:
            self.reason = reason
            self._ended.set()

    async def _hear(self, kind: str) -> Envelope:
        """The next envelope before the stream runs: PeerError unless it is of `kind` and from the peer to us."""
        raw = await self._read()
        if raw is None:
            raise PeerError(self.peer, "greeting", Reason.GONE)
        try:
            envelope = codec.parse(raw)
        except Malformed as error:
            raise PeerError(self.peer, "greeting", error.reason) from None
        if (envelope.sender, envelope.receiver) != (self.peer, self.me):
            raise PeerError(self.peer, "greeting", Reason.WRONG_PARTY)
        if envelope.WhichOneof("body") != kind:
            raise PeerError(self.peer, "greeting", Reason.WRONG_KIND)
        return envelope

    async def _reading(self) -> None:
        while (raw := await self._read()) is not None:
            self._heard = True
            try:
                await self._deliver(self, raw, codec.parse(raw))
            except Malformed as error:
                await self._abort(error.reason)
                return

    async def _abort(self, reason: Reason) -> None:
        """No job to blame it on: the whole stream ends, and the other side is told why."""
        _log.warning("stream aborted", peer=self.peer, reason=reason.name)
        told = to_public(PeerError(self.peer, "stream", reason), self.me)
        await self.send_body(close=peer_pb2.Close(error=to_wire(told)))
        await self.flush()
        self.end(reason)

    async def _writing(self) -> None:
        while True:
            await self._write(await self._queue.get())

    async def _beating(self, ping_s: float, dead_s: float) -> None:
        """Counts our own beats, not the clock's time: when we were held up ourselves, nobody else is to blame."""
        silent = 0
        ping = self._header(ping=peer_pb2.Ping()).SerializeToString()
        while silent * ping_s < dead_s:
            if not self._queue.full():
                self._queue.put_nowait(ping)
            await asyncio.sleep(ping_s)
            silent = 0 if self._heard else silent + 1
            self._heard = False
        _log.warning("peer silent", peer=self.peer, reason=Reason.GONE.name)

    def _header(self, job: str = "", channel: str = "", approvals: bytes = b"", **body: object) -> Envelope:
        return Envelope(
            job=job, channel=channel, approvals=approvals, sender=self.me, receiver=self.peer,
            **body,  # type: ignore[arg-type]  # one of the oneof's fields
        )
