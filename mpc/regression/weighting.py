"""How unequal the weights of rows may be, from public values only: what the bits of a weighted run follow from.

Weights are the label holder's; here nobody knows one. They have mean 1 over the training rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mpc.link import PartyId

Classes = Callable[[float], tuple[float, float]]  # default rate -> what a bad and a good customer weigh

FAR = 10.0    # the true rate of the rarer outcome, and of the other, may be so many times rarer than expected
SPREAD = 2.0  # mean square of weights of which only the largest is agreed: as if they scatter by as much as their mean


@dataclass(frozen=True)
class Weighting:
    """`by` weighs the rows. `largest`: no weight is above it, and so no mean square either, since the mean is 1: the
    room that residuals need. `mean_square`: what is expected of it, by which noise is planned."""

    by: PartyId
    largest: float
    mean_square: float


def weighting(by: PartyId, rate: float, classes: Classes, largest: float | None) -> Weighting:
    """Of weights of classes, at an expected default rate, times weights of rows of which none is above `largest` times
    their mean (None: there are none). Either outcome may be `FAR` times rarer than expected."""
    bound = max(max(classes(p)) / _mean(p, classes) for p in (rate / FAR, rate, 1 - (1 - rate) / FAR))
    bad, good = classes(rate)
    square = (rate * bad**2 + (1 - rate) * good**2) / _mean(rate, classes) ** 2
    if largest is not None:
        bound, square = bound * largest, square * min(SPREAD, largest)
    return Weighting(by, bound, square)


def balanced(rate: float) -> tuple[float, float]:
    """Weights of a bad and a good customer with which both classes weigh the same, and all together as without."""
    return 1 / (2 * rate), 1 / (2 * (1 - rate))


def weighted_rate(rate: float, classes: Classes) -> float:
    """The share of bad customers by weight."""
    return rate * classes(rate)[0] / _mean(rate, classes)


def _mean(rate: float, classes: Classes) -> float:
    bad, good = classes(rate)
    return rate * bad + (1 - rate) * good
