"""Vectors over Z_2^k as numpy uint64, k <= 64, and how they are cut into additive shares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

TILE, SIDE = 1 << 18, 1 << 14   # entries, columns at most, of a matrix that are widened to 64 bits at a time


def mask_of(bits: int) -> np.uint64:
    """The all-ones word of `bits` bits."""
    assert 1 <= bits <= 64
    return np.uint64((1 << bits) - 1)


def reduce(values: U64, bits: int) -> U64:
    """Values mod 2^bits."""
    return values if bits == 64 else values & mask_of(bits)


def from_signed(values: NDArray[np.integer] | NDArray[np.floating]) -> U64:
    """Signed integers into Z_2^64 (two's complement)."""
    return np.asarray(values).astype(np.int64).view(np.uint64)


def to_signed(values: U64, bits: int = 64) -> I64:
    """The representative in [-2^(bits-1), 2^(bits-1))."""
    if bits == 64:
        return values.view(np.int64)
    shift = np.uint64(64 - bits)
    return (values << shift).view(np.int64) >> np.int64(64 - bits)


def times(matrix: NDArray[np.integer], vector: U64) -> U64:
    """A v mod 2^64, tile by tile: a large matrix of fewer bits is never copied whole."""
    result = np.zeros(len(matrix), np.uint64)
    side = min(matrix.shape[1], SIDE)
    height = max(1, TILE // max(1, side))
    for top in range(0, len(matrix), height):
        rows = slice(top, top + height)
        for left in range(0, matrix.shape[1], SIDE):
            columns = slice(left, left + SIDE)
            result[rows] += matrix[rows, columns].astype(np.int64, copy=False).view(np.uint64) @ vector[columns]
    return result


@dataclass(frozen=True)
class RingVector:
    """A vector in Z_2^bits as it travels: little-endian, ceil(bits/8) bytes an element."""

    values: U64
    bits: int

    def __post_init__(self) -> None:
        if self.values.dtype != np.uint64 or self.values.ndim != 1:
            raise TypeError("a RingVector holds a one-dimensional uint64 array")
        if not 1 <= self.bits <= 64:
            raise ValueError("bits must be in 1..64")

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"RingVector({len(self.values)} x u{self.bits})"
