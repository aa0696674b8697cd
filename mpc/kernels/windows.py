"""Windows, which the engines share: exponents cut into digits, widths chosen by cost and memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Digits = NDArray[np.uint32]
TABLE_BYTES = 144 << 20
"""No table of powers takes more than this."""


def long_digits(exponents: NDArray[np.uint8], bits: int, window: int) -> Digits:
    """Digits (count, ceil(bits/window)) of the rows of `exponents`, little-endian, below 2^bits; low first."""
    count, windows = len(exponents), -(-bits // window)
    each = np.unpackbits(exponents, axis=1, count=windows * window, bitorder="little")     # zeros beyond the row
    weights = (1 << np.arange(window, dtype=np.uint32)).astype(np.uint32)
    digits: Digits = (each.reshape(count, windows, window) * weights).sum(axis=2, dtype=np.uint32)
    return digits


def short_digits(exponents: NDArray[np.uint64], bits: int, window: int) -> Digits:
    """Digits (windows, *shape) of 64-bit exponents below 2^bits, low first; ValueError if one is not."""
    if not 1 <= bits <= 64:
        raise ValueError("matrix exponents have 1 to 64 bits")
    if bits < 64 and exponents.size and int(exponents.max()) >> bits:
        raise ValueError("an exponent is longer than was declared")
    mask = np.uint64((1 << window) - 1)
    shifts = range(0, bits, window)
    return np.stack([((exponents >> np.uint64(s)) & mask).astype(np.uint32) for s in shifts])


def table_window(bits: int, tables: int, uses: int, entry_bytes: int, widest: int = 11) -> int:
    """Width w of least cost ceil(bits/w) (2^w + uses) for `tables` tables within TABLE_BYTES.

    Of 12 bits they are twice as large and 4 % faster for one thread, not for two: the cores share the way to memory.
    """

    def windows(w: int) -> int:
        return -(-bits // w)

    fitting = [w for w in range(1, widest + 1) if tables * windows(w) * entry_bytes << w <= TABLE_BYTES]
    return min(fitting or [1], key=lambda w: windows(w) * ((1 << w) + uses))


def bucket_window(bits: int, bases: int, widest: int = 12) -> int:
    """Width w of least cost ceil(bits/w) (bases + 2^(w+1)) for Pippenger's buckets."""
    return min(range(1, widest + 1), key=lambda w: -(-bits // w) * (bases + (2 << w)))
