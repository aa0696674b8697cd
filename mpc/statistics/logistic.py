"""Plain L2 logistic regression, exact: the label holder's own fit and start, and the joint fit's ideal.

objective(w) = sum_l s_l loss_l(w) / sum_l s_l + lambda/2 |w|^2, the intercept's column left out of |w|;
this is sklearn's LogisticRegression with C = 1 / (lambda sum_l s_l). A linear term a^T w may be added. Refuses to know
parties, shares and files: it sees one table in the clear, which only a label holder's own site (or a test) has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mpc.errors import LocalError

F64 = NDArray[np.float64]

_BLOCK = 65_536  # rows per pass of the Hessian, so that a long table is not copied whole


@dataclass(frozen=True, repr=False)
class LogisticFit:
    """A fitted model, private to its owner: `weights` has one entry per column, in the columns' units."""

    weights: F64
    converged: bool
    iterations: int

    def __repr__(self) -> str:
        return "LogisticFit(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a fitted model is private and is never pickled")


def sigmoid(log_odds: F64) -> F64:
    """1 / (1 + exp(-z)), without overflow at either end."""
    small = np.exp(-np.abs(log_odds))
    return np.where(log_odds >= 0, 1.0, small) / (1.0 + small)


def log_losses(outcome: F64, log_odds: F64) -> F64:
    """-log of the probability given to what happened, per row, without overflow."""
    return np.logaddexp(0.0, log_odds) - outcome * log_odds


def outcome_vector(outcome: ArrayLike) -> F64:
    """Labels as 0.0 and 1.0; a label that is neither, or all labels alike, is a LocalError."""
    labels = np.asarray(outcome)
    if labels.ndim != 1:
        raise LocalError("the labels are not one column")
    values = labels.astype(np.float64)
    if not bool(np.all((values == 0.0) | (values == 1.0))):
        raise LocalError("a label is neither 0 nor 1", "Name the positive value of the label column.")
    if len(values) == 0 or bool(np.all(values == values[0])):
        raise LocalError(
            "all labels are equal, so there is nothing to tell apart",
            "Check the label column, its positive value and the rows that were selected.",
        )
    return values


def information(features: F64, log_odds: F64, sample_weights: F64) -> F64:
    """sum_l s_l p_l (1 - p_l) x_l x_l^T, [d, d]: the Hessian of the summed log-loss at these log-odds."""
    total = np.zeros((features.shape[1], features.shape[1]))
    for first in range(0, len(features), _BLOCK):
        rows = slice(first, first + _BLOCK)
        p = sigmoid(log_odds[rows])
        block = features[rows]
        total += block.T @ (block * (sample_weights[rows] * p * (1.0 - p))[:, None])
    return total


def fit_logistic(
    features: NDArray[Any],  # any real dtype; converted once
    outcome: ArrayLike,
    penalty: float,
    intercept: int | None,
    *,
    sample_weights: ArrayLike | None = None,
    offset: F64 | None = None,
    linear: F64 | None = None,
    start: F64 | None = None,
    max_iterations: int = 100,
    tolerance: float = 1e-9,
) -> LogisticFit:
    """The minimum of the penalised mean log-loss, by Newton steps with a line search.

    features [n, d]; outcome [n] of 0/1 or bool; `penalty` is lambda; `intercept` is the index of the column
    of ones, which is not penalised (None: there is none); `offset` [n] is added to the log-odds, not fitted;
    `linear` [d] is a of the linear term.
    Converged: every component of the gradient is below `tolerance` times the root mean square of its column.
    With penalty 0 and separable labels there is no minimum: `converged` is then False.
    LocalError: shapes that do not fit, values that are not finite, labels that are all equal, penalty < 0.
    """
    table, y, s, base = _checked(features, outcome, penalty, intercept, sample_weights, offset)
    count = table.shape[1]
    ridge = np.full(count, float(penalty))
    if intercept is not None:
        ridge[intercept] = 0.0
    w = np.zeros(count) if start is None else np.array(start, dtype=np.float64)
    a = np.zeros(count) if linear is None else linear
    if w.shape != (count,) or a.shape != (count,):
        raise LocalError("the starting point or the linear term has another length than the columns")
    size = np.sqrt(np.einsum("ij,ij,i->j", table, table, s)) + np.finfo(np.float64).tiny

    z = base + table @ w
    value = _objective(y, z, s, ridge, a, w)
    for iteration in range(max_iterations):
        gradient = table.T @ (s * (sigmoid(z) - y)) + ridge * w + a
        step = _newton_step(information(table, z, s) + np.diag(ridge), gradient)
        slope = float(gradient @ step)
        # Separable labels without a penalty: the gradient vanishes at infinity, but every step still halves
        # the objective or better; so a step that promises at most a millionth of it is asked for too.
        if bool(np.all(np.abs(gradient) <= tolerance * size)) and slope <= 1e-6 * abs(value):
            return LogisticFit(w, True, iteration)
        moved = table @ step
        length = 1.0
        while True:
            candidate = _objective(y, z - length * moved, s, ridge, a, w - length * step)
            # Near the minimum the decrease drowns in rounding: a few ulps of slack let the last step through.
            if candidate <= value - 1e-4 * length * slope + 1e-14 * abs(value):
                break
            length /= 2.0
            if length < 1e-10:
                return LogisticFit(w, False, iteration)
        w, z, value = w - length * step, z - length * moved, candidate
    return LogisticFit(w, False, max_iterations)


def _checked(
    features: NDArray[Any],  # as given by the caller
    outcome: ArrayLike,
    penalty: float,
    intercept: int | None,
    sample_weights: ArrayLike | None,
    offset: F64 | None,
) -> tuple[F64, F64, F64, F64]:
    """The inputs as float64, sample weights scaled to sum 1; or a LocalError."""
    table = np.asarray(features, dtype=np.float64)
    y = outcome_vector(outcome)
    if table.ndim != 2 or len(table) != len(y):
        raise LocalError("the feature table and the labels have different lengths")
    if penalty < 0 or not np.isfinite(penalty):
        raise LocalError("the penalty is negative or not a number")
    if intercept is not None and not 0 <= intercept < table.shape[1]:
        raise LocalError("there is no such intercept column")
    s = np.ones(len(y)) if sample_weights is None else np.asarray(sample_weights, dtype=np.float64)
    base = np.zeros(len(y)) if offset is None else np.asarray(offset, dtype=np.float64)
    if s.shape != y.shape or base.shape != y.shape:
        raise LocalError("the sample weights or offsets have another length than the labels")
    if not all(bool(np.all(np.isfinite(part))) for part in (table, s, base)):
        raise LocalError("a feature, sample weight or offset is not a finite number")
    if bool(np.any(s < 0)) or float(s.sum()) <= 0:
        raise LocalError("the sample weights are negative or all zero")
    outcome_vector(y[s > 0])
    return table, y, s / s.sum(), base


def _objective(y: F64, z: F64, s: F64, ridge: F64, linear: F64, w: F64) -> float:
    return float(s @ log_losses(y, z) + 0.5 * (ridge * w) @ w + linear @ w)


def _newton_step(hessian: F64, gradient: F64) -> F64:
    """hessian^-1 gradient, scaled to a unit diagonal first so that columns in other units do no harm."""
    scale = np.sqrt(np.diag(hessian))
    scale[scale == 0.0] = 1.0
    scaled = hessian / np.outer(scale, scale)
    try:
        solved: F64 = np.linalg.solve(scaled, gradient / scale)
    except np.linalg.LinAlgError:
        solved = np.linalg.lstsq(scaled, gradient / scale, rcond=None)[0]
    return solved / scale
