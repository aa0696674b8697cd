import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.credit import cut_offs
from mpc.credit.binning import BinCounts, Constraints, best_bins
from mpc.credit.fine_bins import NumericBins, numeric_bins
from mpc.credit.scorecard import (
    Characteristic,
    Scale,
    ScorecardPart,
    base_points,
    characteristic,
    combined,
    reasons,
)
from mpc.credit.weight_of_evidence import weight_of_evidence
from mpc.errors import LocalError
from mpc.statistics.logistic import fit_logistic


def test_the_scale_says_what_its_three_numbers_say():
    scale = Scale(600, 50, 20)
    at_50 = np.array([-math.log(50)])
    assert scale.score(at_50)[0] == pytest.approx(600, abs=1e-12)
    assert scale.score(at_50 - math.log(2))[0] == pytest.approx(620, abs=1e-12)
    assert scale.score(at_50 + math.log(2))[0] == pytest.approx(580, abs=1e-12)
    np.testing.assert_allclose(scale.log_odds(scale.score(np.linspace(-9, 9, 50))), np.linspace(-9, 9, 50), atol=1e-12)


def fitted(seed, rows=4000, columns=6):
    """A model on weights of evidence, and each column's merged bins with the rows' codes and weights."""
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(rows, columns))
    table[rng.random(table.shape) < 0.08] = np.nan
    bad = rng.random(rows) < 1 / (1 + np.exp(2 - np.nansum(table, axis=1) / 2))
    merged, codes, weights = [], [], []
    for values in table.T:
        fine = numeric_bins(values, most=15, minimum_rows=50)
        cells = fine.codes(values)
        in_bad = np.bincount(cells[bad], minlength=fine.count)
        counts = BinCounts.of(fine, np.bincount(cells, minlength=fine.count) - in_bad, in_bad)
        merging = best_bins(counts, Constraints())
        merged.append(merging.bins(fine))
        codes.append(merged[-1].codes(values))
        both = counts.merged(merging)
        weights.append(weight_of_evidence(both.good, both.bad))
    features = np.column_stack([np.ones(rows), *(w[c] for w, c in zip(weights, codes, strict=True))])
    fit = fit_logistic(features, bad, 1e-4, 0)
    return merged, codes, weights, fit.weights, features @ fit.weights


def split(scale, merged, weights, coefficients, parties):
    """The card in `parties` parts, the label holder's first."""
    entries = [
        characteristic(f"column {k}", bins, weight, coefficient, scale)
        for k, (bins, weight, coefficient) in enumerate(zip(merged, weights, coefficients[1:], strict=True))
    ]
    base = base_points(scale, coefficients[0])
    return [ScorecardPart(scale, base if k == 0 else 0.0, tuple(entries[k::parties])) for k in range(parties)]


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 1000),
    st.integers(1, 6),
    st.builds(
        Scale,
        base_score=st.floats(-1000, 1000),
        base_odds=st.floats(0.1, 100),
        pdo=st.floats(1, 100),
        decimals=st.sampled_from([None, 0, 1, 3]),
    ),
)
def test_the_parts_points_add_up_to_the_log_odds_but_for_rounding(seed, parties, scale):
    merged, codes, weights, coefficients, log_odds = fitted(seed, 1500, 5)
    parts = split(scale, merged, weights, coefficients, parties)
    named = {f"column {k}": code for k, code in enumerate(codes)}
    totals = [part.total(part.points(named, len(log_odds))) for part in parts]
    gap = np.abs(combined(totals) - scale.score(log_odds)).max()
    assert gap <= scale.rounding(5, parties) + 1e-9 * max(1.0, abs(scale.base_score), scale.factor)
    if scale.decimals is None:
        assert scale.rounding(5, parties) == 0.0


def test_whole_points_are_whole_and_the_split_card_equals_the_whole_card():
    merged, codes, weights, coefficients, _ = fitted(3)
    scale = Scale()
    named = {f"column {k}": code for k, code in enumerate(codes)}
    whole = [part.total(part.points(named, 4000)) for part in split(scale, merged, weights, coefficients, 1)]
    parts = [part.total(part.points(named, 4000)) for part in split(scale, merged, weights, coefficients, 3)]
    np.testing.assert_array_equal(whole[0], np.round(whole[0]))
    np.testing.assert_array_equal(combined(parts), whole[0])


def test_riskier_bins_have_fewer_points():
    merged, _, weights, coefficients, _ = fitted(5)
    part = split(Scale(decimals=None), merged, weights, coefficients, 1)[0]
    for entry, weight, coefficient in zip(part.characteristics, weights, coefficients[1:], strict=True):
        assert coefficient < 0  # log-odds of being bad fall with the weight of evidence
        np.testing.assert_array_equal(np.argsort(entry.points), np.argsort(weight))


def test_a_row_in_no_bin_gets_no_points_of_that_characteristic():
    entry = Characteristic("age", NumericBins((30.0,)), (-4.0, 7.0))
    codes = entry.bins.codes(np.array([20.0, 40.0, np.nan]))
    assert entry.scored(codes).tolist() == [-4.0, 7.0, 0.0]


def test_reasons_are_the_greatest_shortfalls_below_the_best_bin():
    part = ScorecardPart(
        Scale(), 500.0,
        (
            Characteristic("age", NumericBins((30.0,)), (-10.0, 10.0)),
            Characteristic("income", NumericBins((1.0, 2.0)), (-30.0, 0.0, 12.0)),
            Characteristic("tenure", NumericBins((5.0,)), (-5.0, 15.0)),
        ),
    )
    codes = {"age": np.array([0, 1, 1]), "income": np.array([0, 2, 1]), "tenure": np.array([0, 1, 1])}
    falls = part.shortfalls(part.points(codes, 3))
    assert falls.tolist() == [[20.0, 42.0, 20.0], [0.0, 0.0, 0.0], [0.0, 12.0, 0.0]]
    assert reasons(falls, 2).tolist() == [[1, 0], [-1, -1], [1, -1]]  # of equals the first
    assert reasons(falls, 5).tolist()[0] == [1, 0, 2, -1, -1]
    # the other party's shortfalls stand beside ours
    assert reasons(np.hstack([falls, np.array([[50.0], [0.0], [1.0]])]), 1).tolist() == [[3], [-1], [1]]


def test_a_part_without_characteristics_has_its_base_points():
    part = ScorecardPart(Scale(), 487.0, ())
    assert part.total(part.points({}, 3)).tolist() == [487.0] * 3


def test_a_missing_column_is_named():
    part = ScorecardPart(Scale(), 0.0, (Characteristic("age", NumericBins(()), (0.0,)),))
    with pytest.raises(LocalError, match="no column `age`"):
        part.points({}, 1)


def test_a_part_is_not_shown_and_not_pickled():
    part = ScorecardPart(Scale(), 0.0, (Characteristic("income", NumericBins((7.25,)), (0.0, 3.5)),))
    assert "7.25" not in repr(part) + repr(part.characteristics[0])
    assert "income" not in repr(part) + repr(part.characteristics[0])
    with pytest.raises(TypeError):
        pickle.dumps(part)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Scale(base_odds=0.0),
        lambda: Scale(pdo=-20.0),
        lambda: Scale(base_score=math.nan),
        lambda: Scale(decimals=-1),
        lambda: Characteristic("age", NumericBins((1.0,)), (1.0,)),
        lambda: Characteristic("age", NumericBins((1.0,)), (1.0, math.inf)),
        lambda: ScorecardPart(Scale(), 0.0, (Characteristic("age", NumericBins(()), (0.0,)),) * 2),
        lambda: combined([np.zeros(2), np.zeros(3)]),
    ],
)
def test_cards_without_sense_are_refused(make):
    with pytest.raises(LocalError):
        make()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 200))
def test_the_cut_off_table_counts_what_each_cut_would_approve(seed, rows):
    rng = np.random.default_rng(seed)
    bad = rng.random(rows) < 0.4
    bad[:2] = [True, False]
    points = np.round(rng.normal(600 - 20 * bad, 30), -1)
    cuts = np.array([0.0, 550.0, 600.0, 605.0, 5000.0])
    table = cut_offs.cut_off_table(bad, points, cuts[::-1])
    np.testing.assert_array_equal(table.cuts, cuts)
    for place, cut in enumerate(cuts):
        passed = points >= cut
        assert table.approved[place] == passed.sum()
        assert table.approval_rate[place] == pytest.approx(passed.mean())
        assert table.bad_declined[place] == pytest.approx((bad & ~passed).sum() / bad.sum())
        assert table.good_declined[place] == pytest.approx((~bad & ~passed).sum() / (~bad).sum())
        if passed.any():
            assert table.bad_rate[place] == pytest.approx(bad[passed].mean())
        else:
            assert math.isnan(table.bad_rate[place])


def test_a_cut_off_table_without_finite_cuts_is_refused():
    for cuts in ([], [math.nan]):
        with pytest.raises(LocalError):
            cut_offs.cut_off_table([0, 1], [1.0, 2.0], cuts)
