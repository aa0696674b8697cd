"""One connected stream with one peer, symmetrical after the dialling: greeting, reading, writing, heartbeat.

Knows no job: what arrives is handed on; how the stream ended is kept as a Reason.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from mpc.errors import PeerError, Reason
from mpc.link import PartyId
from wire import codec
from wire.awaited import first_of
from wire.codec import Envelope, Malformed
from wire.errors import to_public, to_wire
from wire.v1 import peer_pb2

CONTRACT_VERSION = 1
INSTANCE_BYTES = 16
QUEUED = 64                    # envelopes waiting for the transport
FLUSH_S = 2.0

_log = structlog.get_logger("wire")
Read = Callable[[], Awaitable[bytes | None]]
Write = Callable[[bytes], Awaitable[None]]
Deliver = Callable[["PeerStream", bytes, Envelope], Awaitable[None]]


class PeerStream:
    """`read` gives None at the end of the stream; `read` and `write` may raise anything when it breaks."""

    def __init__(self, me: PartyId, peer: PartyId, read: Read, write: Write, deliver: Deliver) -> None:
        self.me, self.peer = me, peer
        self.instance = b""
        self.reason: Reason | None = None      # set once the stream has ended
        self._read, self._write, self._deliver = read, write, deliver
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(QUEUED)
        self._ended = asyncio.Event()
        self._heard = False

    @property
    def ended(self) -> bool:
        return self.reason is not None

    async def say_hello(self, instance: bytes) -> None:
        """Ours: the one who dials says it first."""
        hello = peer_pb2.Hello(instance=instance, version=CONTRACT_VERSION)
        await self._write(self._header(hello=hello).SerializeToString())

    async def hear_hello(self) -> None:
        """Theirs: PeerError unless the other side is who it should be and speaks this contract."""
        raw = await self._read()
        if raw is None:
            raise PeerError(self.peer, "greeting", Reason.GONE)
        try:
            envelope = codec.parse(raw)
        except Malformed as error:
            raise PeerError(self.peer, "greeting", error.reason) from None
        if (envelope.sender, envelope.receiver) != (self.peer, self.me):
            raise PeerError(self.peer, "greeting", Reason.WRONG_PARTY)
        if envelope.WhichOneof("body") != "hello" or len(envelope.hello.instance) != INSTANCE_BYTES:
            raise PeerError(self.peer, "greeting", Reason.WRONG_KIND)
        if envelope.hello.version != CONTRACT_VERSION:
            raise PeerError(self.peer, "greeting", Reason.WRONG_VERSION)
        self.instance = envelope.hello.instance

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
