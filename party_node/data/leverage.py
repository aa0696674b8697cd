"""Bounds how far one row can pull the weights, so that weights do not show a single row's label.

Leverage of a row x of a block X (n x d): l = x (X'X + lambda n I)^-1 x'. A row above the bound is scaled towards
zero. The scale is a function of the row and of one fixed factor, the same for rows of the training set and for
others, so scoring a table again gives the same numbers whichever of its rows were trained on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from party_node.data.sources.table import F64

# Blocks of 60 to 200 rows with 4 to 20 heavy-tailed columns took 25 to 44 passes; large tables take one to three.
MOST_PASSES = 60
# Rows are scaled to a little under the bound: each pass moves the Gram matrix, and this ends the chase.
MARGIN = 0.99
_CHUNK_ROWS = 8192


@dataclass(frozen=True, repr=False)
class LeverageBound:
    """`factor`: lower triangular L (d x d) with leverage |x L|^2; rows above `target` are scaled to it.

    `common` scales every row besides; it is 1 unless the passes did not meet the bound.
    """

    factor: F64
    target: float
    common: float

    def shrink(self, block: F64) -> int:
        """Scale the rows of `block` (n x d) in place; returns how many were scaled."""
        shrunk = 0
        for part in _chunks(block):
            found = _row_leverage(part, self.factor)
            over = found > self.target
            scale = np.full(len(part), self.common)
            scale[over] *= np.sqrt(self.target / found[over])
            part *= scale[:, None]
            shrunk += int(np.count_nonzero(scale < 1.0))
        return shrunk


@dataclass(frozen=True)
class LeverageReport:
    """Rows that were scaled, passes used, the factor on all rows (1 unless the passes ran out), the maximum left."""

    shrunk_rows: int
    passes: int
    common: float
    largest: float


def bound_leverage(block: F64, bound: float, penalty: float) -> tuple[LeverageBound, LeverageReport]:
    """Fit the bound on training rows `block` (n x d, n and d at least 1) and scale them in place.

    `bound` in (0, 1], `penalty` lambda > 0. On return every row of `block` has leverage <= bound under the Gram
    matrix of `block` itself.
    """
    assert 0 < bound <= 1
    assert penalty > 0
    ridge = penalty * len(block)
    fitted = LeverageBound(_factor(block, ridge), bound * MARGIN, 1.0)
    original = block.copy()
    for done in range(1, MOST_PASSES + 1):
        block[:] = original
        shrunk = fitted.shrink(block)
        after = _factor(block, ridge)
        largest = _largest(block, after)
        if largest <= bound:
            return fitted, LeverageReport(shrunk, done, 1.0, largest)
        fitted = LeverageBound(after, fitted.target, 1.0)
    block[:] = original
    fitted.shrink(block)
    common = _common_scale(block, bound, ridge)
    fitted = LeverageBound(fitted.factor, fitted.target, common)
    block[:] = original
    shrunk = fitted.shrink(block)
    return fitted, LeverageReport(shrunk, MOST_PASSES, common, _largest(block, _factor(block, ridge)))


def _common_scale(block: F64, bound: float, ridge: float) -> float:
    """A factor on all rows that meets the bound: scaling by s is a ridge of ridge / s^2, so leverage falls with s."""
    scale = 1.0
    while _largest(block, _factor(block, ridge / scale**2)) > bound * MARGIN:
        scale *= 0.9
    return scale


def _factor(block: F64, ridge: float) -> F64:
    """L with L L' = (X'X + ridge I)^-1: the transposed inverse of the Cholesky factor, made lower triangular.

    With the Gram matrix flipped in rows and columns its inverse factor, flipped back, is lower triangular; the
    triangle halves the work per row.
    """
    gram = block.T @ block
    gram[np.diag_indices_from(gram)] += ridge
    upper: F64 = np.linalg.inv(np.linalg.cholesky(gram[::-1, ::-1])).T
    return np.ascontiguousarray(np.tril(upper[::-1, ::-1]))


def _row_leverage(part: F64, factor: F64) -> F64:
    """|x L|^2 of each row, by sums in a fixed order: a matrix product would let the last bits of a row depend on
    how many other rows are in the table."""
    columns = np.ascontiguousarray(part.T)
    total = np.zeros(len(part))
    for j in range(len(factor)):
        entry = columns[j] * factor[j, j]
        for k in range(j + 1, len(factor)):
            entry += columns[k] * factor[k, j]
        total += entry * entry
    return total


def _largest(block: F64, factor: F64) -> float:
    return max(float(np.max(np.square(part @ factor).sum(axis=1))) for part in _chunks(block))


def _chunks(block: F64) -> Iterator[F64]:
    for start in range(0, len(block), _CHUNK_ROWS):
        yield block[start : start + _CHUNK_ROWS]
