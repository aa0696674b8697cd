from fractions import Fraction
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.credit.binning import UNIT, BinCounts, Constraints, Trend, best_bins
from mpc.credit.fine_bins import LevelBins, NumericBins, level_bins, numeric_bins
from mpc.credit.weight_of_evidence import information_against, information_value
from mpc.errors import LocalError

RUNS = {
    Trend.ASCENDING: lambda rates: rises(rates),
    Trend.DESCENDING: lambda rates: rises(rates[::-1]),
    Trend.PEAK: lambda rates: any(rises(rates[: i + 1]) and rises(rates[i:][::-1]) for i in range(len(rates))),
    Trend.VALLEY: lambda rates: any(rises(rates[: i + 1][::-1]) and rises(rates[i:]) for i in range(len(rates))),
    Trend.FREE: lambda rates: True,
    Trend.AUTO: lambda rates: rises(rates) or rises(rates[::-1]),
}


def rises(rates):
    return all(one <= other for one, other in pairwise(rates))


def parts(size):
    """All ways to cut 0..size-1 into runs, as lists of starts and the end."""
    inner = range(1, size)
    return [[0, *cut, size] for count in range(size) for cut in combinations(inner, count)]


def by_search(good, bad, constraints):
    """The greatest information value over all mergings that keep the constraints; None where there is none."""
    total, values = int(good.sum() + bad.sum()), []
    for cut in parts(len(good)):
        merged_good, merged_bad = np.add.reduceat(good, cut[:-1]), np.add.reduceat(bad, cut[:-1])
        rows = merged_good + merged_bad
        if (
            len(rows) <= constraints.maximum_bins
            and rows.min() >= constraints.least_rows(total)
            and merged_good.min() >= constraints.minimum_good
            and merged_bad.min() >= constraints.minimum_bad
            and RUNS[constraints.trend]([Fraction(int(b), int(n)) for b, n in zip(merged_bad, rows, strict=True)])
        ):
            values.append(information_value(merged_good, merged_bad))
    return max(values, default=None)


@st.composite
def counts(draw, most=9):
    cell = st.integers(0, draw(st.sampled_from([12, 2000, 10**8])))
    size = draw(st.integers(1, most))
    good, bad = (np.array(draw(st.lists(cell, min_size=size, max_size=size))) for _ in range(2))
    good[0], bad[-1] = good[0] + 1, bad[-1] + 1
    return good, bad


@settings(max_examples=250, deadline=None)
@given(
    counts(),
    st.builds(
        Constraints,
        trend=st.sampled_from(Trend),
        minimum_rows=st.integers(1, 30),
        minimum_share=st.sampled_from([0.0, 0.05, 0.2]),
        minimum_good=st.integers(1, 4),
        minimum_bad=st.integers(1, 4),
        maximum_bins=st.integers(1, 9),
    ),
)
def test_no_merging_that_keeps_the_constraints_says_more(case, constraints):
    good, bad = case
    found = best_bins(BinCounts(good, bad, len(good)), constraints)
    merged = BinCounts(good, bad, len(good)).merged(found)
    best = by_search(good, bad, constraints)
    if best is None:
        assert found.count == 1
        return
    assert information_value(merged.good, merged.bad) == pytest.approx(best, abs=1e-12)
    assert list(found.group) == sorted(found.group)
    assert found.trend is not Trend.AUTO
    assert RUNS[found.trend]([Fraction(int(b), int(n)) for b, n in zip(merged.bad, merged.rows, strict=True)])
    assert merged.rows.min() >= constraints.least_rows(int(merged.rows.sum()))
    assert min(merged.good.min() - constraints.minimum_good, merged.bad.min() - constraints.minimum_bad) >= 0
    assert found.count <= constraints.maximum_bins


@settings(max_examples=60, deadline=None)
@given(counts(most=6))
def test_levels_are_merged_better_than_in_any_order_of_runs(case):
    good, bad = case
    constraints = Constraints(minimum_rows=1, minimum_share=0.0, maximum_bins=3)
    column = BinCounts(good, bad, len(good), ordered=False)
    found = best_bins(column, constraints)
    merged = column.merged(found)
    assert rises([Fraction(int(b), int(n)) for b, n in zip(merged.bad, merged.rows, strict=True)])
    rows = (good + bad).tolist()
    rate = [(count == 0, Fraction(int(bad[i]), count or 1)) for i, count in enumerate(rows)]
    order = sorted(range(len(good)), key=rate.__getitem__)
    best = by_search(good[order], bad[order], Constraints(Trend.FREE, 1, 0.0, maximum_bins=3))
    if best is not None:
        assert information_value(merged.good, merged.bad) == pytest.approx(best, abs=1e-12)


def test_equal_rates_are_merged_because_fewer_bins_say_as_much():
    column = BinCounts(np.array([90, 180, 60]), np.array([10, 20, 40]), 3)
    assert best_bins(column, Constraints(Trend.ASCENDING)).group == (0, 0, 1)


def test_of_mirrored_mergings_the_one_whose_last_cut_comes_first_is_taken():
    good, bad = np.array([50, 30, 30, 50]), np.array([5, 20, 20, 5])
    found = best_bins(BinCounts(good, bad, 4), Constraints(Trend.FREE, 1, 0.0, maximum_bins=2))
    assert found.group == (0, 1, 1, 1)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from([(9, 1), (8, 4), (3, 3), (9, 1)]), min_size=2, max_size=8),
       st.sampled_from([Trend.ASCENDING, Trend.DESCENDING, Trend.FREE]), st.integers(1, 4))
def test_equally_good_mergings_are_told_apart_by_the_rule(cells, trend, most):
    """Few kinds of bins, so that ties abound: fewest bins, then the earliest last cut, then the cut before it."""
    good, bad = (np.array(part) for part in zip(*cells, strict=True))
    total_good, total_bad = int(good.sum()), int(bad.sum())
    found = []
    for ends in parts(len(cells)):
        cuts = tuple(ends[1:-1])
        one = np.array([[good[a:b].sum(), bad[a:b].sum()] for a, b in pairwise(ends)])
        if len(cuts) < most and RUNS[trend]([Fraction(int(b), int(g + b)) for g, b in one]):
            units = np.rint(information_against(one[:, 0], one[:, 1], total_good, total_bad) * UNIT).sum() / UNIT
            found.append((units, cuts))
    top = max(units for units, _ in found)
    few = min(len(cuts) for units, cuts in found if units >= top - 1e-12 * max(top, 1.0))
    highest = max(units for units, cuts in found if len(cuts) == few)
    due = min(tuple(reversed(cuts)) for units, cuts in found if len(cuts) == few and units == highest)
    group = best_bins(BinCounts(good, bad, len(cells)), Constraints(trend, 1, 0.0, maximum_bins=most)).group
    assert tuple(place for place in range(len(cells) - 1, 0, -1) if group[place] != group[place - 1]) == due


def test_auto_takes_the_direction_that_says_more():
    good = np.array([80, 85, 90, 95])
    assert best_bins(BinCounts(good, 100 - good, 4), Constraints()).trend is Trend.DESCENDING
    assert best_bins(BinCounts(good[::-1].copy(), 100 - good[::-1], 4), Constraints()).trend is Trend.ASCENDING


def test_bins_apart_stay_apart_and_count_in_the_totals():
    bins = NumericBins((1.0, 2.0), special=((-999.0, 3),), missing=4)
    column = BinCounts.of(bins, [50, 60, 70, 0, 25], [50, 40, 30, 0, 25])
    found = best_bins(column, Constraints(Trend.DESCENDING))
    assert found.group == (0, 1, 2, 3, 4)
    assert found.regular == 3
    assert found.cuts(bins) == (1.0, 2.0)
    # a share of all 350 rows: 30 % is 105, so each regular bin of 100 is too small alone
    assert best_bins(column, Constraints(Trend.DESCENDING, minimum_share=0.3)).group in [(0, 0, 0, 1, 2)]


def test_a_bin_apart_below_the_minimum_cell_is_refused_unless_it_is_empty():
    bins = NumericBins((1.0,), missing=2)
    with pytest.raises(LocalError, match="fewer than 20"):
        best_bins(BinCounts.of(bins, [50, 60, 10], [50, 40, 9]), Constraints())
    assert best_bins(BinCounts.of(bins, [50, 60, 0], [50, 40, 0]), Constraints()).count == 3


def test_cuts_are_the_edges_between_merged_bins():
    bins = NumericBins((1.0, 2.0, 3.0), missing=4)
    column = BinCounts.of(bins, [90, 90, 50, 50, 60], [10, 10, 50, 50, 40])
    found = best_bins(column, Constraints())
    assert (found.group, found.cuts(bins)) == ((0, 0, 1, 1, 2), (2.0,))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_merged_bins_put_every_row_where_its_fine_bin_went(seed, numeric):
    rng = np.random.default_rng(seed)
    bad = rng.random(600) < 0.3
    bad[:2] = [True, False]
    if numeric:
        values = np.round(rng.normal(bad), 1)
        values[rng.random(600) < rng.choice([0.0, 0.01, 0.2])] = np.nan
        values[rng.random(600) < rng.choice([0.0, 0.01, 0.2])] = -9.0
        fine = numeric_bins(values, most=12, minimum_rows=20, special=(-9.0,))
        column = (values,)
    else:
        cells = (rng.geometric(0.2, 600) % 14 - 1).astype(np.int32)
        column = (cells, [f"level {i}" for i in range(13)])
        fine = level_bins(*column, most=8, minimum_rows=20)
    codes = fine.codes(*column)
    in_bad = np.bincount(codes[bad], minlength=fine.count)
    merging = best_bins(BinCounts.of(fine, np.bincount(codes, minlength=fine.count) - in_bad, in_bad), Constraints())
    merged = merging.bins(fine)
    assert (merged.regular, merged.count) == (merging.regular, merging.count)
    np.testing.assert_array_equal(merged.codes(*column), np.array(merging.group)[codes])


def test_levels_of_one_merged_bin_need_not_stand_side_by_side():
    bins = LevelBins((("rents",), ("owns",), ("lodges",)))
    column = BinCounts.of(bins, [500, 900, 501], [500, 100, 499])
    assert best_bins(column, Constraints(maximum_bins=2)).group == (1, 0, 1)


@pytest.mark.parametrize(
    "given_", [{"minimum_rows": 0}, {"minimum_share": 1.5}, {"maximum_bins": 0}, {"minimum_bad": 0}]
)
def test_constraints_without_sense_are_refused(given_):
    with pytest.raises(LocalError):
        Constraints(**given_)


def test_counts_that_do_not_fit_the_bins_are_refused():
    with pytest.raises(LocalError, match="as many counts as bins"):
        BinCounts.of(NumericBins((1.0,)), [1, 2, 3], [1, 2, 3])
