"""Bounds how far one customer can pull the weights, so that weights do not show a single customer's label.

Leverage of a row x of a block X (n x d): l = x (X'X + lambda n I)^-1 x'. A row above the bound is scaled towards
zero. The scale is a function of the row and of one fixed factor, the same for rows of the training set and for
others, so scoring a table again gives the same numbers whichever of its rows were trained on.

Where customers have several rows, one of weight w (its rows by their mean number) has the leverages of its rows added
up, times w where w > 1: its label moves the gradient by w times what an average customer's does, while the others'
labels, by which it could hide, move it as before. Rows of customers heavier than the mean are scaled further for that,
where they train and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from party_node.data.ids.customers import Customers
from party_node.data.sources.table import F64

# Blocks of 60 to 200 rows with 4 to 20 heavy-tailed columns took 25 to 44 passes; large tables take one to three.
MOST_PASSES = 60
# Rows are scaled to a little under the bound: each pass moves the Gram matrix, and this ends the chase.
MARGIN = 0.99
_CHUNK_ROWS = 8192


@dataclass(frozen=True, repr=False)
class LeverageBound:
    """`factor`: lower triangular L (d x d) with leverage |x L|^2; rows above `target` are scaled to it. A row of a
    customer who weighs w > 1 times the mean has w^2 times less.

    `common` scales every row besides; it is 1 unless the passes did not meet the bound.
    """

    factor: F64
    target: float
    common: float

    def shrink(self, block: F64, heaviness: F64 | None = None) -> int:
        """Scale the rows of `block` (n x d) in place; returns how many were scaled. `heaviness` (n,): w of each row,
        none given: 1."""
        shrunk = 0
        for start, part in _chunks(block):
            found = _row_leverage(part, self.factor)
            target = np.full(len(part), self.target)
            if heaviness is not None:
                target /= np.square(heaviness[start : start + len(part)])
            over = found > target
            scale = np.full(len(part), self.common)
            scale[over] *= np.sqrt(target[over] / found[over])
            part *= scale[:, None]
            shrunk += int(np.count_nonzero(scale < 1.0))
        return shrunk


@dataclass(frozen=True)
class LeverageReport:
    """Rows that were scaled, passes used, the factor on all rows (1 unless the passes ran out), the maximum left of a
    customer."""

    shrunk_rows: int
    passes: int
    common: float
    largest: float


def bound_leverage(
    block: F64, bound: float, penalty: float, customers: Customers | None = None
) -> tuple[LeverageBound, LeverageReport]:
    """Fit the bound on training rows `block` (n x d, n and d at least 1) and scale them in place.

    `bound` in (0, 1], `penalty` lambda > 0. `customers`: whose the rows are; none given: one row each. On return every
    customer of `block` has leverage <= bound under the Gram matrix of `block` itself.
    """
    assert 0 < bound <= 1
    assert penalty > 0
    owners = Customers.one_row_each(len(block)) if customers is None else customers
    assert owners.total == len(block)
    ridge, heaviness = penalty * len(owners), None if owners.alone else owners.heaviness()
    fitted = LeverageBound(_factor(block, ridge), bound * MARGIN / float(owners.rows.mean()), 1.0)
    original = block.copy()
    for done in range(1, MOST_PASSES + 1):
        block[:] = original
        shrunk = fitted.shrink(block, heaviness)
        after = _factor(block, ridge)
        largest = _largest(block, after, owners)
        if largest <= bound:
            return fitted, LeverageReport(shrunk, done, 1.0, largest)
        fitted = LeverageBound(after, fitted.target, 1.0)
    block[:] = original
    fitted.shrink(block, heaviness)
    common = _common_scale(block, bound, ridge, owners)
    fitted = LeverageBound(fitted.factor, fitted.target, common)
    block[:] = original
    shrunk = fitted.shrink(block, heaviness)
    return fitted, LeverageReport(shrunk, MOST_PASSES, common, _largest(block, _factor(block, ridge), owners))


def _common_scale(block: F64, bound: float, ridge: float, owners: Customers) -> float:
    """A factor on all rows that meets the bound: scaling by s is a ridge of ridge / s^2, so leverage falls with s."""
    scale = 1.0
    while _largest(block, _factor(block, ridge / scale**2), owners) > bound * MARGIN:
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


def _largest(block: F64, factor: F64, owners: Customers) -> float:
    """Of a customer: its rows together, times what it weighs."""
    found = owners.sums(np.concatenate([np.square(part @ factor).sum(axis=1) for _, part in _chunks(block)]))
    return float(np.max(found * np.maximum(owners.weights, 1.0)))


def _chunks(block: F64) -> Iterator[tuple[int, F64]]:
    """Some rows after the others, and where they begin."""
    for start in range(0, len(block), _CHUNK_ROWS):
        yield start, block[start : start + _CHUNK_ROWS]
