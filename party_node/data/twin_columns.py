"""Finds columns that say the same in all but a few rows: the difference of two such columns shows those rows.

Whatever their support, two columns that differ in one row give its label away in their weights; the later is
dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from party_node.data.sources.table import F64

_SAMPLE_ROWS = 2048
_SAME = 1e-9


@dataclass(frozen=True, repr=False)
class _Seen:
    values: F64
    mean: float
    sd: float
    high: NDArray[np.bool_] | None  # where a two-valued column has its greater value
    support: int


def twins(columns: Sequence[F64], support: int) -> dict[int, int]:
    """Index of each column to drop, with the index of the kept column that it repeats.

    Columns (one float64 array each, no NaN, none constant) are twins when they are equal after standardising, when
    they differ in fewer than `support` rows, or when two two-valued columns are opposites in all rows but some
    fewer than `support` (exact opposites show no row and stay).
    """
    kept: list[tuple[int, _Seen]] = []
    dropped: dict[int, int] = {}
    for j, values in enumerate(columns):
        column = _look(values)
        for i, earlier in kept:
            if _alike(earlier, column, support):
                dropped[j] = i
                break
        else:
            kept.append((j, column))
    return dropped


def _look(values: F64) -> _Seen:
    low, top = float(values.min()), float(values.max())
    high = values == top
    two_valued = bool(np.all(high | (values == low)))
    mean, sd = float(values.mean()), float(values.std())
    return _Seen(values, mean, sd, high if two_valued else None, int(np.count_nonzero(high)))


def _alike(one: _Seen, other: _Seen, support: int) -> bool:
    if one.high is not None and other.high is not None:
        return _alike_flags(one.high, other.high, one.support, other.support, support)
    head = slice(0, _SAMPLE_ROWS)
    for rows in (head, slice(None)):
        few = np.count_nonzero(one.values[rows] != other.values[rows]) < support
        scaled = np.abs((one.values[rows] - one.mean) / one.sd - (other.values[rows] - other.mean) / other.sd)
        if not few and float(scaled.max()) > _SAME:
            return False
    return True


def _alike_flags(one: NDArray[np.bool_], other: NDArray[np.bool_], in_one: int, in_other: int, support: int) -> bool:
    rows = len(one)
    # The counts alone bound the rows that differ from below, which settles most pairs.
    if abs(in_one - in_other) >= support and abs(in_one + in_other - rows) >= support:
        return False
    differ = int(np.count_nonzero(one != other))
    return differ < support or 0 < rows - differ < support
