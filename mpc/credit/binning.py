"""The best merging of a column's fine bins, found from counts alone.

A column's owner cuts it into fine bins (mpc/credit/fine_bins.py). From how many good and bad customers each holds,
`best_bins` merges neighbours so that the information value is greatest under the constraints. It is the same function
on a pooled table and on counts that were found jointly. Bins apart (missing, special values) are never merged.

Bad rates are compared as whole numbers, so a trend holds exactly; equal rates may stand side by side in any trend.
Refuses to know rows, parties and messages.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from itertools import pairwise
from math import ceil

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mpc.credit.fine_bins import MOST_FINE_BINS, FineBins, LevelBins, NumericBins
from mpc.credit.weight_of_evidence import I64, counted, information_against
from mpc.errors import LocalError
from mpc.statistics.logistic import F64

MOST_ROWS = 3_000_000_000  # products of two counts stay below 2^63
UNIT = 2.0**45  # of information value, per 1.0: sums of whole units are exact, so equal mergings are seen to be equal


class Trend(StrEnum):
    """How the bad rate runs over the merged bins. AUTO: ascending or descending, whichever says more."""

    ASCENDING = "ascending"
    DESCENDING = "descending"
    PEAK = "peak"  # first up, then down; either part may be missing
    VALLEY = "valley"  # first down, then up
    FREE = "free"
    AUTO = "auto"


@dataclass(frozen=True)
class Constraints:
    """What a merged bin and the merging have to keep. Bins apart are bound by `minimum_rows` alone."""

    trend: Trend = Trend.AUTO
    minimum_rows: int = 20
    minimum_share: float = 0.05  # of all rows, those in bins apart included
    minimum_good: int = 1
    minimum_bad: int = 1
    maximum_bins: int = 8  # regular ones

    def __post_init__(self) -> None:
        if min(self.minimum_rows, self.minimum_good, self.minimum_bad, self.maximum_bins) < 1:
            raise LocalError("the least rows, good and bad customers of a bin and the most bins are at least 1")
        if not 0.0 <= self.minimum_share <= 1.0:
            raise LocalError("the least share of a bin lies between 0 and 1")

    def least_rows(self, rows: int) -> int:
        """How many of `rows` rows a merged bin has to hold."""
        return max(self.minimum_rows, ceil(self.minimum_share * rows - 1e-9))


@dataclass(frozen=True)
class BinCounts:
    """Good and bad customers per fine bin, [count]; the first `regular` bins may be merged.

    `ordered`: only neighbours may be merged (numbers); otherwise any (levels).
    """

    good: I64
    bad: I64
    regular: int
    ordered: bool = True

    @classmethod
    def of(cls, bins: FineBins, good: ArrayLike, bad: ArrayLike) -> BinCounts:
        """Counts of a column's fine bins. LocalError: they do not fit the bins."""
        g, b = counted(good, bad)
        if len(g) != bins.count:
            raise LocalError("there are not as many counts as bins")
        return cls(g, b, bins.regular, isinstance(bins, NumericBins))

    @property
    def rows(self) -> I64:
        """Customers per fine bin."""
        return self.good + self.bad

    def merged(self, merging: Merging) -> BinCounts:
        """Counts of the merged bins."""
        group, count = np.array(merging.group), merging.count
        good = np.bincount(group, weights=self.good, minlength=count).astype(np.int64)
        bad = np.bincount(group, weights=self.bad, minlength=count).astype(np.int64)
        return BinCounts(good, bad, merging.regular, self.ordered)


@dataclass(frozen=True)
class Merging:
    """`group`: for each fine bin the merged bin it belongs to; the `regular` first in order, those apart after."""

    group: tuple[int, ...]
    regular: int
    trend: Trend  # the one that was found; never AUTO

    @property
    def count(self) -> int:
        """How many merged bins there are, those apart included."""
        return max(self.group) + 1

    def cuts(self, bins: NumericBins) -> tuple[float, ...]:
        """The edges that are left."""
        return tuple(edge for edge, (one, other) in zip(bins.edges, pairwise(self.group), strict=False) if one != other)

    def bins(self, fine: FineBins) -> FineBins:
        """The merged bins themselves, in the column's terms: what its owner keeps and scores with."""
        missing = None if fine.missing is None else self.group[fine.missing]
        if isinstance(fine, NumericBins):
            special = tuple((value, self.group[home]) for value, home in fine.special)
            return NumericBins(self.cuts(fine), special, missing)
        groups: list[tuple[str, ...]] = [()] * self.regular
        for levels, home in zip(fine.groups, self.group, strict=False):
            groups[home] += levels
        return LevelBins(tuple(groups), None if fine.other is None else self.group[fine.other], missing)


def best_bins(counts: BinCounts, constraints: Constraints) -> Merging:
    """The merging of neighbouring bins with the greatest information value that keeps the constraints.

    Bins apart stay as they are. Levels have no order: they are put in that of their bad rates, and the merged bins
    ascend. Of equally good mergings the one with fewest bins, and of these the one whose last cut comes first, then the
    cut before it, and so on; where not even one bin of all keeps the minimum, it is one bin of all. LocalError: a bin
    apart holds customers, but fewer than the minimum.
    """
    if len(counts.good) > MOST_FINE_BINS or int(counts.rows.sum()) > MOST_ROWS:
        raise LocalError(f"more than {MOST_FINE_BINS} bins or {MOST_ROWS:,} customers in one column")
    apart = counts.rows[counts.regular :]
    if bool(np.any((apart > 0) & (apart < constraints.minimum_rows))):
        raise LocalError(
            f"a bin of missing or special values holds fewer than {constraints.minimum_rows} customers",
            "Give these cells a place in a regular bin before counting.",
        )
    order = np.arange(counts.regular)
    trends = [constraints.trend]
    if not counts.ordered:
        order, trends = _by_bad_rate(counts), [Trend.ASCENDING]
    elif constraints.trend is Trend.AUTO:
        trends = [Trend.ASCENDING, Trend.DESCENDING]
    groups = _Groups.of(counts, order, constraints)
    found = [(trend, *_best_partition(groups, _MOVES[trend], constraints.maximum_bins)) for trend in trends]
    trend, starts, _ = max(found, key=operator.itemgetter(2))  # of equals the first
    place = np.zeros(counts.regular, dtype=np.int64)
    place[starts[1:]] = 1
    group = np.empty(len(counts.good), dtype=np.int64)
    group[order] = np.cumsum(place)
    group[counts.regular :] = len(starts) + np.arange(len(apart))
    return Merging(tuple(group.tolist()), len(starts), trend)


def _by_bad_rate(counts: BinCounts) -> I64:
    """Regular bins from the lowest bad rate up, exactly, of equal rates the larger first; those without customers last.

    So the order depends on the counts alone, not on that of the levels, unless two levels have the same counts.
    """
    bad, rows = counts.bad.tolist(), counts.rows.tolist()
    rate = [(count == 0, Fraction(bad[i], count or 1), -count) for i, count in enumerate(rows)]
    return np.array(sorted(range(counts.regular), key=rate.__getitem__), dtype=np.int64)


@dataclass(frozen=True, repr=False)
class _Groups:
    """All groups of neighbours i..j-1 of n regular bins. `value` [n + 1, n + 1]: -inf where one is too small."""

    value: F64
    bad: I64  # [n + 1], cumulated
    rows: I64

    @classmethod
    def of(cls, counts: BinCounts, order: I64, constraints: Constraints) -> _Groups:
        good, bad = (np.append(0, np.cumsum(part[order])) for part in (counts.good, counts.bad))
        in_good, in_bad = good[None, :] - good[:, None], bad[None, :] - bad[:, None]
        after = np.triu(np.ones(in_good.shape, dtype=bool), 1)
        in_good, in_bad = np.where(after, in_good, 0), np.where(after, in_bad, 0)
        value = information_against(in_good, in_bad, int(counts.good.sum()), int(counts.bad.sum()))
        large = after & (in_good + in_bad >= constraints.least_rows(int(counts.rows.sum())))
        large &= (in_good >= constraints.minimum_good) & (in_bad >= constraints.minimum_bad)
        value = np.where(large, np.rint(value * UNIT) / UNIT, -np.inf)
        if not large[0, -1]:
            value[0, -1] = 0.0  # too few for the minimum even together: one bin of all is what is left
        return cls(value, bad, good + bad)


# A trend as an automaton: from which phase to which phase the step to the next group may lead, and how bad_one *
# rows_next and bad_next * rows_one then compare. All start in phase 0.
_Rule = Callable[[I64, I64], NDArray[np.bool_]]
_Moves = tuple[tuple[int, int, _Rule], ...]
_UP: _Rule = np.less_equal
_DOWN: _Rule = np.greater_equal


def _any(one: I64, other: I64) -> NDArray[np.bool_]:
    return np.ones(one.shape, dtype=bool)


_MOVES: dict[Trend, _Moves] = {
    Trend.ASCENDING: ((0, 0, _UP),),
    Trend.DESCENDING: ((0, 0, _DOWN),),
    Trend.PEAK: ((0, 0, _UP), (0, 1, _DOWN), (1, 1, _DOWN)),
    Trend.VALLEY: ((0, 0, _DOWN), (0, 1, _UP), (1, 1, _UP)),
    Trend.FREE: ((0, 0, _any),),
}


def _best_partition(groups: _Groups, moves: _Moves, most: int) -> tuple[list[int], float]:
    """First fine bin of each merged bin, and the information value.

    Dynamic programme over (phase, number of groups, last group i..j-1): the best value so far. A group's predecessor
    is any h..i-1 that the trend lets it follow.
    """
    n = len(groups.value) - 1
    most = min(most, n)
    phases = 1 + max(to for _, to, _ in moves)
    best = np.full((phases, most + 1, n + 1, n + 1), -np.inf)
    came = np.zeros(best.shape, dtype=np.int64)  # phase * n + h
    best[0, 1, 0] = groups.value[0]
    for i in range(1, n):
        bad_before, rows_before = groups.bad[i] - groups.bad[:i], groups.rows[i] - groups.rows[:i]
        bad_after, rows_after = groups.bad[i + 1 :] - groups.bad[i], groups.rows[i + 1 :] - groups.rows[i]
        one, other = np.outer(bad_before, rows_after), np.outer(rows_before, bad_after)  # [h, j]
        for source, to, rule in moves:
            before = best[source, 1:most, :i, i, None]
            reached = np.where(rule(one, other), before, -np.inf)  # [groups, h, j]
            first = reached.argmax(axis=1)
            value = np.take_along_axis(reached, first[:, None], axis=1)[:, 0] + groups.value[i, i + 1 :]
            known, from_ = best[to, 2:, i, i + 1 :], came[to, 2:, i, i + 1 :]
            better = (value > known) | ((value == known) & (first < from_ % n))
            known[better], from_[better] = value[better], (source * n + first)[better]
    return _traced(best[:, :, :, n], came, n)


def _traced(final: F64, came: I64, n: int) -> tuple[list[int], float]:
    """Walk back from the best end; of values equal but for rounding the one with fewest groups."""
    top = float(final.max())
    per_count = final.max(axis=(0, 2))
    count = int(np.argmax(per_count >= top - 1e-12 * max(top, 1.0)))
    start = int(final[:, count].max(axis=0).argmax())
    phase = int(final[:, count, start].argmax())
    starts, end = [start], n
    for left in range(count, 1, -1):
        source, before = divmod(int(came[phase, left, starts[0], end]), n)
        end, phase = starts[0], source
        starts.insert(0, before)
    return starts, float(per_count[count])
