"""python-paillier as oracle and engine: same keys, same ciphertexts, both directions."""

from __future__ import annotations

import numpy as np
import phe
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.paillier import phe_conversion
from mpc.paillier.ciphertexts import CipherVector
from mpc.paillier.encryption import public_encryptor
from mpc.paillier.keys import PrivateKey
from mpc.paillier.phe_engine import public_to_phe
from mpc.paillier.rerandomisation import Rerandomiser
from mpc.rng import Rng
from mpc.testing.keys import small_key

KEY = small_key(384)
N = KEY.public.n
PHE_PRIVATE = phe_conversion.private_to_phe(KEY)
PHE_PUBLIC = public_to_phe(KEY.public)
PLAIN = st.lists(st.integers(0, N - 1), min_size=1, max_size=4)
SIGNED = st.lists(st.integers(-(1 << 90), 1 << 90), min_size=1, max_size=4)


def rng(label: str = "phe") -> Rng:
    return Rng(bytes(32)).child(label)


@settings(max_examples=20, deadline=None)
@given(values=PLAIN)
def test_phe_decrypts_what_we_encrypt(values: list[int]) -> None:
    for encryptor in (KEY.encryptor(rng(), 4), public_encryptor(KEY.public, rng(), 4)):
        numbers = phe_conversion.numbers_to_phe(KEY.public, encryptor.encrypt(values))
        assert [PHE_PRIVATE.raw_decrypt(c.ciphertext(be_secure=False)) for c in numbers] == values


@settings(max_examples=20, deadline=None)
@given(values=SIGNED, factor=st.integers(0, 1 << 40))
def test_we_decrypt_what_phe_encrypted_added_and_multiplied(values: list[int], factor: int) -> None:
    numbers = [PHE_PUBLIC.encrypt(v) * factor + v for v in values]
    sealed = phe_conversion.numbers_from_phe(KEY.public, numbers)
    decrypted = KEY.decrypt(KEY.public.parse(sealed, len(values)))
    assert decrypted == [(v * factor + v) % N for v in values]


@settings(max_examples=20, deadline=None)
@given(values=SIGNED, factor=st.integers(0, 1 << 40))
def test_phe_decrypts_what_we_computed_on_its_ciphertexts(values: list[int], factor: int) -> None:
    sealed = phe_conversion.numbers_from_phe(KEY.public, [PHE_PUBLIC.encrypt(v) for v in values])
    ours = KEY.public.parse(sealed, len(values)).scale(factor).add_plain([7] * len(values))
    numbers = phe_conversion.numbers_to_phe(KEY.public, Rerandomiser(KEY.public, rng(), 4).seal(ours))
    assert [PHE_PRIVATE.decrypt(number) for number in numbers] == [v * factor + 7 for v in values]


def test_keys_survive_the_round_trip_in_both_directions() -> None:
    back = phe_conversion.private_from_phe(PHE_PRIVATE)
    assert sorted(back.primes) == sorted(KEY.primes)
    assert phe_conversion.public_from_phe(PHE_PUBLIC) == KEY.public
    their_public, their_private = phe.generate_paillier_keypair(n_length=256)
    ours = phe_conversion.private_from_phe(their_private)
    sealed = ours.encryptor(rng(), 2).encrypt([0, 5])
    numbers = phe_conversion.numbers_to_phe(phe_conversion.public_from_phe(their_public), sealed)
    assert [their_private.decrypt(number) for number in numbers] == [0, 5]


@settings(max_examples=10, deadline=None)
@given(values=PLAIN, data=st.data())
def test_the_phe_engine_and_gmp_agree_on_every_operation(values: list[int], data: st.DataObject) -> None:
    slow, fast = small_key(384, 1, "phe"), small_key(384, 1, "gmp")
    assert slow.public == fast.public
    assert slow.public.engine == "phe"
    cell = st.integers(0, (1 << 16) - 1)
    flat = data.draw(st.lists(cell, min_size=2 * len(values), max_size=2 * len(values)))
    weights = np.array(flat, dtype=np.uint64).reshape(len(values), 2)
    sealed = slow.encryptor(rng(), 4).encrypt(values)

    def work(key: PrivateKey) -> list[list[int]]:
        vector = key.public.parse(sealed, len(values))
        again = Rerandomiser(key.public, rng("r"), 4).seal(vector)
        results = (vector.columns(weights, 16), vector.rows(weights.T.copy(), 16), vector.add(vector))
        return [key.decrypt(result) for result in (*results, key.public.parse(again, len(values)))]

    assert work(slow) == work(fast)
    results = [CipherVector(k.public, k.public.parse(sealed, len(values)).residues) for k in (slow, fast)]
    stored = [v.key.ring.store(v.columns(weights, 16).residues) for v in results]
    assert stored[0] == stored[1]  # the ciphertexts themselves, bit for bit


def test_encrypted_floats_and_foreign_keys_are_not_taken_over_from_phe() -> None:
    with pytest.raises(ValueError, match="only integers"):
        phe_conversion.numbers_from_phe(KEY.public, [PHE_PUBLIC.encrypt(0.5)])
    with pytest.raises(ValueError, match="only integers"):
        phe_conversion.numbers_from_phe(small_key(384, 2).public, [PHE_PUBLIC.encrypt(1)])


def test_a_product_by_one_that_phe_leaves_recognisable_is_obfuscated_on_the_way_in() -> None:
    number = PHE_PUBLIC.encrypt(5)
    known = number.ciphertext(be_secure=False)
    product = number * 1
    assert product.ciphertext(be_secure=False) == known
    sealed = phe_conversion.numbers_from_phe(KEY.public, [product])
    assert int.from_bytes(sealed.data, "little") != known
