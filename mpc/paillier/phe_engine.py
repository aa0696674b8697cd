"""python-paillier (`phe`) as the engine of encryption and decryption: same keys, same ciphertexts as ours."""

from __future__ import annotations

from collections.abc import Sequence

import gmpy2
from phe import PaillierPrivateKey, PaillierPublicKey

from mpc.paillier.ciphertexts import PublicKey, SealedVector, seal
from mpc.rng import Rng


class PheEncryptor:
    """Fresh encryptions by phe with r uniform among the units, from our generator; nothing ahead of time."""

    ready = None

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


def decrypt(key: PublicKey, primes: tuple[int, int], ciphertexts: Sequence[int]) -> list[int]:
    """The plaintexts in [0, n), by phe; `primes` are the factors of n."""
    private = PaillierPrivateKey(public_to_phe(key), *primes)
    return [int(private.raw_decrypt(value)) for value in ciphertexts]


def public_to_phe(key: PublicKey) -> PaillierPublicKey:
    """Our public key as phe's."""
    return PaillierPublicKey(key.n)
