"""The outcome column, read as yes or no. Only the label holder calls it; no text here quotes a value of the label."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from party_node.data.sources.table import NumericColumn, Table
from party_node.table_errors import DataError

_NO_YES = ({"no", "yes"}, {"n", "y"}, {"false", "true"}, {"0", "1"}, {"0.0", "1.0"})


class MissingLabel(StrEnum):
    """Rows without an outcome: counted as refused and left out, or an error."""

    REFUSE = "refuse"
    ERROR = "error"


@dataclass(frozen=True, repr=False)
class Label:
    """`positive`: bool, one per table row (False where unknown); `refused`: True where the outcome is missing."""

    positive: NDArray[np.bool_]
    refused: NDArray[np.bool_]

    def __repr__(self) -> str:
        return f"Label({len(self.positive)} rows)"


def read_label(
    table: Table, column: str, positive: str | None = None, missing: MissingLabel = MissingLabel.REFUSE
) -> Label:
    """The outcome of every row.

    `positive` is the value that means yes (compared as a number where both are numbers, else trimmed and without
    case); all other values mean no. Without it the column must hold 0 and 1, or yes and no, true and false.
    Raises DataError: column_missing, label_missing, label_values, label_one_sided.
    """
    found, codes = _values(table, column)
    absent = codes < 0
    if absent.any() and missing is MissingLabel.ERROR:
        raise DataError(
            "label_missing",
            f"{int(absent.sum())} rows have no value in the label column `{column}`, the first is row "
            f"{int(np.argmax(absent)) + 1}",
            "Complete them, or let the spec refuse rows without a label.",
        )
    wanted = _is_positive(found, column, positive)
    label = Label(np.append(wanted, False)[codes], absent)
    require_both(label.positive[~absent], f"the label column `{column}`")
    return label


def require_both(labels: NDArray[np.bool_], what: str) -> None:
    """Raise DataError label_one_sided unless `labels` has both outcomes."""
    if not labels.any() or labels.all():
        raise DataError(
            "label_one_sided",
            f"all {len(labels)} outcomes in {what} are equal" if len(labels) else f"no outcome is left in {what}",
            "A model needs both outcomes: check the label column, its positive value and the rows in common.",
        )


def require_least(fewest: int, least: int) -> None:
    """Raise DataError few_outcomes unless `least` customers of the development sample have the rarer outcome: a model
    of fewer would be a model of these few. What its end tells: docs/protocols/split.md."""
    if fewest < max(least, 1):
        raise DataError(
            "few_outcomes",
            f"the development sample has fewer than {max(least, 1)} good or bad customers",
            "Use tables with more customers in common, or let a smaller share judge.",
        )


def _values(table: Table, column: str) -> tuple[list[str], NDArray[np.int64]]:
    """Distinct values as text, and for each row an index into them, -1 where missing."""
    cells = table.column(column)
    if not isinstance(cells, NumericColumn):
        return list(cells.levels), cells.codes.astype(np.int64)
    numbers, places = np.unique(cells.values, return_inverse=True, equal_nan=True)
    codes = np.where(cells.missing, -1, places.astype(np.int64))
    return [repr(float(number)) for number in numbers if not math.isnan(number)], codes


def _is_positive(found: list[str], column: str, positive: str | None) -> NDArray[np.bool_]:
    """For each distinct value whether it means yes."""
    if positive is not None:
        wanted = np.array([same_value(value, positive) for value in found], dtype=np.bool_)
        if not wanted.any():
            raise DataError(
                "label_values",
                f"no row of the label column `{column}` has the positive value of the spec",
                "Check the positive value: the column holds " + _how_many(found) + ".",
            )
        return wanted
    folded = [value.strip().casefold() for value in found]
    for pair in _NO_YES:
        if set(folded) <= pair:
            yes = max(pair)
            return np.array([value == yes for value in folded], dtype=np.bool_)
    raise DataError(
        "label_values",
        f"the label column `{column}` holds {_how_many(found)} and the spec does not say which means yes",
        "Name the positive value.",
    )


def _how_many(found: list[str]) -> str:
    return "1 distinct value" if len(found) == 1 else f"{len(found)} distinct values"


def same_value(one: str, other: str) -> bool:
    """Whether two values of a label are one: the same number, or the same text without case."""
    try:
        return float(one) == float(other)
    except ValueError:
        return one.strip().casefold() == other.strip().casefold()
