"""The report's pictures as inline SVG: drawn from released figures only, nothing fetched, nothing executed.

Takes the released evaluation as decoded JSON; a picture whose figures are missing is left out (None).
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from reporting.comparison_table import Json, entry, number

JOINT, SOLO, FAINT = "#0b63a5", "#c2610c", "#b8bec8"  # told apart by colour-blind readers and in grey print
MODELS = (("solo", SOLO, "--"), ("joint", JOINT, "-"))
_STYLE: dict[Any, Any] = {  # matplotlib's stub wants its hundreds of names as literals
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#6b7280",
    "axes.grid": True,
    "grid.color": "#e8eaee",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "xtick.color": "#374151",
    "ytick.color": "#374151",
}


def pictures(evaluation: Json) -> list[tuple[str, str, str]]:
    """(title, what it shows, SVG) of every picture that can be drawn."""
    drawn = []
    for name, title, caption, draw in _PICTURES:
        svg = _svg(name, title, draw, evaluation)
        if svg is not None:
            drawn.append((title, caption, svg))
    return drawn


def numbers(tree: Json, *keys: str) -> list[float]:
    """A list of finite numbers at this path; empty where there is none, or where one entry is no number."""
    value = entry(tree, *keys)
    found = [number(item) for item in value] if isinstance(value, list) else []
    return [item for item in found if item is not None] if None not in found else []


def _svg(name: str, title: str, draw: Callable[[Axes, Json], bool], evaluation: Json) -> str | None:
    with mpl.rc_context(_STYLE | {"svg.hashsalt": name}):
        figure = Figure(figsize=(4.7, 3.5), layout="constrained")
        if not draw(figure.add_subplot(), evaluation):
            return None
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    text = out.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    # Several drawings share one page, so their ids must differ.
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
    return text.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)


def _percent_axes(axes: Axes) -> None:
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))


@dataclass(frozen=True)
class _Line:
    model: str
    colour: str
    dash: str
    x: list[float]
    y: list[float]


def _lines(evaluation: Json, x: Iterable[str], y: Iterable[str]) -> list[_Line]:
    """For each model the two lists under `curves`; only where both fit together."""
    found = []
    for model, colour, dash in MODELS:
        xs, ys = (numbers(evaluation, "curves", model, *path) for path in (x, y))
        if xs and len(xs) == len(ys):
            found.append(_Line(model, colour, dash, xs, ys))
    return found


def _named(evaluation: Json, model: str, key: str, word: str) -> str:
    """The model's name for a legend, with its figure where there is one."""
    value = number(entry(evaluation, "models", model, key, "value"))
    return model if value is None else f"{model}, {word} {value:.3f}"


def _forest(axes: Axes, evaluation: Json) -> bool:
    """AUC, KS and Gini of both models with their intervals."""
    ticks: list[str] = []
    for place, (key, label) in enumerate((("gini", "Gini"), ("ks", "KS"), ("auc", "AUC"))):
        for shift, (model, colour, _) in zip((-0.13, 0.13), MODELS, strict=True):
            figure = entry(evaluation, "models", model, key)
            value, low, high = (number(entry(figure, part)) for part in ("value", "low", "high"))
            if value is None or low is None or high is None:
                continue
            at = place - shift
            axes.plot([low, high], [at, at], color=colour, lw=2.2, solid_capstyle="butt")
            axes.plot([value], [at], "o", color=colour, ms=6, label=model if not ticks else None)
            axes.annotate(f"{value:.3f}", (value, at), (0, 5), textcoords="offset points", ha="center", fontsize=8,
                          color=colour)
        ticks.append(label)
    axes.set_yticks(range(3), ticks)
    axes.set_ylim(-0.5, 2.6)
    axes.grid(False, axis="y")
    _, labels = axes.get_legend_handles_labels()
    if labels:
        axes.legend(loc="lower right")
    return bool(labels)


def _roc(axes: Axes, evaluation: Json) -> bool:
    lines = _lines(evaluation, ("roc", "fpr"), ("roc", "tpr"))
    axes.plot([0, 1], [0, 1], color=FAINT, lw=1, label="chance")
    for line in lines:
        label = _named(evaluation, line.model, "auc", "AUC")
        axes.plot([0.0, *line.x], [0.0, *line.y], line.dash, color=line.colour, lw=2, label=label)
    axes.set_xlabel("good customers declined")
    axes.set_ylabel("bad customers declined")
    _percent_axes(axes)
    axes.legend(loc="lower right")
    return bool(lines)


def _ks(axes: Axes, evaluation: Json) -> bool:
    good = {line.model: line.y for line in _lines(evaluation, ("ks", "share"), ("ks", "good"))}
    drawn = 0
    for line in _lines(evaluation, ("ks", "share"), ("ks", "bad")):
        lost = good.get(line.model, [])
        if len(lost) == len(line.y):
            gap = [b - g for b, g in zip(line.y, lost, strict=True)]
            label = _named(evaluation, line.model, "ks", "KS")
            axes.plot(line.x, gap, line.dash, color=line.colour, lw=2, label=label)
            drawn += 1
    axes.set_xlabel("customers declined, riskiest first")
    axes.set_ylabel("bad minus good customers declined")
    _percent_axes(axes)
    if drawn:
        axes.set_ylim(top=1.3 * axes.get_ylim()[1])
        axes.legend(loc="upper right")
    return drawn > 0


def _calibration(axes: Axes, evaluation: Json) -> bool:
    lines = _lines(evaluation, ("calibration", "predicted"), ("calibration", "observed"))
    top = 1.08 * max((value for line in lines for value in (*line.x, *line.y)), default=1.0) or 1.0
    axes.plot([0, top], [0, top], color=FAINT, lw=1, label="exact")
    for line in lines:
        marker = "o" if line.model == "joint" else "^"
        axes.plot(line.x, line.y, marker, ms=5, color=line.colour, alpha=0.85, mew=0, label=line.model)
    axes.set_xlim(0, top)
    axes.set_ylim(0, top)
    axes.set_xlabel("predicted bad rate")
    axes.set_ylabel("observed bad rate")
    _percent_axes(axes)
    axes.legend(loc="upper left")
    return bool(lines)


def _lift(axes: Axes, evaluation: Json) -> bool:
    groups = 0
    for shift, (model, colour, _) in zip((-0.2, 0.2), MODELS, strict=True):
        rows = entry(evaluation, "groups", model)
        lifts = [number(entry(row, "lift")) for row in rows] if isinstance(rows, list) else []
        heights = [lift for lift in lifts if lift is not None]
        axes.bar([k + 1 + shift for k in range(len(heights))], heights, 0.38, color=colour, label=model)
        groups = max(groups, len(heights))
    axes.axhline(1.0, color="#374151", lw=1)
    axes.set_xticks(range(1, groups + 1))
    axes.grid(False, axis="x")
    axes.set_xlabel("tenth of the customers, riskiest first" if groups == 10 else "group of customers, riskiest first")
    axes.set_ylabel("bad rate against the average")
    if groups:
        axes.legend(loc="upper right")
    return groups > 0


def _trade_off(axes: Axes, evaluation: Json) -> bool:
    rows = entry(evaluation, "trade_off")
    for model, colour, dash in MODELS:
        points = []
        for row in rows if isinstance(rows, list) else []:
            figure = entry(row, "bad_rate", model)
            found = [number(entry(row, "approval_rate")), *(number(entry(figure, k)) for k in ("value", "low", "high"))]
            values = [value for value in found if value is not None]
            if len(values) == len(found):
                points.append(values)
        if not points:
            return False
        x, y, low, high = zip(*points, strict=True)
        axes.fill_between(x, low, high, color=colour, alpha=0.13, lw=0)
        axes.plot(x, y, dash, marker="o", ms=4, color=colour, lw=2, label=model)
    axes.set_xlabel("customers approved")
    axes.set_ylabel("bad customers among them")
    axes.set_ylim(bottom=0)
    _percent_axes(axes)
    axes.legend(loc="upper left")
    return True


_PICTURES: tuple[tuple[str, str, str, Callable[[Axes, Json], bool]], ...] = (
    ("forest", "Joint against solo", "Ranking power with 95 % intervals; further right is better.", _forest),
    ("tradeoff", "Bad rate by approval rate", "Lower is better; shaded: 95 % intervals.", _trade_off),
    ("roc", "ROC", "Higher is better; 20 points a curve.", _roc),
    ("ks", "KS", "The lead of bad over good customers; its top is KS. 20 points a curve.", _ks),
    ("calibration", "Calibration", "On the grey line the predicted probability is what happened.", _calibration),
    ("lift", "Lift", "How many times the average bad rate each group has; steeper is better.", _lift),
)
