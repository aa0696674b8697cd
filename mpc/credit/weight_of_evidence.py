"""Weight of evidence and information value from counts of good and bad customers per bin.

    weight of evidence of a bin   ln( (good / all good) / (bad / all bad) )        above 0: safer than the whole
    information value             sum over bins of (good / all good - bad / all bad) * weight of evidence

(Siddiqi, Credit Risk Scorecards, 2006, chapter 6.) The rule for empty cells: where a bin has customers but none
good, or none bad, both of its counts are raised by `EMPTY_CELL` first; the totals stay as counted, so no other bin
changes. A bin without customers weighs 0. Refuses to know rows, edges and names: it sees counts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mpc.errors import LocalError
from mpc.statistics.logistic import F64

EMPTY_CELL = 0.5

I64 = NDArray[np.int64]


def weight_of_evidence(good: ArrayLike, bad: ArrayLike) -> F64:
    """One weight per bin, [k]; the totals are the sums. LocalError: no good or no bad customer at all."""
    g, b = counted(good, bad)
    return weights_against(g, b, int(g.sum()), int(b.sum()))


def information_values(good: ArrayLike, bad: ArrayLike) -> F64:
    """What each bin adds to the information value, [k]; never below 0."""
    g, b = counted(good, bad)
    return information_against(g, b, int(g.sum()), int(b.sum()))


def information_value(good: ArrayLike, bad: ArrayLike) -> float:
    """The information value of the column."""
    return float(information_values(good, bad).sum())


def weights_against(good: I64, bad: I64, all_good: int, all_bad: int) -> F64:
    """Weights of evidence of any groups of customers against the totals of the whole, in the counts' shape."""
    g, b = _filled(good, bad, all_good, all_bad)
    weights: F64 = np.log(g * all_bad) - np.log(b * all_good)
    return weights


def information_against(good: I64, bad: I64, all_good: int, all_bad: int) -> F64:
    """What any groups of customers add to the information value against the totals of the whole."""
    g, b = _filled(good, bad, all_good, all_bad)
    weights: F64 = np.log(g * all_bad) - np.log(b * all_good)
    added: F64 = (g / all_good - b / all_bad) * weights
    return added


def counted(good: ArrayLike, bad: ArrayLike) -> tuple[I64, I64]:
    """The counts as int64; or a LocalError that names no count."""
    g, b = np.asarray(good), np.asarray(bad)
    if g.ndim != 1 or g.shape != b.shape or not all(np.issubdtype(part.dtype, np.integer) for part in (g, b)):
        raise LocalError("the counts of good and bad customers are not two rows of whole numbers of one length")
    g, b = g.astype(np.int64), b.astype(np.int64)
    if bool(np.any(g < 0)) or bool(np.any(b < 0)):
        raise LocalError("a count of customers is negative")
    if int(g.sum()) == 0 or int(b.sum()) == 0:
        raise LocalError(
            "all customers are good or all are bad, so there is nothing to tell apart",
            "Check the label column, its positive value and the rows that were selected.",
        )
    return g, b


def _filled(good: I64, bad: I64, all_good: int, all_bad: int) -> tuple[F64, F64]:
    """The counts with the rule for empty cells applied; a group without customers is like the whole: weight 0."""
    nobody = good + bad == 0
    raised = np.where((good == 0) != (bad == 0), EMPTY_CELL, 0.0)
    return np.where(nobody, all_good, good + raised), np.where(nobody, all_bad, bad + raised)
