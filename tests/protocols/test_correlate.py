"""Cross-party correlations: equal to those of the pooled table as far as they are opened, and nothing else is."""

from __future__ import annotations

import contextlib
from collections import Counter

import numpy as np
import pytest
from scipy import stats

from mpc.correlated_randomness.ot_source import OtSource
from mpc.errors import LocalError
from mpc.link import PartyId
from mpc.products import matrix_vector
from mpc.products.matrix_vector import MaskedProducts
from mpc.protocols import correlate
from mpc.regression.setup import Tools
from mpc.ring import RingVector
from mpc.sharing.opening import Opening
from mpc.statistics import inflation
from mpc.testing.conformance import check_blame, check_canaries, check_ideal, check_shape
from mpc.testing.correlate_subject import (
    CORRELATE_HOLDER,
    CORRELATE_INFLATION,
    columns_of,
    judged,
    options_of,
    tools_of,
)
from mpc.testing.keys import small_key
from mpc.testing.memory_link import Network, party, run_roles

BANK, SHOP, TELECOM = (PartyId(name) for name in ("bank-a", "platform-b", "telecom-c"))
CHECKS = {"ideal": check_ideal, "shape": check_shape, "canaries": check_canaries, "blame": check_blame}


OTHER_WAYS = {"the matrix to the label holder": CORRELATE_HOLDER, "inflation to each": CORRELATE_INFLATION}


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("parties", CORRELATE_HOLDER.parties)
@pytest.mark.parametrize("way", OTHER_WAYS)
async def test_the_suite_passes_whatever_is_shown(way, check, parties):
    await CHECKS[check](OTHER_WAYS[way], parties)


def role_of(options):
    return correlate.run_inflation if options.show == "inflation" else correlate.run


async def correlated(columns, options, network=None, ledgers=None, seed=1, tools=None):
    network, names = network or Network(), list(columns)
    tools = tools or tools_of(names)
    return await run_roles({
        name: role_of(options)(
            party(name, seed, (ledgers or {}).get(name)),
            {peer: network.link(name, peer) for peer in names if peer != name}, columns[name], options, tools[name],
        ) for name in names
    })


def a_table(seed, rows=400, parties=2, width=3):
    """Columns in other units, some that go together across parties, some with few values."""
    draw = np.random.default_rng(seed)
    common, found = draw.normal(size=(rows, 2)), {}
    for k, name in enumerate((BANK, SHOP, TELECOM)[:parties]):
        own = draw.normal(size=(rows, width)) + common @ draw.normal(size=(2, width))
        own[:, 0] = own[:, 0] > 1.5
        found[name] = own * 10.0 ** draw.integers(-6, 6, width) + 10.0 ** (k + 2)
    return found


# ---------------------------------------------------------------- against numpy


@pytest.mark.parametrize(("bits", "parties"), [(None, 2), (6, 2), (10, 3), (16, 2)])
async def test_the_matrix_equals_numpys_on_the_pooled_table_to_the_bits_that_are_opened(bits, parties):
    columns = a_table(3, parties=parties)
    options = options_of(columns, show="matrix", rows=400, bits=bits)
    assert options.opened_bits == (bits or 4)                                   # 1 / sqrt(400) is 1/20
    pooled = np.corrcoef(np.concatenate(list(columns.values()), axis=1), rowvar=False)
    for found in (await correlated(columns, options)).values():
        assert len(found) == parties * (parties - 1) // 2
        for (a, b), values in found.items():
            i, j = 3 * list(columns).index(a), 3 * list(columns).index(b)
            assert np.abs(values - pooled[i : i + 3, j : j + 3]).max() <= 2.0**-options.opened_bits + 1e-5
            assert np.array_equal(values, np.round(values * 2**options.opened_bits) / 2**options.opened_bits)


async def test_pairs_are_those_of_the_matrix_at_or_above_the_threshold_and_nothing_else():
    columns = a_table(4, parties=3)
    options = options_of(columns, rows=400, bits=8, threshold=0.25)
    due = correlate.ideal(columns, options)
    above = sum(int((np.abs(part) > 0.26).sum()) for part in due.values())
    assert 3 <= above <= 20                                                     # of 27
    for found in (await correlated(columns, options)).values():
        judged(found, due, options)
        shown = np.concatenate([part.ravel() for part in found.values()])
        assert np.all((shown == 0) | (np.abs(shown) >= 0.25))


def test_columns_in_fixed_point_are_within_a_ten_millionth_of_numpy():
    draw = np.random.default_rng(1)
    table = draw.normal(size=(50_000, 6)) @ draw.normal(size=(6, 6))
    table[:, 5] = draw.random(50_000) < 0.001
    units = correlate.unit_columns(table).astype(np.float64) / 2**correlate.UNIT_BITS
    assert np.abs(units.T @ units - np.corrcoef(table, rowvar=False)).max() < 1e-6
    assert not correlate.unit_columns(np.column_stack([np.full(60, 0.1), np.full(60, 1e9)])).any()
    single = np.zeros((500, 1))
    single[7] = 1e-12                               # a column of one other value takes the whole range, and no more
    assert np.abs(correlate.unit_columns(single)).max() <= 1 << correlate.UNIT_BITS


async def test_inflation_is_shown_to_the_label_holder_alone_where_the_job_says_so():
    columns = a_table(9, parties=3)
    options = options_of(columns, show="inflation", to="label_holder", rows=400, bits=12)
    network = Network()
    found = await correlated(columns, options, network)
    assert set(found[BANK]) == {SHOP, TELECOM}
    assert found[SHOP] == found[TELECOM] == {}
    pooled = np.linalg.inv(np.corrcoef(np.column_stack([columns[BANK], columns[SHOP]]), rowvar=False))
    assert np.allclose(found[BANK][SHOP].together, np.diag(pooled)[:3], rtol=2e-2)
    assert not [sent for sent in network.transcript if "/products" in sent.channel
                and {sent.sender, sent.receiver} == {SHOP, TELECOM}]     # what nobody is shown is not computed


async def test_two_parties_with_oblivious_transfer_find_what_the_dealer_finds():
    columns = a_table(6, rows=120, width=2)
    options = options_of(columns, rows=120, bits=6, threshold=0.3)

    def real(name):
        async def source(me, peers, plan):
            return await OtSource.start(me, peers, plan)

        return Tools(lambda rng, bits: small_key(bits, 1 + (name == SHOP)), source)

    found = await correlated(columns, options, tools={name: real(name) for name in columns})
    for result in found.values():
        judged(result, correlate.ideal(columns, options), options)


async def test_a_party_without_columns_takes_part_and_a_job_without_pairs_opens_nothing():
    columns = a_table(7, parties=3)
    columns[BANK] = np.empty((400, 0))
    options = options_of(columns, rows=400, show="matrix", bits=8)
    found = await correlated(columns, options)
    assert {tuple(result) for result in found.values()} == {((SHOP, TELECOM),)}
    judged(found[BANK], correlate.ideal(columns, options), options)
    columns[SHOP] = np.empty((400, 0))
    network = Network()
    alone = await correlated(columns, options_of(columns, rows=400), network)
    assert list(alone.values()) == [{}, {}, {}]
    assert not network.transcript


# ---------------------------------------------------------------- what is opened, and to whom


@pytest.mark.parametrize("to", ["all", "label_holder"])
@pytest.mark.parametrize("show", ["matrix", "pairs", "inflation"])
async def test_the_ledger_has_the_line_that_was_signed_and_no_other_revealed_one(show, to):
    columns = columns_of(2, 1)
    options = options_of(columns, show=show, to=to)
    people = {name: party(name) for name in columns}
    network, tools = Network(), tools_of(list(columns))
    await run_roles({
        name: role_of(options)(people[name], {peer: network.link(name, peer) for peer in columns if peer != name},
                            columns[name], options, tools[name]) for name in columns
    })
    kinds = {line.code: line.kind for line in correlate.PROTOCOL.ledger}
    for me in people.values():
        assert set(me.ledger.opened) == set(correlate.codes(show, to))
        assert {code: count for code, count in me.ledger.opened.items() if kinds[code] == "revealed"} == \
            {options.code: 2 * 3 * (2 if (show, to) == ("inflation", "all") else 1)}   # to each of two, one by one


@pytest.mark.parametrize("who", [BANK, SHOP])
@pytest.mark.parametrize(("show", "lacks"), [(show, code) for show in ("pairs", "inflation")
                                             for code in correlate.codes(show, "all")])
async def test_without_a_line_of_the_ledger_nothing_is_sent(who, show, lacks):
    columns, network = columns_of(2, 1), Network(timeout_s=0.2)
    lines = {line.code: line for line in correlate.PROTOCOL.ledger if line.code != lacks}
    with pytest.raises(LocalError, match=f"'{lacks}' is not in the reveal list"):
        await correlated(columns, options_of(columns, show=show), network, {who: lines})
    assert not [sent for sent in network.transcript if sent.sender == who]


async def high_bits(columns, runs):
    """Of what the holder decrypts, and of the shares that are opened at the end, over some runs: chi-square."""
    found = {"replies": [], "shares": []}
    options, key = options_of(columns), small_key(256, 1, "gmp")
    for seed in range(runs):
        network = Network()
        with contextlib.suppress(LocalError):       # where a fault was planted, what is opened may make no sense
            await correlated(columns, options, network, seed=seed)
        for sent in network.transcript:
            if isinstance(sent.message, MaskedProducts):
                vector = key.public.parse(sent.message.products, sent.message.products.count, set())
                found["replies"] += [(value << 4) // key.public.n for value in key.decrypt(vector)]
        last = [s.message for s in network.transcript if isinstance(s.message, Opening)][-2:]
        found["shares"] += [int(word) >> 60 for message in last for word in message.share.values]
    return {name: float(stats.chisquare(np.bincount(words, minlength=16)).pvalue) for name, words in found.items()}


async def test_what_the_holder_decrypts_and_the_final_shares_are_uniform(monkeypatch):
    columns = columns_of(2, 1)
    assert min((await high_bits(columns, 40)).values()) > 1e-6
    # Planted: a mask that is left out, as its test must see.
    monkeypatch.setattr(matrix_vector, "uniform_masks", lambda rng, n, count: [0] * count)
    assert (await high_bits(columns, 40))["replies"] < 1e-6


async def test_shares_that_are_not_refreshed_are_seen(monkeypatch):
    """Planted: without fresh shares of zero, a holder's final share follows from what it was sent before."""
    columns = columns_of(2, 2)
    options = options_of(columns, show="matrix")

    async def kinds():
        network = Network()
        await correlated(columns, options, network)
        return Counter(type(sent.message).__name__ for sent in network.transcript)

    assert (await kinds())["MaskKey"] == 2

    async def as_it_is(me, peers, share):
        return share

    monkeypatch.setattr(correlate, "refreshed", as_it_is)
    assert (await kinds())["MaskKey"] == 0


async def test_inflation_opens_directions_that_were_turned_by_chance(monkeypatch):
    """What a party is shown differs from run to run by the other's rotation, and what it finds from it does not."""
    columns, opened, whole = a_table(10), [], correlate._whole

    def watched(values, options):
        opened.append(whole(values, options))
        return opened[-1]

    async def runs():
        opened.clear()
        options = options_of(columns, show="inflation", rows=400, bits=12)
        found = [(await correlated(columns, options, seed=seed))[BANK][SHOP].together for seed in (1, 2)]
        assert np.allclose(*found, rtol=1e-2)
        return np.abs(opened[0] - opened[2]).max()           # each run opens it to both parties

    monkeypatch.setattr(correlate, "_whole", watched)
    assert await runs() > 0.05
    # Planted: without the rotations the directions themselves are opened, the same in each run.
    monkeypatch.setattr(inflation, "random_rotation", lambda size, rng: np.eye(size))
    assert await runs() < 2 * 2.0**-12


FAULTS = {
    "the rounding is left out": ("_rounded", lambda shares, options: shares),
    "the comparison is left out": ("_above", lambda shares, options: shares),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_planted_fault_turns_the_check_red(fault, monkeypatch):
    name, instead = FAULTS[fault]

    async def step(me, peers, shares, options, source):
        return instead(shares, options)

    columns = columns_of(2, 1)
    options = options_of(columns)
    monkeypatch.setattr(correlate, name, step)
    with pytest.raises((AssertionError, LocalError)):
        judged((await correlated(columns, options))[BANK], correlate.ideal(columns, options), options)


# ---------------------------------------------------------------- bad input, bad counterparts


TOO_FEW = {
    "fewer rows than the job's minimum": ({"minimum_rows": 401}, "at least 401 rows"),
    "fewer than ten rows for each column of all parties": ({"minimum_rows": 20, "rows": 59}, "at least 60 rows"),
    "no threshold": ({"threshold": 0.0}, "threshold"),
    "more digits than are ever opened": ({"bits": 17}, "bits"),
}


@pytest.mark.parametrize("case", TOO_FEW)
async def test_too_little_is_refused_before_anything_is_sent(case):
    changes, words = TOO_FEW[case]
    columns = {name: own[: changes.get("rows", 400)] for name, own in a_table(1).items()}
    network = Network(timeout_s=0.2)
    with pytest.raises(LocalError, match=words):
        await correlated(columns, options_of(columns, **({"rows": 400} | changes)), network)
    assert not network.transcript


@pytest.mark.parametrize("wrong", [np.zeros((400, 2)), np.zeros((399, 3)), np.full((400, 3), np.nan)])
async def test_columns_of_another_form_are_an_error_of_ones_own(wrong):
    columns = a_table(1)
    options = options_of(columns, rows=400)
    with pytest.raises(LocalError, match="column"):
        await correlated({BANK: wrong, SHOP: columns[SHOP]}, options, Network(timeout_s=0.2))


async def test_shares_that_make_no_correlation_are_not_shown():
    columns = columns_of(2, 1)
    seen = []

    def tamper(sent):
        if not isinstance(sent.message, Opening) or sent.sender != SHOP:
            return sent.message
        seen.append(sent)
        share = sent.message.share
        return Opening(RingVector(share.values + np.uint64(1 << 40), 64)) if len(seen) == 2 else sent.message

    with pytest.raises(LocalError, match="do not add up to correlations"):
        await correlated(columns, options_of(columns, show="matrix"), Network(tamper, timeout_s=1.0))
