"""One contract for every implementation of mpc.link.Link: a role cannot tell which one it talks through."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from mpc.errors import PeerError, Reason
from mpc.group.ristretto255 import PointVector
from mpc.link import PartyId
from mpc.protocols import align
from mpc.protocols.align import AlignOptions, Blinded, SetSize
from mpc.ring import RingVector
from mpc.sharing.opening import Opening
from mpc.testing.memory_link import Network, party, run_roles
from tests.wire.conftest import APPROVALS, JOB

A, B = PartyId("bank-a"), PartyId("bank-b")


@pytest.fixture(params=["memory link", "gRPC link"])
async def links(request, make_world):
    """The two ends: bank-a's link to bank-b, and bank-b's to bank-a."""
    if request.param == "memory link":
        network = Network(timeout_s=5.0)
        return network.link("bank-a", "bank-b"), network.link("bank-b", "bank-a")
    world = make_world()
    await world.start_all()
    ours, theirs = await asyncio.gather(
        world.hubs["bank-a"].open(JOB, [B], APPROVALS), world.hubs["bank-b"].open(JOB, [A], APPROVALS)
    )
    return ours[B], theirs[A]


async def test_it_names_its_counterpart_on_every_channel(links):
    ours, theirs = links
    assert (ours.peer, theirs.peer, ours.channel("x").channel("y").peer) == (B, A, B)


async def test_messages_keep_their_order_within_a_channel(links):
    ours, theirs = links
    for i in range(20):
        await ours.send(SetSize(i))
    assert [(await theirs.receive(SetSize)).count for _ in range(20)] == list(range(20))


async def test_channels_have_their_own_order_and_nest_by_name(links):
    ours, theirs = links
    await ours.channel("a").send(SetSize(1))
    await ours.channel("a").channel("b").send(SetSize(2))
    await ours.send(SetSize(3))
    assert (await theirs.receive(SetSize)).count == 3
    assert (await theirs.channel("a/b").receive(SetSize)).count == 2
    assert (await theirs.channel("a").receive(SetSize)).count == 1


async def test_a_channel_asked_for_twice_is_one_conversation(links):
    ours, theirs = links
    await ours.channel("a").send(SetSize(1))
    await ours.channel("a").send(SetSize(2))
    assert (await theirs.channel("a").receive(SetSize)).count == 1
    assert (await theirs.channel("a").receive(SetSize)).count == 2


async def test_vectors_arrive_as_they_were_also_when_empty(links):
    ours, theirs = links
    for values, bits in (([], 37), ([0, 2**37 - 1], 37), ([2**64 - 1], 64), ([1], 1)):
        await ours.send(Opening(RingVector(np.array(values, dtype=np.uint64), bits)))
        share = (await theirs.receive(Opening)).share
        assert (share.values.tolist(), share.bits) == (values, bits)
    await ours.send(Blinded(PointVector(b"")))
    assert len((await theirs.receive(Blinded)).points) == 0


async def test_both_sides_may_send_before_either_receives(links):
    ours, theirs = links
    await asyncio.gather(ours.send(SetSize(1)), theirs.send(SetSize(2)))
    assert (await ours.receive(SetSize)).count == 2
    assert (await theirs.receive(SetSize)).count == 1


async def test_another_kind_than_was_due_is_blamed_on_the_peer_at_its_step(links):
    ours, theirs = links
    await ours.channel("align").send(SetSize(1))
    with pytest.raises(PeerError) as caught:
        await theirs.channel("align").receive(Opening)
    assert (caught.value.culprit, caught.value.step, caught.value.reason) == (A, "/align#1", Reason.WRONG_KIND)


async def test_more_bytes_than_the_receiver_says_are_blamed_on_the_peer(links):
    ours, theirs = links
    for count, most, fine in ((1000, 8000, True), (1000, 6000, False)):
        await ours.send(Opening(RingVector(np.zeros(count, np.uint64), 64)))
        if fine:
            assert len((await theirs.receive(Opening, at_most=most)).share) == count
        else:
            with pytest.raises(PeerError) as caught:
                await theirs.receive(Opening, at_most=most)
            assert (caught.value.culprit, caught.value.reason) == (A, Reason.WRONG_LENGTH)


async def test_require_blames_the_peer_and_lets_the_truth_pass(links):
    ours, _ = links
    ours.require(True, Reason.WRONG_LENGTH)
    with pytest.raises(PeerError) as caught:
        ours.channel("train").require(False, Reason.WRONG_LENGTH)
    assert (caught.value.culprit, caught.value.reason) == (B, Reason.WRONG_LENGTH)
    assert caught.value.step.startswith("/train")


async def test_a_whole_protocol_over_real_links_gives_what_its_ideal_gives(make_world):
    parties = ("bank-a", "platform-b", "telecom-c")
    world = make_world(*parties)
    await world.start_all()
    firsts = {"bank-a": 0, "platform-b": 40, "telecom-c": 20}
    sets = {PartyId(p): [b"customer-%03d" % i for i in range(k, k + 120)] for p, k in firsts.items()}
    options = AlignOptions(PartyId("bank-a"), 50, bytes(32))

    async def role(me):
        links = await world.hubs[me].open(JOB, world.others(me), APPROVALS)
        places = await align.run(party(me), {p: link.channel("align") for p, link in links.items()}, sets[me], options)
        await world.hubs[me].close(JOB, None)
        return [sets[me][i] for i in places]

    rows = await run_roles({me: role(PartyId(me)) for me in parties})
    assert rows["bank-a"] == rows["platform-b"] == rows["telecom-c"]
    assert set(rows["bank-a"]) == align.ideal(sets, 50)
