"""The sine series against the logistic function, and the bit budgets at their edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.correlated_randomness.kinds import ideal_trig
from mpc.errors import LocalError
from mpc.link import PartyId
from mpc.protocols.train import TrainOptions, series_share
from mpc.regression.precision import NOISE, SAFE_BITS, SQUARED_BITS, plan_precision
from mpc.regression.sigmoid import PERIOD_BITS, SERIES, chosen
from mpc.regression.sizes import Sizes, planned
from mpc.ring import to_signed
from mpc.rng import Rng


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


@settings(deadline=None)
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
    # |X^T e| <= n sqrt(mean x^2) sqrt(mean e^2); a standardised column has a mean square of 1, rounding adds to it.
    largest_gradient = rows * (plan.coarse_scale * 1.05 + 1) * plan.residual_scale * 1.75
    # The objective at zero is log 2, so |w| <= 1.18 / sqrt(penalty) at the optimum; twice that on the way.
    largest_weight = 2.36 / penalty**0.5 * plan.weight_unit
    assert largest_gradient + plan.penalty_factor * largest_weight < 2**SAFE_BITS
    assert plan.x_scale * plan.clip <= 32767
    assert 2 ** (plan.backward_bits - 1) >= plan.coarse_scale * plan.clip
    for index in range(len(plan.trig.bits)):
        assert plan.trig.bound(index) * plan.residual_scale / plan.trig.gain(index) < 2**50


@pytest.mark.parametrize(("parties", "rows", "rate", "most"), [
    (2, 14_000, 0.2, 62), (2, 1_000_000, 0.2, 36), (3, 21_000, 0.2, 66), (4, 14_000, 0.2, 84), (2, 14_000, 0.01, 92),
])
def test_the_bits_of_the_cosines_are_as_many_as_the_noise_allows(
    parties: int, rows: int, rate: float, most: int
) -> None:
    plan = plan_precision(parties, rows, 5.0, 1e-3, rate, "eight")
    assert 2 * sum(plan.trig.bits) <= most  # transfers of a row and pair
    worst = plan.residual_noise / (2 * math.sqrt(rate * (1 - rate) * 1e-3 * rows))
    assert worst <= NOISE
    assert worst > NOISE / 2


@pytest.mark.parametrize(("parties", "rows", "rate"), [
    (2, 14_000, 0.2), (2, 10**6, 0.1), (3, 2000, 0.3), (4, 400, 0.05),
])
def test_the_noise_of_an_opened_series_is_the_one_that_was_planned(parties: int, rows: int, rate: float) -> None:
    plan = plan_precision(parties, rows, 5.0, 1e-2, rate, "eight")
    count = 40_000
    rhos = [Rng(bytes([k]) * 32).ring(count, PERIOD_BITS) for k in range(parties)]
    z = np.linspace(-4, 4, count)
    units = np.rint(z * plan.series.unit).astype(np.int64).view(np.uint64)
    delta = (units - np.sum(rhos, axis=0, dtype=np.uint64)) & np.uint64(2**PERIOD_BITS - 1)
    found = to_signed(series_share(delta, *ideal_trig(plan.trig, rhos), plan)) / plan.residual_scale
    noise = found + 0.5 - plan.series(z)
    assert noise.std() == pytest.approx(plan.residual_noise, rel=0.1)
    assert abs(noise.mean()) < 5 * plan.residual_noise / math.sqrt(count)


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
def test_the_noise_of_a_step_is_the_one_that_was_planned(rate: float) -> None:
    """An estimate that was 1 / sqrt(c) times this let Anderson's method learn directions from noise: easy tables
    diverged in the 20th iteration and after it."""
    rows, width, penalty = 4000, 8, 1e-3
    plan, rng = plan_precision(2, rows, 5.0, penalty, rate, "auto"), np.random.default_rng(1)
    columns, noise = rng.normal(size=(rows, width)), plan.residual_noise * rng.normal(size=(rows, 100))
    hessian = plan.curvature * columns.T @ columns / rows + penalty * np.eye(width)
    steps = np.linalg.solve(hessian, columns.T @ noise / rows)
    assert np.sqrt((steps**2).sum(axis=0).mean()) == pytest.approx(plan.step_noise(width), rel=0.15)


def sizes_of(parties: int, rows: int, clip: float, penalty: float, width: int) -> Sizes:
    names = tuple(PartyId(f"party-{k}") for k in range(parties))
    options = TrainOptions(names, names[0], rows, 8, penalty, clip, 0.1, "eight", 0.02, 2048)
    return planned(options, dict.fromkeys(names, width))


@pytest.mark.parametrize("width", [16, 48, 1 << 10])
@pytest.mark.parametrize(("parties", "rows", "clip", "penalty"), [
    (2, 70, 30.0, 1e-4), (2, 10**6, 2.0, 1e-4), (5, 1000, 5.0, 1.0), (3, 10**5, 30.0, 1e-3),
])
def test_a_shortened_step_has_room_for_its_square_however_wrong_it_is(
    parties: int, rows: int, clip: float, penalty: float, width: int
) -> None:
    sizes = sizes_of(parties, rows, clip, penalty, width)
    shift, width = sizes.range_shift, sizes.width
    assert width * (2 ** (64 - sizes.preconditioner.shifts[1] - shift)) ** 2 < 2**63
    assert 1 <= shift < SQUARED_BITS
    # What passes has |push >> shift| below this; rounding adds less than 2^shift in each of `width` places.
    assert (2**SQUARED_BITS + math.isqrt(width) * 2**shift) ** 2 < 2**63


def test_too_many_rows_for_the_ring_are_refused_with_advice() -> None:
    with pytest.raises(LocalError, match="fewer rows"):
        plan_precision(2, 1 << 40, 5.0, 1e-3, 0.1, "six")


@pytest.mark.parametrize(("name", "rate", "wanted"), [
    ("auto", 0.2, "eight"), ("auto", 0.02, "twelve"), ("auto", 0.97, "twelve"), ("six", 0.02, "six"),
])
def test_the_series_is_the_named_one_or_a_finer_one_where_an_outcome_is_rare(
    name: str, rate: float, wanted: str
) -> None:
    assert chosen(name, rate) is SERIES[wanted]
