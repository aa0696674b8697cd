"""How many bits everything gets: scales, shifts and budgets of one training run, from public sizes only.

Every quantity is an integer in Z_2^64 (log-odds mod 2^37). Real values and their integers:
  x   standardised feature        x_int = round(x s),        s = floor(32767 / clip), |x_int| < 2^15
  w   weight                      w_int = w U / s,           U = 2^37 / period, so X_int w_int = z U
  e   sigma(z) - y                e_int = e E,               E = `residual_scale`, a power of two
  g   mean gradient               (X_coarse^T e_int) = g n s/2^5 E, by `gradient_shift` to h = g `gradient_unit`
  M   preconditioner              step M h -> weight units,  scaled by 2^`step_shift`
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mpc.errors import LocalError
from mpc.sigmoid import SERIES, SineSeries

ENTRY_BITS = 16            # of the feature matrix in the forward pass
COARSE_BITS = 11           # and in the backward pass, see `coarse`
STEP_ENTRY_BITS = 28       # of the preconditioner
SQUARED_BITS = 30          # a step of this length or more is no step to converge with; its square might wrap
SAFE_BITS = 61             # |value| < 2^61 before a truncation (which needs < 2^62)
RESIDUAL_BOUND = 1.75      # |e| with the rounding noise of the correlations
STEP = 1.2                 # divided by the number of parties: the block-Jacobi eigenvalues lie in (0, N]
TRIG_BITS_MAX = 9          # of the first harmonic: more would cost traffic and show nothing
TRIG_BITS_FEW_ROWS = 10    # where rows are few, rounding noise averages less and traffic is small
FEW_ROWS = 10_000
RESIDUAL_BITS = (20, 40)   # of 1.0: below, the gradient would be coarse; above, nothing is gained


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
    residual_scale: int
    gradient_shift: int
    step_shift: int
    trig_bits: tuple[int, ...]

    @property
    def weight_unit(self) -> float:
        return self.series.unit / self.x_scale

    @property
    def gradient_unit(self) -> float:
        """Integer h per 1.0 of mean gradient."""
        return float(self.rows) * self.residual_scale * self.coarse_scale / 2.0**self.gradient_shift

    @property
    def penalty_factor(self) -> int:
        """w_int times this is penalty * w in the unit of X_int^T e_int."""
        return round(self.penalty * self.rows * self.residual_scale * self.coarse_scale / self.weight_unit)

    @property
    def coarse_scale(self) -> float:
        """Integer per 1.0 of a feature in the backward pass."""
        return self.x_scale / 2.0 ** (ENTRY_BITS - COARSE_BITS)

    def coarse(self, matrix: NDArray[np.int64]) -> NDArray[np.int64]:
        """The matrix for X^T e. Its rounding is independent of e, so it moves a coefficient by about a thousandth of
        its standard error, and the bits that it frees make the residual finer, which counts more."""
        half = 1 << (ENTRY_BITS - COARSE_BITS - 1)
        return (matrix + half) >> (ENTRY_BITS - COARSE_BITS)

    @property
    def residual_noise(self) -> float:
        """Standard deviation of what the rounding of cosines and of the coefficient table adds to one residual."""
        variance = 0.0
        for b, bits in zip(self.series.coefficients, self.trig_bits, strict=True):
            amplitude = (1 << (bits - 1)) - 1
            variance += self.parties * (b / amplitude) ** 2 / 12
            variance += (amplitude**self.parties / self.residual_scale) ** 2 / 12
        return math.sqrt(variance)

    def step_noise(self, width: int) -> float:
        """About the length of that noise in one preconditioned step, standardised weights; collinear columns add."""
        spread = self.residual_noise * math.sqrt(width / (self.curvature * self.rows))
        return STEP / self.parties * spread

    def range_shift(self, width: int) -> int:
        """By how many bits a step (|.| < 2^(64 - step_shift), however wrong) is shortened so that its `width` squares
        add up to less than 2^63."""
        return max(1, 64 - self.step_shift - SQUARED_BITS - 1 + ((width - 1).bit_length() + 1) // 2)

    def preconditioner(self, matrix: NDArray[np.int16]) -> NDArray[np.int64]:
        """(step/N) (c X^T X / n + penalty I)^-1 in fixed point, d x d, for the own block (n x d)."""
        columns = matrix.shape[1]
        gram = np.zeros((columns, columns))
        for start in range(0, len(matrix), 1 << 16):
            part = matrix[start : start + (1 << 16)].astype(np.float64) / self.x_scale
            gram += part.T @ part
        inverse = np.linalg.inv(self.curvature * gram / self.rows + self.penalty * np.eye(columns))
        empty = ~matrix.any(axis=0)  # padding: its weight stays zero
        inverse[empty, :] = inverse[:, empty] = 0.0
        factor = STEP / self.parties * self.weight_unit / self.gradient_unit * 2.0**self.step_shift
        result: NDArray[np.int64] = np.rint(inverse * factor).astype(np.int64)
        if np.abs(result).max(initial=0) >= 1 << (STEP_ENTRY_BITS - 1):
            raise LocalError("the preconditioner exceeds its bit budget", "raise the penalty")
        return result


def _trig_bits(parties: int, rows: int, residual_scale: int, series: SineSeries) -> tuple[int, ...]:
    """Bits per harmonic: as fine as the residual's scale can carry over N factors, one bit less per harmonic.

    The coefficient table has E b_1 / A^N steps; below A steps its own rounding would dominate.
    """
    amplitude = (residual_scale * series.coefficients[0]) ** (1.0 / (parties + 1))
    most = TRIG_BITS_FEW_ROWS if rows < FEW_ROWS else TRIG_BITS_MAX
    first = min(most, int(math.log2(amplitude + 1)) + 1)
    if first < 4:
        raise LocalError(
            f"{parties} parties leave {first} bits for the sigmoid's correlations",
            "use fewer parties or fewer rows",
        )
    return tuple(max(2, first - k) for k in range(len(series.coefficients)))


def plan_precision(
    parties: int, rows: int, clip: float, penalty: float, expected_default_rate: float, sigmoid: str
) -> Precision:
    """The plan for a run; LocalError when the bits do not suffice."""
    series = SERIES[sigmoid]
    x_scale = int(32767 // clip)
    headroom = SAFE_BITS - COARSE_BITS + 1 - math.log2(rows * RESIDUAL_BOUND)
    residual_bits = min(RESIDUAL_BITS[1], int(headroom))
    if residual_bits < RESIDUAL_BITS[0]:
        raise LocalError(f"{rows} rows leave {residual_bits} bits for the residual", "train on fewer rows")
    residual_scale = 1 << residual_bits
    coarse_scale = x_scale / 2.0 ** (ENTRY_BITS - COARSE_BITS)
    gradient_shift = int(math.log2(rows * residual_scale * coarse_scale)) - 25
    gradient_unit = float(rows) * residual_scale * coarse_scale / 2.0**gradient_shift
    largest = STEP / parties / penalty * (series.unit / x_scale) / gradient_unit
    step_shift = min(30, int(STEP_ENTRY_BITS - 1 - math.log2(largest)))
    if gradient_shift < 1 or step_shift < 1:
        raise LocalError("the bit budget of the update does not fit", "raise the penalty or use more rows")
    return Precision(
        parties=parties,
        rows=rows,
        clip=clip,
        penalty=penalty,
        curvature=expected_default_rate * (1 - expected_default_rate),
        series=series,
        x_scale=x_scale,
        residual_scale=residual_scale,
        gradient_shift=gradient_shift,
        step_shift=step_shift,
        trig_bits=_trig_bits(parties, rows, residual_scale, series),
    )
