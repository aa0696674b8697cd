"""The key-value store: every key reads its value, the table tells nothing of the keys, what fails fails loudly."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.errors import LocalError
from mpc.group.id_column import IdColumn
from mpc.kernels import set_intersection
from mpc.kernels.blake2b import digests_16
from mpc.rng import Rng
from mpc.sets.okvs import DENSE, Keys, Layout, Plan, decode


def rng(label: str = "okvs") -> Rng:
    return Rng(hashlib.sha256(label.encode()).digest())


def words(count: int, width: int, label: str):
    return rng(label).ring(count * width).reshape(count, width)


def keys_for(count: int, layout: Layout, label: str = "keys") -> Keys:
    return Keys.locate(words(count, 4, label), layout)


@given(st.integers(0, 700), st.integers(1, 5), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_every_key_reads_its_value_back(count, width, seed):
    layout = Layout(count)
    keys, values = keys_for(count, layout, str(seed)), words(count, width, f"values {seed}")
    assert np.array_equal(decode(keys, Plan(keys, layout).encode(values, rng(str(seed)))), values)


def test_what_peeling_leaves_over_is_solved_on_the_dense_rows():
    layout = Layout(300)
    keys = keys_for(300, layout)
    for k in range(1, 40):   # forty keys that share all three slots
        keys.places[k] = keys.places[0]
    values = words(300, 3, "values")
    assert np.array_equal(decode(keys, Plan(keys, layout).encode(values, rng())), values)


@pytest.mark.parametrize("count", [49, 60])
def test_more_left_over_than_the_dense_rows_carry_is_an_error(count):
    layout = Layout(300)
    keys = keys_for(300, layout)
    keys.places[:count] = keys.places[0]
    with pytest.raises(LocalError, match="could not be solved"):
        Plan(keys, layout).encode(words(300, 1, "values"), rng())


def test_one_key_with_two_values_is_an_error():
    layout = Layout(2)
    keys = Keys.locate(np.repeat(words(1, 4, "one"), 2, axis=0), layout)
    with pytest.raises(LocalError):
        Plan(keys, layout).encode(words(2, 1, "values"), rng())


def test_more_keys_than_the_layout_holds_are_refused():
    with pytest.raises(LocalError):
        Plan(keys_for(5, Layout(4)), Layout(4))


def test_a_table_has_the_size_of_its_layout_whatever_it_holds():
    layout = Layout(1000)
    for count in (0, 1, 1000):
        keys = keys_for(count, layout)
        assert Plan(keys, layout).encode(words(count, 2, "v"), rng()).shape == (layout.slots, 2)
    assert layout.slots < 1.75 * 1000 + DENSE
    assert Layout(1 << 20).slots < 1.5 * (1 << 20)


def chi_square(table) -> float:
    counts = np.bincount(table.view(np.uint8).reshape(-1), minlength=256)
    expected = counts.sum() / 256
    return float(((counts - expected) ** 2 / expected).sum())


def test_with_uniform_values_the_whole_table_looks_uniform():
    layout = Layout(4000)
    keys = keys_for(4000, layout)
    assert chi_square(Plan(keys, layout).encode(words(4000, 2, "values"), rng())) < 400  # 255 +- 22.6


def test_fault_free_slots_left_empty_are_found(monkeypatch):
    class Empty:
        def ring(self, count):
            return np.zeros(count, np.uint64)

    layout = Layout(4000)
    keys = keys_for(4000, layout)
    assert chi_square(Plan(keys, layout).encode(words(4000, 2, "values"), Empty())) > 400


def test_other_keys_read_noise():
    layout = Layout(2000)
    keys = keys_for(2000, layout)
    table = Plan(keys, layout).encode(np.zeros((2000, 1), np.uint64), rng())
    others = decode(keys_for(2000, layout, "others"), table)
    assert not np.any(others == 0)
    assert chi_square(others) < 400


def test_stores_of_ordinary_size_peel_with_at_most_a_few_left_over():
    left = []
    for trial in range(300):
        layout = Layout(500)
        keys = keys_for(500, layout, f"trial {trial}")
        order = np.empty(500, np.uint32)
        left.append(500 - set_intersection.peel(keys.places, layout.bin_slots, order, order.copy()))
    assert max(left) <= 6


# ---------------------------------------------------------------- digests


def test_digests_are_those_of_the_standard_library():
    draw = random.Random(1)
    for _ in range(40):
        ids = [draw.randbytes(draw.choice([0, 1, 7, 8, 16, 127, 128, 129, 256, 300])) for _ in range(6)]
        key = draw.randbytes(draw.randint(1, 64))
        column = IdColumn.of(ids)
        assert list(column) == ids
        found = [row.tobytes() for row in column.digests(key)]
        assert found == [hashlib.blake2b(i, key=key, digest_size=16).digest() for i in ids]


def test_a_part_of_a_column_is_that_part():
    ids = [b"a", b"", b"ccc", b"dd"]
    column = IdColumn.of(ids)
    assert list(column[1:3]) == ids[1:3]
    assert [column[i] for i in (0, 2, -1)] == [b"a", b"ccc", b"dd"]
    assert np.array_equal(column[1:].digests(b"k"), IdColumn.of(ids[1:]).digests(b"k"))
    assert "dd" not in repr(column)


def test_no_ids_have_no_digests():
    assert digests_16(np.zeros(0, np.uint8), np.zeros(1, np.int64), b"k").shape == (0, 2)
