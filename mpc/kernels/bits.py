"""Loops over packed bits and small sums (compiling.loops). They know words, not what the words stand for."""

from __future__ import annotations

import numpy as np

from mpc.kernels.compiling.loops import compiled
from mpc.ring import I64, U64


@compiled
def fold_leaves(leaves: U64, sums: U64, totals: U64) -> None:
    """Linear combinations of 2^k pseudo-random rows of each group.

    leaves (groups, 2^k, words) -> sums (groups * k, words): row b of a group is the XOR of the leaves whose
    index has bit b set (so leaf 0 does not matter); totals (groups, words): the XOR of all leaves.
    """
    groups, count, words = leaves.shape
    k = sums.shape[0] // groups
    for g in range(groups):
        for w in range(words):
            totals[g, w] = leaves[g, 0, w]
        for b in range(k):
            for w in range(words):
                sums[g * k + b, w] = 0
        for x in range(1, count):
            for w in range(words):
                totals[g, w] ^= leaves[g, x, w]
            for b in range(k):
                if (x >> b) & 1:
                    for w in range(words):
                        sums[g * k + b, w] ^= leaves[g, x, w]


@compiled
def _exchange(block: U64, jump: int, mask: np.uint64) -> None:
    """One level of the transposition: swap the off-diagonal jump x jump squares of each 2 jump x 2 jump square."""
    step = np.uint64(jump)
    for r in range(block.shape[0]):
        if r & jump == 0:
            for v in range(block.shape[1]):
                t = ((block[r, v] >> step) ^ block[r + jump, v]) & mask
                block[r, v] ^= t << step
                block[r + jump, v] ^= t


def transpose_bits(columns: U64, rows: U64) -> None:
    """columns (64 h, words) -> rows (64 words, h): bit c of row i is bit i of column c, both little-endian.

    Blocks of 64 x 64 bits by recursive exchange (Warren, Hacker's Delight, section 7-3), 8 blocks side by side.
    """
    _transpose(columns, rows, np.zeros((64, 8), np.uint64))


@compiled
def _transpose(columns: U64, rows: U64, block: U64) -> None:
    height, words = columns.shape
    for half in range(height // 64):
        for first in range(0, words, 8):
            used = min(8, words - first)
            for r in range(64):
                for v in range(used):
                    block[r, v] = columns[64 * half + r, first + v]
            jump, mask = 32, np.uint64(0x00000000FFFFFFFF)
            while jump > 0:
                _exchange(block, jump, mask)
                jump >>= 1
                mask ^= mask << np.uint64(jump)
            for v in range(used):
                for r in range(64):
                    rows[64 * (first + v) + r, half] = block[r, v]


@compiled
def weighted_sums(terms: U64, weights: U64, slots: I64, sums: U64) -> None:
    """terms (rows, t, w), weights (t,), slots (t,) -> sums (rows, s, w): sums[:, slots[i]] += weights[i] terms[:, i].

    All mod 2^64; `sums` is overwritten.
    """
    rows, count, words = terms.shape
    sums[:] = 0
    for r in range(rows):
        for t in range(count):
            for w in range(words):
                sums[r, slots[t], w] += weights[t] * terms[r, t, w]
