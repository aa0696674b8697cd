"""No two sets of rows that are counted differ in a few rows, and what does not come near is left as it is."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mpc.credit.fine_bins import LevelBins, NumericBins, level_bins, numeric_bins
from party_node.data import near_bins
from party_node.data.near_bins import CutColumn, apart

CELL, SIDE = 20, 5


def cut(name: str, values: NDArray[np.float64], most: int = 6, special: tuple[float, ...] = ()) -> CutColumn:
    bins = numeric_bins(values, most=most, minimum_rows=CELL, special=special)
    return CutColumn(name, bins, bins.codes(values).astype(np.uint8))


def levels(name: str, codes: NDArray[np.int64]) -> CutColumn:
    names = tuple("abcdefgh")
    bins = level_bins(codes.astype(np.int32), names, most=8, minimum_rows=CELL)
    return CutColumn(name, bins, bins.codes(codes, names).astype(np.uint8))


def counted_sets(one: CutColumn) -> list[frozenset[int]]:
    """Rows of every range of regular bins (or level) and of every bin apart, by the definition."""
    bins = one.bins
    ranges = [(k, k + 1) for k in range(bins.count)]
    if isinstance(bins, NumericBins):
        ranges += list(combinations(range(bins.regular + 1), 2))
    return [frozenset(np.flatnonzero((one.codes >= first) & (one.codes < stop)).tolist()) for first, stop in ranges]


def too_near(columns: list[CutColumn]) -> set[tuple[int, int]]:
    """Sizes of what two sets of different columns have each alone, where they are too near."""
    found = set()
    everybody = frozenset(range(len(columns[0].codes)))
    for one, other in combinations(columns, 2):
        for a in counted_sets(one):
            for b in counted_sets(other):
                for c in (b, everybody - b):
                    alone = len(a - c), len(c - a)
                    if 0 < sum(alone) < CELL and min(alone) < SIDE and a != everybody and b != everybody:
                        found.add(alone)
    return found


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), changed=st.integers(0, 40), sample=st.sampled_from([50, 5000]))
def test_no_two_sets_that_are_counted_come_too_near(seed: int, changed: int, sample: int) -> None:
    draw, patch = np.random.default_rng(seed), pytest.MonkeyPatch()
    with patch.context() as patched:
        patched.setattr(near_bins, "_SAMPLE_ROWS", sample)
        first = draw.normal(size=300)
        first[:60] = np.nan
        second = np.where(np.isnan(first), np.nan, draw.normal(size=300))      # missing together but for a few
        second[draw.choice(300, changed, replace=False)] = np.nan
        third = first.copy()
        third[draw.choice(300, changed, replace=False)] = 0.5
        columns = [cut("first", first), cut("second", second), cut("third", third),
                   levels("level", np.where(np.isnan(first), 0, draw.integers(1, 4, 300))),
                   cut("mirrored", -first + np.where(np.arange(300) < changed, 3.0, 0.0))]
        kept, left_out = apart(columns, CELL, SIDE)
    assert too_near(kept) == set()
    assert {one.name for one in kept} | {name for name, _ in left_out} == {one.name for one in columns}
    for one in kept:
        assert np.bincount(one.codes, minlength=one.bins.count).min() >= CELL
        assert one.bins.count > 1
        if isinstance(one.bins, NumericBins):
            values = {"first": first, "second": second, "third": third}.get(one.name)
            if values is not None:
                assert np.array_equal(one.bins.codes(values), one.codes)


def test_columns_that_do_not_come_near_one_another_stay_as_they_are() -> None:
    draw = np.random.default_rng(1)
    columns = [cut(f"c{k}", draw.normal(size=3000), most=20) for k in range(8)]
    assert apart(columns, CELL, SIDE) == (columns, [])


def test_equal_bins_show_nobody_and_stay() -> None:
    values = np.random.default_rng(2).normal(size=400)
    columns = [cut("one", values), cut("the same", values), cut("its logarithm", np.exp(values))]
    assert apart(columns, CELL, SIDE)[0] == columns


def test_missing_cells_of_nearly_the_same_rows_lose_their_own_bin_and_the_rest_stays() -> None:
    draw = np.random.default_rng(3)
    one, other = draw.normal(size=(2, 2000))
    one[:300] = other[:303] = np.nan
    (first, second), left_out = apart([cut("one", one), cut("other", other)], CELL, SIDE)
    assert not left_out
    assert first.bins == cut("one", one).bins
    before = cut("other", other).bins
    assert isinstance(before, NumericBins)
    assert isinstance(second.bins, NumericBins)
    assert second.bins.edges == before.edges
    assert (before.missing, second.bins.missing) == (before.regular, int(np.argmax(np.bincount(second.codes))))


def test_a_column_that_repeats_another_but_for_a_few_rows_is_left_out_by_name() -> None:
    values = np.random.default_rng(4).permutation(500).astype(np.float64)
    nearly = np.where(values < 3, 1000.0 + values, values)
    kept, left_out = apart([cut("one", values), cut("nearly", nearly)], CELL, SIDE)
    assert [column.name for column in kept] == ["one"]
    assert left_out == [("nearly", "its bins differ from those of `one` in fewer than 20 rows")]


def test_levels_that_come_near_join_the_largest_other() -> None:
    draw = np.random.default_rng(5)
    codes = draw.integers(0, 3, 600)
    flag = np.where(codes == 2, 1.0, 0.0)
    flag[np.flatnonzero(codes == 2)[:4]] = 0.0
    (first, second), _ = apart([cut("flag", flag), levels("level", codes)], CELL, SIDE)
    assert first.bins.count == 2
    assert isinstance(second.bins, LevelBins)
    assert second.bins.count == 2
    assert sorted(map(len, second.bins.groups)) == [1, 2]


@pytest.mark.parametrize("shape", [(190, 20, 190), (1, 3, 2), (231, 64, 2080)])
def test_products_in_blocks_are_the_products_and_no_block_is_large_enough_for_threads(
    shape: tuple[int, int, int]
) -> None:
    rows, inner, columns = shape
    draw = np.random.default_rng(1)
    left, right = draw.integers(0, 9, (rows, inner)).astype(float), draw.integers(0, 9, (inner, columns)).astype(float)
    seen: list[int] = []

    class Counted(np.ndarray[tuple[int, int], np.dtype[np.float64]]):
        def __matmul__(self, other: NDArray[np.float64]) -> NDArray[np.float64]:   # type: ignore[override]
            seen.append(len(self) * inner * other.shape[1])
            return np.asarray(self) @ other

    assert np.array_equal(near_bins._product(left.view(Counted), right), left @ right)
    assert max(seen) <= max(near_bins._ONE_THREAD, inner * columns)
