"""An oblivious key-value store: a table from which every key reads its value, and any other key reads noise.

A key has one place in each of three segments and a mask over 64 dense rows; its value is the XOR of all of them.
If the values are uniform, so is the whole table, whatever the keys are. It knows keys as uniform words, nothing else.

Source: three-hash garbled cuckoo table, Garimella, Pinkas, Rosulek, Trieu and Yanai, CRYPTO 2021 (ePrint 2021/883),
section 4; segments and numbers also in Raghuraman and Rindal, CCS 2022 (ePrint 2022/320). Peeling needs more than
1.2218 slots a key in the limit (Dietzfelbinger et al., ICALP 2010); we take 1.3 and 10 sqrt(n) + 64 more, far
beyond the fluctuation of small tables. What peeling leaves over, a pair of colliding keys once in about n tables, is
solved on the dense rows: s keys fail with probability 2^-(64 - s), and more than 24 are refused, so 2^-40 in all.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, isqrt

import numpy as np

from mpc.errors import LocalError
from mpc.kernels import psi
from mpc.ring import U64
from mpc.rng import Rng

DENSE = 64
MOST_LEFT_OVER = 24


@dataclass(frozen=True)
class Layout:
    """The public size of a store for up to `capacity` keys."""

    capacity: int

    @property
    def segment(self) -> int:
        """Slots of each of the three segments; below 2^32."""
        return ceil((1.3 * self.capacity + 10 * isqrt(self.capacity) + 64) / 3)

    @property
    def slots(self) -> int:
        """Rows of the table, the dense ones (at its end) included."""
        return 3 * self.segment + DENSE


@dataclass(frozen=True, repr=False)
class Keys:
    """Where keys read: places (n, 3) and masks (n,), from four uniform words a key."""

    places: psi.U32
    masks: U64

    def __len__(self) -> int:
        return len(self.masks)

    @classmethod
    def locate(cls, words: U64, layout: Layout) -> Keys:
        """words (n, 4), of which three are used. They must be uniform and drawn after the keys were fixed."""
        places = np.empty((len(words), 3), np.uint32)
        psi.places_of(words, layout.segment, places)
        return cls(places, words[:, 2].copy())


class Plan:
    """The order in which a store of given keys is solved, before there are values. Used once or more."""

    def __init__(self, keys: Keys, layout: Layout) -> None:
        """LocalError: more keys than the layout holds."""
        if len(keys) > layout.capacity:
            raise LocalError("more keys than the store was laid out for")
        self._keys, self._layout = keys, layout
        self._order, self._owned = np.empty(len(keys), np.uint32), np.empty(len(keys), np.uint32)
        self._taken = psi.peel(keys.places, layout.slots, self._order, self._owned)

    def encode(self, values: U64, rng: Rng) -> U64:
        """The table (slots, w) from which key i reads values[i], for values (n, w); what is free comes from `rng`.

        LocalError: a key twice with two values, or (with probability 2^-40) no solution.
        """
        width, keys = values.shape[1], self._keys
        table = rng.ring(self._layout.slots * width).reshape(self._layout.slots, width)
        left = self._order[self._taken:]
        if len(left):
            _solve_dense(keys, values, left, table)
        tables = np.empty((8, 256, width), np.uint64)
        psi.spread(table[-DENSE:], tables)
        psi.fill(keys.places, keys.masks, values, self._order, self._owned, self._taken, tables, table)
        return table


def decode(keys: Keys, table: U64, values: U64 | None = None) -> U64:
    """What `keys` read: (n, w), added by XOR to `values` where given."""
    width = table.shape[1]
    out = np.zeros((len(keys), width), np.uint64) if values is None else values
    tables = np.empty((8, 256, width), np.uint64)
    psi.spread(np.ascontiguousarray(table[-DENSE:]), tables)
    psi.read(keys.places, keys.masks, table, tables, out)
    return out


def _solve_dense(keys: Keys, values: U64, left: psi.U32, table: U64) -> None:
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
