"""What a stranger or a member may take of a node that serves others: connections, calls, memory, channel names."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mpc.errors import PeerError, Reason
from mpc.link import PartyId
from mpc.protocols.align import SetSize
from mpc.protocols.train import Masked
from mpc.ring import RingVector
from mpc.sharing.opening import Opening
from tests.wire.conftest import APPROVALS, JOB, QUICK, identity
from tests.wire.test_hostile_peer import ONE, Rogue
from tests.wire.test_strangers import Untouchable, channel, knock
from wire import codec, grpc_link, interceptors, server, tls
from wire.codec import Envelope, Line
from wire.conversation import PIECE, Outgoing, Place
from wire.grpc_link import MAX_AHEAD, Limits
from wire.interceptors import ACCESS, MAX_CALLS, Rule
from wire.v1 import common_pb2, control_pb2, control_pb2_grpc

A = PartyId("bank-a")
DEFENCE = pytest.mark.parametrize("defended", [True, False], ids=["defended", "control"])
MIB = 1 << 20
PATIENT = Limits(connect_s=2.0, receive_s=60.0)


# ---------------------------------------------------------------- connections


@contextlib.asynccontextmanager
async def half_open(world) -> AsyncIterator[list[socket.socket]]:
    """Connections to both listeners of bank-b that say nothing, or begin a handshake and say no more."""
    sockets = []
    try:
        for address in world.addresses["bank-b"]:
            for greeting in [b"", b"\x16\x03\x01\x02\x00\x01"] * 10:
                one = socket.create_connection(tls.split_address(address))
                one.setblocking(False)
                if greeting:
                    one.sendall(greeting)
                sockets.append(one)
        yield sockets
    finally:
        for one in sockets:
            one.close()


async def closed(sockets: list[socket.socket], patience_s: float) -> int:
    """How many of them the other side has closed within that time."""
    deadline, gone = time.monotonic() + patience_s, set()
    while len(gone) < len(sockets) and time.monotonic() < deadline:
        for number, one in enumerate(sockets):
            with contextlib.suppress(BlockingIOError):
                try:
                    while data := one.recv(4096):
                        assert data
                    gone.add(number)
                except ConnectionError:
                    gone.add(number)
        await asyncio.sleep(0.05)
    return len(gone)


@DEFENCE
async def test_a_connection_without_a_certificate_is_closed_within_seconds(make_world, monkeypatch, defended):
    if not defended:
        monkeypatch.setattr(server, "LISTENER_OPTIONS", [])
    world = make_world()
    await world.start("bank-b")
    async with half_open(world) as sockets:
        gone = await closed(sockets, tls.HANDSHAKE_MS / 1000 + 2)
        assert gone == (len(sockets) if defended else 0)
        async with channel(world, identity("bank-a")) as through:
            assert await knock(through, "/grpc.health.v1.Health/Check") == grpc.StatusCode.OK


# ---------------------------------------------------------------- calls


async def watch_all(through: list[grpc.aio.Channel], count: int) -> list[grpc.aio.Call]:
    """`count` calls of Health/Watch, spread over the channels, each either running or refused."""
    calls = []

    async def hold(number: int) -> None:
        call = health_pb2_grpc.HealthStub(through[number % len(through)]).Watch(health_pb2.HealthCheckRequest())
        calls.append(call)
        with contextlib.suppress(grpc.aio.AioRpcError, TimeoutError):
            await asyncio.wait_for(call.read(), 5)

    await asyncio.gather(*(hold(number) for number in range(count)))
    return calls


async def ask_unsaid(through: list[grpc.aio.Channel], count: int) -> list[grpc.aio.Call]:
    """`count` calls of Health/Check whose one request never comes."""
    calls = [through[n % len(through)].stream_unary("/grpc.health.v1.Health/Check")() for n in range(count)]
    await asyncio.gather(*(call.wait_for_connection() for call in calls), return_exceptions=True)
    await asyncio.sleep(0.5)
    return calls


@pytest.mark.parametrize("hold", [watch_all, ask_unsaid], ids=["watchers", "calls without a request"])
@DEFENCE
async def test_one_member_cannot_hold_the_calls_of_all(make_world, monkeypatch, hold, defended):
    """256 calls of bank-a: bank-c and the coordinator are served, and bank-a's other calls too."""
    if not defended:       # as it was: 256 in all, none counted by its caller
        monkeypatch.setattr(server, "MAX_CALLS", 256)
        monkeypatch.setattr(interceptors.Gate, "_admitted", lambda self, method, context: contextlib.nullcontext(
            interceptors._caller.set(self._keeper.identify_call(context))))
        monkeypatch.setattr(server, "LISTENER_OPTIONS", [])
    world, service = make_world("bank-a", "bank-b", "bank-c"), Untouchable()
    await world.start("bank-b", services=lambda s: control_pb2_grpc.add_ControlServicer_to_server(service, s))
    through = [channel(world, identity("bank-a")) for _ in range(4)]
    calls = await hold(through, 256)
    try:
        answers = []
        for party in ("bank-c", "conductor"):
            async with channel(world, identity(party)) as other:
                answers.append(await knock(other, "/grpc.health.v1.Health/Check"))
                if party == "conductor":
                    answers.append(await knock(other, "/wire.v1.Control/Describe"))
        assert set(answers) == {grpc.StatusCode.OK if defended else grpc.StatusCode.RESOURCE_EXHAUSTED}
        if defended and hold is watch_all:
            async with channel(world, identity("bank-a")) as other:
                assert await knock(other, "/grpc.health.v1.Health/Check") == grpc.StatusCode.OK
            running = [call for call in calls if not call.done()]
            assert len(running) == ACCESS["/grpc.health.v1.Health/Watch"].at_once
            refused = {await call.code() for call in calls if call.done()}
            assert refused == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    finally:
        for call in calls:
            call.cancel()
        for one in through:
            await one.close()


async def test_a_share_is_free_again_when_its_calls_have_ended(make_world):
    world = make_world()
    await world.start("bank-b")
    most = ACCESS["/grpc.health.v1.Health/Watch"].at_once
    async with channel(world, identity("bank-a")) as through:
        for _ in range(3):
            calls = await watch_all([through], most)
            assert not any(call.done() for call in calls)
            for call in calls:
                call.cancel()
            await asyncio.sleep(0.2)


async def test_watching_a_node_s_health_and_keeping_a_request_back_end_in_time(make_world, monkeypatch):
    method = "/grpc.health.v1.Health/Watch"
    assert all(rule.deadline_s for name, rule in ACCESS.items() if "Health" in name)
    monkeypatch.setitem(ACCESS, method, Rule(ACCESS[method].roles, 0.3, 8))
    monkeypatch.setattr(interceptors, "REQUEST_S", 0.3)
    world, service = make_world(), Untouchable()
    await world.start("bank-b", services=lambda s: control_pb2_grpc.add_ControlServicer_to_server(service, s))
    async with channel(world, identity("conductor")) as through:
        (call,) = await watch_all([through], 1)
        assert await asyncio.wait_for(call.code(), 3) == grpc.StatusCode.DEADLINE_EXCEEDED
        for name in ("Watch", "Describe"):
            unsaid = through.stream_stream(f"/wire.v1.Control/{name}")()
            assert await asyncio.wait_for(unsaid.code(), 3) == grpc.StatusCode.DEADLINE_EXCEEDED
        assert await knock(through, "/wire.v1.Control/Describe") == grpc.StatusCode.OK
        nothing = through.stream_unary("/wire.v1.Control/Describe")(iter(()))
        assert await nothing.code() == grpc.StatusCode.INVALID_ARGUMENT
        garbage = through.unary_unary("/wire.v1.Control/Propose")(b"\xff\xff")
        assert await garbage.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert service.reached == 1


def test_the_shares_of_all_callers_fit_into_what_a_node_serves():
    assert 17 * sum(rule.at_once for rule in ACCESS.values()) <= MAX_CALLS
    assert control_pb2.DESCRIPTOR.services_by_name["Control"].methods


# ---------------------------------------------------------------- one message


def memory(line: str) -> int:
    """VmRSS or VmHWM of this process in bytes."""
    with open("/proc/self/status") as status:
        return next(int(row.split()[1]) << 10 for row in status if row.startswith(line))


class Peak:
    """By how much this process grew inside the block, at the most."""

    def __enter__(self) -> Peak:
        with open("/proc/self/clear_refs", "w") as marks:
            marks.write("5")                       # the peak begins anew
        self._before = memory("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        self.bytes = memory("VmHWM") - self._before
        print(f"grown by {self.bytes / MIB:.0f} MiB at the most")


async def announce(rogue: Rogue, size: int, field: int) -> None:
    """A message of `size` bytes, as far as bank-b gives credit for it: one-byte elements, which widen to eight."""
    vector = common_pb2.Vector(kind=common_pb2.Vector.RING, bits=1, width=1, count=size).SerializeToString()
    inner = len(vector) + 5 + size
    head = b"\x0a" + varint(inner) + vector + b"\x2a" + varint(size)          # share = {.., data = size bytes}
    first = varint(50 << 3 | 2) + varint(len(head) + size) + head             # shares_opening = ..
    total = len(first) + size
    for index, start in enumerate(range(0, total, PIECE)):
        data = (first if index == 0 else b"").ljust(min(PIECE, total - start), b"\0")
        piece = Envelope(fragment={"index": index, "total_size": total, "data": data, "field": field})
        await rogue.write(rogue.out.wrap(Line("shares", ""), piece.SerializeToString()))


def varint(value: int) -> bytes:
    out = b""
    while value >= 1 << 7:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


OPENING = codec.REGISTRY[Opening].number


@pytest.mark.parametrize("field", [OPENING, codec.REGISTRY[SetSize].number], ids=["as it is", "as a set's size"])
async def test_a_gibibyte_where_a_number_is_due_costs_no_more_than_its_first_pieces(make_world, field):
    world = make_world()
    hub = await world.start("bank-b", limits=PATIENT)
    rogue = await Rogue.dial(world)
    await rogue.open()
    link = (await hub.open(JOB, [A], APPROVALS))[A].channel("x")
    with Peak() as peak:
        receiving = asyncio.create_task(link.receive(SetSize))
        began = time.monotonic()
        pushing = asyncio.create_task(announce(rogue, 1 << 30, field))
        with pytest.raises(PeerError) as caught:
            await receiving
        seconds = time.monotonic() - began
        pushing.cancel()
        await asyncio.gather(pushing, return_exceptions=True)
    assert caught.value.culprit == A
    assert caught.value.reason is (Reason.WRONG_KIND if field == OPENING else Reason.WRONG_LENGTH)
    assert seconds < 2
    assert peak.bytes < 64 * MIB, f"{peak.bytes / MIB:.0f} MiB"
    rogue.call.cancel()
    await rogue.channel.close()


async def test_without_the_bound_48_mebibytes_cost_hundreds(make_world, monkeypatch):
    """The control: put together and widened before kind and length are looked at."""
    monkeypatch.setattr(codec, "require_due", lambda envelope, kind, at_most: None)
    world = make_world()
    hub = await world.start("bank-b", limits=PATIENT)
    rogue = await Rogue.dial(world)
    await rogue.open()
    link = (await hub.open(JOB, [A], APPROVALS))[A].channel("x")
    with Peak() as peak:
        receiving = asyncio.create_task(link.receive(SetSize))
        rogue.out._room = 1 << 40
        pushing = asyncio.create_task(announce(rogue, 48 * MIB, OPENING))
        received = await receiving
        await pushing
    assert type(received) is Opening
    assert peak.bytes > 300 * MIB, f"{peak.bytes / MIB:.0f} MiB"
    rogue.call.cancel()
    await rogue.channel.close()


async def test_what_nobody_takes_is_given_up_when_the_job_ends(make_world):
    world = make_world()
    hub = await world.start("bank-b", limits=PATIENT)
    rogue = await Rogue.dial(world)
    await rogue.open()
    link = (await hub.open(JOB, [A], APPROVALS))[A].channel("x")
    for _ in range(20):
        await rogue.write(rogue.next(Opening(RingVector(np.zeros(30_000, np.uint64), 64))))
    session = hub._sessions[JOB][A]
    async with asyncio.timeout(5):
        while session._unread < 20 * 240_000:
            await asyncio.sleep(0.01)
    with pytest.raises(PeerError, match="another kind"):
        await link.receive(SetSize)
    assert session.conversation("/x").incoming.empty
    rogue.call.cancel()
    await rogue.channel.close()


async def test_a_receiver_that_says_how_much_is_due_takes_so_much_and_no_more(make_world):
    for sent, due, fine in ((1000, 1000, True), (200_000, 200_000, True), (200_000, 199_000, False)):
        world = make_world()
        hub = await world.start("bank-b", limits=PATIENT)
        rogue = await Rogue.dial(world)
        await rogue.open()
        link = (await hub.open(JOB, [A], APPROVALS))[A].channel("x")
        line, body = codec.pack(Masked(RingVector(np.zeros(sent, np.uint64), 64)))
        for piece in grpc_link.pieces(line, body):
            await rogue.write(rogue.out.wrap(line, piece))
        if fine:
            assert len((await link.receive(Masked, at_most=8 * due)).values) == sent
        else:
            with pytest.raises(PeerError) as caught:
                await link.receive(Masked, at_most=8 * due)
            assert (caught.value.culprit, caught.value.reason) == (A, Reason.WRONG_LENGTH)
        rogue.call.cancel()
        await rogue.channel.close()


# ---------------------------------------------------------------- names of channels


async def name_channels(rogue: Rogue, count: int) -> None:
    """A small message on each of `count` channels."""
    line, body = codec.pack(ONE)
    for number in range(count):
        place = Place(JOB, bytes.fromhex(APPROVALS), f"/{number}", "bank-a", "bank-b")
        await rogue.write(Outgoing(place, 1 << 20).wrap(line, body))


@DEFENCE
async def test_names_that_the_peer_takes_leave_room_for_ours(make_world, monkeypatch, defended):
    """As many as it may have. The control counts both sides' names together, as it was: our own is refused."""
    if not defended:
        def together(self: grpc_link.Session, name: str) -> grpc_link.Conversation:
            if name not in self._conversations and len(self._conversations) >= MAX_AHEAD:
                raise codec.Malformed(Reason.FLOODED)
            return self._halves(name)

        monkeypatch.setattr(grpc_link.Session, "conversation", together)
        monkeypatch.setattr(grpc_link.Session, "_named_by_peer", together)
    world = make_world()
    hub = await world.start("bank-b", limits=QUICK)
    rogue = await Rogue.dial(world)
    await rogue.open()
    link = (await hub.open(JOB, [A], APPROVALS))[A]
    await name_channels(rogue, MAX_AHEAD - (0 if defended else 1))       # the link's own is one of them there
    session = hub._sessions[JOB][A]
    async with asyncio.timeout(5):
        while len(session._conversations) < MAX_AHEAD:
            await asyncio.sleep(0.01)
    if defended:
        for number in range(300):
            link.channel(f"ours-{number}")
        for number in (0, MAX_AHEAD - 1):
            assert (await link.channel(f"{number}").receive(SetSize)).count == 1
        assert len(session._ahead) == MAX_AHEAD - 2
    else:
        with pytest.raises(codec.Malformed):
            link.channel("ours")
    rogue.call.cancel()
    await rogue.channel.close()


async def test_a_hundred_thousand_names_are_blamed_on_their_author_and_cost_little(make_world):
    """Another job with another peer goes on meanwhile."""
    world = make_world("bank-a", "bank-b", "bank-c")
    await world.start("bank-c", limits=PATIENT)
    hub = await world.start("bank-b", limits=PATIENT)
    rogue = await Rogue.dial(world)
    await rogue.open()
    link = (await hub.open(JOB, [A], APPROVALS))[A].channel("align")
    other = "ef" * 32
    ours, theirs = await asyncio.gather(
        hub.open(other, [PartyId("bank-c")], APPROVALS),
        world.hubs["bank-c"].open(other, [PartyId("bank-b")], APPROVALS))
    with Peak() as peak:
        receiving = asyncio.create_task(link.receive(SetSize))
        flooding = asyncio.create_task(name_channels(rogue, 100_000))
        with pytest.raises(PeerError) as caught:
            await receiving
        assert (caught.value.culprit, caught.value.reason) == (A, Reason.FLOODED)
        slowest = 0.0
        for number in range(50):
            began = time.monotonic()
            await ours[PartyId("bank-c")].send(SetSize(number))
            assert (await theirs[PartyId("bank-b")].receive(SetSize)).count == number
            slowest = max(slowest, time.monotonic() - began)
        await flooding
    assert slowest < 2
    assert peak.bytes < 64 * MIB, f"{peak.bytes / MIB:.0f} MiB"
    rogue.call.cancel()
    await rogue.channel.close()


async def test_a_member_s_connection_without_a_call_is_closed(make_world, monkeypatch):
    options = [*((name, value) for name, value in tls.LISTENER_OPTIONS if "idle" not in name),
               ("grpc.max_connection_idle_ms", 300)]
    for defended in (True, False):
        monkeypatch.setattr(server, "LISTENER_OPTIONS", options if defended else options[:-1])
        world = make_world()
        await world.start("bank-b")
        async with channel(world, identity("bank-a")) as through:
            assert await knock(through, "/grpc.health.v1.Health/Check") == grpc.StatusCode.OK
            await asyncio.sleep(1.5)
            ready = through.get_state() is grpc.ChannelConnectivity.READY
            assert ready is not defended
            assert await knock(through, "/grpc.health.v1.Health/Check") == grpc.StatusCode.OK
