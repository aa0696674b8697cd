"""What the label holder alone knows of each row beside the outcome: what it weighs in the fit, and an offset of its
log-odds. Only the label holder calls it; no text here quotes a value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from party_node.data.sources.table import F64, NumericColumn, Table
from party_node.table_errors import DataError
from wire.spec.label import ClassWeights, LabelSpec

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Limits:
    """Public ones, of weights with mean 1: none is above `largest`, and all together are worth `least` rows of even
    weight at least, by Kish's measure [Survey Sampling, 1965]: (sum s)^2 / sum s^2."""

    largest: float
    least: float


def read_weights(
    table: Table, rows: NDArray[np.int64], bad: Bools, label: LabelSpec, limits: Limits
) -> tuple[F64, float]:
    """What each of the table's `rows` weighs, mean 1, and the logarithm of what a bad customer weighs over a good one,
    by which class weights raise the intercept. `bad`: their outcomes.

    Raises DataError: weights_values, weights_uneven.
    """
    own = np.ones(len(rows)) if label.weights is None else _weights(table, rows, label.weights, label.largest_weight)
    heavy, light = float(own[bad].sum()), float(own[~bad].sum())
    if isinstance(label.class_weights, ClassWeights):
        ratio = label.class_weights.bad / label.class_weights.good
    else:       # balanced: as much weight on one outcome as on the other
        ratio = light / heavy if label.class_weights == "balanced" else 1.0
    weights = own * np.where(bad, ratio, 1.0)
    weights /= weights.mean()
    if float(weights.max()) > limits.largest + 1e-6:     # the rows' own are as agreed: it is those of classes
        raise DataError(
            "weights_uneven", "one outcome is so rare in the development sample that its rows weigh more than agreed",
            "Set training.expected_default_rate nearer to the true rate.",
        )
    if float(weights.sum()) ** 2 < (1 - 1e-9) * limits.least * float(weights @ weights):
        raise DataError(
            "weights_uneven",
            "the weighted rows of the development sample are worth fewer rows than the minimum that was agreed",
            "Use more even weights or more customers, or lower minimum_intersection.",
        )
    return weights, float(np.log(ratio))


def _weights(table: Table, rows: NDArray[np.int64], name: str, largest: float) -> F64:
    found = _numbers(table, rows, name, "weights")
    light = int((found <= 0).sum())
    if light:       # a row of no weight would leave all that is promised about numbers of rows to the others
        raise DataError(
            "weights_values", f"column `{name}` holds no weight above 0 in {light} rows of the development sample",
            "Mend the table: a weight is above 0, and a row that shall not count is no row of the table.",
        )
    mean = float(found.mean())
    most = largest * (1 + 1e-9)                     # equal weights have a mean that may be off by a rounding
    if float(found.max()) > most * mean or float(found.min()) * most < mean:
        raise DataError(
            "weights_uneven", f"weights in column `{name}` are more than {largest:g} times as large or as small as "
            "their mean over the development sample",
            "Raise label.largest_weight in the job, or draw the weights together.",
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
