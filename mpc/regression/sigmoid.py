"""The logistic function as a short sine series, so that it needs one opening of a masked value.

sigma(z) = 1/2 + sum_m b_m sin(2 pi m z / P), m odd; exact to `error` on |z| <= `valid`. Beyond P/2 the sign flips.
Fitted by linear programming on the stated range (minimax); Boura et al., FC 2018, for series on a masked argument.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PERIOD_BITS = 37  # one period of the series is exactly 2^37 units, so shares of z reduce mod 2^37 without error


@dataclass(frozen=True)
class SineSeries:
    """One table: coefficients of harmonics 1, 3, 5, ..., the period, and where it may be trusted."""

    coefficients: tuple[float, ...]
    period: float
    valid: float
    error: float

    @property
    def harmonics(self) -> tuple[int, ...]:
        return tuple(2 * k + 1 for k in range(len(self.coefficients)))

    @property
    def unit(self) -> float:
        """Ring units per 1.0 of log-odds."""
        return float(2**PERIOD_BITS / self.period)

    def __call__(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """The series in the clear, same shape as `z`."""
        angle = 2 * np.pi * np.asarray(z) / self.period
        terms = [b * np.sin(m * angle) for b, m in zip(self.coefficients, self.harmonics, strict=True)]
        return np.asarray(0.5 + np.sum(terms, axis=0))


SERIES = {
    "six": SineSeries((0.60803, 0.14343, 0.04751, 0.01684, 0.00567, 0.00196), 37.2, 12.0, 9.5e-4),
    "eight": SineSeries(
        (0.61786, 0.16392, 0.06547, 0.02768, 0.01174, 0.00504, 0.00217, 0.00109), 46.4, 16.0, 5.5e-4
    ),
    "twelve": SineSeries(
        (0.621587, 0.172439, 0.0741, 0.034071, 0.015883, 0.007432, 0.003473, 0.001629, 0.000761, 0.000355, 0.00017,
         0.000098),
        52.0, 16.0, 5.5e-5,
    ),
}
RARE = 0.1  # where one outcome is rarer, the error of "eight" is no longer small beside its share


def is_rare(expected_default_rate: float) -> bool:
    """Whether one of the two outcomes is."""
    return min(expected_default_rate, 1 - expected_default_rate) < RARE


def chosen(name: str, expected_default_rate: float) -> SineSeries:
    """The series `name` of a spec; "auto" is "eight", or "twelve" where defaults, or their absence, are rare."""
    if name == "auto":
        name = "twelve" if is_rare(expected_default_rate) else "eight"
    return SERIES[name]
