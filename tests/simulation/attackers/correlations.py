"""The best attacker on correlations: who brings flags made to measure, and wants one value of another party's column.

Flags of two groups and of both groups together with one customer more: the sums of the other's column over these groups
follow from three correlations, and what the third has more than the first two is the value of that one customer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
GROUP = 20      # customers in each group: the minimum support of a flag
FLAGS = 3


def flags(rows: int, targets: NDArray[np.int64]) -> F64:
    """(rows, 3 for each target): who is in the first group, the second, and in either or the target."""
    made = np.zeros((rows, FLAGS * len(targets)))
    others = np.setdiff1d(np.arange(rows), targets)
    for k, target in enumerate(targets):
        first, second = np.roll(others, -k * GROUP)[:GROUP], np.roll(others, -(k + len(targets)) * GROUP)[:GROUP]
        made[first, FLAGS * k] = made[second, FLAGS * k + 1] = 1.0
        made[np.concatenate([first, second, [target]]), FLAGS * k + 2] = 1.0
    return made


def shown(made: F64, column: F64, bits: int | None) -> F64:
    """The correlation of each flag with `column`, rounded to `bits` after the point; None: as it is."""
    exact = np.array([np.corrcoef(flag, column)[0, 1] for flag in made.T])
    return exact if bits is None else np.rint(exact * 2.0**bits) / 2.0**bits


def values(made: F64, correlations: F64) -> F64:
    """The standardised value of each target in the other's column."""
    sums = correlations * made.std(axis=0) * len(made)
    return np.asarray(sums[2::FLAGS] - sums[0::FLAGS] - sums[1::FLAGS])


def read_right(rows: int, targets: int, bits: int | None, seed: int) -> float:
    """The share of targets whose value is found to a tenth of a standard deviation."""
    draw = np.random.default_rng(seed)
    column, chosen = draw.normal(size=rows), draw.choice(rows, targets, replace=False)
    column = (column - column.mean()) / column.std()
    made = flags(rows, chosen)
    return float((np.abs(values(made, shown(made, column, bits)) - column[chosen]) < 0.1).mean())
