"""Drawings for reports, as inline SVG: bars in groups, curves with bands and marks, intervals below each other.

Written out by hand, some kilobytes each, since a part of a report has two for every characteristic; text stays text,
no two words stand on each other, colours are told apart by colour-blind readers, and what is `dashed` in grey print
too. Takes figures that were computed elsewhere and knows no meaning.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

SAFER, RISKIER, PLAIN, FAINT = "#0b63a5", "#c2610c", "#5f7f9d", "#b8bec8"
_INK, _GRID = "#374151", "#e8eaee"
_EDGE, _GAP = 8.0, 6.0     # from the paper's edge; between things
_EM = 0.64                 # of a letter, in sizes of the font: every machine has its own, and none has wider ones
_MARK = 3.6
Words = Callable[[float], str]


@dataclass(frozen=True)
class Paper:
    """How large a drawing is, in units that are pixels where it has the width that it was made for."""

    width: float
    height: float
    font: float
    ticks: int     # on an axis, about

    @property
    def line(self) -> float:
        """From one line of text to the next."""
        return 1.35 * self.font

    @property
    def drop(self) -> float:
        """From an axis to the foot of what is written below it, clear of what is written beside it."""
        return 1.6 * self.font

    def wide(self, words: str) -> float:
        """About how wide a text is; rather too wide."""
        return _EM * self.font * len(words)


TINY = Paper(220.0, 165.0, 11.5, 4)     # two stand beside a table
SMALL = Paper(280.0, 180.0, 11.5, 4)    # one does
LARGE = Paper(430.0, 305.0, 12.0, 6)    # two fill a page


def plain(value: float) -> str:
    """A value of an axis as it is."""
    return f"{value:g}"


def percent(value: float) -> str:
    """A share as a percentage."""
    return f"{100 * value:.3g} %"


@dataclass(frozen=True)
class Axis:
    """What stands along an axis, and how its values are written; `low`, `high`: where it ends if all lies within."""

    title: str = ""
    words: Words = plain
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Bar:
    """One bar, from 0; `low`, `high`: its interval, if it has one; `dashed`: only its outline is strong."""

    label: str
    value: float
    colour: str = PLAIN
    low: float | None = None
    high: float | None = None
    dashed: bool = False


@dataclass(frozen=True)
class Curve:
    """One line through points; without a name it is not in the legend. `low`, `high`: its band, if it has one; `marks`:
    its points are shown, hollow ones where it is dashed; `thickness` 0: they alone are."""

    name: str
    colour: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    dashed: bool = False
    marks: bool = False
    thickness: float = 2.0


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval, and the words beside it."""

    name: str
    colour: str
    value: float
    low: float
    high: float
    words: str = ""
    dashed: bool = False


@dataclass(frozen=True)
class _Scale:
    """Values to places on the paper."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, most: int) -> list[float]:
        """Round values inside, about as many."""
        raw = (self.high - self.low) / most
        unit = 10.0 ** math.floor(math.log10(raw))
        step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= raw * (1 - 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [place * step for place in range(first, last + 1)]


@dataclass(frozen=True)
class _Frame:
    """What stands around a drawing's inside, and where the inside is."""

    parts: list[str]
    left: float
    right: float
    top: float
    bottom: float


_Key = tuple[str, str]   # a name of the legend, and its sample around (0, 0)


def bars(
    title: str, along: Axis, up: Axis, found: Sequence[Bar], reference: float | None = None, paper: Paper = SMALL
) -> Markup:
    """Bars side by side; `reference` is a dashed line across."""
    return grouped_bars(title, along, up, {"": found}, reference, paper)


def grouped_bars(
    title: str, along: Axis, up: Axis, found: Mapping[str, Sequence[Bar]], reference: float | None = None,
    paper: Paper = SMALL,
) -> Markup:
    """Bars of several names side by side in groups; the longest list says what stands under the groups."""
    every = [bar for series in found.values() for bar in series]
    values = [0.0, *(value for bar in every for value in (bar.value, bar.low, bar.high) if value is not None)]
    ends = _ends(up, values if reference is None else [*values, reference])
    keys = [(name, _box(-9.0, -5.0, 18.0, 10.0, series[0].colour, series[0].dashed))
            for name, series in found.items() if name and series]
    frame, height = _framed(paper, keys, along, up, ends)
    labels = [bar.label for bar in max(found.values(), key=len, default=())]
    step = (frame.right - frame.left) / max(1, len(labels))
    wide = 0.76 * step / max(1, len(found))
    parts = frame.parts
    for place, series in enumerate(found.values()):
        for group, bar in enumerate(series):
            middle = frame.left + (group + 0.5) * step + (place - (len(found) - 1) / 2) * wide
            top, bottom = sorted((height(bar.value), height(0.0)))
            parts.append(_box(middle - 0.45 * wide, top, 0.9 * wide, max(bottom - top, 0.6), bar.colour, bar.dashed))
            if bar.low is not None and bar.high is not None:
                parts.append(_line(middle, height(bar.low), middle, height(bar.high), _INK, 1.3))
    widest = max(map(paper.wide, labels), default=0.0)
    every_nth = max(1, math.ceil((widest + 2 * _GAP) / step))     # labels only while there is room for them
    for group in range(0, len(labels), every_nth):
        middle = min(frame.left + (group + 0.5) * step, paper.width - widest / 2)
        parts.append(_text(middle, frame.bottom + paper.drop, labels[group], "middle"))
    parts.append(_line(frame.left, height(0.0), frame.right, height(0.0), _INK, 1))
    if reference is not None:
        parts.append(_line(frame.left, height(reference), frame.right, height(reference), _INK, 1, dashed=True))
    return _whole(title, paper, parts)


def curves(title: str, along: Axis, up: Axis, found: Sequence[Curve], paper: Paper = SMALL) -> Markup:
    """Lines with their bands over one pair of axes, and the zero line where it lies inside; the last lies on top."""
    ends = _ends(up, [value for curve in found for values in (curve.y, curve.low, curve.high) for value in values])
    keys = [(curve.name, _sample(curve)) for curve in found if curve.name]
    frame, height = _framed(paper, keys, along, up, ends)
    across, ticks = _along(along, _ends(along, [value for curve in found for value in curve.x]), frame, paper)
    parts = frame.parts
    for at, words in ticks:
        parts.append(_line(at, frame.top, at, frame.bottom, _GRID, 1))
        parts.append(_text(at, frame.bottom + paper.drop, words, "middle"))
    parts.append(_line(frame.left, frame.bottom, frame.right, frame.bottom, FAINT, 1))
    if height.low < 0 < height.high:
        parts.append(_line(frame.left, height(0.0), frame.right, height(0.0), _INK, 1))
    for curve in found:
        if curve.low:
            edge = [*zip(curve.x, curve.high, strict=True), *reversed(list(zip(curve.x, curve.low, strict=True)))]
            parts.append(f'<polygon points="{_points(edge, across, height)}" fill="{curve.colour}" '
                         'fill-opacity="0.14"/>')
    for curve in found:
        points = list(zip(curve.x, curve.y, strict=True))
        if curve.thickness:
            dash = ' stroke-dasharray="5 3"' if curve.dashed else ""
            parts.append(f'<polyline points="{_points(points, across, height)}" fill="none" stroke="{curve.colour}" '
                         f'stroke-width="{curve.thickness:g}"{dash}/>')
        if curve.marks:
            parts += [_mark(across(x), height(y), curve.colour, curve.dashed) for x, y in points]
    return _whole(title, paper, parts)


def forest(
    title: str, along: Axis, rows: Sequence[tuple[str, Sequence[Estimate]]], paper: Paper = LARGE
) -> Markup:
    """Figures with their intervals below each other: a row for what they measure, a line in it for each of them."""
    every = [one for _, estimates in rows for one in estimates]
    keys = {one.name: _line(-9.0, 0.0, 9.0, 0.0, one.colour, 2, one.dashed) + _mark(0.0, 0.0, one.colour, one.dashed)
            for one in every}
    frame = _surround(paper, list(keys.items()), [label for label, _ in rows], along.title, "")
    room = max((paper.wide(one.words) for one in every), default=0.0) + _GAP
    ends = _ends(along, [value for one in every for value in (one.low, one.value, one.high)])
    across, ticks = _along(along, ends, frame, paper, room)
    parts = frame.parts
    for at, words in ticks:
        parts.append(_line(at, frame.top, at, frame.bottom, _GRID, 1))
        parts.append(_text(at, frame.bottom + paper.drop, words, "middle"))
    step = (frame.bottom - frame.top) / max(1, len(rows))
    for place, (label, estimates) in enumerate(rows):
        middle = frame.top + (place + 0.5) * step
        below = FAINT if place == len(rows) - 1 else _GRID
        parts.append(_line(frame.left, middle + step / 2, frame.right, middle + step / 2, below, 1))
        parts.append(_text(frame.left - _GAP, middle + 0.35 * paper.font, label, "end"))
        for line, one in enumerate(estimates):
            at = middle + (line - (len(estimates) - 1) / 2) * min(2 * paper.font, step / len(estimates))
            dash = ' stroke-dasharray="5 3"' if one.dashed else ""
            parts.append(f'<polyline points="{across(one.low):.1f},{at:.1f} {across(one.high):.1f},{at:.1f}" '
                         f'stroke="{one.colour}" stroke-width="2.2"{dash}/>')
            parts.append(_mark(across(one.value), at, one.colour, one.dashed, 1.3 * _MARK))
            right_of = max(across(one.high), across(one.value) + 1.3 * _MARK) + _GAP
            parts.append(_text(right_of, at + 0.35 * paper.font, one.words, "start", one.colour))
    return _whole(title, paper, parts)


def _ends(axis: Axis, values: Sequence[float]) -> tuple[float, float]:
    """Where an axis begins and ends: a little beyond the values, but where it was told to end and may."""
    low = min([*values, *([] if axis.low is None else [axis.low])], default=0.0)
    high = max([*values, *([] if axis.high is None else [axis.high])], default=1.0)
    if high - low <= max(1e-9 * max(abs(low), abs(high)), 1e-200):  # nothing that could be told apart
        high = low + (abs(low) if abs(low) > 1e-200 else 1.0)
    reach = high - low
    return (low - (0.06 * reach if low < 0 and low != axis.low else 0.0),
            high + (0.08 * reach if high > 0 and high != axis.high else 0.0))


def _framed(
    paper: Paper, keys: Sequence[_Key], along: Axis, up: Axis, ends: tuple[float, float]
) -> tuple[_Frame, _Scale]:
    """The surroundings with levels across, and the scale of heights."""
    values = _Scale(*ends, 0.0, 1.0).ticks(paper.ticks)
    words = [up.words(value) for value in values]
    frame = _surround(paper, keys, words, along.title, up.title)
    height = _Scale(*ends, frame.bottom, frame.top)
    for value, said in zip(values, words, strict=True):
        frame.parts.append(_line(frame.left, height(value), frame.right, height(value), _GRID, 1))
        frame.parts.append(_text(frame.left - _GAP, height(value) + 0.35 * paper.font, said, "end"))
    return frame, height


def _surround(paper: Paper, keys: Sequence[_Key], beside: Iterable[str], below: str, upwards: str) -> _Frame:
    """The legend above, the titles of the axes, and what they leave; `beside` are the words left of the inside."""
    left = _EDGE + max(map(paper.wide, beside), default=0.0) + _GAP + (paper.line if upwards else 0.0)
    right = paper.width - _EDGE
    bottom = paper.height - paper.drop - (paper.line if below else 0.0) - 0.4 * paper.font
    parts, top = _legend(paper, keys, left, right)
    if below:
        parts.append(_text((left + right) / 2, paper.height - 0.4 * paper.font, below, "middle"))
    if upwards:
        x, y = paper.font, (top + bottom) / 2
        parts.append(f'<text transform="translate({x:.1f} {y:.1f}) rotate(-90)" text-anchor="middle">'
                     f'{escape(upwards)}</text>')
    return _Frame(parts, left, right, top, bottom)


def _legend(paper: Paper, keys: Sequence[_Key], left: float, right: float) -> tuple[list[str], float]:
    """Names beside each other while they fit, then on the next line; and where the drawing's inside begins."""
    parts: list[str] = []
    wide = [24.0 + paper.wide(name) + _GAP for name, _ in keys]
    start = left if left + sum(wide) <= right else _EDGE
    x, y = start, 0.7 * paper.line
    for (name, sample), taken in zip(keys, wide, strict=True):
        if x > start and x + taken > right + _GAP:
            x, y = start, y + paper.line
        parts.append(f'<g transform="translate({x + 9:.1f} {y:.1f})">{sample}</g>')
        parts.append(_text(x + 24, y + 0.35 * paper.font, name, "start"))
        x += taken
    return parts, y + 0.9 * paper.line if keys else _EDGE


def _along(
    axis: Axis, ends: tuple[float, float], frame: _Frame, paper: Paper, room: float = 0.0
) -> tuple[_Scale, list[tuple[float, str]]]:
    """The scale to the right, and as many round values as stand beside each other; `room` is kept free at the end."""
    for most in range(paper.ticks + 1, 0, -1):
        values = _Scale(*ends, 0.0, 1.0).ticks(most)
        words = [axis.words(value) for value in values]
        widest = max(map(paper.wide, words), default=0.0)
        start = frame.left + (0.0 if ends[0] == axis.low else _GAP)
        across = _Scale(*ends, start, frame.right - max(room, widest / 2 - _EDGE, 0.0))
        places = [across(value) for value in values]
        if all(after - before >= widest + _GAP for before, after in pairwise(places)):
            break
    return across, list(zip(places, words, strict=True))


def _points(pairs: Iterable[tuple[float, float]], across: _Scale, height: _Scale) -> str:
    return " ".join(f"{across(x):.1f},{height(y):.1f}" for x, y in pairs)


def _sample(curve: Curve) -> str:
    """A piece of the curve, for the legend."""
    drawn = _line(-9.0, 0.0, 9.0, 0.0, curve.colour, curve.thickness, curve.dashed) if curve.thickness else ""
    return drawn + (_mark(0.0, 0.0, curve.colour, curve.dashed) if curve.marks else "")


def _mark(x: float, y: float, colour: str, hollow: bool, size: float = _MARK) -> str:
    """A disc, or a hollow triangle."""
    if not hollow:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:.1f}" fill="{colour}"/>'
    return (f'<path d="M{x:.1f} {y - 1.2 * size:.1f}l{1.15 * size:.1f} {2 * size:.1f}h{-2.3 * size:.1f}z" fill="#fff" '
            f'stroke="{colour}" stroke-width="1.6"/>')


def _box(x: float, y: float, width: float, height: float, colour: str, dashed: bool) -> str:
    inside = f'fill-opacity="0.2" stroke="{colour}" stroke-width="1.3" stroke-dasharray="4 2" ' if dashed else ""
    return (f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" {inside}'
            f'fill="{colour}"/>')


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float, dashed: bool = False) -> str:
    dash = ' stroke-dasharray="4 3"' if dashed else ""
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
            f'stroke-width="{width:g}"{dash}/>')


def _text(x: float, y: float, words: str, anchor: str, colour: str = "") -> str:
    paint = f' fill="{colour}"' if colour else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{paint}>{escape(words)}</text>'


def _whole(title: str, paper: Paper, parts: Sequence[str]) -> Markup:
    head = (f'<svg role="img" aria-label="{escape(title)}" viewBox="0 0 {paper.width:g} {paper.height:g}" '
            f'font-family="sans-serif" font-size="{paper.font:g}" fill="{_INK}">')
    return Markup(head + "".join(parts) + "</svg>")  # noqa: S704 drawn here, every text escaped
