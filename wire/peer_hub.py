"""All conversations of one node with its peers: one stream per pair, shared by all jobs; the lower party id dials.

  open(job)   both sides show, by their identity keys, that they hold one approvals digest before anything of it flows
  close(job)  ends it here and tells the peers why; the job cannot be opened again
A stream that ends fails every job on it; a later job dials anew. Knows no protocol and no row.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
import grpc.aio
import structlog

from mpc.errors import LocalError, MpcError, PeerError, Reason
from mpc.link import Link, PartyId
from wire import certificates, diagnosis, tls
from wire.awaited import Crew, together
from wire.codec import Envelope, Malformed
from wire.consortium import Consortium, Member
from wire.errors import (
    Cancelled,
    Forbidden,
    PeerStopped,
    PublicError,
    RemoteFailure,
    Unreachable,
    from_rpc,
    from_wire,
    to_public,
)
from wire.gatekeeper import Gatekeeper
from wire.grpc_link import GrpcLink, Limits, Record, Session, Traffic, closing
from wire.interceptors import current_caller
from wire.peer_stream import INSTANCE_BYTES, Keys, PeerStream, Read, Write
from wire.signing import SIGNATURE_BYTES, Identity

if TYPE_CHECKING:
    from wire.gatekeeper import Context

SERVICE, METHOD = "wire.v1.Peer", "Converse"
REDIAL_S = 0.3
LOOK_AFTER_S = 0.5
MAX_EARLY = 64                 # jobs of one peer that it has opened and we have not
REMEMBERED_JOBS = 1024

Raw: TypeAlias = bytes            # inside a class with a method `bytes` the type needs other names
Signature: TypeAlias = bytes
# A job that a peer opened with this signature, or closed again, for this reason or for none.
Announced: TypeAlias = Signature | PublicError | None
_log = structlog.get_logger("wire")


@dataclass(frozen=True)
class Finished:
    """What is remembered of a job that was closed here."""

    traffic: Mapping[PartyId, Mapping[str, Traffic]]
    error: PublicError | None


class PeerHub:
    """`signer` is the party's identity key. `record` sees every whole message; it runs before a sent message leaves,
    and its exception stops the job."""

    def __init__(
        self, consortium: Consortium, identity: certificates.TlsIdentity, signer: Identity, *,
        record: Record | None = None, limits: Limits | None = None,
    ) -> None:
        self.me = PartyId(identity.party)
        self._consortium, self._identity, self._signer, self._record = consortium, identity, signer, record
        self._keeper = Gatekeeper(consortium, identity)
        self._limits = limits or Limits()
        self._instance = secrets.token_bytes(INSTANCE_BYTES)
        self._streams: dict[PartyId, PeerStream] = {}
        self._arrived: defaultdict[PartyId, asyncio.Event] = defaultdict(asyncio.Event)
        self._dialling: defaultdict[PartyId, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._sessions: dict[str, dict[PartyId, Session]] = {}
        self._early: dict[tuple[str, PartyId], Announced] = {}
        self._finished: dict[str, Finished] = {}
        self._dialled = Crew()

    def register(self, server: grpc.aio.Server) -> None:
        """Serve the peers' streams; call before the server starts."""
        handler = grpc.stream_stream_rpc_method_handler(self._converse)   # raw bytes: wire.codec parses them
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))

    async def open(self, job: str, peers: Iterable[PartyId], approvals_digest: str) -> Mapping[PartyId, Link]:
        """Links to `peers` for `job`, once all of them have opened it with the same approvals (hexadecimal).

        Whatever comes of it, `close` must follow: it tells the peers how the job ended here. Raises Unreachable or
        Unauthenticated (with whose fault), PeerError, or LocalError for a job seen before.
        """
        if job in self._sessions or job in self._finished:
            raise LocalError("this job was opened before; a job runs once", "launch a new job")
        approvals = bytes.fromhex(approvals_digest)
        sessions = self._sessions[job] = {
            peer: Session(job, self.me, peer, approvals, self._limits, self._record) for peer in peers
        }
        await together(*(self._open(session) for session in sessions.values()))
        return {peer: GrpcLink(session) for peer, session in sessions.items()}

    async def close(self, job: str, error: BaseException | None) -> None:
        """End a job here, whether open, still opening or only announced by peers, and tell them why."""
        sessions = self._sessions.pop(job, {})
        for announced, peer in list(self._early):
            if announced == job:
                del self._early[(announced, peer)]
                session = sessions.setdefault(peer, Session(job, self.me, peer, b"", self._limits, None))
                session.stream = self._streams.get(peer)
        if job not in self._finished:
            told = None if error is None else to_public(error, self.me)
            self._finished[job] = Finished({peer: session.traffic for peer, session in sessions.items()}, told)
            while len(self._finished) > REMEMBERED_JOBS:
                del self._finished[next(iter(self._finished))]
        await together(*(session.close(error) for session in sessions.values()))

    async def why_gone(self, peer: PartyId) -> MpcError:
        """Why the stream of `peer` may have broken, as far as can be seen from here: its process is down, say."""
        await asyncio.sleep(LOOK_AFTER_S)   # a process that dies closes its ports one after the other
        return await self._why_unreachable(self._consortium.member(peer))

    async def _why_unreachable(self, member: Member) -> MpcError:
        return await diagnosis.why_unreachable(member, self._keeper, self._identity)

    def bytes(self, job: str) -> Mapping[PartyId, Mapping[str, Traffic]]:
        """Per peer and stage (first segment of the channel) what passed, also after the job was closed."""
        if job in self._sessions:
            return {peer: session.traffic for peer, session in self._sessions[job].items()}
        return self._finished[job].traffic if job in self._finished else {}

    async def stop(self) -> None:
        """Close every job as cancelled, let the news leave, end all streams."""
        stopping = Cancelled(f"the node of {self.me} was stopped", whose=self.me)
        for job in list(self._sessions):
            await self.close(job, stopping)
        for stream in list(self._streams.values()):
            await stream.flush()
            stream.end(Reason.STOPPED)
        await self._dialled.ended()

    # -- opening -------------------------------------------------------------------------------------------------

    async def _open(self, session: Session) -> None:
        stream = session.stream = await self._connected(session.peer)
        if stream.ended:
            session.gone(Reason.GONE)
        else:
            await stream.send_open(session.job, session.approvals)
        key = (session.job, session.peer)
        if key in self._early:
            await self._catch_up(session, self._early.pop(key))
        try:
            async with asyncio.timeout(self._limits.open_s):
                await session.opened.wait()
        except TimeoutError:
            raise PeerError(session.peer, "opening the job", Reason.TIMEOUT) from None
        if (error := session.failure("", "opening the job")) is not None:
            raise error

    async def _catch_up(self, session: Session, early: Announced) -> None:
        """The peer was quicker: it has opened the job (signature), or closed it again."""
        peer = session.peer
        if isinstance(early, Signature):
            try:
                session.open_by_peer(early)
            except Malformed as error:
                await session.violated("opening the job", error.reason)
        else:
            session.end(lambda step: PeerStopped(peer, step, early))

    async def _connected(self, peer: PartyId) -> PeerStream:
        tls.check_own(self._identity)
        member = self._consortium.member(peer)
        async with self._dialling[peer]:
            stream = self._streams.get(peer)
            if stream is not None and not stream.ended:
                return stream
            if self.me < peer:
                return await self._dial(member)
            return await self._await_dialled(member)

    async def _await_dialled(self, member: Member) -> PeerStream:
        """The peer has the lower id, so it dials; if its port is shut it will not."""
        peer, patience = member.party, time.monotonic() + self._limits.open_s
        while time.monotonic() < patience:
            try:
                async with asyncio.timeout(self._limits.connect_s):
                    await self._arrived[peer].wait()
                return self._streams[peer]
            except TimeoutError:
                await diagnosis.check_listening(member)
        raise PeerError(peer, "connecting", Reason.TIMEOUT)

    async def _dial(self, member: Member) -> PeerStream:
        """Dial until `connect_s` is over or dialling again cannot help."""
        patience = time.monotonic() + self._limits.connect_s
        while True:
            try:
                return await self._dial_once(member)
            except grpc.aio.AioRpcError as error:
                why: MpcError = from_rpc(error, member.id)
                if error.code() == grpc.StatusCode.UNAVAILABLE:
                    why = await self._why_unreachable(member)
            except TimeoutError:
                why = Unreachable(f"{member.id} does not answer", whose=member.id, reason="no-greeting")
            except MpcError as error:
                why = error
            again = isinstance(why, Unreachable) or (
                isinstance(why, RemoteFailure) and why.public.reason == "second-instance"
            )
            if not again or time.monotonic() > patience:
                _log.warning("not connected", peer=member.id, code=type(why).__name__)
                raise why
            await asyncio.sleep(REDIAL_S)

    async def _dial_once(self, member: Member) -> PeerStream:
        try:
            reached = await tls.reach(member, self._keeper, self._identity)
        except OSError:
            raise await self._why_unreachable(member) from None
        channel = reached.channel
        try:
            call = channel.stream_stream(f"/{SERVICE}/{METHOD}", Raw, Raw)(None)
            stream = self._stream(member.party, reached.serial, lambda: _read(call.read), call.write)
            async with asyncio.timeout(self._limits.connect_s):
                await stream.say_hello()
                await stream.hear_hello()
                await stream.say_proof()
                await stream.hear_proof()
        except BaseException:
            await channel.close(None)
            raise
        self._keep(stream)
        self._dialled.start(self._run_dialled(stream, channel))
        return stream

    async def _run_dialled(self, stream: PeerStream, channel: grpc.aio.Channel) -> None:
        try:
            await self._run(stream)
        finally:
            await channel.close(None)

    # -- being dialled, and running ------------------------------------------------------------------------------

    async def _converse(self, _requests: object, context: Context) -> None:
        caller = current_caller()
        peer = caller.party
        if peer > self.me:
            raise Forbidden("the party with the lower id dials", whose=peer, reason="wrong-direction")
        stream = self._stream(peer, caller.serial, lambda: _read(context.read), context.write)
        try:
            async with asyncio.timeout(self._limits.connect_s):
                await stream.hear_hello()
                await stream.say_hello()
                await stream.hear_proof()
        except TimeoutError:
            raise PeerError(peer, "greeting", Reason.TIMEOUT) from None
        running = self._streams.get(peer)
        if running is not None and not running.ended:
            if running.instance != stream.instance:
                raise Forbidden(
                    f"another instance of {peer} is connected", whose=peer,
                    advice=f"on {peer}: stop the second party-node", reason="second-instance",
                )
            running.end(Reason.GONE)   # the same process dials again: it has given the old stream up
        await stream.say_proof()
        self._keep(stream)
        await self._run(stream)

    def _stream(self, peer: PartyId, serial: str, read: Read, write: Write) -> PeerStream:
        """A stream with `peer`, which shows the certificate `serial` there."""
        ours = certificates.serial(self._identity.certificate_pem)
        keys = Keys(self._signer, ours, self._consortium.member(peer).identity, serial)
        return PeerStream(self.me, peer, self._instance, keys, read, write, self._deliver)

    def _keep(self, stream: PeerStream) -> None:
        self._forget_early(stream.peer)      # what was opened on another stream was signed for that one
        self._streams[stream.peer] = stream
        self._arrived[stream.peer].set()
        _log.info("connected", peer=stream.peer)

    async def _run(self, stream: PeerStream) -> None:
        peer = stream.peer
        try:
            await stream.run(self._limits.ping_s, self._limits.dead_s)
        finally:
            stream.end(Reason.GONE)
            reason = stream.reason or Reason.GONE
            if self._streams.get(peer) is stream:
                del self._streams[peer]
                self._arrived[peer].clear()
                self._forget_early(peer)
            for sessions in self._sessions.values():
                if peer in sessions and sessions[peer].stream is stream:
                    sessions[peer].gone(reason)
            _log.info("disconnected", peer=peer, reason=reason.name)

    def _forget_early(self, peer: PartyId) -> None:
        self._early = {key: value for key, value in self._early.items() if key[1] != peer}

    async def _deliver(self, stream: PeerStream, raw: Raw, envelope: Envelope) -> None:
        """What came on a stream, to its job. Malformed: no job can be blamed, so the whole stream ends."""
        body, job, peer = envelope.WhichOneof("body"), envelope.job, stream.peer
        if envelope.sender == self.me:
            raise Malformed(Reason.REFLECTED)
        if (envelope.sender, envelope.receiver) != (peer, self.me):
            raise Malformed(Reason.WRONG_PARTY)
        session = self._sessions.get(job, {}).get(peer)
        if body == "ping":
            return
        if body in ("hello", "proof"):
            raise Malformed(Reason.WRONG_ORDER)
        if body == "close" and not job:
            _log.warning("stream refused by peer", peer=peer, what=from_wire(envelope.close.error).what)
            stream.end(Reason.STOPPED)
        elif session is not None and session.stream is stream:
            await session.deliver(raw, envelope)
        elif job in self._finished:
            if body == "open":         # it comes too late: say how the job ended here
                await stream.send_body(job, close=closing(self._finished[job].error))
            # Anything else was on its way when we closed the job.
        elif body in ("open", "close"):
            self._announced(job, peer, envelope)
        else:
            raise Malformed(Reason.WRONG_JOB)

    def _announced(self, job: str, peer: PartyId, envelope: Envelope) -> None:
        """The peer opens or closes a job that we have not opened yet."""
        waiting = [key for key in self._early if key[1] == peer]
        if len(waiting) >= MAX_EARLY:
            del self._early[waiting[0]]
        if envelope.WhichOneof("body") == "open":
            if len(envelope.open.signature) != SIGNATURE_BYTES:
                raise Malformed(Reason.WRONG_LENGTH)
            self._early[(job, peer)] = envelope.open.signature
        else:
            close = envelope.close
            self._early[(job, peer)] = from_wire(close.error) if close.HasField("error") else None


async def _read(read: Any) -> bytes | None:
    """gRPC's end-of-stream object as None."""
    raw = await read()
    return raw if isinstance(raw, bytes) else None
