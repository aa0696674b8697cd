"""The score: the label holder gets the sum and nothing else; what travels is uniform."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.errors import LocalError, PeerError
from mpc.link import PartyId
from mpc.protocol import Ledger
from mpc.protocols import score
from mpc.protocols.score import ScoreOptions
from mpc.ring import RingVector, from_signed, to_signed
from mpc.sharing.opening import Opening
from mpc.testing.adversary import Adversary, field_set
from mpc.testing.memory_link import Network, party, run_roles

NAMES = [PartyId(name) for name in ("bank-a", "platform-b", "telecom-c", "utility-d")]


async def scored(partials, network=None, label_holder=0, rows=None, seed=1, ledgers=None, step=1):
    network, names = network or Network(), NAMES[:len(partials)]
    options = ScoreOptions(names[label_holder], len(partials[0]) if rows is None else rows, step)
    people = {name: party(name, seed, (ledgers or {}).get(name)) for name in names}
    return await run_roles({
        name: score.run(people[name], {p: network.link(name, p) for p in names if p != name}, part, options)
        for name, part in zip(names, partials, strict=True)
    })


@given(st.integers(2, 4).flatmap(lambda n: st.lists(
    st.lists(st.integers(-(2**61), 2**61), min_size=5, max_size=5), min_size=n, max_size=n)), st.integers(0, 1))
@settings(max_examples=25, deadline=None)
def test_the_label_holder_gets_the_sum_and_the_others_nothing(parts, label_holder):
    partials = [from_signed(np.array(part)) for part in parts]
    results = asyncio.run(scored(partials, label_holder=label_holder))
    receiver = NAMES[label_holder]
    assert np.array_equal(to_signed(results.pop(receiver)), to_signed(score.ideal(partials)))
    assert [int(v) for v in to_signed(score.ideal(partials[:2]))] == [a + b for a, b in zip(*parts[:2], strict=True)]
    assert set(results.values()) == {None}


async def test_no_rows_give_an_empty_score():
    results = await scored([np.empty(0, np.uint64)] * 2)
    assert results[NAMES[0]].shape == (0,)


def openings(network):
    return {s.sender: s.message.share.values for s in network.transcript if isinstance(s.message, Opening)}


async def test_what_travels_is_uniform_though_all_parts_are_zero():
    network = Network()
    await scored([np.zeros(4096, np.uint64)] * 3, network)
    for sender, values in openings(network).items():
        assert sender != NAMES[0]  # the label holder sends no scores
        counts = np.bincount(values.view(np.uint8), minlength=256)
        chi_square = float(np.sum((counts - 128.0) ** 2 / 128.0))
        assert 255 - 6 * 22.6 < chi_square < 255 + 6 * 22.6  # 255 degrees of freedom, six standard deviations


async def test_scores_go_to_the_label_holder_only():
    network = Network()
    await scored([np.arange(8, dtype=np.uint64)] * 4, network, label_holder=2)
    receivers = {s.receiver for s in network.transcript if isinstance(s.message, Opening)}
    assert receivers == {NAMES[2]}


async def test_two_runs_mask_the_same_parts_differently():
    seen = []
    for seed in (1, 2):
        network = Network()
        await scored([np.arange(50, dtype=np.uint64)] * 2, network, seed=seed)
        seen.append(set(openings(network)[NAMES[1]].tolist()))
    assert not seen[0] & seen[1]


WRONG_FORM = {
    "too few rows": np.zeros(3, np.uint64),
    "signed integers": np.zeros(4, np.int64),
    "a matrix": np.zeros((4, 1), np.uint64),
}


@pytest.mark.parametrize("case", WRONG_FORM)
async def test_parts_of_another_form_are_our_error(case):
    with pytest.raises(LocalError, match="form"):
        await score.run(party("bank-a"), {NAMES[1]: Network().link("bank-a", "platform-b")}, WRONG_FORM[case],
                        ScoreOptions(NAMES[1], 4, 1))


async def test_a_part_off_the_grid_stays_at_home_and_the_label_holders_own_is_not_asked():
    on, off = from_signed(np.array([10, -20, 0, 10 * 2**36])), from_signed(np.array([10, -20, 1, 0]))
    results = await scored([off, on], step=10)
    assert np.array_equal(results[NAMES[0]], off + on)
    network = Network(timeout_s=0.2)
    with pytest.raises(LocalError, match="grid"):
        await scored([on, off], network, step=10)
    assert not openings(network)


async def test_a_label_holder_who_takes_no_part_is_our_error():
    with pytest.raises(LocalError, match="label holder"):
        await score.run(party("bank-a"), {}, np.zeros(4, np.uint64), ScoreOptions(NAMES[1], 4, 1))


@pytest.mark.parametrize("who", [0, 1])
async def test_without_the_ledger_line_no_score_is_sent_or_opened(who):
    network = Network(timeout_s=0.2)
    with pytest.raises(LocalError, match=r"score\.sum"):
        await scored([np.zeros(4, np.uint64)] * 2, network, ledgers={NAMES[who]: {}})
    assert not any(s.sender == NAMES[who] for s in network.transcript)


async def test_a_vector_of_another_width_is_refused():
    change = field_set(share=lambda share: RingVector(share.values & np.uint64(0xFFFF), 37))
    network = Network()
    honest = await _place_of_opening()
    network.tamper = Adversary(honest, change)
    with pytest.raises(PeerError) as caught:
        await scored([np.arange(4, dtype=np.uint64)] * 2, network)
    assert caught.value.culprit == NAMES[1]


async def _place_of_opening():
    network = Network()
    await scored([np.arange(4, dtype=np.uint64)] * 2, network)
    (sent,) = [s for s in network.transcript if isinstance(s.message, Opening)]
    return sent.sender, sent.receiver, sent.channel, sent.index


def test_what_two_parties_give_away_is_said():
    assert "two parties" in score.PROTOCOL.learns["label_holder"]
    assert Ledger({line.code: line for line in score.PROTOCOL.ledger}).record("score.sum", 3) is None
