"""The sine series against the logistic function, and the bit budgets at their edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc.errors import LocalError
from mpc.precision import SAFE_BITS, SQUARED_BITS, STEP_ENTRY_BITS, plan_precision
from mpc.sigmoid import PERIOD_BITS, SERIES


@pytest.mark.parametrize("name", sorted(SERIES))
def test_the_series_is_as_exact_as_it_says_on_its_range(name: str) -> None:
    series = SERIES[name]
    z = np.linspace(-series.valid, series.valid, 40_001)
    error = np.abs(series(z) - 1 / (1 + np.exp(-z))).max()
    assert error <= series.error <= 2e-3


@pytest.mark.parametrize("name", sorted(SERIES))
def test_one_period_is_the_whole_ring(name: str) -> None:
    series = SERIES[name]
    assert series.unit * series.period == pytest.approx(2**PERIOD_BITS, rel=1e-12)
    z = np.linspace(-5, 5, 101)
    assert np.allclose(series(z), series(z + series.period), atol=1e-9)


@given(
    parties=st.integers(2, 5),
    rows=st.integers(100, 3_000_000),
    clip=st.floats(2, 30),
    penalty=st.floats(1e-4, 1),
    rate=st.floats(0.01, 0.5),
    sigmoid=st.sampled_from(sorted(SERIES)),
)
def test_every_plan_keeps_its_largest_values_inside_the_ring(
    parties: int, rows: int, clip: float, penalty: float, rate: float, sigmoid: str
) -> None:
    try:
        plan = plan_precision(parties, rows, clip, penalty, rate, sigmoid)
    except LocalError:
        return  # an honest refusal
    largest_gradient = rows * 1024 * plan.residual_scale * 1.75
    assert largest_gradient < 2**SAFE_BITS
    # The objective at zero is log 2, so |w| <= 1.18 / sqrt(penalty) at the optimum; twice that on the way.
    largest_weight = min(64, 2.4 / penalty**0.5) * plan.weight_unit
    assert plan.penalty_factor * largest_weight < 2**SAFE_BITS
    assert plan.x_scale * plan.clip <= 32767
    assert all(bits >= 2 for bits in plan.trig_bits)


@pytest.mark.parametrize("width", [16, 17, 48, 1 << 14])
@pytest.mark.parametrize(("parties", "rows", "clip", "penalty"), [
    (2, 70, 30.0, 1e-4), (2, 10**6, 2.0, 1e-4), (5, 1000, 5.0, 1.0), (3, 10**5, 30.0, 1e-3),
])
def test_a_shortened_step_has_room_for_its_square_however_wrong_it_is(
    parties: int, rows: int, clip: float, penalty: float, width: int
) -> None:
    plan = plan_precision(parties, rows, clip, penalty, 0.1, "eight")
    shift = plan.range_shift(width)
    assert width * (2 ** (64 - plan.step_shift - shift)) ** 2 < 2**63
    assert 1 <= shift < SQUARED_BITS
    # What passes has |push >> shift| below this; rounding adds less than 2^shift in each of `width` places.
    assert (2**SQUARED_BITS + math.isqrt(width) * 2**shift) ** 2 < 2**63


def test_the_preconditioner_inverts_the_block_it_is_made_from() -> None:
    rng = np.random.default_rng(5)
    plan = plan_precision(2, 2000, 5.0, 1e-3, 0.1, "six")
    matrix = np.zeros((2000, 16), np.int16)
    matrix[:, :6] = np.rint(np.clip(rng.normal(size=(2000, 6)), -5, 5) * plan.x_scale)
    found = plan.preconditioner(matrix)
    real = matrix[:, :6] / plan.x_scale
    hessian = plan.curvature * real.T @ real / 2000 + 1e-3 * np.eye(6)
    scale = 0.6 * plan.weight_unit / plan.gradient_unit * 2.0**plan.step_shift
    assert np.allclose(found[:6, :6] / scale, np.linalg.inv(hessian), rtol=1e-3, atol=1e-3)
    assert not found[6:].any()
    assert not found[:, 6:].any()
    assert np.abs(found).max() < 1 << (STEP_ENTRY_BITS - 1)


def test_too_many_rows_for_the_ring_are_refused_with_advice() -> None:
    with pytest.raises(LocalError, match="fewer rows"):
        plan_precision(2, 1 << 40, 5.0, 1e-3, 0.1, "six")
