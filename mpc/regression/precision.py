"""How many bits everything gets: scales, shifts and budgets of one training run, from public sizes only.

Every quantity is an integer in Z_2^64 (log-odds mod 2^37). Real values and their integers:
  x   standardised feature        x_int = round(x s),        s = floor(32767 / clip), |x_int| < 2^15
  w   weight                      w_int = w U / s,           U = 2^37 / period, so X_int w_int = z U
  e   sigma(z) - y                e_int = e E,               E = `residual_scale`, a power of two
  g   mean gradient               X_coarse^T e_int = g n s' E, by `gradient_shift` to h = g `gradient_unit`
Traffic is the bits of the cosines, and these follow from the noise that the weights may have (`NOISE`). Where rows are
weighted, s of mean 1, e is s (sigma(z) - y): its root mean square grows by that of s, and so does its noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mpc.correlated_randomness.kinds import TrigPlan
from mpc.errors import LocalError
from mpc.link import PartyId
from mpc.regression.sigmoid import SineSeries, chosen
from mpc.regression.weighting import Weighting

ENTRY_BITS = 16            # of the feature matrix in the forward pass
BACKWARD_BITS = (11, 15)   # and in the backward pass: the fewest and the most, see `coarse`
SQUARED_BITS = 30          # a step of this length or more is no step to converge with; its square might wrap
SAFE_BITS = 61             # |value| < 2^61 before a truncation (which needs < 2^62)
RESIDUAL_BOUND = 1.75      # |e| with the rounding noise of the correlations
COLUMN_BOUND = 1.1         # root mean square of a standardised column; winsorising only makes it smaller than 1
WEIGHT_BOUND = 2.36        # |w| sqrt(penalty): without an offset 1.18 at the optimum, as log 2 at 0; twice on the way
NOISE = 1e-3               # what rounding adds to a weight, standard deviation along the worst direction
TRIG_BITS_MAX = 15         # of any cosine
LEAST_GAIN = 0.01          # of the variance: a bit that removes less is not worth its traffic
LEAD_BITS = (2, 12)        # of the first party's cosines, which are free: as the residual's scale allows
RESIDUAL_BITS = (20, 40)   # of 1.0: below, the gradient would be coarse; above, nothing is gained
GRADIENT_BITS = 25         # of a mean gradient of 1.0 after its truncation


@dataclass(frozen=True)
class Precision:
    """The whole plan; equal at all parties because it depends on agreed and public values only."""

    parties: int
    rows: int
    clip: float
    penalty: float
    curvature: float       # c, the public prior of p (1 - p)
    series: SineSeries
    x_scale: int
    backward_bits: int
    residual_scale: int
    gradient_shift: int
    trig: TrigPlan
    row_weight: float = 1.0  # root mean square of the rows' weights, as expected

    @property
    def weight_unit(self) -> float:
        return self.series.unit / self.x_scale

    @property
    def gradient_unit(self) -> float:
        """Integer h per 1.0 of mean gradient."""
        return float(self.rows) * self.residual_scale * self.coarse_scale / 2.0**self.gradient_shift

    @property
    def sum_unit(self) -> float:
        """Integer per 1.0 of X^T e."""
        return self.residual_scale * self.coarse_scale

    @property
    def penalty_factor(self) -> int:
        """w_int times this is penalty * w in the unit of X_int^T e_int."""
        return round(self.penalty * self.rows * self.residual_scale * self.coarse_scale / self.weight_unit)

    @property
    def coarse_scale(self) -> float:
        """Integer per 1.0 of a feature in the backward pass."""
        return self.x_scale / 2.0 ** (ENTRY_BITS - self.backward_bits)

    def coarse(self, matrix: NDArray[np.int16]) -> NDArray[np.int16]:
        """The matrix for X^T e, `backward_bits` an entry. Its rounding is independent of e, so at 11 bits it moves a
        coefficient by about a thousandth of its standard error; the bits that it frees make the residual finer."""
        half = 1 << (ENTRY_BITS - self.backward_bits - 1)
        return ((matrix.astype(np.int32) + half) >> (ENTRY_BITS - self.backward_bits)).astype(np.int16)

    @property
    def residual_noise(self) -> float:
        """Standard deviation of what rounded cosines and the coefficient table add to one residual, in a row
        of weight 1."""
        return residual_noise(self.trig, self.series, self.residual_scale)

    def step_noise(self, width: int) -> float:
        """About the length of that noise in one preconditioned step, standardised weights: of H^-1 X^T noise / n where
        columns do not hang together; collinear columns add."""
        noise = self.row_weight * self.residual_noise
        return noise * math.sqrt(width / self.rows) / (self.curvature + self.penalty)

    def standardised(self, matrix: NDArray[np.int16]) -> bool:
        """Whether the columns are as small as the bit budget takes them to be."""
        squares = np.zeros(matrix.shape[1])
        for start in range(0, len(matrix), 1 << 16):
            squares += (matrix[start : start + (1 << 16)].astype(np.float64) ** 2).sum(axis=0)
        return bool((squares <= len(matrix) * (COLUMN_BOUND * self.x_scale) ** 2).all())


def residual_noise(trig: TrigPlan, series: SineSeries, residual_scale: int) -> float:
    """As Precision.residual_noise."""
    return math.sqrt(sum(_variance(trig, k, b, residual_scale) for k, b in enumerate(series.coefficients)))


def _variance(trig: TrigPlan, index: int, coefficient: float, residual_scale: int) -> float:
    """Of one harmonic: rounded cosines, and a coefficient off by 1/12 of a unit squared, times C^2 + S^2."""
    return (coefficient * trig.noise(index)) ** 2 + (trig.gain(index) / residual_scale) ** 2 / 12


def _trig_plan(
    parties: int, residual_scale: int, series: SineSeries, target: float, scaled_by: PartyId | None
) -> TrigPlan:
    """The fewest bits whose noise stays below `target`, or, if the residual's scale does not carry that, the bits of
    least noise. The next bit always goes where it removes most."""
    found: list[tuple[bool, float, TrigPlan]] = []
    for lead in range(LEAD_BITS[1], LEAD_BITS[0] - 1, -1):
        bits = [1] * len(series.coefficients)
        while True:
            plan = TrigPlan(parties, tuple(bits), lead, scaled_by=scaled_by)
            more = replace(plan, bits=tuple(b + 1 for b in bits))
            now = [_variance(plan, k, b, residual_scale) for k, b in enumerate(series.coefficients)]
            noise = math.sqrt(sum(now))
            gains = [v - _variance(more, k, b, residual_scale)
                     for k, (v, b) in enumerate(zip(now, series.coefficients, strict=True))]
            best = max(range(len(bits)), key=gains.__getitem__)
            if noise <= target or gains[best] <= sum(now) * LEAST_GAIN or max(bits) == TRIG_BITS_MAX:
                break
            bits[best] += 1
        missed = noise > target
        found.append((missed, noise if missed else float(sum(bits)), plan))
    return min(found, key=lambda entry: entry[:2])[2]


def _longest(series: SineSeries, has_offset: bool, lean: float) -> float:
    """Of |w| sqrt(penalty), squared in proportion to the objective at 0: with an offset that is at most log 2 and the
    offset's range, since weights of rows have mean 1. A linear term of length `lean` = |b| / (n sqrt(penalty)) lowers
    the objective at the optimum: from u^2 / 2 <= objective at 0 + lean u."""
    without = WEIGHT_BOUND * math.sqrt(1 + series.valid / math.log(2)) if has_offset else WEIGHT_BOUND
    return 2 * lean + math.sqrt(4 * lean**2 + without**2)


def plan_precision(
    parties: int, rows: int, clip: float, penalty: float, expected_default_rate: float, sigmoid: str,
    weighting: Weighting | None = None, has_offset: bool = False, pull: float = 0.0,
) -> Precision:
    """The plan for a run; LocalError when the bits do not suffice. `pull`: length of the linear term over n
    (mpc.regression.perturbation)."""
    largest_mean_square, row_weight, weighs = 1.0, 1.0, None
    if weighting is not None:
        largest_mean_square, row_weight, weighs = weighting.largest, math.sqrt(weighting.mean_square), weighting.by
    series, curvature = chosen(sigmoid, expected_default_rate), expected_default_rate * (1 - expected_default_rate)
    x_scale, longest = int(32767 // clip), _longest(series, has_offset, pull / math.sqrt(penalty))
    # Along a direction in which X^T X / n has the eigenvalue m, noise s of the residuals gives the weights
    # s sqrt(m / n) / (c m + penalty); that is largest at c m = penalty.
    target = 2 * NOISE * math.sqrt(curvature * penalty * rows) / row_weight
    for backward_bits in range(BACKWARD_BITS[1], BACKWARD_BITS[0] - 1, -1):
        coarse_scale = x_scale / 2.0 ** (ENTRY_BITS - backward_bits)
        # |X^T e| <= n sqrt(mean x^2) sqrt(mean e^2), by Cauchy and Schwarz; the penalty's gradient and the linear term
        # are added to it.
        residual = RESIDUAL_BOUND * math.sqrt(largest_mean_square)
        largest = residual * COLUMN_BOUND + math.sqrt(penalty) * longest + pull
        room = SAFE_BITS - math.log2(rows * coarse_scale * largest)
        residual_scale = 1 << max(0, min(RESIDUAL_BITS[1], int(room)))
        trig = _trig_plan(parties, residual_scale, series, target, weighs)
        if residual_noise(trig, series, residual_scale) <= target:
            break
    gradient_shift = int(math.log2(rows * residual_scale * coarse_scale)) - GRADIENT_BITS
    if residual_scale < 1 << RESIDUAL_BITS[0] or gradient_shift < 1:
        raise LocalError(f"{rows} rows do not fit the bit budget of training", "train on fewer rows, not on very few")
    return Precision(
        parties=parties, rows=rows, clip=clip, penalty=penalty, curvature=curvature, series=series, x_scale=x_scale,
        backward_bits=backward_bits, residual_scale=residual_scale, gradient_shift=gradient_shift, trig=trig,
        row_weight=row_weight,
    )
