"""What the parties hold before they meet private data: random correlations.

It knows sizes, never rows or labels.

Four kinds, shared between N parties: a random angle with its cosines and sines, random bits (as sums and as XORs),
and random products, of words (Beaver triples) and of bits. A `CorrelationSource` makes them; training cannot tell which
one it has: `ot_source.OtSource` (oblivious transfer, the real one), `paillier_source.PaillierSource` (slow, the
cross-check) and `mpc.testing.dealer.DealerSource` (ideal, tests only).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from mpc.errors import LocalError
from mpc.link import PartyId
from mpc.protocol import Party
from mpc.ring import I64, U64, from_signed, mask_of
from mpc.rng import Rng

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class TrigPlan:
    """The public shape of the sine correlations: one entry of `bits` for each harmonic m = 1, 3, 5, ...

    The parties stand in a line. Each quantises its own cosines and sines: the first one to `lead_bits` signed bits,
    which cost nothing since nobody multiplies by them bit by bit, all others to `bits`; of one bit only the sign is
    kept. The shared value is the product of all parties' points. One period of the angle is 2^period_bits units.

    `scaled_by`: the party that stands first in every line and multiplies each of its points by a private factor of its
    own, before it rounds by chance. Nobody else's part changes. None: nobody does, and the source orders its lines.
    """

    parties: int
    bits: tuple[int, ...] = (9, 8, 7, 6, 5, 4)
    lead_bits: int = 9
    period_bits: int = 37
    scaled_by: PartyId | None = None

    def __post_init__(self) -> None:
        if self.parties < 2:
            raise ValueError("a plan needs at least two parties")
        if not self.bits or not all(1 <= bits <= 16 for bits in self.bits):
            raise ValueError("each harmonic has between 1 and 16 bits")
        if not 2 <= self.lead_bits <= 16:
            raise ValueError("the first party's points have between 2 and 16 bits")
        if not 8 <= self.period_bits <= 48:
            raise ValueError("the period has between 8 and 48 bits")

    @property
    def harmonics(self) -> tuple[int, ...]:
        """1, 3, 5, ...: the sigmoid's series is odd with half-wave symmetry."""
        return tuple(range(1, 2 * len(self.bits), 2))

    def quantiser(self, index: int, *, lead: bool) -> Quantiser:
        """How the first party of the line, or any other, rounds its points of harmonic `index`."""
        return quantiser(self.lead_bits if lead else self.bits[index], lead and self.scaled_by is not None)

    def line(self, names: Iterable[PartyId], *, against_ids: bool = False) -> list[PartyId]:
        """All parties in the order in which they stand: by id or against it, but for who scales."""
        return sorted(sorted(names, reverse=against_ids), key=lambda name: name != self.scaled_by)

    def check_scales(self, party: PartyId, count: int, scales: F64 | None) -> None:
        """LocalError unless who scales gives a factor for each of `count` angles, and nobody else any."""
        if (party == self.scaled_by) != (scales is not None):
            raise LocalError("factors of the angles belong to the party that the plan names, and to nobody else")
        if scales is not None and scales.shape != (count,):
            raise LocalError("there is not one factor for each angle")

    def gain(self, index: int) -> float:
        """What the opened series of harmonic `index` is divided by: the product of all first Fourier coefficients.

        Averaged over the uniform mask all other coefficients vanish, so after this division the rounding is noise of
        mean exactly zero.
        """
        lead, other = (self.quantiser(index, lead=lead).gain for lead in (True, False))
        return lead * other ** (self.parties - 1)

    def noise(self, index: int) -> float:
        """Standard deviation of sin(m z) as it is opened: the relative noises of N independent factors."""
        lead, other = (1 + 2 * self.quantiser(index, lead=lead).noise ** 2 for lead in (True, False))
        return math.sqrt((lead * other ** (self.parties - 1) - 1) / 2)

    def bound(self, index: int) -> int:
        """No |C| or |S| of harmonic `index` exceeds this, times the factor of the angle where the line scales."""
        lead, other = (self.quantiser(index, lead=lead).reach for lead in (True, False))
        return math.ceil(lead * other ** (self.parties - 1))


@dataclass(frozen=True)
class Quantiser:
    """Rounding of a point on the circle to `bits` signed bits a coordinate, symmetric, so that it has mean zero; to the
    nearest, or up and down `by_chance`, which is right on average however small a factor has made the point."""

    bits: int
    by_chance: bool = False

    @property
    def amplitude(self) -> int:
        """The largest coordinate, 2^(bits-1) - 1; of one bit the sign is kept, +1 or -1."""
        return max(1, (1 << (self.bits - 1)) - 1)

    @cached_property
    def gain(self) -> float:
        """The first Fourier coefficient a_1 of q(cos t), a sum of unit steps, each at |A cos t| = k - 1/2 (the sign:
        one step of two units at 0)."""
        if self.by_chance:
            return float(self.amplitude)
        return 4 / math.pi * sum(math.sqrt(1 - edge**2) for edge in self._edges)

    @cached_property
    def noise(self) -> float:
        """Standard deviation of q(cos t) / a_1 - cos t over the circle."""
        if self.by_chance:
            return 1 / math.sqrt(6) / self.amplitude     # f (1 - f) at a fraction f, on average
        power = sum((2 * k + 1) * 2 / math.pi * math.acos(edge) for k, edge in enumerate(self._edges))
        return math.sqrt(power - self.gain**2 / 2) / self.gain

    @property
    def reach(self) -> float:
        """No quantised point is longer: each coordinate is off by at most 1/2, the sign's and chance's by 1."""
        if self.by_chance:
            return self.amplitude + math.sqrt(2)
        return math.sqrt(2) if self.bits == 1 else self.amplitude + math.sqrt(0.5)

    @property
    def _edges(self) -> list[float]:
        return [0.0] if self.bits == 1 else [(k - 0.5) / self.amplitude for k in range(1, self.amplitude + 1)]

    def __call__(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """q of cosines or sines."""
        if self.bits == 1:
            return np.where(values < 0, -1.0, 1.0)
        return np.rint(self.amplitude * values)


@cache
def quantiser(bits: int, by_chance: bool = False) -> Quantiser:
    """The one of `bits` bits; its sums run over all its steps, once."""
    return Quantiser(bits, by_chance)


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
class Bits:
    """My shares of `count` uniform bits that nobody knows, two ways: `sums` mod 2^64 and `flips` (0 or 1), whose XOR
    over all parties is the same bit. Each is used once."""

    sums: U64 = field(repr=False)
    flips: U64 = field(repr=False)

    def __len__(self) -> int:
        return len(self.sums)

    def __repr__(self) -> str:
        return f"Bits({len(self)})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("shares are secrets and are never pickled")


@dataclass(frozen=True, repr=False)
class Triples:
    """My shares of uniform a, b and of c = a b, each (count,): mod 2^64, or of bits, as XORs of 0 and 1.

    One triple serves one product, once.
    """

    a: U64 = field(repr=False)
    b: U64 = field(repr=False)
    c: U64 = field(repr=False)

    def __len__(self) -> int:
        return len(self.a)

    def part(self, start: int, stop: int) -> Triples:
        """Triples start..stop-1."""
        return Triples(self.a[start:stop], self.b[start:stop], self.c[start:stop])

    def __repr__(self) -> str:
        return f"Triples({len(self)})"

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

    async def trig(self, me: Party, count: int, scales: F64 | None = None) -> Trig:
        """`count` masked angles with their shared cosines and sines; `scales` (count,) from who scales, as planned."""
        ...

    async def bits(self, me: Party, count: int) -> Bits:
        """`count` uniform bits that nobody knows."""
        ...

    async def triples(self, me: Party, count: int) -> Triples:
        """`count` Beaver triples mod 2^64."""
        ...

    async def ands(self, me: Party, count: int) -> Triples:
        """`count` triples of bits."""
        ...


def quantised_circle(plan: TrigPlan, rho: U64, *, lead: bool) -> tuple[I64, I64]:
    """q(cos(2 pi m rho / 2^period_bits)) and the same of the sine: two (M, count) arrays; `lead` as of the plan."""
    mask = mask_of(plan.period_bits)
    turn = 2 * math.pi / (1 << plan.period_bits)
    cosines = np.empty((len(plan.bits), len(rho)), np.int64)
    sines = np.empty_like(cosines)
    for index, harmonic in enumerate(plan.harmonics):
        angle = ((rho * np.uint64(harmonic)) & mask).astype(np.float64) * turn
        rounded = plan.quantiser(index, lead=lead)
        cosines[index], sines[index] = rounded(np.cos(angle)), rounded(np.sin(angle))
    return cosines, sines


def scaled_circle(plan: TrigPlan, rho: U64, scales: F64, rng: Rng) -> tuple[I64, I64]:
    """The same for who scales: its points times `scales` (count,), rounded up or down by chance."""
    exact = np.empty((2, len(plan.bits), len(rho)))
    mask, turn = mask_of(plan.period_bits), 2 * math.pi / (1 << plan.period_bits)
    for index, harmonic in enumerate(plan.harmonics):
        angle = ((rho * np.uint64(harmonic)) & mask).astype(np.float64) * turn
        height = plan.quantiser(index, lead=True).amplitude * scales
        exact[0, index], exact[1, index] = height * np.cos(angle), height * np.sin(angle)
    chance = np.frombuffer(rng.bytes(2 * exact.size), "<u2").reshape(exact.shape) / 65536.0
    cosines, sines = np.floor(exact + chance).astype(np.int64)
    return cosines, sines


def ideal_trig(plan: TrigPlan, rhos: Sequence[U64], lead: tuple[I64, I64] | None = None) -> tuple[U64, U64]:
    """The cosines and sines (M, count) that all shares together must sum to, from all parties' rho, the line's first
    party first; `lead`: its points, where it scales them."""
    points = quantised_circle(plan, rhos[0], lead=True) if lead is None else lead
    real, imaginary = (from_signed(part) for part in points)
    for rho in rhos[1:]:
        c, s = (from_signed(part) for part in quantised_circle(plan, rho, lead=False))
        real, imaginary = real * c - imaginary * s, real * s + imaginary * c
    return real, imaginary
