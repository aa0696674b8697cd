"""Links over real sockets and real TLS."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from mpc.errors import LocalError, PeerError, Reason
from mpc.group.ristretto255 import PointVector
from mpc.link import PartyId
from mpc.protocols.align import Blinded, SetSize
from mpc.ring import RingVector
from mpc.sharing.opening import Opening
from tests.wire.conftest import APPROVALS, JOB, QUICK
from wire.errors import PeerStopped, Refused, RemoteFailure, Unreachable
from wire.grpc_link import Limits

A, B, C = PartyId("bank-a"), PartyId("bank-b"), PartyId("bank-c")


async def pair(world, job=JOB, approvals=(APPROVALS, APPROVALS)):
    opened = await asyncio.gather(
        world.hubs["bank-a"].open(job, [B], approvals[0]), world.hubs["bank-b"].open(job, [A], approvals[1])
    )
    return opened[0][B], opened[1][A]


async def test_messages_arrive_whole_once_and_in_order_both_ways(make_world):
    world = make_world()
    await world.start_all()
    ours, theirs = await pair(world)

    async def talk(link, base):
        for i in range(50):
            await link.send(SetSize(base + i))
        return [(await link.receive(SetSize)).count for _ in range(50)]

    got = await asyncio.gather(talk(ours, 0), talk(theirs, 1000))
    assert got == [list(range(1000, 1050)), list(range(50))]


async def test_a_message_far_larger_than_the_window_arrives_whole(make_world):
    world = make_world()
    limits = Limits(window=1 << 20)
    await world.start_all(limits=limits)
    ours, theirs = await pair(world)
    values = np.arange(1_200_000, dtype=np.uint64)
    sending = asyncio.create_task(ours.send(Opening(RingVector(values, 64))))
    received = await theirs.receive(Opening, at_most=8 * len(values))
    await sending
    assert np.array_equal(received.share.values, values)
    assert received.share.bits == 64


async def test_channels_do_not_wait_for_each_other(make_world):
    world = make_world()
    await world.start_all()
    ours, theirs = await pair(world)
    await ours.channel("slow").send(SetSize(1))
    await ours.channel("quick").channel("inner").send(SetSize(2))
    assert (await theirs.channel("quick/inner").receive(SetSize)).count == 2
    assert (await theirs.channel("slow").receive(SetSize)).count == 1


async def test_a_sender_waits_when_the_receiver_does_not_take(make_world):
    world = make_world()
    await world.start_all(limits=Limits(window=1 << 20))
    ours, theirs = await pair(world)
    message = Blinded(PointVector(bytes(32) * 8192))   # 256 KiB
    sent = 0

    async def flood():
        nonlocal sent
        for _ in range(40):
            await ours.send(message)
            sent += 1

    flooding = asyncio.create_task(flood())
    await asyncio.sleep(0.5)
    assert sent <= 5
    for _ in range(40):
        await theirs.receive(Blinded)
    await flooding


async def test_a_receiver_that_never_takes_is_blamed_in_the_end(make_world):
    world = make_world()
    await world.start_all(limits=Limits(window=1 << 17, receive_s=0.5))
    ours, _ = await pair(world)
    await ours.send(Blinded(PointVector(bytes(32) * 5000)))   # overshoots: the next has no room
    with pytest.raises(PeerError) as caught:
        await ours.send(SetSize(1))
    assert (caught.value.culprit, caught.value.reason) == (B, Reason.TIMEOUT)


async def test_a_peer_that_sends_nothing_is_blamed_at_the_step_that_waits(make_world):
    world = make_world()
    await world.start_all(limits=Limits(receive_s=0.3))
    ours, _ = await pair(world)
    with pytest.raises(PeerError) as caught:
        await ours.channel("train").receive(SetSize)
    assert (caught.value.culprit, caught.value.reason, caught.value.step) == (B, Reason.TIMEOUT, "/train#0")


async def test_a_message_of_another_kind_is_blamed_on_the_peer(make_world):
    world = make_world()
    await world.start_all()
    ours, theirs = await pair(world)
    await ours.send(SetSize(1))
    with pytest.raises(PeerError) as caught:
        await theirs.receive(Opening)
    assert (caught.value.culprit, caught.value.reason) == (A, Reason.WRONG_KIND)


async def test_different_approvals_stop_the_job_before_anything_flows(make_world):
    world = make_world()
    await world.start_all()
    outcomes = await asyncio.gather(
        world.hubs["bank-a"].open(JOB, [B], APPROVALS), world.hubs["bank-b"].open(JOB, [A], "ee" * 32),
        return_exceptions=True,
    )
    reasons = {getattr(o, "reason", None) for o in outcomes}
    assert all(isinstance(o, PeerError) for o in outcomes), outcomes
    assert Reason.OTHER_SPEC in reasons


async def test_a_failure_on_one_side_is_named_on_the_other(make_world):
    world = make_world()
    await world.start_all()
    _, theirs = await pair(world)
    waiting = asyncio.create_task(theirs.receive(SetSize))
    await asyncio.sleep(0.05)
    await world.hubs["bank-a"].close(JOB, Refused("not-converged", "the fit has not converged", "more iterations"))
    with pytest.raises(PeerStopped) as caught:
        await waiting
    assert caught.value.public.reason == "not-converged"
    assert "bank-a stopped the job: the fit has not converged. more iterations." in str(caught.value)


async def test_an_unexpected_failure_is_named_without_its_text(make_world):
    world = make_world()
    await world.start_all()
    _, theirs = await pair(world)
    await world.hubs["bank-a"].close(JOB, ValueError("CANARY-8f3a77"))
    with pytest.raises(PeerStopped) as caught:
        await theirs.receive(SetSize)
    assert "CANARY" not in str(caught.value)
    assert caught.value.public.code == "bug"


async def test_what_was_sent_before_a_clean_close_is_still_received(make_world):
    world = make_world()
    await world.start_all()
    ours, theirs = await pair(world)
    await ours.send(SetSize(7))
    await world.hubs["bank-a"].close(JOB, None)
    await asyncio.sleep(0.1)
    assert (await theirs.receive(SetSize)).count == 7
    with pytest.raises(PeerStopped):
        await theirs.receive(SetSize)


async def test_a_job_that_the_peer_refuses_to_open_fails_with_its_reason(make_world):
    world = make_world()
    await world.start_all()
    opening = asyncio.create_task(world.hubs["bank-a"].open(JOB, [B], APPROVALS))
    await asyncio.sleep(0.4)
    await world.hubs["bank-b"].close(JOB, LocalError("the table has changed since it was registered"))
    with pytest.raises(PeerStopped, match="the table has changed"):
        await opening


async def test_a_job_that_has_already_failed_at_the_peer_fails_at_once_with_its_reason(make_world):
    world = make_world()
    await world.start_all(limits=Limits(open_s=60.0))
    await world.hubs["bank-b"].close(JOB, LocalError("the table has changed since it was registered"))
    with pytest.raises(PeerStopped, match="the table has changed"):
        await asyncio.wait_for(world.hubs["bank-a"].open(JOB, [B], APPROVALS), 5)


async def test_a_third_party_s_failure_is_named_by_whoever_hears_of_it_first(make_world):
    world = make_world("bank-a", "bank-b", "bank-c")
    await world.start_all()
    opened = await asyncio.gather(*(world.hubs[me].open(JOB, world.others(me), APPROVALS) for me in world.parties))
    waiting = asyncio.create_task(opened[0][B].receive(SetSize))
    await asyncio.sleep(0.05)
    await world.hubs["bank-b"].close(JOB, PeerError("bank-c", "train#3", Reason.WRONG_LENGTH))
    with pytest.raises(PeerStopped) as caught:
        await waiting
    assert caught.value.public.culprit == "bank-c"
    assert caught.value.public.reason == "WRONG_LENGTH"


async def test_a_peer_that_never_opens_the_job_is_named(make_world):
    world = make_world()
    await world.start_all(limits=Limits(open_s=0.5))
    with pytest.raises(PeerError) as caught:
        await world.hubs["bank-a"].open(JOB, [B], APPROVALS)
    assert (caught.value.culprit, caught.value.reason) == (B, Reason.TIMEOUT)


async def test_a_job_runs_once(make_world):
    world = make_world()
    await world.start_all()
    await pair(world)
    await asyncio.gather(world.hubs["bank-a"].close(JOB, None), world.hubs["bank-b"].close(JOB, None))
    with pytest.raises(LocalError, match="opened before"):
        await world.hubs["bank-a"].open(JOB, [B], APPROVALS)


async def test_three_parties_and_two_jobs_share_one_stream_per_pair(make_world):
    world = make_world("bank-a", "bank-b", "bank-c")
    await world.start_all()
    jobs = ["11" * 32, "22" * 32]

    async def party(me, job):
        links = await world.hubs[me].open(job, world.others(me), APPROVALS)
        for link in links.values():
            await link.channel("train").send(SetSize(ord(me[-1]) + int(job[0])))
        got = {peer: (await link.channel("train").receive(SetSize)).count for peer, link in links.items()}
        await world.hubs[me].close(job, None)
        return got

    done = await asyncio.gather(*(party(me, job) for me in world.parties for job in jobs))
    assert done[0] == {B: ord("b") + 1, C: ord("c") + 1}
    assert done[5] == {A: ord("a") + 2, B: ord("b") + 2}
    assert all(len(hub._streams) == 2 for hub in world.hubs.values())


async def test_bytes_are_counted_per_peer_and_stage_and_agree_on_both_sides(make_world):
    world = make_world()
    await world.start_all()
    ours, theirs = await pair(world)
    await ours.channel("align").send(Blinded(PointVector(bytes(3200))))
    await theirs.channel("align").receive(Blinded)
    there, here = world.hubs["bank-a"].bytes(JOB)[B]["align"], world.hubs["bank-b"].bytes(JOB)[A]["align"]
    assert there.sent == here.received > 3200
    assert there.messages_sent == here.messages_received == 1
    await asyncio.gather(world.hubs["bank-a"].close(JOB, None), world.hubs["bank-b"].close(JOB, None))
    assert world.hubs["bank-a"].bytes(JOB)[B]["align"].sent == there.sent


async def test_the_record_sees_every_message_with_one_digest_on_both_sides(make_world):
    world, seen = make_world(), []
    await world.start_all(record=seen.append)
    ours, theirs = await pair(world)
    values = np.arange(100_000, dtype=np.uint64)
    for message in (SetSize(3), Opening(RingVector(values, 37))):
        sending = asyncio.create_task(ours.channel("align").send(message))
        await theirs.channel("align").receive(type(message))
        await sending
    sent = [p for p in seen if p.direction == "sent"]
    received = [p for p in seen if p.direction == "received"]
    assert [p.kind for p in sent] == [p.kind for p in received] == ["SetSize", "Opening"]
    assert [(p.digest, p.size) for p in sent] == [(p.digest, p.size) for p in received]
    assert len({p.digest for p in sent}) == 2
    assert sent[1].size > 500_000


async def test_a_record_that_fails_keeps_the_message_back(make_world):
    world = make_world()
    await world.start("bank-b")

    def full(passed):
        raise OSError("disk full")

    await world.start("bank-a", record=full)
    ours, theirs = await pair(world)
    with pytest.raises(OSError, match="disk full"):
        await ours.send(SetSize(1))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(theirs.receive(SetSize), 0.3)


async def test_a_peer_whose_process_is_down_is_named_with_the_command_for_its_side(make_world):
    world = make_world()
    await world.start("bank-a")
    with pytest.raises(Unreachable, match=r"bank-b refused the connection at .* its process is down") as caught:
        await world.hubs["bank-a"].open(JOB, [B], APPROVALS)
    assert caught.value.advice == "on bank-b: party-node run"


async def test_the_side_that_is_dialled_names_a_dialler_that_is_down(make_world):
    world = make_world()
    await world.start("bank-b")
    with pytest.raises(Unreachable, match="bank-a refused the connection"):
        await world.hubs["bank-b"].open(JOB, [A], APPROVALS)


async def test_a_node_that_stops_tells_its_peers(make_world):
    world = make_world()
    await world.start_all()
    _, theirs = await pair(world)
    waiting = asyncio.create_task(theirs.receive(SetSize))
    await asyncio.sleep(0.05)
    await world.hubs["bank-a"].stop()
    with pytest.raises(PeerStopped, match="the node of bank-a was stopped"):
        await waiting


async def test_after_a_lost_stream_the_next_job_dials_anew(make_world):
    world = make_world()
    await world.start_all()
    _, theirs = await pair(world)
    waiting = asyncio.create_task(theirs.receive(SetSize))
    await asyncio.sleep(0.05)
    world.hubs["bank-a"]._streams[B].end(Reason.GONE)
    with pytest.raises(PeerError) as caught:
        await waiting
    assert (caught.value.culprit, caught.value.reason) == (A, Reason.GONE)
    await asyncio.sleep(0.1)
    ours, theirs = await pair(world, job="ef" * 32)
    await ours.send(SetSize(5))
    assert (await theirs.receive(SetSize)).count == 5


async def test_a_peer_that_falls_silent_is_gone_within_the_limit(make_world):
    world = make_world()
    await world.start("bank-b")
    await world.start("bank-a", limits=Limits(ping_s=60.0, dead_s=600.0))   # never says a word of its own
    _, theirs = await pair(world)
    began = asyncio.get_running_loop().time()
    with pytest.raises(PeerError) as caught:
        await theirs.receive(SetSize)
    assert caught.value.reason is Reason.GONE
    assert asyncio.get_running_loop().time() - began < 4 * QUICK.dead_s


async def test_a_second_instance_of_a_party_is_refused_while_the_first_lives(make_world):
    world = make_world()
    await world.start_all()
    await pair(world)
    first = world.hubs["bank-a"]
    await world.start("bank-a")
    with pytest.raises(RemoteFailure, match="another instance of bank-a is connected"):
        await world.hubs["bank-a"].open("77" * 32, [B], APPROVALS)
    await first.stop()
