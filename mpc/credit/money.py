"""Money at a cut-off: expected and realised loss, profit, and champion against challenger, with intervals.

A customer whose log-odds of being bad are at most the cut is approved. A bad customer loses `loss_given_default` of
the exposure, a good one earns `margin` of it; a declined one brings nothing. Everything is per applicant, in the unit
of the exposure, with a 95 % bootstrap interval over applicants. The intervals know nothing of the terms: loss given
default and margin are inputs, and they are guesses with errors of their own. A cut-off that was chosen as the best on
the same rows is flattered by them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mpc.credit import cut_offs
from mpc.errors import LocalError
from mpc.rng import Rng
from mpc.statistics.intervals import AucComparison, Interval, bias_corrected, bootstrap, delong
from mpc.statistics.logistic import F64, sigmoid
from mpc.statistics.metrics import Ranking, checked

REPLICATES = 500


@dataclass(frozen=True)
class Terms:
    """What a loan loses and earns, as shares of its exposure."""

    loss_given_default: float
    margin: float

    def __post_init__(self) -> None:
        if not (0.0 < self.loss_given_default <= 1.0 and 0.0 < self.margin <= 1.0):
            raise LocalError(
                "loss given default and margin are shares above 0 and at most 1", "For example 0.6 and 0.08."
            )

    def profit(self, bad_rate: float) -> float:
        """Profit per unit approved at a bad rate: linear and falling."""
        return self.margin - (self.margin + self.loss_given_default) * bad_rate


@dataclass(frozen=True)
class CutOffMoney:
    """One cut-off. expected_loss is what the model predicts, loss what happened."""

    cut: float
    approval_rate: Interval
    expected_loss: Interval
    loss: Interval
    profit: Interval


@dataclass(frozen=True)
class Challenge:
    """Champion and challenger at one approval rate: ranking, profit per applicant, who changes places."""

    auc: AucComparison  # challenger - champion
    champion: Interval
    challenger: Interval
    difference: Interval
    swap: cut_offs.SwapSet  # joint_only: approved by the challenger alone

    @property
    def verdict(self) -> str:
        """A challenger replaces a champion only on a gain that chance does not explain."""
        if self.difference.low > 0.0:
            return "the challenger earns more"
        if self.difference.high < 0.0:
            return "the challenger earns less"
        return "no measurable difference in profit"


def money_at(
    outcome: ArrayLike,
    log_odds: ArrayLike,
    cuts: ArrayLike,
    terms: Terms,
    rng: Rng,
    *,
    exposure: ArrayLike | None = None,
    replicates: int = REPLICATES,
) -> list[CutOffMoney]:
    """Approval rate, expected loss, loss and profit at each cut; `exposure` [n] of each applicant (None: 1)."""
    y, z = checked(outcome, log_odds)
    lent = _exposures(exposure, len(y))
    at = np.unique(np.asarray(cuts, dtype=np.float64))
    if at.size == 0 or not bool(np.all(np.isfinite(at))):
        raise LocalError("cut-offs are finite numbers, at least one")
    order = np.argsort(z, kind="stable")
    approved = np.searchsorted(z[order], at, side="right")
    lost = terms.loss_given_default * lent * y
    worth = np.stack([np.ones(len(y)), terms.loss_given_default * lent * sigmoid(z), lost,
                      terms.margin * lent * (1.0 - y) - lost])[:, order]

    def statistics(times: F64) -> F64:
        sums = np.cumsum(worth * times[order], axis=1) / len(y)
        taken: F64 = np.where(approved > 0, sums[:, np.maximum(approved, 1) - 1], 0.0)
        return taken.ravel()

    value, drawn = bootstrap(y, statistics, rng, replicates)
    found = [bias_corrected(float(v), drawn[:, k]) for k, v in enumerate(value)]
    count = len(at)
    return [CutOffMoney(float(cut), *(found[row * count + k] for row in range(4))) for k, cut in enumerate(at)]


def challenge(
    outcome: ArrayLike,
    champion: ArrayLike,
    challenger: ArrayLike,
    terms: Terms,
    approval: float,
    rng: Rng,
    replicates: int = REPLICATES,
) -> Challenge:
    """Both models approve the same share of the same applicants, one unit each; equal scores share their bad."""
    if not 0.0 < approval < 1.0:
        raise LocalError("the approval rate must lie between 0 and 1")
    y, _ = checked(outcome, champion)
    rankings = [Ranking.of(outcome, scores) for scores in (champion, challenger)]

    def statistics(times: F64) -> F64:
        rates = [cut_offs.bad_rate_at_approval(ranking.curve(times), approval) for ranking in rankings]
        return np.array([approval * terms.profit(rate) for rate in rates])

    value, drawn = bootstrap(y, statistics, rng, replicates)
    return Challenge(
        delong(outcome, challenger, champion),
        bias_corrected(float(value[0]), drawn[:, 0]),
        bias_corrected(float(value[1]), drawn[:, 1]),
        bias_corrected(float(value[1] - value[0]), drawn[:, 1] - drawn[:, 0]),
        cut_offs.swap_set(outcome, challenger, champion, approval),
    )


def _exposures(exposure: ArrayLike | None, rows: int) -> F64:
    lent = np.ones(rows) if exposure is None else np.asarray(exposure, dtype=np.float64)
    if lent.shape != (rows,) or not bool(np.all(np.isfinite(lent) & (lent >= 0.0))):
        raise LocalError("exposures are one amount of at least 0 for each row")
    return lent
