"""How well a score ranks and how honest its probabilities are; every figure equals sklearn's, ties included.

Conventions: outcome True is a bad customer; scores are log-odds of being bad, so a higher score is riskier.
A `Ranking` sorts once; a `RankCurve` counts bad and good customers from the riskiest down, one point for each
run of equal scores, and every ranking figure is read off that curve (mpc/credit/cut_offs.py, curves.py too).
Refuses to know where the rows come from and who may see the result: that is party_node/models/evaluation.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mpc.errors import LocalError
from mpc.statistics.logistic import F64, log_losses, outcome_vector, sigmoid

I64 = NDArray[np.int64]


@dataclass(frozen=True, repr=False)
class RankCurve:
    """Cumulated weight of bad and good customers, riskiest first, at the end of each run of equal scores.

    bad, good: [k + 1], both start at 0 and end at the total. Weights are 1 a row, or bootstrap counts.
    """

    bad: F64
    good: F64

    @property
    def bad_total(self) -> float:
        return float(self.bad[-1])

    @property
    def good_total(self) -> float:
        return float(self.good[-1])

    @cached_property
    def depth(self) -> F64:
        """Customers seen so far, [k + 1]."""
        return self.bad + self.good


@dataclass(frozen=True, repr=False)
class Ranking:
    """Rows sorted riskiest first. `order` [n] are row positions, `ends` [k] the last place of each tie."""

    order: I64
    ends: I64
    sorted_outcome: F64

    @classmethod
    def of(cls, outcome: ArrayLike, scores: ArrayLike) -> Ranking:
        """Rank by falling score. LocalError: labels all equal, other lengths, a score that is not finite."""
        y, z = checked(outcome, scores)
        order = np.argsort(-z, kind="stable").astype(np.int64)
        ranked = z[order]
        ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1).astype(np.int64)
        return cls(order, ends, y[order])

    def curve(self, weights: F64 | None = None) -> RankCurve:
        """Cumulated counts; `weights` [n] in row order (None: 1 each)."""
        w = np.ones(len(self.order)) if weights is None else weights[self.order]
        bad = np.cumsum(w * self.sorted_outcome)[self.ends]
        everybody = np.cumsum(w)[self.ends]
        return RankCurve(np.append(0.0, bad), np.append(0.0, everybody - bad))


@dataclass(frozen=True)
class RocCurve:
    """One point per run of equal scores, [k + 1]; the first threshold is infinite, as in sklearn."""

    false_positive_rate: F64
    true_positive_rate: F64
    thresholds: F64


def checked(outcome: ArrayLike, scores: ArrayLike) -> tuple[F64, F64]:
    """Labels and scores as float64 [n]; or a LocalError that names no value."""
    y = outcome_vector(outcome)
    z = np.asarray(scores, dtype=np.float64)
    if z.shape != y.shape:
        raise LocalError("the scores and the labels have different lengths")
    if not bool(np.all(np.isfinite(z))):
        raise LocalError("a score is not a finite number")
    return y, z


def auc_of(curve: RankCurve) -> float:
    """Area under the ROC: how often a bad customer outranks a good one, a tie counting one half."""
    bad_before, good_step = curve.bad[:-1] + np.diff(curve.bad) / 2, np.diff(curve.good)
    return float(bad_before @ good_step) / (curve.bad_total * curve.good_total)


def ks_of(curve: RankCurve) -> float:
    """Kolmogorov-Smirnov: the largest lead of the bad customers' share over the good customers' share."""
    return float(np.max(curve.bad / curve.bad_total - curve.good / curve.good_total))


def roc_curve(outcome: ArrayLike, scores: ArrayLike) -> RocCurve:
    """All points of the ROC, none left out. These rank the labels: never released, only used locally."""
    ranking = Ranking.of(outcome, scores)
    curve = ranking.curve()
    thresholds = np.asarray(scores, dtype=np.float64)[ranking.order][ranking.ends]
    return RocCurve(curve.good / curve.good_total, curve.bad / curve.bad_total, np.append(np.inf, thresholds))


def roc_auc(outcome: ArrayLike, scores: ArrayLike) -> float:
    """sklearn.metrics.roc_auc_score."""
    return auc_of(Ranking.of(outcome, scores).curve())


def ks(outcome: ArrayLike, scores: ArrayLike) -> float:
    """max(tpr - fpr) over all thresholds, in 0..1."""
    return ks_of(Ranking.of(outcome, scores).curve())


def gini(outcome: ArrayLike, scores: ArrayLike) -> float:
    """2 AUC - 1."""
    return 2.0 * roc_auc(outcome, scores) - 1.0


def squared_errors(outcome: F64, log_odds: F64) -> F64:
    """(probability - outcome)^2 per row."""
    return (sigmoid(log_odds) - outcome) ** 2


def brier(outcome: ArrayLike, log_odds: ArrayLike) -> float:
    """sklearn.metrics.brier_score_loss of the probabilities at these log-odds."""
    return float(np.mean(squared_errors(*checked(outcome, log_odds))))


def log_loss(outcome: ArrayLike, log_odds: ArrayLike) -> float:
    """sklearn.metrics.log_loss at these log-odds; exact beyond +-36 too, where sklearn clips."""
    return float(np.mean(log_losses(*checked(outcome, log_odds))))


@dataclass(frozen=True)
class CalibrationBins:
    """Mean predicted probability, observed bad rate and number of rows per bin, from the safest bin up."""

    predicted: F64
    observed: F64
    rows: I64


def calibration_bins(
    outcome: ArrayLike, log_odds: ArrayLike, bins: int, minimum_cell: int = 1
) -> CalibrationBins:
    """Equal-frequency bins as sklearn.calibration.calibration_curve(strategy="quantile") cuts them.

    Bins of fewer than `minimum_cell` rows (ties make bins uneven) are then joined to the next one up, the
    last to the one below; with fewer than `minimum_cell` rows in all one bin is left.
    """
    y, z = checked(outcome, log_odds)
    p = sigmoid(z)
    edges = np.percentile(p, np.linspace(0.0, 1.0, bins + 1) * 100)  # sklearn's own expression, to the last bit
    place = np.searchsorted(edges[1:-1], p)
    rows = np.bincount(place, minlength=bins)
    group = _joined(rows, max(minimum_cell, 1))[place]
    count = np.bincount(group)
    return CalibrationBins(
        np.bincount(group, weights=p) / count,
        np.bincount(group, weights=y) / count,
        count.astype(np.int64),
    )


def _joined(rows: NDArray[np.int64], minimum: int) -> I64:
    """For each bin the index of the merged bin it falls into; every merged bin holds at least `minimum`."""
    group = np.zeros(len(rows), dtype=np.int64)
    current, held = 0, 0
    for place, count in enumerate(rows.tolist()):
        group[place] = current
        held += count
        if held >= minimum:
            current, held = current + 1, 0
    if current and held < minimum:
        group[group == current] = current - 1
    return group
