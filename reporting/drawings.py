"""Small drawings for a party's own part of the report: bars with intervals, and curves with bands, as inline SVG.

Written out by hand, a kilobyte each, since a part has two for every characteristic; text stays text, colours are told
apart by colour-blind readers and in grey print. Takes figures that were computed elsewhere and knows no meaning.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

SAFER, RISKIER, PLAIN, FAINT = "#0b63a5", "#c2610c", "#5f7f9d", "#b8bec8"
_INK, _GRID = "#374151", "#e8eaee"
WIDTH, HEIGHT = 280.0, 180.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 6.0, 8.0, 36.0
_TICKS = 4
Words = Callable[[float], str]


@dataclass(frozen=True)
class Bar:
    """One bar, from 0; `low`, `high`: its interval, if it has one."""

    label: str
    value: float
    colour: str = PLAIN
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Curve:
    """One line through points; `low`, `high`: its band, if it has one."""

    name: str
    colour: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
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

    def ticks(self) -> Iterator[float]:
        """Round values inside, about four."""
        raw = (self.high - self.low) / _TICKS
        unit = 10.0 ** math.floor(math.log10(raw))
        step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= raw * (1 - 1e-9))
        place = math.ceil(self.low / step - 1e-9)
        while place * step <= self.high + 1e-9 * step:
            yield place * step
            place += 1


def bars(title: str, across: str, found: Sequence[Bar], words: Words, reference: float | None = None) -> Markup:
    """Bars side by side; `words` write a value of the axis, `reference` is a dashed line across."""
    ends = [0.0, *(value for bar in found for value in (bar.value, bar.low, bar.high) if value is not None)]
    up = _axis([*ends, *([] if reference is None else [reference])])
    step = (WIDTH - _LEFT - _RIGHT) / max(1, len(found))
    parts = list(_frame(up, words))
    for place, bar in enumerate(found):
        middle = _LEFT + (place + 0.5) * step
        top, bottom = sorted((up(bar.value), up(0.0)))
        parts.append(f'<rect x="{middle - 0.34 * step:.1f}" y="{top:.1f}" width="{0.68 * step:.1f}" '
                     f'height="{max(bottom - top, 0.6):.1f}" fill="{bar.colour}"/>')
        if bar.low is not None and bar.high is not None:
            parts.append(_line(middle, up(bar.low), middle, up(bar.high), _INK, 1.3))
        parts.append(_text(middle, HEIGHT - 20, bar.label, "middle"))
    parts.append(_line(_LEFT, up(0.0), WIDTH - _RIGHT, up(0.0), _INK, 1))
    if reference is not None:
        parts.append(_line(_LEFT, up(reference), WIDTH - _RIGHT, up(reference), _INK, 1, dashed=True))
    parts.append(_text((WIDTH + _LEFT) / 2, HEIGHT - 5, across, "middle"))
    return _whole(title, parts)


def curves(title: str, across: str, found: Sequence[Curve], words_x: Words, words_y: Words) -> Markup:
    """Lines with their bands over one pair of axes, and the zero line where it lies inside."""
    up = _axis([value for curve in found for values in (curve.y, curve.low, curve.high) for value in values])
    along = [value for curve in found for value in curve.x]
    right = _Scale(min(along), max(along) if max(along) > min(along) else min(along) + 1, _LEFT, WIDTH - _RIGHT - 8)
    parts = list(_frame(up, words_y))
    for tick in right.ticks():
        parts.append(_text(right(tick), HEIGHT - 20, words_x(tick), "middle"))
    if up.low < 0 < up.high:
        parts.append(_line(_LEFT, up(0.0), WIDTH - _RIGHT, up(0.0), _INK, 1))
    for curve in found:
        if curve.low:
            edge = [*zip(curve.x, curve.high, strict=True), *reversed(list(zip(curve.x, curve.low, strict=True)))]
            parts.append(f'<polygon points="{_points(edge, right, up)}" fill="{curve.colour}" fill-opacity="0.14"/>')
        dash = ' stroke-dasharray="5 3"' if curve.dashed else ""
        path = _points(zip(curve.x, curve.y, strict=True), right, up)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{curve.colour}" stroke-width="2"{dash}/>')
    for place, curve in enumerate(found):
        at = _TOP + 8 + 13 * place
        parts.append(_line(_LEFT + 8, at - 4, _LEFT + 26, at - 4, curve.colour, 2, dashed=curve.dashed))
        parts.append(_text(_LEFT + 31, at, curve.name, "start"))
    parts.append(_text((WIDTH + _LEFT) / 2, HEIGHT - 5, across, "middle"))
    return _whole(title, parts)


def _axis(values: Sequence[float]) -> _Scale:
    low, high = min(values, default=0.0), max(values, default=1.0)
    reach = (high - low) or abs(high) or 1.0
    return _Scale(low - (0.06 * reach if low < 0 else 0.0), high + (0.08 * reach if high > 0 else 0.0),
                  HEIGHT - _BOTTOM, _TOP)


def _frame(up: _Scale, words: Words) -> Iterator[str]:
    for tick in up.ticks():
        yield _line(_LEFT, up(tick), WIDTH - _RIGHT, up(tick), _GRID, 1)
        yield _text(_LEFT - 5, up(tick) + 3.5, words(tick), "end")


def _points(pairs: Iterable[tuple[float, float]], right: _Scale, up: _Scale) -> str:
    return " ".join(f"{right(x):.1f},{up(y):.1f}" for x, y in pairs)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float, dashed: bool = False) -> str:
    dash = ' stroke-dasharray="4 3"' if dashed else ""
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
            f'stroke-width="{width:g}"{dash}/>')


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _whole(title: str, parts: Sequence[str]) -> Markup:
    head = (f'<svg role="img" aria-label="{escape(title)}" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" '
            f'font-family="sans-serif" font-size="11.5" fill="{_INK}">')
    return Markup(head + "".join(parts) + "</svg>")  # noqa: S704 drawn here, every text escaped
