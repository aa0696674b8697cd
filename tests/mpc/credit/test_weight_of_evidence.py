import math

import numpy as np
import pytest

from mpc.credit.weight_of_evidence import information_value, information_values, weight_of_evidence
from mpc.errors import LocalError


def test_weights_and_value_follow_the_textbook():
    good, bad = [150, 250, 600], [30, 40, 30]
    weights = weight_of_evidence(good, bad)
    for place, (g, b) in enumerate(zip(good, bad, strict=True)):
        assert weights[place] == pytest.approx(math.log((g / 1000) / (b / 100)), abs=1e-15)
    by_hand = sum((g / 1000 - b / 100) * math.log((g / 1000) / (b / 100)) for g, b in zip(good, bad, strict=True))
    assert information_value(good, bad) == pytest.approx(by_hand, abs=1e-15)
    assert (information_values(good, bad) >= 0).all()


def test_an_empty_cell_raises_both_counts_of_its_bin_by_a_half_and_changes_no_other_bin():
    weights = weight_of_evidence([10, 0, 30], [0, 6, 4])
    shares = [(10.5 / 40, 0.5 / 10), (0.5 / 40, 6.5 / 10), (30 / 40, 4 / 10)]
    assert weights == pytest.approx([math.log(good / bad) for good, bad in shares])
    added = information_values([10, 0, 30], [0, 6, 4])
    assert added[0] == pytest.approx((10.5 / 40 - 0.5 / 10) * weights[0])


def test_a_bin_without_customers_weighs_nothing_and_adds_nothing():
    assert weight_of_evidence([10, 0, 30], [7, 0, 4])[1] == 0.0
    assert information_values([10, 0, 30], [7, 0, 4])[1] == 0.0
    assert information_value([10, 0, 30], [7, 0, 4]) == information_value([10, 30], [7, 4])


@pytest.mark.parametrize(
    ("good", "bad"),
    [([1, 2], [0, 0]), ([0, 0], [1, 2]), ([1, -1], [1, 1]), ([1, 2], [1]), ([1.5, 2], [1, 1]), ([[1]], [[1]])],
)
def test_counts_that_say_nothing_or_are_no_counts_are_refused(good, bad):
    with pytest.raises(LocalError):
        weight_of_evidence(np.array(good), np.array(bad))
