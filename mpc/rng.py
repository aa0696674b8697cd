"""Randomness as an argument: AES-256 in counter mode from a 32-byte seed. The only module that asks the system."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from typing import NoReturn, TypeVar

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from mpc.domains import Domain
from mpc.ring import U64, reduce

T = TypeVar("T")


class Rng:
    """A deterministic generator; a seed must not be used for two purposes, so derive children by label.

    Source: NIST SP 800-38A (CTR), key = seed, counter from 0.
    """

    __slots__ = ("_seed", "_stream")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != 32:
            raise ValueError("a seed has 32 bytes")
        self._seed = hashlib.sha256(Domain.RNG_CHILD.encode() + b"\0" + seed).digest()
        key = hashlib.sha256(Domain.RNG_STREAM.encode() + b"\0" + seed).digest()
        self._stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()

    @classmethod
    def from_system(cls) -> Rng:
        """A generator seeded by the operating system."""
        return cls(secrets.token_bytes(32))

    def child(self, label: str) -> Rng:
        """An independent generator for `label`; the same label gives the same child."""
        return Rng(hashlib.sha256(self._seed + label.encode()).digest())

    def bytes(self, count: int) -> bytes:
        """`count` uniform bytes."""
        return self._stream.update(bytes(count))

    def ring(self, count: int, bits: int = 64) -> U64:
        """`count` uniform elements of Z_2^bits."""
        words = np.frombuffer(self.bytes(8 * count), dtype="<u8").astype(np.uint64, copy=True)
        return reduce(words, bits)

    def bits(self, count: int) -> int:
        """A uniform integer of at most `count` bits."""
        length = (count + 7) // 8
        return int.from_bytes(self.bytes(length), "big") >> (8 * length - count)

    def below(self, bound: int) -> int:
        """A uniform integer in [0, bound), by rejection."""
        if bound <= 0:
            raise ValueError("the bound must be positive")
        while True:
            value = self.bits(bound.bit_length())
            if value < bound:
                return value

    def packed_bits(self, bits: int, count: int) -> NDArray[np.uint8]:
        """`count` uniform integers of at most `bits` bits, little-endian rows (count, ceil(bits / 8))."""
        width = (bits + 7) // 8
        rows = np.frombuffer(self.bytes(width * count), dtype=np.uint8).reshape(count, width).copy()
        rows[:, width - 1] &= 0xFF >> (8 * width - bits)
        return rows

    def permutation(self, count: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """A uniform permutation of 0..count-1 (sorting by 64-bit keys; a tie, seen 2^-40 rarely, redraws)."""
        while True:
            keys = self.ring(count)
            order = np.argsort(keys, kind="stable")
            ranked = keys[order]
            if count < 2 or bool(np.all(ranked[1:] != ranked[:-1])):
                return order.astype(np.int64)

    def choice(self, items: Sequence[T]) -> T:
        """One of `items`, uniformly."""
        return items[self.below(len(items))]

    def __repr__(self) -> str:
        return "Rng(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a random generator is a secret and is never pickled")
