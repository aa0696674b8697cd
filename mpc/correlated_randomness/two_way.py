"""Two sources whose lines of parties run against each other, used in turn: each direction of a link carries half.

Of two parties in an oblivious transfer the giver sends four times what the taker sends. Where somebody scales the
angles, that party stands first in both lines, and with two parties its direction carries the more. It knows no sizes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from mpc.correlated_randomness.kinds import F64, Bits, CorrelationSource, Trig, TrigPlan, Triples
from mpc.correlated_randomness.ot_source import OtSource
from mpc.errors import LocalError
from mpc.link import Link, PartyId
from mpc.protocol import Party


class TwoWaySource:
    """Implements kinds.CorrelationSource; two calls may be under way at once. All parties call alike."""

    __slots__ = ("_sources", "_turn")

    def __init__(self, first: CorrelationSource, second: CorrelationSource) -> None:
        if first.plan != second.plan:
            raise LocalError("the two sources have different plans")
        self._sources, self._turn = (first, second), 0

    @classmethod
    async def start(cls, me: Party, peers: Mapping[PartyId, Link], plan: TrigPlan) -> TwoWaySource:
        """Over oblivious transfer. PeerError as OtSource.start."""
        up, down = ({p: link.channel(way) for p, link in peers.items()} for way in ("up", "down"))
        first, second = await me.together(
            OtSource.start(me, up, plan), OtSource.start(me, down, plan, against_ids=True)
        )
        return cls(first, second)

    @property
    def plan(self) -> TrigPlan:
        return self._sources[0].plan

    @property
    def lanes(self) -> int:
        return 2

    def _next(self) -> CorrelationSource:
        self._turn ^= 1
        return self._sources[self._turn ^ 1]

    async def trig(self, me: Party, count: int, scales: F64 | None = None) -> Trig:
        return await self._next().trig(me, count, scales)

    async def bits(self, me: Party, count: int) -> Bits:
        return await self._next().bits(me, count)

    async def triples(self, me: Party, count: int) -> Triples:
        return await self._next().triples(me, count)

    async def ands(self, me: Party, count: int) -> Triples:
        return await self._next().ands(me, count)

    def __repr__(self) -> str:
        return f"TwoWaySource({self._sources[0]!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a source of correlations is a secret and is never pickled")
