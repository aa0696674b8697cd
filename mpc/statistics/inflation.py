"""Variance inflation of one party's columns when another's stand beside them, from a product of rotated directions.

U = W S, where W are orthonormal directions of own columns U of length 1. Each party turns its W by a random rotation
Q, and the two learn K = (W_a Q_a)^T (W_b Q_b). Who knows Q_a has M Q_b from it, M = W_a^T W_b, and so P = M M^T: what
b's columns explain of every direction of a's own; and nothing of b's single columns, for Q_b turns them by chance.

Variance inflation is 1 / (1 - R^2) of a column on all others, the diagonal of the inverse correlation matrix
(Marquardt, Technometrics 1970); of a's columns with b's beside them that is the diagonal of S^-1 (I - P)^-1 S^-T.
Refuses to know messages and shares.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mpc.rng import Rng
from mpc.statistics.logistic import F64

_ALIKE = 1e-9


@dataclass(frozen=True)
class Inflated:
    """For each own column: its variance inflation among the own ones `alone`, with the other party's `together`, and
    the share of its variance that the other's columns explain by themselves. NaN: a constant column; inf: one that
    follows from others of the same party."""

    alone: F64
    together: F64
    explained: F64


@dataclass(frozen=True, repr=False)
class Basis:
    """Own columns as turned directions. `turned` (rows, columns) goes into products; the rest stays with its owner."""

    turned: F64
    rotation: F64      # (rank, columns), orthonormal rows
    root: F64          # (columns, rank): own columns in own directions

    @classmethod
    def of(cls, unit: F64, rng: Rng) -> Basis:
        """`unit` (rows, columns): columns of length 1, or of zeros."""
        values, vectors = np.linalg.eigh(unit.T @ unit)
        kept = values > _ALIKE * max(1, unit.shape[1])
        root: F64 = vectors[:, kept] * np.sqrt(values[kept])
        rotation = random_rotation(unit.shape[1], rng)[: int(kept.sum())]
        directions = unit @ (vectors[:, kept] / np.sqrt(values[kept]))
        return cls(directions @ rotation, rotation, root)

    def inflated(self, product: F64, step: float) -> Inflated:
        """From K (own columns, the other's), known to `step`, below which what is left unexplained cannot be seen."""
        explained = self.rotation @ product                                     # M Q_b
        own = self.root @ explained
        shares, turns = np.linalg.eigh(explained @ explained.T)
        left = np.clip(1.0 - shares, step, 1.0)
        size = np.einsum("ij,ij->i", self.root, self.root)
        inverse = np.linalg.pinv(self.root.T)                                   # S^-1
        whole = np.abs(np.einsum("ij,ij->i", inverse, self.root) - 1.0) < 1e-6   # no other own column says the same
        turned = inverse @ turns
        found = np.einsum("ij,ij->i", inverse, inverse), np.einsum("ij,ij->i", turned / left, turned)
        alone, together = (np.where(size < 0.5, np.nan, np.where(whole, one, np.inf)) for one in found)
        known = np.where(size < 0.5, np.nan, np.clip(np.einsum("ij,ij->i", own, own), 0.0, 1.0))
        return Inflated(alone, together, known)

    def __repr__(self) -> str:
        return "Basis(...)"


def random_rotation(size: int, rng: Rng) -> F64:
    """A uniformly random orthogonal matrix: QR of normal entries, signs fixed (Mezzadri, Notices of the AMS 2007)."""
    first, second = (rng.ring(size * size, 53) * 2.0**-53 for _ in range(2))
    normal = np.sqrt(-2 * np.log(1 - first)) * np.cos(2 * np.pi * second)       # Box and Muller 1958
    factor, upper = np.linalg.qr(normal.reshape(size, size))
    turned: F64 = factor * np.where(np.diag(upper) < 0, -1.0, 1.0)
    return turned
