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
from functools import partial
from typing import Literal, Protocol

import gmpy2
from gmpy2 import mpz

from mpc.errors import LocalError, Reason
from mpc.kernels.engines.selection import engine_name, modulus
from mpc.kernels.modulus import Exponents, Groups, Residues, packed
from mpc.paillier import key_proof
from mpc.paillier.blinding import Stock
from mpc.rng import Rng

SMALLEST_FACTOR = 1 << 16
HIDING_BITS = 40  # statistical distance 2^-40
Randomness = Literal["half", "448"]
SHORT_BITS, SHORT_KEYS = 448, 3072  # bits of the exponent; the longest key for which they are offered
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

    Made by encryption, by `Rerandomiser`, or by `received` for bytes that came from a peer and are still
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


class Blinder(Protocol):
    """n-th residues that hide, under one key: tables that several streams of ciphertexts share."""

    def factors(self, rng: Rng, count: int) -> Residues:
        """`count` fresh ones; how `rng` is used does not depend on how a stream is cut into calls."""
        ...


class Encryptor(Protocol):
    """Fresh encryptions under one key; `stock` holds what was drawn for them ahead of time, if anything can be."""

    @property
    def stock(self) -> Stock | None: ...

    def encrypt(self, values: Sequence[int]) -> SealedVector:
        """E(m) for each m in [0, n)."""
        ...


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


def _generator(key: PublicKey, rng: Rng) -> int:
    """h = -x^2 mod n: for p = q = 3 mod 4 it generates all elements of Jacobi symbol 1 [DJN10, section
    4.2]."""
    x = _unit(key, rng)
    return -x * x % key.n


def _unit(key: PublicKey, rng: Rng) -> int:
    while True:
        x = rng.below(key.n)
        if gmpy2.gcd(x, key.n) == 1:
            return x


class BlindEncryptor:
    """One stream of fresh encryptions, about `expected_count`: E(m) = (1 + m n) times a factor of `blinder`."""

    def __init__(self, key: PublicKey, blinder: Blinder, rng: Rng, expected_count: int) -> None:
        self._key, self.stock = key, Stock(key.ring, partial(blinder.factors, Rng(rng.bytes(32))), expected_count)

    def encrypt(self, values: Sequence[int]) -> SealedVector:
        """E(m) for each m in [0, n); ValueError outside."""
        plain = nude(self._key, values)
        return seal(self._key, self._key.ring.mul(self.stock.take(len(values)), plain))


class PublicBlinder:
    """(h^n)^a under anybody's key, h our own; `randomness` as in `public_encryptor`."""

    def __init__(self, key: PublicKey, rng: Rng, expected_count: int, randomness: Randomness = "half") -> None:
        if randomness not in ("half", "448"):
            raise LocalError(f"there is no randomness {randomness!r}", "choose half or 448")
        if randomness == "448" and key.bits > SHORT_KEYS:
            raise LocalError(f"randomness of {SHORT_BITS} bits is too short for keys beyond {SHORT_KEYS} bits",
                             "choose half")
        self._bits = key.bits // 2 if randomness == "half" else SHORT_BITS
        h = gmpy2.powmod(_generator(key, rng), key.n, key.n_squared)
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


class GroupBlinder:
    """n-th residues that are uniform over the whole unit group, for replies.

    (h^a y^b)^n with our own h = -x^2 and y, J(y) = -1, b a random bit, |a| = |n| + 40: h alone would leave
    the Jacobi symbol of the randomness, hence the parity of the secret weights, in the open; a shorter a
    would show the key owner more; the peer's h might generate little. Holds for keys made by mpc.paillier.keys
    (p = q = 3 mod 4, p - 1 and q - 1 twice two large primes).
    """

    def __init__(self, key: PublicKey, rng: Rng, expected_count: int) -> None:
        self._ring, self._bits = key.ring, key.bits + HIDING_BITS + -key.bits % 8          # whole bytes
        y = _unit(key, rng)
        while gmpy2.jacobi(y, key.n) != -1:
            y = _unit(key, rng)
        self._y = int(gmpy2.powmod(y, key.n, key.n_squared))
        h = gmpy2.powmod(_generator(key, rng), key.n, key.n_squared)
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
        self._key, self.stock = key, Stock(key.ring, partial(blinder.factors, Rng(rng.bytes(32))), expected_count)

    def seal(self, vector: CipherVector) -> SealedVector:
        """The same plaintexts under fresh, whole-group randomness."""
        if vector.key != self._key:
            raise ValueError("the vector is under another key")
        return seal(self._key, self._key.ring.mul(vector.residues, self.stock.take(len(vector))))
