"""What a score is worth at a cut-off: lift and gains, bad rate and approval rate, the cut-off table, the swap set.

Customers are declined from the riskiest down. A cut that falls inside a run of equal scores takes its bad
customers in proportion, so no figure depends on the order of the rows (only the swap set, which counts whole
customers, breaks ties by row position). Conventions as in mpc/statistics/metrics.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mpc.errors import LocalError
from mpc.statistics.curves import bad_above
from mpc.statistics.logistic import F64
from mpc.statistics.metrics import I64, RankCurve, Ranking, checked


@dataclass(frozen=True)
class RiskGroups:
    """Equal groups of customers, riskiest first: bad rate, lift (against the whole) and cumulated gain."""

    bad_rate: F64
    lift: F64
    gain: F64


@dataclass(frozen=True)
class SwapCell:
    """Customers in one quadrant, and how many of them turned out bad."""

    rows: int
    bad: int


@dataclass(frozen=True)
class SwapSet:
    """Who is approved by which model when both approve equally many. joint_only are swapped in."""

    both: SwapCell
    joint_only: SwapCell
    solo_only: SwapCell
    neither: SwapCell


@dataclass(frozen=True)
class CutOffTable:
    """Customers at and above each cut of a score that rises with safety (points), and how many were bad, [k]."""

    cuts: F64
    approved: I64
    approved_bad: I64
    rows: int
    bad: int

    @property
    def approval_rate(self) -> F64:
        """Approved of all."""
        return self.approved / self.rows

    @property
    def bad_rate(self) -> F64:
        """Bad among the approved; NaN where nobody is."""
        rate = np.full(len(self.cuts), np.nan)
        np.divide(self.approved_bad, self.approved, out=rate, where=self.approved > 0)
        return rate

    @property
    def bad_declined(self) -> F64:
        """Share of all bad customers that are declined."""
        return (self.bad - self.approved_bad) / self.bad

    @property
    def good_declined(self) -> F64:
        """Share of all good customers that are declined."""
        good = self.rows - self.bad
        return (good - (self.approved - self.approved_bad)) / good


def risk_groups(curve: RankCurve, groups: int = 10) -> RiskGroups:
    """Lift and gains in `groups` equal parts (10: deciles)."""
    found = bad_above(curve, np.arange(groups + 1) / groups)
    rate = np.diff(found) * groups / curve.depth[-1]
    return RiskGroups(rate, rate * curve.depth[-1] / curve.bad_total, found[1:] / curve.bad_total)


def bad_rate_at_approval(curve: RankCurve, approval: float) -> float:
    """Share of bad customers among the safest `approval` of all, 0 < approval <= 1."""
    if not 0.0 < approval <= 1.0:
        raise LocalError("an approval rate lies above 0 and is at most 1")
    missed = curve.bad_total - float(bad_above(curve, np.array([1.0 - approval]))[0])
    return missed / (approval * float(curve.depth[-1]))


def approval_at_bad_rate(curve: RankCurve, bad_rate: float) -> float:
    """The largest share of customers that can be approved with at most `bad_rate` bad among them, 0..1."""
    customers = float(curve.depth[-1])
    approved = customers - curve.depth
    excess = (curve.bad_total - curve.bad) - bad_rate * approved  # bad customers too many at each cut
    fits = excess <= 1e-12 * customers
    first = int(np.argmax(fits))  # the last point approves nobody and always fits
    if first == 0:
        return 1.0
    above, below = float(excess[first - 1]), min(float(excess[first]), 0.0)
    part = above / (above - below)  # linear between two cuts
    return float(approved[first - 1] + part * (approved[first] - approved[first - 1])) / customers


def approved_rows(ranking: Ranking, approval: float) -> NDArray[np.bool_]:
    """The safest round(approval n) rows, [n] in row order."""
    count = len(ranking.order)
    mask = np.zeros(count, dtype=bool)
    mask[ranking.order[count - round(approval * count) :]] = True
    return mask


def cut_off_table(outcome: ArrayLike, points: ArrayLike, cuts: ArrayLike) -> CutOffTable:
    """What each cut-off would have approved. `points` are of a scorecard: a higher score is safer."""
    y, score = checked(outcome, points)
    at = np.unique(np.asarray(cuts, dtype=np.float64))
    if at.size == 0 or not bool(np.all(np.isfinite(at))):
        raise LocalError("a cut-off table needs cuts that are finite numbers")
    ranked, ranked_bad = np.sort(score), np.sort(score[y == 1.0])
    approved = len(ranked) - np.searchsorted(ranked, at, side="left")
    approved_bad = len(ranked_bad) - np.searchsorted(ranked_bad, at, side="left")
    return CutOffTable(at, approved.astype(np.int64), approved_bad.astype(np.int64), len(y), len(ranked_bad))


def swap_set(outcome: ArrayLike, joint: ArrayLike, solo: ArrayLike, approval: float) -> SwapSet:
    """Both models approve the same number of customers; who changes places, and who of them is bad."""
    bad = np.asarray(outcome).astype(bool)
    by_joint = approved_rows(Ranking.of(outcome, joint), approval)
    by_solo = approved_rows(Ranking.of(outcome, solo), approval)

    def cell(rows: NDArray[np.bool_]) -> SwapCell:
        return SwapCell(int(rows.sum()), int((rows & bad).sum()))

    return SwapSet(
        both=cell(by_joint & by_solo),
        joint_only=cell(by_joint & ~by_solo),
        solo_only=cell(~by_joint & by_solo),
        neither=cell(~by_joint & ~by_solo),
    )
