"""Every metric against sklearn or scipy on 1,000 random cases: ties, empty bins, constant scores, one bad customer."""

import numpy as np
import pytest
from scipy import special, stats
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from mpc.credit import bands, cut_offs, stability
from mpc.credit.weight_of_evidence import information_value, weight_of_evidence
from mpc.statistics import metrics
from mpc.statistics.curves import binned_roc
from mpc.statistics.logistic import sigmoid
from mpc.statistics.metrics import Ranking

CASES = 1000
CLOSE = {"rtol": 0, "atol": 1e-9}


def random_case(seed):
    """Labels, log-odds; every tenth score is constant, most have ties, some separate the labels."""
    rng = np.random.default_rng(seed)
    rows = int(rng.integers(3, 150))
    outcome = rng.random(rows) < rng.uniform(0.02, 0.98)
    outcome[:2] = [True, False]
    spread, digits = rng.choice([0.3, 1.0, 8.0]), rng.choice([0, 1, 2, 12])
    scores = np.round(rng.normal(rng.choice([0.0, 1.0, 30.0]) * outcome, spread), digits)
    if seed % 10 == 0:
        scores = np.full(rows, rng.choice([0.0, -2.5]))
    return outcome, np.clip(scores, -12, 12), rng  # beyond, the rounding of a probability near 1 shows in log_loss


def check_ranking(outcome, scores):
    fpr, tpr, _ = sk.roc_curve(outcome, scores, drop_intermediate=False)
    ours = metrics.roc_curve(outcome, scores)
    np.testing.assert_allclose(ours.false_positive_rate, fpr, **CLOSE)
    np.testing.assert_allclose(ours.true_positive_rate, tpr, **CLOSE)
    auc = sk.roc_auc_score(outcome, scores)
    assert abs(metrics.roc_auc(outcome, scores) - auc) <= 1e-9
    assert abs(metrics.gini(outcome, scores) - (2 * auc - 1)) <= 1e-9
    bad, good = scores[outcome], scores[~outcome]
    # scipy's "less": how far the bad customers' distribution function lies below the good ones'
    assert abs(metrics.ks(outcome, scores) - stats.ks_2samp(bad, good, "less", "asymp").statistic) <= 1e-9
    roc = binned_roc(Ranking.of(outcome, scores).curve())
    upper = [tpr[np.flatnonzero(fpr <= x + 1e-12)[-1]] for x in (0.0, 1.0)]
    np.testing.assert_allclose(roc.true_positive_rate[[0, -1]], upper, **CLOSE)


def check_probabilities(outcome, scores):
    p = sigmoid(scores)
    assert abs(metrics.brier(outcome, scores) - sk.brier_score_loss(outcome, p)) <= 1e-9
    assert abs(metrics.log_loss(outcome, scores) - sk.log_loss(outcome, p)) <= 1e-9
    extreme = np.where(outcome, -40.0, 40.0) * scores  # a probability rounds to 0 or 1 here: only logarithms serve
    exact = -special.log_expit(np.where(outcome, extreme, -extreme)).mean()
    assert metrics.log_loss(outcome, extreme) == pytest.approx(exact, rel=1e-12, abs=1e-12)
    observed, predicted = calibration_curve(outcome, p, n_bins=7, strategy="quantile")
    ours = metrics.calibration_bins(outcome, scores, 7)
    np.testing.assert_allclose(ours.observed, observed, **CLOSE)
    np.testing.assert_allclose(ours.predicted, predicted, **CLOSE)


def check_bands(outcome, scores):
    cuts = np.array([-40.0, -1.0, 0.0, 0.5, 40.0])  # the first and the last band are always empty
    inside = np.digitize(scores, cuts)
    found = bands.calibration_bands(outcome, scores, cuts)
    assert len(found) == len(cuts) + 1
    for k, band in enumerate(found):
        members = inside == k
        assert (band.rows, band.bad) == (members.sum(), outcome[members].sum())
        if not band.rows:
            assert np.isnan(band.predicted)
            continue
        assert abs(band.predicted - sigmoid(scores[members]).mean()) <= 1e-9
        ends = stats.binomtest(int(band.bad), int(band.rows)).proportion_ci(0.95, "wilson")
        np.testing.assert_allclose([band.observed.low, band.observed.high], [ends.low, ends.high], **CLOSE)


def check_divergences(rng):
    size = int(rng.integers(1, 9))
    old, new = rng.integers(0, 60, (2, size)) * (rng.random((2, size)) < 0.8)
    old[0], new[-1] = old[0] + 1, new[-1] + 1
    raised = 0.5 * ((old == 0) != (new == 0))
    some = old + new > 0
    e, a = ((part + raised)[some] / part.sum() for part in (old, new))
    # not entropy() yet: it would normalise the shares that the rule for empty cells has raised
    value = float(np.sum(special.rel_entr(a, e) + special.rel_entr(e, a)))
    assert abs(stability.population_stability_index(old, new).value - value) <= 1e-9
    assert abs(information_value(old, new) - value) <= 1e-9
    np.testing.assert_allclose(weight_of_evidence(old, new)[some], np.log(e / a), **CLOSE)
    if not raised.any():
        assert abs(value - stats.entropy(a, e) - stats.entropy(e, a)) <= 1e-9


def check_cut_offs(outcome, scores):
    table = cut_offs.cut_off_table(outcome, -scores, np.unique(-scores))
    fpr, tpr, _ = sk.roc_curve(outcome, scores, drop_intermediate=False)
    # declined at a cut: all riskier than it, which is the point of the curve before that score
    np.testing.assert_allclose(table.bad_declined, tpr[:-1], **CLOSE)
    np.testing.assert_allclose(table.good_declined, fpr[:-1], **CLOSE)


def test_all_metrics_equal_sklearn_and_scipy_on_1000_random_cases():
    for seed in range(CASES):
        outcome, scores, rng = random_case(seed)
        check_ranking(outcome, scores)
        check_probabilities(outcome, scores)
        check_bands(outcome, scores)
        check_divergences(rng)
        check_cut_offs(outcome, scores)


def test_the_cases_hold_what_they_promise():
    cases = [random_case(seed)[:2] for seed in range(CASES)]
    assert sum(len(np.unique(scores)) == 1 for _, scores in cases) >= 100
    assert sum(len(np.unique(scores)) < len(scores) for _, scores in cases) >= 500
    assert sum(1 in (outcome.sum(), (~outcome).sum()) for outcome, _ in cases) >= 30
    assert sum(scores[outcome].min() > scores[~outcome].max() for outcome, scores in cases) >= 20


@pytest.mark.parametrize("degrees", [1, 2, 4, 9, 19, 49])
def test_the_limit_of_chance_is_the_95_percent_point_of_chi_square(degrees):
    within = 0.03 if degrees <= 2 else 0.006
    assert stability.chi_square_95(degrees) == pytest.approx(stats.chi2.ppf(0.95, degrees), rel=within)
