"""The arithmetic engines gmp and phe against Python's own integers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.errors import LocalError
from mpc.kernels.engines.selection import engine_name, modulus
from mpc.kernels.modulus import Modulus, packed
from mpc.kernels.windows import TABLE_BYTES, bucket_window, long_digits, short_digits, table_window

N = (1 << 521) - 1  # a Mersenne prime: odd, not a multiple of a limb
VALUES = st.lists(st.integers(min_value=0, max_value=N * N), min_size=1, max_size=9)
ENGINES = ["gmp", "phe"]


@pytest.fixture(scope="module", params=ENGINES)
def field(request: pytest.FixtureRequest) -> Modulus:
    return modulus(N, request.param)


def weighted(bases: Sequence[int], exponents: Sequence[int]) -> int:
    return math.prod(pow(b, int(e), N) for b, e in zip(bases, exponents, strict=True)) % N


@settings(max_examples=20, deadline=None)
@given(values=VALUES, others=VALUES)
def test_loading_multiplying_and_storing_equal_python_integers(
    field: Modulus, values: list[int], others: list[int]
) -> None:
    count = min(len(values), len(others))
    left, right = field.load(values[:count]), field.load(others[:count])
    assert field.store(left) == [v % N for v in values[:count]]
    assert field.store(field.mul(left, right)) == [a * b % N for a, b in zip(values, others, strict=False)]
    assert field.store(field.mul(left, field.load(others[:1]))) == [v * others[0] % N for v in values[:count]]
    assert field.product(left) == math.prod(values[:count]) % N


@settings(max_examples=20, deadline=None)
@given(values=VALUES, extra=st.integers(min_value=0, max_value=9))
def test_bytes_slices_and_concatenation_round_trip(field: Modulus, values: list[int], extra: int) -> None:
    residues = field.load(values)
    data = field.to_bytes(residues, field.width + extra)
    again = field.from_bytes(data, len(values), field.width + extra)
    cut = len(values) // 2
    joined = field.concat([field.slice(again, 0, cut), field.slice(again, cut, len(values))])
    assert field.store(joined) == field.store(residues) == [v % N for v in values]
    assert len(joined) == len(values)


@settings(max_examples=20, deadline=None)
@given(values=VALUES, exponent=st.integers(min_value=0, max_value=1 << 300))
def test_one_power_of_many_bases_equals_python_pow(field: Modulus, values: list[int], exponent: int) -> None:
    assert field.store(field.pow_same(field.load(values), exponent)) == [pow(v, exponent, N) for v in values]


@settings(max_examples=20, deadline=None)
@given(
    base=st.integers(min_value=0, max_value=N * N),
    exponents=st.lists(st.integers(min_value=0, max_value=(1 << 130) - 1), max_size=6),
    expected=st.sampled_from([1, 40, 10**5]),
)
def test_many_powers_of_one_base_equal_python_pow(
    field: Modulus, base: int, exponents: list[int], expected: int
) -> None:
    tables = field.fixed_base(base, 130, expected)
    assert field.store(tables.pow(packed(exponents, 17))) == [pow(base, e, N) for e in exponents]


@settings(max_examples=25, deadline=None)
@given(
    bits=st.sampled_from([1, 7, 16, 28, 64]),
    rows=st.integers(min_value=1, max_value=7),
    columns=st.integers(min_value=1, max_value=5),
    data=st.data(),
)
def test_multi_exponentiations_equal_python_pow(
    field: Modulus, bits: int, rows: int, columns: int, data: st.DataObject
) -> None:
    top = (1 << bits) - 1
    cells = data.draw(
        st.lists(st.sampled_from([0, 1, top, top // 3]), min_size=rows * columns, max_size=rows * columns)
    )
    exponents = np.array(cells, dtype=np.uint64).reshape(rows, columns)
    bases = [pow(3, 100 + i, N) for i in range(max(rows, columns))]
    by_row = field.multiexp_rows(field.load(bases[:columns]), exponents, bits)
    assert field.store(by_row) == [weighted(bases[:columns], row) for row in exponents]
    by_column = field.multiexp_columns(field.load(bases[:rows]), exponents, bits)
    assert field.store(by_column) == [weighted(bases[:rows], column) for column in exponents.T]


def test_long_inputs_use_wide_windows_and_stay_exact() -> None:
    field = modulus(N, "gmp")
    exponents = (np.arange(600, dtype=np.uint64) * np.uint64(2654435761)) % np.uint64(1 << 16)
    bases = [pow(5, i + 1, N) for i in range(600)]
    assert bucket_window(16, 600) > 4
    columns = field.multiexp_columns(field.load(bases), exponents.reshape(-1, 1), 16)
    assert field.store(columns) == [weighted(bases, exponents.tolist())]
    rows = field.multiexp_rows(field.load(bases[:1]), exponents.reshape(-1, 1), 16)
    assert field.store(rows) == [pow(bases[0], int(e), N) for e in exponents]


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(0, 30), columns=st.integers(0, 10), count=st.sampled_from([1, 2, 7, 255]),
       seed=st.integers(0, 99))
def test_products_of_groups_equal_python_integers(
    field: Modulus, rows: int, columns: int, count: int, seed: int
) -> None:
    groups = np.random.default_rng(seed).integers(0, count, (rows, columns)).astype(np.uint8)
    bases = [pow(3, 100 + i, N) for i in range(rows)]
    due = [1] * (columns * count)
    for base, row in zip(bases, groups.tolist(), strict=True):
        for j, group in enumerate(row):
            due[j * count + group] = due[j * count + group] * base % N
    assert field.store(field.group_products(field.load(bases), groups, count)) == due


@pytest.mark.parametrize(("groups", "count"), [
    (np.zeros((2, 1), np.uint8), 3), (np.full((1, 1), 3, np.uint8), 3), (np.zeros((1, 1), np.uint8), 0),
    (np.zeros((1, 1), np.uint8), 256),
], ids=["a row too many", "a group beyond the number", "no groups", "more groups than a byte tells apart"])
def test_groups_that_do_not_fit_are_refused(field: Modulus, groups: np.ndarray, count: int) -> None:
    with pytest.raises(ValueError, match="group"):
        field.group_products(field.load([3]), groups, count)


def test_empty_vectors_give_empty_results_and_the_product_one(field: Modulus) -> None:
    empty = field.load([])
    assert len(field.concat([])) == 0
    assert field.product(empty) == 1
    assert field.store(field.mul(empty, empty)) == []
    none = field.multiexp_columns(empty, np.zeros((0, 2), dtype=np.uint64), 16)
    assert field.store(none) == [1, 1]


def test_exponents_beyond_the_declared_width_are_refused(field: Modulus) -> None:
    with pytest.raises(ValueError, match="longer"):
        field.fixed_base(3, 9, 10).pow(packed([512], 2))
    with pytest.raises(ValueError, match="longer"):
        field.multiexp_rows(field.load([3]), np.array([[4]], dtype=np.uint64), 2)
    with pytest.raises(ValueError, match="longer"):
        field.multiexp_columns(field.load([3]), np.array([[4]], dtype=np.uint64), 2)
    with pytest.raises(ValueError, match="negative"):
        field.pow_same(field.load([3]), -1)


def test_shapes_that_do_not_fit_are_refused(field: Modulus) -> None:
    with pytest.raises(ValueError, match="argument 2 is longer"):
        field.mul(field.load([1, 2]), field.load([1, 2, 3]))
    with pytest.raises(ValueError, match="per base"):
        field.multiexp_rows(field.load([3]), np.zeros((2, 2), dtype=np.uint64), 4)
    with pytest.raises(ValueError, match="per base"):
        field.multiexp_columns(field.load([3]), np.zeros((2, 2), dtype=np.uint64), 4)
    with pytest.raises(ValueError, match="bytes"):
        field.from_bytes(b"12345", 2, 3)
    with pytest.raises(ValueError, match="width"):
        field.to_bytes(field.load([3]), field.width - 1)


@pytest.mark.parametrize("value", [0, 1, 2, 10, -7])
def test_even_and_tiny_moduli_are_refused(value: int) -> None:
    with pytest.raises(ValueError, match="odd"):
        modulus(value, "gmp")


def test_residues_of_one_engine_are_refused_by_another() -> None:
    with pytest.raises(TypeError, match="another engine"):
        modulus(N, "gmp").store(modulus(N, "phe").load([1]))
    with pytest.raises(TypeError, match="another engine"):
        modulus(N, "phe").store(modulus(N, "gmp").load([1]))


def test_an_unknown_engine_is_refused_with_advice() -> None:
    with pytest.raises(LocalError, match="choose one of"):
        modulus(N, "abacus")
    assert engine_name("auto") in ("gmp", "avx2", "ifma")


@given(exponent=st.integers(min_value=0, max_value=(1 << 77) - 1), window=st.integers(1, 12))
def test_digits_recompose_the_exponent(exponent: int, window: int) -> None:
    digits = long_digits(np.frombuffer(packed([exponent], 10), dtype=np.uint8)[None, :], 77, window)[0].tolist()
    assert sum(d << (i * window) for i, d in enumerate(digits)) == exponent
    short = exponent & 0xFFFF_FFFF_FFFF_FFFF
    parts = short_digits(np.array([short], dtype=np.uint64), 64, window)[:, 0].tolist()
    assert sum(d << (i * window) for i, d in enumerate(parts)) == short


def test_tables_stay_within_their_memory() -> None:
    for tables, bits in ((1, 4200), (40, 16), (300, 28)):
        window = table_window(bits, tables, 10**6, 600)
        assert tables * -(-bits // window) * 600 << window <= TABLE_BYTES
    assert table_window(2088, 1, 5, 552) < table_window(2088, 1, 10**5, 552)
