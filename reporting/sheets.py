"""Tables of a report: one set of values, shown in a page, written as CSV and as a workbook.

A sheet holds raw values; how one is written depends on its column's kind alone, so page, CSV and workbook cannot
disagree. Text of foreign tables is never a formula. Knows no meaning, no job and no party.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from xlsxwriter import Workbook

from reporting.comparison_table import DASH

Kind = Literal["text", "count", "share", "change", "figure", "ratio", "weight", "points", "money"]
Cell = str | int | float | None
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_FORMATS: dict[Kind, str] = {
    "count": "#,##0", "share": "0.00%", "change": "+0.00%;-0.00%;0.00%",
    "figure": "0.0000", "ratio": "0.00", "weight": "+0.0000;-0.0000;0.0000", "points": "0.##",
    "money": "#,##0",
}
_WIDEST = 60
_TAB = 31  # characters that a workbook allows in the name of a sheet


@dataclass(frozen=True)
class Column:
    """`end` of an interval: a page shows it in small beside the value that it belongs to, the last column before.
    `runs`: a value that repeats is shown once; `minor`: a narrow screen does without."""

    name: str
    kind: Kind = "text"
    end: bool = False
    runs: bool = False
    minor: bool = False

    @property
    def style(self) -> str:
        """The classes of its cells in a page."""
        return " ".join(word for word, meant in (("n", self.kind != "text"), ("minor", self.minor)) if meant)


def interval(name: str, kind: Kind) -> tuple[Column, Column, Column]:
    """The columns of a figure and both ends of its interval."""
    return Column(name, kind), Column(f"{name}, low", kind, end=True), Column(f"{name}, high", kind, end=True)


class Shown(NamedTuple):
    """One cell of a page: the value, its interval in small, and the classes of its column."""

    text: str
    small: str
    style: str


@dataclass(frozen=True)
class Sheet:
    """`name` names the file and the tab; `title` is what a reader sees above the table."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"a row of sheet {self.name} has another number of cells than there are columns")

    def heads(self) -> list[Column]:
        """The columns that a page shows."""
        return [column for column in self.columns if not column.end]

    def lines(self) -> list[list[Shown]]:
        """The rows as a page shows them."""
        found = [self._line(row) for row in self.rows]
        for place, column in enumerate(self.heads()):
            if column.runs:
                texts = [line[place].text for line in found]
                for line, text, before in zip(found[1:], texts[1:], texts, strict=False):
                    line[place] = line[place]._replace(text="" if text == before else text)
        return found

    def _line(self, row: Sequence[Cell]) -> list[Shown]:
        line: list[Shown] = []
        ends: list[Cell] = []
        for column, cell in zip(self.columns, row, strict=True):
            if not column.end:
                line.append(Shown(shown(column.kind, cell), "", column.style))
                ends = []
                continue
            ends.append(cell)
            if len(ends) == 2 and not any(_missing(end) for end in ends):
                low, high = (shown(column.kind, end) for end in ends)
                unit = {"share": " %", "change": " pt"}.get(column.kind, "")
                line[-1] = line[-1]._replace(small=f"{low.removesuffix(unit)}..{high}")
        return line

    def text(self) -> str:
        """The sheet as CSV: raw values, nothing rounded, nothing that a spreadsheet takes for a formula."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(column.name for column in self.columns)
        writer.writerows([_plain(cell) for cell in row] for row in self.rows)
        return out.getvalue()


def shown(kind: Kind, value: Cell) -> str:
    """One value in words."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return DASH
    if isinstance(value, str):
        return value
    if kind == "share":
        return f"{round(100 * value, 1) + 0.0:.1f} %"
    if kind == "change":
        return f"{round(100 * value, 1) + 0.0:+.1f} pt"
    if kind in ("count", "money"):
        return f"{round(value):,}"
    if kind == "ratio":
        return f"{value:.2f}"
    if kind == "points":
        return f"{value:g}"
    return f"{round(value, 4) + 0.0:{'+' if kind == 'weight' else ''}.4f}"


def workbook(sheets: Sequence[Sheet]) -> bytes:
    """All sheets as one XLSX file; the same sheets give the same bytes."""
    out = io.BytesIO()
    book = Workbook(out, {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False,
                          "strings_to_numbers": False})
    book.set_properties({"created": datetime(2000, 1, 1)})  # so that bytes repeat
    head = book.add_format({"bold": True, "bottom": 1})
    formats = {kind: book.add_format({"num_format": text}) for kind, text in _FORMATS.items()}
    for sheet, tab in zip(sheets, _tabs(sheets), strict=True):
        page = book.add_worksheet(tab)
        page.freeze_panes(1, 0)
        for place, column in enumerate(sheet.columns):
            cells = [row[place] for row in sheet.rows]
            words = [column.name, *(shown(column.kind, cell) for cell in cells)]
            page.set_column(place, place, min(_WIDEST, 2 + max(map(len, words))))
            page.write_string(0, place, column.name, head)
            for line, cell in enumerate(cells, start=1):
                if isinstance(cell, str):
                    page.write_string(line, place, cell)
                elif not _missing(cell):
                    page.write_number(line, place, cell, formats.get(column.kind))
    book.close()
    return out.getvalue()


def _tabs(sheets: Sequence[Sheet]) -> list[str]:
    """Names of at most 31 characters, no two alike in any case."""
    tabs: list[str] = []
    for sheet in sheets:
        tab, number = sheet.name[:_TAB], 1
        while tab.lower() in {other.lower() for other in tabs}:
            number += 1
            tail = f" {number}"
            tab = sheet.name[: _TAB - len(tail)] + tail
        tabs.append(tab)
    return tabs


def _missing(cell: Cell) -> bool:
    return cell is None or (isinstance(cell, float) and not math.isfinite(cell))


def _plain(cell: Cell) -> str | int | float:
    if _missing(cell):
        return ""
    assert cell is not None
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell
