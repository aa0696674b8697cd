"""Fresh Paillier encryptions under anybody's key: what blinds them, and how long its exponents are.

Sources as in mpc.paillier.ciphertexts. Replies are blinded otherwise: mpc.paillier.rerandomisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal, Protocol

import gmpy2

from mpc.errors import LocalError
from mpc.kernels.modulus import Residues
from mpc.paillier.blinding import ReadyFactors
from mpc.paillier.ciphertexts import PublicKey, SealedVector, nude, seal
from mpc.rng import Rng

Randomness = Literal["half", "448"]
SHORT_BITS, SHORT_KEYS = 448, 3072  # bits of the exponent; the longest key for which they are offered


class Blinder(Protocol):
    """n-th residues that hide, under one key: tables that several streams of ciphertexts share."""

    def factors(self, rng: Rng, count: int) -> Residues:
        """`count` fresh ones; how `rng` is used does not depend on how a stream is cut into calls."""
        ...


class Encryptor(Protocol):
    """Fresh encryptions under one key; `ready` holds what was drawn for them ahead of time, if anything can be."""

    @property
    def ready(self) -> ReadyFactors | None: ...

    def encrypt(self, values: Sequence[int]) -> SealedVector:
        """E(m) for each m in [0, n)."""
        ...


def generator(key: PublicKey, rng: Rng) -> int:
    """h = -x^2 mod n: for p = q = 3 mod 4 it generates all elements of Jacobi symbol 1 [DJN10, section
    4.2]."""
    x = unit(key, rng)
    return -x * x % key.n


def unit(key: PublicKey, rng: Rng) -> int:
    """Uniform among the units modulo n."""
    while True:
        x = rng.below(key.n)
        if gmpy2.gcd(x, key.n) == 1:
            return x


class BlindEncryptor:
    """One stream of fresh encryptions, about `expected_count`: E(m) = (1 + m n) times a factor of `blinder`."""

    def __init__(self, key: PublicKey, blinder: Blinder, rng: Rng, expected_count: int) -> None:
        self._key = key
        self.ready = ReadyFactors(key.ring, partial(blinder.factors, Rng(rng.bytes(32))), expected_count)

    def encrypt(self, values: Sequence[int]) -> SealedVector:
        """E(m) for each m in [0, n); ValueError outside."""
        plain = nude(self._key, values)
        return seal(self._key, self._key.ring.mul(self.ready.take(len(values)), plain))


class PublicBlinder:
    """(h^n)^a under anybody's key, h our own; `randomness` as in `public_encryptor`."""

    def __init__(self, key: PublicKey, rng: Rng, expected_count: int, randomness: Randomness = "half") -> None:
        if randomness not in ("half", "448"):
            raise LocalError(f"there is no randomness {randomness!r}", "choose half or 448")
        if randomness == "448" and key.bits > SHORT_KEYS:
            raise LocalError(f"randomness of {SHORT_BITS} bits is too short for keys beyond {SHORT_KEYS} bits",
                             "choose half")
        self._bits = key.bits // 2 if randomness == "half" else SHORT_BITS
        h = gmpy2.powmod(generator(key, rng), key.n, key.n_squared)
        self._tables = key.ring.fixed_base(int(h), self._bits, expected_count)

    def factors(self, rng: Rng, count: int) -> Residues:
        """As of Blinder."""
        return self._tables.pow(rng.packed_bits(self._bits, count).tobytes())


def public_encryptor(
    key: PublicKey, rng: Rng, expected_count: int, randomness: Randomness = "half"
) -> Encryptor:
    """Fresh encryptions under anybody's key, on the key's engine.

    "half": exponents of |n|/2 bits [DJN10, section 4.2]. That powers to exponents of half length cannot be told from
    others follows from the hardness of factoring (Goldreich and Rosen, J. Cryptology 16, 2003).
    "448": exponents of 448 bits, only by name and for keys up to 3072 bits. It assumes more: that powers of h to
    exponents of twice the key's strength and more cannot be told from others, the best known attack being Pollard's
    lambda with 2^224 steps (keys of 2048 and 3072 bits: 112 and 128 bits of strength). The phe engine draws r whole
    and refuses "448". LocalError for what is not offered.
    """
    if key.engine == "phe" and randomness != "half":
        raise LocalError("phe draws its randomness whole", "choose another engine or the randomness half")
    if key.engine == "phe":
        from mpc.paillier.phe_engine import PheEncryptor

        return PheEncryptor(key, rng)
    return BlindEncryptor(key, PublicBlinder(key, rng, expected_count, randomness), rng, expected_count)
