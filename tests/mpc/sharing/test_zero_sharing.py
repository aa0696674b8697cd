"""Zero-sharing: sums to zero over all parties, uniform for any fewer, each mask once."""

from __future__ import annotations

import asyncio
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.errors import LocalError, PeerError, Reason
from mpc.group.ristretto255 import IDENTITY, PointVector, Scalar, multiply_base
from mpc.link import PartyId
from mpc.ring import mask_of
from mpc.sharing.zero_sharing import MaskKey, agree
from mpc.testing.adversary import Adversary, field_set, reflected
from mpc.testing.memory_link import Network, party, run_roles

NAMES = [PartyId(name) for name in ("bank-a", "platform-b", "telecom-c", "utility-d")]


async def agreed(count=3, seed=1, tamper=None):
    network, names = Network(tamper=tamper), NAMES[:count]
    return await run_roles({
        name: agree(party(name, seed), {p: network.link(name, p) for p in names if p != name}) for name in names
    })


@given(st.integers(2, 4), st.integers(0, 40), st.integers(1, 64), st.text(min_size=1, max_size=8))
@settings(max_examples=30, deadline=None)
def test_masks_sum_to_zero_over_all_parties(count, length, bits, label):
    sharings = asyncio.run(agreed(count))
    masks = [sharing.mask(label, length, bits) for sharing in sharings.values()]
    assert all(mask.shape == (length,) and np.all(mask <= mask_of(bits)) for mask in masks)
    assert not np.any(sum(masks, np.zeros(length, np.uint64)) & mask_of(bits))


async def test_all_masks_but_one_are_uniform_together():
    sharings = await agreed(4)
    masks = [sharing.mask("a", 4096) for sharing in sharings.values()]
    for some in (masks[:1], masks[1:3], masks[:3]):
        counts = np.bincount(sum(some, np.zeros(4096, np.uint64)).view(np.uint8), minlength=256)
        assert 255 - 6 * 22.6 < float(np.sum((counts - 128.0) ** 2 / 128.0)) < 255 + 6 * 22.6


async def test_labels_and_sessions_give_masks_that_have_nothing_in_common():
    first, second = await agreed(), await agreed(seed=2)
    one = first[NAMES[0]].mask("a", 100)
    for other in (first[NAMES[0]].mask("b", 100), second[NAMES[0]].mask("a", 100)):
        assert not set(one.tolist()) & set(other.tolist())
        assert not set((one - other).tolist()) & {0}


async def test_a_mask_is_given_once():
    sharing = (await agreed())[NAMES[0]]
    sharing.mask("a", 5)
    with pytest.raises(LocalError, match="twice"):
        sharing.mask("a", 5)


async def test_seeds_are_neither_printed_nor_pickled():
    sharing = (await agreed())[NAMES[0]]
    assert repr(sharing) == "ZeroSharing(...)"
    with pytest.raises(TypeError):
        pickle.dumps(sharing)


async def test_the_transcript_alone_does_not_give_the_masks():
    network = Network()
    sharings = await run_roles({
        name: agree(party(name), {p: network.link(name, p) for p in NAMES[:2] if p != name}) for name in NAMES[:2]
    })
    sent = b"".join(s.message.point.data for s in network.transcript)
    assert all(seed not in sent for sharing in sharings.values() for seed in sharing._seeds.values())


def point(value: bytes):
    return field_set(point=PointVector(value))


BAD_KEYS = {
    "the neutral element": (point(IDENTITY), Reason.BAD_POINT),
    "a point off the group": (point(b"\x01" + bytes(31)), Reason.BAD_POINT),
    "no point": (point(b""), Reason.WRONG_LENGTH),
    "two points": (point(multiply_base(Scalar(5)).data * 2), Reason.WRONG_LENGTH),
    "our own key": (reflected, Reason.REFLECTED),
    "another party's key": (
        lambda sent, before: next(s.message for s in before if (s.sender, s.receiver) == (NAMES[1], NAMES[0])),
        Reason.REPEATED_VALUE),
}


@pytest.mark.parametrize("case", BAD_KEYS)
async def test_a_bad_key_is_blamed_on_its_sender(case):
    change, reason = BAD_KEYS[case]
    adversary = Adversary((NAMES[2], NAMES[0], "", 0), change)
    with pytest.raises(PeerError) as caught:
        await agreed(3, tamper=adversary)
    assert adversary.struck
    assert (caught.value.culprit, caught.value.reason) == (NAMES[2], reason)


def test_a_key_message_shows_only_a_count():
    assert repr(MaskKey(multiply_base(Scalar(5)))) == "MaskKey(point=PointVector(1 points))"
