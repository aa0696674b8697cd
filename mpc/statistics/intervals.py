"""How sure a figure is: DeLong for the AUC, a score test for what one score adds to another, Wald for calibration, a
paired bootstrap for the rest.

All intervals are two-sided at 95 %. The bootstrap redraws rows for both models at once, so a difference gets
an interval of its own. Randomness is an argument. Conventions as in mpc/statistics/metrics.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from mpc.errors import LocalError
from mpc.rng import Rng
from mpc.statistics.logistic import F64, fit_logistic, information, sigmoid
from mpc.statistics.metrics import checked

COVERAGE = 0.95
_NORMAL = NormalDist()
_QUANTILE = _NORMAL.inv_cdf(0.5 + COVERAGE / 2)


@dataclass(frozen=True)
class Interval:
    """A figure with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class AucComparison:
    """Two AUCs on the same rows, their difference (first - second) and its two-sided p-value."""

    first: Interval
    second: Interval
    difference: Interval
    p_value: float


def delong(outcome: ArrayLike, first: ArrayLike, second: ArrayLike) -> AucComparison:
    """DeLong, DeLong, Clarke-Pearson 1988, by the midranks of Sun & Xu 2014 (IEEE SPL 21(11)), O(n log n).

    With fewer than two bad or two good rows nothing is known of the spread: the intervals are then the whole
    range and the p-value 1.
    """
    y, one = checked(outcome, first)
    _, two = checked(outcome, second)
    is_bad = y == 1.0
    parts = [_placements(scores, is_bad) for scores in (one, two)]
    bad_side, good_side = np.array([p[0] for p in parts]), np.array([p[1] for p in parts])
    auc_1, auc_2 = (float(row.mean()) for row in bad_side)
    if bad_side.shape[1] < 2 or good_side.shape[1] < 2:
        whole = Interval(auc_1 - auc_2, -1.0, 1.0)
        return AucComparison(Interval(auc_1, 0.0, 1.0), Interval(auc_2, 0.0, 1.0), whole, 1.0)
    cov = np.cov(bad_side) / bad_side.shape[1] + np.cov(good_side) / good_side.shape[1]
    spread = math.sqrt(max(float(cov[0, 0] + cov[1, 1] - 2 * cov[0, 1]), 0.0))
    return AucComparison(
        wald(auc_1, math.sqrt(float(cov[0, 0])), 0.0, 1.0),
        wald(auc_2, math.sqrt(float(cov[1, 1])), 0.0, 1.0),
        wald(auc_1 - auc_2, spread, -1.0, 1.0),
        _two_sided(auc_1 - auc_2, spread),
    )


def _placements(scores: F64, is_bad: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> tuple[F64, F64]:
    """Per bad row the share of good rows it outranks; per good row the share of bad rows above it."""
    bad, good = scores[is_bad], scores[~is_bad]
    overall = _midranks(scores)
    above = (overall[is_bad] - _midranks(bad)) / len(good)
    below = 1.0 - (overall[~is_bad] - _midranks(good)) / len(bad)
    return above, below


def _midranks(values: F64) -> F64:
    """Ranks from 1; equal values share the mean of their ranks."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    middle: F64 = np.cumsum(count) - (count - 1) / 2.0
    return middle[place]


def _two_sided(value: float, spread: float) -> float:
    if spread == 0.0:
        return 1.0 if value == 0.0 else 0.0
    return math.erfc(abs(value / spread) / math.sqrt(2.0))


def wald(value: float, spread: float, floor: float = -math.inf, ceiling: float = math.inf) -> Interval:
    """value +- 1.96 standard errors, cut at the ends of the possible range."""
    reach = _QUANTILE * spread
    return Interval(value, max(value - reach, floor), min(value + reach, ceiling))


def added_information(outcome: ArrayLike, extended: ArrayLike, base: ArrayLike) -> float:
    """One-sided p-value: would chance make what `extended` adds to the log-odds `base` go with the outcome so well?

    Rao's score test of the added part, extended - base, in a logistic regression that already has the base and an
    intercept. On rows that fitted neither, it holds however the two were fitted. A gain in AUC exists exactly where
    the added part goes with the outcome (Pepe, Kerr, Longton and Wang, Stat. Med. 2013); DeLong's test of the two AUCs
    misses many such gains and is biased for nested models (Demler, Pencina and D'Agostino, Stat. Med. 2012). 1 where
    nothing is added, or where the base alone separates good from bad.
    """
    y, z = checked(outcome, base)
    _, more = checked(outcome, extended)
    bad, good = z[y == 1.0], z[y == 0.0]
    constant = float(z.min()) == float(z.max())
    if not constant and (float(bad.min()) >= float(good.max()) or float(good.min()) >= float(bad.max())):
        return 1.0
    ones, added = np.ones_like(z), more - z
    table = ones[:, None] if constant else np.column_stack([ones, z])
    fitted = fit_logistic(table, y, 0.0, 0)
    log_odds = table @ fitted.weights
    whole = information(np.column_stack([table, added]), log_odds, ones)
    cross, own = whole[:-1, -1], float(whole[-1, -1])
    variance = own - float(cross @ np.linalg.solve(whole[:-1, :-1], cross))
    if not fitted.converged or variance <= 1e-10 * own:
        return 1.0
    score = float(added @ (y - sigmoid(log_odds)))
    return _NORMAL.cdf(-score / math.sqrt(variance))


def calibration_line(outcome: ArrayLike, log_odds: ArrayLike) -> tuple[Interval, Interval] | None:
    """Calibration intercept and slope with Wald intervals (Cox 1958; Van Calster et al. 2019).

    Intercept: what must be added to the log-odds, the slope held at 1 (0: the level is right). Slope: the
    factor on the log-odds in a free fit (1: the spread is right, below 1: too extreme). None where the fit
    has no finite answer: the score separates the labels, or is constant.
    """
    y, z = checked(outcome, log_odds)
    bad, good = z[y == 1.0], z[y == 0.0]
    if float(bad.min()) >= float(good.max()) or float(good.min()) >= float(bad.max()):
        return None
    ones = np.ones((len(z), 1))
    level = fit_logistic(ones, y, 0.0, 0, offset=z)
    table = np.column_stack([np.ones_like(z), z])
    line = fit_logistic(table, y, 0.0, 0)
    if not (level.converged and line.converged):
        return None
    unit = np.ones_like(z)
    level_spread = 1.0 / math.sqrt(float(information(ones, z + level.weights[0], unit)[0, 0]))
    slope_spread = math.sqrt(float(np.linalg.inv(information(table, table @ line.weights, unit))[1, 1]))
    return wald(float(level.weights[0]), level_spread), wald(float(line.weights[1]), slope_spread)


def bootstrap(
    outcome: ArrayLike, statistics: Callable[[F64], F64], rng: Rng, replicates: int = 500
) -> tuple[F64, F64]:
    """`statistics` of the rows as they are, [q], and of `replicates` redrawn samples, [replicates, q].

    `statistics` takes the number of times each row is drawn, [n]. A draw without a bad or without a good row
    is drawn again: no ranking figure exists for it.
    """
    y, _ = checked(outcome, np.zeros(np.shape(outcome)))
    if replicates < 1:
        raise LocalError("a bootstrap needs at least one replicate")
    count = len(y)
    value = statistics(np.ones(count))
    drawn = np.empty((replicates, len(value)))
    for replicate in range(replicates):
        bad = 0.0
        while bad in (0.0, float(count)):
            # 64 uniform bits mod n: off uniform by less than n 2^-64
            picks = (rng.ring(count) % np.uint64(count)).astype(np.int64)
            times = np.bincount(picks, minlength=count).astype(np.float64)
            bad = float(times @ y)
        drawn[replicate] = statistics(times)
    return value, drawn


def bias_corrected(value: float, replicates: F64) -> Interval:
    """The bias-corrected percentile interval (Efron 1981): redrawing biases a maximum such as KS upwards."""
    below = float(np.mean(replicates < value) + np.mean(replicates == value) / 2)
    edge = 0.5 / len(replicates)
    shift = 2 * _NORMAL.inv_cdf(min(max(below, edge), 1 - edge))
    ends = [_NORMAL.cdf(shift - _QUANTILE), _NORMAL.cdf(shift + _QUANTILE)]
    low, high = np.quantile(replicates, ends)
    return Interval(value, float(low), float(high))
