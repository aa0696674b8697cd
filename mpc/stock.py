"""Correlations made ahead of their use. Implements the source's contract from a stock, so roles cannot tell.

A correlation leaves the stock once; when the stock runs out, the source makes more on the spot.
"""

from __future__ import annotations

from typing import NoReturn

import numpy as np

from mpc.correlations import CorrelationSource, Trig, TrigPlan, Triples
from mpc.protocol import Party
from mpc.ring import U64


class Stock:
    """Implements mpc.correlations.CorrelationSource. All parties fill and take alike."""

    __slots__ = ("_angles", "_bits", "_source", "_triples")

    def __init__(self, source: CorrelationSource) -> None:
        self._source = source
        self._bits = np.zeros(0, np.uint64)
        self._triples = Triples(*(np.zeros(0, np.uint64) for _ in range(3)))
        self._angles: list[Trig] = []

    @property
    def plan(self) -> TrigPlan:
        return self._source.plan

    @property
    def lanes(self) -> int:
        return self._source.lanes

    async def fill(self, me: Party, *, bits: int = 0, triples: int = 0) -> None:
        """Put so many more bits and triples in stock."""
        if bits:
            self._bits = np.concatenate([self._bits, await self._source.bits(me, bits)])
        if triples:
            fresh = await self._source.triples(me, triples)
            old = self._triples
            self._triples = Triples(
                np.concatenate([old.a, fresh.a]), np.concatenate([old.b, fresh.b]), np.concatenate([old.c, fresh.c])
            )

    async def add_angles(self, me: Party, count: int, vectors: int) -> None:
        """Put so many vectors of `count` angles in stock, as many at once as the source has lanes."""
        self._angles += await me.together(*(self._source.trig(me, count) for _ in range(vectors)))

    async def trig(self, me: Party, count: int) -> Trig:
        if self._angles and len(self._angles[0].rho) == count:
            return self._angles.pop(0)
        return await self._source.trig(me, count)

    async def bits(self, me: Party, count: int) -> U64:
        if count > len(self._bits):
            return await self._source.bits(me, count)
        taken, self._bits = self._bits[:count], self._bits[count:]
        return taken

    async def triples(self, me: Party, count: int) -> Triples:
        stock = self._triples
        if count > len(stock.a):
            return await self._source.triples(me, count)
        self._triples = Triples(stock.a[count:], stock.b[count:], stock.c[count:])
        return Triples(stock.a[:count], stock.b[:count], stock.c[:count])

    def __repr__(self) -> str:
        return f"Stock({len(self._bits)} bits, {len(self._triples.a)} triples, {len(self._angles)} angles)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("correlations are secrets and are never pickled")
