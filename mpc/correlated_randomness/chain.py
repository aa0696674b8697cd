"""Correlations between N parties from private products between two. It knows sizes, never rows or labels.

Parties stand in a line, in the order of the plan. A running value starts as the first party's secret, and each later
party k multiplies its own secret factor into it: the earlier parties hold shares of the running value and *give*
them, k *takes* with its factor, pair by pair, and all k parties hold shares of the product. Masked angles
multiply points on the circle; shared bits come from x XOR b = x + b - 2 x b; triples, of words or of bits, need no
line, only the cross terms a_i b_j.

How a pair makes shares of (value x factor) is its own business: `ot_source`, `paillier_source`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NoReturn, Protocol

import numpy as np

from mpc.correlated_randomness.kinds import F64, Bits, Trig, TrigPlan, Triples, quantised_circle, scaled_circle
from mpc.errors import LocalError
from mpc.link import PartyId
from mpc.protocol import Party
from mpc.ring import I64, U64, from_signed
from mpc.rng import Rng

_TRIG_BATCH = 1 << 12
_BIT_BATCH = 1 << 18
_TRIPLE_BATCH = 1 << 11


class Giver(Protocol):
    """My end of a pair whose other end takes: I hold ring values."""

    async def share(self, me: Party, values: U64, widths: Sequence[int]) -> U64:
        """My shares mod 2^64 of values[r, c, w] * factors[r, c], shape (rows, columns, words)."""
        ...


class Taker(Protocol):
    """My end of a pair whose other end gives: I hold small signed factors."""

    async def share(self, me: Party, factors: I64, widths: Sequence[int], words: int) -> U64:
        """My shares (rows, columns, words) of the same; factors[:, c] has widths[c] bits, two's complement."""
        ...


class ChainSource:
    """Implements mpc.correlated_randomness.kinds.CorrelationSource over one product conversation with each peer."""

    def __init__(
        self, plan: TrigPlan, rng: Rng, givers: Mapping[PartyId, Giver], takers: Mapping[PartyId, Taker]
    ) -> None:
        """`givers`: towards the peers after me in the line, in its order; `takers`: towards those before me.

        All my secrets are drawn from `rng`, which belongs to this source alone.
        """
        if plan.parties != 1 + len(givers) + len(takers):
            raise LocalError("the plan of the correlations is for another number of parties")
        self._plan, self._rng = plan, rng
        self._givers, self._takers = list(givers.values()), list(takers.values())
        self._busy = False

    @property
    def plan(self) -> TrigPlan:
        return self._plan

    @property
    def lanes(self) -> int:
        return 1

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._plan.parties} parties)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a source of correlations is a secret and is never pickled")

    async def trig(self, me: Party, count: int, scales: F64 | None = None) -> Trig:
        """`count` masked angles. Reports progress. PeerError as the products raise it."""
        self._plan.check_scales(me.id, count, scales)
        harmonics = len(self._plan.bits)
        rho = self._rng.ring(count, self._plan.period_bits)
        cosines, sines = np.empty((harmonics, count), np.uint64), np.empty((harmonics, count), np.uint64)
        with self._alone():
            for part in _batches(count, _TRIG_BATCH):
                if scales is not None:
                    chance = Rng(self._rng.bytes(32))
                    factors = await me.compute(_scaled, self._plan, rho[part], scales[part], chance)
                else:
                    factors = await me.compute(_factors, self._plan, rho[part], not self._takers)
                real, imaginary = await self._circle(me, factors)
                cosines[:, part], sines[:, part] = real.T, imaginary.T
                me.progress("sigmoid masks", part.stop, count)
        return Trig(rho, cosines, sines)

    async def _circle(self, me: Party, factors: I64) -> tuple[U64, U64]:
        """My shares, twice (rows, M), of the product of all parties' points.

        factors (rows, 2 M): my cosines, then my sines. Of one bit these are +1 or -1, 1 + 2 f with f = 0 or -1: the
        pair multiplies by f, and the giver adds its value.
        """
        harmonics = len(self._plan.bits)
        widths = self._plan.bits * 2
        signs = np.array(widths) == 1
        if self._takers:
            products = await self._take(me, np.where(signs, factors >> 1, factors), widths, 2)
            products[:, signs] *= np.uint64(2)
            real, imaginary = _turned(products)
        else:
            real, imaginary = from_signed(factors[:, :harmonics]), from_signed(factors[:, harmonics:])
        for giver in self._givers:
            point = np.stack((real, imaginary), axis=-1)
            point = np.concatenate((point, point), axis=1)
            products = await giver.share(me, point, widths)
            products[:, signs] = products[:, signs] * np.uint64(2) + point[:, signs]
            real, imaginary = _turned(products)
        return real, imaginary

    async def bits(self, me: Party, count: int) -> Bits:
        """`count` bits: the XOR of one uniform bit of each party. PeerError as the products raise it."""
        own = self._rng.ring(count, 1)
        sums = own.copy()
        with self._alone():
            for part in _batches(count, _BIT_BATCH):
                share = sums[part]
                if self._takers:
                    factors = np.negative(share.view(np.int64))
                    share = share + (await self._take(me, factors[:, None], (1,), 1))[:, 0, 0]
                for giver in self._givers:
                    twice = np.uint64(2) * share
                    share = share + (await giver.share(me, twice[:, None, None], (1,)))[:, 0, 0]
                sums[part] = share
        return Bits(sums, own)

    async def triples(self, me: Party, count: int) -> Triples:
        """`count` triples mod 2^64: c = sum of all a_i b_j. PeerError as the products raise it."""
        a, b = self._rng.ring(count), self._rng.ring(count)
        crossed = await self._crossed(me, a, b, (a.view(np.int64), b.view(np.int64)), 64, _TRIPLE_BATCH)
        return Triples(a, b, a * b + crossed)

    async def ands(self, me: Party, count: int) -> Triples:
        """`count` triples of bits: modulo 2 a sum is an XOR and -1 is 1. PeerError as the products raise it."""
        a, b = self._rng.ring(count, 1), self._rng.ring(count, 1)
        factors = (np.negative(a.view(np.int64)), np.negative(b.view(np.int64)))
        crossed = await self._crossed(me, a, b, factors, 1, _BIT_BATCH)
        return Triples(a, b, (a * b + crossed) & np.uint64(1))

    async def _crossed(
        self, me: Party, a: U64, b: U64, factors: tuple[I64, I64], width: int, batch: int
    ) -> U64:
        """My share of the sum of a_i b_j over all i other than j; `factors`: my a and b as factors of `width` bits."""
        total = np.zeros_like(a)
        with self._alone():
            for part in _batches(len(a), batch):
                values = np.stack((a[part], b[part]), axis=1)[:, :, None]
                mine = np.stack((factors[1][part], factors[0][part]), axis=1)
                products = await me.together(
                    *(giver.share(me, values, (width, width)) for giver in self._givers),
                    *(taker.share(me, mine, (width, width), 1) for taker in self._takers),
                )
                total[part] = np.sum(products, axis=(0, 2, 3), dtype=np.uint64)
        return total

    async def _take(self, me: Party, factors: I64, widths: Sequence[int], words: int) -> U64:
        """The sum over all earlier parties of my shares of their values times my factors."""
        shares = await me.together(*(taker.share(me, factors, widths, words) for taker in self._takers))
        total: U64 = np.sum(shares, axis=0, dtype=np.uint64)
        return total

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Two calls at once would mix up their messages and their one-time indices."""
        if self._busy:
            raise LocalError("a source of correlations serves one call at a time")
        self._busy = True
        try:
            yield
        finally:
            self._busy = False


def _factors(plan: TrigPlan, rho: U64, lead: bool) -> I64:
    return np.ascontiguousarray(np.concatenate(quantised_circle(plan, rho, lead=lead)).T)


def _scaled(plan: TrigPlan, rho: U64, scales: F64, rng: Rng) -> I64:
    return np.ascontiguousarray(np.concatenate(scaled_circle(plan, rho, scales, rng)).T)


def _turned(products: U64) -> tuple[U64, U64]:
    """(rows, 2 M, 2): (re, im) times c, then (re, im) times s -> re c - im s, re s + im c, each (rows, M)."""
    by_cosine, by_sine = np.split(products, 2, axis=1)
    return by_cosine[..., 0] - by_sine[..., 1], by_sine[..., 0] + by_cosine[..., 1]


def _batches(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
