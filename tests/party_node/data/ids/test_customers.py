"""Customers of several rows: each counts once, weighs by its rows, and may not weigh more than was agreed."""

from __future__ import annotations

import numpy as np
import pytest

from mpc.errors import Refused
from party_node.data.ids.customers import Customers, require_even

THREE = Customers(np.array([2, 1, 3]))     # rows 0 1 | 2 | 3 4 5


def marks(*rows: int, length: int = 6) -> np.ndarray:
    found = np.zeros(length, np.bool_)
    found[list(rows)] = True
    return found


def test_a_customer_counts_once_however_many_of_its_rows_are_marked() -> None:
    assert [len(THREE), THREE.total, THREE.firsts.tolist()] == [3, 6, [0, 2, 3]]
    assert [THREE.count(marks(*rows)) for rows in ([], [0, 1], [1, 2], [3, 4, 5], range(6))] == [0, 1, 2, 1, 3]
    assert THREE.count(marks(1, 3, length=4)) == 2       # the first rows alone
    assert THREE.count(marks(0, length=2)) == 1
    assert Customers.one_row_each(6).count(marks(0, 1)) == 2


def test_a_code_has_as_many_customers_as_have_it_in_a_row() -> None:
    codes = np.array([0, 0, 1, 1, 2, -1])
    assert THREE.per_code(codes, 4).tolist() == [1, 2, 1, 0]
    assert Customers.one_row_each(6).per_code(codes, 4).tolist() == [2, 2, 1, 0]
    assert THREE.per_code(np.full(6, -1), 2).tolist() == [0, 0]


def test_rows_weigh_together() -> None:
    assert THREE.weights.tolist() == [1.0, 0.5, 1.5]
    assert THREE.heaviness().tolist() == [1.0, 1.0, 1.0, 1.5, 1.5, 1.5]
    assert THREE.sums(np.arange(6.0)).tolist() == [1.0, 2.0, 12.0]
    assert THREE.worth == pytest.approx(36 / 14)
    assert Customers(np.full(50, 12)).worth == pytest.approx(50.0)


UNEVEN = {   # numbers of rows, the largest weight, the least worth -> the words of the refusal
    "equal numbers where none may weigh more": (np.full(120, 12), 1.0, 120.0, None),
    "one row more where none may weigh more": (np.array([2] + 119 * [1]), 1.0, 100.0, "more rows than the largest"),
    "within what was agreed": (np.array([10] + 119 * [1]), 10.0, 50.0, None),
    "above what was agreed": (np.array([400] + 1499 * [1]), 10.0, 50.0, "more rows than the largest"),
    "many heavy ones, worth few": (np.array(10 * [9] + 90 * [1]), 10.0, 80.0, "worth fewer"),
}


@pytest.mark.parametrize("case", UNEVEN)
def test_copies_pay_like_weights(case: str) -> None:
    rows, largest, least, words = UNEVEN[case]
    if words is None:
        require_even(Customers(rows), largest, least)
    else:
        with pytest.raises(Refused, match=words) as caught:
            require_even(Customers(rows), largest, least)
        assert caught.value.code == "UNEVEN_COPIES"
        assert not any(digit in str(caught.value) for digit in "0123456789")
