"""Fine bins of one column: cuts that its owner makes and that never leave its site.

Fine bins are numbered: the regular ones first, then those apart (missing, special values). A bin of numbers holds
edges[i - 1] <= value < edges[i]. Refuses to know labels and parties: the cuts come from the column alone, and every
bin holds at least the minimum of rows, so counting good and bad in them shows no small group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import isfinite, isnan

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mpc.errors import LocalError
from mpc.statistics.logistic import F64

I64 = NDArray[np.int64]

MOST_FINE_BINS = 256


@dataclass(frozen=True)
class NumericBins:
    """Cuts of a numeric column, known to its owner. `regular` = len(edges) + 1 bins are in order.

    `special`: (value, bin), cells of exactly this value go there whatever the edges say. `missing`: the bin of
    missing cells. Both may name a bin apart or a regular one (where they are too few to stand alone); None: no
    bin was made, for want of such cells, and a cell that turns up later belongs nowhere (code -1, weight 0).
    """

    edges: tuple[float, ...]
    special: tuple[tuple[float, int], ...] = ()
    missing: int | None = None
    count: int = field(init=False)  # of fine bins

    def __post_init__(self) -> None:
        if any(low >= high for low, high in pairwise(self.edges)) or not all(map(isfinite, self.edges)):
            raise LocalError("the edges of bins are finite numbers that rise")
        if any(isnan(value) for value, _ in self.special) or len(dict(self.special)) < len(self.special):
            raise LocalError("special values are numbers, each given once")
        homes = [home for _, home in self.special] + ([] if self.missing is None else [self.missing])
        object.__setattr__(self, "count", _numbered(self.regular, homes))

    @property
    def regular(self) -> int:
        """How many bins are in order; the rest stand apart."""
        return len(self.edges) + 1

    def codes(self, values: F64) -> I64:
        """The fine bin of every row, [n]; NaN is missing."""
        codes = np.searchsorted(np.array(self.edges), values, side="right").astype(np.int64)
        for value, home in self.special:
            codes[values == value] = home
        codes[np.isnan(values)] = -1 if self.missing is None else self.missing
        return codes


@dataclass(frozen=True)
class LevelBins:
    """Groups of levels of a categorical column, known to its owner. Regular bins have no order of their own.

    `other`: the bin of levels that no group names (its own group may be empty); `missing`: the bin of missing
    cells. Both may be apart or regular; None: no bin, code -1.
    """

    groups: tuple[tuple[str, ...], ...]
    other: int | None = None
    missing: int | None = None
    count: int = field(init=False)  # of fine bins

    def __post_init__(self) -> None:
        levels = [level for group in self.groups for level in group]
        unnamed = {place for place, group in enumerate(self.groups) if not group}
        if not self.groups or unnamed - {self.other} or len(set(levels)) < len(levels):
            raise LocalError("a group names levels, or is that of all other levels; no level stands in two")
        homes = [home for home in (self.other, self.missing) if home is not None]
        object.__setattr__(self, "count", _numbered(self.regular, homes))

    @property
    def regular(self) -> int:
        """How many bins are groups of levels; the rest stand apart."""
        return len(self.groups)

    def codes(self, cells: ArrayLike, levels: Sequence[str]) -> I64:
        """The fine bin of every row, [n]; `cells` are indices into `levels`, -1 missing."""
        home = {level: place for place, group in enumerate(self.groups) for level in group}
        rest = -1 if self.other is None else self.other
        places = [home.get(level, rest) for level in levels]
        places.append(-1 if self.missing is None else self.missing)  # the last answers for -1
        codes: I64 = np.array(places, dtype=np.int64)[np.asarray(cells)]
        return codes


FineBins = NumericBins | LevelBins


def _numbered(regular: int, homes: Sequence[int]) -> int:
    """The number of bins; bins apart are numbered on from the regular ones, none left out."""
    apart = {home for home in homes if home >= regular}
    if any(home < 0 for home in homes) or apart != set(range(regular, regular + len(apart))):
        raise LocalError("bins apart are numbered on from the regular ones")
    return regular + len(apart)


def numeric_bins(values: F64, *, most: int, minimum_rows: int, special: Sequence[float] = ()) -> NumericBins:
    """Cut a column (NaN missing) into at most `most` regular bins of about equal rows, none below the minimum.

    Edges lie halfway between neighbouring values. A special value with fewer rows than the minimum counts as
    missing; missing cells fewer than the minimum join the largest regular bin, for nothing is known of them.
    LocalError: infinite values, no rows, bounds that make no sense.
    """
    _bounds(len(values), most, minimum_rows)
    if bool(np.any(np.isinf(values))):
        raise LocalError("a column to be cut into bins holds infinite values")
    named = np.isin(values, np.array(special, dtype=np.float64))
    absent = np.isnan(values)
    levels, counts = np.unique(values[~named & ~absent], return_counts=True)
    edges: list[float] = []
    sizes = [0]
    left = int(counts.sum())
    for place, count in enumerate(counts.tolist()):
        room = most - len(edges)
        if sizes[-1] >= max(minimum_rows, (left + sizes[-1]) / room) and left >= minimum_rows and room > 1:
            edges.append(_between(float(levels[place - 1]), float(levels[place])))
            sizes.append(0)
        sizes[-1] += count
        left -= count
    common = [value for value in special if np.count_nonzero(values == value) >= minimum_rows]
    homes = [(value, len(sizes) + place) for place, value in enumerate(common)]
    lost = int(np.count_nonzero(absent | named & ~np.isin(values, common)))
    home = _home(lost, len(sizes) + len(homes), sizes, minimum_rows)
    rare = [] if home is None else [(value, home) for value in special if value not in common and value in values]
    return NumericBins(tuple(edges), (*homes, *rare), home)


def level_bins(cells: NDArray[np.int32], levels: Sequence[str], *, most: int, minimum_rows: int) -> LevelBins:
    """One bin for each level (at most `most`) of at least `minimum_rows` rows, and one for all others together.

    The others join the smallest bin where they are too few; missing cells (-1) that are too few, the largest.
    LocalError: no rows, bounds that make no sense.
    """
    _bounds(len(cells), most, minimum_rows)
    counts = np.bincount(cells[cells >= 0], minlength=len(levels))
    ranked = sorted(range(len(levels)), key=lambda level: (-counts[level], levels[level]))
    kept = [level for level in ranked if counts[level] >= minimum_rows]
    if len(kept) > most or len(kept) < np.count_nonzero(counts):
        kept = kept[: most - 1]
    groups: list[tuple[str, ...]] = [(levels[level],) for level in kept]
    sizes = [int(counts[level]) for level in kept]
    rest = int(counts.sum()) - sum(sizes)
    other = None
    if rest >= minimum_rows or not groups:
        other = len(groups)
        groups, sizes = [*groups, ()], [*sizes, rest]
    elif rest:
        other = len(groups) - 1  # the smallest
        sizes[other] += rest
    return LevelBins(tuple(groups), other, _home(int(np.sum(cells < 0)), len(groups), sizes, minimum_rows))


def _bounds(rows: int, most: int, minimum_rows: int) -> None:
    if rows == 0 or not 1 <= most < MOST_FINE_BINS or minimum_rows < 1:
        raise LocalError(f"fine bins need rows, 1 to {MOST_FINE_BINS - 1} bins and a minimum of at least 1 row")


def _between(low: float, high: float) -> float:
    """A number above `low` and at most `high`, halfway where there is one."""
    middle = low + (high - low) / 2
    return middle if low < middle <= high else high


def _home(rows: int, apart: int, sizes: Sequence[int], minimum_rows: int) -> int | None:
    """The bin of `rows` missing cells: none, their own, or the largest regular one."""
    if rows == 0:
        return None
    return apart if rows >= minimum_rows else int(np.argmax(sizes))
