"""ristretto255 against the published vectors, algebra on random elements, and every encoding it must refuse."""

from __future__ import annotations

import copy
import hashlib
import json
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import rbcl
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.group import ristretto255
from mpc.group.ristretto255 import IDENTITY, ORDER, InvalidPoint, PointVector, Scalar
from mpc.kernels.curve import batches as curve
from mpc.rng import Rng

VECTORS = Path(__file__).resolve().parents[3] / "../shared/vectors"
pytestmark = pytest.mark.usefixtures("points_engine")
needs_vectors = pytest.mark.skipif(not VECTORS.is_dir(), reason="public test vectors are not beside the checkout")

# RFC 9496 appendix A.2: encodings that must be refused, and why
REFUSED = {
    "the high bit is set": "00ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "2^255 - 1, not reduced": "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "p + 6, not reduced": "f3ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "p, not reduced": "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "1, a negative field element": "0100000000000000000000000000000000000000000000000000000000000000",
    "a negative, not reduced one": "01ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "a negative field element": "ed57ffd8c914fb201471d1c3d245ce3c746fcbe63a3679d51b6a516ebebe0e20",
    "another negative field element": "c34c4e1826e5d403b78e246e88aa051c36ccf0aafebffe137d148a2bf9104562",
    "x^2 is no square": "26948d35ca62e643e26a83177332e6b6afeb9d08e4268b650f1f5bbd8d81d371",
    "x^2 is no square again": "4eac077a713c57b4f4397629a4145982c661f48044dd3f96427d40b147d9742f",
    "x y is negative": "3eb858e78f5a7254d8c9731174a94f76755fd3941c0ac93735c07ba14579630e",
    "x y is negative again": "a45fdc55c76448c049a1ab33f17023edfb2be3581e9c7aade8a6125215e04220",
    "s = -1, where y = 0": "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "the neutral element": "00" * 32,
}
# RFC 9496 appendix A.1: 1, 2, 3 times the generator
MULTIPLES = [
    "e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76",
    "6a493210f7499cd17fecb510ae0cea23a110e8d5b901f8acadd3095c73a3b919",
    "94741f5d5d52755ece4f23f044ee27d5d1ea1e2bd196b462166b16152a9d0259",
]

scalars = st.integers(1, ORDER - 1).map(Scalar)
labels = st.binary(min_size=1, max_size=40)


def some_points(count: int = 3) -> PointVector:
    return ristretto255.hash_to_group([b"%d" % i for i in range(count)], b"test label")


def scalar_of(hexadecimal: str) -> Scalar:
    return Scalar(int.from_bytes(bytes.fromhex(hexadecimal), "little"))


@needs_vectors
def test_expansion_equals_the_vectors_of_rfc_9380():
    data = json.loads((VECTORS / "rfc9380_expand_message_xmd_sha512.json").read_text())
    assert len(data["tests"]) >= 5
    for case in data["tests"]:
        out = ristretto255.expand_message_xmd(case["msg"].encode(), data["DST"].encode(), int(case["len_in_bytes"], 16))
        assert out.hex() == case["uniform_bytes"]


@needs_vectors
@pytest.mark.parametrize("mode", [0, 1, 2])
def test_hashing_and_multiplying_equal_the_vectors_of_rfc_9497(mode):
    suites = json.loads((VECTORS / "rfc9497_ristretto255_sha512.json").read_text())
    (suite,) = [s for s in suites if s["mode"] == mode]
    key = scalar_of(suite["skSm"])
    if mode:
        assert ristretto255.multiply_base(key).data.hex() == suite["pkSm"]
        assert ristretto255.multiply(PointVector(bytes.fromhex(MULTIPLES[0])), key).data.hex() == suite["pkSm"]
    for case in suite["vectors"]:
        messages, blinds = case["Input"].split(","), case["Blind"].split(",")
        elements, answers = case["BlindedElement"].split(","), case["EvaluationElement"].split(",")
        for message, blind, blinded, answer in zip(messages, blinds, elements, answers, strict=True):
            hashed = ristretto255.hash_to_group([bytes.fromhex(message)], bytes.fromhex(suite["groupDST"]))
            assert ristretto255.multiply(hashed, scalar_of(blind)).data.hex() == blinded
            if mode == 2:               # the key is tweaked by public information; the base mode has no such step
                ristretto255.check(PointVector(bytes.fromhex(answer)))
            else:
                assert ristretto255.multiply(PointVector(bytes.fromhex(blinded)), key).data.hex() == answer


@needs_vectors
def test_outputs_of_the_base_mode_equal_the_vectors_of_rfc_9497():
    (oprf,) = [s for s in json.loads((VECTORS / "rfc9497_ristretto255_sha512.json").read_text()) if s["mode"] == 0]
    for case in oprf["vectors"]:
        message = bytes.fromhex(case["Input"])
        hashed = ristretto255.hash_to_group([message], bytes.fromhex(oprf["groupDST"]))
        bare = ristretto255.multiply(hashed, scalar_of(oprf["skSm"])).data
        framed = b"".join(len(p).to_bytes(2, "big") + p for p in (message, bare)) + b"Finalize"
        assert hashlib.sha512(framed).hexdigest() == case["Output"]


def test_small_multiples_of_the_generator_equal_the_vectors_of_rfc_9496():
    assert [ristretto255.multiply_base(Scalar(k)).data.hex() for k in (1, 2, 3)] == MULTIPLES


def test_the_one_way_map_equals_the_vector_of_rfc_9496(monkeypatch):
    uniform = hashlib.sha512(b"Ristretto is traditionally a short shot of espresso coffee").digest()
    monkeypatch.setattr(ristretto255, "expand_message_xmd", lambda message, dst, length: uniform)
    monkeypatch.setattr(curve, "expand", lambda data, offsets, dst: uniform)
    assert ristretto255.hash_to_group([b""], b"x").data.hex() == (
        "3066f82a1a747d45120d1740f14358531a8f04bbffe6a819f86dfe50f44a0a46"
    )


@pytest.mark.parametrize("why", REFUSED)
def test_an_encoding_that_is_no_element_is_refused_everywhere(why):
    bad = PointVector(some_points(1).data + bytes.fromhex(REFUSED[why]))
    with pytest.raises(InvalidPoint):
        ristretto255.multiply(bad, Scalar(2))
    with pytest.raises(InvalidPoint):
        ristretto255.check(bad)
    if bad.data[32:] != IDENTITY:
        with pytest.raises(InvalidPoint):
            ristretto255.add(bad, some_points(2))
        with pytest.raises(InvalidPoint):
            ristretto255.subtract(some_points(2), bad)


@given(st.integers(0, 2), st.sampled_from([b"a", b"b", b"c"]))
@settings(max_examples=9, deadline=None)
def test_no_element_has_a_second_encoding_with_the_high_bit_set(place, name):
    data = bytearray(ristretto255.hash_to_group([name] * 3, b"x").data)
    data[32 * place + 31] |= 0x80
    with pytest.raises(InvalidPoint):
        ristretto255.multiply(PointVector(bytes(data)), Scalar(2))


@given(scalars, st.lists(labels, min_size=1, max_size=3), labels)
@settings(max_examples=15, deadline=None)
def test_hashing_and_multiplying_at_once_is_one_after_the_other(scalar, messages, dst):
    expected = ristretto255.multiply(ristretto255.hash_to_group(messages, dst), scalar)
    assert ristretto255.hash_and_multiply(messages, dst, scalar) == expected


@given(scalars, scalars, labels)
@settings(max_examples=30, deadline=None)
def test_blinding_commutes(one, two, label):
    points = ristretto255.hash_to_group([label, label + b"."], b"x")
    multiply = ristretto255.multiply
    assert multiply(multiply(points, one), two) == multiply(multiply(points, two), one)


def test_the_inverse_undoes_a_multiplication():
    for seed in range(5):
        scalar = Scalar.random(Rng(bytes([seed] * 32)))
        points = ristretto255.hash_to_group([b"a", b"b"], b"label")
        assert ristretto255.multiply(ristretto255.multiply(points, scalar), scalar.inverse()) == points


@given(st.integers(1, ORDER - 1), st.integers(1, ORDER - 1))
@settings(max_examples=20, deadline=None)
def test_multiples_add_like_integers(one, two):
    total = (one + two) % ORDER
    left, right = ristretto255.multiply_base(Scalar(one)), ristretto255.multiply_base(Scalar(two))
    summed = ristretto255.add(left, right)
    assert summed.data == (ristretto255.multiply_base(Scalar(total)).data if total else IDENTITY)
    assert ristretto255.subtract(summed, right) == left


def test_a_batch_equals_the_checked_wrappers_of_the_library_one_by_one():
    rng = Rng(bytes(32))
    scalar, points = Scalar.random(rng), some_points(20)
    raw = scalar._bytes
    expected = [rbcl.crypto_scalarmult_ristretto255(raw, points[i:i + 1].data) for i in range(20)]
    assert ristretto255.multiply(points, scalar).data == b"".join(expected)


def test_the_session_label_changes_every_point():
    ids = [b"%d" % i for i in range(50)]
    one, two = (set(ristretto255.hash_to_group(ids, label).values()) for label in (b"label one", b"label two"))
    assert len(one) == len(two) == 50
    assert not one & two


def test_a_scalar_outside_its_range_is_refused():
    for value in (0, ORDER, -1, 2**256):
        with pytest.raises(ValueError, match="scalar"):
            Scalar(value)


def test_random_scalars_differ_and_fill_the_range():
    rng = Rng(bytes(32))
    drawn = [int.from_bytes(Scalar.random(rng)._bytes, "little") for _ in range(200)]
    assert len(set(drawn)) == 200
    assert all(0 < value < ORDER for value in drawn)
    assert 60 < sum(value > ORDER // 2 for value in drawn) < 140


def test_a_scalar_is_never_printed_pickled_copied_or_used_as_a_truth_value():
    scalar = Scalar(123456789)
    assert "123456789" not in f"{scalar!r}{scalar}{[scalar]}"
    assert (scalar == Scalar(123456789)) is True
    assert (scalar == Scalar(2)) is False
    for accident in (pickle.dumps, bool, hash, copy.deepcopy):
        with pytest.raises(TypeError):
            accident(scalar)


def test_a_vector_counts_cuts_takes_and_joins():
    points = some_points(5)
    assert len(points) == 5
    assert PointVector.join([points[:2], points[2:]]) == points
    assert points.take(np.array([4, 0])).data == points[4:5].data + points[0:1].data
    assert len(PointVector(b"")) == 0
    assert ristretto255.multiply(PointVector(b""), Scalar(2)) == PointVector(b"")
    for bad in (b"x" * 31, b"x" * 33):
        with pytest.raises(ValueError, match="32-byte"):
            PointVector(bad)
    with pytest.raises(ValueError, match="one piece"):
        points[::2]


@pytest.mark.parametrize(("available", "compiled", "lanes_from"), [(1, 1, 8), (1, 0, 20), (0, 1, 0)])
def test_few_points_and_other_processors_are_served_by_libsodium(monkeypatch, available, compiled, lanes_from):
    monkeypatch.setattr(ristretto255, "FEW_POINTS", 8)
    monkeypatch.setattr(ristretto255, "MANY_POINTS", 20)
    monkeypatch.setattr(curve, "available", lambda: available)
    monkeypatch.setattr(curve, "compiled", lambda: compiled)
    one, taken = some_points(1), []
    monkeypatch.setattr(curve, "are_elements", lambda points: taken.append(len(points) // 32) or True)
    for count in (1, 7, 8, 19, 20, 21):
        ristretto255.check(PointVector.join([one] * count))
    assert taken == [count for count in (1, 7, 8, 19, 20, 21) if lanes_from and count >= lanes_from]


def test_warming_compiles_where_the_processor_has_lanes_and_nowhere_else(monkeypatch):
    compiled = []
    monkeypatch.setattr(curve, "library", lambda: compiled.append(1))
    for available in (False, True):
        monkeypatch.setattr(curve, "available", lambda available=available: available)
        ristretto255.warm()
        assert compiled == [1] * available


def test_vectors_of_different_lengths_are_not_added():
    with pytest.raises(ValueError, match="different lengths"):
        ristretto255.add(some_points(2), some_points(3))


def test_the_expansion_refuses_labels_and_lengths_out_of_range():
    for dst, length in ((b"", 64), (b"x" * 256, 64), (b"x", 0), (b"x", 255 * 64 + 1)):
        with pytest.raises(ValueError, match="255"):
            ristretto255.expand_message_xmd(b"m", dst, length)


def test_multiplying_leaves_other_threads_running(points_engine):
    count = 30_000 if points_engine == "lanes" else 3000   # 0.15 s; with the lock held there would be one or two ticks
    points, ticks, done = some_points(count), [], threading.Event()

    def tick():
        while not done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.002)

    clock = threading.Thread(target=tick)
    clock.start()
    ristretto255.multiply(points, Scalar(3))
    done.set()
    clock.join()
    assert len(ticks) >= 10


def test_importing_leaves_no_copy_of_the_library_behind(tmp_path):
    code = "from mpc.group.ristretto255 import Scalar, multiply_base; assert len(multiply_base(Scalar(2))) == 1"
    root = Path(__file__).resolve().parents[3]
    subprocess.run([sys.executable, "-c", code], env={"TMPDIR": str(tmp_path)}, cwd=root, check=True)
    assert list(tmp_path.iterdir()) == []
