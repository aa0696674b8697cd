"""solo | joint | difference in words: the lines that the terminal, the report and the analyst's tool all show.

Takes the released evaluation as decoded JSON, from this site or a foreign one: whatever is missing or of another
kind becomes a dash, never an error. Knows neither rows nor how the figures were made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

DASH = "–"
LONGEST_VERDICT = 500   # characters
# All that is told of a p-value that leaves its site: the least of these that it lies below.
COARSE_P = {0.001: "p < 0.001", 0.01: "p < 0.01", 0.05: "p < 0.05", 0.2: "p < 0.2", 0.999: "p ≥ 0.2"}
Json = object  # decoded JSON, not yet looked at


@dataclass(frozen=True)
class Scale:
    """How a figure of one kind is written, alone and as the ends of an interval."""

    factor: float
    digits: int
    unit: str

    def one(self, value: float, sign: str = "") -> str:
        return f"{self._rounded(value):{sign}.{self.digits}f}{self.unit}"

    def ends(self, low: float, high: float, sign: str = "") -> str:
        first, last = (f"{self._rounded(end):{sign}.{self.digits}f}" for end in (low, high))
        return f"{first}..{last}{self.unit}"

    def _rounded(self, value: float) -> float:
        return round(self.factor * value, self.digits) + 0.0  # so that nothing reads -0.00


PLAIN = Scale(1.0, 4, "")
COARSE = Scale(1.0, 2, "")
PERCENT = Scale(100.0, 1, " %")
POINTS = Scale(100.0, 1, " pt")  # differences of percentages


@dataclass(frozen=True)
class Measure:
    """How one figure is shown. `good` is +1 where more is better, -1 where less is, 0 where neither."""

    key: str
    label: str
    good: int
    scale: Scale = PLAIN
    gap_scale: Scale = PLAIN
    sign: str = ""  # of the figure itself; a difference always shows its sign


@dataclass(frozen=True)
class Cell:
    """A figure in words and its 95 % interval in words (empty where there is none)."""

    text: str
    interval: str = ""


@dataclass(frozen=True)
class ComparisonRow:
    """One line. `sign`: +1 joint is surely better, -1 surely worse, 0 not told apart or not judged."""

    label: str
    solo: Cell
    joint: Cell
    difference: Cell
    sign: int
    p_value: str
    pooled: str


def measures(evaluation: Json) -> tuple[Measure, ...]:
    """The figures in the order a reader wants them."""
    rate = number(entry(evaluation, "approval_rate"))
    bad = number(entry(evaluation, "models", "solo", "bad_rate", "value"))
    approved = "the agreed share is" if rate is None else f"{100 * rate:g} % are"
    at_bad = "at solo's bad rate" if bad is None else f"with {PERCENT.one(bad)} bad"
    return (
        Measure("auc", "AUC", 1),
        Measure("ks", "KS", 1),
        Measure("gini", "Gini", 1),
        Measure("brier", "Brier score (0 is best)", -1),
        Measure("log_loss", "Log-loss (0 is best)", -1),
        Measure("calibration_intercept", "Calibration intercept (0 is right)", 0, COARSE, sign="+"),
        Measure("calibration_slope", "Calibration slope (1 is right)", 0, COARSE),
        Measure("bad_rate", f"Bad rate if {approved} approved", -1, PERCENT, POINTS),
        Measure("approval", f"Most that can be approved {at_bad}", 1, PERCENT, POINTS),
    )


def entry(tree: Json, *keys: str) -> Json:
    """tree[key][key]...; None where the path leads nowhere."""
    for key in keys:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree


def number(value: Json) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def text(value: Json) -> str | None:
    """A short piece of foreign text; None where there is none."""
    if value is None or isinstance(value, Mapping | list):
        return None
    return str(value)[:500] or None


def items(value: Json) -> list[Any]:  # decoded JSON
    """A list, or nothing."""
    return value if isinstance(value, list) else []


def pairs(value: Json) -> list[tuple[str, Any]]:  # decoded JSON
    """Keys and values, or nothing."""
    return [(str(key), item) for key, item in value.items()] if isinstance(value, Mapping) else []


def p_text(p_value: float) -> str:
    """p in the usual precision, or as coarsely as it is released."""
    if p_value in COARSE_P:
        return COARSE_P[p_value]
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def comparison_rows(evaluation: Json, pooled: Json = None) -> list[ComparisonRow]:
    """The lines of the table. `pooled`: name -> figure, which only a local run can know."""
    rows = []
    for measure in measures(evaluation):
        solo = entry(evaluation, "models", "solo", measure.key)
        joint = entry(evaluation, "models", "joint", measure.key)
        gap = entry(evaluation, "difference", measure.key)
        together, p_value = number(entry(pooled, measure.key)), number(entry(gap, "p_value"))
        if all(number(entry(figure, "value")) is None for figure in (solo, joint)):
            continue
        rows.append(
            ComparisonRow(
                label=measure.label,
                solo=_cell(solo, measure.scale, measure.sign),
                joint=_cell(joint, measure.scale, measure.sign),
                difference=_cell(gap, measure.gap_scale, "+"),
                sign=_sign(gap, measure.good),
                p_value="" if p_value is None else p_text(p_value),
                pooled=DASH if together is None else measure.scale.one(together, measure.sign),
            )
        )
    return rows


def _cell(figure: Json, scale: Scale, sign: str) -> Cell:
    value, low, high = (number(entry(figure, key)) for key in ("value", "low", "high"))
    if value is None:
        return Cell(DASH)
    return Cell(scale.one(value, sign), "" if low is None or high is None else scale.ends(low, high, sign))


def _sign(gap: Json, good: int) -> int:
    low, high = number(entry(gap, "low")), number(entry(gap, "high"))
    if low is None or high is None or low <= 0.0 <= high:
        return 0
    return good if low > 0.0 else -good


def verdict_text(evaluation: Json) -> str:
    """The verdict's sentence, which the label holder's node wrote, or that there is none: printable and bounded."""
    text = entry(evaluation, "verdict", "text")
    if not isinstance(text, str):
        return "no verdict"
    return "".join(c if c.isprintable() else " " for c in text[:LONGEST_VERDICT])


def print_comparison(
    evaluation: Json, console: Console, pooled: Json = None, names: tuple[str, str] = ("solo", "joint")
) -> None:
    """The table and the verdict, for a terminal of 80 columns or more; `names` of the two models."""
    rows = comparison_rows(evaluation, pooled)
    with_pooled = isinstance(pooled, Mapping) and bool(pooled)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("hold-out sample", ratio=1)
    for name in (*names, "difference", *(("pooled",) if with_pooled else ())):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        colour = {1: "green", -1: "red", 0: "default"}[row.sign]
        gap = f"[{colour}]{escape(row.difference.text)}[/]" + _second_line(row.difference)
        gap += f"\n[dim]{row.p_value}[/]" if row.p_value else ""
        cells = [*(escape(c.text) + _second_line(c) for c in (row.solo, row.joint)), gap]
        shown = [escape(row.label), *cells, *((escape(row.pooled),) if with_pooled else ())]
        table.add_row(*map(Text.from_markup, shown))  # whether or not the console takes markup for itself
    if rows:
        console.print(table)
    test, bad = number(entry(evaluation, "rows", "test")), number(entry(evaluation, "rows", "bad"))
    if test is not None:
        of_them = "" if bad is None else f", {bad:,.0f} of them bad"
        rows_text = f"[dim]hold-out sample of {test:,.0f} rows{of_them}; second lines are 95 % intervals[/]"
        console.print(Text.from_markup(rows_text))
    console.print(Text.from_markup(f"[bold]Verdict: {escape(verdict_text(evaluation))}[/]"))


def _second_line(cell: Cell) -> str:
    return f"\n[dim]{escape(cell.interval)}[/]" if cell.interval else ""
