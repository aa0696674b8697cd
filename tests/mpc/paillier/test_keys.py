"""Foreign public keys: every flaw with its own reason, and the proof that gcd(n, phi(n)) = 1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import gmpy2
import pytest

from mpc.errors import Reason
from mpc.paillier import key_proof
from mpc.paillier.ciphertexts import BadKey, PublicKey, PublicKeyMessage
from mpc.rng import Rng
from mpc.testing.keys import small_key

KEY, OTHER = small_key(384, 1), small_key(384, 2)
BITS = 384
P, Q = KEY.primes


def prime_of(bits: int, seed: int = 0) -> int:
    start = Rng(bytes(32)).child(f"prime/{bits}/{seed}").bits(bits - 2) | 3 << (bits - 2)
    return int(gmpy2.next_prime(start))


def shared() -> int:
    return P * next(q for seed in range(99) if (P * (q := prime_of(192, seed))).bit_length() == BITS)


FLAWS: dict[str, tuple[Callable[[], int], Reason]] = {
    "a bit too long": (lambda: KEY.public.n << 1 | 1, Reason.KEY_WRONG_LENGTH),
    "a bit too short": (lambda: KEY.public.n >> 1 | 1, Reason.KEY_WRONG_LENGTH),
    "zero": (lambda: 0, Reason.KEY_WRONG_LENGTH),
    "even": (lambda: KEY.public.n - 1, Reason.KEY_EVEN),
    "with a factor below 2^16": (lambda: 65521 * prime_of(368), Reason.KEY_SMALL_FACTOR),
    "a prime": (lambda: prime_of(384), Reason.KEY_PRIME),
    "the square of a prime": (lambda: prime_of(192) ** 2, Reason.KEY_POWER),
    "the cube of a prime": (lambda: prime_of(128) ** 3, Reason.KEY_POWER),
    "with a prime of another party": (shared, Reason.KEY_SHARED_FACTOR),
    "the key of another party": (lambda: KEY.public.n, Reason.KEY_SHARED_FACTOR),
}


@pytest.mark.parametrize("case", FLAWS)
def test_a_flawed_key_is_refused_with_its_own_reason(case: str) -> None:
    make, reason = FLAWS[case]
    with pytest.raises(BadKey) as caught:
        PublicKey.check(make(), BITS, [OTHER.public.n, KEY.public.n])
    assert caught.value.reason is reason


def test_an_honest_key_passes_all_checks() -> None:
    received = PublicKey.received(KEY.message(), BITS, [OTHER.public.n])
    assert received == KEY.public


def test_a_key_in_bytes_of_another_length_is_refused() -> None:
    message = KEY.message()
    with pytest.raises(BadKey) as caught:
        PublicKey.received(replace(message, modulus=message.modulus + b"\0"), BITS)
    assert caught.value.reason is Reason.KEY_WRONG_LENGTH


PROOFS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda proof: b"",
    "cut": lambda proof: proof[:-1],
    "one bit changed": lambda proof: bytes([proof[0] ^ 1]) + proof[1:],
    "the last root changed": lambda proof: proof[:-48] + bytes(47) + b"\1",
    "roots in another order": lambda proof: proof[48:96] + proof[:48] + proof[96:],
    "all zero": lambda proof: bytes(len(proof)),
    "of another key": lambda proof: OTHER.message().proof,
}


@pytest.mark.parametrize("case", PROOFS)
def test_a_false_proof_is_refused(case: str) -> None:
    message = KEY.message()
    with pytest.raises(BadKey) as caught:
        PublicKey.received(PublicKeyMessage(message.modulus, PROOFS[case](message.proof)), BITS)
    assert caught.value.reason is Reason.BAD_KEY_PROOF


def dividing_primes() -> tuple[int, int]:
    """p and q = k p + 1, so p divides phi(p q)."""
    p = prime_of(170)
    k = 1 << 43
    while not gmpy2.is_prime(k * p + 1):
        k += 2
    return p, k * p + 1


def test_a_modulus_that_shares_a_factor_with_its_totient_has_no_proof() -> None:
    p, q = dividing_primes()
    with pytest.raises(ValueError, match="totient"):
        key_proof.prove(p * q, (p - 1) * (q - 1))


def test_the_best_forgery_for_such_a_modulus_is_refused() -> None:
    p, q = dividing_primes()
    n, reduced = p * q, (p - 1) * ((q - 1) // p)   # roots exist in the part of the group coprime to n only
    width = (n.bit_length() + 7) // 8
    root = int(gmpy2.invert(n, reduced))
    roots = [pow(key_proof._challenge(n, i), root, n) for i in range(key_proof.ROOTS)]
    forged = b"".join(value.to_bytes(width, "little") for value in roots)
    with pytest.raises(key_proof.BadKeyProof):
        key_proof.verify(n, forged)


def test_the_proof_is_as_sound_as_it_says() -> None:
    import math

    assert key_proof.ROOTS * math.log2(key_proof.FACTOR_BOUND) > 128
    assert key_proof.FACTOR_BOUND < 1 << 16  # the check for small factors covers the bound


def test_challenges_depend_on_the_key_and_the_index() -> None:
    n = KEY.public.n
    drawn = {key_proof._challenge(n, i) for i in range(11)} | {key_proof._challenge(OTHER.public.n, 0)}
    assert len(drawn) == 12
    assert all(value < max(n, OTHER.public.n) for value in drawn)
