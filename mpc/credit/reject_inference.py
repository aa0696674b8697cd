"""Reject inference: what a model of accepted applicants assumes of those who were declined. Assumptions, not data.

Nobody saw how a declined applicant would have paid. Each method here invents an outcome, and what is invented cannot be
tested on the rows at hand; `CAVEATS` belong beside every figure that uses one. (Siddiqi, Credit Risk Scorecards, 2006,
chapter 6; Crook & Banasik, Journal of Banking & Finance 28, 2004, find little or no gain from such methods.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mpc.credit.fine_bins import numeric_bins
from mpc.errors import LocalError
from mpc.rng import Rng
from mpc.statistics.logistic import F64
from mpc.statistics.metrics import checked


class Method(StrEnum):
    """How outcomes are invented."""

    SIMPLE_AUGMENTATION = "simple augmentation"
    PARCELLING = "parcelling"


CAVEATS = {
    Method.SIMPLE_AUGMENTATION: (
        "The outcome of declined applicants was never observed: these labels are assumed.",
        "The riskiest are labelled bad by the very score that is judged afterwards: figures on these rows flatter it, "
        "and are no evidence.",
        "The assumed bad rate of the declined is a guess: try several and report all.",
    ),
    Method.PARCELLING: (
        "The outcome of declined applicants was never observed: these labels are assumed.",
        "Within a band of the score the declined are taken to be as bad as the accepted, times a factor. If they were "
        "declined for reasons that the score does not see, they are worse by an unknown amount.",
        "Declined applicants beyond the riskiest accepted ones get the bad rate of the last band: an extrapolation.",
        "The factor is a guess: try several and report all.",
    ),
}


@dataclass(frozen=True, repr=False)
class Inferred:
    """Invented outcomes of declined applicants, [n], and the share of bad that was assumed for each."""

    method: Method
    outcome: NDArray[np.bool_]
    assumed: F64

    @property
    def caveats(self) -> tuple[str, ...]:
        """What has to be said wherever these outcomes are used."""
        return CAVEATS[self.method]


def simple_augmentation(declined: ArrayLike, bad_rate: float) -> Inferred:
    """The riskiest `bad_rate` of the declined are taken to be bad, the others good; equal scores by row position.

    `declined` [n] log-odds of being bad by the model of the accepted.
    """
    z = _scores(declined)
    if not 0.0 <= bad_rate <= 1.0:
        raise LocalError("the assumed bad rate of declined applicants lies between 0 and 1")
    outcome = np.zeros(len(z), dtype=bool)
    outcome[np.argsort(-z, kind="stable")[: round(bad_rate * len(z))]] = True
    return Inferred(Method.SIMPLE_AUGMENTATION, outcome, outcome.astype(np.float64))


def parcelling(
    outcome: ArrayLike, accepted: ArrayLike, declined: ArrayLike, rng: Rng, *, factor: float = 1.0, bands: int = 10
) -> Inferred:
    """In each band of the score as many declined are bad, picked at random, as `factor` times the accepted's rate.

    outcome, accepted [n] of the accepted applicants (bands hold about equally many of them); declined [m].
    """
    y, z = checked(outcome, accepted)
    others = _scores(declined)
    if not 0.0 < factor < np.inf:
        raise LocalError("the factor on the bad rate of declined applicants is a number above 0")
    cut = numeric_bins(z, most=bands, minimum_rows=1)
    home, place = cut.codes(z), cut.codes(others)
    rates = np.bincount(home, weights=y, minlength=cut.count) / np.bincount(home, minlength=cut.count)
    assumed = np.minimum(factor * rates, 1.0)[place]
    bad = np.zeros(len(others), dtype=bool)
    for band in range(cut.count):
        rows = np.flatnonzero(place == band)
        if rows.size:
            order = np.argsort(rng.ring(len(rows)), kind="stable")
            bad[rows[order[: round(float(assumed[rows[0]]) * len(rows))]]] = True
    return Inferred(Method.PARCELLING, bad, assumed)


def sensitivity(
    outcome: ArrayLike, accepted: ArrayLike, declined: ArrayLike, factors: Sequence[float], bands: int = 10
) -> dict[float, float]:
    """factor -> bad rate of all applicants, accepted and declined, under parcelling: how far the guess carries."""
    y, _ = checked(outcome, accepted)
    found = {}
    for factor in factors:
        assumed = parcelling(outcome, accepted, declined, Rng(bytes(32)), factor=factor, bands=bands).assumed
        found[factor] = float(y.sum() + assumed.sum()) / (len(y) + len(assumed))
    return found


def _scores(values: ArrayLike) -> F64:
    z = np.asarray(values, dtype=np.float64)
    if z.ndim != 1 or z.size == 0 or not bool(np.all(np.isfinite(z))):
        raise LocalError("declined applicants need one finite score each, and at least one of them")
    return z
