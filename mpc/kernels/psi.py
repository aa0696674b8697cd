"""Loops of set intersection, compiled by numba: hash of many ids, peeling, filling and reading an OKVS, products in
F_16. They know words and positions, not whose they are.

Compiled on first use, outside the interpreter's lock; `mpc.oprf.warm` compiles them all ahead of a first job.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from mpc.kernels.bits import compiled
from mpc.ring import I64, U64

U8 = NDArray[np.uint8]
U32 = NDArray[np.uint32]

# [RFC 7693] section 2.6 and 2.7
_IV = np.array([
    0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1,
    0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179,
], np.uint64)
_SIGMA = np.array([
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
    [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
    [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
    [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
    [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
    [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
    [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
    [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
], np.int64)
BLOCK = 128


@compiled
def _mix(
    a: np.uint64, b: np.uint64, c: np.uint64, d: np.uint64, x: np.uint64, y: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """G of [RFC 7693] section 3.1."""
    a = a + b + x
    d ^= a
    d = (d >> np.uint64(32)) | (d << np.uint64(32))
    c += d
    b ^= c
    b = (b >> np.uint64(24)) | (b << np.uint64(40))
    a = a + b + y
    d ^= a
    d = (d >> np.uint64(16)) | (d << np.uint64(48))
    c += d
    b ^= c
    b = (b >> np.uint64(63)) | (b << np.uint64(1))
    return a, b, c, d


@compiled
def _compress(h: U64, m: U64, count: int, last: bool) -> None:
    """F of [RFC 7693] section 3.2: absorb the block `m`; `count` bytes so far."""
    v0, v1, v2, v3, v4, v5, v6, v7 = h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7]
    v8, v9, v10, v11 = _IV[0], _IV[1], _IV[2], _IV[3]
    v12, v13, v14, v15 = _IV[4] ^ np.uint64(count), _IV[5], _IV[6], _IV[7]
    if last:
        v14 = ~v14
    for r in range(12):
        s = _SIGMA[r]
        v0, v4, v8, v12 = _mix(v0, v4, v8, v12, m[s[0]], m[s[1]])
        v1, v5, v9, v13 = _mix(v1, v5, v9, v13, m[s[2]], m[s[3]])
        v2, v6, v10, v14 = _mix(v2, v6, v10, v14, m[s[4]], m[s[5]])
        v3, v7, v11, v15 = _mix(v3, v7, v11, v15, m[s[6]], m[s[7]])
        v0, v5, v10, v15 = _mix(v0, v5, v10, v15, m[s[8]], m[s[9]])
        v1, v6, v11, v12 = _mix(v1, v6, v11, v12, m[s[10]], m[s[11]])
        v2, v7, v8, v13 = _mix(v2, v7, v8, v13, m[s[12]], m[s[13]])
        v3, v4, v9, v14 = _mix(v3, v4, v9, v14, m[s[14]], m[s[15]])
    h[0] ^= v0 ^ v8
    h[1] ^= v1 ^ v9
    h[2] ^= v2 ^ v10
    h[3] ^= v3 ^ v11
    h[4] ^= v4 ^ v12
    h[5] ^= v5 ^ v13
    h[6] ^= v6 ^ v14
    h[7] ^= v7 ^ v15


@compiled
def _absorb(first: U64, before: int, last: bool, data: U8, offsets: I64, states: U64) -> None:
    """states (n, w): the first words of BLAKE2b's state after data[offsets[i]:offsets[i + 1]], none of it empty.

    Each starts at the state `first`, which has absorbed `before` bytes; `last`: nothing follows.
    """
    h, m = np.empty(8, np.uint64), np.empty(BLOCK // 8, np.uint64)
    for i in range(len(offsets) - 1):
        start, stop = offsets[i], offsets[i + 1]
        h[:] = first
        for position in range(start, stop, BLOCK):
            used = min(stop - position, BLOCK)
            m[:] = 0
            for k in range(used):
                m[k >> 3] |= np.uint64(data[position + k]) << np.uint64(8 * (k & 7))
            _compress(h, m, before + position + used - start, last and position + used == stop)
        for k in range(states.shape[1]):
            states[i, k] = h[k]


def blake2b_16(data: U8, offsets: I64, key: bytes) -> U64:
    """Keyed BLAKE2b with 16-byte digests [RFC 7693]: (n, 2), of data[offsets[i]:offsets[i + 1]] for each i.

    `key` has 1..64 bytes; its block is absorbed once for all.
    """
    start, keyed = _IV.copy(), np.empty((1, 8), np.uint64)
    start[0] ^= np.uint64(0x01010000 ^ len(key) << 8 ^ 16)
    block = np.frombuffer(key.ljust(BLOCK, b"\0"), np.uint8)
    _absorb(start, 0, False, block, np.array([0, BLOCK]), keyed)
    digests = np.empty((len(offsets) - 1, 2), np.uint64)
    _absorb(keyed[0], BLOCK, True, data, offsets, digests)
    nothing = np.flatnonzero(offsets[1:] == offsets[:-1])   # there the key's block is the last
    if len(nothing):
        digests[nothing] = np.frombuffer(hashlib.blake2b(b"", key=key, digest_size=16).digest(), "<u8")
    return digests


# ---------------------------------------------------------------- oblivious key-value store


@compiled
def places_of(seeds: U64, segment: int, places: U32) -> None:
    """seeds (n, 4), uniform words -> places (n, 3): one in each of three segments of the table."""
    for i in range(len(seeds)):
        low, high = seeds[i, 0], seeds[i, 1]
        places[i, 0] = np.uint32(((low & np.uint64(0xFFFFFFFF)) * np.uint64(segment)) >> np.uint64(32))
        places[i, 1] = np.uint32(segment + (((low >> np.uint64(32)) * np.uint64(segment)) >> np.uint64(32)))
        places[i, 2] = np.uint32(
            2 * segment + (((high & np.uint64(0xFFFFFFFF)) * np.uint64(segment)) >> np.uint64(32)))


@compiled
def peel(places: U32, slots: int, order: U32, owned: U32) -> int:
    """Take away, one by one, keys that have a slot to themselves.

    order[k] is the k-th key taken and owned[k] its slot. Returns how many were taken; the keys left over follow
    in `order`. A slot's word holds its number of keys above 2^32 and the XOR of their indices below.
    """
    n, one, low = len(places), np.uint64(1 << 32), np.uint64(0xFFFFFFFF)
    state, stack = np.zeros(slots, np.uint64), np.empty(slots, np.uint32)
    for i in range(n):
        for j in range(3):
            p = places[i, j]
            state[p] = (state[p] + one) ^ np.uint64(i)
    taken = 0
    for first in range(slots):
        if state[first] >> np.uint64(32) != np.uint64(1):
            continue
        stack[0], height = first, 1
        while height > 0:
            height -= 1
            slot = stack[height]
            if state[slot] >> np.uint64(32) != np.uint64(1):
                continue
            key = state[slot] & low
            order[taken], owned[taken] = key, slot
            taken += 1
            for j in range(3):
                p = places[key, j]
                state[p] = (state[p] - one) ^ key
                if state[p] >> np.uint64(32) == np.uint64(1):
                    stack[height] = p
                    height += 1
    if taken < n:
        _left_over(places, state, order, taken)
    return taken


@compiled
def _left_over(places: U32, state: U64, order: U32, taken: int) -> None:
    """Behind the taken keys in `order`, those that none of three lone slots freed."""
    gone = np.zeros(len(places), np.uint8)
    for k in range(taken):
        gone[order[k]] = 1
    for i in range(len(places)):
        if gone[i] == 0:
            order[taken] = i
            taken += 1


@compiled
def spread(dense: U64, tables: U64) -> None:
    """dense (64, w) -> tables (8, 256, w): XOR of the rows that each byte of a 64-bit mask selects."""
    width = dense.shape[1]
    for block in range(8):
        for w in range(width):
            tables[block, 0, w] = 0
        for value in range(1, 256):
            lowest = 0
            while (value >> lowest) & 1 == 0:
                lowest += 1
            for w in range(width):
                tables[block, value, w] = tables[block, value & (value - 1), w] ^ dense[8 * block + lowest, w]


@compiled
def fill(
    places: U32, masks: U64, values: U64, order: U32, owned: U32, taken: int, tables: U64, table: U64
) -> None:
    """Set the slot of each taken key, last taken first, so that its three slots and dense rows XOR to its value.

    values, table: (., w). The other slots of `table` and the dense rows (as `tables`) stay.
    """
    width = table.shape[1]
    for k in range(taken - 1, -1, -1):
        i, slot = order[k], owned[k]
        mask, a, b, c = masks[i], places[i, 0], places[i, 1], places[i, 2]
        for w in range(width):
            table[slot, w] = 0
        for w in range(width):
            total = values[i, w] ^ table[a, w] ^ table[b, w] ^ table[c, w]
            for block in range(8):
                total ^= tables[block, (mask >> np.uint64(8 * block)) & np.uint64(255), w]
            table[slot, w] = total


@compiled
def read(places: U32, masks: U64, table: U64, tables: U64, values: U64) -> None:
    """values[i] ^= XOR of the three slots and the dense rows of key i."""
    width = table.shape[1]
    for i in range(len(places)):
        mask, a, b, c = masks[i], places[i, 0], places[i, 1], places[i, 2]
        for w in range(width):
            total = table[a, w] ^ table[b, w] ^ table[c, w]
            for block in range(8):
                total ^= tables[block, (mask >> np.uint64(8 * block)) & np.uint64(255), w]
            values[i, w] ^= total


# ---------------------------------------------------------------- F_16 = F_2[a] / (a^4 + a + 1)


@compiled
def fold_field(leaves: U64, weighted: U64, totals: U64) -> None:
    """leaves (16, 4, words), elements of F_16 bit by bit -> their sum weighted by index, and their plain sum.

    weighted, totals: (4, words). Index x stands for the element with the bits of x; leaf 0 has no weight.
    """
    words = leaves.shape[2]
    for c in range(4):
        for w in range(words):
            totals[c, w] = leaves[0, c, w]
            weighted[c, w] = 0
    for x in range(1, 16):
        for c in range(4):
            for w in range(words):
                totals[c, w] ^= leaves[x, c, w]
        for b in range(4):
            if (x >> b) & 1:
                for w in range(words):   # times a^b: [c0 c1 c2 c3] a = [c3, c0 + c3, c1, c2]
                    c0, c1, c2, c3 = leaves[x, 0, w], leaves[x, 1, w], leaves[x, 2, w], leaves[x, 3, w]
                    for _ in range(b):
                        c0, c1, c2, c3 = c3, c0 ^ c3, c1, c2
                    weighted[0, w] ^= c0
                    weighted[1, w] ^= c1
                    weighted[2, w] ^= c2
                    weighted[3, w] ^= c3


@compiled
def add_products(rows: U64, factors: U64, sums: U64) -> None:
    """sums ^= rows times the row of constants, nibble by nibble in F_16. rows, sums: (m, w).

    factors (4, w): the constants times 1, a, a^2, a^3.
    """
    ones, fifteen = np.uint64(0x1111111111111111), np.uint64(15)
    for i in range(rows.shape[0]):
        for w in range(rows.shape[1]):
            row, total = rows[i, w], np.uint64(0)
            for b in range(4):
                total ^= (((row >> np.uint64(b)) & ones) * fifteen) & factors[b, w]
            sums[i, w] ^= total
