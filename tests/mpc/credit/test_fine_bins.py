import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.credit.fine_bins import LevelBins, NumericBins, level_bins, numeric_bins
from mpc.errors import LocalError

NAN = float("nan")


def test_a_bin_holds_its_lower_edge_and_not_its_upper_one():
    bins = NumericBins((1.0, 2.0), special=((-1.0, 3), (9.0, 0)), missing=4)
    codes = bins.codes(np.array([0.0, 1.0, 1.5, 2.0, 5.0, -1.0, 9.0, NAN]))
    assert codes.tolist() == [0, 1, 1, 2, 2, 3, 0, 4]
    assert NumericBins((1.0,)).codes(np.array([NAN])).tolist() == [-1]


def test_levels_that_no_group_names_go_where_the_others_go():
    bins = LevelBins((("a", "b"), ("c",), ()), other=2, missing=3)
    assert bins.codes(np.array([0, 1, 2, 3, -1]), ["a", "c", "b", "new"]).tolist() == [0, 1, 0, 2, 3]
    assert LevelBins((("a",),)).codes(np.array([0, 1, -1]), ["a", "new"]).tolist() == [0, -1, -1]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 400), st.integers(1, 40), st.integers(1, 60), st.integers(0, 6))
def test_every_bin_holds_the_minimum_and_every_row_falls_into_one(seed, rows, most, minimum, digits):
    rng = np.random.default_rng(seed)
    values = np.round(rng.normal(size=rows) ** 3, digits)
    values[rng.random(rows) < rng.choice([0.0, 0.05, 0.5])] = NAN
    values[rng.random(rows) < rng.choice([0.0, 0.05, 0.5])] = -999.0
    bins = numeric_bins(values, most=most, minimum_rows=minimum, special=(-999.0, -998.0))
    codes = bins.codes(values)
    sizes = np.bincount(codes, minlength=bins.count)
    assert codes.min() >= 0
    assert bins.regular <= most
    apart = sizes[bins.regular :]
    assert (apart >= minimum).all()
    assert bins.regular == 1 or sizes[: bins.regular].min() >= minimum


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 400), st.integers(1, 12), st.integers(1, 60))
def test_every_group_of_levels_holds_the_minimum_too(seed, rows, most, minimum):
    rng = np.random.default_rng(seed)
    levels = [f"level {i}" for i in range(15)]
    cells = (rng.geometric(0.3, rows) % 16 - 1).astype(np.int32)
    bins = level_bins(cells, levels, most=most, minimum_rows=minimum)
    codes = bins.codes(cells, levels)
    sizes = np.bincount(codes, minlength=bins.count)
    assert codes.min() >= 0
    assert bins.regular <= most
    assert bins.regular == 1 or sizes.min() >= minimum


def test_bins_are_about_equally_full():
    sizes = np.bincount(numeric_bins(np.arange(1000.0), most=20, minimum_rows=20).codes(np.arange(1000.0)))
    assert sizes.tolist() == [50] * 20


def test_a_value_that_most_rows_share_takes_one_bin_and_the_rest_their_share():
    values = np.concatenate([np.zeros(700), np.arange(1.0, 301.0)])
    bins = numeric_bins(values, most=4, minimum_rows=20)
    assert np.bincount(bins.codes(values)).tolist() == [700, 100, 100, 100]


def test_neighbouring_floats_are_parted_though_nothing_lies_between_them():
    low, high = 1.0, np.nextafter(1.0, 2.0)
    values = np.array([low] * 30 + [high] * 30)
    bins = numeric_bins(values, most=2, minimum_rows=20)
    assert bins.codes(values).tolist() == [0] * 30 + [1] * 30


def test_too_few_missing_cells_join_the_largest_bin_and_too_few_special_ones_the_missing():
    values = np.concatenate([np.zeros(60), np.ones(40), [NAN] * 5, [-9.0] * 3])
    bins = numeric_bins(values, most=2, minimum_rows=20, special=(-9.0,))
    assert (bins.missing, bins.special) == (0, ((-9.0, 0),))
    values = np.concatenate([np.zeros(60), np.ones(40), [NAN] * 18, [-9.0] * 3])
    bins = numeric_bins(values, most=2, minimum_rows=20, special=(-9.0,))
    assert (bins.missing, bins.special, bins.count) == (2, ((-9.0, 2),), 3)


def test_a_column_with_nothing_but_missing_cells_is_one_bin():
    bins = numeric_bins(np.full(50, NAN), most=5, minimum_rows=20)
    assert bins.codes(np.array([NAN, 3.0])).tolist() == [1, 0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: NumericBins((2.0, 1.0)),
        lambda: NumericBins((float("inf"),)),
        lambda: NumericBins((1.0,), missing=5),
        lambda: NumericBins((1.0,), special=((1.0, 2), (1.0, 3))),
        lambda: NumericBins((1.0,), special=((NAN, 2),)),
        lambda: LevelBins(()),
        lambda: LevelBins(((),)),
        lambda: LevelBins((("a",), ("a",))),
        lambda: numeric_bins(np.array([]), most=5, minimum_rows=1),
        lambda: numeric_bins(np.array([np.inf]), most=5, minimum_rows=1),
        lambda: numeric_bins(np.array([1.0]), most=0, minimum_rows=1),
        lambda: level_bins(np.array([0]), ["a"], most=1, minimum_rows=0),
    ],
)
def test_bins_without_sense_are_refused(make):
    with pytest.raises(LocalError):
        make()
