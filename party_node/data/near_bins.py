"""Bins of two columns that differ in a few rows: the difference of their counts would show the outcomes of those rows.

Before anything is counted, columns are looked through in order, and a column whose bins come too near those of an
earlier one gets coarser ones. Compared are the sets that a merging can make: ranges of neighbours, single levels,
missing and special values; and their complements. Sets that are equal show nobody. Two are too near when fewer than
`cell` rows are in one of them alone, and fewer than `side` of these in either: else the difference of two counts is
about so many rows, or about two groups that hide one another. It knows no outcome.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpc.credit.fine_bins import FineBins, LevelBins, NumericBins
from party_node.data.sources.table import F64

_SAMPLE_ROWS = 2048
_ONE_THREAD = 1 << 18   # multiplications up to which OpenBLAS leaves a product to one thread (interface/gemm.c)
I64 = NDArray[np.int64]
Counts = NDArray[np.floating[Any]]


@dataclass(frozen=True, repr=False)
class CutColumn:
    """One column's fine bins, and the bin of every training row."""

    name: str
    bins: FineBins
    codes: NDArray[np.uint8]


@dataclass(frozen=True, repr=False)
class _Looked:
    """A column beside what is compared of it: `sets` (s, bins) of 0 and 1."""

    cut: CutColumn
    sets: F64


def apart(columns: list[CutColumn], cell: int, side: int) -> tuple[list[CutColumn], list[tuple[str, str]]]:
    """The columns with bins of which no two of different columns are too near; those of which one bin is left are left
    out, with the reason."""
    kept: list[_Looked] = []
    left_out: list[tuple[str, str]] = []
    for cut in columns:
        looked, near = _Looked(cut, _sets(cut.bins)), ""
        place = 0
        while place < len(kept) and looked.cut.bins.count > 1:
            found = _too_near(kept[place], looked, cell, side)
            if found is None:
                place += 1
                continue
            near = kept[place].cut.name
            looked, place = _coarser(looked.cut, found), 0
        if looked.cut.bins.count > 1:
            kept.append(looked)
        else:
            left_out.append((cut.name, f"its bins differ from those of `{near}` in fewer than {cell} rows"))
    return [looked.cut for looked in kept], left_out


def _sets(bins: FineBins) -> F64:
    """Ranges of neighbouring regular bins, or single levels; and single bins apart. Not all bins together."""
    ordered, regular = isinstance(bins, NumericBins), bins.regular
    ranges = list(combinations(range(regular + 1), 2)) if ordered else [(k, k + 1) for k in range(regular)]
    ranges += [(k, k + 1) for k in range(regular, bins.count)]
    ranges = [one for one in ranges if one != (0, bins.count)]
    sets = np.zeros((len(ranges), bins.count))
    for row, (first, stop) in enumerate(ranges):
        sets[row, first:stop] = 1.0
    return sets


def _too_near(one: _Looked, other: _Looked, cell: int, side: int) -> F64 | None:
    """A set of `other` that is too near one of `one`, or its complement."""
    rows = len(one.cut.codes)
    if rows > _SAMPLE_ROWS:      # what differs in few rows of all does so in few of these
        here, there, both = _alone(one, other, slice(0, _SAMPLE_ROWS), np.float32)
        differ = here + there
        if differ.min() >= cell and differ.max() <= _SAMPLE_ROWS - cell:
            return None
    here, there, both = _alone(one, other, slice(None), np.float64)
    neither = rows - here - there - both
    near = np.zeros(both.shape, np.bool_)
    for first, second in ((here, there), (both, neither)):
        differ = first + second
        near |= (differ > 0) & (differ < cell) & (np.minimum(first, second) < side)
    found = np.flatnonzero(near.any(axis=0))
    return other.sets[int(found[0])] if len(found) else None


def _alone(one: _Looked, other: _Looked, part: slice, form: type[np.floating[Any]]) -> tuple[Counts, Counts, Counts]:
    """Rows in a set of `one` alone, in a set of `other` alone, and in both: [sets of one, sets of other] each."""
    counts = one.cut.bins.count, other.cut.bins.count
    places = one.cut.codes[part].astype(np.intp) * counts[1] + other.cut.codes[part]
    table = np.bincount(places, minlength=counts[0] * counts[1]).reshape(counts).astype(form)
    first, second = one.sets.astype(form), other.sets.astype(form)
    both = _product(first @ table, second.T)
    return (first @ table.sum(axis=1))[:, None] - both, second @ table.sum(axis=0) - both, both


def _product(left: Counts, right: Counts) -> Counts:
    """left @ right, in blocks that one thread computes: for so little work, threads on a busy machine wait for each
    other many times longer than they work."""
    rows = max(1, _ONE_THREAD // (left.shape[1] * right.shape[1]))
    return np.concatenate([left[start : start + rows] @ right for start in range(0, len(left), rows)])


def _coarser(cut: CutColumn, found: F64) -> _Looked:
    """The column without the set `found`: a range loses its lower edge, or its upper one where it begins at the first
    bin; a level joins the largest other; missing or special values join the largest regular bin."""
    bins = cut.bins
    sizes = np.bincount(cut.codes, minlength=bins.count)
    places = np.flatnonzero(found)
    home = np.arange(bins.count)
    regular = sizes[: bins.regular].astype(np.float64)
    if places[0] >= bins.regular:
        home[places] = int(np.argmax(regular))
    elif len(places) == bins.regular:      # all regular bins: what is near is what stands apart
        home[bins.regular :] = int(np.argmax(regular))
    elif isinstance(bins, NumericBins):
        edge = int(places[0]) if places[0] > 0 else int(places[-1]) + 1
        home[edge] = edge - 1
    else:
        regular[places] = -1
        home[places] = int(np.argmax(regular))
    made, number = _merged(bins, home)
    coarser = CutColumn(cut.name, made, number[cut.codes].astype(np.uint8))
    return _Looked(coarser, _sets(made))


def _merged(bins: FineBins, home: I64) -> tuple[FineBins, I64]:
    """Bins of which each went to its `home`, and the new number of every old one."""
    number = np.unique(home, return_inverse=True)[1]
    missing = None if bins.missing is None else int(number[bins.missing])
    if isinstance(bins, NumericBins):
        edges = tuple(edge for k, edge in enumerate(bins.edges) if number[k] != number[k + 1])
        return NumericBins(edges, tuple((value, int(number[at])) for value, at in bins.special), missing), number
    groups: list[list[str]] = [[] for _ in np.unique(number[: bins.regular])]
    for k, levels in enumerate(bins.groups):
        groups[number[k]] += levels
    other = None if bins.other is None else int(number[bins.other])
    return LevelBins(tuple(tuple(levels) for levels in groups), other, missing), number
