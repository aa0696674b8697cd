"""Calibration by band of the score, figures by segment, and the split of a sample in time.

Conventions as in mpc/statistics/metrics.py. Every figure is of rows that its owner holds; what may leave a site is
decided in party_node/models/evaluation.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mpc.credit.weight_of_evidence import I64
from mpc.errors import LocalError
from mpc.statistics.intervals import COVERAGE, Interval, delong
from mpc.statistics.logistic import sigmoid
from mpc.statistics.metrics import Ranking, checked, ks_of

_QUANTILE = NormalDist().inv_cdf(0.5 + COVERAGE / 2)


@dataclass(frozen=True)
class Band:
    """Customers whose log-odds of being bad lie in low..high (low included): what was predicted, what happened.

    predicted and observed are NaN where the band is empty; observed has Wilson's interval.
    """

    low: float
    high: float
    rows: int
    bad: int
    predicted: float
    observed: Interval

    @property
    def fits(self) -> bool:
        """The prediction lies in the interval of what was observed; an empty band has nothing against it."""
        return self.rows == 0 or self.observed.low <= self.predicted <= self.observed.high


@dataclass(frozen=True)
class Segment:
    """One segment's figures; auc, gini and ks are None where it has too few bad or good customers to rank."""

    name: str
    rows: int
    bad: int
    auc: Interval | None
    gini: Interval | None
    ks: float | None


def calibration_bands(outcome: ArrayLike, log_odds: ArrayLike, cuts: ArrayLike) -> list[Band]:
    """One band below, between and above the `cuts` (log-odds), safest first; empty ones stand too."""
    y, z = checked(outcome, log_odds)
    edges = np.unique(np.asarray(cuts, dtype=np.float64))
    if not bool(np.all(np.isfinite(edges))):
        raise LocalError("a cut between bands is not a finite number")
    place = np.searchsorted(edges, z, side="right")
    rows = np.bincount(place, minlength=len(edges) + 1)
    bad = np.bincount(place, weights=y, minlength=len(edges) + 1)
    expected = np.bincount(place, weights=sigmoid(z), minlength=len(edges) + 1)
    ends = [-math.inf, *edges.tolist(), math.inf]
    found = []
    for k, (count, hits) in enumerate(zip(rows.tolist(), bad.astype(np.int64).tolist(), strict=True)):
        predicted = float(expected[k]) / count if count else math.nan
        found.append(Band(ends[k], ends[k + 1], count, hits, predicted, wilson(hits, count)))
    return found


def wilson(found: int, rows: int) -> Interval:
    """A proportion with the score interval of Wilson 1927; NaN in 0..1 without rows."""
    if rows == 0:
        return Interval(math.nan, 0.0, 1.0)
    share, square = found / rows, _QUANTILE**2
    middle = (share + square / (2 * rows)) / (1 + square / rows)
    reach = _QUANTILE * math.sqrt(share * (1 - share) / rows + square / (4 * rows**2)) / (1 + square / rows)
    low = 0.0 if found == 0 else middle - reach
    return Interval(share, low, 1.0 if found == rows else middle + reach)


def by_segment(
    outcome: ArrayLike, scores: ArrayLike, segments: I64, names: Sequence[str], minimum: int = 20
) -> list[Segment]:
    """Figures within each segment; `segments` [n] are indices into `names`, -1: in none.

    A segment with fewer than `minimum` bad or good customers has counts only.
    """
    y, z = checked(outcome, scores)
    if segments.shape != y.shape or (segments.size and int(segments.max()) >= len(names)):
        raise LocalError("the segments do not fit the labels or their names")
    return [_segment(name, y[segments == k], z[segments == k], minimum) for k, name in enumerate(names)]


def _segment(name: str, y: NDArray[np.float64], z: NDArray[np.float64], minimum: int) -> Segment:
    rows, bad = len(y), int(y.sum())
    if min(bad, rows - bad) < max(minimum, 1):
        return Segment(name, rows, bad, None, None, None)
    auc = delong(y, z, z).first
    gini = Interval(2 * auc.value - 1, 2 * auc.low - 1, 2 * auc.high - 1)
    return Segment(name, rows, bad, auc, gini, ks_of(Ranking.of(y, z).curve()))


def out_of_time(times: ArrayLike, share: float) -> NDArray[np.bool_]:
    """The latest rows, at least `share` of all where times are not too coarse: the sample a model is tried on.

    Rows of one time stay together and there are rows on both sides. LocalError: a time is missing, all are equal.
    """
    when = np.asarray(times, dtype=np.float64)
    if when.ndim != 1 or not bool(np.all(np.isfinite(when))):
        raise LocalError("a row has no time", "Leave such rows out, or mend the column.")
    if not 0.0 < share < 1.0:
        raise LocalError("the share of the later sample lies between 0 and 1")
    distinct, counts = np.unique(when, return_counts=True)
    if len(distinct) < 2:
        raise LocalError("all rows have one time, so there is no later sample", "Choose another column.")
    later = np.cumsum(counts[::-1])[::-1]  # rows at this time or after
    first = int(np.flatnonzero(later >= share * len(when) - 1e-9)[-1])
    chosen: NDArray[np.bool_] = when >= distinct[max(first, 1)]
    return chosen
