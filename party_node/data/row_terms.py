"""What the label holder alone knows of each row beside the outcome: what it weighs in the fit, and an offset of its
log-odds. Only the label holder calls it; no text here quotes a value.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from party_node.data.errors import DataError
from party_node.data.table import F64, NumericColumn, Table
from wire.label_spec import ClassWeights, LabelSpec

Bools = NDArray[np.bool_]


def read_weights(table: Table, rows: NDArray[np.int64], bad: Bools, label: LabelSpec) -> tuple[F64, float]:
    """What each of the table's `rows` weighs, mean 1, and the logarithm of what a bad customer weighs over a good one,
    by which class weights raise the intercept. `bad`: their outcomes.

    Raises DataError: weights_values, weights_uneven, weights_one_sided.
    """
    own = np.ones(len(rows)) if label.weights is None else _weights(table, rows, label.weights, label.largest_weight)
    heavy, light = float(own[bad].sum()), float(own[~bad].sum())
    if not (heavy > 0 and light > 0):
        raise DataError(
            "weights_one_sided", f"all training rows of one outcome weigh nothing in column `{label.weights}`",
            "A model needs both outcomes: mend the weights.",
        )
    if isinstance(label.class_weights, ClassWeights):
        ratio = label.class_weights.bad / label.class_weights.good
    else:       # balanced: as much weight on one outcome as on the other
        ratio = light / heavy if label.class_weights == "balanced" else 1.0
    weights = own * np.where(bad, ratio, 1.0)
    return weights / weights.mean(), float(np.log(ratio))


def _weights(table: Table, rows: NDArray[np.int64], name: str, largest: float) -> F64:
    found = _numbers(table, rows, name, "weights")
    if bool((found < 0).any()):
        raise DataError(
            "weights_values", f"column `{name}` holds negative weights in {int((found < 0).sum())} training rows",
            "Mend the table: a weight is a number from 0 on.",
        )
    mean = float(found.mean())
    if mean > 0 and float(found.max()) > largest * mean:
        raise DataError(
            "weights_uneven", f"weights in column `{name}` are more than {largest:g} times their mean over the "
            "training rows", "Raise label.largest_weight in the job, or cap the weights.",
        )
    return found


def read_offset(table: Table, rows: NDArray[np.int64], name: str, valid: float = math.inf) -> F64:
    """What is added to the log-odds of each of the table's `rows`.

    Raises DataError offset_values, offset_range: beyond +-`valid` the sigmoid is not exact.
    """
    found = _numbers(table, rows, name, "offset")
    if bool((np.abs(found) > valid).any()):
        raise DataError(
            "offset_range", f"column `{name}` holds offsets beyond +-{valid:g} of log-odds",
            "Mend the offsets: they are log-odds, not probabilities or percentages.",
        )
    return found


def _numbers(table: Table, rows: NDArray[np.int64], name: str, what: str) -> F64:
    column = table.column(name)
    if not isinstance(column, NumericColumn):
        raise DataError(f"{what}_values", f"column `{name}` holds text where {what} are numbers", "Mend the table.")
    values: F64 = column.values[rows]
    absent = int(np.isnan(values).sum())
    if absent:
        raise DataError(
            f"{what}_values", f"column `{name}` holds no value in {absent} of the rows that the job uses",
            "Complete the column: a row without it can be neither weighed nor left out unseen.",
        )
    return values
