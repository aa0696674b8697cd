"""The best attacker on two jobs whose training sets differ by one customer: the owner of some columns has its weights
of both, knows who is in one set only, and wants that customer's outcome.

Between the two optima the gradient of the owner's columns changes by the customer's residual times its row. The Hessian
of the owner's block at even odds turns the change of weights into a change of gradients, and the row that is known says
with which sign the residual stands in it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
CURVATURE = 0.1      # about p (1 - p): only the sign of what follows is read


def is_bad(own: F64, row: F64, penalty: float, with_it: F64, without_it: F64) -> bool:
    """Whether the customer of this `row` of the `own` columns is bad. Weights of these columns, of the two jobs: bad
    customers pull the score up where they are."""
    hessian = CURVATURE * own.T @ own + penalty * len(own) * np.eye(own.shape[1])
    return bool(row @ hessian @ (with_it - without_it) > 0)
