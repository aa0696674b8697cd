"""Aligned memory of the engines ifma and avx2: vectors of residues in batches of eight. Knows no modulus."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mpc.kernels.modulus import Residues

Words = NDArray[np.uint64]
Bytes = NDArray[np.uint8]
ALIGNMENT = 64
LANES = 8                  # residues side by side


def aligned(*shape: int) -> Words:
    """Uninitialised words that begin on a cache line."""
    count = math.prod(shape)
    spare = ALIGNMENT // 8
    buffer = np.empty(count + spare, dtype=np.uint64)
    start = (-buffer.ctypes.data % ALIGNMENT) // 8
    return buffer[start : start + count].reshape(shape)


def batches(count: int) -> int:
    """How many batches hold `count` residues."""
    return -(-count // LANES)


class SimdResidues:
    """Batches of eight residues: words (batches, words per residue, 8); lanes from `count` on mean nothing."""

    __slots__ = ("count", "words")

    def __init__(self, words: Words, count: int) -> None:
        self.words, self.count = words, count

    @classmethod
    def empty(cls, count: int, size: int) -> SimdResidues:
        """Room for `count` residues of `size` words."""
        return cls(aligned(batches(count), size, LANES), count)

    def __len__(self) -> int:
        return self.count

    def __repr__(self) -> str:
        return f"SimdResidues({self.count})"

    def put(self, at: int, source: SimdResidues, first: int, count: int) -> None:
        """Copy source[first : first + count] to this vector's positions from `at` on."""
        if at % LANES == 0 and first % LANES == 0:       # lanes keep their places
            here, there = at // LANES, first // LANES
            self.words[here : here + batches(count)] = source.words[there : there + batches(count)]
            return
        for lane in range(min(LANES, count)):
            target, target_lane = divmod(at + lane, LANES)
            batch, source_lane = divmod(first + lane, LANES)
            length = batches(count - lane)
            self.words[target : target + length, :, target_lane] = source.words[batch : batch + length, :, source_lane]


class Compiled(Protocol):
    """A modulus with its compiled loops, as powers and buckets need it. `size`: words per residue; `one`: a batch."""

    @property
    def value(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def one(self) -> Words: ...
    def call(self, name: str, *arguments: int | Words | Bytes) -> None: ...
    def load(self, values: Sequence[int]) -> SimdResidues: ...
    def store(self, residues: Residues) -> list[int]: ...
    def empty(self, count: int) -> SimdResidues: ...
    def ones(self, count: int) -> SimdResidues: ...
    def mul(self, left: Residues, right: Residues) -> SimdResidues: ...
    def slice(self, residues: Residues, start: int, stop: int) -> SimdResidues: ...


def own(residues: Residues) -> SimdResidues:
    """The vector, if it is one of this engine; else TypeError."""
    if not isinstance(residues, SimdResidues):
        raise TypeError("these residues belong to another engine")
    return residues
