"""Anderson acceleration of a fixed-point iteration x <- x + r(x), on shares. Nothing is opened but masked values
and, per step, the size of the newest change to a factor of four.

Type II, all parties hold shares of x and r as integers (|.| < 2^25, unit agreed):
 1 dx, dr = differences to the last step; made orthogonal to earlier pairs: c_j = <Q_j, dr> / <Q_j, Q_j>
   Q = dr - sum c_j Q_j                      P = dx - sum c_j P_j
 2 level e: |Q| in [2^(24-2e), 2^(26-2e)), opened; then the pair is scaled by the public 2^(2e)
   (below the last level the change is rounding noise, and a pair of zeros stands in)
 3 1/<Q, Q> by Newton's iteration, known to lie within a factor of 16
 4 y_j = <Q_j, r> / <Q_j, Q_j>
   x <- x + r - sum y_j (P_j + Q_j)

[Walker, Ni 2011] for Anderson's method as multisecant correction; orthogonal pairs instead of a least-squares solve,
because on shares a division is dear and an inner product is cheap. Fixed point: Q, P at the scale of step 2, ratios
at 2^28, reciprocals at 2^24.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np

from mpc.correlated_randomness.stock import Stock
from mpc.errors import LocalError
from mpc.link import Link, PartyId
from mpc.protocol import LedgerLine, Party
from mpc.ring import U64, RingVector
from mpc.sharing.comparison import COMPARISON_ANDS, as_sums, multiply, shared_signs
from mpc.sharing.opening import holds_constants, open_masked, refreshed
from mpc.sharing.truncation import TruncationMasks, prepare_truncation, truncate

LEVELS = 10
TOP_BITS = 26              # |Q| < 2^26 before scaling, and in [2^24, 2^26) after it
NARROW, RATIO = 24, 28     # shifts: inner products and reciprocals, ratios
NEWTON_STEPS = 5           # relative error .69, .48, .23, .053, 3e-3, 8e-6
SETTLED = 8                # after the first change that is noise a further one must stand so many times higher: it has
                           # arrived, and directions learnt from noise would carry it off again
PAIRS = 10                 # remembered; older ones say little about the present curvature
FIRST = 6                  # y_0 = 6 (17/16 - x): |1 - x y_0| < 0.7 on [1/16, 1), nearly the best line, no truncation


@dataclass(frozen=True)
class Needs:
    """Correlations of a run: masks of the two truncations, shared bits (those of the masks included), triples of words
    and of bits."""

    narrow: int
    ratio: int
    bits: int
    triples: int
    ands: int


def anderson_needs(steps: int, width: int) -> Needs:
    """What `steps` calls of `Anderson.step` use."""
    pairs, signs = sum(min(k, PAIRS) for k in range(steps)), steps * (LEVELS + 1)
    narrow, ratio = 4 * pairs + steps * 2 * NEWTON_STEPS, steps * (3 * width + 1)
    products = pairs * (5 * width + 2) + steps * (width + 2 * NEWTON_STEPS)
    return Needs(narrow, ratio, 64 * (narrow + ratio + signs) + signs, products, COMPARISON_ANDS * signs)


def lines(code: str) -> tuple[LedgerLine, ...]:
    """The ledger lines that a run with `code` records."""
    return (
        LedgerLine(f"{code}.level", "revealed", "all", "the size of each step's change, to a factor of four"),
        LedgerLine(f"{code}.masked", "masked", "all", f"values minus uniform masks, for {code}"),
    )


@dataclass(repr=False)
class _Pair:
    """Shares of P, Q scaled to |Q| in [2^24, 2^26), and of 2^76 / <Q, Q>."""

    p: U64
    q: U64
    reciprocal: U64


@dataclass(repr=False)
class Anderson:
    """The memory of one run; `width` is the length of x."""

    me: Party
    peers: Mapping[PartyId, Link]
    stock: Stock
    width: int
    code: str
    floor: float = 0.0         # changes shorter than this (in units of x) are noise: no pair is made of them
    settled: bool = False      # whether a change was noise before
    pairs: list[_Pair] = field(default_factory=list, repr=False)
    last: tuple[U64, U64] | None = field(default=None, repr=False)
    masks: dict[int, TruncationMasks] = field(default_factory=dict, repr=False)

    async def prepare(self, steps: int) -> None:
        """The masks for `steps` calls of `step`, from the stock."""
        needs = anderson_needs(steps, self.width)
        self.masks[NARROW] = await prepare_truncation(self.me, self.stock, needs.narrow, NARROW)
        self.masks[RATIO] = await prepare_truncation(self.me, self.stock, needs.ratio, RATIO)

    async def step(self, x: U64, r: U64) -> U64:
        """Shares of the next x from shares of x and of r(x), both (width,)."""
        if self.last is not None:
            await self._remember(x - self.last[0], r - self.last[1])
        self.last = (x, r)
        if not self.pairs:
            return x + r
        ratios = await self._ratios(r)                                                                       # 4
        sums = [pair.p + pair.q for pair in self.pairs]
        return x + r - await self._combined(ratios, sums)

    async def _remember(self, dx: U64, dr: U64) -> None:
        if self.pairs:                                                                                       # 1
            pasts = [np.concatenate([pair.p, pair.q]) for pair in self.pairs]
            both = await self._combined(await self._ratios(dr), pasts)
            dx, dr = dx - both[: self.width], dr - both[self.width :]
        norm = (await self._multiply(dr, dr)).sum(dtype=np.uint64)
        level = await self._level(norm)                                                                      # 2
        noise = 2.0 ** (TOP_BITS - 1 - 2 * level) < self.floor * (SETTLED if self.settled else 1)
        self.settled = self.settled or noise
        if noise or not 0 <= level < LEVELS:
            # A pair of zeros changes nothing and is worked on like any other: what is sent does not tell levels apart.
            level, dx, dr = 0, np.zeros_like(dx), np.zeros_like(dr)
            norm = np.uint64(holds_constants(self.me, self.peers)) << np.uint64(2 * TOP_BITS - 1)
        shift = np.uint64(2 * level)
        scaled = await self._truncate(np.array([norm << (shift + shift)]), RATIO)
        pair = _Pair(dx << shift, dr << shift, await self._reciprocal(scaled))                               # 3
        self.pairs = [*self.pairs[-(PAIRS - 1) :], pair]

    async def _level(self, norm: np.uint64) -> int:
        """e with |Q| in [2^(24-2e), 2^(26-2e)); -1 above all levels, LEVELS below them. Opens it."""
        bounds = np.array([1 << (2 * (TOP_BITS - 2 * e)) for e in range(LEVELS + 1)], np.uint64)
        values = np.full(LEVELS + 1, norm, np.uint64)
        if holds_constants(self.me, self.peers):
            values = values - bounds
        signs = await shared_signs(self.me, self.peers, values, self.stock, f"{self.code}.masked")
        signs = await as_sums(self.me, self.peers, signs, self.stock, f"{self.code}.masked")
        below = RingVector(np.array([signs.sum(dtype=np.uint64)]), 64)
        fresh = await refreshed(self.me, self.peers, below)
        opened = int((await open_masked(self.me, self.peers, fresh, f"{self.code}.level"))[0])
        if opened > LEVELS + 1:
            raise LocalError("the shares of a step's size do not add up to a level")
        return opened - 1

    async def _reciprocal(self, x: U64) -> U64:
        """2^24 / x for shared x = 2^24 [1/16, 1), as 2^24 (1, 16]: y <- y (2 - x y)."""
        one = np.uint64(holds_constants(self.me, self.peers))
        y = one * np.uint64(FIRST * 17 << (NARROW - 4)) - np.uint64(FIRST) * x
        for _ in range(NEWTON_STEPS):
            error = one * np.uint64(2 << NARROW) - await self._truncate(await self._multiply(x, y), NARROW)
            y = await self._truncate(await self._multiply(y, error), NARROW)
        return y

    async def _ratios(self, v: U64) -> U64:
        """2^28 <Q_j, v> / <Q_j, Q_j> for all pairs."""
        count = len(self.pairs)
        terms = await self._multiply(np.concatenate([pair.q for pair in self.pairs]), np.tile(v, count))
        inner = await self._truncate(terms.reshape(count, -1).sum(axis=1, dtype=np.uint64), NARROW)
        reciprocals = np.concatenate([pair.reciprocal for pair in self.pairs])
        return await self._truncate(await self._multiply(inner, reciprocals), NARROW)

    async def _combined(self, ratios: U64, vectors: list[U64]) -> U64:
        """sum_j ratio_j vector_j."""
        length = len(vectors[0])
        terms = await self._multiply(np.repeat(ratios, length), np.concatenate(vectors))
        return await self._truncate(terms.reshape(len(vectors), length).sum(axis=0, dtype=np.uint64), RATIO)

    async def _multiply(self, a: U64, b: U64) -> U64:
        return await multiply(self.me, self.peers, a, b, self.stock, f"{self.code}.masked")

    async def _truncate(self, x: U64, shift: int) -> U64:
        return await truncate(self.me, self.peers, x, self.masks[shift], f"{self.code}.masked")

    def __reduce__(self) -> NoReturn:
        raise TypeError("shares are secrets and are never pickled")
