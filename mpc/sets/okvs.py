"""An oblivious key-value store: tables from which every key reads its value, and any other key reads noise.

A store of many keys has many bins, each a table of its own that fits into a core's cache; a public hash says which bin
a key belongs to. In its bin a key has one place in each of three segments and a mask over 64 dense rows; its value is
the XOR of all of them. If the values are uniform, so is the whole table, whatever the keys are. This module knows keys
as uniform words, nothing else.

Source: three-hash garbled cuckoo table, Garimella, Pinkas, Rosulek, Trieu and Yanai, CRYPTO 2021 (ePrint 2021/883),
section 4; segments and bins also in Raghuraman and Rindal, CCS 2022 (ePrint 2022/320). Peeling needs more than
1.2218 slots a key in the limit (Dietzfelbinger et al., ICALP 2010); a bin has 1.3 and 10 sqrt(n) + 64 more. What
peeling leaves over, a pair of colliding keys once in some n tables, is solved on the dense rows: s keys fail with
probability 2^-(64 - s), and more than 48 are refused. How 2^-40 follows for all sizes, by a bound on the expected
number of unpeelable parts and by measurement: docs/protocols/align.md and scripts/sweeps/okvs.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil, isqrt, sqrt

import numpy as np

from mpc.errors import LocalError
from mpc.kernels import set_intersection
from mpc.ring import I64, U64
from mpc.rng import Rng

DENSE = 64
MOST_LEFT_OVER = 48
BIN_KEYS = 1 << 14     # a bin's table of 32-byte rows takes 0.8 MB
BIN_BITS = 10          # so at most 2^24 keys
BIN_SPREAD = 9         # standard deviations: more keys in any of 2^10 bins have probability 2^-46 (Chernoff)


@dataclass(frozen=True)
class Layout:
    """The public size of a store for up to `capacity` keys."""

    capacity: int

    def __post_init__(self) -> None:
        if self.bins > 1 << BIN_BITS:
            raise LocalError("more keys than a store can hold")

    @cached_property
    def bins(self) -> int:
        """How many tables; a power of two."""
        full = -(-self.capacity // BIN_KEYS)
        return 1 << max(0, full - 1).bit_length()

    @cached_property
    def bin_keys(self) -> int:
        """How many keys a bin has room for."""
        if self.bins == 1:
            return self.capacity
        mean = self.capacity / self.bins
        return min(self.capacity, ceil(mean + BIN_SPREAD * sqrt(mean)))

    @cached_property
    def segment(self) -> int:
        """Slots of each of a bin's three segments; below 2^32."""
        return ceil((1.3 * self.bin_keys + 10 * isqrt(self.bin_keys) + 64) / 3)

    @property
    def bin_slots(self) -> int:
        """Rows of a bin's table, the dense ones (at its end) included."""
        return 3 * self.segment + DENSE

    @property
    def slots(self) -> int:
        """Rows of all bins, one after the other."""
        return self.bins * self.bin_slots

    def rows(self, number: int) -> slice:
        """The rows of bin `number`."""
        return slice(number * self.bin_slots, (number + 1) * self.bin_slots)

    def part(self, edges: I64, number: int) -> slice:
        """Which keys are of bin `number`, where keys stand in the order of `bins_of` with these `edges`."""
        width = (1 << BIN_BITS) // self.bins
        return slice(int(edges[number * width]), int(edges[(number + 1) * width]))


def bins_of(words: U64) -> I64:
    """The finest bin of each key, below 2^BIN_BITS, from bits that places leave; coarser layouts join neighbours."""
    return (words[:, 1] >> np.uint64(64 - BIN_BITS)).astype(np.int64)


@dataclass(frozen=True, repr=False)
class Keys:
    """Where keys read in the table of their bin: places (n, 3) and masks (n,), from four uniform words a key."""

    places: set_intersection.U32
    masks: U64

    def __len__(self) -> int:
        return len(self.masks)

    @classmethod
    def locate(cls, words: U64, layout: Layout) -> Keys:
        """words (n, 4), of which three are used. They must be uniform and drawn after the keys were fixed."""
        places = np.empty((len(words), 3), np.uint32)
        set_intersection.places_of(words, layout.segment, places)
        return cls(places, words[:, 2].copy())


class Plan:
    """The order in which the table of one bin is solved, before there are values. Used once or more."""

    def __init__(self, keys: Keys, layout: Layout) -> None:
        """LocalError: more keys than the bin holds."""
        if len(keys) > layout.bin_keys:
            raise LocalError("more keys than the store was laid out for")
        self._keys, self._layout = keys, layout
        self._order, self._owned = np.empty(len(keys), np.uint32), np.empty(len(keys), np.uint32)
        self._taken = set_intersection.peel(keys.places, layout.bin_slots, self._order, self._owned)

    def encode(self, values: U64, rng: Rng) -> U64:
        """The table (bin_slots, w) from which key i reads values[i], for values (n, w); what is free comes from `rng`.

        LocalError: a key twice with two values, or (with probability 2^-40) no solution.
        """
        width, keys = values.shape[1], self._keys
        table = rng.ring(self._layout.bin_slots * width).reshape(self._layout.bin_slots, width)
        left = self._order[self._taken:]
        if len(left):
            _solve_dense(keys, values, left, table)
        set_intersection.fill(
            keys.places, keys.masks, values, self._order, self._owned, self._taken, _spread(table), table
        )
        return table


def decode(keys: Keys, table: U64) -> U64:
    """What `keys` read in the table of their bin: (n, w)."""
    values = np.empty((len(keys), table.shape[1]), np.uint64)
    set_intersection.read(keys.places, keys.masks, table, _spread(table), values)
    return values


def _spread(table: U64) -> U64:
    tables = np.empty((8, 256, table.shape[1]), np.uint64)
    set_intersection.spread(table[-DENSE:], tables)
    return tables


def _solve_dense(keys: Keys, values: U64, left: set_intersection.U32, table: U64) -> None:
    """Choose the dense rows so that the keys `left` by peeling read right; their sparse slots stay as drawn.

    Gauss over F_2 on one equation a key: mask . dense = value + sparse slots. Free rows stay as drawn, too.
    """
    if len(left) > MOST_LEFT_OVER:
        raise LocalError("a key-value store could not be solved", "a key may occur twice; else start again")
    dense = table[-DENSE:]
    solved: list[tuple[int, int, U64]] = []
    for i in left:
        mask = int(keys.masks[i])
        right = values[i] ^ np.bitwise_xor.reduce(table[keys.places[i]], axis=0)
        for pivot, row, theirs in solved:
            if mask >> pivot & 1:
                mask ^= row
                right = right ^ theirs
        if mask == 0:
            raise LocalError("a key-value store could not be solved", "a key may occur twice; else start again")
        solved.append((mask.bit_length() - 1, mask, right))
    for pivot, mask, right in reversed(solved):
        total = right.copy()
        for bit in range(DENSE):
            if bit != pivot and mask >> bit & 1:
                total ^= dense[bit]
        dense[pivot] = total
