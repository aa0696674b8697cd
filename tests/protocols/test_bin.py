"""The joint counts: equal to pooled, nothing below the minimum cell, nothing opened that was not signed, and what each
side sees."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import gmpy2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mpc.credit.binning import Constraints, Trend, best_bins
from mpc.credit.weight_of_evidence import information_value
from mpc.errors import LocalError, PeerError, Reason
from mpc.kernels.engines.selection import engine_name
from mpc.link import PartyId
from mpc.paillier.ciphertexts import seal
from mpc.paillier.rerandomisation import Rerandomiser
from mpc.protocols import bin, bin_terms
from mpc.protocols.bin_terms import Disguise, own_counts
from mpc.rng import Rng
from mpc.testing.keys import small_key
from mpc.testing.memory_link import Network, party, run_roles

BANK, SHOP, TELECOM = (PartyId(name) for name in ("bank", "shop", "telecom"))
BITS = 256


# ---------------------------------------------------------------- runs


def options_for(own, rows, **changes):
    limits = Constraints(minimum_rows=5, minimum_share=0.0, minimum_good=2, minimum_bad=2)
    values = {"label_holder": BANK, "rows": rows, "columns": {p: max(1, len(columns)) for p, columns in own.items()},
              "slots": 8, "constraints": limits, "minimum_information": 0.0, "key_bits": BITS}
    return bin.BinOptions(**(values | changes))


def a_column(draw, rows, count=6, apart=1, ordered=True, trend=Trend.AUTO, lean=None):
    """Every bin has five rows at least; `lean` (rows,) pulls rows with a True to the higher bins."""
    codes = np.concatenate([np.repeat(np.arange(count), 5), draw.integers(0, count, rows - 5 * count)])
    codes = draw.permutation(codes)
    if lean is not None:
        order = np.argsort(draw.normal(size=rows) + 1.5 * lean)
        codes = np.sort(codes)[np.argsort(order)]
    return bin.Column(codes.astype(np.uint8), count - apart, count, ordered, trend)


async def counted(labels, columns, options, network=None, ledgers=None, seed=1, engine="auto"):
    network, key = network or Network(), small_key(options.key_bits, engine=engine)
    people = {name: party(name, seed, (ledgers or {}).get(name)) for name in (BANK, *columns)}
    return await run_roles({
        BANK: bin.run_label_holder(people[BANK], {p: network.link(BANK, p) for p in columns}, labels, options, key),
        **{p: bin.run_feature_holder(people[p], network.link(p, BANK), own, options) for p, own in columns.items()},
    })


def a_table(seed, rows=120, **changes):
    draw = np.random.default_rng(seed)
    labels = draw.permutation(np.arange(rows) < rows // 3)
    return labels, {SHOP: [a_column(draw, rows, lean=labels, **changes), a_column(draw, rows, **changes)]}


# ---------------------------------------------------------------- equal to pooled


def assert_as_good(found, best):
    """The same bins; or, since nobody who counts anonymous bins can know which comes first, bins that tie with them."""
    if found != best:
        assert len(found.bad) == len(best.bad)
        assert abs(information_value(found.good, found.bad) - information_value(best.good, best.bad)) < 1e-12


@example(seed=166521, trend=Trend.ASCENDING, ordered=False, apart=0)  # two levels of the same bad rate
@given(seed=st.integers(0, 10**6), trend=st.sampled_from(list(Trend)), ordered=st.booleans(), apart=st.integers(0, 3))
@settings(max_examples=15, deadline=None)
def test_joint_bins_equal_the_best_bins_of_the_pooled_table(seed, trend, ordered, apart):
    labels, columns = a_table(seed, trend=trend, ordered=ordered, apart=apart)
    options = options_for(columns, len(labels))
    results = asyncio.run(counted(labels, columns, options, seed=seed))
    due = bin.ideal(labels, columns, options)[SHOP]
    for column, answer, best in zip(columns[SHOP], results[SHOP], due, strict=True):
        assert_as_good(answer, best)
        group = np.array(answer.group)[column.codes]
        assert answer.bad == tuple(int(labels[group == k].sum()) for k in range(len(answer.bad)))
        assert answer.good == tuple(int((~labels)[group == k].sum()) for k in range(len(answer.good)))


@pytest.mark.parametrize("engine", ["gmp", "ifma", "phe"])
async def test_every_engine_gives_the_same_bins(engine):
    if engine == "ifma" and engine_name() != "ifma":
        engine = "auto"
    labels, columns = a_table(3)
    options = options_for(columns, len(labels), engine=engine)
    results = await counted(labels, columns, options, engine=engine)
    assert results[SHOP] == bin.ideal(labels, columns, options)[SHOP]


async def test_three_parties_and_columns_without_bins_are_counted_alike():
    labels, columns = a_table(4)
    _, others = a_table(5)
    columns = {SHOP: columns[SHOP], TELECOM: others[SHOP][:1]}
    options = options_for(columns, len(labels), columns={SHOP: 4, TELECOM: 3})
    results = await counted(labels, columns, options)
    assert {p: results[p] for p in columns} == bin.ideal(labels, columns, options)
    nothing = await counted(labels, {SHOP: []}, options_for({SHOP: []}, len(labels)))
    assert nothing == {BANK: {SHOP: []}, SHOP: []}


async def test_counts_at_their_greatest_fill_their_digits_and_no_more():
    """All customers but one are bad, in one bin of many: every digit but one holds the number of rows minus one."""
    rows = 127
    labels = np.arange(rows) != 0
    column = bin.Column(np.zeros(rows, np.uint8), 1, 1)
    options = options_for({SHOP: [column] * 9}, rows, slots=3)
    assert options.bits == 7
    assert options.replies(SHOP) == 1
    network = Network()
    results = await counted(labels, {SHOP: [column] * 9}, options, network)
    assert results[SHOP] == [bin.Told((0,), (1,), (rows - 1,))] * 9


def test_packed_counts_equal_python_integers():
    draw = np.random.default_rng(8)
    for columns, slots, rows in ((1, 1, 1), (3, 5, 100), (7, 6, 31), (20, 21, 5000)):
        options = options_for({SHOP: [None] * columns}, rows, slots=slots)
        counts = draw.integers(0, rows + 1, columns * slots)
        key = small_key(BITS)
        sums = key.public.parse(key.encryptor(Rng(bytes(32)), 9).encrypt(counts.tolist()), len(counts))
        values = key.decrypt(bin.packed(sums, options, SHOP))
        assert len(values) == options.replies(SHOP)
        assert max(values) < key.public.n
        found, rest = bin.digits(values, options, SHOP)
        assert found.reshape(-1).tolist() == counts.tolist()
        assert rest == 0
        assert bin.digits([values[0] | 1 << (options.counts_each(SHOP) * options.bits), *values[1:]], options, SHOP)[1]


# ---------------------------------------------------------------- small cells


async def test_a_bin_below_the_minimum_cell_is_our_error_before_anything_is_sent():
    labels, columns = a_table(6)
    columns[SHOP][1] = replace(columns[SHOP][1], codes=np.where(np.arange(len(labels)) < 4, 5, 0).astype(np.uint8),
                               regular=5)
    options, network = options_for(columns, len(labels)), Network(timeout_s=0.2)
    with pytest.raises(LocalError, match="minimum cell"):
        await counted(labels, columns, options, network)
    assert not [sent for sent in network.transcript if sent.sender == SHOP]


async def test_a_bin_below_the_minimum_cell_that_was_sent_all_the_same_is_refused(monkeypatch):
    labels, columns = a_table(6)
    codes = columns[SHOP][1].codes.copy()
    codes[codes == 5] = 0
    codes[:4] = 5
    columns[SHOP][1] = replace(columns[SHOP][1], codes=codes)
    monkeypatch.setattr(bin, "check_columns", lambda columns, options, party: None)
    network = Network()
    with pytest.raises(PeerError) as caught:
        await counted(labels, columns, options_for(columns, len(labels)), network)
    assert (caught.value.culprit, caught.value.reason) == (SHOP, Reason.SMALL_CELL)
    assert not [sent for sent in network.transcript if isinstance(sent.message, bin.MergedBins)]


async def test_a_reply_made_to_have_every_outcome_decrypted_is_refused_and_nothing_is_answered(monkeypatch):
    """Outcome i times 2^i, in the place of the counts: all outcomes in one plaintext."""
    labels, columns = a_table(7)
    options, network, received = options_for(columns, len(labels)), Network(), []
    assert options.replies(SHOP) == 1
    joined = bin.joined

    def kept(parts):
        received.append(joined(parts))
        return received[-1]

    def marked(sums, options, party):
        total, (labels_of_all,) = None, received
        for row in reversed(range(len(labels))):
            label = labels_of_all.slice(row, row + 1)
            total = label if total is None else total.scale(2).add(label)
        return total

    monkeypatch.setattr(bin, "joined", kept)
    monkeypatch.setattr(bin, "packed", marked)
    with pytest.raises(PeerError) as caught:
        await counted(labels, columns, options, network)
    assert (caught.value.culprit, caught.value.reason) == (SHOP, Reason.OUT_OF_RANGE)
    assert not [one for one in network.transcript if isinstance(one.message, bin.MergedBins)]


BARE = {
    "missing customers without a bad one": ([20, 20, 30, 12], [10, 6, 2, 0], 3),
    "special values without a good one": ([20, 20, 5, 0], [10, 6, 2, 12], 2),
    "two bins apart, both bare": ([20, 20, 9, 11], [10, 3, 0, 1], 2),
    "all bad customers in one bin": ([20, 20, 20, 20], [12, 0, 0, 0], 3),
}


@pytest.mark.parametrize("case", BARE)
def test_no_merged_bin_has_fewer_good_or_bad_customers_than_the_minimum(case):
    good, bad, regular = BARE[case]
    options = options_for({SHOP: [None]}, 500)
    counts = bin_terms.BinCounts(np.array(good), np.array(bad), regular)
    answer = options.told(counts, Trend.AUTO)
    assert sum(answer.good) == sum(good)
    assert sum(answer.bad) == sum(bad)
    assert len(answer.good) == 1 or min(*answer.good, *answer.bad) >= 2


def test_bins_that_keep_the_minimum_are_those_of_the_programme_alone():
    labels, columns = a_table(9, rows=300)
    options = options_for(columns, len(labels))
    for column in columns[SHOP]:
        counts = own_counts(column, labels)
        plain = best_bins(counts, replace(options.constraints, trend=column.trend))
        merged = counts.merged(plain)
        if min(*merged.good, *merged.bad) >= 2:
            answer = options.told(counts, column.trend)
            assert sorted(zip(answer.good, answer.bad, strict=True)) == \
                sorted(zip(merged.good.tolist(), merged.bad.tolist(), strict=True))


async def test_a_column_below_the_information_value_is_one_bin():
    labels, columns = a_table(10, rows=300)
    values = [information_value(*zip(*zip(one.good, one.bad, strict=True), strict=True))
              for one in bin.ideal(labels, columns, options_for(columns, len(labels)))[SHOP]]
    assert values[0] > 0.3 > values[1]
    options = options_for(columns, len(labels), minimum_information=0.3)
    results = await counted(labels, columns, options)
    assert len(results[SHOP][0].good) > 1
    assert results[SHOP][1] == bin.Told((0,) * 6, (200,), (100,))


# ---------------------------------------------------------------- what each side sees


def test_a_disguise_shuffles_columns_turns_numbers_and_shuffles_levels_and_bins_apart():
    draw = np.random.default_rng(2)
    columns = [a_column(draw, 60), a_column(draw, 60, apart=3), a_column(draw, 60, ordered=False)]
    drawn = [Disguise.draw(columns, Rng(seed.to_bytes(32, "big"))) for seed in range(600)]
    orders = [tuple(one.order.tolist()) for one in drawn]
    assert len(set(orders)) == 6
    assert min(orders.count(order) for order in set(orders)) > 60
    turned = [one.turned[one.order.tolist().index(0)] for one in drawn]
    assert 240 < sum(turned) < 360
    levels = [tuple(one.places[one.order.tolist().index(2)][:5].tolist()) for one in drawn]
    assert len(set(levels)) > 100
    apart = [tuple(one.places[one.order.tolist().index(1)][3:].tolist()) for one in drawn]
    assert len(set(apart)) == 6
    for one in drawn[:20]:
        for c in range(3):
            shown, own = one.apply(columns, c), columns[one.order[c]]
            assert sorted(shown.totals().tolist()) == sorted(own.totals().tolist())
            assert shown.trend == own.trend == Trend.AUTO


@pytest.mark.parametrize(("trend", "mirrored"), [
    (Trend.ASCENDING, Trend.DESCENDING), (Trend.DESCENDING, Trend.ASCENDING), (Trend.PEAK, Trend.PEAK),
    (Trend.VALLEY, Trend.VALLEY), (Trend.FREE, Trend.FREE),
])
def test_a_column_that_is_turned_round_asks_for_the_mirrored_trend(trend, mirrored):
    column = a_column(np.random.default_rng(2), 60, trend=trend)
    seen = {Disguise.draw([column], Rng(seed.to_bytes(32, "big"))).apply([column], 0).trend for seed in range(20)}
    assert seen == {trend, mirrored}


def replies_of(network):
    return [s.message for s in network.transcript if isinstance(s.message, bin.AnonymousCounts)]


def numbers(sealed):
    return [int.from_bytes(sealed.data[i : i + sealed.width], "little")
            for i in range(0, len(sealed.data), sealed.width)]


async def who_holds_all_inputs_confirms():
    """Whether the randomness of the first reply is that of the labels of the bins packed into it: an auditor's test
    with the true bins, which a label holder could make with guessed ones."""
    labels, columns = a_table(12, apart=0)
    columns = {SHOP: columns[SHOP][:1]}
    options, network = options_for(columns, len(labels)), Network()
    await counted(labels, columns, options, network)
    sent = [number for s in network.transcript if isinstance(s.message, bin.EncryptedLabels)
            for number in numbers(s.message.labels)]
    n = small_key(BITS).public.n
    (reply,) = replies_of(network)
    guesses = []
    for codes in (columns[SHOP][0].codes, 5 - columns[SHOP][0].codes):     # turned round or not
        product = gmpy2.mpz(1)
        for c, code in zip(sent, codes.tolist(), strict=True):
            product = product * gmpy2.powmod(c, 1 << options.bits * code, n) % n
        guesses.append(product == numbers(reply.bad)[0] % n)
    return any(guesses)


async def test_the_randomness_of_a_reply_confirms_no_guess_of_bins_unless_it_is_left_as_it_was(monkeypatch):
    assert not await who_holds_all_inputs_confirms()
    monkeypatch.setattr(Rerandomiser, "seal", lambda self, vector: seal(self._key, vector.residues))
    assert await who_holds_all_inputs_confirms()


@pytest.mark.parametrize("who", [BANK, SHOP])
@pytest.mark.parametrize("code", ["bin.counts", "bin.merged"])
async def test_without_both_ledger_lines_nothing_is_sent(who, code):
    labels, columns = a_table(14)
    network = Network(timeout_s=0.2)
    lines = {line.code: line for line in bin.PROTOCOL.ledger if line.code != code}
    with pytest.raises(LocalError, match=f"{code}' is not in the reveal list"):
        await counted(labels, columns, options_for(columns, len(labels)), network, {who: lines})
    assert not [sent for sent in network.transcript if sent.sender == who]


async def test_the_ledger_counts_room_and_not_what_is_in_it():
    labels, columns = a_table(15)
    options = options_for(columns, len(labels), columns={SHOP: 5})
    people = {name: party(name) for name in (BANK, SHOP)}
    network = Network()
    await run_roles({
        BANK: bin.run_label_holder(people[BANK], {SHOP: network.link(BANK, SHOP)}, labels, options, small_key(BITS)),
        SHOP: bin.run_feature_holder(people[SHOP], network.link(SHOP, BANK), columns[SHOP], options),
    })
    assert {name: me.ledger.opened for name, me in people.items()} == \
        {name: {"bin.counts": 5 * 8, "bin.merged": 5} for name in people}


WRONG = {
    "labels of one kind": lambda labels, columns, options: (np.zeros_like(labels), columns, options),
    "a label too few": lambda labels, columns, options: (labels[1:], columns, options),
    "a column with a row too few": lambda labels, columns, options: (
        labels, {SHOP: [replace(columns[SHOP][0], codes=columns[SHOP][0].codes[1:])]}, options),
    "more columns than were agreed": lambda labels, columns, options: (labels, columns, replace(
        options, columns={SHOP: 1})),
    "more bins than were agreed": lambda labels, columns, options: (labels, columns, replace(options, slots=5)),
    "a key of another length": lambda labels, columns, options: (labels, columns, replace(options, key_bits=512)),
}


@pytest.mark.parametrize("what", WRONG)
async def test_our_own_mistakes_are_ours(what):
    labels, columns = a_table(16)
    labels, columns, options = WRONG[what](labels, columns, options_for(columns, len(labels)))
    network, key = Network(timeout_s=0.2), small_key(BITS)
    people = {name: party(name) for name in (BANK, SHOP)}
    with pytest.raises(LocalError):
        await run_roles({
            BANK: bin.run_label_holder(people[BANK], {SHOP: network.link(BANK, SHOP)}, labels, options, key),
            SHOP: bin.run_feature_holder(people[SHOP], network.link(SHOP, BANK), columns[SHOP], options),
        })


def test_options_that_make_no_sense_are_refused():
    for changes in ({"slots": 0}, {"slots": 256}, {"rows": 0}, {"columns": {}}, {"columns": {SHOP: 0}},
                    {"columns": {BANK: 3}}):
        with pytest.raises(LocalError):
            replace(options_for({SHOP: [None]}, 10), **changes)


def test_counts_that_are_told_are_those_of_the_rows():
    labels, columns = a_table(17)
    column = columns[SHOP][0]
    counts = own_counts(column, labels)
    assert counts.rows.tolist() == column.totals().tolist()
    assert counts.good.tolist() == np.bincount(column.codes[~labels], minlength=column.count).tolist()
