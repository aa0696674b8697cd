"""Other columns, the same view: what a party sees does not depend on how another's columns stand or which sign they
have."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from mpc.link import PartyId
from mpc.protocols.train import Masked
from mpc.regression.preconditioner import PreconditionerPlan, own_root, root_matrix
from mpc.regression.sizes import WIDTH_STEP
from mpc.sharing.opening import Opening
from mpc.testing.transcript import leaves, shape
from tests.simulation.bench import SCALE, Bench, Blocks, blocks_of
from tests.simulation.bin_checks import failures
from tests.simulation.observer import Recording

SHOP, ROWS = PartyId("shop"), 80
ORDER = np.array([2, 0, 1, *range(3, WIDTH_STEP)])


def rearranged(blocks: Blocks) -> Blocks:
    """The shop's columns in another order."""
    return Blocks(blocks | {SHOP: replace(blocks[SHOP], matrix=blocks[SHOP].matrix[:, ORDER[:3]])})


def flipped(blocks: Blocks) -> Blocks:
    """Two of the shop's columns with the other sign."""
    return Blocks(blocks | {SHOP: replace(blocks[SHOP], matrix=blocks[SHOP].matrix * np.array([-1, 1, -1], np.int16))})


@cache
def honest(parties: int, twin: str = "") -> Recording:
    blocks = blocks_of(parties, ROWS, seed=3)
    if twin == "order":
        return Bench(permute={SHOP: ORDER}).run(rearranged(blocks))
    return Bench().run(flipped(blocks) if twin == "sign" else blocks)


def in_place(recording: Recording, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Vectors over all weights with the shop's part rearranged; anything else as it is."""
    width = WIDTH_STEP * len(recording.parties)
    if len(values) % width:
        return values
    place = np.arange(width)
    here = WIDTH_STEP * recording.parties.index(SHOP)
    place[here : here + WIDTH_STEP] = here + ORDER
    return values.reshape(-1, width)[:, place].reshape(-1)


@pytest.mark.parametrize("parties", [2, 3])
def test_when_columns_and_masks_are_permuted_the_others_see_the_same_words_in_that_order(parties: int) -> None:
    plain, twin = honest(parties), honest(parties, "order")
    assert plain.error is None
    assert twin.error is None
    for party in plain.parties:
        if party == SHOP:
            continue
        seen, again = plain.seen_by(party), twin.seen_by(party)
        assert len(seen) == len(again) > 40
        for one, other in zip(seen, again, strict=True):
            assert (one.sender, one.channel, type(one.message)) == (other.sender, other.channel, type(other.message))
            if isinstance(one.message, Opening | Masked):
                before, after = (getattr(m, fields(m)[0].name).values for m in (one.message, other.message))
                assert np.array_equal(after, in_place(plain, before)) or np.array_equal(after, before)
            else:
                for left, right in zip(leaves(one.message), leaves(other.message), strict=True):
                    assert np.array_equal(left, right)
        assert np.array_equal(plain.weights[party], twin.weights[party])
    assert np.array_equal(twin.weights[SHOP], plain.weights[SHOP][ORDER[:3]])


def test_the_comparison_of_twins_notices_a_column_that_is_really_another() -> None:
    blocks = blocks_of(2, ROWS, seed=3)
    matrix = blocks[SHOP].matrix.copy()
    matrix[0, 0] += 1
    other = Bench().run(Blocks(blocks | {SHOP: replace(blocks[SHOP], matrix=matrix)}))
    one, two = ([o.share.tobytes() for o in r.opened("train.delta", "bank")] for r in (honest(2), other))
    assert len(one) == len(two) == 8
    assert one != two


@pytest.mark.parametrize("parties", [2, 3])
def test_when_columns_change_their_sign_the_others_get_the_same_model_and_uniform_words(parties: int) -> None:
    plain, twin = honest(parties), honest(parties, "sign")
    assert twin.error is None
    assert shape(plain.messages) == shape(twin.messages)
    for party in plain.parties:
        sign = np.array([-1, 1, -1]) if party == SHOP else 1
        # rounding of the sigmoid's correlations differs with the masked argument, hence not to the last bit
        assert np.abs(twin.weights[party] - sign * plain.weights[party]).max() < 1e-2
    assert failures(plain) == []
    assert failures(twin) == []


def test_the_root_of_permuted_columns_is_the_permuted_root() -> None:
    block = blocks_of(2, ROWS, seed=3)[SHOP].matrix
    plan = PreconditionerPlan(2, ROWS, 0.1, 0.21, 2.0**25, 2.0**19)
    plain, moved = (root_matrix(own_root(m, SCALE, plan), plan) for m in (block, block[:, ORDER[:3]]))
    assert np.array_equal(moved, plain[np.ix_(ORDER[:3], ORDER[:3])])
