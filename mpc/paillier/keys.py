"""Paillier's cryptosystem, the owner's side: making keys, encrypting and decrypting by the Chinese
remainder theorem.

Sources as in mpc.paillier.ciphertexts. A private key is per job, lives in memory, and refuses to be printed, pickled or
copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import gmpy2
import numpy as np
from gmpy2 import mpz
from numpy.typing import NDArray

from mpc.errors import LocalError
from mpc.kernels.engines.selection import modulus
from mpc.kernels.modulus import Modulus, Residues
from mpc.paillier import key_proof
from mpc.paillier.ciphertexts import CipherVector, PublicKey, PublicKeyMessage
from mpc.paillier.encryption import BlindEncryptor, Blinder, Encryptor
from mpc.rng import Rng

DEFAULT_BITS = 3072
ALLOWED_BITS = (2048, 3072, 4096)
"""112, 128 and more than 128 bits of strength [NIST SP 800-57 part 1, table 2]."""
_COFACTOR_BITS = 33
WORD_BYTES = 8

Rows = NDArray[np.uint8]           # integers, little-endian, one in each


class PrivateKey:
    """The primes of n. `chain` holds the prime factors of p - 1 and of q - 1 where they are known."""

    __slots__ = ("_chain", "_p", "_q", "_rings", "public")

    def __init__(
        self, p: int, q: int, chain: tuple[Sequence[int], Sequence[int]] | None = None, engine: str = "auto"
    ) -> None:
        if p == q or not (gmpy2.is_prime(p) and gmpy2.is_prime(q)):
            raise ValueError("a Paillier key needs two different primes")
        if gmpy2.gcd(p * q, (p - 1) * (q - 1)) != 1:
            raise ValueError("this modulus has a factor in common with its totient")
        self._p, self._q, self._chain = mpz(p), mpz(q), chain
        self.public = PublicKey(p * q, engine)
        self._rings = (modulus(p * p, self.public.engine), modulus(q * q, self.public.engine))

    @property
    def primes(self) -> tuple[int, int]:
        """(p, q): secret."""
        return int(self._p), int(self._q)

    def message(self) -> PublicKeyMessage:
        """The public key with its proof, to be sent."""
        n = self.public.n
        proof = key_proof.prove(n, int((self._p - 1) * (self._q - 1)))
        return PublicKeyMessage(n.to_bytes((self.public.bits + 7) // 8, "little"), proof)

    def encryptor(self, rng: Rng, expected_count: int, blinder: Blinder | None = None) -> Encryptor:
        """Fresh encryptions with r^n exactly distributed, about `expected_count` of them; `blinder` (an OwnerBlinder
        of this key) where several streams share its tables."""
        if self.public.engine == "phe":
            from mpc.paillier.phe_engine import PheEncryptor

            return PheEncryptor(self.public, rng)
        return BlindEncryptor(self.public, blinder or OwnerBlinder(self, rng, expected_count), rng, expected_count)

    def decrypt(self, vector: CipherVector) -> list[int]:
        """The plaintexts in [0, n), by CRT [Pai99, section 7]."""
        if vector.key != self.public:
            raise ValueError("the vector is under another key")
        values = vector.key.ring.store(vector.residues)
        if self.public.engine == "phe":
            from mpc.paillier.phe_engine import decrypt

            return decrypt(self.public, self.primes, values)
        p, q = self._p, self._q
        left = _logarithms(values, p, q, self._rings[0])
        right = _logarithms(values, q, p, self._rings[1])
        p_inverse = gmpy2.invert(p, q)
        return [int(a + p * ((b - a) * p_inverse % q)) for a, b in zip(left, right, strict=True)]

    def __repr__(self) -> str:
        return "PrivateKey(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a private key is a secret and is never pickled or copied")


def _logarithms(values: Sequence[int], p: int, q: int, ring: Modulus) -> list[int]:
    """m mod p from c^(p-1) = 1 + m (p-1) n mod p^2: L(x) = (x - 1)/p, L((1+n)^(p-1)) = -q mod p [Pai99,
    section 7]."""
    factor = gmpy2.invert(-q, p)
    powers = ring.store(ring.pow_same(ring.load([value % (mpz(p) * p) for value in values]), int(p) - 1))
    return [(mpz(x) - 1) // p * factor % p for x in powers]


class OwnerBlinder:
    """r^n by who knows p and q: drawn mod p^2 and mod q^2, with exactly the distribution of [Pai99].

    r^n for uniform r is uniform in the subgroups of order p - 1 and q - 1; both are cyclic, so a generator
    to a uniform exponent is the same draw. The generator is certain only if the factors of p - 1 are known;
    else a^p mod p^2 for uniform a serves, without tables.
    """

    def __init__(self, key: PrivateKey, rng: Rng, expected_count: int) -> None:
        self._key = key
        self._p, self._q = (mpz(prime) for prime in key.primes)
        self._width = max(ring.width for ring in key._rings)
        p_squared, q_squared = self._p**2, self._q**2
        self._parts = (                 # 1 mod p^2 and 0 mod q^2, and the other way round
            int(q_squared * gmpy2.invert(q_squared, p_squared)),
            int(p_squared * gmpy2.invert(p_squared, q_squared)),
        )
        self._tables = None
        if key._chain is not None:
            self._tables = [
                ring.fixed_base(_subgroup_generator(prime, factors, rng), prime.bit_length(), expected_count)
                for prime, factors, ring in zip(key.primes, key._chain, key._rings, strict=True)
            ]

    def _residues(self, side: int, exponents: Rows) -> bytes:
        """Elements of order dividing p - 1 in Z_{p^2}, p the side-th prime, little-endian: uniform for uniform
        `exponents` below p - 1."""
        prime, ring = self._key.primes[side], self._key._rings[side]
        width = (prime.bit_length() + 7) // 8
        data = exponents[:, :width].tobytes()
        if self._tables is not None:
            return ring.to_bytes(self._tables[side].pow(data), self._width)
        ones = (1).to_bytes(width, "little") * len(exponents)
        return ring.to_bytes(ring.pow_same(ring.combine(data, ones, width, (1, 1)), prime), self._width)

    def factors(self, rng: Rng, count: int) -> Residues:
        """As of mpc.paillier.encryption.Blinder."""
        left, right = self._exponents(rng, count)
        return self._key.public.ring.combine(
            self._residues(0, left), self._residues(1, right), self._width, self._parts)

    def _exponents(self, rng: Rng, count: int) -> tuple[Rows, Rows]:
        """Pairs, uniform below p - 1 and below q - 1, independent: pair by pair from one stream, by rejection."""
        bounds = [prime - 1 for prime in self._key.primes]
        bits, left = max(bounds).bit_length(), count
        parts: list[Rows] = []
        while left or not parts:
            drawn = rng.packed_bits(bits, 2 * left).reshape(left, 2, -(-bits // 8))
            parts.append(drawn[_below(drawn[:, 0], bounds[0]) & _below(drawn[:, 1], bounds[1])])
            left -= len(parts[-1])
        pairs = np.concatenate(parts)
        return pairs[:, 0], pairs[:, 1]


def _below(rows: Rows, bound: int) -> NDArray[np.bool_]:
    """Which little-endian rows are below `bound`: by their eight highest bytes, where these are equal by all."""
    width = rows.shape[1]
    top = np.zeros((len(rows), WORD_BYTES), dtype=np.uint8)
    top[:, -min(width, WORD_BYTES) :] = rows[:, -WORD_BYTES:]
    beyond = 8 * (width - WORD_BYTES)
    high, edge = top.view("<u8")[:, 0], np.uint64(bound >> beyond if beyond >= 0 else bound << -beyond)
    below: NDArray[np.bool_] = high < edge
    for i in np.flatnonzero(high == edge).tolist():
        below[i] = int.from_bytes(rows[i].tobytes(), "little") < bound
    return below


def _subgroup_generator(p: int, factors: Sequence[int], rng: Rng) -> int:
    """A generator of the subgroup of order p - 1 of Z_{p^2}*; `factors` are the primes of p - 1."""
    while True:
        a = 1 + rng.below(p - 1)
        if all(gmpy2.powmod(a, (p - 1) // factor, p) != 1 for factor in factors):
            return int(gmpy2.powmod(a, p, mpz(p) * p))


def _draw_prime(rng: Rng, bits: int) -> tuple[int, tuple[int, int, int]]:
    """A prime p = 2 k f + 1 of `bits` bits, its two top bits set, k and f odd primes, k of about 32 bits;
    and (2, k, f).

    So p = 3 mod 4, p - 1 has no small odd factor [DJN10] and its factors are known. f is
    uniform among the primes of its length, k among those that fit.
    """
    f_bits = bits - _COFACTOR_BITS
    while True:
        f = rng.bits(f_bits) | 1 << (f_bits - 1) | 1
        if gmpy2.is_prime(f):
            break
    low, high = (3 << (bits - 2)) // (2 * f) + 1, ((1 << bits) - 1) // (2 * f)
    while True:
        k = low + rng.below(high - low + 1)
        p = 2 * k * f + 1
        if k % 2 and p.bit_length() == bits and gmpy2.is_prime(k) and gmpy2.is_prime(p):
            return p, (2, k, f)


def _draw_private_key(rng: Rng, bits: int, engine: str) -> PrivateKey:
    """A key of any even length >= 128: production goes through `generate`, which refuses short ones."""
    while True:
        p, p_factors = _draw_prime(rng, bits // 2)
        q, q_factors = _draw_prime(rng, bits // 2)
        if p != q and gmpy2.gcd(p - 1, q - 1) == 2 and (p * q).bit_length() == bits:
            return PrivateKey(p, q, (p_factors, q_factors), engine)


def generate(rng: Rng, bits: int = DEFAULT_BITS, engine: str = "auto") -> PrivateKey:
    """A fresh key of `bits` bits: 3072 by default, 2048 by explicit choice; LocalError for other lengths."""
    if bits not in ALLOWED_BITS:
        raise LocalError(f"a Paillier key of {bits} bits is not offered", "choose 3072 or, knowingly, 2048")
    return _draw_private_key(rng, bits, engine)
