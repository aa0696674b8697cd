"""Newton's step for the fixed Hessian of all columns, on shares: N >= 2 parties, semi-honest. Opens masked words only.

H = c X^T X / n + penalty I over all parties' columns; c, n, penalty public. Party i knows X_i, so the block H_ii and
its L_i = H_ii^(-1/2). In whitened columns X_i L_i the Hessian K has identities on its diagonal and eigenvalues in
(0, N], whatever the columns' units and correlations inside a block; only its other blocks are unknown to each:
 1 once: narrower j of a pair: whitened X_j   -- EncryptedMasks -->     wider i: whitened X_i, as integers of 8 bits
                                              <-- MaskedProducts --     shares of K_ij = c/n (X_i L_i)^T X_j L_j
   K = sum_i K_i, every share a private fixed matrix (mpc.products.matrix_vector)
 2 per gradient h:  u = L h              L_i private times a shared part of the vector
   `EVALUATIONS` - 1 times:              K_i private times a shared vector, then a public combination, truncated
      r = u - K y,  d <- A d + B r,  y <- y + d
   p = L y                               L_i private again

Step 2 is Chebyshev's iteration for K y = u on [LOWEST, N + BEYOND] [Golub and Varga, Numer. Math. 3, 1961; Saad,
Iterative methods for sparse linear systems, algorithm 12.1]: a fixed polynomial, so it needs no inner product. L q(K) L
is symmetric and positive, near H^-1 where eigenvalues of K lie above LOWEST. Knows no labels and no weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mpc.errors import LocalError
from mpc.link import Link, PartyId
from mpc.paillier.ciphertexts import PublicKey
from mpc.paillier.encryption import Blinder
from mpc.paillier.keys import PrivateKey
from mpc.products.matrix_vector import offer_known, serve_known
from mpc.products.plan import ProductPlan
from mpc.protocol import Party
from mpc.ring import I64, U64, from_signed
from mpc.rng import Rng

I8 = NDArray[np.int8]
I16 = NDArray[np.int16]
F64 = NDArray[np.float64]

EVALUATIONS = 10           # degree of the polynomial, counting K^0
LOWEST = 0.03              # eigenvalues of K below it are raised, but not all the way
BEYOND = 0.07              # above N that the interval reaches: rounding of K, and steps never go the wrong way
WHITE_BITS = 8             # of a whitened column's entry
WHITE_CLIP = 16.0          # standard deviations; only rows of extreme leverage lie beyond
ROOT_BITS = 28             # of an entry of L
SAFE_BITS = 60
COEFFICIENT_BITS = (6, 12)     # after the point, of A and B: at least, at most
GROWTH_BITS = 6            # y is at most so many bits longer than u


@dataclass(frozen=True)
class PreconditionerPlan:
    """Units, shifts and coefficients of one run, from public sizes only. `gradient_unit`, `weight_unit`: integer per
    1.0 of what goes in and of what comes out."""

    parties: int
    rows: int
    penalty: float
    curvature: float
    gradient_unit: float
    weight_unit: float
    residual: float = 1.0  # the largest root mean square that e may have: above 1 where rows are weighted

    @property
    def white_scale(self) -> float:
        """Integer per standard deviation of a whitened column."""
        return ((1 << (WHITE_BITS - 1)) - 1) / WHITE_CLIP

    @property
    def hessian_unit(self) -> float:
        """Integer per 1.0 of K: that of the whitened columns' products as they come."""
        return self.rows * self.white_scale**2

    @property
    def highest(self) -> float:
        """The interval's upper end."""
        return self.parties + BEYOND

    @property
    def middle(self) -> float:
        """Of the interval; u stands for u / middle, the first iterate, in `vector_unit`."""
        return (self.highest + LOWEST) / 2

    @property
    def shifts(self) -> tuple[int, int]:
        """By how many bits L h and L y are shortened."""
        both = self._total_shift
        spare = SAFE_BITS - COEFFICIENT_BITS[0] - math.log2(self.hessian_unit) - GROWTH_BITS
        vector = math.log2(self.weight_unit * self.gradient_unit * self.middle / self.curvature) / 2
        vector += math.log2(self.residual)
        apart = 2 * max(0, math.ceil(vector - spare))
        return (both + apart + 1) // 2, (both - apart) // 2

    @property
    def _total_shift(self) -> int:
        largest = ROOT_BITS - 1 + math.log2(self.penalty) / 2        # |L| <= penalty^(-1/2)
        return int(2 * min(22.0, largest) - math.log2(self.weight_unit / (self.gradient_unit * self.middle)))

    @property
    def root_unit(self) -> float:
        """Integer per 1.0 of L: what makes the unit of L L h that of weights after both shifts."""
        return math.sqrt(self.weight_unit * 2.0 ** sum(self.shifts) / (self.gradient_unit * self.middle))

    @property
    def vector_unit(self) -> float:
        """Integer per 1.0 of y; |u| <= `residual` / sqrt(c), since u^T u <= mean e^2 / c."""
        return self.gradient_unit * self.root_unit * self.middle / 2.0 ** self.shifts[0]

    @property
    def inner_shift(self) -> int:
        """By how many bits a combination of d and r is shortened."""
        size = math.log2(self.vector_unit * self.residual / math.sqrt(self.curvature)) + GROWTH_BITS
        bits = min(COEFFICIENT_BITS[1], int(SAFE_BITS - size - math.log2(self.hessian_unit)))
        return round(math.log2(self.hessian_unit)) + bits

    @property
    def coefficients(self) -> list[tuple[int, int, int]]:
        """Of d, u and K y in each step's combination, as integers 2^inner_shift times too large."""
        half = (self.highest - LOWEST) / 2
        ratio = self.middle / half
        rho, found = 1 / ratio, []
        for _ in range(EVALUATIONS - 1):
            rho, before = 1 / (2 * ratio - rho), rho
            scale = 2.0**self.inner_shift
            b = 2 * rho / half * scale
            found.append((round(rho * before * scale), round(b * self.middle), round(b / self.hessian_unit)))
        return found


def plan_preconditioner(
    parties: int, rows: int, penalty: float, curvature: float, gradient_unit: float, weight_unit: float,
    residual: float = 1.0,
) -> PreconditionerPlan:
    """LocalError when the bits do not suffice."""
    plan = PreconditionerPlan(parties, rows, penalty, curvature, gradient_unit, weight_unit, residual)
    if min(plan.shifts) < 1 or plan.inner_shift - math.log2(plan.hessian_unit) < COEFFICIENT_BITS[0] - 1.5:
        raise LocalError("the bit budget of the preconditioner does not fit", "raise the penalty or use fewer rows")
    return plan


@dataclass(frozen=True)
class Counterparts:
    """Keys and the tables that all streams of one run share."""

    key: PrivateKey
    keys: Mapping[PartyId, PublicKey]
    sealing: Mapping[PartyId, Blinder]
    own_blinder: Blinder | None


def white_product(rows: int, outputs: int, columns: int, key_bits: int) -> ProductPlan:
    """Step 1: `columns` of the narrower block by the `outputs` of the wider one."""
    return ProductPlan(rows, outputs, WHITE_BITS, 64, columns, key_bits)


# -- role --------------------------------------------------------------------------------------------------------


async def shared_hessian(
    me: Party, peers: Mapping[PartyId, Link], known: Counterparts, white: I8, empty: NDArray[np.bool_],
    slices: Mapping[PartyId, slice], plan: PreconditionerPlan,
) -> I64:
    """Step 1: my share (all widths, all widths) of K in `plan.hessian_unit`, from my whitened block (rows, width).
    `empty` columns are padding: no entry, so that their weights stay zero. Blames a peer for bad ciphertexts."""

    def place(party: PartyId) -> tuple[int, PartyId]:
        return slices[party].stop - slices[party].start, party

    width, bits = white.shape[1], known.key.public.bits
    wider = [p for p in peers if place(p) > place(me.id)]
    narrower = [p for p in peers if place(p) < place(me.id)]

    async def hold() -> dict[PartyId, U64]:
        if not wider:
            return {}
        links = {p: peers[p].channel(f"hessian/{me.id}") for p in wider}
        plans = {p: white_product(plan.rows, place(p)[0], width, bits) for p in wider}
        return await offer_known(me, links, known.key, plans, from_signed(white.T), known.own_blinder)

    async def own(p: PartyId) -> U64:
        link, sizes = peers[p].channel(f"hessian/{p}"), white_product(plan.rows, width, place(p)[0], bits)
        return await serve_known(me, link, known.keys[p], white.T, sizes, known.sealing[p])

    held, *owned = await me.together(hold(), *(own(p) for p in narrower))
    total, mine = np.zeros((max(s.stop for s in slices.values()),) * 2, np.uint64), slices[me.id]
    for p, part in held.items():                       # row t: column t of X_p^T X_me
        total[mine, slices[p]], total[slices[p], mine] = part, part.T
    for p, part in zip(narrower, owned, strict=True):
        total[slices[p], mine], total[mine, slices[p]] = part, part.T
    total[mine, mine] = np.diag(np.where(empty, 0, round(plan.hessian_unit)).astype(np.uint64))
    return total.view(np.int64)


# -- steps -------------------------------------------------------------------------------------------------------


def own_root(matrix: I16, x_scale: int, plan: PreconditionerPlan) -> F64:
    """L_i = (c X_i^T X_i / n + penalty I)^(-1/2) of the own block at `x_scale`; zero where a column is empty."""
    columns = matrix.shape[1]
    gram = np.zeros((columns, columns))
    for start in range(0, len(matrix), 1 << 16):
        part = matrix[start : start + (1 << 16)].astype(np.float64) / x_scale
        gram += part.T @ part
    values, vectors = np.linalg.eigh(plan.curvature * gram / plan.rows + plan.penalty * np.eye(columns))
    root = (vectors / np.sqrt(np.maximum(values, plan.penalty))) @ vectors.T
    empty = np.diag(gram) == 0.0
    root[empty, :] = root[:, empty] = 0.0
    return np.asarray(root, np.float64)


def whitened(matrix: I16, root: F64, x_scale: int, plan: PreconditionerPlan, rng: Rng) -> I8:
    """sqrt(c) X_i L_i, rounded and clipped: (rows, width). Rounded up or down by chance, so that entries are right on
    average: a column of few values, rounded to the nearest, would be longer or shorter as a whole, and eigenvalues of K
    more than LOWEST + BEYOND above N get steps the wrong way."""
    result = np.empty(matrix.shape, np.int8)
    factor, most = math.sqrt(plan.curvature) * plan.white_scale / x_scale, (1 << (WHITE_BITS - 1)) - 1
    for start in range(0, len(matrix), 1 << 16):
        here = slice(start, start + (1 << 16))
        exact = matrix[here] @ (root * factor)
        chance = np.frombuffer(rng.bytes(2 * exact.size), "<u2").reshape(exact.shape) / 65536.0
        result[here] = np.clip(np.floor(exact + chance), -most, most)
    return result


def root_matrix(root: F64, plan: PreconditionerPlan) -> I64:
    """L_i in `plan.root_unit`, a private matrix of ROOT_BITS signed bits."""
    return np.rint(root * plan.root_unit).astype(np.int64)


def combined(change: U64, gradient: U64, product: U64, coefficients: tuple[int, int, int]) -> U64:
    """A d + B (u - K y), from shares; to be shortened by `inner_shift`."""
    a, b, k = (np.uint64(value) for value in coefficients)
    total: U64 = change * a + gradient * b - product * k
    return total
