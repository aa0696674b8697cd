"""Replies to the owner of a key: the same plaintexts under randomness that says nothing of how they were made.

Sources as in mpc.paillier.ciphertexts. A reply carries secret weights in the randomness that it was computed with, so
it is blinded over the whole group of units before it is sent.
"""

from __future__ import annotations

from functools import partial

import gmpy2

from mpc.kernels.modulus import Residues
from mpc.paillier.blinding import ReadyFactors
from mpc.paillier.ciphertexts import CipherVector, PublicKey, SealedVector, seal
from mpc.paillier.encryption import Blinder, generator, unit
from mpc.rng import Rng

HIDING_BITS = 40  # statistical distance 2^-40


class GroupBlinder:
    """n-th residues that are uniform over the whole unit group, for replies.

    (h^a y^b)^n with our own h = -x^2 and y, J(y) = -1, b a random bit, |a| = |n| + 40: h alone would leave
    the Jacobi symbol of the randomness, hence the parity of the secret weights, in the open; a shorter a
    would show the key owner more; the peer's h might generate little. Holds for keys made by mpc.paillier.keys
    (p = q = 3 mod 4, p - 1 and q - 1 twice two large primes).
    """

    def __init__(self, key: PublicKey, rng: Rng, expected_count: int) -> None:
        self._ring, self._bits = key.ring, key.bits + HIDING_BITS + -key.bits % 8          # whole bytes
        y = unit(key, rng)
        while gmpy2.jacobi(y, key.n) != -1:
            y = unit(key, rng)
        self._y = int(gmpy2.powmod(y, key.n, key.n_squared))
        h = gmpy2.powmod(generator(key, rng), key.n, key.n_squared)
        self._tables = key.ring.fixed_base(int(h), self._bits, expected_count)

    def factors(self, rng: Rng, count: int) -> Residues:
        """As of Blinder."""
        drawn = rng.packed_bits(self._bits + 1, count)                                # the last byte is the bit b
        signs = self._ring.load([self._y if bit else 1 for bit in drawn[:, -1].tolist()])
        return self._ring.mul(self._tables.pow(drawn[:, :-1].tobytes()), signs)


class Rerandomiser:
    """One stream of sendable replies, about `expected_count`; `blinder` where several streams share its tables."""

    def __init__(self, key: PublicKey, rng: Rng, expected_count: int, blinder: Blinder | None = None) -> None:
        blinder = blinder or GroupBlinder(key, rng, expected_count)
        self._key = key
        self.ready = ReadyFactors(key.ring, partial(blinder.factors, Rng(rng.bytes(32))), expected_count)

    def seal(self, vector: CipherVector) -> SealedVector:
        """The same plaintexts under fresh, whole-group randomness."""
        if vector.key != self._key:
            raise ValueError("the vector is under another key")
        return seal(self._key, self._key.ring.mul(vector.residues, self.ready.take(len(vector))))
