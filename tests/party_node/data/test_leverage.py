"""The leverage bound holds for every training row, whatever the block, and one row cannot show its label."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from party_node.data import leverage
from party_node.data.ids.customers import Customers
from party_node.data.leverage import bound_leverage

F64 = NDArray[np.float64]


def direct(block: F64, penalty: float) -> F64:
    inverse = np.linalg.inv(block.T @ block + penalty * len(block) * np.eye(block.shape[1]))
    return np.asarray(np.einsum("ij,jk,ik->i", block, inverse, block))


def block_with_outliers(rows: int, columns: int, seed: int) -> F64:
    rng = np.random.default_rng(seed)
    return np.clip(rng.standard_t(1.5, (rows, columns)), -5, 5) * (rng.random((rows, columns)) < 0.3)


BLOCKS = {
    "few outliers": block_with_outliers(400, 6, 1),
    "many columns for the rows": block_with_outliers(120, 25, 2),
    "more columns than rows": block_with_outliers(20, 30, 3),
    "one row that stands alone": np.vstack(
        [np.full((1, 3), 5.0), np.random.default_rng(4).normal(size=(99, 3)) * 0.01]
    ),
    "two equal columns": np.repeat(np.random.default_rng(5).normal(size=(60, 1)), 2, axis=1),
    "one column": np.array([[5.0], *([[0.01]] * 50)]),
    "just as many rows as the bound can bear": np.random.default_rng(9).normal(size=(10, 1)),
    "a block of zeros": np.zeros((30, 2)),
}


@pytest.mark.parametrize("penalty", [1e-4, 1e-1])
@pytest.mark.parametrize("case", BLOCKS)
def test_no_training_row_is_above_the_bound_afterwards(case: str, penalty: float) -> None:
    before = BLOCKS[case].copy()
    block = before.copy()
    fitted, report = bound_leverage(block, 0.1, penalty)
    after = direct(block, penalty)
    assert after.max() <= 0.1 * (1 + 1e-9)
    assert report.largest == pytest.approx(after.max(), abs=1e-9)
    # Rows are scaled, never turned, and only those above the bound unless every row had to be.
    scale = np.linalg.norm(block, axis=1) / np.maximum(np.linalg.norm(before, axis=1), 1e-300)
    np.testing.assert_allclose(block, before * scale[:, None], atol=1e-12)
    assert int(np.count_nonzero(scale[np.any(before, axis=1)] < 1)) <= report.shrunk_rows
    # The same factor gives the same block again.
    again = before.copy()
    assert fitted.shrink(again) == report.shrunk_rows
    assert np.array_equal(again, block)


@pytest.mark.parametrize("heaviest", [1, 12, 60])
@pytest.mark.parametrize("case", ["few outliers", "many columns for the rows", "one row that stands alone"])
def test_all_rows_of_a_customer_together_times_its_weight_keep_the_bound(case: str, heaviest: int) -> None:
    before = BLOCKS[case]
    counts = np.ones(len(before), np.int64)
    counts[:5] = heaviest
    for customers in (Customers(counts), Customers(np.full(len(before), heaviest))):
        block = np.repeat(before, customers.rows, axis=0)
        fitted, report = bound_leverage(block, 0.1, 1e-2, customers)
        # The penalty's part counts customers: m rows of each would else hide m times less of one.
        together = customers.sums(direct(block, 1e-2 / customers.rows.mean())) * np.maximum(customers.weights, 1.0)
        assert together.max() <= 0.1 * (1 + 1e-9)
        assert report.largest == pytest.approx(together.max(), abs=1e-9)
        again = np.repeat(before, customers.rows, axis=0)
        fitted.shrink(again, customers.heaviness())
        assert np.array_equal(again, block)
        light = np.repeat(customers.weights <= 1, customers.rows)
        scored = np.repeat(before, customers.rows, axis=0)
        fitted.shrink(scored)
        assert np.array_equal(scored[light], block[light]), "who is no heavier than the mean trains as it is scored"


def test_the_passes_scale_no_further_than_the_bound_asks() -> None:
    block = block_with_outliers(60, 4, 10)
    _, report = bound_leverage(block, 0.1, 1e-3)
    assert 1 < report.passes < leverage.MOST_PASSES
    assert report.common == 1.0
    assert 0 < report.shrunk_rows < 60
    assert report.largest > 0.098


def test_where_the_passes_do_not_suffice_every_row_is_scaled_and_the_report_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leverage, "MOST_PASSES", 3)
    before = BLOCKS["just as many rows as the bound can bear"]
    block = before.copy()
    fitted, report = bound_leverage(block, 0.1, 1e-4)
    assert report.common < 1
    assert report.shrunk_rows == 10
    assert direct(block, 1e-4).max() <= 0.1
    again = before.copy()
    fitted.shrink(again)
    assert np.array_equal(again, block)


def test_the_fitted_factor_gives_the_leverage_that_the_formula_gives() -> None:
    block = BLOCKS["few outliers"].copy()
    factor = leverage._factor(block, 0.01 * len(block))
    np.testing.assert_allclose(leverage._row_leverage(block, factor), direct(block, 0.01), rtol=1e-10)
    assert np.array_equal(factor, np.tril(factor))


def test_rows_under_the_bound_are_left_as_they_are_to_the_last_bit() -> None:
    block = np.random.default_rng(6).normal(size=(1000, 4))
    before = block.copy()
    _, report = bound_leverage(block, 0.1, 1e-3)
    assert report.shrunk_rows == 0
    assert report.passes == 1
    assert np.array_equal(block, before)


def test_a_new_row_far_out_is_scaled_to_the_bound_of_the_training_rows() -> None:
    train = np.random.default_rng(7).normal(size=(200, 3)) * 0.1
    fitted, _ = bound_leverage(train, 0.1, 1e-3)
    new = np.array([[5.0, -5.0, 5.0], [0.01, 0.0, 0.0]])
    assert fitted.shrink(new) == 1
    inverse = np.linalg.inv(train.T @ train + 1e-3 * 200 * np.eye(3))
    assert new[0] @ inverse @ new[0] == pytest.approx(0.099, rel=1e-6)
    assert new[1].tolist() == [0.01, 0.0, 0.0]


def weight_shift(block: F64, row: int, penalty: float) -> float:
    """How far a least-squares fit moves at a row when that row's label goes from 0 to 1."""
    inverse = np.linalg.inv(block.T @ block + penalty * len(block) * np.eye(block.shape[1]))
    return float(block[row] @ inverse @ block[row])


def test_flipping_the_label_of_the_loneliest_row_moves_its_own_fit_by_no_more_than_the_bound() -> None:
    block = BLOCKS["one row that stands alone"].copy()
    # The planted fault: without the bound the row's own label is nearly all of its fit.
    assert weight_shift(block, 0, 1e-3) > 0.9
    bound_leverage(block, 0.1, 1e-3)
    assert weight_shift(block, 0, 1e-3) <= 0.1
