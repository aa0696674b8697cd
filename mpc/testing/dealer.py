"""The ideal source of correlations: one object that knows everything and deals consistent shares.

Tests only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from mpc.correlated_randomness.kinds import F64, Bits, Trig, TrigPlan, Triples, ideal_trig, scaled_circle
from mpc.link import PartyId
from mpc.protocol import Party
from mpc.ring import U64
from mpc.rng import Rng

T = TypeVar("T")


class Dealer:
    """Deals to `parties` (any order) from one generator; the k-th call of every party gets the k-th deal."""

    def __init__(self, parties: Sequence[str], plan: TrigPlan, rng: Rng | None = None) -> None:
        if len(set(parties)) != plan.parties:
            raise ValueError("the plan is for another number of parties")
        self.plan = plan
        self._parties = plan.line([PartyId(party) for party in parties])
        self._rng = rng if rng is not None else Rng(bytes(32))
        self._deals: dict[int, tuple[str, int, list[Any]]] = {}
        self._taken: dict[int, int] = {}

    def source(self, party: str) -> DealerSource:
        """What `party` holds instead of a real source."""
        return DealerSource(self, PartyId(party), self._parties.index(PartyId(party)))

    def trig(self, count: int) -> list[tuple[Trig, list[U64]]]:
        """All parties' shares of fresh angles; each party's rho is its own point on the circle. And all rho, for who
        scales its points afterwards."""
        rhos = [self._rng.ring(count, self.plan.period_bits) for _ in self._parties]
        cosines, sines = ideal_trig(self.plan, rhos)
        shares = zip(rhos, self._share(cosines), self._share(sines), strict=True)
        return [(Trig(rho, c, s), rhos) for rho, c, s in shares]

    def scaled(self, dealt: Trig, rhos: list[U64], scales: F64) -> Trig:
        """What the first party holds after it has scaled its points: the shares of the others stay as they are."""
        lead = scaled_circle(self.plan, rhos[0], scales, self._rng)
        plain, found = ideal_trig(self.plan, rhos), ideal_trig(self.plan, rhos, lead)
        return Trig(dealt.rho, dealt.cosines + (found[0] - plain[0]), dealt.sines + (found[1] - plain[1]))

    def bits(self, count: int) -> list[Bits]:
        """All parties' shares of fresh bits."""
        bits = self._rng.ring(count, 1)
        return [Bits(*both) for both in zip(self._share(bits), self._flips(bits), strict=True)]

    def triples(self, count: int) -> list[Triples]:
        """All parties' shares of fresh products."""
        a, b = self._rng.ring(count), self._rng.ring(count)
        shares = zip(self._share(a), self._share(b), self._share(a * b), strict=True)
        return [Triples(*parts) for parts in shares]

    def ands(self, count: int) -> list[Triples]:
        """All parties' shares of fresh products of bits."""
        a, b = self._rng.ring(count, 1), self._rng.ring(count, 1)
        return [Triples(*parts) for parts in zip(self._flips(a), self._flips(b), self._flips(a & b), strict=True)]

    def _flips(self, bits: U64) -> list[U64]:
        shares = [self._rng.ring(bits.size, 1) for _ in self._parties[1:]]
        return [np.bitwise_xor.reduce([bits, *shares]), *shares]

    def _share(self, values: U64) -> list[U64]:
        shares = [self._rng.ring(values.size).reshape(values.shape) for _ in self._parties[1:]]
        return [values - np.sum(shares, axis=0, dtype=np.uint64), *shares]

    def take(self, kind: Callable[[int], list[T]], count: int, turn: int, position: int) -> T:
        """Party `position`'s part of deal number `turn`; all must ask for the same kind and count."""
        if turn not in self._deals:
            self._deals[turn] = (kind.__name__, count, kind(count))
        name, dealt, parts = self._deals[turn]
        if (name, dealt) != (kind.__name__, count):
            raise AssertionError(f"deal {turn}: one party asks for {kind.__name__}, another for {name}")
        self._taken[turn] = self._taken.get(turn, 0) + 1
        if self._taken[turn] == len(self._parties):
            del self._deals[turn]
        part: T = parts[position]
        return part


class DealerSource:
    """Implements mpc.correlated_randomness.kinds.CorrelationSource for one party."""

    def __init__(self, dealer: Dealer, party: PartyId, position: int) -> None:
        self._dealer, self._party, self._position, self._turn = dealer, party, position, 0

    @property
    def plan(self) -> TrigPlan:
        return self._dealer.plan

    @property
    def lanes(self) -> int:
        return 1

    async def trig(self, me: Party, count: int, scales: F64 | None = None) -> Trig:
        self.plan.check_scales(me.id, count, scales)
        dealt, rhos = self._next(me, self._dealer.trig, count)
        return dealt if scales is None else self._dealer.scaled(dealt, rhos, scales)

    async def bits(self, me: Party, count: int) -> Bits:
        return self._next(me, self._dealer.bits, count)

    async def triples(self, me: Party, count: int) -> Triples:
        return self._next(me, self._dealer.triples, count)

    async def ands(self, me: Party, count: int) -> Triples:
        return self._next(me, self._dealer.ands, count)

    def _next(self, me: Party, kind: Callable[[int], list[T]], count: int) -> T:
        assert me.id == self._party, "a source belongs to one party"
        self._turn += 1
        return self._dealer.take(kind, count, self._turn, self._position)
