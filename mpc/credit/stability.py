"""Stability: how far the distribution of a score or of a characteristic has moved between two periods.

The population stability index of shares e (base period) and a (now) is sum (a - e) ln(a / e): the same formula as an
information value, and so the same rule for empty cells (weight_of_evidence.py). Chance alone moves it: with k bins and
n and m rows it is about (1/n + 1/m) times a chi-square of k - 1 degrees of freedom when nothing changed (Yurdakul,
Statistical Properties of Population Stability Index, 2018), so `limit`, below which 95 of 100 such indices stay,
stands beside the value.
Refuses to know rows of two periods at once from different owners: each owner computes it for its own columns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from mpc.credit.fine_bins import numeric_bins
from mpc.credit.weight_of_evidence import I64, information_values
from mpc.errors import LocalError
from mpc.statistics.logistic import F64

SLIGHT, LARGE = 0.1, 0.25  # the trade's conventional marks (Siddiqi 2006, chapter 9)
SCORE_BINS = 10
_95 = NormalDist().inv_cdf(0.95)


class Shift(StrEnum):
    """How an index reads."""

    NONE = "no more than chance"
    SLIGHT = "slight"
    MODERATE = "moderate"
    LARGE = "large"


@dataclass(frozen=True)
class Stability:
    """An index, what each bin adds, and what chance alone would reach."""

    value: float
    parts: F64  # [k], never below 0
    limit: float
    base_rows: int
    rows: int

    @property
    def shift(self) -> Shift:
        """The reading: chance first, then the conventional marks."""
        if self.value <= self.limit:
            return Shift.NONE
        return Shift.SLIGHT if self.value < SLIGHT else Shift.MODERATE if self.value < LARGE else Shift.LARGE


def population_stability_index(base: ArrayLike, now: ArrayLike) -> Stability:
    """The index of two rows of counts over the same bins. LocalError: no customers in one of the periods."""
    old, new = np.asarray(base), np.asarray(now)
    if old.sum() == 0 or new.sum() == 0:
        raise LocalError("one of the two periods has no customers")
    parts = information_values(new, old)
    n, m = int(old.sum()), int(new.sum())
    filled = int(np.count_nonzero(old + new))
    limit = (1 / n + 1 / m) * chi_square_95(filled - 1)
    return Stability(float(parts.sum()), parts, limit, n, m)


def score_stability(base: F64, now: F64, bins: int = SCORE_BINS) -> Stability:
    """The index of a score, over equal-frequency bins of the base period's scores."""
    if len(base) == 0 or len(now) == 0:
        raise LocalError("one of the two periods has no customers")
    if not (bool(np.all(np.isfinite(base))) and bool(np.all(np.isfinite(now)))):
        raise LocalError("a score is not a finite number")
    cut = numeric_bins(base, most=bins, minimum_rows=1)
    return characteristic_stability(cut.codes(base), cut.codes(now), cut.count)


def characteristic_stability(base: I64, now: I64, bins: int) -> Stability:
    """The index of a characteristic from the bin of each row; rows in no bin (-1) are a bin of their own."""
    counts = [np.bincount(np.where(codes < 0, bins, codes), minlength=bins + 1) for codes in (base, now)]
    return population_stability_index(*counts)


def chi_square_95(degrees: int) -> float:
    """The 95 % point of chi-square, by Wilson & Hilferty 1931; 0 with no degree of freedom."""
    if degrees < 1:
        return 0.0
    spread = 2 / (9 * degrees)
    return degrees * (1 - spread + _95 * math.sqrt(spread)) ** 3
