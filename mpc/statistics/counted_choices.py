"""Figures that leave a site are made of choices, and the choices are counted: so many bits, and no more.

What is released is a function that asks `Choices` for one of so many places, or for a rising path of places, and makes
every figure of the answers and of what is public. `Counting` answers from private figures and adds up the bits;
`Repeating` gives the same answers again and knows nothing else. Who releases what the function makes of `Repeating`
cannot release a figure that was not counted.

How many answers there may be to a question follows from the answers before it, so an outcome of b bits is a word of
b bits in a code that can be read from its beginning, and at most 2^b outcomes have b bits or fewer (Kraft 1949). Who
knew nothing but such an outcome guesses the rows behind it at most 2^b times as well as before: the leakage of a
deterministic program is the logarithm of the number of its outputs (Smith, FoSSaCS 2009, theorem 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

LADDER = 10          # steps that a figure may have, each about twice the one before
_FINEST = 0.05       # of the finest step, times the square root of the rows: a fifth of half a standard error or less
_DIGITS = (1, 2, 5)


class Choices(Protocol):
    """Whom a release asks."""

    bits: float

    def place(self, places: int, wanted: Callable[[], int]) -> int:
        """One of 0 .. places - 1."""
        ...

    def path(self, length: int, places: int, wanted: Callable[[], Sequence[int]]) -> tuple[int, ...]:
        """`length` of 0 .. places - 1, none below the one before."""
        ...


class Counting:
    """Takes what is wanted, moved into the possible, and counts it. `answers`: all of it, in order."""

    def __init__(self) -> None:
        self.bits = 0.0
        self.answers: list[tuple[int, ...]] = []

    def place(self, places: int, wanted: Callable[[], int]) -> int:
        chosen = min(max(wanted(), 0), places - 1)
        self._count(places, (chosen,))
        return chosen

    def path(self, length: int, places: int, wanted: Callable[[], Sequence[int]]) -> tuple[int, ...]:
        found: list[int] = []
        for place in wanted():
            found.append(min(max(place, found[-1] if found else 0), places - 1))
        if len(found) != length:
            raise ValueError("a path of another length was asked for")
        self._count(paths(length, places), tuple(found))
        return tuple(found)

    def _count(self, possible: int, answer: tuple[int, ...]) -> None:
        self.bits += math.log2(possible)
        self.answers.append(answer)


class Repeating:
    """Gives answers again; nothing private is asked of it, and it asks for nothing."""

    def __init__(self, answers: Sequence[tuple[int, ...]]) -> None:
        self.bits = 0.0
        self._answers = iter(answers)

    def place(self, places: int, wanted: Callable[[], int]) -> int:
        self.bits += math.log2(places)
        (chosen,) = next(self._answers)
        return chosen

    def path(self, length: int, places: int, wanted: Callable[[], Sequence[int]]) -> tuple[int, ...]:
        self.bits += math.log2(paths(length, places))
        return next(self._answers)


@dataclass(frozen=True)
class Grid:
    """The multiples of `step` from about `low` to about `high`."""

    step: float
    low: float
    high: float

    @property
    def places(self) -> int:
        """How many there are."""
        return _nearest(self.high / self.step) - self._first + 1

    @property
    def _first(self) -> int:
        return _nearest(self.low / self.step)

    def place(self, value: float) -> int:
        """Where `value` is to be found, one beyond the ends being at the end."""
        return min(max(_nearest(value / self.step) - self._first, 0), self.places - 1)

    def at(self, place: int) -> float:
        """The value at a place."""
        return (self._first + place) * self.step


def steps(rows: int) -> tuple[float, ...]:
    """The steps that a figure of `rows` rows may have, finest first: 1, 2 and 5 times a power of ten."""
    finest = _FINEST / math.sqrt(rows)
    decade = math.floor(math.log10(finest))
    all_steps = [digit * 10.0**power for power in range(decade, decade + LADDER) for digit in _DIGITS]
    first = next(k for k, step in enumerate(all_steps) if step >= finest * (1 - 1e-9))
    return tuple(all_steps[first : first + LADDER])


def coarse_enough(ladder: Sequence[float], least: float) -> int:
    """The place of the finest step that is at least `least`; of the coarsest where none is."""
    return next((k for k, step in enumerate(ladder) if step >= least * (1 - 1e-9)), len(ladder) - 1)


def paths(length: int, places: int) -> int:
    """How many rising paths there are: multisets of `length` out of `places`."""
    return math.comb(length + places - 1, length)


def assignments_bits(rows: int, bad: int) -> float:
    """log2 of the number of ways in which `bad` of `rows` may be the bad ones."""
    found = math.lgamma(rows + 1) - math.lgamma(bad + 1) - math.lgamma(rows - bad + 1)
    return found / math.log(2.0)


def _nearest(value: float) -> int:
    return math.floor(value + 0.5)
