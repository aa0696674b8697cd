"""The best attacker on two jobs whose training sets differ by one customer: the owner of some columns has its weights
of both, knows who is in one set only, and wants that customer's outcome.

Between the two optima the gradient of the owner's columns changes by the customer's residual times its row. The Hessian
of the owner's block at even odds of the bad rate turns the change of weights into a change of gradients, and the row
that is known says with which sign the residual stands in it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mpc.statistics.logistic import fit_logistic

F64 = NDArray[np.float64]
PENALTY = 1e-3
OTHERS = 4      # columns of the label holder besides the intercept


def outcome_signs(own: F64, row: F64, with_it: F64, without_it: F64, rate: float) -> float:
    """Above 0: the customer of this `row` is bad. Weights of the same columns of the two jobs."""
    hessian = rate * (1 - rate) * own.T @ own + PENALTY * len(own) * np.eye(own.shape[1])
    return float(row @ hessian @ (with_it - without_it))


def read_right(rows: int, columns: int, targets: int, noise: float, seed: int) -> float:
    """The share of right outcomes of `targets` customers, half of them bad. `noise`: deviation of the linear term that
    each job draws afresh, in all."""
    draw = np.random.default_rng(seed)
    features = np.column_stack([np.ones(rows), draw.normal(size=(rows, OTHERS + columns))])
    own = features[:, 1 + OTHERS :]
    score = features @ np.concatenate([[-2.0], draw.normal(scale=0.4, size=OTHERS + columns)])
    bad = draw.random(rows) < 1 / (1 + np.exp(-score))

    def weights(kept: NDArray[np.bool_]) -> F64:
        linear = np.concatenate([[0.0], draw.normal(scale=noise, size=OTHERS + columns)]) / kept.sum()
        fit = fit_logistic(features[kept], bad[kept], PENALTY, 0, linear=linear)
        return np.asarray(fit.weights[1 + OTHERS :])

    everybody = np.ones(rows, bool)
    whole, right = weights(everybody), 0
    chosen = np.concatenate([draw.choice(np.flatnonzero(bad == k), targets // 2, replace=False) for k in (False, True)])
    for target in chosen:
        rest = everybody.copy()
        rest[target] = False
        right += (outcome_signs(own, own[target], whole, weights(rest), bad.mean()) > 0) == bad[target]
    return right / len(chosen)
