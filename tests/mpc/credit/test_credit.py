"""Stability, bands, segments, time, money and rejects: known answers, honest intervals, and what must be refused."""

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mpc.credit import bands
from mpc.credit.money import Terms, challenge, money_at
from mpc.credit.reject_inference import CAVEATS, Method, parcelling, sensitivity, simple_augmentation
from mpc.credit.stability import Shift, characteristic_stability, population_stability_index, score_stability
from mpc.errors import LocalError
from mpc.rng import Rng
from mpc.statistics import metrics
from mpc.statistics.logistic import sigmoid

TERMS = Terms(0.6, 0.08)


def seed(number):
    return Rng(number.to_bytes(32, "little"))


# stability


def test_the_index_of_a_textbook_table():
    old, new = [100, 200, 400, 200, 100], [80, 180, 380, 230, 130]
    by_hand = sum((n / 1000 - o / 1000) * math.log(n / o) for o, n in zip(old, new, strict=True))
    found = population_stability_index(old, new)
    assert found.value == pytest.approx(by_hand, abs=1e-15)
    assert found.parts.sum() == pytest.approx(found.value)
    assert (found.base_rows, found.rows) == (1000, 1000)


def test_chance_alone_passes_the_limit_in_about_five_of_a_hundred():
    passed = 0
    for run in range(400):
        rng = np.random.default_rng(run)
        found = score_stability(rng.normal(size=2000), rng.normal(size=700))
        passed += found.shift is not Shift.NONE
    assert 8 <= passed <= 36  # 20 expected


def test_a_shift_reads_by_its_size():
    rng = np.random.default_rng(3)
    base = rng.normal(size=20_000)
    readings = [score_stability(base, rng.normal(moved, 1, 20_000)).shift for moved in (0.0, 0.15, 0.4, 0.8)]
    assert readings == [Shift.NONE, Shift.SLIGHT, Shift.MODERATE, Shift.LARGE]


def test_equal_distributions_and_constant_scores_have_index_nought():
    same = np.arange(50.0)
    assert score_stability(same, same).value == 0.0
    constant = score_stability(np.ones(30), np.ones(10))
    assert (constant.value, constant.limit, constant.shift) == (0.0, 0.0, Shift.NONE)


def test_a_level_that_is_new_counts_as_a_bin_of_its_own():
    base, now = np.array([0] * 50 + [1] * 50), np.array([0] * 50 + [1] * 30 + [-1] * 20)
    assert characteristic_stability(base, now, 2).value > characteristic_stability(base, now[:80], 2).value + 0.1


@pytest.mark.parametrize(("base", "now"), [([0, 0], [1, 2]), ([1, 2], [0, 0]), ([1, 2], [1, -1]), ([1, 2], [1, 2, 3])])
def test_counts_that_are_none_have_no_index(base, now):
    with pytest.raises(LocalError):
        population_stability_index(base, now)


def test_scores_without_rows_or_with_holes_have_no_index():
    for base, now in ((np.array([]), np.ones(3)), (np.ones(3), np.array([])), (np.ones(3), np.array([np.nan]))):
        with pytest.raises(LocalError):
            score_stability(base, now)


# bands, segments, time


def test_a_calibrated_score_fits_its_bands_and_a_shifted_one_does_not():
    rng = np.random.default_rng(1)
    truth = rng.normal(-2, 1, 40_000)
    outcome = rng.random(40_000) < sigmoid(truth)
    cuts = [-3.0, -2.0, -1.0, 0.0]
    assert sum(band.fits for band in bands.calibration_bands(outcome, truth, cuts)) >= 4
    assert not any(band.fits for band in bands.calibration_bands(outcome, truth + 0.5, cuts))


def test_bands_hold_their_lower_end_and_empty_ones_stand():
    found = bands.calibration_bands([True, False, True], [0.0, 1.0, 1.0], [-5.0, 1.0, 9.0])
    assert [(band.rows, band.bad) for band in found] == [(0, 0), (1, 1), (2, 1), (0, 0)]
    assert found[0].fits
    assert (found[0].low, found[-1].high) == (-math.inf, math.inf)


def test_segments_are_measured_apart_and_small_ones_are_counted_only():
    rng = np.random.default_rng(2)
    outcome = rng.random(3000) < 0.3
    segments = rng.integers(-1, 2, 3000)
    segments[:15] = 2
    scores = rng.normal(np.where(segments == 1, 2.0, 0.2) * outcome)
    found = bands.by_segment(outcome, scores, segments, ["old", "new", "few"])
    for k in (0, 1):
        rows = segments == k
        assert found[k].auc.value == pytest.approx(roc_auc_score(outcome[rows], scores[rows]), abs=1e-9)
        assert found[k].gini.low == pytest.approx(2 * found[k].auc.low - 1)
        assert found[k].ks == pytest.approx(metrics.ks(outcome[rows], scores[rows]))
    assert found[0].auc.high < found[1].auc.low
    assert (found[2].rows, found[2].auc, found[2].gini, found[2].ks) == (15, None, None, None)


def test_a_segment_of_one_outcome_is_counted_only():
    found = bands.by_segment([True, True, False], [1.0, 2.0, 3.0], np.array([0, 0, 1]), ["bad", "good"], minimum=0)
    assert [(one.rows, one.bad, one.auc) for one in found] == [(2, 2, None), (1, 0, None)]


def test_the_later_sample_is_the_latest_and_no_day_is_torn_apart():
    days = np.array([3, 1, 2, 3, 2, 1, 1, 3])
    assert bands.out_of_time(days, 0.3).tolist() == [True, False, False, True, False, False, False, True]
    assert bands.out_of_time(days, 0.4).sum() == 5  # the second day goes whole
    assert bands.out_of_time(days, 0.99).sum() == 5  # but something stays before


@pytest.mark.parametrize(
    ("times", "share"), [([1.0, np.nan], 0.5), ([2.0, 2.0], 0.5), ([1.0, 2.0], 0.0), ([1.0, 2.0], 1.0)]
)
def test_samples_that_time_cannot_split_are_refused(times, share):
    with pytest.raises(LocalError):
        bands.out_of_time(times, share)


# money


def portfolio(rows, number):
    rng = np.random.default_rng(number)
    truth = rng.normal(-2, 1.2, rows)
    return rng.random(rows) < sigmoid(truth), truth, rng.lognormal(8, 0.5, rows)


def test_money_at_a_cut_off_is_what_the_rows_add_up_to():
    outcome, scores, exposure = portfolio(500, 1)
    scores = np.round(scores, 1)
    cuts = [-9.0, -2.5, -1.0, 9.0]
    found = money_at(outcome, scores, cuts, TERMS, seed(1), exposure=exposure, replicates=40)
    for cut, line in zip(cuts, found, strict=True):
        taken = scores <= cut
        assert line.approval_rate.value == pytest.approx(taken.mean())
        assert line.loss.value == pytest.approx(0.6 * exposure[taken & outcome].sum() / 500)
        assert line.expected_loss.value == pytest.approx((0.6 * exposure * sigmoid(scores))[taken].sum() / 500)
        earned = 0.08 * exposure[taken & ~outcome].sum() - 0.6 * exposure[taken & outcome].sum()
        assert line.profit.value == pytest.approx(earned / 500)
        assert line.profit.low <= line.profit.value <= line.profit.high


def test_profit_intervals_hold_the_truth_about_as_often_as_they_say():
    outcome, scores, _ = portfolio(400_000, 0)
    taken = scores <= -1.5
    truth = np.mean(np.where(taken, np.where(outcome, -0.6, 0.08), 0.0))
    expected = np.mean(np.where(taken, 0.6 * sigmoid(scores), 0.0))
    held = held_loss = 0
    for run in range(100):
        outcome, scores, _ = portfolio(400, 1000 + run)
        line = money_at(outcome, scores, [-1.5], TERMS, seed(run), replicates=200)[0]
        held += line.profit.low <= truth <= line.profit.high
        held_loss += line.expected_loss.low <= expected <= line.expected_loss.high
    assert min(held, held_loss) >= 88  # 95 expected


def test_expected_loss_and_loss_agree_where_the_score_is_calibrated():
    outcome, scores, _ = portfolio(50_000, 4)
    line = money_at(outcome, scores, [-1.0], TERMS, seed(1), replicates=50)[0]
    assert line.loss.low <= line.expected_loss.value <= line.loss.high


def test_a_challenger_that_sees_more_earns_more_and_one_that_guesses_earns_less():
    outcome, scores, _ = portfolio(6000, 7)
    rng = np.random.default_rng(70)
    champion = scores + rng.normal(0, 1.5, 6000)
    better = challenge(outcome, champion, scores, TERMS, 0.7, seed(1), replicates=200)
    assert better.verdict == "the challenger earns more"
    assert better.auc.difference.low > 0
    assert better.difference.value == pytest.approx(better.challenger.value - better.champion.value)
    changed = better.swap
    assert changed.joint_only.rows == changed.solo_only.rows
    assert changed.joint_only.bad < changed.solo_only.bad
    worse = challenge(outcome, champion, rng.normal(size=6000), TERMS, 0.7, seed(1), replicates=200)
    assert worse.verdict == "the challenger earns less"
    equal = challenge(outcome, champion, champion * 2, TERMS, 0.7, seed(1), replicates=50)
    assert equal.verdict == "no measurable difference in profit"
    assert (equal.difference.value, equal.swap.joint_only.rows) == (0.0, 0)


def test_profit_at_equal_approval_is_that_of_the_approved_rows():
    outcome, scores, _ = portfolio(1000, 8)
    found = challenge(outcome, scores, -scores, TERMS, 0.5, seed(2), replicates=10)
    safest = np.argsort(scores)[:500]
    assert found.champion.value == pytest.approx(np.where(outcome[safest], -0.6, 0.08).sum() / 1000)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Terms(0.0, 0.1),
        lambda: Terms(0.5, 1.5),
        lambda: money_at([0, 1], [0.0, 1.0], [], TERMS, seed(1)),
        lambda: money_at([0, 1], [0.0, 1.0], [np.nan], TERMS, seed(1)),
        lambda: money_at([0, 1], [0.0, 1.0], [0.0], TERMS, seed(1), exposure=[1.0]),
        lambda: money_at([0, 1], [0.0, 1.0], [0.0], TERMS, seed(1), exposure=[1.0, -1.0]),
        lambda: challenge([0, 1], [0.0, 1.0], [0.0, 1.0], TERMS, 1.0, seed(1)),
    ],
)
def test_money_without_sense_is_refused(make):
    with pytest.raises(LocalError):
        make()


# rejects


def applicants(rows, number, hidden=0.0):
    """Scores, true outcomes, who was accepted; `hidden`: how much the old rule saw that the score does not."""
    rng = np.random.default_rng(number)
    seen, unseen = rng.normal(-1.5, 1.0, rows), rng.normal(size=rows)
    bad = rng.random(rows) < sigmoid(seen + hidden * unseen)
    accepted = seen + hidden * unseen + rng.normal(0, 0.5, rows) < -1.0
    return seen, bad, accepted


def test_simple_augmentation_calls_the_riskiest_bad():
    found = simple_augmentation([0.1, 0.9, 0.5, 0.9], 0.5)
    assert found.outcome.tolist() == [False, True, False, True]
    assert simple_augmentation([1.0, 1.0, 1.0], 1 / 3).outcome.tolist() == [True, False, False]
    assert not simple_augmentation([1.0], 0.0).outcome.any()


def test_figures_on_simply_augmented_rows_flatter_the_score_as_the_caveat_says():
    seen, bad, accepted = applicants(20_000, 1)
    declined = ~accepted
    assumed = simple_augmentation(seen[declined], float(bad[declined].mean()))
    everybody = np.concatenate([bad[accepted], assumed.outcome])
    flattered = roc_auc_score(everybody, np.concatenate([seen[accepted], seen[declined]]))
    assert flattered > roc_auc_score(bad, seen) + 0.03
    assert any("no evidence" in caveat for caveat in assumed.caveats)


def test_parcelling_gives_each_band_the_accepted_bad_rate_times_the_factor():
    accepted = np.repeat([0.0, 1.0], 100)
    outcome = np.concatenate([np.arange(100) < 10, np.arange(100) < 30])
    declined = np.repeat([-5.0, 0.0, 1.0, 7.0], 50)
    found = parcelling(outcome, accepted, declined, seed(1), factor=2.0, bands=2)
    assert found.assumed.reshape(4, 50)[:, 0].tolist() == [0.2, 0.2, 0.6, 0.6]
    assert found.outcome.reshape(4, 50)[:2].sum() == 20
    assert found.outcome.reshape(4, 50)[2:].sum() == 60
    capped = parcelling(outcome, accepted, declined, seed(1), factor=50.0, bands=2)
    assert capped.outcome.all()


def test_parcelling_picks_at_random_by_its_seed_alone():
    seen, bad, accepted = applicants(2000, 2)
    draw = [parcelling(bad[accepted], seen[accepted], seen[~accepted], seed(k)).outcome for k in (1, 1, 2)]
    np.testing.assert_array_equal(draw[0], draw[1])
    assert not np.array_equal(draw[0], draw[2])


def test_parcelling_is_right_where_the_score_saw_all_and_too_kind_where_it_did_not():
    seen, bad, accepted = applicants(40_000, 3)
    found = parcelling(bad[accepted], seen[accepted], seen[~accepted], seed(1), bands=30)
    inside = seen[~accepted] < np.quantile(seen[accepted], 0.99)  # beyond, it extrapolates
    assert found.assumed[inside].mean() == pytest.approx(bad[~accepted][inside].mean(), abs=0.02)
    seen, bad, accepted = applicants(40_000, 3, hidden=1.5)
    found = parcelling(bad[accepted], seen[accepted], seen[~accepted], seed(1), bands=30)
    inside = seen[~accepted] < np.quantile(seen[accepted], 0.99)
    assert found.assumed[inside].mean() < bad[~accepted][inside].mean() - 0.1


def test_the_answer_moves_with_the_guess():
    seen, bad, accepted = applicants(4000, 4)
    found = sensitivity(bad[accepted], seen[accepted], seen[~accepted], [0.5, 1.0, 2.0, 4.0])
    rates = list(found.values())
    assert rates == sorted(rates)
    assert rates[-1] > 2 * rates[0]


@pytest.mark.parametrize("method", Method)
def test_every_method_says_that_its_labels_are_assumed(method):
    assert "never observed" in CAVEATS[method][0]
    assert any("guess" in caveat for caveat in CAVEATS[method])


@pytest.mark.parametrize(
    "make",
    [
        lambda: simple_augmentation([], 0.5),
        lambda: simple_augmentation([np.nan], 0.5),
        lambda: simple_augmentation([1.0], 1.5),
        lambda: parcelling([0, 1], [0.0, 1.0], [0.5], seed(1), factor=0.0),
        lambda: parcelling([0, 0], [0.0, 1.0], [0.5], seed(1)),
    ],
)
def test_rejects_without_sense_are_refused(make):
    with pytest.raises(LocalError):
        make()
