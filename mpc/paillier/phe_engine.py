"""python-paillier (`phe`) as an engine and as the oracle: same keys, same ciphertexts, both directions.

phe keeps a floating exponent beside each ciphertext and does not re-randomise products; here exponents
other than 0 are refused and what phe computed is obfuscated by phe before it counts as sealed.
"""

from __future__ import annotations

from collections.abc import Sequence

import gmpy2
from phe import EncryptedNumber, PaillierPrivateKey, PaillierPublicKey

from mpc.paillier.ciphertexts import PublicKey, SealedVector, seal
from mpc.paillier.keys import PrivateKey
from mpc.rng import Rng


class PheEncryptor:
    """Fresh encryptions by phe with r uniform among the units, from our generator; nothing ahead of time."""

    stock = None

    def __init__(self, key: PublicKey, rng: Rng) -> None:
        self._key, self._rng, self._phe = key, rng, PaillierPublicKey(key.n)

    def encrypt(self, values: Sequence[int]) -> SealedVector:
        """E(m) for each m in [0, n); ValueError outside."""
        if any(not 0 <= value < self._key.n for value in values):
            raise ValueError("a plaintext lies outside [0, n)")
        sealed = [int(self._phe.raw_encrypt(int(value), r_value=self._unit())) for value in values]
        return seal(self._key, self._key.ring.load(sealed))

    def _unit(self) -> int:
        while True:
            r = self._rng.below(self._key.n)
            if gmpy2.gcd(r, self._key.n) == 1:
                return r


def decrypt(key: PrivateKey, ciphertexts: Sequence[int]) -> list[int]:
    """The plaintexts in [0, n), by phe."""
    private = private_to_phe(key)
    return [int(private.raw_decrypt(value)) for value in ciphertexts]


def public_to_phe(key: PublicKey) -> PaillierPublicKey:
    """Our public key as phe's."""
    return PaillierPublicKey(key.n)


def public_from_phe(key: PaillierPublicKey, engine: str = "auto") -> PublicKey:
    """phe's public key as ours; unchecked, like phe's own."""
    return PublicKey(int(key.n), engine)


def private_to_phe(key: PrivateKey) -> PaillierPrivateKey:
    """Our private key as phe's."""
    return PaillierPrivateKey(public_to_phe(key.public), *key.primes)


def private_from_phe(key: PaillierPrivateKey, engine: str = "auto") -> PrivateKey:
    """phe's private key as ours. The factors of p - 1 are unknown, so encryption works without tables."""
    return PrivateKey(int(key.p), int(key.q), engine=engine)


def numbers_to_phe(key: PublicKey, sealed: SealedVector) -> list[EncryptedNumber]:
    """Our ciphertexts as phe's encrypted integers (exponent 0)."""
    public = public_to_phe(key)
    values = key.ring.store(key.parse(sealed, sealed.count).residues)
    return [EncryptedNumber(public, value, 0) for value in values]


def numbers_from_phe(key: PublicKey, numbers: Sequence[EncryptedNumber]) -> SealedVector:
    """phe's encrypted integers as ours, obfuscated first; ValueError for another key or an exponent other
    than 0."""
    if any(number.public_key.n != key.n or number.exponent != 0 for number in numbers):
        raise ValueError("only integers under the same key are taken over from phe")
    return seal(key, key.ring.load([int(number.ciphertext(be_secure=True)) for number in numbers]))
