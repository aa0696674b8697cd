"""A job's links over the pairs' streams: implements mpc.link.Link, so that a role cannot tell it from a memory link.

What breaks a rule ends the job with this peer: the waiting side reads who, where and why, and the other side is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from mpc.errors import LocalError, MpcError, PeerError, Reason
from mpc.link import PartyId
from wire import codec
from wire.codec import Envelope, Malformed
from wire.conversation import Arrived, Assembly, Incoming, Outgoing, Place, pieces
from wire.errors import PeerStopped, PublicError, from_wire, to_public, to_wire
from wire.peer_stream import PeerStream
from wire.v1 import peer_pb2

M = TypeVar("M")
MAX_AHEAD = 64                 # channels that the peer has named and we have not yet
MAX_UNREAD = 1 << 30           # bytes of one job and peer that nobody has taken, over all channels


@dataclass(frozen=True)
class Limits:
    """How long and how much. Defaults are for production; tests shorten them."""

    receive_s: float = 1800.0    # a peer that lives but sends nothing (or gives no credit) for so long is blamed
    open_s: float = 60.0         # between our opening of a job and the peer's
    connect_s: float = 5.0       # dialling, or waiting for a peer whose port is shut
    ping_s: float = 2.0
    dead_s: float = 14.0         # nothing heard for so long: the peer is gone
    window: int = 32 << 20       # bytes per channel that nobody has taken


@dataclass(frozen=True)
class Passed:
    """One whole message that passed a link, for the audit log (all but the message itself) and for tests."""

    job: str
    peer: PartyId
    direction: Literal["sent", "received"]
    channel: str
    index: int
    kind: str
    size: int
    digest: str                  # running SHA-256 of the direction, this message included; equal on both sides
    message: object = field(repr=False)


@dataclass
class Traffic:
    """Bytes and messages of one stage with one peer, envelopes included."""

    sent: int = 0
    received: int = 0
    messages_sent: int = 0
    messages_received: int = 0


Record = Callable[[Passed], None]
Ending = Callable[[str], MpcError]


def closing(error: PublicError | None) -> peer_pb2.Close:
    """The end of a job, as it is told to a peer."""
    return peer_pb2.Close() if error is None else peer_pb2.Close(error=to_wire(error))


@dataclass
class Conversation:
    """Both halves of one channel."""

    outgoing: Outgoing
    incoming: Incoming
    sent: int = 0
    received: int = 0


class Session:
    """One job with one peer: its channels, how it ended, what passed."""

    def __init__(
        self, job: str, me: PartyId, peer: PartyId, approvals: bytes, limits: Limits, record: Record | None
    ) -> None:
        self.job, self.me, self.peer, self.approvals = job, me, peer, approvals
        self.limits, self.record = limits, record
        self.stream: PeerStream | None = None
        self.opened = asyncio.Event()
        self.traffic: dict[str, Traffic] = {}
        self._conversations: dict[str, Conversation] = {}
        self._ahead: set[str] = set()     # those that the peer alone has named: its own affair, never our limit
        self._ending: Ending | None = None
        self._drained_first = False       # a clean close: what arrived before it is still delivered
        self._unread = 0

    def conversation(self, channel: str) -> Conversation:
        """The halves of a channel that we name; there is always room for one of ours."""
        self._ahead.discard(channel)
        return self._halves(channel)

    def _named_by_peer(self, channel: str) -> Conversation:
        """The halves of a channel that the peer names, which may be ahead of us, within bounds."""
        if channel not in self._conversations:
            if len(self._ahead) >= MAX_AHEAD:
                raise Malformed(Reason.FLOODED)
            self._ahead.add(channel)
        return self._halves(channel)

    def _halves(self, channel: str) -> Conversation:
        found = self._conversations.get(channel)
        if found is None:
            out = Place(self.job, self.approvals, channel, self.me, self.peer)
            back = Place(self.job, self.approvals, channel, self.peer, self.me)
            window = self.limits.window
            found = self._conversations[channel] = Conversation(Outgoing(out, window), Incoming(back, window))
        return found

    def stage(self, channel: str) -> Traffic:
        """The counters of a channel's first segment."""
        return self.traffic.setdefault(channel.strip("/").split("/")[0] or "main", Traffic())

    def failure(self, channel: str, step: str) -> MpcError | None:
        """What a send or receive at `step` must raise now."""
        if self._ending is None:
            return None
        if self._drained_first and not self.conversation(channel).incoming.empty:
            return None
        return self._ending(step)

    def end(self, ending: Ending, *, drained_first: bool = False) -> None:
        """No more of this job with this peer; waiting sides wake up. The first ending stays."""
        if self._ending is None:
            self._ending, self._drained_first = ending, drained_first
        self.opened.set()
        for conversation in self._conversations.values():
            if not self._drained_first:
                conversation.incoming.drop()
            conversation.incoming.wake()
            conversation.outgoing.wake()

    @property
    def ended(self) -> bool:
        return self._ending is not None

    def gone(self, reason: Reason) -> None:
        """The stream is over."""
        peer = self.peer
        self.end(lambda step: PeerError(peer, step, reason))

    async def deliver(self, raw: bytes, envelope: Envelope) -> None:
        """One envelope of this job, from its peer. Whoever breaks a rule ends the job."""
        if self.ended:
            return
        try:
            self._accept(raw, envelope)
        except Malformed as error:
            await self.violated(f"{envelope.channel or 'main'}#{envelope.seq}", error.reason)

    def _accept(self, raw: bytes, envelope: Envelope) -> None:
        body = envelope.WhichOneof("body")
        if body == "open":
            self.open_by_peer(envelope.open.signature)
        elif body == "close":
            self._closed_by_peer(envelope.close)
        elif not self.opened.is_set():
            raise Malformed(Reason.WRONG_ORDER)
        elif envelope.approvals != self.approvals:
            raise Malformed(Reason.OTHER_SPEC)
        elif body == "credit":
            self._named_by_peer(envelope.channel).outgoing.credit(envelope.credit.size)
        else:
            self._unread += len(raw)
            if self._unread > MAX_UNREAD:
                raise Malformed(Reason.FLOODED)
            self._named_by_peer(envelope.channel).incoming.put(raw, envelope)
            self.stage(envelope.channel).received += len(raw)

    def open_by_peer(self, signature: bytes) -> None:
        """The peer has opened the job: its identity key must have signed the approvals that we hold."""
        assert self.stream is not None
        if not self.stream.opened_alike(self.job, self.approvals, signature):
            raise Malformed(Reason.OTHER_SPEC)
        self.opened.set()

    def _closed_by_peer(self, close: peer_pb2.Close) -> None:
        public = from_wire(close.error) if close.HasField("error") else None
        peer = self.peer
        self.end(lambda step: PeerStopped(peer, step, public), drained_first=public is None)

    async def violated(self, step: str, reason: Reason) -> PeerError:
        """The peer broke a rule: end the job with it, tell it so, and give the error to raise."""
        error = PeerError(self.peer, step, reason)
        self.end(lambda _: error)
        await self.close(error)
        return error

    async def close(self, error: BaseException | None) -> None:
        """Tell the peer that we are done, and why if it is a failure."""
        self.end(lambda step: LocalError(f"the job was closed here while at {step}"))
        if self.stream is not None and not self.stream.ended:
            close = closing(None if error is None else to_public(error, self.me))
            await self.stream.send_body(self.job, close=close)   # without the approvals: the peer may not hold them

    async def send_raw(self, channel: str, raw: bytes) -> None:
        """One envelope out, counted."""
        assert self.stream is not None
        self.stage(channel).sent += len(raw)
        await self.stream.send(raw)

    async def give_credit(self, channel: str, size: int, credit: int) -> None:
        """`size` bytes were taken; tell the sender when enough have come together."""
        self._unread -= size
        if credit and self.stream is not None and not self.ended:
            await self.stream.send_body(
                self.job, channel, self.approvals, credit=peer_pb2.Credit(size=credit)
            )


class GrpcLink:
    """Implements mpc.link.Link for one channel of a session."""

    def __init__(self, session: Session, channel: str = "") -> None:
        self._session, self._channel = session, channel
        self._conversation = session.conversation(channel)

    @property
    def peer(self) -> PartyId:
        return self._session.peer

    def channel(self, name: str) -> GrpcLink:
        return GrpcLink(self._session, f"{self._channel}/{name}")

    async def send(self, message: object) -> None:
        session, talk = self._session, self._conversation
        outgoing = talk.outgoing
        line, body = codec.pack(message)
        async with outgoing.turn:
            step, size = f"{self._channel or 'main'}#sending {talk.sent}", 0
            parts = pieces(line, body)
            for part in parts:
                try:
                    await outgoing.room(lambda: session.failure(self._channel, step), session.limits.receive_s)
                except TimeoutError:
                    raise PeerError(self.peer, step, Reason.TIMEOUT) from None
                raw = outgoing.wrap(line, part)
                size += len(raw)
                if part is parts[-1]:   # on record before it has left whole
                    self._note("sent", talk.sent, message, size, outgoing.transcript)
                    talk.sent += 1
                await session.send_raw(self._channel, raw)

    async def receive(self, kind: type[M], at_most: int | None = None) -> M:
        try:
            message = await self._message(kind, at_most)
        except Malformed as error:
            if error.reason is Reason.WRONG_KIND:    # a message did come
                self._conversation.received += 1
            raise await self._session.violated(self._step(), error.reason) from None
        self._conversation.received += 1
        return message  # type: ignore[return-value]  # its type is kind

    def require(self, ok: bool, reason: Reason) -> None:
        if not ok:
            raise PeerError(self.peer, self._step(), reason)

    async def _message(self, kind: type, at_most: int | None) -> object:
        arrived = await self._take()
        codec.require_due(arrived.envelope, kind, at_most)     # before anything is put together
        size, message = arrived.size, None
        if arrived.envelope.WhichOneof("body") == "fragment":
            assembly = Assembly(arrived.envelope)
            while (message := assembly.add(arrived.envelope)) is None:
                arrived = await self._take()
                size += arrived.size
        else:
            message = codec.unpack(arrived.envelope)
        self._note("received", self._conversation.received, message, size, arrived.transcript)
        return message

    async def _take(self) -> Arrived:
        session, step = self._session, self._step()
        try:
            arrived, credit = await self._conversation.incoming.take(
                lambda: session.failure(self._channel, step), session.limits.receive_s
            )
        except TimeoutError:
            raise PeerError(self.peer, step, Reason.TIMEOUT) from None
        await session.give_credit(self._channel, arrived.size, credit)
        return arrived

    def _note(
        self, direction: Literal["sent", "received"], index: int, message: object, size: int, transcript: bytes
    ) -> None:
        session = self._session
        traffic = session.stage(self._channel)
        if direction == "sent":
            traffic.messages_sent += 1
        else:
            traffic.messages_received += 1
        if session.record is not None:
            kind = type(message).__name__
            session.record(Passed(
                session.job, self.peer, direction, self._channel, index, kind, size, transcript.hex(), message
            ))

    def _step(self) -> str:
        return f"{self._channel or 'main'}#{self._conversation.received}"
