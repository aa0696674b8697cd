"""The best attacker on counts: a feature holder that knows which of its customers is in which bin, and is told how many
bad ones there are in each, wants the outcome of each customer.

A count is a linear equation on outcomes. Among all answers to the equations the likeliest under even odds is the one
nearest to the bad rate, and so it ranks the customers; rounding it to as many bad ones as there are decides them all.
Sparse outcomes need far fewer equations than customers (Donoho, "Compressed sensing", IEEE Trans. IT 2006), so the
number of equations is what a budget has to bound.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]


def equations(bins: Sequence[NDArray[np.integer]]) -> F64:
    """(bins of all columns, customers): who is counted where. `bins`: per column the bin of each customer."""
    return np.concatenate([(column == np.unique(column)[:, None]).astype(np.float64) for column in bins])


def told(bins: Sequence[NDArray[np.integer]], bad: NDArray[np.bool_]) -> F64:
    """What the label holder answers: the bad customers of each bin, in the order of `equations`."""
    return equations(bins) @ bad


def likeliest(bins: Sequence[NDArray[np.integer]], counts: F64) -> F64:
    """Per customer how likely it is bad, by the answer of least change from the bad rate."""
    known = equations(bins)
    rate = counts[: len(np.unique(bins[0]))].sum() / known.shape[1]
    change = np.linalg.lstsq(known, counts - rate * known.sum(axis=1), rcond=None)[0]
    return np.asarray(rate + change)


def found(bins: Sequence[NDArray[np.integer]], bad: NDArray[np.bool_]) -> float:
    """The share of the bad customers among as many of the most suspect ones."""
    score = likeliest(bins, told(bins, bad))
    return float(bad[np.argsort(-score, kind="stable")[: bad.sum()]].mean())
