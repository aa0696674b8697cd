"""Correlations made ahead of their use. Implements the source's contract from a stock, so roles cannot tell.

A correlation leaves the stock once, oldest first; when the stock runs out, the source makes more on the spot. Angles
may be added while others are taken, as long as those in stock suffice: then only `add_angles` asks the source.

Who scales the angles gives its factors of all rows once: the k-th angle is for row k modulo their number.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable
from typing import NoReturn

import numpy as np

from mpc.correlated_randomness.kinds import F64, Bits, CorrelationSource, Trig, TrigPlan, Triples
from mpc.errors import LocalError
from mpc.protocol import Party


class Stock:
    """Implements mpc.correlated_randomness.kinds.CorrelationSource. All parties fill and take alike."""

    __slots__ = ("_ands", "_angles", "_bits", "_made", "_scales", "_source", "_triples")

    def __init__(
        self, source: CorrelationSource, scales: F64 | None = None, held: tuple[Bits, Triples, Triples] | None = None
    ) -> None:
        """`scales`: one factor for each row, from who scales; `held`: what another stock has handed over."""
        self._scales, self._made = scales, 0     # how many angles have been asked of the source
        self._source = source
        self._bits, self._triples, self._ands = held or _nothing()
        self._angles: deque[Trig] = deque()

    @property
    def plan(self) -> TrigPlan:
        return self._source.plan

    @property
    def lanes(self) -> int:
        return self._source.lanes

    async def fill(self, me: Party, *, bits: int = 0, triples: int = 0, ands: int = 0) -> None:
        """Put so many more bits, triples and triples of bits in stock, the source's lanes side by side."""
        fresh = await me.together(*(self._source.bits(me, size) for size in self._shared(bits)))
        self._bits = Bits(np.concatenate([self._bits.sums, *(part.sums for part in fresh)]),
                          np.concatenate([self._bits.flips, *(part.flips for part in fresh)]))
        made = await me.together(*(self._source.triples(me, size) for size in self._shared(triples)))
        self._triples = _joined([self._triples, *made])
        made = await me.together(*(self._source.ands(me, size) for size in self._shared(ands)))
        self._ands = _joined([self._ands, *made])

    def _shared(self, count: int) -> list[int]:
        """`count` cut among the lanes."""
        sizes = [count // self.lanes + (k < count % self.lanes) for k in range(self.lanes)]
        return [size for size in sizes if size]

    @property
    def angles(self) -> int:
        """How many are in stock."""
        return sum(len(part.rho) for part in self._angles)

    async def add_angles(self, me: Party, count: int) -> None:
        """Put so many more angles in stock, the source's lanes side by side."""
        self._angles += await me.together(*(self._fresh(me, size) for size in self._shared(count)))

    def _fresh(self, me: Party, count: int) -> Awaitable[Trig]:
        first, self._made = self._made, self._made + count
        if self._scales is None:
            return self._source.trig(me, count)
        return self._source.trig(me, count, self._scales[np.arange(first, first + count) % len(self._scales)])

    async def trig(self, me: Party, count: int, scales: F64 | None = None) -> Trig:
        if scales is not None:
            raise LocalError("a stock knows the factors of its angles")
        parts = await self.parts(me, count)
        if len(parts) == 1:
            return parts[0]
        return Trig(
            np.concatenate([part.rho for part in parts]),
            np.concatenate([part.cosines for part in parts], axis=1),
            np.concatenate([part.sines for part in parts], axis=1),
        )

    async def parts(self, me: Party, count: int) -> list[Trig]:
        """The next `count` angles as they lie in stock, not copied: at least one part."""
        missing = count - self.angles
        if missing > 0:
            await self.add_angles(me, missing)
        parts: list[Trig] = []
        due = count
        while due or not parts:
            part = self._angles.popleft() if self._angles else await self._fresh(me, 0)
            if len(part.rho) > due:
                self._angles.appendleft(_rows(part, due, len(part.rho)))
                part = _rows(part, 0, due)
            parts.append(part)
            due -= len(part.rho)
        return parts

    def handed_over(self) -> tuple[Bits, Triples, Triples]:
        """Bits, triples and triples of bits that are left, to be kept where only this party reads; the stock gives none
        of them any more."""
        held = self._bits, self._triples, self._ands
        self._bits, self._triples, self._ands = _nothing()
        return held

    async def bits(self, me: Party, count: int) -> Bits:
        stock = self._bits
        if count > len(stock):
            return await self._source.bits(me, count)
        self._bits = Bits(stock.sums[count:], stock.flips[count:])
        return Bits(stock.sums[:count], stock.flips[:count])

    async def triples(self, me: Party, count: int) -> Triples:
        stock = self._triples
        if count > len(stock):
            return await self._source.triples(me, count)
        self._triples = stock.part(count, len(stock))
        return stock.part(0, count)

    async def ands(self, me: Party, count: int) -> Triples:
        stock = self._ands
        if count > len(stock):
            return await self._source.ands(me, count)
        self._ands = stock.part(count, len(stock))
        return stock.part(0, count)

    def __repr__(self) -> str:
        return (f"Stock({len(self._bits)} bits, {len(self._triples)} triples, {len(self._ands)} of bits, "
                f"{self.angles} angles)")

    def __reduce__(self) -> NoReturn:
        raise TypeError("correlations are secrets and are never pickled")


def _nothing() -> tuple[Bits, Triples, Triples]:
    empty = np.zeros(0, np.uint64)
    return Bits(empty, empty), Triples(empty, empty, empty), Triples(empty, empty, empty)


def _joined(parts: list[Triples]) -> Triples:
    return Triples(*(np.concatenate([getattr(part, name) for part in parts]) for name in "abc"))


def _rows(part: Trig, start: int, stop: int) -> Trig:
    return Trig(part.rho[start:stop], part.cosines[:, start:stop], part.sines[:, start:stop])
