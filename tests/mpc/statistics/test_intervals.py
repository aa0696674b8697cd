import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from mpc.rng import Rng
from mpc.statistics import metrics
from mpc.statistics.intervals import added_information, bias_corrected, bootstrap, calibration_line, delong
from mpc.statistics.logistic import fit_logistic
from mpc.statistics.metrics import Ranking


def two_models(size, seed, gap):
    """Labels with a risk that the first model sees a little better than the second."""
    rng = np.random.default_rng(seed)
    outcome = rng.random(size) < 0.3
    outcome[:4] = [True, True, False, False]
    known = rng.normal(outcome * 1.0)
    return outcome, known + gap * rng.normal(outcome * 1.0), known + gap * rng.normal(size=size)


def covariance_by_definition(outcome, first, second):
    """DeLong's covariance from the full table of comparisons, ties one half."""
    parts = []
    for scores in (first, second):
        table = scores[outcome][:, None] - scores[~outcome][None, :]
        parts.append((table > 0) + 0.5 * (table == 0))
    bad, good = (np.array([p.mean(axis=axis) for p in parts]) for axis in (1, 0))
    return np.cov(bad) / bad.shape[1] + np.cov(good) / good.shape[1]


@pytest.mark.parametrize("digits", [0, 1, 12])
def test_delong_equals_its_definition_ties_included(digits):
    outcome, first, second = two_models(80, digits, 0.5)
    first, second = np.round(first, digits), np.round(second, digits)
    result = delong(outcome, first, second)
    cov = covariance_by_definition(outcome, first, second)
    assert result.first.value == pytest.approx(roc_auc_score(outcome, first), abs=1e-12)
    assert result.second.value == pytest.approx(roc_auc_score(outcome, second), abs=1e-12)
    reach = 1.959963984540054 * np.sqrt(cov[0, 0])
    assert result.first.high == pytest.approx(min(result.first.value + reach, 1), abs=1e-9)
    spread = np.sqrt(cov[0, 0] + cov[1, 1] - 2 * cov[0, 1])
    assert result.difference.high - result.difference.value == pytest.approx(1.959963984540054 * spread)


def test_delong_covers_and_rejects_as_often_as_it_says():
    missed = rejected = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        outcome = np.arange(200) < 60
        known = rng.normal(outcome * 1.0)
        result = delong(outcome, known + 0.5 * rng.normal(size=200), known + 0.5 * rng.normal(size=200))
        missed += not result.difference.low <= 0 <= result.difference.high
        rejected += result.p_value < 0.05
    assert missed == rejected
    assert 3 <= missed <= 30  # 15 expected of 300


def test_the_same_scores_twice_differ_by_nothing_with_certainty():
    outcome, first, _ = two_models(50, 1, 0.5)
    result = delong(outcome, first, first)
    assert (result.difference.value, result.difference.low, result.difference.high) == (0, 0, 0)
    assert result.p_value == 1.0


def test_one_bad_customer_tells_nothing():
    outcome = np.arange(10) < 1
    result = delong(outcome, np.arange(10.0), -np.arange(10.0))
    assert (result.difference.low, result.difference.high, result.p_value) == (-1, 1, 1)
    assert (result.first.low, result.first.high) == (0, 1)


def test_added_information_is_rejected_as_often_as_it_says_and_found_where_delong_misses_it():
    """100 draws of 400 rows: noise is called information in about 5 of 100 at 5 %, a real addition in most."""
    rng = np.random.default_rng(5)
    false, found, by_auc = 0, 0, 0
    for _ in range(100):
        known, more = rng.normal(size=400), rng.normal(size=400)
        outcome = rng.random(400) < 1 / (1 + np.exp(1.5 - known - 0.5 * more))
        false += added_information(outcome, known + 0.3 * rng.normal(size=400), known) < 0.05
        found += added_information(outcome, known + 0.5 * more, known) < 0.05
        gap = delong(outcome, known + 0.5 * more, known)
        by_auc += gap.difference.value > 0 and gap.p_value < 0.1       # one-sided at 5 %
    assert 0 < false <= 12
    assert found >= 90
    assert found > by_auc


def test_added_information_is_raos_score_test():
    """By the textbook: U / sqrt(V), where 1 / V is the last entry of the inverse of the
    whole Hessian."""
    outcome, first, second = two_models(300, 3, 0.4)
    table = np.column_stack([np.ones(300), second, first - second])
    null = fit_logistic(table[:, :2], outcome, 0.0, 0).weights
    odds = table[:, :2] @ null
    p = 1 / (1 + np.exp(-odds))
    hessian = table.T @ (table * (p * (1 - p))[:, None])
    z = (table[:, 2] @ (outcome - p)) * np.sqrt(np.linalg.inv(hessian)[2, 2])
    assert added_information(outcome, first, second) == pytest.approx(norm.sf(z), rel=1e-9)
    turned = added_information(outcome, 2 * second - first, second)
    assert turned == pytest.approx(1 - norm.sf(z), rel=1e-9)      # one-sided: what speaks against it is no gain


BASES = {"constant": np.zeros(40), "separates": np.arange(40.0), "mixed": np.arange(40.0) % 7}


@pytest.mark.parametrize("base", BASES.values(), ids=BASES)
def test_nothing_is_added_by_the_same_score_or_to_one_that_separates(base):
    outcome = np.arange(40) >= 25
    assert added_information(outcome, base, base) == 1.0
    assert added_information(outcome, base + 2.5, base) == 1.0
    if len(set(base)) == 1:
        assert added_information(outcome, np.arange(40.0), base) < 1e-6
    if len(set(base)) == 40:
        assert added_information(outcome, base + np.sin(base), base) == 1.0


def ks_statistic(outcome, scores):
    ranking = Ranking.of(outcome, scores)
    return lambda times: np.array([metrics.ks_of(ranking.curve(times))])


def test_the_bootstrap_is_seeded_and_its_value_is_that_of_the_rows():
    outcome, first, _ = two_models(300, 2, 0.5)
    value, one = bootstrap(outcome, ks_statistic(outcome, first), Rng(bytes(32)), 50)
    _, two = bootstrap(outcome, ks_statistic(outcome, first), Rng(bytes(32)), 50)
    _, three = bootstrap(outcome, ks_statistic(outcome, first), Rng(b"\1" * 32), 50)
    assert value[0] == pytest.approx(metrics.ks(outcome, first))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, three)
    assert len(np.unique(one)) > 25


def test_the_bootstrap_spread_of_the_auc_agrees_with_delong():
    outcome, first, second = two_models(1500, 4, 0.7)
    one, two = Ranking.of(outcome, first), Ranking.of(outcome, second)

    def difference(times):
        return np.array([metrics.auc_of(one.curve(times)) - metrics.auc_of(two.curve(times))])

    value, drawn = bootstrap(outcome, difference, Rng(bytes(32)), 400)
    interval = bias_corrected(float(value[0]), drawn[:, 0])
    exact = delong(outcome, first, second).difference
    assert interval.high - interval.low == pytest.approx(exact.high - exact.low, rel=0.2)


def test_ks_intervals_hold_the_true_value_about_as_often_as_they_say():
    covered = 0
    truth = 0.38292492254802624  # 2 Phi(1/2) - 1 for two unit normals one apart
    for seed in range(60):
        rng = np.random.default_rng(seed)
        outcome = np.arange(400) < 100
        scores = rng.normal(outcome * 1.0)
        value, drawn = bootstrap(outcome, ks_statistic(outcome, scores), Rng(bytes([seed]) * 32), 150)
        interval = bias_corrected(float(value[0]), drawn[:, 0])
        covered += interval.low <= truth <= interval.high
    assert covered >= 51  # 57 expected of 60


def test_a_draw_without_a_bad_customer_is_drawn_again():
    outcome = np.arange(6) < 1
    _, drawn = bootstrap(outcome, lambda times: np.array([times @ outcome]), Rng(bytes(32)), 200)
    assert drawn.min() >= 1
    assert drawn.max() <= 5


def test_calibration_finds_the_shift_and_the_stretch_that_were_put_in():
    rng = np.random.default_rng(8)
    truth = rng.normal(-1.5, 1.2, 40_000)
    outcome = rng.random(40_000) < 1 / (1 + np.exp(-truth))
    level, slope = calibration_line(outcome, truth)
    assert level.low < 0 < level.high
    assert slope.low < 1 < slope.high
    level, slope = calibration_line(outcome, truth - 0.4)
    assert level.low < 0.4 < level.high
    _, slope = calibration_line(outcome, truth * 2)
    assert slope.low < 0.5 < slope.high
    assert slope.high < 0.6


def test_calibration_of_a_separating_or_constant_score_has_no_answer():
    outcome = np.arange(30) < 10
    assert calibration_line(outcome, -np.arange(30.0)) is None
    assert calibration_line(outcome, np.arange(30.0)) is None
    assert calibration_line(outcome, np.zeros(30)) is None
