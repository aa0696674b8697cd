"""Finds columns that say the same of all but a few customers: the difference of two such columns shows these.

Whatever their support, two columns that differ in one customer give its label away in their weights; the later is
dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from party_node.data.ids.customers import Customers
from party_node.data.sources.table import F64

_SAMPLE_ROWS = 2048
_SAME = 1e-9


@dataclass(frozen=True, repr=False)
class _Seen:
    values: F64
    mean: float
    sd: float
    high: NDArray[np.bool_] | None  # where a two-valued column has its greater value
    having: int                     # customers who have it in a row
    lacking: int                    # and who have the lesser one


def twins(columns: Sequence[F64], support: int, customers: Customers) -> dict[int, int]:
    """Index of each column to drop, with the index of the kept column that it repeats.

    Columns (one float64 array each, no NaN, none constant) are twins when they are equal after standardising, when
    they differ in rows of fewer than `support` customers, or when two two-valued columns are opposites for all but some
    fewer than `support` (exact opposites show nobody and stay). `customers`: whose the rows are.
    """
    kept: list[tuple[int, _Seen]] = []
    dropped: dict[int, int] = {}
    for j, values in enumerate(columns):
        column = _look(values, customers)
        for i, earlier in kept:
            if _alike(earlier, column, support, customers):
                dropped[j] = i
                break
        else:
            kept.append((j, column))
    return dropped


def _look(values: F64, customers: Customers) -> _Seen:
    low, top = float(values.min()), float(values.max())
    high = values == top
    two_valued = bool(np.all(high | (values == low)))
    mean, sd = float(values.mean()), float(values.std())
    having, lacking = (customers.count(high), customers.count(~high)) if two_valued else (0, 0)
    return _Seen(values, mean, sd, high if two_valued else None, having, lacking)


def _alike(one: _Seen, other: _Seen, support: int, customers: Customers) -> bool:
    if one.high is not None and other.high is not None:
        # The counts alone bound the customers who differ from below, which settles most pairs.
        if abs(one.having - other.having) >= support and abs(one.having - other.lacking) >= support:
            return False
        return _alike_flags(one.high, other.high, support, customers)
    head = slice(0, _SAMPLE_ROWS)
    for rows in (head, slice(None)):
        few = customers.count(one.values[rows] != other.values[rows]) < support
        scaled = np.abs((one.values[rows] - one.mean) / one.sd - (other.values[rows] - other.mean) / other.sd)
        if not few and float(scaled.max()) > _SAME:
            return False
    return True


def _alike_flags(one: NDArray[np.bool_], other: NDArray[np.bool_], support: int, customers: Customers) -> bool:
    differ = one != other
    return customers.count(differ) < support or 0 < customers.count(~differ) < support
