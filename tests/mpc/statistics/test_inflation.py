"""Variance inflation beside another party's columns, against the inverse of the pooled correlation matrix."""

import numpy as np
import pytest
from scipy.linalg import subspace_angles

from mpc.protocols.correlate import lengths_one
from mpc.rng import Rng
from mpc.statistics.inflation import Basis, random_rotation


def unit(seed, rows=400, width=4):
    draw = np.random.default_rng(seed)
    common = np.random.default_rng(99).normal(size=(rows, 2))
    return lengths_one(draw.normal(size=(rows, width)) + common @ draw.normal(size=(2, width)) * 1.5)


def found(ours, theirs, step=2.0**-40, seed=1):
    one, other = Basis.of(ours, Rng(bytes([seed] * 32))), Basis.of(theirs, Rng(bytes([seed + 1] * 32)))
    return one.inflated(one.turned.T @ other.turned, step)


@pytest.mark.parametrize("width", [1, 3, 6])
def test_inflation_is_that_of_the_pooled_table(width):
    ours, theirs = unit(1), unit(2, width=width)
    result = found(ours, theirs)
    pooled = np.linalg.inv(np.corrcoef(np.column_stack([ours, theirs]), rowvar=False))
    np.testing.assert_allclose(result.together, np.diag(pooled)[:4], rtol=1e-9)
    np.testing.assert_allclose(result.alone, np.diag(np.linalg.inv(np.corrcoef(ours, rowvar=False))), rtol=1e-9)
    due = [1 - np.sum((column - theirs @ np.linalg.lstsq(theirs, column, rcond=None)[0]) ** 2) for column in ours.T]
    np.testing.assert_allclose(result.explained, due, atol=1e-12)


def test_columns_that_follow_from_others_are_infinite_and_constant_ones_unknown():
    ours, theirs = unit(3), unit(4)
    ours = np.column_stack([ours[:, :2], ours[:, 0], np.zeros(400)])
    result = found(ours, theirs)
    assert np.isinf(result.alone[[0, 2]]).all()
    assert np.isinf(result.together[[0, 2]]).all()
    assert np.isfinite(result.together[1])
    assert np.isnan([result.alone[3], result.together[3], result.explained[3]]).all()
    assert result.explained[0] == pytest.approx(result.explained[2])


def test_what_the_other_party_says_as_well_is_as_inflated_as_the_step_can_tell():
    ours = unit(5)
    result = found(ours, np.column_stack([ours[:, 1], unit(6)]), step=2.0**-10)
    assert result.together[1] > 2.0**9
    assert result.explained[1] == pytest.approx(1.0)


def test_a_rotation_is_orthogonal_and_spreads_alike():
    turned = [random_rotation(5, Rng(seed.to_bytes(32, "big"))) for seed in range(400)]
    for one in turned:
        np.testing.assert_allclose(one @ one.T, np.eye(5), atol=1e-12)
    entries = np.array(turned)
    assert np.abs(entries.mean(axis=0)).max() < 5 * np.sqrt(0.2 / 400)
    assert np.abs((entries**2).mean(axis=0) - 0.2).max() < 0.06


def test_turned_directions_span_the_columns_and_show_none_of_them():
    ours = unit(7)
    first, second = (Basis.of(ours, Rng(bytes([seed] * 32))).turned for seed in (1, 2))
    assert subspace_angles(ours, first).max() < 1e-7
    assert np.abs(first - second).max() > 0.01
    # The product with the other's directions says the same of us whatever the other's rotation was.
    theirs, mine = unit(8), Basis.of(ours, Rng(bytes(32)))
    seen = [mine.inflated(mine.turned.T @ Basis.of(theirs, Rng(bytes([seed] * 32))).turned, 1e-9) for seed in (3, 4)]
    np.testing.assert_allclose(seen[0].together, seen[1].together, rtol=1e-9)
    assert repr(mine) == "Basis(...)"
