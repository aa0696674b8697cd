"""Keys and ciphertexts of python-paillier (`phe`) as ours and back: phe is the oracle of our arithmetic.

phe keeps a floating exponent beside each ciphertext and does not re-randomise products; here exponents
other than 0 are refused and what phe computed is obfuscated by phe before it counts as sealed.
"""

from __future__ import annotations

from collections.abc import Sequence

from phe import EncryptedNumber, PaillierPrivateKey, PaillierPublicKey

from mpc.paillier.ciphertexts import PublicKey, SealedVector, seal
from mpc.paillier.keys import PrivateKey
from mpc.paillier.phe_engine import public_to_phe


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
