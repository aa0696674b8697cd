"""What the two sides of a private product keep of its offline phase (matrix_vector): masks and shares, each for one
iteration, once. Knows no ciphertext and no message.
"""

from __future__ import annotations

from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from mpc.errors import LocalError
from mpc.products.plan import ProductPlan
from mpc.ring import U64, RingVector, reduce, times

Matrix = NDArray[np.integer]


class _Secret:
    """Blank to print, impossible to pickle or copy."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("shares and masks are secret and are never pickled or copied")


class Once:
    """Iterations that were used up."""

    def __init__(self, iterations: int, what: str) -> None:
        self._left, self._what, self._handed_over = set(range(iterations)), what, False
        self._count = iterations

    def burn(self, t: int) -> None:
        """LocalError if `t` was burnt before or does not exist."""
        if t not in self._left:
            raise LocalError(f"the {self._what} of iteration {t} does not exist or was used before")
        self._left.remove(t)

    def hand_over(self) -> None:
        """From here on none is to be had here. LocalError if one was used before."""
        if len(self._left) != self._count and not self._handed_over:
            raise LocalError(f"a {self._what} was used before, so the others cannot be kept for later")
        self._handed_over = True
        self._left.clear()


class HolderProduct(_Secret):
    """What the holder keeps of its product with one owner: the masks (common to one `offer`) and its
    shares."""

    __slots__ = ("_masks", "_once", "_shares", "plan")

    def __init__(self, plan: ProductPlan, masks: U64, once: Once, shares: U64) -> None:
        self.plan, self._masks, self._once, self._shares = plan, masks, once, shares

    def mask(self, t: int, v_share: U64) -> RingVector:
        """v - r_t (inputs,): uniform, to be sent to every owner of this offer. LocalError on a second call
        for `t` on any of them."""
        if v_share.shape != (self.plan.inputs,):
            raise LocalError(f"a vector of {self.plan.inputs} elements was agreed")
        self._once.burn(t)  # before anything leaves
        return RingVector(reduce(v_share - self._masks[t], self.plan.ring_bits), self.plan.ring_bits)

    def share(self, t: int) -> U64:
        """The holder's share (outputs,) of A v_t."""
        share: U64 = self._shares[t].copy()
        return share

    def handed_over(self) -> tuple[U64, U64]:
        """Masks and shares, to be kept where only this party reads. LocalError if one was used."""
        self._once.hand_over()
        return self._masks, self._shares


class OwnerProduct(_Secret):
    """What the owner keeps: its matrix and its shares."""

    __slots__ = ("_matrix", "_once", "_shares", "plan")

    def __init__(self, plan: ProductPlan, matrix: Matrix, shares: U64) -> None:
        self.plan, self._matrix, self._shares = plan, matrix, shares
        self._once = Once(plan.iterations, "share")

    def fits(self, masked: RingVector) -> bool:
        """Whether a received vector has the agreed length and ring; for `link.require`."""
        return len(masked) == self.plan.inputs and masked.bits == self.plan.ring_bits

    def apply(self, t: int, masked: RingVector) -> U64:
        """The owner's share (outputs,) of A v_t from v_t - r_t. LocalError on a second call for `t`."""
        if not self.fits(masked):
            raise LocalError("a vector of another length or ring was agreed")
        self._once.burn(t)
        result: U64 = times(self._matrix, masked.values) + self._shares[t]
        return reduce(result, self.plan.ring_bits)

    def handed_over(self) -> U64:
        """The shares; as of the holder."""
        self._once.hand_over()
        return self._shares
