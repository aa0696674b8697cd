"""ristretto255 in eight lanes: against plain integers and libsodium, at its bounds, with hostile bytes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llvmlite import ir

from mpc.group import ristretto255
from mpc.group.id_column import IdColumn
from mpc.kernels import cores, sodium
from mpc.kernels.compiling.library import Library, any_with, compiled
from mpc.kernels.curve import batches as curve
from mpc.kernels.curve import field as curve_field
from mpc.kernels.curve import points as curve_points
from mpc.kernels.curve.field import LIMBS, MASK, PRIME, RADIX_BITS, Field
from mpc.kernels.simd.emitter import LANES, PTR, Emitter
from mpc.kernels.simd.forms import Ifma
from mpc.kernels.simd.memory import aligned
from mpc.testing import ristretto as ideal
from tests.mpc.group.test_ristretto255 import REFUSED

pytestmark = pytest.mark.skipif(not curve.available(), reason="this processor has no AVX512-IFMA")

DRAW = random.Random(25519)
ORDER = ristretto255.ORDER
LARGEST_LIMB, LARGEST_COLUMN = (1 << 51) + (1 << 16) - 1, (1 << 62) - 1

SCALARS = {
    "the smallest ones": [1, 2, 7, 8, 9, 15, 16, 17, 127, 128],
    "the largest ones": [ORDER - 1, ORDER - 2, ORDER - 8, (ORDER - 1) // 2, (ORDER + 1) // 2, 1 << 252, (1 << 252) - 1],
    "every digit the same": [int(f"{digit:x}" * 62, 16) for digit in range(1, 16)],
    "a carry through all digits": [int("8" * 62, 16), int("7" * 62, 16) + 1, int("7" + "8" * 62, 16)],
}
HALVES = [
    value.to_bytes(32, "little")
    for value in (0, 1, 2, PRIME - 1, PRIME, PRIME + 1, 2**255 - 1, 2**255, 2**256 - 1, 2**256 - 38, MASK, 1 << 204,
                  curve_points.SQRT_M1, curve_points.D)
]


def some_elements(count: int) -> bytes:
    return sodium.from_uniform(DRAW.randbytes(64 * count))


def mapped(uniform: bytes) -> bytes:
    return curve.multiply_uniform(uniform, le(1))


def le(scalar: int) -> bytes:
    return scalar.to_bytes(32, "little")


def each(data: bytes, width: int = 32) -> list[bytes]:
    return [data[i : i + width] for i in range(0, len(data), width)]


# ---------------------------------------------------------------- against plain integers and libsodium


def test_the_constants_are_those_of_the_rfc() -> None:
    for name in ("D", "SQRT_M1", "SQRT_AD_MINUS_ONE", "INVSQRT_A_MINUS_D", "ONE_MINUS_D_SQ", "D_MINUS_ONE_SQ"):
        assert getattr(curve_points, name) == getattr(ideal, name), name


@given(st.binary(min_size=64, max_size=64), st.integers(1, ORDER - 1))
@settings(max_examples=25, deadline=None)
def test_mapping_and_multiplying_equal_plain_integers(uniform: bytes, scalar: int) -> None:
    point = ideal.one_way_map(uniform)
    element = ideal.encode(point)
    assert mapped(uniform) == element
    expected = ideal.encode(ideal.multiply(point, scalar)) if any(element) else None   # all zeros map to neutral
    assert curve.multiply(element, le(scalar)) == expected


def test_ten_thousand_random_points_equal_libsodium() -> None:
    uniform, scalar = DRAW.randbytes(64 * 10_000), le(DRAW.randrange(1, ORDER))
    points = mapped(uniform)
    assert points == sodium.from_uniform(uniform)
    assert curve.are_elements(points)
    assert curve.multiply(points, scalar) == sodium.multiply(points, scalar)


@pytest.mark.parametrize("count", [1, 8, 600])
def test_neutral_elements_among_others_spoil_no_inverse(count: int) -> None:
    """Encodings share an inverse; 64 zeros map to the neutral element, whose factor would be zero."""
    uniform = [DRAW.randbytes(64) for _ in range(count)]
    for place in {0, count // 2, count - 1}:
        uniform[place] = bytes(64)
    products = each(curve.multiply_uniform(b"".join(uniform), le(12345)))
    expected = [bytes(32) if not any(one) else sodium.multiply(sodium.from_uniform(one), le(12345)) for one in uniform]
    assert products == expected


def test_halves_at_the_edges_map_as_plain_integers_and_libsodium_say() -> None:
    uniform = b"".join(one + two for one in HALVES for two in HALVES)
    expected = [ideal.encode(ideal.one_way_map(both)) for both in each(uniform, 64)]
    assert each(mapped(uniform)) == each(sodium.from_uniform(uniform)) == expected


@pytest.mark.parametrize("which", SCALARS)
def test_scalars_at_the_edges_multiply_as_plain_integers_say(which: str) -> None:
    element = some_elements(1)
    point = ideal.decode(element)
    assert point is not None
    for scalar in [twice for one in SCALARS[which] for twice in (one, 2 * one % ORDER)]:   # half of it is written
        expected = ideal.encode(ideal.multiply(point, scalar))
        assert curve.multiply(element, le(scalar)) == expected == sodium.multiply(element, le(scalar))


@given(st.lists(st.integers(-8, 7), min_size=62, max_size=62), st.integers(0, 1))
@settings(max_examples=40, deadline=None)
def test_digits_of_a_number_add_up_to_it(digits: list[int], top: int) -> None:
    value = sum(digit << 4 * i for i, digit in enumerate(digits)) + (top << 248)
    if value >= 0:
        assert curve._digits(value).view(np.int64)[::-1].tolist() == [*digits, top, 0]


@given(st.integers(1, ORDER - 1))
def test_twice_the_half_of_a_scalar_is_the_scalar(scalar: int) -> None:
    half = curve._half(le(scalar))
    assert 0 < half < ORDER
    assert 2 * half % ORDER == scalar


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 16, 130])
def test_any_number_of_points_keeps_its_order(count: int) -> None:
    points, uniform = some_elements(count), DRAW.randbytes(64 * count)
    assert curve.multiply(points, le(3)) == sodium.multiply(points, le(3))
    assert mapped(uniform) == sodium.from_uniform(uniform)
    assert curve.are_elements(points)


def test_three_threads_give_what_one_thread_gives() -> None:
    points, uniform = some_elements(1003), DRAW.randbytes(64 * 1003)
    column = IdColumn.of([bytes(i % 200) for i in range(1003)])

    def everything() -> list[object]:
        expanded = curve.expand(column.data, column.offsets, b"label")
        return [curve.multiply(points, le(5)), mapped(uniform), curve.are_elements(points), expanded]

    alone = everything()
    cores.use(3)
    try:
        assert everything() == alone
    finally:
        cores.use(1)


@given(
    st.lists(st.one_of(st.binary(max_size=40), st.binary(min_size=90, max_size=400)), min_size=1, max_size=20),
    st.binary(min_size=1, max_size=255),
)
@settings(max_examples=60, deadline=None)
def test_expanding_equals_hashlib_for_messages_of_any_lengths_side_by_side(messages: list[bytes], dst: bytes) -> None:
    column = IdColumn.of(messages)
    expected = [ristretto255.expand_message_xmd(message, dst, 64) for message in messages]
    assert each(curve.expand(column.data, column.offsets, dst), 64) == expected
    last = column[len(messages) - 1 :]
    assert curve.expand(last.data, last.offsets, dst) == expected[-1]


def test_messages_that_fill_a_block_exactly_expand_like_hashlib() -> None:
    for dst in (b"x" * 10, b"x" * 44, b"x" * 45, b"x" * 46, b"x" * 109):
        messages = [bytes(length) for length in range(260)]
        column = IdColumn.of(messages)
        expected = b"".join(ristretto255.expand_message_xmd(message, dst, 64) for message in messages)
        assert curve.expand(column.data, column.offsets, dst) == expected


def test_nothing_in_gives_nothing_out() -> None:
    empty = IdColumn.of([])
    assert curve.multiply(b"", le(2)) == mapped(b"") == curve.expand(empty.data, empty.offsets, b"x") == b""
    assert curve.are_elements(b"")


# ---------------------------------------------------------------- what must be refused


@pytest.mark.parametrize("why", REFUSED)
def test_an_encoding_that_is_no_element_is_found_in_every_lane(why: str) -> None:
    good, bad = each(some_elements(11)), bytes.fromhex(REFUSED[why])
    for place in range(11):
        points = b"".join([*good[:place], bad, *good[place + 1 :]])
        assert not curve.are_elements(points)
        assert curve.multiply(points, le(2)) is None


def test_small_numbers_and_their_negatives_are_judged_alike_by_all() -> None:
    near = [k for base in (0, PRIME, 2**255, 2**255 + PRIME) for k in range(base - 40, base + 40) if 0 < k < 2**256]
    verdicts = [curve.are_elements(le(k)) for k in near]
    assert verdicts == [sodium.are_elements(le(k)) for k in near] == [ideal.decode(le(k)) is not None for k in near]
    assert 10 < sum(verdicts) < len(near) // 2


@given(st.binary(min_size=32, max_size=32), st.integers(0, 255))
@settings(max_examples=200, deadline=None)
def test_any_bytes_and_elements_with_a_flipped_bit_are_judged_alike_by_all(data: bytes, bit: int) -> None:
    element = sodium.from_uniform(data * 2)
    flipped = le(int.from_bytes(element, "little") ^ 1 << bit)
    for candidate in (data, flipped):
        expected = ideal.decode(candidate) is not None and any(candidate)
        assert curve.are_elements(candidate) is sodium.are_elements(candidate) is expected
        assert (curve.multiply(candidate, le(2)) is None) is (sodium.multiply(candidate, le(2)) is None) is not expected


# ---------------------------------------------------------------- bounds


def _field_library() -> Library:
    module = ir.Module("field")

    def function(name: str, emit: Callable[[Field, Emitter], list[object]]) -> None:
        e = Emitter(module, name, [PTR, PTR, PTR])
        Field(e).store(emit(Field(e), e), e.args[0])
        e.done()

    function("wide_product", lambda f, e: f.wide_product(f.load(e.args[1]), f.load(e.args[2])))
    function("wide_square", lambda f, e: f.wide_square(f.load(e.args[1])))
    function("minus", lambda f, e: f.minus(f.load(e.args[1]), f.load(e.args[2])))
    function("carry", lambda f, e: f.carry(f.load(e.args[1])))
    function("canonical", lambda f, e: f.canonical(f.load(e.args[1])))
    return Library(compiled(str(module), any_with(Ifma.features)))


@pytest.fixture(scope="module")
def field() -> Callable[..., list[int]]:
    library = _field_library()

    def call(name: str, *operands: list[int]) -> list[int]:
        areas = [aligned(LIMBS, LANES) for _ in range(3)]
        for area, operand in zip(areas[1:], operands, strict=False):
            area[:] = np.array(operand, dtype=np.uint64)[:, None]
        library.call(name, *areas)
        assert (areas[0] == areas[0][:, :1]).all()
        return [int(word) for word in areas[0][:, 0]]

    return call


def value(limbs: list[int]) -> int:
    return sum(limb << (RADIX_BITS * i) for i, limb in enumerate(limbs))


def operands() -> Iterator[list[int]]:
    yield [LARGEST_LIMB] * LIMBS
    for _ in range(60):
        yield [DRAW.choice([0, 1, MASK, MASK + 1, LARGEST_LIMB, DRAW.randrange(LARGEST_LIMB)]) for _ in range(LIMBS)]


def test_products_of_the_largest_elements_stay_below_their_bound_and_exact(field: Callable[..., list[int]]) -> None:
    for x in operands():
        for y in (x, [LARGEST_LIMB] * LIMBS, [MASK] * LIMBS):
            product, square = field("wide_product", x, y), field("wide_square", x)
            assert max(*product, *square) < 1 << 59
            assert value(product) % PRIME == value(x) * value(y) % PRIME
            assert value(square) % PRIME == value(x) ** 2 % PRIME


def test_sums_of_products_at_their_bounds_carry_into_elements(field: Callable[..., list[int]]) -> None:
    for low in (0, 1, (1 << 60) - 1):
        wide = field("minus", [3 * ((1 << 59) - 1)] * LIMBS, [low] * LIMBS)
        assert value(wide) % PRIME == (value([3 * ((1 << 59) - 1)] * LIMBS) - value([low] * LIMBS)) % PRIME
        assert max(wide) <= LARGEST_COLUMN
    for wide in ([LARGEST_COLUMN] * LIMBS, [0] * LIMBS, [MASK] * LIMBS, [1 << 51] * LIMBS):
        carried = field("carry", wide)
        assert max(carried) <= LARGEST_LIMB
        assert value(carried) % PRIME == value(wide) % PRIME


def test_the_canonical_form_of_any_element_is_its_remainder(field: Callable[..., list[int]]) -> None:
    p = curve_field.limbs_of(PRIME)
    for x in [*operands(), p, [p[0] - 1, *p[1:]], [p[0] + 1, *p[1:]], [MASK] * LIMBS]:
        assert field("canonical", x) == curve_field.limbs_of(value(x) % PRIME)
