"""A member of the consortium with a valid certificate that does not keep the rules of the stream."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import grpc
import numpy as np
import pytest

from mpc.errors import PeerError, Reason
from mpc.link import PartyId
from mpc.protocols.align import SetSize
from mpc.ring import RingVector
from mpc.sharing.opening import Opening
from tests.wire.conftest import APPROVALS, JOB, identity, signer
from wire import certificates, codec, tls
from wire.codec import MAX_ENVELOPE, Envelope, Line
from wire.conversation import PIECE, Outgoing, Place, pieces
from wire.errors import RemoteFailure, from_rpc, from_wire
from wire.grpc_link import Limits
from wire.signing import Identity, StreamEnd, open_job, prove_stream
from wire.v1 import common_pb2, peer_pb2

A, B = PartyId("bank-a"), PartyId("bank-b")
SILENT = "no greeting"
HELLO = {"instance": bytes(16), "version": 2, "nonce": bytes(16)}


@dataclass
class Rogue:
    """bank-a, by hand: what it writes is up to the test."""

    channel: grpc.aio.Channel
    call: grpc.aio.StreamStreamCall
    out: Outgoing
    ours: StreamEnd
    theirs: StreamEnd | None = None

    @classmethod
    async def dial(cls, world, hello=None, key: Identity | None = None) -> Rogue:
        """With a greeting of its own it stops there; `key`: it proves itself by this one."""
        member, shown = world.member("bank-b"), identity("bank-a")
        channel = tls.dial(member.address, "bank-b", member.ca_pem, shown)
        call = channel.stream_stream("/wire.v1.Peer/Converse")()
        place = Place(JOB, bytes.fromhex(APPROVALS), "/x", "bank-a", "bank-b")
        ours = StreamEnd("bank-a", certificates.serial(shown.certificate_pem), bytes(16), bytes(16))
        rogue = cls(channel, call, Outgoing(place, 1 << 40), ours)
        if hello != SILENT:
            await rogue.write(hello or envelope(hello=HELLO))
        if hello is None:
            await rogue.prove(world, key or signer("bank-a"))
        return rogue

    async def prove(self, world, key: Identity) -> None:
        heard = Envelope.FromString(await self.call.read()).hello
        serial = certificates.serial(world.shown["bank-b"].certificate_pem)
        self.theirs = StreamEnd("bank-b", serial, heard.instance, heard.nonce)
        await self.write(envelope(proof={"signature": prove_stream(key, self.ours, self.theirs)}))

    async def write(self, message: Envelope | bytes) -> None:
        await self.call.write(message if isinstance(message, bytes) else message.SerializeToString())

    async def open(self, approvals: str = APPROVALS) -> None:
        signature = open_job(signer("bank-a"), self.ours, self.theirs, JOB, bytes.fromhex(approvals))
        await self.write(envelope(job=JOB, open={"signature": signature}))

    def next(self, message: object) -> bytes:
        """The envelope that an honest sender would write."""
        line, body = codec.pack(message)
        return self.out.wrap(line, body)

    async def told(self) -> str:
        """The reason that bank-b gives when it ends the job or the stream."""
        while True:
            raw = await self.call.read()
            if raw is grpc.aio.EOF:
                return "end"
            close = Envelope.FromString(raw)
            if close.WhichOneof("body") == "close":
                return from_wire(close.close.error).reason


def envelope(**fields) -> Envelope:
    return Envelope(**({"sender": "bank-a", "receiver": "bank-b"} | fields))


def edited(raw: bytes, **fields) -> bytes:
    changed = Envelope.FromString(raw)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed.SerializeToString()


ONE, TWO = SetSize(1), SetSize(2)


def gap(rogue):
    rogue.next(ONE)
    return [rogue.next(TWO)]


def duplicate(rogue):
    first = rogue.next(ONE)
    return [first, first]


def other_bytes(rogue):
    first = rogue.next(ONE)
    return [first, edited(first, previous=bytes(32))]


def fragments(*changes):
    """A message in three pieces, each with the given changes to its fragment."""

    def build(rogue):
        line, body = codec.pack(Opening(RingVector(np.zeros(PIECE * 5 // 16, np.uint64), 64)))
        built = []
        for piece, change in zip(pieces(line, body), changes, strict=False):
            fragment = Envelope.FromString(piece)
            for name, value in change.items():
                setattr(fragment.fragment, name, value)
            built.append(rogue.out.wrap(Line("shares", ""), fragment.SerializeToString()))
        return built

    return build


def hidden_header(rogue):
    """A whole envelope, header and all, where only a body belongs."""
    line, body = codec.pack(Opening(RingVector(np.zeros(PIECE // 4, np.uint64), 64)))
    inner = pieces(line, body + Envelope(job="ff" * 32).SerializeToString())
    return [rogue.out.wrap(Line("shares", ""), piece) for piece in inner]


def vector(**fields):
    def build(rogue):
        honest = {"kind": common_pb2.Vector.RING, "bits": 37, "width": 5, "count": 2, "data": bytes(10)}
        body = Envelope(shares_opening={"share": common_pb2.Vector(**(honest | fields))}).SerializeToString()
        return [rogue.out.wrap(Line("shares", ""), body)]

    return build


JOB_ENDS = {
    "a gap": (gap, Reason.GAP),
    "a message that comes twice": (duplicate, Reason.DUPLICATE),
    "other bytes for a used seq": (other_bytes, Reason.OTHER_BYTES),
    "a broken transcript": (lambda r: [edited(r.next(ONE), previous=bytes(32))], Reason.BAD_TRANSCRIPT),
    "a message of another round": (lambda r: [edited(r.next(ONE), channel="/y")], Reason.BAD_TRANSCRIPT),
    "other approvals": (lambda r: [edited(r.next(ONE), approvals=bytes(32))], Reason.OTHER_SPEC),
    "another version of the protocol": (lambda r: [edited(r.next(ONE), version=2)], Reason.WRONG_VERSION),
    "another protocol's name": (lambda r: [edited(r.next(ONE), protocol="coin")], Reason.WRONG_VERSION),
    "more credit than was taken": (
        lambda r: [envelope(job=JOB, channel="/x", approvals=bytes.fromhex(APPROVALS), credit={"size": 1})],
        Reason.OUT_OF_RANGE,
    ),
    "more channels than are allowed": (
        lambda r: [
            Outgoing(Place(JOB, bytes.fromhex(APPROVALS), f"/{i}", "bank-a", "bank-b"), 1 << 20).wrap(*codec.pack(ONE))
            for i in range(300)
        ], Reason.FLOODED,
    ),
    "more bytes than the window holds": (
        lambda r: [r.next(Opening(RingVector(np.zeros(30_000, np.uint64), 64))) for _ in range(6)], Reason.FLOODED,
    ),
    "a fragment left out": (fragments({}, {"index": 2}), Reason.WRONG_LENGTH),
    "a fragment that is too short": (fragments({"data": b"x"}), Reason.WRONG_LENGTH),
    "a fragment whose total changes": (fragments({}, {"total_size": 10**6}), Reason.WRONG_KIND),
    "a fragment whose kind changes": (fragments({}, {"field": 20}), Reason.WRONG_KIND),
    "a fragment of another kind": (fragments({"field": 20}), Reason.WRONG_KIND),
    "a fragment of no kind": (fragments({"field": 0}), Reason.WRONG_KIND),
    "a fragment of a message beyond the bound": (fragments({"total_size": 1 << 30}), Reason.WRONG_LENGTH),
    "a fragment with a header hidden in it": (hidden_header, Reason.MALFORMED),
    "a vector longer than its bytes": (vector(count=3), Reason.WRONG_LENGTH),
    "a vector of four thousand million empty elements": (vector(count=2**32 - 1, width=0, data=b""), Reason.MALFORMED),
    "a vector of another kind": (vector(kind=common_pb2.Vector.POINT), Reason.MALFORMED),
    "a vector of zero bits": (vector(bits=0), Reason.MALFORMED),
    "a vector of 65 bits": (vector(bits=65, width=9, data=bytes(18)), Reason.MALFORMED),
    "a vector with an element beyond its bits": (vector(data=bytes(4) + b"\x20" + bytes(5)), Reason.OUT_OF_RANGE),
    "a vector left out": (
        lambda r: [r.out.wrap(Line("shares", ""), Envelope(shares_opening={}).SerializeToString())], Reason.MALFORMED,
    ),
}


@pytest.mark.parametrize("case", JOB_ENDS)
async def test_the_job_ends_for_a_named_reason_and_the_rogue_is_told(make_world, case):
    world = make_world()
    hub = await world.start("bank-b", limits=Limits(window=1 << 20, connect_s=1.0, receive_s=5.0))
    rogue = await Rogue.dial(world)
    await rogue.open()
    link = (await hub.open(JOB, [A], APPROVALS))[A].channel("x")
    build, reason = JOB_ENDS[case]

    async def receive():
        while True:
            if reason is Reason.FLOODED:
                await asyncio.sleep(0.05)   # nobody takes what comes
                await asyncio.sleep(0.3)
            await link.receive(Opening if "vector" in case or "fragment" in case else SetSize)

    receiving = asyncio.create_task(receive())
    for raw in build(rogue):
        await rogue.write(raw)
    with pytest.raises(PeerError) as caught:
        await receiving
    assert (caught.value.culprit, caught.value.reason) == (A, reason)
    assert await asyncio.wait_for(rogue.told(), 3) == reason.name
    rogue.call.cancel()
    await rogue.channel.close()


STREAM_ENDS = {
    "bytes that are no envelope": (b"\xff\xff\xff", Reason.MALFORMED),
    "an envelope without a body": (envelope(job=JOB), Reason.MALFORMED),
    "a channel name of control characters": (envelope(job=JOB, channel="/a\n", open={}), Reason.MALFORMED),
    "a channel name without end": (envelope(job=JOB, channel="/a" * 500, open={}), Reason.MALFORMED),
    "a job that is no digest": (envelope(job="j" * 64, open={"signature": bytes(64)}), Reason.MALFORMED),
    "an opening without a signature": (envelope(job="77" * 32, open={}), Reason.WRONG_LENGTH),
    "an envelope longer than a piece": (
        envelope(job=JOB, fragment={"data": bytes(MAX_ENVELOPE)}), Reason.WRONG_LENGTH,
    ),
    "another party's name": (envelope(sender="bank-c", job=JOB, open={}), Reason.WRONG_PARTY),
    "a message to somebody else": (envelope(receiver="bank-c", job=JOB, open={}), Reason.WRONG_PARTY),
    "one's own message reflected": (
        envelope(sender="bank-b", receiver="bank-a", job=JOB, open={}), Reason.REFLECTED,
    ),
    "a message of a job that is not open": (envelope(job="99" * 32, align_set_size={"count": 1}), Reason.WRONG_JOB),
    "a second greeting": (envelope(hello=HELLO), Reason.WRONG_ORDER),
    "a second proof": (envelope(proof={"signature": bytes(64)}), Reason.WRONG_ORDER),
}


@pytest.mark.parametrize("case", STREAM_ENDS)
async def test_the_whole_stream_ends_where_no_job_can_be_blamed(make_world, case):
    world = make_world()
    hub = await world.start("bank-b", limits=Limits(connect_s=1.0, receive_s=5.0))
    rogue = await Rogue.dial(world)
    await rogue.open()
    link = (await hub.open(JOB, [A], APPROVALS))[A]
    raw, reason = STREAM_ENDS[case]
    await rogue.write(raw)
    with pytest.raises(PeerError) as caught:
        await link.receive(SetSize)
    assert (caught.value.culprit, caught.value.reason) == (A, reason)
    assert await asyncio.wait_for(rogue.told(), 3) == reason.name
    rogue.call.cancel()
    await rogue.channel.close()


async def test_a_message_before_the_job_was_opened_ends_the_job(make_world):
    world = make_world()
    hub = await world.start("bank-b", limits=Limits(connect_s=1.0))
    rogue = await Rogue.dial(world)
    opening = asyncio.create_task(hub.open(JOB, [A], APPROVALS))
    await asyncio.sleep(0.3)
    await rogue.write(rogue.next(ONE))
    with pytest.raises(PeerError) as caught:
        await opening
    assert caught.value.reason is Reason.WRONG_ORDER
    rogue.call.cancel()
    await rogue.channel.close()


GREETINGS = {
    "another party's name": envelope(sender="bank-c", hello=HELLO),
    "another version of the contract": envelope(hello=HELLO | {"version": 1}),
    "no instance": envelope(hello=HELLO | {"instance": b""}),
    "no nonce": envelope(hello=HELLO | {"nonce": b""}),
    "no greeting at all": envelope(ping=peer_pb2.Ping()),
}


async def test_a_peer_that_does_not_greet_is_dropped_by_name_and_is_no_bug(make_world):
    world = make_world()
    hub = await world.start("bank-b", limits=Limits(connect_s=0.3))
    rogue = await Rogue.dial(world, SILENT)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rogue.told()
    public = from_rpc(caught.value, "bank-b").public
    assert (public.code, public.whose) == ("peer-silent", "bank-a")
    assert not hub._streams
    await rogue.channel.close()


@pytest.mark.parametrize("case", GREETINGS)
async def test_a_wrong_greeting_is_refused_and_changes_nothing(make_world, case):
    world = make_world()
    hub = await world.start("bank-b")
    rogue = await Rogue.dial(world, GREETINGS[case])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rogue.told()
    assert from_rpc(caught.value, "bank-b").public.code == "peer-broke-protocol"
    assert not hub._streams
    await rogue.channel.close()


async def test_the_higher_id_may_not_dial(make_world):
    world = make_world()
    await world.start("bank-a")
    member = world.member("bank-a")
    async with tls.dial(member.address, "bank-a", member.ca_pem, identity("bank-b")) as channel:
        call = channel.stream_stream("/wire.v1.Peer/Converse")()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    failure = from_rpc(caught.value, "bank-a")
    assert isinstance(failure, RemoteFailure)
    assert failure.public.reason == "wrong-direction"
