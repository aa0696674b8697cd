"""The face of all engines: arithmetic on vectors of residues modulo one odd number.

An engine (gmp, avx2, ifma, phe) holds residues in its own layout; callers move integers and bytes in and out. Every
engine gives bit-identical results. The face knows neither Paillier nor keys; none promises constant time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Exponents = NDArray[np.uint64]
Groups = NDArray[np.uint8]
MOST_GROUPS = 255


class Residues(Protocol):
    """An engine's own vector of residues, in [0, modulus) when seen from outside; opaque to callers."""

    def __len__(self) -> int: ...


class FixedBase(Protocol):
    """Windowed tables of one base."""

    def pow(self, exponents: bytes) -> Residues:
        """base^e for packed little-endian e in [0, 2^exponent_bits), whole bytes each; ValueError for a longer one."""
        ...


class Modulus(ABC):
    """One odd modulus > 1. Residues of one Modulus object are never given to another one.

    Element-wise calls take vectors of equal length, or a second vector of length 1 that serves for all.
    """

    def __init__(self, value: int) -> None:
        if value < 3 or value % 2 == 0:
            raise ValueError("the modulus must be odd and at least 3")
        self.value = int(value)
        self.width = (self.value.bit_length() + 7) // 8

    @property
    @abstractmethod
    def engine(self) -> str:
        """The engine's name."""

    @abstractmethod
    def load(self, values: Sequence[int]) -> Residues:
        """Non-negative integers of any size, reduced."""

    @abstractmethod
    def store(self, residues: Residues) -> list[int]:
        """The residues as Python integers in [0, value)."""

    @abstractmethod
    def from_bytes(self, data: bytes, count: int, width: int) -> Residues:
        """`count` little-endian integers of `width` bytes, reduced; ValueError for data of other length."""

    @abstractmethod
    def combine(self, left: bytes, right: bytes, width: int, factors: tuple[int, int]) -> Residues:
        """a_i x + b_i y for the packed little-endian integers a_i, b_i of `width` bytes and factors (x, y) >= 0."""

    @abstractmethod
    def to_bytes(self, residues: Residues, width: int) -> bytes:
        """Little-endian, `width` >= self.width bytes each."""

    @abstractmethod
    def slice(self, residues: Residues, start: int, stop: int) -> Residues:
        """Elements start..stop-1."""

    @abstractmethod
    def concat(self, parts: Sequence[Residues]) -> Residues:
        """The parts one after the other; of no parts, an empty vector."""

    @abstractmethod
    def mul(self, left: Residues, right: Residues) -> Residues:
        """Element by element; `right` may have length 1."""

    @abstractmethod
    def pow_same(self, bases: Residues, exponent: int) -> Residues:
        """bases[i]^exponent, exponent >= 0."""

    @abstractmethod
    def fixed_base(self, base: int, exponent_bits: int, expected_count: int) -> FixedBase:
        """Tables of `base` for about `expected_count` exponents below 2^exponent_bits."""

    @abstractmethod
    def multiexp_rows(self, bases: Residues, exponents: Exponents, exponent_bits: int) -> Residues:
        """out[i] = prod_j bases[j]^exponents[i, j]; exponents (m, c) below 2^exponent_bits <= 2^64.

        Few bases, many rows: tables per base are built on each call, so give it thousands of rows at once.
        """

    @abstractmethod
    def multiexp_columns(self, bases: Residues, exponents: Exponents, exponent_bits: int) -> Residues:
        """out[j] = prod_i bases[i]^exponents[i, j]; exponents (c, d) below 2^exponent_bits <= 2^64.

        Many bases, few columns: Pippenger's buckets, so give it thousands of bases at once.
        """

    @abstractmethod
    def group_products(self, bases: Residues, groups: Groups, count: int) -> Residues:
        """out[j count + g] = product of the bases[i] with groups[i, j] = g; groups (c, d) below `count` <= 255.

        One product per base and column; an empty group gives 1. ValueError for a group beyond `count`.
        """

    @abstractmethod
    def product(self, residues: Residues) -> int:
        """The product of all elements; of none, 1."""


def packed(values: Iterable[int], width: int) -> bytes:
    """Integers in [0, 256^width) one after the other, little-endian; OverflowError for others."""
    return b"".join([int(value).to_bytes(width, "little") for value in values])


def packed_exponents(data: bytes, bits: int) -> NDArray[np.uint8]:
    """Packed exponents as rows, their length checked; ValueError for one of more than `bits` bits."""
    width = (bits + 7) // 8
    if len(data) % width:
        raise ValueError("the data do not have whole exponents")
    rows = np.frombuffer(data, dtype=np.uint8).reshape(-1, width)
    if len(rows) and int(rows[:, -1].max()) >> (bits - 8 * (width - 1)):
        raise ValueError("an exponent is longer than the tables")
    return rows


def check_groups(bases: Residues, groups: Groups, count: int) -> None:
    """ValueError unless `groups` has a row per base and numbers below `count`."""
    if groups.shape[0] != len(bases):
        raise ValueError("one row of groups per base")
    if not 1 <= count <= MOST_GROUPS or (groups.size and int(groups.max()) >= count):
        raise ValueError("a group lies beyond the number of groups, or there are more than 255")
