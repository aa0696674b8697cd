"""Choices are counted as what they are: words of a code, of which there are no more than their bits say."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from mpc.statistics.counted_choices import (
    LADDER,
    Counting,
    Grid,
    Repeating,
    assignments_bits,
    coarse_enough,
    paths,
    steps,
)


def test_a_step_is_one_two_or_five_times_a_power_of_ten_and_the_ladder_grows_with_the_rows() -> None:
    for rows in (10, 100, 1170, 10_000, 10**6):
        ladder = steps(rows)
        assert len(ladder) == LADDER
        assert ladder[0] >= 0.05 / math.sqrt(rows) > ladder[0] / 2.6
        for one, other in itertools.pairwise(ladder):
            assert other / one == pytest.approx(2.0) or other / one == pytest.approx(2.5)
    assert steps(100)[:3] == pytest.approx((0.005, 0.01, 0.02))
    assert steps(100)[coarse_enough(steps(100), 0.011)] == pytest.approx(0.02)
    assert coarse_enough(steps(100), 1e9) == LADDER - 1


def test_a_value_is_told_to_half_a_step_and_a_grid_has_as_many_places_as_it_says() -> None:
    for step, low, high in ((0.02, 0.0, 1.0), (0.05, -0.13, 0.11), (2.0, 0.0, 1.0), (1e-4, 0.0, 1.0)):
        grid = Grid(step, low, high)
        values = [grid.at(place) for place in range(grid.places)]
        assert len(set(values)) == grid.places
        for value in np.random.default_rng(1).uniform(low, high, 50):
            assert abs(grid.at(grid.place(value)) - value) <= step / 2 + 1e-12
        assert (grid.place(-1e9), grid.place(1e9)) == (0, grid.places - 1)


def test_paths_are_all_rising_sequences() -> None:
    for length, places in ((0, 4), (1, 5), (3, 4), (4, 3)):
        rising = [path for path in itertools.product(range(places), repeat=length) if list(path) == sorted(path)]
        assert paths(length, places) == len(rising)


def test_what_is_counted_is_the_logarithm_of_what_could_have_been_and_the_same_comes_again() -> None:
    counted = Counting()
    first = counted.place(5, lambda: 9), counted.path(2, 3, lambda: [2, 0])
    assert first == (4, (2, 2)), "moved into the possible"
    assert counted.bits == pytest.approx(math.log2(5 * 6))
    again = Repeating(counted.answers)

    def never() -> int:
        raise AssertionError("nothing private is asked again")

    assert (again.place(5, never), again.path(2, 3, lambda: [never()])) == first
    assert again.bits == counted.bits
    with pytest.raises(ValueError, match="another length"):
        counted.path(2, 3, lambda: [1])


def test_words_of_at_most_so_many_bits_are_at_most_so_many() -> None:
    """What a question may be follows from the answer before, and still the words are those of a code (Kraft)."""
    words = []
    for first in range(4):
        for second in range(first + 1):
            counted = Counting()
            chosen = counted.place(4, lambda one=first: one)  # type: ignore[misc]
            counted.place(chosen + 1, lambda one=second: one)  # type: ignore[misc]
            words.append(counted.bits)
    assert sum(2.0**-bits for bits in words) == pytest.approx(1.0)
    for limit in (2.0, 3.0, 3.6, 4.0):
        assert sum(bits <= limit for bits in words) <= 2**limit


def test_the_bits_of_outcomes_are_those_of_the_binomial() -> None:
    for rows, bad in ((10, 3), (100, 5), (400, 80)):
        assert assignments_bits(rows, bad) == pytest.approx(math.log2(math.comb(rows, bad)), rel=1e-9)
    assert assignments_bits(50, 0) == pytest.approx(0.0, abs=1e-9)
