"""Paillier: encryption, decryption and arithmetic against plain integers, the sendable type, the gate."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Callable

import gmpy2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mpc.errors import LocalError, Reason
from mpc.kernels.modulus import Residues
from mpc.paillier.ciphertexts import BadCiphertext, CipherVector, PublicKey, SealedVector, seal
from mpc.paillier.encryption import PublicBlinder, Randomness, public_encryptor
from mpc.paillier.keys import PrivateKey, generate
from mpc.paillier.rerandomisation import GroupBlinder, Rerandomiser
from mpc.rng import Rng
from mpc.testing.keys import small_key

KEY = small_key(384)
PUBLIC = KEY.public
N = PUBLIC.n
PLAIN = st.lists(st.integers(min_value=0, max_value=N - 1), min_size=1, max_size=5)


def rng(label: str = "test") -> Rng:
    return Rng(bytes(32)).child(label)


def encrypted(values: list[int], label: str = "enc") -> CipherVector:
    sealed = KEY.encryptor(rng(label), len(values)).encrypt(values)
    return PUBLIC.parse(sealed, len(values))


def sealed_of(*ciphertexts: int) -> SealedVector:
    data = b"".join(c.to_bytes(PUBLIC.width, "little") for c in ciphertexts)
    return SealedVector.received(data, len(ciphertexts), PUBLIC.width)


def residues_mod_n(sealed: SealedVector) -> list[int]:
    pieces = (sealed.data[i : i + sealed.width] for i in range(0, len(sealed.data), sealed.width))
    return [int.from_bytes(piece, "little") % N for piece in pieces]


@settings(max_examples=20, deadline=None)
@given(values=PLAIN, seed=st.integers(0, 1 << 60))
def test_owner_and_public_encryption_and_rerandomisation_decrypt_to_what_went_in(
    values: list[int], seed: int
) -> None:
    source = rng(str(seed))
    own = KEY.encryptor(source, 10).encrypt(values)
    public = public_encryptor(PUBLIC, source, 10).encrypt(values)
    again = Rerandomiser(PUBLIC, source, 10).seal(PUBLIC.parse(own, len(values)))
    for sealed in (own, public, again):
        assert KEY.decrypt(PUBLIC.parse(sealed, len(values))) == values
    assert len({own.data, public.data, again.data}) == 3


@settings(max_examples=20, deadline=None)
@given(values=PLAIN, factor=st.integers(0, 1 << 70), extra=st.integers(0, N - 1))
def test_arithmetic_on_ciphertexts_equals_arithmetic_mod_n(values: list[int], factor: int, extra: int) -> None:
    vector = encrypted(values)
    extras = [extra] * len(values)
    assert KEY.decrypt(vector.add(encrypted(extras, "b"))) == [(v + extra) % N for v in values]
    assert KEY.decrypt(vector.add_plain(extras)) == [(v + extra) % N for v in values]
    assert KEY.decrypt(vector.scale(factor)) == [v * factor % N for v in values]
    assert KEY.decrypt(vector.slice(0, 1)) == values[:1]


@settings(max_examples=10, deadline=None)
@given(data=st.data(), bits=st.sampled_from([3, 16, 28]))
def test_rows_and_columns_equal_integer_matrix_products(data: st.DataObject, bits: int) -> None:
    cell = st.integers(0, (1 << bits) - 1)
    weights = np.array(data.draw(st.lists(cell, min_size=12, max_size=12)), dtype=np.uint64).reshape(4, 3)
    values = [5, N - 1, 1 << 200, 77]
    by_row = KEY.decrypt(encrypted(values[:3]).rows(weights, bits))
    assert by_row == [sum(int(w) * v for w, v in zip(row, values, strict=False)) % N for row in weights]
    by_column = KEY.decrypt(encrypted(values).columns(weights, bits))
    assert by_column == [sum(int(w) * v for w, v in zip(col, values, strict=True)) % N for col in weights.T]


@pytest.mark.parametrize("value", [-1, N, N + 1])
def test_plaintexts_outside_the_range_are_refused_everywhere(value: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        KEY.encryptor(rng(), 1).encrypt([value])
    with pytest.raises(ValueError, match="outside"):
        public_encryptor(PUBLIC, rng(), 1).encrypt([value])
    with pytest.raises(ValueError, match="outside"):
        small_key(384, 1, "phe").encryptor(rng(), 1).encrypt([value])
    with pytest.raises(ValueError, match="outside"):
        encrypted([1]).add_plain([value])


def test_a_generated_key_has_the_form_that_rerandomisation_relies_on() -> None:
    p, q = KEY.primes
    assert p % 4 == q % 4 == 3
    assert gmpy2.gcd(p - 1, q - 1) == 2
    assert (p * q).bit_length() == 384
    for prime in (p, q):
        odd_part = (prime - 1) // 2
        assert gmpy2.gcd(odd_part, gmpy2.primorial(1 << 16)) == 1


def test_owner_encryption_is_uniform_over_all_nth_residues_of_a_tiny_key() -> None:
    key = PrivateKey(7, 11, ((2, 3), (2, 5)), "gmp")
    encryptor = key.encryptor(rng("tiny"), 10)
    counts: dict[int, int] = {}
    draws = 6000
    sealed = encryptor.encrypt([0] * draws)
    for i in range(draws):
        value = int.from_bytes(sealed.data[i * sealed.width : (i + 1) * sealed.width], "little")
        counts[value] = counts.get(value, 0) + 1
    expected = {pow(r, 77, 77 * 77) for r in range(1, 77) if gmpy2.gcd(r, 77) == 1}
    assert set(counts) == expected
    chi_square = sum((c - draws / 60) ** 2 / (draws / 60) for c in counts.values())
    assert chi_square < 120  # 59 degrees of freedom: exceeded once in 10^5


def test_an_imported_key_without_known_factors_draws_from_the_same_residues() -> None:
    key = PrivateKey(7, 11, None, "gmp")
    sealed = key.encryptor(rng("tiny"), 10).encrypt([0] * 1500)
    pieces = {sealed.data[i : i + sealed.width] for i in range(0, len(sealed.data), sealed.width)}
    expected = {pow(r, 77, 77 * 77) for r in range(1, 77) if gmpy2.gcd(r, 77) == 1}
    assert {int.from_bytes(piece, "little") for piece in pieces} == expected


def jacobi_minus_ones(sealed: SealedVector) -> int:
    return sum(gmpy2.jacobi(residue, N) == -1 for residue in residues_mod_n(sealed))


def test_jacobi_symbols_of_rerandomised_replies_are_fair_coins() -> None:
    vector = encrypted([3] * 400)
    even = CipherVector(PUBLIC, PUBLIC.ring.mul(vector.residues, vector.residues))  # all symbols +1
    minus = jacobi_minus_ones(Rerandomiser(PUBLIC, rng("fair"), 400).seal(even))
    assert 140 < minus < 260  # 6 standard deviations


def test_the_jacobi_test_catches_a_rerandomisation_by_powers_of_h_alone() -> None:
    blinder = GroupBlinder(PUBLIC, rng("narrow"), 400)
    blinder._y = 1  # the planted fault
    narrow = Rerandomiser(PUBLIC, rng(), 400, blinder)
    vector = encrypted([3] * 400)
    even = CipherVector(PUBLIC, PUBLIC.ring.mul(vector.residues, vector.residues))
    assert jacobi_minus_ones(narrow.seal(even)) == 0


class ThreeBitExponents(GroupBlinder):
    """The planted fault."""

    def factors(self, rng: Rng, count: int) -> Residues:
        drawn = rng.packed_bits(3, count)
        exponents = np.zeros((count, self._bits // 8), dtype=np.uint8)
        exponents[:, 0] = drawn[:, 0]
        return self._ring.mul(self._tables.pow(exponents.tobytes()), self._ring.load([self._y, 1] * (count // 2)))


def sealed_zeros_of_a_tiny_key(blinders: type[GroupBlinder]) -> dict[int, int]:
    """How often each c mod 77^2 appears among 6000 re-randomisations of one ciphertext of 0."""
    key = PrivateKey(7, 11, ((2, 3), (2, 5)), "gmp").public
    blinder = blinders(key, rng("tiny generator 2"), 6000)  # p - 1 = 6: only some draws of h generate
    sealer = Rerandomiser(key, rng(), 6000, blinder)
    start = pow(3, 77, 77 * 77)
    sealed = sealer.seal(CipherVector(key, key.ring.load([start] * 6000)))
    counts: dict[int, int] = {}
    for i in range(0, len(sealed.data), sealed.width):
        value = int.from_bytes(sealed.data[i : i + sealed.width], "little")
        counts[value] = counts.get(value, 0) + 1
    return counts


def test_rerandomisation_is_uniform_over_the_whole_group_and_narrow_exponents_are_not() -> None:
    counts = sealed_zeros_of_a_tiny_key(GroupBlinder)
    assert set(counts) == {pow(r, 77, 77 * 77) for r in range(1, 77) if gmpy2.gcd(r, 77) == 1}
    assert sum((c - 100) ** 2 / 100 for c in counts.values()) < 120  # 59 degrees of freedom
    assert len(sealed_zeros_of_a_tiny_key(ThreeBitExponents)) <= 16


class DrawnBits(Rng):
    """Remembers how many bits were asked for."""

    drawn: list[int]

    def packed_bits(self, bits: int, count: int) -> NDArray[np.uint8]:
        self.drawn += [bits] * count
        return super().packed_bits(bits, count)


@pytest.mark.parametrize(("randomness", "bits"), [("half", 192), ("448", 448)])
def test_public_encryption_draws_the_randomness_that_was_named(randomness: Randomness, bits: int) -> None:
    source = DrawnBits(bytes(32))
    source.drawn = []
    blinder = PublicBlinder(PUBLIC, source, 3, randomness)
    source.drawn.clear()
    blinder.factors(source, 3)
    assert source.drawn == [bits] * 3
    sealed = public_encryptor(PUBLIC, source, 3, randomness=randomness).encrypt([0, 1, N - 1])
    assert KEY.decrypt(PUBLIC.parse(sealed, 3)) == [0, 1, N - 1]


def test_short_randomness_is_never_silent_and_not_for_longer_keys() -> None:
    assert inspect.signature(public_encryptor).parameters["randomness"].default == "half"
    with pytest.raises(LocalError, match="no randomness"):
        public_encryptor(PUBLIC, rng(), 1, randomness="112")  # type: ignore[arg-type]
    with pytest.raises(LocalError, match="too short"):
        public_encryptor(PublicKey((1 << 4095) + 1, "gmp"), rng(), 1, randomness="448")
    with pytest.raises(LocalError, match="whole"):
        public_encryptor(small_key(384, 1, "phe").public, rng(), 1, randomness="448")


def test_exponents_of_rerandomisation_are_forty_bits_longer_than_the_key() -> None:
    source = DrawnBits(bytes(32))
    source.drawn = []
    blinder = GroupBlinder(PUBLIC, source, 3)
    source.drawn.clear()
    blinder.factors(source, 3)
    assert source.drawn == [PUBLIC.bits + 40 + 1] * 3  # and one for the sign


def test_rerandomisation_separates_a_reply_from_its_inputs_and_skipping_it_is_visible() -> None:
    vector = encrypted([1, 2])
    reply = vector.columns(np.array([[3], [4]], dtype=np.uint64), 3)
    inputs = [c % N for c in PUBLIC.ring.store(vector.residues)]
    traced = pow(inputs[0], 3, N) * pow(inputs[1], 4, N) % N
    skipped = seal(PUBLIC, reply.residues)  # the planted fault: declared sendable as it is
    assert residues_mod_n(skipped) == [traced]
    done = Rerandomiser(PUBLIC, rng(), 1).seal(reply)
    assert residues_mod_n(done) != [traced]
    assert KEY.decrypt(PUBLIC.parse(done, 1)) == [11]


def test_rerandomising_twice_never_repeats_a_residue_mod_n() -> None:
    vector, sealer = encrypted([9] * 50), Rerandomiser(PUBLIC, rng(), 100)
    seen = residues_mod_n(sealer.seal(vector)) + residues_mod_n(sealer.seal(vector))
    assert len(set(seen)) == 100


def test_a_sealed_vector_cannot_be_made_by_hand() -> None:
    with pytest.raises(TypeError, match="only encryption"):
        SealedVector(b"123", 1, 3)
    with pytest.raises(TypeError, match="only encryption"):
        dataclasses.replace(sealed_of(5), count=1, seal=None)
    with pytest.raises(ValueError, match="count"):
        SealedVector.received(b"1234", 1, 3)
    assert "123" not in repr(SealedVector.received(b"123", 1, 3))


def good() -> int:
    return int(PUBLIC.ring.store(encrypted([5], "good").residues)[0])


HOSTILE: dict[str, tuple[Callable[[], SealedVector], Reason]] = {
    "zero": (lambda: sealed_of(0), Reason.CIPHERTEXT_ZERO),
    "n squared": (lambda: sealed_of(N * N), Reason.CIPHERTEXT_OUT_OF_RANGE),
    "beyond n squared": (lambda: sealed_of(N * N + good()), Reason.CIPHERTEXT_OUT_OF_RANGE),
    "a multiple of a prime of n": (lambda: sealed_of(KEY.primes[0]), Reason.CIPHERTEXT_NOT_A_UNIT),
    "n itself": (lambda: sealed_of(N), Reason.CIPHERTEXT_NOT_A_UNIT),
    "one": (lambda: sealed_of(1), Reason.CIPHERTEXT_NOT_BLINDED),
    "an unblinded five": (lambda: sealed_of(1 + 5 * N), Reason.CIPHERTEXT_NOT_BLINDED),
    "the same twice": (lambda: sealed_of(good(), good()), Reason.CIPHERTEXT_REPEATED),
    "one randomness for two plaintexts": (
        lambda: sealed_of(good(), good() * (1 + N) % (N * N)),
        Reason.CIPHERTEXT_REPEATED,
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_ciphertext_is_refused_with_its_own_reason(case: str) -> None:
    make, reason = HOSTILE[case]
    sealed = make()
    with pytest.raises(BadCiphertext) as caught:
        PUBLIC.parse(sealed, sealed.count)
    assert caught.value.reason is reason
    assert str(N) not in str(caught.value)


def test_a_vector_of_wrong_count_or_width_is_refused() -> None:
    sealed = sealed_of(good())
    longer = SealedVector.received(sealed.data + b"\0", 1, PUBLIC.width + 1)
    for vector, count in ((sealed, 2), (sealed, 0), (longer, 1)):
        with pytest.raises(BadCiphertext) as caught:
            PUBLIC.parse(vector, count)
        assert caught.value.reason is Reason.WRONG_LENGTH


def test_randomness_repeated_in_a_later_chunk_of_a_stream_is_refused() -> None:
    seen: set[int] = set()
    PUBLIC.parse(sealed_of(good()), 1, seen)
    with pytest.raises(BadCiphertext) as caught:
        PUBLIC.parse(sealed_of(good() * (1 + 7 * N) % (N * N)), 1, seen)
    assert caught.value.reason is Reason.CIPHERTEXT_REPEATED


def test_vectors_under_different_keys_do_not_mix() -> None:
    other = small_key(384, 2)
    vector = encrypted([1])
    theirs = other.public.parse(other.encryptor(rng(), 1).encrypt([1]), 1)
    with pytest.raises(ValueError, match="different keys"):
        vector.add(theirs)
    with pytest.raises(ValueError, match="another key"):
        other.decrypt(vector)
    with pytest.raises(ValueError, match="another key"):
        Rerandomiser(other.public, rng(), 1).seal(vector)


def test_a_private_key_shows_nothing_and_is_never_copied() -> None:
    assert repr(KEY) == "PrivateKey(...)"
    assert str(KEY.primes[0]) not in f"{KEY} {KEY.public!r} {KEY.message()!r}"
    for copier in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="secret"):
            copier(KEY)


@pytest.mark.parametrize("bits", [0, 512, 1024, 2047, 16384])
def test_production_makes_no_key_of_another_length(bits: int) -> None:
    with pytest.raises(LocalError, match="not offered"):
        generate(rng(), bits)


def test_production_makes_the_lengths_it_offers() -> None:
    key = generate(rng("2048"), 2048)
    assert key.public.bits == 2048
    assert key.public.width == 512
    values = [0, 1, key.public.n - 1]
    sealed = key.encryptor(rng(), 3).encrypt(values)
    assert key.decrypt(key.public.parse(sealed, 3)) == values


def test_a_key_needs_two_different_primes_that_do_not_divide_each_others_totient() -> None:
    with pytest.raises(ValueError, match="different primes"):
        PrivateKey(11, 11)
    with pytest.raises(ValueError, match="different primes"):
        PrivateKey(11, 15)
    with pytest.raises(ValueError, match="totient"):
        PrivateKey(3, 7)


def test_public_keys_are_equal_by_value() -> None:
    assert PublicKey(N) == PUBLIC
    assert PublicKey(N) != small_key(384, 2).public
    assert len({PublicKey(N), PUBLIC}) == 1
