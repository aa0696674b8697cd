"""From table columns to raw numeric columns: missing values filled, categories one-hot, or weights of evidence. Fitted
on training rows.

A `ColumnEncoding` says how one column is read, `raw_columns` turns it into numbers. Levels are private: they stand in
the local model file and in the names of output columns, which stay with this party.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from party_node.data.binned_column import BinnedColumn
from party_node.data.sources.kinds import Kind
from party_node.data.sources.table import F64, Column, NumericColumn, TextColumn
from party_node.table_errors import other_kind

Rows = NDArray[np.int64]
OTHER = "__other__"


class Missing(StrEnum):
    """What stands for a missing number: the mean with a 0/1 column beside it, or a constant of the job spec."""

    INDICATOR = "indicator"
    CONSTANT = "constant"


class What(StrEnum):
    """What an output column says of its source column."""

    VALUE = "value"
    MISSING = "missing"
    LEVEL = "level"
    OTHER = "other"
    WEIGHT = "weight"


@dataclass(frozen=True, repr=False)
class ColumnEncoding:
    """How one table column becomes numbers.

    Numeric: `fill` stands for a missing cell. Text: `levels` have a column each; all else (rarer, unseen, missing
    without a column of its own) goes to the other column, or to zeros where there is none.
    """

    name: str
    kind: Kind
    fill: float
    levels: tuple[str, ...]
    has_missing: bool
    has_other: bool
    merged: int


Encoding = ColumnEncoding | BinnedColumn


@dataclass(frozen=True, repr=False)
class RawColumn:
    """One numeric column before scaling: its name, where it comes from and its values (float64, one per row)."""

    name: str
    source: str
    what: What
    level: str | None
    values: F64


def fit_encoding(
    column: Column, rows: Rows, missing: Missing, constant: float, support: int, most_levels: int
) -> ColumnEncoding:
    """Fit one column on `rows` (table row numbers, the training rows)."""
    if isinstance(column, NumericColumn):
        values = column.values[rows]
        present = values[~np.isnan(values)]
        indicator = missing is Missing.INDICATOR
        mean = float(np.mean(present)) if present.size else 0.0
        absent = len(values) - len(present)
        fill = mean if indicator else constant
        return ColumnEncoding(column.name, Kind.NUMERIC, fill, (), indicator and absent >= support, False, 0)
    codes = column.codes[rows]
    counts = np.bincount(codes[codes >= 0], minlength=len(column.levels))
    # Most frequent first; levels are sorted, so ties go by name.
    order = np.argsort(-counts, kind="stable")
    kept = sorted(int(code) for code in order[:most_levels] if counts[code] >= support)
    absent = int(np.sum(codes < 0))
    rest = int(counts.sum() - counts[kept].sum())
    alone = absent >= support
    merged = int(np.count_nonzero(counts)) - len(kept)
    return ColumnEncoding(
        name=column.name,
        kind=Kind.TEXT,
        fill=0.0,
        levels=tuple(column.levels[code] for code in kept),
        has_missing=alone,
        has_other=rest + (0 if alone else absent) >= support,
        merged=merged,
    )


def raw_columns(encoding: Encoding, column: Column, rows: Rows) -> Iterator[RawColumn]:
    """The raw columns of `column` at `rows`, in a fixed order. Raises DataError column_kind."""
    name = encoding.name
    if isinstance(encoding, BinnedColumn):
        yield RawColumn(name, name, What.WEIGHT, None, encoding.values(column, rows))
        return
    if encoding.kind is Kind.NUMERIC:
        if not isinstance(column, NumericColumn):
            raise other_kind(name, "numbers")
        values = column.values[rows]
        absent = np.isnan(values)
        yield RawColumn(name, name, What.VALUE, None, np.where(absent, encoding.fill, values))
        if encoding.has_missing:
            yield RawColumn(f"{name}__missing", name, What.MISSING, None, absent.astype(np.float64))
        return
    if not isinstance(column, TextColumn):
        raise other_kind(name, "categories")
    place = {level: i for i, level in enumerate(encoding.levels)}
    # The last entry answers code -1, a missing cell: -2 tells it from a level without a column, -1.
    table = np.array([*(place.get(level, -1) for level in column.levels), -2], dtype=np.int64)
    found = table[column.codes[rows]]
    for i, level in enumerate(encoding.levels):
        yield RawColumn(f"{name}={level}", name, What.LEVEL, level, (found == i).astype(np.float64))
    if encoding.has_missing:
        yield RawColumn(f"{name}__missing", name, What.MISSING, None, (found == -2).astype(np.float64))
    if encoding.has_other:
        other = found == -1 if encoding.has_missing else found < 0
        yield RawColumn(f"{name}={OTHER}", name, What.OTHER, None, other.astype(np.float64))
