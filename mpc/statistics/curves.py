"""Curves that may leave a site: 20 points each, because a curve at full resolution ranks the labels.

The points lie at places fixed beforehand (shares of good customers, shares of all customers, equal-frequency
bins), never at the score of a customer. Conventions as in mpc/statistics/metrics.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mpc.statistics.logistic import F64
from mpc.statistics.metrics import RankCurve

CURVE_POINTS = 20


@dataclass(frozen=True)
class BinnedRoc:
    """True-positive rate at `points` equally spaced false-positive rates, 0 and 1 included."""

    false_positive_rate: F64
    true_positive_rate: F64


@dataclass(frozen=True)
class BinnedKs:
    """Shares of all bad and all good customers found among the riskiest `share` of customers."""

    share: F64
    bad: F64
    good: F64


def bad_above(curve: RankCurve, shares: F64) -> F64:
    """Bad customers among the riskiest `shares` of all (0..1), in proportion inside a run of equal scores."""
    found: F64 = np.interp(np.asarray(shares) * curve.depth[-1], curve.depth, curve.bad)
    return found


def binned_roc(curve: RankCurve, points: int = CURVE_POINTS) -> BinnedRoc:
    """The ROC read at fixed places; at a vertical piece its upper end."""
    fpr, tpr = curve.good / curve.good_total, curve.bad / curve.bad_total
    grid = np.linspace(0.0, 1.0, points)
    # np.interp takes the last of several points at one place, which is the upper end of a vertical piece.
    return BinnedRoc(grid, np.interp(grid, fpr, tpr))


def binned_ks(curve: RankCurve, points: int = CURVE_POINTS) -> BinnedKs:
    """The two cumulated shares whose largest distance is KS, read at fixed shares of customers."""
    share = np.linspace(0.0, 1.0, points)
    bad = bad_above(curve, share)
    good = share * curve.depth[-1] - bad
    return BinnedKs(share, bad / curve.bad_total, good / curve.good_total)
