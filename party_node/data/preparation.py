"""A party's preparation of its own columns: fitted on training rows, applied to any rows, kept with the model.

Order: fill missing values and one-hot, or put weights of evidence in the place of cells (`encode`), drop what is
constant or a twin (`twins`), standardise by mean and standard deviation of the training rows, clip to +-`clip` (no
second standardising), bound the leverage of rows (`leverage`). It knows nothing of other parties, labels or the
intercept. Where a customer has several rows, support counts customers, and the deviation is that of all rows, which the
bit budget of training asks of them. docs/protocols/preparation.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import numpy as np

from mpc.errors import LocalError
from party_node.data.binned_column import BinnedColumn
from party_node.data.encoding import (
    ColumnEncoding,
    Encoding,
    Missing,
    RawColumn,
    Rows,
    What,
    fit_encoding,
    raw_columns,
)
from party_node.data.ids.customers import Customers
from party_node.data.leverage import LeverageBound, LeverageReport, bound_leverage
from party_node.data.sources.kinds import Kind
from party_node.data.sources.table import F64, Table
from party_node.data.twin_columns import twins
from party_node.table_errors import DataError
from wire.spec.columns import MOST_LEVELS

VERSION = 1
_FLAT = 1e-12
_MANY_SHRUNK = 0.1


@dataclass(frozen=True)
class PreparationSpec:
    """What the job spec says of preparation; equal at all parties. `penalty` is the job's lambda."""

    missing: Missing = Missing.INDICATOR
    constant: float = 0.0
    minimum_support: int = 20
    most_levels: int = MOST_LEVELS
    clip: float = 5.0
    leverage_bound: float = 0.1
    penalty: float = 1e-3

    def __post_init__(self) -> None:
        if not np.isfinite(self.constant):
            raise ValueError("the constant for missing values is a finite number")
        if self.minimum_support < 1 or self.most_levels < 1:
            raise ValueError("minimum support and the number of levels are at least 1")
        if not 1 <= self.clip <= 100:
            raise ValueError("clip lies between 1 and 100 standard deviations")
        if not 0 < self.leverage_bound <= 1 or not self.penalty > 0:
            raise ValueError("the leverage bound lies in (0, 1] and lambda above 0")


@dataclass(frozen=True, repr=False)
class Output:
    """One column of the matrix: its place in the sources and the mean and deviation of the training rows."""

    name: str
    source: str
    what: What
    level: str | None
    mean: float
    sd: float


@dataclass(frozen=True, repr=False)
class PreparationReport:
    """What the preparation did, for this party's own part of the report.

    `columns_out` and `dropped` name levels that at least `minimum_support` customers share; `merged` counts the rarer
    ones. None of it is sent to another party.
    """

    rows: int
    columns_in: tuple[str, ...]
    columns_out: tuple[str, ...]
    dropped: tuple[tuple[str, str], ...]
    merged: Mapping[str, int]
    clipped_cells: int
    leverage: LeverageReport | None

    @property
    def warning(self) -> str | None:
        """A sentence where the leverage bound changed so many rows that the model suffers, else None."""
        if self.leverage is None or self.leverage.shrunk_rows <= _MANY_SHRUNK * self.rows:
            return None
        return (
            f"{self.leverage.shrunk_rows} of {self.rows} rows of the development sample were scaled down to bound "
            "their leverage: too few rows for so many columns. Offer fewer columns or take a greater lambda."
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self) | {"merged": dict(self.merged), "dropped": [list(pair) for pair in self.dropped]}


@dataclass(frozen=True, repr=False)
class Preparation:
    """Fitted parameters: all that is needed to prepare another table the same way."""

    spec: PreparationSpec
    encodings: tuple[Encoding, ...]
    outputs: tuple[Output, ...]
    leverage: LeverageBound | None
    report: PreparationReport = field(compare=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Column names of the matrix, in order. They hold level names: private to this party."""
        return tuple(output.name for output in self.outputs)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Table columns that `apply` reads."""
        return tuple(encoding.name for encoding in self.encodings)

    @property
    def kinds(self) -> dict[str, Kind]:
        """The `kinds` argument with which `read_table` reads a later table the same way."""
        return {encoding.name: encoding.kind for encoding in self.encodings}

    def apply(self, table: Table, rows: Rows | None = None, heaviness: F64 | None = None) -> F64:
        """The prepared block, float64 (n x d), of the table's `rows` (row numbers; None: all), in that order.

        |x| <= clip. A row's result depends on that row alone, to the last bit; and, where it trains, on what its
        customer weighs, its `heaviness`. Raises DataError column_missing, column_kind.
        """
        chosen = np.arange(table.rows, dtype=np.int64) if rows is None else rows
        block, _ = self._scaled(table, chosen)
        if self.leverage is not None:
            self.leverage.shrink(block, heaviness)
        return block

    def _scaled(self, table: Table, rows: Rows) -> tuple[F64, int]:
        """Standardised and clipped block, and how many cells were clipped."""
        place = {(output.source, output.what, output.level): i for i, output in enumerate(self.outputs)}
        block = np.empty((len(rows), len(self.outputs)))
        clipped = 0
        for encoding in self.encodings:
            for raw in raw_columns(encoding, table.column(encoding.name), rows):
                i = place.get((raw.source, raw.what, raw.level))
                if i is not None:
                    scaled = (raw.values - self.outputs[i].mean) / self.outputs[i].sd
                    clipped += int(np.count_nonzero(np.abs(scaled) > self.spec.clip))
                    np.clip(scaled, -self.spec.clip, self.spec.clip, out=block[:, i])
        return block, clipped

    def original_units(self, weights: F64) -> tuple[F64, float]:
        """Weights (d) per unit of the raw columns and what they add to the intercept.

        Exact for rows that were neither clipped nor scaled for their leverage.
        """
        mean = np.array([output.mean for output in self.outputs])
        sd = np.array([output.sd for output in self.outputs])
        raw = weights / sd
        return raw, -float(raw @ mean)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; floats survive `json` to the last bit."""
        bound = self.leverage
        return {
            "version": VERSION,
            "spec": asdict(self.spec),
            "encodings": [e.to_json() if isinstance(e, BinnedColumn) else asdict(e) for e in self.encodings],
            "outputs": [asdict(output) for output in self.outputs],
            "leverage": bound and {"factor": bound.factor.tolist(), "target": bound.target, "common": bound.common},
            "report": self.report.to_json(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Preparation:
        """The preparation that `to_json` wrote. Raises DataError damaged_preparation."""
        try:
            if value["version"] != VERSION:
                raise ValueError
            return _parsed(value)
        except (KeyError, TypeError, ValueError, LocalError):
            raise DataError(
                "damaged_preparation", "the kept preparation cannot be read", "Restore the model from a copy."
            ) from None


def fit(
    table: Table,
    rows: Rows,
    spec: PreparationSpec,
    features: Sequence[str] | None = None,
    *,
    may_be_empty: bool = False,
    binned: Sequence[BinnedColumn] | None = None,
    left_out: Sequence[tuple[str, str]] = (),
    customers: Customers | None = None,
) -> Preparation:
    """Fit on the training rows `rows` (row numbers of `table`). `customers`: whose they are; none given: one row each.

    `features` picks table columns (None: all). `may_be_empty`: the label holder may go on without a column of its
    own, it still has the intercept. `binned`: columns enter as weights of evidence, these and no others; `left_out`
    (column, reason) names the others. Raises DataError column_missing, too_few_rows, no_columns.
    """
    inputs = tuple(table.names if features is None else features)
    owners = Customers.one_row_each(len(rows)) if customers is None else customers
    if len(owners) < max(2, spec.minimum_support):
        raise DataError(
            "too_few_rows",
            f"{len(owners)} rows in the development sample, but at least {max(2, spec.minimum_support)} are needed",
            "Align larger tables, or keep fewer rows for the hold-out sample.",
        )
    encodings: tuple[Encoding, ...] = tuple(
        fit_encoding(table.column(name), rows, spec.missing, spec.constant, spec.minimum_support, spec.most_levels,
                     owners)
        for name in inputs
    ) if binned is None else tuple(binned)
    kept, dropped = _kept_columns(table, encodings, rows, spec.minimum_support, owners)
    dropped = [*(_Dropped(name, name, reason) for name, reason in left_out), *dropped]
    if not kept and not may_be_empty:
        # Table columns only: the names of one-hot columns hold private levels.
        reasons = {entry.source: entry.reason for entry in dropped}
        named = ", ".join(f"`{name}` ({reason})" for name, reason in list(reasons.items())[:20])
        raise DataError(
            "no_columns",
            f"no column is left to train on: {named or 'none was given'}",
            "Offer columns that vary, or leave this party out.",
        )
    used = {raw.source for raw in kept}
    outputs = tuple(
        Output(name, raw.source, raw.what, raw.level, *owners.centred(raw.values))
        for name, raw in zip(_unique([raw.name for raw in kept]), kept, strict=True)
    )
    report = PreparationReport(
        rows=len(rows),
        columns_in=inputs,
        columns_out=tuple(output.name for output in outputs),
        dropped=tuple((entry.name, entry.reason) for entry in dropped),
        merged={e.name: e.merged for e in encodings if isinstance(e, ColumnEncoding) and e.merged},
        clipped_cells=0,
        leverage=None,
    )
    del kept
    encodings = tuple(encoding for encoding in encodings if encoding.name in used)
    return _with_leverage(Preparation(spec, encodings, outputs, None, report), table, rows, owners)


def with_intercept(block: F64, label_holder: bool) -> F64:
    """The label holder's block has the column of ones first."""
    return np.column_stack([np.ones(len(block)), block]) if label_holder else block


def _with_leverage(unbounded: Preparation, table: Table, rows: Rows, customers: Customers) -> Preparation:
    """The preparation with its leverage bound fitted on the scaled training rows."""
    spec, report = unbounded.spec, asdict(unbounded.report)
    block, report["clipped_cells"] = unbounded._scaled(table, rows)
    bound = None
    if unbounded.outputs:
        bound, report["leverage"] = bound_leverage(block, spec.leverage_bound, spec.penalty, customers)
    return Preparation(spec, unbounded.encodings, unbounded.outputs, bound, PreparationReport(**report))


@dataclass(frozen=True, repr=False)
class _Dropped:
    name: str
    source: str
    reason: str


def _kept_columns(
    table: Table, encodings: Sequence[Encoding], rows: Rows, support: int, customers: Customers
) -> tuple[list[RawColumn], list[_Dropped]]:
    """Raw columns of the training rows that carry something, and the others with the reason."""
    found: list[RawColumn] = []
    dropped: list[_Dropped] = []
    for encoding in encodings:
        name = encoding.name
        column = table.column(name)
        if bool(np.all(column.missing[rows])):
            dropped.append(_Dropped(name, name, "all values are missing"))
            continue
        raws = list(raw_columns(encoding, column, rows))
        if not raws:
            dropped.append(_Dropped(name, name, f"no level has {support} customers"))
        for raw in raws:
            reason = _flat(raw.values, support, customers)
            if reason:
                dropped.append(_Dropped(raw.name, name, reason))
            else:
                found.append(raw)
    repeated = twins([raw.values for raw in found], support, customers)
    for i, first in repeated.items():
        reason = f"says the same as `{found[first].name}`, but for fewer than {support} customers"
        dropped.append(_Dropped(found[i].name, found[i].source, reason))
    return [raw for i, raw in enumerate(found) if i not in repeated], dropped


def _flat(values: F64, support: int, customers: Customers) -> str | None:
    """Why a column without missing values tells too little, or None."""
    if values.min() == values.max() or values.std() <= _FLAT * np.abs(values).max():
        return "constant"
    high = values == values.max()
    if np.all(high | (values == values.min())):
        fewest = min(customers.count(high), customers.count(~high))
    else:
        # A value that all but a few customers share is the median; partitioning is slow where values repeat much.
        ones = values[customers.firsts]
        fewest = customers.count(values != np.partition(ones, len(ones) // 2)[len(ones) // 2])
    return f"constant in all but fewer than {support} customers" if fewest < support else None


def _unique(names: Sequence[str]) -> list[str]:
    """The names, with #2, #3, ... where a table column is called like a level of another."""
    taken: set[str] = set()
    result = []
    for name in names:
        fresh, number = name, 1
        while fresh in taken:
            number += 1
            fresh = f"{name}#{number}"
        taken.add(fresh)
        result.append(fresh)
    return result


def _parsed(value: Mapping[str, Any]) -> Preparation:
    spec = PreparationSpec(**(value["spec"] | {"missing": Missing(value["spec"]["missing"])}))
    encodings: tuple[Encoding, ...] = tuple(
        BinnedColumn.from_json(entry) if "bins" in entry else
        ColumnEncoding(**(entry | {"kind": Kind(entry["kind"]), "levels": tuple(entry["levels"])}))
        for entry in value["encodings"]
    )
    outputs = tuple(Output(**(entry | {"what": What(entry["what"])})) for entry in value["outputs"])
    bound = None
    if value["leverage"] is not None:
        factor = np.array(value["leverage"]["factor"], dtype=np.float64)
        if factor.shape != (len(outputs), len(outputs)) or not np.all(np.isfinite(factor)):
            raise ValueError
        bound = LeverageBound(factor, float(value["leverage"]["target"]), float(value["leverage"]["common"]))
    if (bound is None) != (not outputs) or not all(output.sd > 0 for output in outputs):
        raise ValueError
    kept = dict(value["report"])
    kept["leverage"] = kept["leverage"] and LeverageReport(**kept["leverage"])
    for key in ("columns_in", "columns_out"):
        kept[key] = tuple(cast(list[str], kept[key]))
    kept["dropped"] = tuple((name, reason) for name, reason in kept["dropped"])
    return Preparation(spec, encodings, outputs, bound, PreparationReport(**kept))
