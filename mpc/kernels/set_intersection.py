"""Loops of set intersection: peeling, filling and reading an OKVS, streams and products in F_16, the hash of an
oblivious function (mpc.kernels.compiling.loops). They know words and positions, not whose they are.

`mpc.sets.oprf.warm` compiles or loads them all ahead of a first job.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mpc.kernels.blocks import encrypt
from mpc.kernels.compiling.loops import compiled
from mpc.ring import I64, U64

U8 = NDArray[np.uint8]
U32 = NDArray[np.uint32]

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


def peel(places: U32, slots: int, order: U32, owned: U32) -> int:
    """Take away, one by one, keys that have a slot to themselves.

    order[k] is the k-th key taken and owned[k] its slot. Returns how many were taken; the keys left over follow
    in `order`. A slot's word holds its number of keys above 2^32 and the XOR of their indices below.
    """
    state, stack, gone = np.zeros(slots, np.uint64), np.empty(slots, np.uint32), np.zeros(len(places), np.uint8)
    return _peel(places, slots, order, owned, state, stack, gone)


@compiled
def _peel(places: U32, slots: int, order: U32, owned: U32, state: U64, stack: U32, gone: U8) -> int:
    n, one, low = len(places), np.uint64(1 << 32), np.uint64(0xFFFFFFFF)
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
        _left_over(places, order, taken, gone)
    return taken


@compiled
def _left_over(places: U32, order: U32, taken: int, gone: U8) -> None:
    """Behind the taken keys in `order`, those that none of three lone slots freed; `gone`: zeros, one each."""
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
    """values[i] = XOR of the three slots and the dense rows of key i."""
    width = table.shape[1]
    for i in range(len(places)):
        mask, a, b, c = masks[i], places[i, 0], places[i, 1], places[i, 2]
        for w in range(width):
            total = table[a, w] ^ table[b, w] ^ table[c, w]
            for block in range(8):
                total ^= tables[block, (mask >> np.uint64(8 * block)) & np.uint64(255), w]
            values[i, w] = total


# ---------------------------------------------------------------- F_16 = F_2[a] / (a^4 + a + 1)


@compiled
def fold_streams(keys: U64, first: int, totals: U64, weighted: U64, sums: U64) -> None:
    """Of each 16 rows of a schedule as `_fold_group` says. totals, weighted: (groups, 4, words)."""
    for group in range(len(totals)):
        _fold_group(keys, 16 * group, first, totals[group], weighted[group], sums)


@compiled
def _fold_group(keys: U64, row: int, first: int, totals: U64, weighted: U64, sums: U64) -> None:
    """The sum of 16 pseudo-random streams and their sum weighted by index, as elements of F_16 bit by bit.

    Stream x is AES in counter mode under row + x of a schedule, its counter the low word of a block. Bit c of the
    elements comes from blocks first + c words / 2 on. totals, weighted: (4, words); sums (4, 4, words) is scratch.
    Index x stands for the element with the bits of x, so stream 0 has no weight.
    """
    zero, words = np.uint64(0), totals.shape[1]
    for c in range(4):
        for j in range(words // 2):
            counter = np.uint64(first + c * (words // 2) + j)
            all0 = all1 = one0 = one1 = two0 = two1 = four0 = four1 = eight0 = eight1 = zero
            for q in range(4):
                l0, h0 = encrypt(counter, zero, keys, row + 4 * q)
                l1, h1 = encrypt(counter, zero, keys, row + 4 * q + 1)
                l2, h2 = encrypt(counter, zero, keys, row + 4 * q + 2)
                l3, h3 = encrypt(counter, zero, keys, row + 4 * q + 3)
                one0, one1 = one0 ^ l1 ^ l3, one1 ^ h1 ^ h3
                two0, two1 = two0 ^ l2 ^ l3, two1 ^ h2 ^ h3
                l0, h0 = l0 ^ l1 ^ l2 ^ l3, h0 ^ h1 ^ h2 ^ h3
                all0, all1 = all0 ^ l0, all1 ^ h0
                if q & 1:
                    four0, four1 = four0 ^ l0, four1 ^ h0
                if q & 2:
                    eight0, eight1 = eight0 ^ l0, eight1 ^ h0
            totals[c, 2 * j], totals[c, 2 * j + 1] = all0, all1
            sums[0, c, 2 * j], sums[0, c, 2 * j + 1] = one0, one1
            sums[1, c, 2 * j], sums[1, c, 2 * j + 1] = two0, two1
            sums[2, c, 2 * j], sums[2, c, 2 * j + 1] = four0, four1
            sums[3, c, 2 * j], sums[3, c, 2 * j + 1] = eight0, eight1
    for w in range(words):   # Horner; times a: [c0 c1 c2 c3] a = [c3, c0 + c3, c1, c2]
        c0, c1, c2, c3 = sums[3, 0, w], sums[3, 1, w], sums[3, 2, w], sums[3, 3, w]
        for b in range(2, -1, -1):
            c0, c1, c2, c3 = (
                c3 ^ sums[b, 0, w], c0 ^ c3 ^ sums[b, 1, w], c1 ^ sums[b, 2, w], c2 ^ sums[b, 3, w])
        weighted[0, w], weighted[1, w], weighted[2, w], weighted[3, w] = c0, c1, c2, c3


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


# ---------------------------------------------------------------- tags


@compiled
def match(own: U64, first: U64, second: U64, table: U32, found: I64) -> None:
    """found[j]: which of `own` (n, 2) has the first word first[j] and the low half of the second second[j]; else -1.

    table: zeros, a power of two of them, at least 2 n. `own` are uniform and differ.
    """
    mask, low = np.uint64(len(table) - 1), np.uint64(0xFFFFFFFF)
    for i in range(len(own)):
        slot = own[i, 0] & mask
        while table[slot] != 0:
            slot = (slot + np.uint64(1)) & mask
        table[slot] = i + 1
    for j in range(len(found)):
        found[j] = -1
        slot = first[j] & mask
        while table[slot] != 0:
            entry = np.int64(table[slot]) - 1
            if own[entry, 0] == first[j] and own[entry, 1] & low == second[j]:
                found[j] = entry
                break
            slot = (slot + np.uint64(1)) & mask


# ---------------------------------------------------------------- hashes of states


@compiled
def compress(rows: U64, keys: U64, states: U64) -> None:
    """states (n, 2): pi(a) + a + b of the halves a, b of each row (n, 4); pi under the first key."""
    for i in range(len(rows)):
        low, high = encrypt(rows[i, 0], rows[i, 1], keys, 0)
        states[i, 0] = low ^ rows[i, 0] ^ rows[i, 2]
        states[i, 1] = high ^ rows[i, 1] ^ rows[i, 3]


@compiled
def whiten(states: U64, purpose: np.uint64, keys: U64, words: U64) -> None:
    """words (n, 2): pi(v + purpose) + v for each state v; pi under the second key."""
    for i in range(len(states)):
        low, high = encrypt(states[i, 0] ^ purpose, states[i, 1], keys, 1)
        words[i, 0] = low ^ states[i, 0]
        words[i, 1] = high ^ states[i, 1]
