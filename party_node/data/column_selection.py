"""Which of a party's own binned columns enter the model: those that say something, and do not say it twice.

Values are weights of evidence of the training rows. Within one party only; it knows no label beyond the counts of bins.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from party_node.data.binned_column import BinnedColumn
from party_node.data.sources.table import F64

_ALIKE = 1e-12


def select(
    columns: Sequence[BinnedColumn],
    values: F64,
    *,
    minimum_information: float,
    maximum_correlation: float = 1.0,
    maximum_inflation: float | None = None,
) -> dict[int, str]:
    """Index and reason of each column to leave out; `values` (n x d).

    One bin, or an information value below the minimum; then, from the greatest information value down, a correlation
    above the maximum with a column that stays (1: none is too great); then, while a variance inflation factor, the
    diagonal of the inverse correlation matrix, is above the maximum, the column with the greatest.
    """
    left_out: dict[int, str] = {}
    for j, column in enumerate(columns):
        if len(column.good) == 1:
            left_out[j] = "no bins are worth their information value"
        elif column.information < minimum_information:
            left_out[j] = f"information value below {minimum_information:g}"
    order = sorted(set(range(len(columns))) - set(left_out), key=lambda j: (-columns[j].information, j))
    if not order:
        return left_out
    correlation = np.atleast_2d(np.corrcoef(values[:, order], rowvar=False))
    kept: list[int] = []
    for place, j in enumerate(order):
        near = [k for k in kept if abs(correlation[place, k]) > maximum_correlation + _ALIKE]
        if near:
            left_out[j] = f"correlation above {maximum_correlation:g} with `{columns[order[near[0]]].name}`"
        else:
            kept.append(place)
    while maximum_inflation is not None and len(kept) > 1:
        factors = inflation(correlation[np.ix_(kept, kept)])
        worst = len(kept) - 1 - int(np.argmax(factors[::-1]))      # of equals the one that says least
        if factors[worst] <= maximum_inflation:
            break
        left_out[order[kept.pop(worst)]] = f"variance inflation above {maximum_inflation:g}"
    return left_out


def inflation(correlation: F64) -> F64:
    """Variance inflation factors, the diagonal of the inverse; infinite where columns depend on one another."""
    values, vectors = np.linalg.eigh(correlation)
    with np.errstate(divide="ignore"):
        inverse = np.where(values > _ALIKE * len(values), 1 / values, np.inf)
    squares = vectors**2
    infinite = (squares[:, np.isinf(inverse)] > _ALIKE).any(axis=1)
    finite: F64 = squares[:, np.isfinite(inverse)] @ inverse[np.isfinite(inverse)]
    return np.where(infinite, np.inf, finite)
