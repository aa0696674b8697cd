import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from mpc.credit import cut_offs
from mpc.errors import LocalError
from mpc.statistics import curves, metrics
from mpc.statistics.logistic import sigmoid
from mpc.statistics.metrics import Ranking


@st.composite
def labelled_scores(draw):
    """Labels of both kinds and scores of which many are equal."""
    size = draw(st.integers(4, 120))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    outcome = rng.random(size) < draw(st.floats(0.1, 0.9))
    outcome[:2] = [True, False]
    scores = rng.normal(outcome * 1.0, 1.0)
    return outcome, np.round(scores, draw(st.integers(0, 3)))


def curve_of(outcome, scores):
    return Ranking.of(outcome, scores).curve()


@settings(max_examples=60, deadline=None)
@given(labelled_scores())
def test_ranking_and_accuracy_equal_sklearn_ties_included(case):
    outcome, scores = case
    p = 1 / (1 + np.exp(-scores))
    fpr, tpr, thresholds = sk.roc_curve(outcome, scores, drop_intermediate=False)
    ours = metrics.roc_curve(outcome, scores)
    np.testing.assert_allclose(ours.false_positive_rate, fpr, atol=1e-9)
    np.testing.assert_allclose(ours.true_positive_rate, tpr, atol=1e-9)
    np.testing.assert_allclose(ours.thresholds, thresholds, atol=1e-9)
    auc = sk.roc_auc_score(outcome, scores)
    assert metrics.roc_auc(outcome, scores) == pytest.approx(auc, abs=1e-9)
    assert metrics.gini(outcome, scores) == pytest.approx(2 * auc - 1, abs=1e-9)
    assert metrics.ks(outcome, scores) == pytest.approx(np.max(tpr - fpr), abs=1e-9)
    assert metrics.brier(outcome, scores) == pytest.approx(sk.brier_score_loss(outcome, p), abs=1e-9)
    assert metrics.log_loss(outcome, scores) == pytest.approx(sk.log_loss(outcome, p), abs=1e-9)


# found by the search: edges that fall on a probability and differ from it in the last bit only
@example((np.array([True, False, True, True]), np.array([0.5, 0.4, 2.3, 1.9])), 3)
@settings(max_examples=60, deadline=None)
@given(labelled_scores(), st.integers(2, 20))
def test_calibration_bins_equal_sklearn_and_merged_bins_keep_the_minimum(case, bins):
    outcome, scores = case
    p = sigmoid(scores)  # an edge may fall on a probability, and then its last bit counts
    observed, predicted = calibration_curve(outcome, p, n_bins=bins, strategy="quantile")
    ours = metrics.calibration_bins(outcome, scores, bins)
    np.testing.assert_allclose(ours.observed, observed, atol=1e-9)
    np.testing.assert_allclose(ours.predicted, predicted, atol=1e-9)
    merged = metrics.calibration_bins(outcome, scores, bins, minimum_cell=15)
    assert merged.rows.sum() == len(outcome)
    assert len(merged.rows) == 1 or merged.rows.min() >= 15
    assert (merged.rows @ merged.observed) == pytest.approx(outcome.sum())


@settings(max_examples=40, deadline=None)
@given(labelled_scores(), st.integers(0, 100))
def test_counts_as_weights_equal_repeated_rows_and_order_does_not_matter(case, seed):
    outcome, scores = case
    rng = np.random.default_rng(seed)
    times = rng.integers(0, 3, len(outcome))
    times[:2] = 1
    repeated = np.repeat(np.arange(len(outcome)), times)
    rng.shuffle(repeated)
    weighted = Ranking.of(outcome, scores).curve(times.astype(float))
    plain = curve_of(outcome[repeated], scores[repeated])
    assert metrics.auc_of(weighted) == pytest.approx(metrics.auc_of(plain), abs=1e-12)
    assert metrics.ks_of(weighted) == pytest.approx(metrics.ks_of(plain), abs=1e-12)
    for approval in (0.3, 0.8, 1.0):
        rate = cut_offs.bad_rate_at_approval(plain, approval)
        assert cut_offs.bad_rate_at_approval(weighted, approval) == pytest.approx(rate, abs=1e-12)
        share = cut_offs.approval_at_bad_rate(plain, rate)
        assert cut_offs.approval_at_bad_rate(weighted, rate + 1e-9) == pytest.approx(share, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(labelled_scores(), st.floats(0.05, 1.0))
def test_approval_at_a_bad_rate_is_the_largest_that_keeps_it(case, approval):
    outcome, scores = case
    curve = curve_of(outcome, scores)
    rate = cut_offs.bad_rate_at_approval(curve, approval)
    best = cut_offs.approval_at_bad_rate(curve, rate)
    assert best >= approval - 1e-9
    assert cut_offs.bad_rate_at_approval(curve, best) <= rate + 1e-9
    for more in np.linspace(best, 1.0, 7)[1:]:
        if best + 1e-6 < more:
            assert cut_offs.bad_rate_at_approval(curve, float(more)) > rate - 1e-9


def test_deciles_of_a_perfect_and_of_a_constant_score():
    outcome = np.arange(1000) < 50
    perfect = cut_offs.risk_groups(curve_of(outcome, -np.arange(1000.0)))
    np.testing.assert_allclose(perfect.bad_rate, [0.5] + [0] * 9, atol=1e-12)
    np.testing.assert_allclose(perfect.lift[0], 10)
    np.testing.assert_allclose(perfect.gain, 1)
    flat = cut_offs.risk_groups(curve_of(outcome, np.zeros(1000)))
    np.testing.assert_allclose(flat.lift, 1)
    np.testing.assert_allclose(flat.gain, np.arange(1, 11) / 10)


def test_gains_agree_with_counting_by_hand():
    rng = np.random.default_rng(3)
    outcome = rng.random(500) < 0.2
    scores = rng.normal(outcome * 1.0)
    groups = cut_offs.risk_groups(curve_of(outcome, scores), 10)
    by_hand = outcome[np.argsort(-scores)].reshape(10, 50).mean(axis=1)
    np.testing.assert_allclose(groups.bad_rate, by_hand, atol=1e-12)
    np.testing.assert_allclose(groups.lift, by_hand / outcome.mean(), atol=1e-12)
    assert cut_offs.bad_rate_at_approval(curve_of(outcome, scores), 0.8) == pytest.approx(by_hand[2:].mean())


def test_the_extremes_of_approval():
    outcome = np.array([True, False, False, False])
    curve = curve_of(outcome, np.array([3.0, 2, 1, 0]))
    assert cut_offs.approval_at_bad_rate(curve, 0.25) == 1.0
    assert cut_offs.approval_at_bad_rate(curve, 0.0) == pytest.approx(0.75)
    worst = curve_of(outcome, np.array([0.0, 1, 2, 3]))
    assert cut_offs.approval_at_bad_rate(worst, 0.0) == 0.0
    for approval in (0.0, -0.1, 1.1):
        with pytest.raises(LocalError):
            cut_offs.bad_rate_at_approval(curve, approval)


@settings(max_examples=40, deadline=None)
@given(labelled_scores(), st.integers(0, 1000), st.floats(0.1, 0.9))
def test_the_swap_set_accounts_for_every_customer(case, seed, approval):
    outcome, joint = case
    solo = joint + np.random.default_rng(seed).normal(size=len(joint))
    swap = cut_offs.swap_set(outcome, joint, solo, approval)
    cells = (swap.both, swap.joint_only, swap.solo_only, swap.neither)
    assert sum(c.rows for c in cells) == len(outcome)
    assert sum(c.bad for c in cells) == outcome.sum()
    assert swap.joint_only.rows == swap.solo_only.rows
    assert swap.both.rows + swap.joint_only.rows == round(approval * len(outcome))
    same = cut_offs.swap_set(outcome, solo, solo, approval)
    assert same.joint_only.rows == same.solo_only.rows == 0


@settings(max_examples=40, deadline=None)
@given(labelled_scores())
def test_binned_curves_lie_on_the_full_curves_and_have_twenty_points(case):
    outcome, scores = case
    curve = curve_of(outcome, scores)
    roc, full = curves.binned_roc(curve), metrics.roc_curve(outcome, scores)
    assert len(roc.false_positive_rate) == len(roc.true_positive_rate) == 20
    assert roc.true_positive_rate[-1] == 1.0
    points = list(zip(full.false_positive_rate, full.true_positive_rate, strict=True))
    for x, y in zip(roc.false_positive_rate, roc.true_positive_rate, strict=True):
        left = max(p for p in points if p[0] <= x)
        right = min((p for p in points if p[0] > x), default=left)
        part = (x - left[0]) / (right[0] - left[0]) if right[0] > left[0] else 0
        assert y == pytest.approx(left[1] + part * (right[1] - left[1]), abs=1e-9)
    two = curves.binned_ks(curve)
    assert len(two.share) == 20
    assert two.bad[0] == two.good[0] == 0
    assert two.bad[-1] == two.good[-1] == 1
    assert np.max(two.bad - two.good) <= metrics.ks(outcome, scores) + 1e-9


WRONG = {
    "labels all equal": ([1, 1, 1], [0.1, 0.2, 0.3]),
    "other lengths": ([1, 0, 1], [0.1, 0.2]),
    "a score that is not a number": ([1, 0, 1], [0.1, float("nan"), 0.2]),
    "no rows": ([], []),
}


@pytest.mark.parametrize("case", WRONG)
def test_scores_that_cannot_be_measured_are_refused(case):
    for figure in (metrics.roc_auc, metrics.ks, metrics.brier, metrics.log_loss):
        with pytest.raises(LocalError):
            figure(*WRONG[case])
