"""What the parties hold before they meet private data: random correlations.

It knows sizes, never rows or labels.

Three kinds, all additively shared between N parties: a random angle with its cosines and sines, random bits,
and random products (Beaver triples). A `CorrelationSource` makes them; training cannot tell which one it has:
`mpc.ot_source.OtSource` (oblivious transfer, the real one), `mpc.paillier_source.PaillierSource` (slow, the
cross-check) and `mpc.testing.dealer.DealerSource` (ideal, tests only).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

import numpy as np

from mpc.protocol import Party
from mpc.ring import I64, U64, from_signed, mask_of


@dataclass(frozen=True)
class TrigPlan:
    """The public shape of the sine correlations: one entry of `bits` for each harmonic m = 1, 3, 5, ...

    Each party quantises its own cosines and sines to `bits` signed bits; the shared value is the product of
    all parties' points on the circle. One period of the angle is 2^period_bits units.
    """

    parties: int
    bits: tuple[int, ...] = (9, 8, 7, 6, 5, 4)
    period_bits: int = 37

    def __post_init__(self) -> None:
        if self.parties < 2:
            raise ValueError("a plan needs at least two parties")
        if not self.bits or not all(2 <= bits <= 16 for bits in self.bits):
            raise ValueError("each harmonic has between 2 and 16 bits")
        if not 8 <= self.period_bits <= 48:
            raise ValueError("the period has between 8 and 48 bits")

    @property
    def harmonics(self) -> tuple[int, ...]:
        """1, 3, 5, ...: the sigmoid's series is odd with half-wave symmetry."""
        return tuple(range(1, 2 * len(self.bits), 2))

    def amplitude(self, index: int) -> int:
        """The largest quantised cosine of one party, 2^(b-1) - 1: symmetric, so rounding has mean zero."""
        return (1 << (self.bits[index] - 1)) - 1

    def gain(self, index: int) -> float:
        """What the opened series of harmonic `index` is divided by: a_1^N.

        a_1 is the first Fourier coefficient of round(A cos t): a sum of 2A unit steps, each at
        |A cos t| = k - 1/2, so a_1 = (4/pi) sum_k sqrt(1 - ((k - 1/2)/A)^2). Averaged over the uniform mask
        all other coefficients vanish, so after this division the rounding is noise of mean exactly zero.
        """
        top = self.amplitude(index)
        a_1 = 4 / math.pi * sum(math.sqrt(1 - ((k - 0.5) / top) ** 2) for k in range(1, top + 1))
        return a_1**self.parties

    def bound(self, index: int) -> int:
        """No |C| or |S| of harmonic `index` exceeds this: each of N factors has length <= A + sqrt(1/2)."""
        return math.ceil((self.amplitude(index) + math.sqrt(0.5)) ** self.parties)


@dataclass(frozen=True, repr=False)
class Trig:
    """My shares of `count` masked angles.

    rho: (count,) mod 2^period_bits; cosines, sines: (M, count) mod 2^64.

    The sum of all rho is uniform; the sums of cosines and sines are the product of the parties' quantised
    points at their own rho, about gain(m) cos(2 pi m rho / 2^period_bits). One angle masks one value, once.
    """

    rho: U64 = field(repr=False)
    cosines: U64 = field(repr=False)
    sines: U64 = field(repr=False)

    def __repr__(self) -> str:
        return f"Trig({self.cosines.shape[0]} harmonics x {len(self.rho)})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("shares are secrets and are never pickled")


@dataclass(frozen=True, repr=False)
class Triples:
    """My shares mod 2^64 of uniform a, b and of c = a b, each (count,).

    One triple serves one product, once.
    """

    a: U64 = field(repr=False)
    b: U64 = field(repr=False)
    c: U64 = field(repr=False)

    def __repr__(self) -> str:
        return f"Triples({len(self.a)})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("shares are secrets and are never pickled")


class CorrelationSource(Protocol):
    """Makes fresh correlations.

    All N parties call the same methods with the same counts in the same order, `lanes` calls at a time at most.
    """

    @property
    def lanes(self) -> int:
        """How many calls may be under way at once."""
        ...

    @property
    def plan(self) -> TrigPlan:
        """The public shape of the sine correlations."""
        ...

    async def trig(self, me: Party, count: int) -> Trig:
        """`count` masked angles with their shared cosines and sines."""
        ...

    async def bits(self, me: Party, count: int) -> U64:
        """My shares mod 2^64, (count,), of uniform bits that nobody knows."""
        ...

    async def triples(self, me: Party, count: int) -> Triples:
        """`count` Beaver triples."""
        ...


def quantised_circle(plan: TrigPlan, rho: U64) -> tuple[I64, I64]:
    """round(A cos(2 pi m rho / 2^period_bits)) and the same of the sine: two (M, count) arrays, |.| <= A."""
    mask = mask_of(plan.period_bits)
    turn = 2 * math.pi / (1 << plan.period_bits)
    cosines = np.empty((len(plan.bits), len(rho)), np.int64)
    sines = np.empty_like(cosines)
    for index, harmonic in enumerate(plan.harmonics):
        angle = ((rho * np.uint64(harmonic)) & mask).astype(np.float64) * turn
        top = plan.amplitude(index)
        cosines[index] = np.rint(top * np.cos(angle))
        sines[index] = np.rint(top * np.sin(angle))
    return cosines, sines


def ideal_trig(plan: TrigPlan, rhos: Sequence[U64]) -> tuple[U64, U64]:
    """The cosines and sines (M, count) that all shares together must sum to, from all parties' rho."""
    real, imaginary = (from_signed(part) for part in quantised_circle(plan, rhos[0]))
    for rho in rhos[1:]:
        c, s = (from_signed(part) for part in quantised_circle(plan, rho))
        real, imaginary = real * c - imaginary * s, real * s + imaginary * c
    return real, imaginary
