"""Paillier's cryptosystem, the public side: keys, ciphertexts, and the only form in which a ciphertext
travels.

[Pai99]  Paillier, "Public-key cryptosystems based on composite degree residuosity classes", EUROCRYPT 1999.
[DJN10]  Damgard, Jurik, Nielsen, "A generalization of Paillier's public-key system", Int. J. Inf. Secur. 9,
         2010.

E(m) = (1 + n)^m r^n mod n^2. Plaintexts are unsigned integers mod n: no signs, no exponents. A
`CipherVector` is a working value whose randomness may betray what was done to it; it cannot be sent. A
`SealedVector` can: it comes from a fresh encryption or a re-randomisation only. This module never sees a
factor of n (mpc.paillier.keys does).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import InitVar, dataclass

import gmpy2
from gmpy2 import mpz

from mpc.errors import Reason
from mpc.kernels.engines.selection import engine_name, modulus
from mpc.kernels.modulus import Exponents, Groups, Residues, packed
from mpc.paillier import key_proof

SMALLEST_FACTOR = 1 << 16
_SEAL = object()
_SMALL_PRIMES = gmpy2.primorial(SMALLEST_FACTOR)


class BadKey(ValueError):
    """A public key is refused; `reason` says why."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class BadCiphertext(ValueError):
    """A vector of ciphertexts is refused; `reason` says why."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


@dataclass(frozen=True)
class PublicKeyMessage:
    """A public key as it travels: n, little-endian, and the proof of mpc.paillier.key_proof."""

    modulus: bytes
    proof: bytes


@dataclass(frozen=True)
class SealedVector:
    """`count` ciphertexts, little-endian, `width` bytes each. The safe form, and the only one that fits in
    a message.

    Made by encryption, by re-randomisation, or by `received` for bytes that came from a peer and are still
    unchecked.
    """

    data: bytes
    count: int
    width: int
    seal: InitVar[object] = None

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("only encryption and re-randomisation make a SealedVector")
        if self.count < 0 or self.width < 1 or len(self.data) != self.count * self.width:
            raise ValueError("the data do not have count * width bytes")

    @classmethod
    def received(cls, data: bytes, count: int, width: int) -> SealedVector:
        """Foreign bytes; only `PublicKey.parse` looks inside. ValueError if the lengths disagree."""
        return cls(data, count, width, _SEAL)

    def __len__(self) -> int:
        return self.count

    def __repr__(self) -> str:
        return f"SealedVector({self.count} x {self.width} bytes)"


class PublicKey:
    """n, and arithmetic modulo n^2 on the chosen engine. Unchecked: foreign keys come through `received`."""

    __slots__ = ("bits", "engine", "n", "n_squared", "ring", "width")

    def __init__(self, n: int, engine: str = "auto") -> None:
        self.n = int(n)
        self.n_squared = self.n * self.n
        self.bits = self.n.bit_length()
        self.width = 2 * ((self.bits + 7) // 8)
        self.engine = engine_name(engine)
        self.ring = modulus(self.n_squared, self.engine)

    @classmethod
    def received(
        cls, message: PublicKeyMessage, bits: int, others: Iterable[int] = (), engine: str = "auto"
    ) -> PublicKey:
        """The key in a peer's message after all checks, the proof included; BadKey otherwise."""
        if len(message.modulus) != (bits + 7) // 8:
            raise BadKey(Reason.KEY_WRONG_LENGTH)
        n = int.from_bytes(message.modulus, "little")
        cls.check(n, bits, others)
        try:
            key_proof.verify(n, message.proof)
        except key_proof.BadKeyProof:
            raise BadKey(Reason.BAD_KEY_PROOF) from None
        return cls(n, engine)

    @staticmethod
    def check(n: int, bits: int, others: Iterable[int] = ()) -> None:
        """Raise BadKey unless n has `bits` bits, is odd, has no factor below 2^16, is neither prime nor a
        power, and shares no factor with the moduli `others`."""
        if n < 0 or n.bit_length() != bits:
            raise BadKey(Reason.KEY_WRONG_LENGTH)
        if n % 2 == 0:
            raise BadKey(Reason.KEY_EVEN)
        if gmpy2.gcd(n, _SMALL_PRIMES) != 1:
            raise BadKey(Reason.KEY_SMALL_FACTOR)
        if gmpy2.is_prime(n):
            raise BadKey(Reason.KEY_PRIME)
        if gmpy2.is_power(n):
            raise BadKey(Reason.KEY_POWER)
        if any(gmpy2.gcd(n, other) != 1 for other in others):
            raise BadKey(Reason.KEY_SHARED_FACTOR)

    def parse(self, sealed: SealedVector, count: int, seen: set[int] | None = None) -> CipherVector:
        """The gate for foreign ciphertexts: exactly `count`, each a blinded unit below n^2, no randomness
        used twice.

        `seen` carries what earlier chunks of one stream showed. Raises BadCiphertext.
        """
        if sealed.count != count or sealed.width != self.width:
            raise BadCiphertext(Reason.WRONG_LENGTH)
        n, n_squared, width = mpz(self.n), mpz(self.n_squared), self.width
        seen = set() if seen is None else seen
        product, mask = mpz(1), (1 << 128) - 1
        for start in range(0, len(sealed.data), width):
            value = mpz.from_bytes(sealed.data[start : start + width], "little")
            if value == 0:
                raise BadCiphertext(Reason.CIPHERTEXT_ZERO)
            if value >= n_squared:
                raise BadCiphertext(Reason.CIPHERTEXT_OUT_OF_RANGE)
            residue = value % n             # = r^n mod n: it shows the randomness, whatever the plaintext
            if residue == 1:
                raise BadCiphertext(Reason.CIPHERTEXT_NOT_BLINDED)
            mark = int(residue & mask)      # 128 bits of it tell honest ciphertexts apart
            if mark in seen:
                raise BadCiphertext(Reason.CIPHERTEXT_REPEATED)
            seen.add(mark)
            product = product * residue % n
        if gmpy2.gcd(product, n) != 1:
            raise BadCiphertext(Reason.CIPHERTEXT_NOT_A_UNIT)
        return CipherVector(self, self.ring.from_bytes(sealed.data, sealed.count, width))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and self.n == other.n

    def __hash__(self) -> int:
        return hash(self.n)

    def __repr__(self) -> str:
        return f"PublicKey({self.bits} bits)"


class CipherVector:
    """Ciphertexts under one key, to compute with. Not sendable: seal it with a `Rerandomiser`."""

    __slots__ = ("key", "residues")

    def __init__(self, key: PublicKey, residues: Residues) -> None:
        self.key, self.residues = key, residues

    def __len__(self) -> int:
        return len(self.residues)

    def __repr__(self) -> str:
        return f"CipherVector({len(self)})"

    def slice(self, start: int, stop: int) -> CipherVector:
        """Ciphertexts start..stop-1."""
        return CipherVector(self.key, self.key.ring.slice(self.residues, start, stop))

    def add(self, other: CipherVector) -> CipherVector:
        """E(a + b), element by element [Pai99, section 8]."""
        if other.key != self.key:
            raise ValueError("the two vectors are under different keys")
        return CipherVector(self.key, self.key.ring.mul(self.residues, other.residues))

    def add_plain(self, values: Sequence[int]) -> CipherVector:
        """E(a + m) for known m in [0, n)."""
        if len(values) != len(self):
            raise ValueError("one value per ciphertext")
        return CipherVector(self.key, self.key.ring.mul(self.residues, nude(self.key, values)))

    def scale(self, factor: int) -> CipherVector:
        """E(factor a) for a known factor >= 0."""
        return CipherVector(self.key, self.key.ring.pow_same(self.residues, factor))

    def rows(self, weights: Exponents, bits: int) -> CipherVector:
        """E(W a) for W (m x c) of non-negative weights below 2^bits, c = len(self) small."""
        return CipherVector(self.key, self.key.ring.multiexp_rows(self.residues, weights, bits))

    def columns(self, weights: Exponents, bits: int) -> CipherVector:
        """E(W^T a) for W (c x d) of non-negative weights below 2^bits, c = len(self) large."""
        return CipherVector(self.key, self.key.ring.multiexp_columns(self.residues, weights, bits))

    def grouped(self, groups: Groups, count: int) -> CipherVector:
        """E(sum of the a_i with groups[i, j] = g) at place j count + g; groups (len(self) x d) below `count`."""
        return CipherVector(self.key, self.key.ring.group_products(self.residues, groups, count))


def seal(key: PublicKey, residues: Residues) -> SealedVector:
    """For encryptors and re-randomisers only: declares freshly blinded ciphertexts sendable."""
    return SealedVector(key.ring.to_bytes(residues, key.width), len(residues), key.width, _SEAL)


def nude(key: PublicKey, values: Sequence[int]) -> Residues:
    """(1 + n)^m = 1 + m n mod n^2 [DJN10]: no randomness yet."""
    if len(values) and not 0 <= min(values) <= max(values) < key.n:
        raise ValueError("a plaintext lies outside [0, n)")
    width = key.width // 2
    ones = (1).to_bytes(width, "little") * len(values)
    return key.ring.combine(ones, packed(values, width), width, (1, key.n))
