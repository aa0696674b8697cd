"""When each row was, for a hold-out out of time: a column of numbers or of ISO dates, at the label holder alone. No
text here quotes a cell."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from mpc.credit.bands import out_of_time
from party_node.data.hold_out import count
from party_node.data.ids.customers import Customers
from party_node.data.sources.table import Table, TextColumn
from party_node.table_errors import DataError

Span = tuple[float, float]   # from (included) to (not included), or one instant twice
_DATE = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2})?)(?:\.\d+)?(Z|[+-]\d{2}:\d{2})?)?)?)?")
_QUARTER = re.compile(r"(\d{4})-?[Qq]([1-4])")


@dataclass(frozen=True, repr=False)
class Period:
    """`starts` [table rows]; `boundary`: where the later period begins, if the job says so."""

    starts: NDArray[np.float64]
    boundary: float | None

    def __repr__(self) -> str:
        return f"Period({len(self.starts)} rows)"

    def later(self, rows: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
        """Which of the table's `rows` judge: those at the boundary or after, or else the latest, at least `share` of
        them; none where all are of one moment."""
        when = self.starts[rows]
        if self.boundary is not None:
            chosen: NDArray[np.bool_] = when >= self.boundary
            return chosen
        if len(np.unique(when)) < 2:
            return np.zeros(len(rows), np.bool_)
        return out_of_time(when, share)


def read_period(table: Table, column: str, since: str | None) -> Period:
    """The moments of all rows; the column is read as text. All cells are numbers, or all are dates as in 2024,
    2024-Q1, 2024-01, 2024-01-31, 2024-01-31 12:00 (of no zone: UTC), and `since` is of the same kind. A row
    without one is an error: leaving such rows out would tell others who they are, before anything is aligned.

    Raises DataError: column_missing, period_missing, period_values.
    """
    cells = table.column(column)
    if not isinstance(cells, TextColumn):
        raise TypeError("the column of periods is read as text")
    absent = cells.missing
    if absent.any():
        raise DataError(
            "period_missing",
            f"{int(absent.sum())} rows have no value in `{column}`, the first is row {int(np.argmax(absent)) + 1}",
            "Complete them, or register a table without these rows, if who is in it may be known.",
        )
    kinds = (as_date, as_number) if since is None or as_date(since) else (as_number,)
    read = min((([kind(level) for level in cells.levels], kind) for kind in kinds),
               key=lambda found: found[0].count(None))
    spans, kind = read
    _require(cells, [span is not None for span in spans], "neither numbers nor dates as in 2024-01-31, or not all of "
             "the kind that the boundary is")
    boundary = None
    if since is not None:
        found = kind(since)
        if found is None:
            raise DataError("period_values",
                            f"the boundary of the out-of-time sample is of another kind than `{column}`",
                            "Write it as the column does: as a number, or as a date.")
        boundary = found[0]
        whole = [span is not None and not span[0] < boundary < span[1] for span in spans]
        _require(cells, whole, "coarser than the boundary, which lies within them")
    starts = np.array([span[0] for span in spans if span is not None])
    return Period(starts[cells.codes], boundary)


def require_outcomes(later: NDArray[np.bool_], bad: NDArray[np.bool_], least: int) -> None:
    """DataError unless `least` good and as many bad customers lie on either side: a period that goes with the outcome
    would tell it, so it is refused and not merely left without figures. Called by the label holder before a bit leaves
    it."""
    for side in (later, ~later):
        if count(Customers.one_row_each(int(side.sum())), bad[side]).fewest < max(least, 1):
            raise DataError(
                "period_outcomes",
                f"fewer than {max(least, 1)} customers on one side of the boundary have one of the outcomes, so the "
                "period would tell it",
                "Choose another boundary; a column that follows from the outcome is no period.",
            )


def _require(cells: TextColumn, fine: list[bool], fault: str) -> None:
    """DataError unless every level is `fine`."""
    wrong = ~np.array(fine, np.bool_)[cells.codes]
    if wrong.any():
        raise DataError(
            "period_values",
            f"{int(wrong.sum())} cells of `{cells.name}` are {fault}; the first is in row {int(np.argmax(wrong)) + 1}",
            "Mend the table, or name another boundary in hold_out.",
        )


def as_number(text: str) -> Span | None:
    """A finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return (value, value) if np.isfinite(value) else None


def as_date(text: str) -> Span | None:
    """The span of an ISO date in seconds, or None; a moment has no length."""
    text = text.strip()
    try:
        if quarter := _QUARTER.fullmatch(text):
            year, month = int(quarter[1]), 3 * int(quarter[2]) - 2
            return _seconds(year, month), _seconds(year, month + 3)
        if not (found := _DATE.fullmatch(text)):
            return None
        year, month, day = int(found[1]), int(found[2] or 1), int(found[3] or 1)
        if found[4]:
            at = datetime.fromisoformat(text.replace("Z", "+00:00"))
            moment = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
            return moment, moment
        start = datetime(year, month, day, tzinfo=UTC).timestamp()
        if found[3]:
            return start, start + timedelta(days=1).total_seconds()
        return start, _seconds(year, month + 1) if found[2] else _seconds(year + 1, 1)
    except ValueError:   # a thirteenth month, a day that is none
        return None


def _seconds(year: int, month: int) -> float:
    """The first moment of a month; the thirteenth is the January after."""
    return datetime(year + (month - 1) // 12, (month - 1) % 12 + 1, 1, tzinfo=UTC).timestamp()
