"""A private table in memory, column by column. It stays in this process: nothing here prints or sends a cell.

A column is numeric (float64, NaN = missing) or text (codes into sorted levels, -1 = missing). It is numeric when at
least nine cells in ten read as numbers or when it is declared so; then a cell that does not is an error with its row
number. Ids are no columns of a table: `ids` reads them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from party_node.data.sources.files import Source, open_source, repaired
from party_node.data.sources.kinds import Kind
from party_node.table_errors import DataError, column_missing

F64 = NDArray[np.float64]
MISSING_TOKENS = ("", "nan", "null", "none", "n/a", "na", "#n/a", "nil", "-", "?", ".")
NUMERIC_SHARE = 0.9
LARGEST = 1e100  # squares and sums of cells stay finite
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?$"
_BOOLEANS = ("true", "false")


@dataclass(frozen=True, repr=False)
class NumericColumn:
    """`values`: float64, one per row, NaN where missing."""

    name: str
    values: F64

    @property
    def missing(self) -> NDArray[np.bool_]:
        """True where the cell is missing."""
        return np.isnan(self.values)


@dataclass(frozen=True, repr=False)
class TextColumn:
    """`codes`: int32, one per row, an index into `levels` (sorted, trimmed), -1 where missing."""

    name: str
    codes: NDArray[np.int32]
    levels: tuple[str, ...]

    @property
    def missing(self) -> NDArray[np.bool_]:
        """True where the cell is missing."""
        return self.codes < 0


Column = NumericColumn | TextColumn


@dataclass(frozen=True)
class ColumnProfile:
    """What the operator sees of one column at `dataset register`; it stays on this machine."""

    name: str
    kind: Kind
    missing_rate: float
    low: float | None
    high: float | None
    levels: int | None


@dataclass(frozen=True, repr=False)
class Table:
    """`rows` rows; `columns` by name in the order in which they were asked for, else in the file's."""

    rows: int
    columns: Mapping[str, Column]
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Table({self.rows} rows, {len(self.columns)} columns)"

    @property
    def names(self) -> tuple[str, ...]:
        """Column names."""
        return tuple(self.columns)

    @property
    def kinds(self) -> dict[str, Kind]:
        """Kind of each column; give it to `read_table` to read a later file the same way."""
        return {
            name: Kind.NUMERIC if isinstance(column, NumericColumn) else Kind.TEXT
            for name, column in self.columns.items()
        }

    def column(self, name: str) -> Column:
        """The column called `name`. Raises DataError with the nearest name."""
        if name not in self.columns:
            raise column_missing(name, self.columns)
        return self.columns[name]

    def profile(self) -> tuple[ColumnProfile, ...]:
        """Types, ranges, missing rates, for the operator's own eyes."""
        return tuple(_profile(column) for column in self.columns.values())


def read_table(
    path: Path | str,
    *,
    columns: Sequence[str] | None = None,
    leave_out: Sequence[str] = (),
    kinds: Mapping[str, Kind] | None = None,
) -> Table:
    """Read a CSV or Parquet file.

    `columns` names what is read (None: all but `leave_out`, which holds the id). `kinds` declares columns, the rest is
    inferred; declare the label TEXT so that any spelling of it can be read. Raises DataError: unreadable, ragged_row,
    column_missing, column_repeated, not_numeric, unsupported_type, empty_table.
    """
    source = open_source(Path(path), columns)
    missing = next((name for name in leave_out if name not in source.names), None)
    if columns is None and missing is not None:
        raise column_missing(missing, source.names)
    rows = len(source.columns[0]) if source.columns else 0
    if rows == 0:
        raise DataError("empty_table", f"`{Path(path).name}` has no rows", "Give at least one row.")
    declared = dict(kinds or {})
    read = {
        name: _column(name, cells, declared.get(name), source)
        for name, cells in zip(source.names, source.columns, strict=True) if name not in leave_out
    }
    return Table(rows, read, source.notes)


def as_text(name: str, cells: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    """Any Arrow column as text, which may be no UTF-8 where the file's was none; whole floats lose their `.0`."""
    kind = cells.type
    if pa.types.is_dictionary(kind):
        cells = cells.cast(kind.value_type)
        kind = cells.type
    if pa.types.is_floating(kind):
        whole = pc.equal(cells, pc.floor(cells))
        small = pc.less(pc.abs(cells), 2.0**53)
        exact = pc.fill_null(pc.and_(whole, small), False)
        counts = pc.cast(pc.if_else(exact, cells, None), pa.int64())
        return pc.if_else(exact, pc.cast(counts, pa.string()), pc.cast(cells, pa.string()))
    try:
        return pc.cast(cells, options=pc.CastOptions(target_type=pa.string(), allow_invalid_utf8=True))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DataError(
            "unsupported_type", f"column `{name}` holds neither numbers nor text", "Leave the column out."
        ) from None


def _column(name: str, cells: pa.ChunkedArray, declared: Kind | None, source: Source) -> Column:
    kind = cells.type
    typed = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if declared is not Kind.TEXT and (typed or pa.types.is_boolean(kind)):
        # Booleans have no direct cast to double in Arrow; uint8 has.
        numbers = cells.cast(pa.uint8()) if pa.types.is_boolean(kind) else cells
        return _numeric(name, pc.cast(numbers, pa.float64(), safe=False))
    trimmed = pc.utf8_trim_whitespace(_sound(as_text(name, cells)))
    lowered = pc.utf8_lower(trimmed)
    absent = pc.fill_null(pc.is_in(lowered, value_set=pa.array(MISSING_TOKENS)), True)
    text = pc.if_else(absent, pa.scalar(None, pa.string()), trimmed)
    if declared is not Kind.TEXT:
        numbers = _numbers(name, text, lowered, declared is Kind.NUMERIC, source.decimal_comma)
        if numbers is not None:
            return _numeric(name, numbers)
    return _text(name, text)


def _sound(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """The same cells as UTF-8."""
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:  # a Parquet file may say so of anything
        raw = text.cast(pa.binary()).to_pylist()
        return pa.chunked_array([pa.array([None if cell is None else repaired(cell)[0] for cell in raw], pa.string())])
    return text


def _numbers(
    name: str, text: pa.ChunkedArray, lowered: pa.ChunkedArray, declared: bool, decimal_comma: bool
) -> pa.ChunkedArray | None:
    """Text as float64, or None where the column is not numeric. Raises DataError not_numeric with the row."""
    present = len(text) - text.null_count
    if present and pc.all(pc.or_(pc.is_null(text), pc.is_in(lowered, value_set=pa.array(_BOOLEANS)))).as_py():
        flags = pc.if_else(pc.is_null(text), None, pc.equal(lowered, "true"))
        return flags.cast(pa.uint8()).cast(pa.float64())
    if decimal_comma:
        text = pc.replace_substring_regex(text, r"^([+-]?\d+),(\d+)$", r"\1.\2")
    try:
        return pc.cast(text, pa.float64())
    except pa.ArrowInvalid:
        pass
    good = pc.fill_null(pc.match_substring_regex(text, _NUMBER), True)
    wrong = len(good) - pc.sum(good).as_py()
    if not declared and present - wrong < NUMERIC_SHARE * present:
        return None
    if wrong:
        row = pc.index(good, False).as_py() + 1
        raise DataError(
            "not_numeric",
            f"column `{name}` holds numbers, but {_cells(wrong)} not; the first is in row {row} of the data",
            "Mend the table, or declare the column categorical in the dataset file.",
        )
    return pc.cast(text, pa.float64())


def _cells(count: int) -> str:
    return "1 cell is" if count == 1 else f"{count} cells are"


def _numeric(name: str, cells: pa.ChunkedArray) -> NumericColumn:
    values = np.array(pc.fill_null(cells, math.nan).to_numpy(), dtype=np.float64)
    endless = np.flatnonzero(np.abs(values) > LARGEST)
    if endless.size:
        row = int(endless[0]) + 1
        raise DataError(
            "not_numeric",
            f"column `{name}` holds numbers that are infinite or beyond 1e100, the first in row {row}",
            "Mend the table: leave such cells empty.",
        )
    return NumericColumn(name, values)


def _text(name: str, cells: pa.ChunkedArray) -> TextColumn:
    coded = pa.concat_arrays(cells.chunks).dictionary_encode()
    found: list[str] = coded.dictionary.to_pylist()
    order = sorted(range(len(found)), key=found.__getitem__)
    place = np.empty(len(found) + 1, dtype=np.int32)
    place[order] = np.arange(len(found), dtype=np.int32)
    place[-1] = -1
    codes = pc.fill_null(coded.indices, len(found)).to_numpy(zero_copy_only=False)
    return TextColumn(name, place[codes], tuple(found[i] for i in order))


def _profile(column: Column) -> ColumnProfile:
    missing = float(np.mean(column.missing))
    if isinstance(column, TextColumn):
        return ColumnProfile(column.name, Kind.TEXT, missing, None, None, len(column.levels))
    present = column.values[~column.missing]
    low, high = (float(present.min()), float(present.max())) if present.size else (None, None)
    return ColumnProfile(column.name, Kind.NUMERIC, missing, low, high, None)
