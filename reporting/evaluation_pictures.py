"""The pictures of a released evaluation: ranking power, bad rate by approval rate, ROC, KS, calibration, lift.

Takes the evaluation as decoded JSON, from this site or a foreign one; a picture whose figures are missing, or are no
figures that an evaluation can have, is left out (None). Knows neither rows nor how the figures were made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from reporting import drawings
from reporting.comparison_table import Json, entry, number
from reporting.drawings import FAINT, LARGE, RISKIER, SAFER, Axis, Bar, Curve, Estimate, percent

JOINT, SOLO = SAFER, RISKIER
MODELS = (("solo", SOLO), ("joint", JOINT))   # solo is dashed, joint is solid and lies on top
LARGEST = 1e6   # no rate, gain or lift that is worth a picture is larger
Picture = Callable[[str, Json], Markup | None]


def pictures(evaluation: Json) -> list[tuple[str, str, Markup]]:
    """(title, what it shows, SVG) of every picture that can be drawn."""
    drawn = ((title, caption, draw(title, evaluation)) for title, caption, draw in _PICTURES)
    return [(title, caption, svg) for title, caption, svg in drawn if svg is not None]


def numbers(tree: Json, *keys: str) -> list[float]:
    """A list of figures at this path; empty where there is none, or where one entry is no figure."""
    value = entry(tree, *keys)
    found = [_figure(item) for item in value] if isinstance(value, list) else []
    return [item for item in found if item is not None] if None not in found else []


def _figure(value: Json) -> float | None:
    found = number(value)
    return None if found is None or abs(found) > LARGEST else found


@dataclass(frozen=True)
class _Line:
    model: str
    colour: str
    x: list[float]
    y: list[float]

    def curve(self, name: str) -> Curve:
        return Curve(name, self.colour, self.x, self.y, dashed=self.model == "solo")


def _lines(evaluation: Json, x: Iterable[str], y: Iterable[str]) -> list[_Line]:
    """For each model the two lists under `curves`; only where both fit together."""
    found = []
    for model, colour in MODELS:
        xs, ys = (numbers(evaluation, "curves", model, *path) for path in (x, y))
        if xs and len(xs) == len(ys):
            found.append(_Line(model, colour, xs, ys))
    return found


def _named(evaluation: Json, model: str, key: str, word: str) -> str:
    """The model's name for a legend, with its figure where there is one."""
    value = _figure(entry(evaluation, "models", model, key, "value"))
    return model if value is None else f"{model}, {word} {value:.3f}"


def _interval(figure: Json) -> tuple[float, float, float] | None:
    """Value, low, high; None where one of them is missing."""
    value, low, high = (_figure(entry(figure, part)) for part in ("value", "low", "high"))
    return None if value is None or low is None or high is None else (value, low, high)


def _forest(title: str, evaluation: Json) -> Markup | None:
    """AUC, KS and Gini of both models with their intervals."""
    rows: list[tuple[str, Sequence[Estimate]]] = []
    for key, label in (("auc", "AUC"), ("ks", "KS"), ("gini", "Gini")):
        found = ((model, colour, _interval(entry(evaluation, "models", model, key))) for model, colour in MODELS)
        rows.append((label, [Estimate(model, colour, *ends, words=f"{ends[0]:.3f}", dashed=model == "solo")
                             for model, colour, ends in found if ends is not None]))
    return drawings.forest(title, Axis(), rows) if any(estimates for _, estimates in rows) else None


def _diagonal(end: float) -> Curve:
    return Curve("", FAINT, (0.0, end), (0.0, end), thickness=1.2)


def _roc(title: str, evaluation: Json) -> Markup | None:
    lines = _lines(evaluation, ("roc", "fpr"), ("roc", "tpr"))
    found = [_Line(one.model, one.colour, [0.0, *one.x], [0.0, *one.y]).curve(
        _named(evaluation, one.model, "auc", "AUC")) for one in lines]
    return drawings.curves(
        title, Axis("good customers declined", percent, 0.0, 1.0), Axis("bad customers declined", percent, 0.0, 1.0),
        [_diagonal(1.0), *found], LARGE) if found else None


def _ks(title: str, evaluation: Json) -> Markup | None:
    good = {line.model: line.y for line in _lines(evaluation, ("ks", "share"), ("ks", "good"))}
    found = []
    for line in _lines(evaluation, ("ks", "share"), ("ks", "bad")):
        lost = good.get(line.model, [])
        if len(lost) == len(line.y):
            gap = [b - g for b, g in zip(line.y, lost, strict=True)]
            name = _named(evaluation, line.model, "ks", "KS")
            found.append(_Line(line.model, line.colour, [0.0, *line.x], [0.0, *gap]).curve(name))
    return drawings.curves(
        title, Axis("customers declined, riskiest first", percent, 0.0, 1.0),
        Axis("bad minus good customers declined", percent, 0.0), found, LARGE) if found else None


def _calibration(title: str, evaluation: Json) -> Markup | None:
    lines = _lines(evaluation, ("calibration", "predicted"), ("calibration", "observed"))
    top = 1.08 * max((value for line in lines for value in (*line.x, *line.y)), default=1.0) or 1.0
    found = [Curve(one.model, one.colour, one.x, one.y, dashed=one.model == "solo", marks=True, thickness=0)
             for one in lines]
    return drawings.curves(
        title, Axis("predicted bad rate", percent, 0.0, top), Axis("observed bad rate", percent, 0.0, top),
        [_diagonal(top), *found], LARGE) if found else None


def _lift(title: str, evaluation: Json) -> Markup | None:
    found = {}
    for model, colour in MODELS:
        rows = entry(evaluation, "groups", model)
        lifts = [_figure(entry(row, "lift")) for row in rows] if isinstance(rows, list) else []
        heights = [lift for lift in lifts if lift is not None]
        found[model] = [Bar(str(group), height, colour, dashed=model == "solo")
                        for group, height in enumerate(heights, start=1)]
    groups = max(map(len, found.values()))
    across = "tenth of the customers, riskiest first" if groups == 10 else "group of customers, riskiest first"
    return drawings.grouped_bars(
        title, Axis(across), Axis("bad rate against the average"), found, 1.0, LARGE) if groups else None


def _trade_off(title: str, evaluation: Json) -> Markup | None:
    rows = entry(evaluation, "trade_off")
    found = []
    for model, colour in MODELS:
        points = []
        for row in rows if isinstance(rows, list) else []:
            rate, ends = _figure(entry(row, "approval_rate")), _interval(entry(row, "bad_rate", model))
            if rate is not None and ends is not None:
                points.append((rate, *ends))
        if not points:
            return None
        x, y, low, high = zip(*points, strict=True)
        found.append(Curve(model, colour, x, y, low, high, dashed=model == "solo", marks=True))
    return drawings.curves(
        title, Axis("customers approved", percent), Axis("bad customers among them", percent, 0.0), found, LARGE)


_PICTURES: tuple[tuple[str, str, Picture], ...] = (
    ("Joint against solo", "Ranking power with 95 % intervals; further right is better.", _forest),
    ("Bad rate by approval rate", "Lower is better; shaded: 95 % intervals.", _trade_off),
    ("ROC", "Higher is better; grey: chance. A point for each group of customers.", _roc),
    ("KS", "The lead of bad over good customers; its top is about KS. A point for each group of customers.", _ks),
    ("Calibration", "On the grey line the predicted probability is what happened.", _calibration),
    ("Lift", "Bad rate of each group against the average, dashed across; steeper is better.", _lift),
)
