"""The engines ifma and avx2 against gmpy2's and Python's own integers, at their bounds, and with planted faults."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Iterator

import llvmlite.binding as llvm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.errors import LocalError
from mpc.kernels.compiling.library import Library, any_with, code_generator, compiled
from mpc.kernels.engines.gmp import GmpModulus
from mpc.kernels.engines.selection import NEEDS, engine_name, modulus
from mpc.kernels.modulus import packed
from mpc.kernels.simd import engine as simd
from mpc.kernels.simd import multiexp
from mpc.kernels.simd.emitter import LANES
from mpc.kernels.simd.engine import SimdModulus, source
from mpc.kernels.simd.forms import MAX_LIMBS, Avx2, LimbEmitter
from mpc.kernels.simd.memory import SimdResidues

DRAW = random.Random(20)
FORMS = [form for form in simd.FORMS.values() if simd.available(form)]     # what this processor runs


@pytest.fixture(scope="module", params=FORMS, ids=lambda form: form.engine)
def form(request: pytest.FixtureRequest) -> type[LimbEmitter]:
    return request.param


def odd(bits: int) -> int:
    return DRAW.getrandbits(bits) | (1 << (bits - 1)) | 1


MODULI = {
    "the smallest modulus": 3,
    "the smallest square": 9,
    "one full limb": (1 << 52) - 1,
    "one full limb of 28 bits, squared": ((1 << 28) - 1) ** 2,
    "the square of a 1024-bit prime's size": odd(1024) ** 2,
    "the square of a 1536-bit prime's size": odd(1536) ** 2,
    "a 2048-bit key squared": odd(2048) ** 2,
    "a 2047-bit key squared": odd(2047) ** 2,
    "a 3071-bit key squared": odd(3071) ** 2,
    "2^2048 - 1 squared, all limbs full": ((1 << 2048) - 1) ** 2,
    "2^3072 - 1 squared, all limbs full": ((1 << 3072) - 1) ** 2,
    "2^1030 - 2^30 - 1 squared, as tight as the slack of 52-bit limbs allows": ((1 << 1030) - (1 << 30) - 1) ** 2,
    "2^1110 - 2^30 - 1 squared, as tight as the slack of 28-bit limbs allows": ((1 << 1110) - (1 << 30) - 1) ** 2,
    "2^2342 - 1 squared, the longest without a carry between its rows": ((1 << 2342) - 1) ** 2,
    "2^2343 - 1 squared, the shortest with one": ((1 << 2343) - 1) ** 2,
    "a 2047-bit number": odd(2047),
    "a 3071-bit number": odd(3071),
    "2^6144 - 1, all limbs full": (1 << 6144) - 1,
    "a Mersenne prime": (1 << 521) - 1,
}


@pytest.fixture(scope="module", params=list(MODULI))
def value(request: pytest.FixtureRequest) -> int:
    return MODULI[request.param]


@pytest.fixture(scope="module")
def field(value: int, form: type[LimbEmitter]) -> SimdModulus:
    return SimdModulus(value, form)


def edges(field: SimdModulus) -> list[int]:
    value, n, bits = field.value, field._n, field.form.limb_bits
    near = [0, 1, 2, n - 1, n, n + 1, 2 * n, value - n, value - 2, value - 1, value // 2, (1 << bits) - 1]
    near += [n << bits, n * n - (n << bits), (n - 1) << bits]
    return sorted({v % value for v in near})


def test_every_pair_of_edge_values_multiplies_exactly(field: SimdModulus) -> None:
    value, each = field.value, edges(field)
    left = [a for a in each for _ in each]
    right = [b for _ in each for b in each]
    product = field.mul(field.load(left), field.load(right))
    assert field.store(product) == [a * b % value for a, b in zip(left, right, strict=True)]
    assert field.store(field.load(left)) == left
    assert field.store(field.pow_same(field.load(each), 2)) == [a * a % value for a in each]


def test_ten_thousand_random_products_equal_python_integers(form: type[LimbEmitter]) -> None:
    draw, cases = random.Random(7), 0
    for value in MODULI.values():
        field, count = SimdModulus(value, form), 600
        left, right = ([draw.randrange(value) for _ in range(count)] for _ in range(2))
        product = field.store(field.mul(field.load(left), field.load(right)))
        assert product == [a * b % value for a, b in zip(left, right, strict=True)]
        squares = field.store(field.pow_same(field.load(left[:80]), 6))
        assert squares == [pow(a, 6, value) for a in left[:80]]
        cases += count
    assert cases >= 10**4


def raw(field: SimdModulus, components: list[int]) -> SimdResidues:
    """The residue with these components, below n or not, in every lane."""
    bits, each = field.form.limb_bits, field.form.per_word
    limbs = [(c >> (bits * i)) & ((1 << bits) - 1) for c in components for i in range(field._limbs)]
    words = [sum(limb << (32 * k) for k, limb in enumerate(limbs[i : i + each])) for i in range(0, len(limbs), each)]
    vector = field.empty(LANES)
    vector.words[:] = 0
    vector.words[0, : len(words)] = np.array(words, dtype=np.uint64)[:, None]
    return vector


def components(field: SimdModulus, vector: SimdResidues) -> list[int]:
    """The components of the residue in lane 3, whose limbs are within their bits."""
    bits, each, h = field.form.limb_bits, field.form.per_word, field._limbs
    words = [int(w) for w in vector.words[0, : field._parts * h // each, 3]]
    limbs = [w >> (32 * k) & (-1 if each == 1 else 0xFFFFFFFF) for w in words for k in range(each)]
    assert all(limb >> bits == 0 for limb in limbs)
    return [
        sum(limb << (bits * i) for i, limb in enumerate(limbs[p * h : (p + 1) * h])) for p in range(field._parts)
    ]


def stays_within_its_bound(field: SimdModulus) -> bool:
    """The greatest operands, multiplied, squared and to the fourth power, are exact and again below 5 n."""
    n, value = field._n, field.value
    radix = 1 << (field.form.limb_bits * field._limbs)
    greatest = [5 * n - 1] * field._parts
    total = sum(c * n**p for p, c in enumerate(greatest))
    product, power = field.mul(raw(field, greatest), raw(field, greatest)), field.pow_same(raw(field, greatest), 4)
    low, *high = components(field, product)
    return (
        low < 2 * n
        and all(c < max(5 * n, n + 2) for c in high)
        and (low + sum(high) * n) * radix % value == total * total % value
        and field.store(power)[0] == pow(total * pow(radix, -1, value), 4, value)
    )


def test_operands_at_the_proven_bound_stay_within_it_and_exact(field: SimdModulus) -> None:
    assert stays_within_its_bound(field)


@pytest.mark.skipif(not simd.available(Avx2), reason="this processor has no AVX2")
def test_sums_that_are_not_carried_between_rows_overflow() -> None:
    field = SimdModulus(MODULI["2^3072 - 1 squared, all limbs full"], Avx2)
    assert stays_within_its_bound(field)
    late = type("Late", (Avx2,), {"rows": MAX_LIMBS})
    field._lib = Library(compiled(source(late), any_with(Avx2.features)))
    assert not stays_within_its_bound(field)


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_powers_and_products_equal_gmp(field: SimdModulus, data: st.DataObject) -> None:
    value, fast, slow = field.value, field, GmpModulus(field.value)
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
    assert fast.store(tables.pow(packed(exponents, 17))) == [pow(value // 3 + 1, e, value) for e in exponents]


@settings(max_examples=30, deadline=None)
@given(
    bits=st.sampled_from([1, 3, 16, 21, 63, 64]),
    rows=st.integers(min_value=1, max_value=40),
    columns=st.integers(min_value=0, max_value=11),
    seed=st.integers(min_value=0, max_value=1 << 32),
)
def test_multi_exponentiations_equal_gmp(
    form: type[LimbEmitter], bits: int, rows: int, columns: int, seed: int
) -> None:
    draw, value = random.Random(seed), MODULI["the square of a 1024-bit prime's size"]
    fast, slow = SimdModulus(value, form), GmpModulus(value)
    top = (1 << bits) - 1
    cells = [draw.choice([0, 1, top, draw.getrandbits(bits)]) for _ in range(rows * columns)]
    exponents = np.array(cells, dtype=np.uint64).reshape(rows, columns)
    for name, count in (("multiexp_columns", rows), ("multiexp_rows", columns)):
        bases = [draw.randrange(value) for _ in range(count)]
        mine = fast.store(getattr(fast, name)(fast.load(bases), exponents, bits))
        assert mine == slow.store(getattr(slow, name)(slow.load(bases), exponents, bits)), name


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 9), (100, 3), (1000, 1), (777, 5)])
def test_buckets_over_several_chunks_and_slices_equal_gmp(
    form: type[LimbEmitter], rows: int, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multiexp, "CHUNK_BATCHES", 3)
    draw, value = random.Random(rows), 1009**2
    fast, slow = SimdModulus(value, form), GmpModulus(value)
    bases = [draw.randrange(value) for _ in range(rows)]
    cells = [draw.getrandbits(20) for _ in range(rows * columns)]
    exponents = np.asfortranarray(np.array(cells, dtype=np.uint64).reshape(rows, columns))
    mine = fast.multiexp_columns(fast.load(bases), exponents, 20)
    assert fast.store(mine) == slow.store(slow.multiexp_columns(slow.load(bases), exponents, 20))


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 9), (100, 3), (1000, 1), (777, 17)])
def test_groups_over_several_chunks_and_slices_equal_gmp(
    form: type[LimbEmitter], rows: int, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multiexp, "CHUNK_BATCHES", 3)
    draw, value = random.Random(rows), 1009**2
    fast, slow = SimdModulus(value, form), GmpModulus(value)
    bases = [draw.randrange(value) for _ in range(rows)]
    groups = np.random.default_rng(rows).integers(0, 20, (rows, columns)).astype(np.uint8)
    mine = fast.group_products(fast.load(bases), groups, 20)
    assert fast.store(mine) == slow.store(slow.group_products(slow.load(bases), groups, 20))


def test_plans_of_buckets_cover_all_rows_and_digits_and_use_few_lanes_in_vain() -> None:
    for rows, columns, bits in [(1, 1, 1), (30_000, 10, 20), (10**6, 20, 16), (5, 300, 64)]:
        plan = multiexp.BucketPlan.cheapest(rows, columns, bits)
        assert plan.windows * plan.window >= bits
        assert plan.slices * plan.length >= rows
        assert plan.length % LANES == 0
    plan = multiexp.BucketPlan.cheapest(30_000, 10, 20)
    jobs = plan.windows * plan.slices * 10
    assert -(-jobs // LANES) * LANES * plan.length <= 1.25 * jobs * plan.length


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_slices_and_concatenations_keep_order_at_any_offset(form: type[LimbEmitter], data: st.DataObject) -> None:
    field = SimdModulus(10007, form)
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


def test_bytes_of_any_width_are_reduced_and_come_back_padded(field: SimdModulus) -> None:
    value = field.value
    for width in (field.width, field.width + 1, field._packed_bytes, field._packed_bytes + 1, 2 * field.width + 9):
        data = b"\xff" * width + bytes(width) + bytes(range(1, 8)).ljust(width, b"\0")[:width]
        want = [int.from_bytes(data[i * width : (i + 1) * width], "little") % value for i in range(3)]
        residues = field.from_bytes(data, 3, width)
        assert field.to_bytes(residues, max(width, field.width)) == b"".join(
            v.to_bytes(max(width, field.width), "little") for v in want
        )


def test_two_threads_work_side_by_side_and_agree_with_one(form: type[LimbEmitter]) -> None:
    field = SimdModulus(MODULI["a 2048-bit key squared"], form)
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


def _agrees(field: SimdModulus) -> bool:
    """Loading, multiplying, squaring and storing edge and random values, compared with Python."""
    value, draw = field.value, random.Random(1)
    values = edges(field) + [draw.randrange(value) for _ in range(60)]
    residues = field.load(values)
    return (
        field.store(residues) == values
        and field.store(field.mul(residues, residues)) == [v * v % value for v in values]
        and field.store(field.pow_same(residues, 35)) == [pow(v, 35, value) for v in values]
    )


def _without_one_carry(form: type[LimbEmitter]) -> Iterator[str]:
    """The module with one of its shifts by a whole limb giving nothing."""
    text, shift = source(form), f"i64 {form.limb_bits}"
    for found in re.finditer(rf"(?:lshr|ashr) (<8 x i64> [^\n]*<{shift}, [^\n]*)", text):
        yield text[: found.start()] + "and " + found.group(1).replace(shift, "i64 0") + text[found.end() :]


def test_every_dropped_carry_is_caught(form: type[LimbEmitter]) -> None:
    moduli = [odd(104) ** 2, ((1 << 198) - 3) ** 2, odd(205), odd(2400) ** 2, odd(2400)]
    fields = [SimdModulus(value, form) for value in moduli]
    assert all(_agrees(field) for field in fields)
    faulty = 0
    for text in _without_one_carry(form):             # a third of a second each: all of the module is compiled anew
        library = Library(compiled(text, any_with(form.features)))
        for field in fields:
            field._lib = library
        assert not all(_agrees(field) for field in fields)
        faulty += 1
    assert faulty >= 15


@pytest.mark.parametrize("name", list(simd.FORMS))
def test_code_uses_the_instructions_of_its_form_and_none_beyond(name: str) -> None:
    form = simd.FORMS[name]
    text, generator = source(form), code_generator(any_with(form.features))
    code = generator.emit_assembly(llvm.parse_assembly(text))
    if form is Avx2:                       # one for each half of a vector; AVX-512 has masks and more registers
        assert code.count("vpmuludq") == 2 * text.count("mul <8 x i64>") > 20
        assert not re.search(r"zmm|ymm(1[6-9]|[23]\d)|%k[0-7]|vpmadd", code)
    else:
        assert code.count("vpmadd52") == text.count("call <8 x i64> @\"llvm.x86.avx512.vpmadd52") > 20


@pytest.mark.parametrize(
    ("runs", "chosen"), [({"ifma", "avx2"}, "ifma"), ({"avx2"}, "avx2"), (set(), "gmp")],
    ids=["AVX512-IFMA and AVX2", "AVX2 alone", "neither"],
)  # fmt: skip
def test_the_fastest_engine_that_the_processor_runs_is_chosen_by_itself(
    runs: set[str], chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simd, "available", lambda form: form.engine in runs)
    assert engine_name() == chosen
    assert modulus(9, "gmp").engine == "gmp"
    for name in NEEDS:
        if name in runs:
            assert engine_name(name) == name
        else:
            with pytest.raises(LocalError, match=f"no {NEEDS[name]}"):
                modulus(9, name)


def test_the_engine_is_the_one_that_was_asked_for(form: type[LimbEmitter]) -> None:
    assert modulus(9, form.engine).engine == form.engine
    assert set(NEEDS) == set(simd.FORMS)


def test_wrong_inputs_are_refused(form: type[LimbEmitter]) -> None:
    field = SimdModulus(1009, form)
    with pytest.raises(TypeError, match="another engine"):
        field.store(GmpModulus(1009).load([1]))
    with pytest.raises(ValueError, match="lengths"):
        field.mul(field.load([1, 2, 3]), field.load([1, 2]))
    with pytest.raises(ValueError, match="longer"):
        field.fixed_base(3, 9, 10).pow(packed([512], 2))
    with pytest.raises(ValueError, match="whole"):
        field.fixed_base(3, 9, 10).pow(bytes(3))
    with pytest.raises(ValueError, match="negative"):
        field.pow_same(field.load([3]), -1)
    with pytest.raises(ValueError, match="longer"):
        field.multiexp_rows(field.load([3]), np.array([[16]], dtype=np.uint64), 4)
    with pytest.raises(ValueError, match="count"):
        field.from_bytes(b"abc", 2, 2)
    with pytest.raises(ValueError, match="width"):
        field.to_bytes(field.load([1]), 1)
    with pytest.raises(LocalError, match="too long"):
        SimdModulus((1 << 14000) + 1, form)
