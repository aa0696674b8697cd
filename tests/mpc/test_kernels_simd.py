"""The AVX512-IFMA engine against gmpy2's and Python's own integers, at its bounds, and with planted faults."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.errors import LocalError
from mpc.kernels import engine_name, modulus, simd, simd_multiexp
from mpc.kernels.gmp import GmpModulus
from mpc.kernels.simd import SimdModulus
from mpc.kernels.simd_emitter import LANES, LIMB_BITS
from mpc.kernels.simd_jit import Library, source
from mpc.kernels.simd_memory import SimdResidues

pytestmark = pytest.mark.skipif(not simd.available(), reason="this processor has no AVX512-IFMA")

DRAW = random.Random(20)


def odd(bits: int) -> int:
    return DRAW.getrandbits(bits) | (1 << (bits - 1)) | 1


MODULI = {
    "the smallest modulus": 3,
    "the smallest square": 9,
    "one full limb": (1 << 52) - 1,
    "the square of a 1024-bit prime's size": odd(1024) ** 2,
    "the square of a 1536-bit prime's size": odd(1536) ** 2,
    "a 2048-bit key squared": odd(2048) ** 2,
    "a 2047-bit key squared": odd(2047) ** 2,
    "a 3071-bit key squared": odd(3071) ** 2,
    "2^2048 - 1 squared, all limbs full": ((1 << 2048) - 1) ** 2,
    "2^1040 - 2^30 - 1 squared, as tight as the slack allows": ((1 << 1030) - (1 << 30) - 1) ** 2,
    "a 2047-bit number": odd(2047),
    "a 3071-bit number": odd(3071),
    "a Mersenne prime": (1 << 521) - 1,
}


@pytest.fixture(scope="module", params=list(MODULI))
def value(request: pytest.FixtureRequest) -> int:
    return MODULI[request.param]


def edges(value: int) -> list[int]:
    n = SimdModulus(value)._n
    near = [0, 1, 2, n - 1, n, n + 1, 2 * n, value - n, value - 2, value - 1, value // 2, (1 << LIMB_BITS) - 1]
    near += [n << LIMB_BITS, n * n - (n << LIMB_BITS), (n - 1) << LIMB_BITS]
    return sorted({v % value for v in near})


def test_every_pair_of_edge_values_multiplies_exactly(value: int) -> None:
    field, each = SimdModulus(value), edges(value)
    left = [a for a in each for _ in each]
    right = [b for _ in each for b in each]
    product = field.mul(field.load(left), field.load(right))
    assert field.store(product) == [a * b % value for a, b in zip(left, right, strict=True)]
    assert field.store(field.load(left)) == left
    assert field.store(field.pow_same(field.load(each), 2)) == [a * a % value for a in each]


def test_ten_thousand_random_products_equal_python_integers() -> None:
    draw, cases = random.Random(7), 0
    for value in MODULI.values():
        field, count = SimdModulus(value), 800
        left, right = ([draw.randrange(value) for _ in range(count)] for _ in range(2))
        product = field.store(field.mul(field.load(left), field.load(right)))
        assert product == [a * b % value for a, b in zip(left, right, strict=True)]
        squares = field.store(field.pow_same(field.load(left[:80]), 6))
        assert squares == [pow(a, 6, value) for a in left[:80]]
        cases += count
    assert cases >= 10**4


def test_operands_at_the_proven_bound_stay_within_it_and_exact(value: int) -> None:
    field = SimdModulus(value)
    n, h, parts = field._n, field._limbs, field._parts
    radix = 1 << (LIMB_BITS * h)

    def raw(components: list[int]) -> SimdResidues:
        limbs = [(c >> (LIMB_BITS * i)) & ((1 << LIMB_BITS) - 1) for c in components for i in range(h)]
        vector = field.empty(LANES)
        vector.words[:] = 0
        vector.words[0, : parts * h] = np.array(limbs, dtype=np.uint64)[:, None]
        return vector

    def components(vector: SimdResidues) -> list[int]:
        words = [int(w) for w in vector.words[0, : parts * h, 3]]
        assert all(w >> LIMB_BITS == 0 for w in words)
        return [sum(w << (LIMB_BITS * i) for i, w in enumerate(words[p * h : (p + 1) * h])) for p in range(parts)]

    greatest = [5 * n - 1] * parts
    total = sum(c * n**p for p, c in enumerate(greatest))
    square, power = field.mul(raw(greatest), raw(greatest)), field.pow_same(raw(greatest), 4)
    low, *high = components(square)
    assert low < 2 * n
    assert all(c < max(5 * n, n + 2) for c in high)
    assert (low + sum(high) * n) * radix % value == total * total % value
    assert field.store(power)[0] == pow(total * pow(radix, -1, value), 4, value)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_powers_and_products_equal_gmp(value: int, data: st.DataObject) -> None:
    fast, slow = SimdModulus(value), GmpModulus(value)
    values = data.draw(st.lists(st.integers(min_value=0, max_value=value * value), max_size=19))
    exponent = data.draw(st.integers(min_value=0, max_value=1 << 90))
    mine, theirs = fast.load(values), slow.load(values)
    assert fast.store(mine) == slow.store(theirs)
    assert fast.store(fast.pow_same(mine, exponent)) == slow.store(slow.pow_same(theirs, exponent))
    assert fast.product(mine) == slow.product(theirs)
    if values:
        single = fast.load(values[-1:])
        assert fast.store(fast.mul(mine, single)) == [v * values[-1] % value for v in values]
    exponents = [DRAW.getrandbits(DRAW.choice([1, 61, 130])) for _ in values]
    tables = fast.fixed_base(value // 3 + 1, 130, data.draw(st.sampled_from([1, 50, 3000])))
    assert fast.store(tables.pow(exponents)) == [pow(value // 3 + 1, e, value) for e in exponents]


@settings(max_examples=30, deadline=None)
@given(
    bits=st.sampled_from([1, 3, 16, 21, 63, 64]),
    rows=st.integers(min_value=1, max_value=40),
    columns=st.integers(min_value=0, max_value=11),
    seed=st.integers(min_value=0, max_value=1 << 32),
)
def test_multi_exponentiations_equal_gmp(bits: int, rows: int, columns: int, seed: int) -> None:
    draw, value = random.Random(seed), MODULI["the square of a 1024-bit prime's size"]
    fast, slow = SimdModulus(value), GmpModulus(value)
    top = (1 << bits) - 1
    cells = [draw.choice([0, 1, top, draw.getrandbits(bits)]) for _ in range(rows * columns)]
    exponents = np.array(cells, dtype=np.uint64).reshape(rows, columns)
    for name, count in (("multiexp_columns", rows), ("multiexp_rows", columns)):
        bases = [draw.randrange(value) for _ in range(count)]
        mine = fast.store(getattr(fast, name)(fast.load(bases), exponents, bits))
        assert mine == slow.store(getattr(slow, name)(slow.load(bases), exponents, bits)), name


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 9), (100, 3), (1000, 1), (777, 5)])
def test_buckets_over_several_chunks_and_slices_equal_gmp(
    rows: int, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simd_multiexp, "CHUNK_BATCHES", 3)
    draw, value = random.Random(rows), 1009**2
    fast, slow = SimdModulus(value), GmpModulus(value)
    bases = [draw.randrange(value) for _ in range(rows)]
    cells = [draw.getrandbits(20) for _ in range(rows * columns)]
    exponents = np.asfortranarray(np.array(cells, dtype=np.uint64).reshape(rows, columns))
    mine = fast.multiexp_columns(fast.load(bases), exponents, 20)
    assert fast.store(mine) == slow.store(slow.multiexp_columns(slow.load(bases), exponents, 20))


def test_plans_of_buckets_cover_all_rows_and_digits_and_use_few_lanes_in_vain() -> None:
    for rows, columns, bits in [(1, 1, 1), (30_000, 10, 20), (10**6, 20, 16), (5, 300, 64)]:
        plan = simd_multiexp.BucketPlan.cheapest(rows, columns, bits)
        assert plan.windows * plan.window >= bits
        assert plan.slices * plan.length >= rows
        assert plan.length % LANES == 0
    plan = simd_multiexp.BucketPlan.cheapest(30_000, 10, 20)
    jobs = plan.windows * plan.slices * 10
    assert -(-jobs // LANES) * LANES * plan.length <= 1.25 * jobs * plan.length


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_slices_and_concatenations_keep_order_at_any_offset(data: st.DataObject) -> None:
    field = SimdModulus(10007)
    vectors = data.draw(st.lists(st.lists(st.integers(min_value=0, max_value=10006), max_size=20), max_size=4))
    joined = field.concat([field.load(vector) for vector in vectors])
    flat = [v for vector in vectors for v in vector]
    assert field.store(joined) == flat
    start = data.draw(st.integers(min_value=0, max_value=len(flat)))
    stop = data.draw(st.integers(min_value=0, max_value=len(flat) + 3))
    assert field.store(field.slice(joined, start, stop)) == flat[start:stop]
    assert field.store(field.mul(field.slice(joined, start, stop), field.load([2]))) == [
        2 * v % 10007 for v in flat[start:stop]
    ]


def test_bytes_of_any_width_are_reduced_and_come_back_padded(value: int) -> None:
    field = SimdModulus(value)
    for width in (field.width, field.width + 1, field._packed_bytes, field._packed_bytes + 1, 2 * field.width + 9):
        data = b"\xff" * width + bytes(width) + bytes(range(1, 8)).ljust(width, b"\0")[:width]
        want = [int.from_bytes(data[i * width : (i + 1) * width], "little") % value for i in range(3)]
        residues = field.from_bytes(data, 3, width)
        assert field.to_bytes(residues, max(width, field.width)) == b"".join(
            v.to_bytes(max(width, field.width), "little") for v in want
        )


def test_two_threads_work_side_by_side_and_agree_with_one() -> None:
    field = SimdModulus(MODULI["a 2048-bit key squared"])
    vector = field.load([DRAW.randrange(field.value) for _ in range(64)])
    want, found = field.store(field.pow_same(vector, 65537)), {}

    def work(first: int) -> None:
        found[first] = field.store(field.pow_same(field.slice(vector, first, first + 32), 65537))

    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] + found[32] == want


def _agrees(value: int) -> bool:
    """Loading, multiplying, squaring and storing edge and random values, compared with Python."""
    field, draw = SimdModulus(value), random.Random(1)
    values = edges(value) + [draw.randrange(value) for _ in range(60)]
    residues = field.load(values)
    return (
        field.store(residues) == values
        and field.store(field.mul(residues, residues)) == [v * v % value for v in values]
        and field.store(field.pow_same(residues, 35)) == [pow(v, 35, value) for v in values]
    )


def _without_one_carry() -> Iterator[str]:
    text = source()
    for found in re.finditer(r"(?:lshr|ashr) (<8 x i64> [^\n]*)", text):
        yield text[: found.start()] + "and " + found.group(1).replace("i64 52", "i64 0") + text[found.end() :]


def test_every_dropped_carry_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    moduli = [odd(104) ** 2, ((1 << 198) - 3) ** 2, odd(205)]
    assert all(_agrees(value) for value in moduli)
    faulty = 0
    for text in _without_one_carry():
        assert text != source()
        monkeypatch.setattr(simd, "_library", Library(text))
        assert not all(_agrees(value) for value in moduli)
        faulty += 1
    assert faulty >= 15


def test_the_engine_is_chosen_by_itself_where_the_processor_has_it() -> None:
    assert engine_name() == "ifma"
    assert modulus(9).engine == "ifma"
    assert modulus(9, "gmp").engine == "gmp"


def test_wrong_inputs_are_refused() -> None:
    field = SimdModulus(1009)
    with pytest.raises(TypeError, match="another engine"):
        field.store(GmpModulus(1009).load([1]))
    with pytest.raises(ValueError, match="lengths"):
        field.mul(field.load([1, 2, 3]), field.load([1, 2]))
    with pytest.raises(ValueError, match="longer"):
        field.fixed_base(3, 8, 10).pow([256])
    with pytest.raises(ValueError, match="longer"):
        field.fixed_base(3, 8, 10).pow([-1])
    with pytest.raises(ValueError, match="negative"):
        field.pow_same(field.load([3]), -1)
    with pytest.raises(ValueError, match="longer"):
        field.multiexp_rows(field.load([3]), np.array([[16]], dtype=np.uint64), 4)
    with pytest.raises(ValueError, match="count"):
        field.from_bytes(b"abc", 2, 2)
    with pytest.raises(ValueError, match="width"):
        field.to_bytes(field.load([1]), 1)
    with pytest.raises(LocalError, match="too long"):
        SimdModulus((1 << 14000) + 1)
