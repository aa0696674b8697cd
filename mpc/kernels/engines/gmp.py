"""The engine that runs everywhere: GMP through gmpy2. The fallback, and the oracle of the other engines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gmpy2
import numpy as np
from gmpy2 import mpz

from mpc.kernels.modulus import Exponents, Groups, Modulus, Residues, check_groups, packed, packed_exponents
from mpc.kernels.windows import bucket_window, long_digits, short_digits, table_window

Mpz = Any  # gmpy2 ships no type stubs
ENTRY_OVERHEAD_BYTES = 40  # of an mpz object and its slot in a list


class GmpResidues:
    """A list of mpz in [0, modulus)."""

    __slots__ = ("values",)

    def __init__(self, values: list[Mpz]) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"GmpResidues({len(self.values)})"


def _list(residues: Residues) -> list[Mpz]:
    if not isinstance(residues, GmpResidues):
        raise TypeError("these residues belong to another engine")
    return residues.values


def _powers(base: Mpz, count: int, n: Mpz) -> list[Mpz]:
    """base^0 .. base^(count-1)."""
    powers = [mpz(1)]
    for _ in range(count - 1):
        powers.append(powers[-1] * base % n)
    return powers


def _tables(base: Mpz, windows: int, window: int, n: Mpz) -> list[list[Mpz]]:
    """tables[i][d] = base^(d 2^(i window)): no squarings remain for the one who uses them."""
    tables = []
    for _ in range(windows):
        tables.append(_powers(base, 1 << window, n))
        base = tables[-1][-1] * base % n
    return tables


def _select_product(tables: list[list[Mpz]], digits: Sequence[int], n: Mpz) -> Mpz:
    """prod_i tables[i][digits[i]] mod n."""
    result = mpz(1)
    for table, digit in zip(tables, digits, strict=True):
        if digit:
            result = result * table[digit] % n
    return result


def _bucket_product(bases: list[Mpz], digits: Sequence[int], window: int, n: Mpz) -> Mpz:
    """prod_i bases[i]^digits[i] by one bucket per digit [Pippenger 1976; BDLO 2012, section 4]."""
    one = mpz(1)
    buckets = [one] * (1 << window)
    for base, digit in zip(bases, digits, strict=True):
        buckets[digit] = buckets[digit] * base % n
    running = result = one
    for bucket in reversed(buckets[1:]):   # each bucket enters `result` as often as its digit says
        running = running * bucket % n
        result = result * running % n
    return result


class GmpFixedBase:
    """Radix-2^w tables of one base [BGMW 1992]."""

    def __init__(self, base: int, bits: int, window: int, n: Mpz) -> None:
        self._bits, self._window, self._n = bits, window, n
        self._tables = _tables(mpz(base) % n, -(-bits // window), window, n)

    def pow(self, exponents: bytes) -> GmpResidues:
        digits = long_digits(packed_exponents(exponents, self._bits), self._bits, self._window).tolist()
        return GmpResidues([_select_product(self._tables, row, self._n) for row in digits])


class GmpModulus(Modulus):
    """Implements mpc.kernels.modulus over lists of mpz."""

    def __init__(self, value: int) -> None:
        super().__init__(value)
        self._n = mpz(value)

    @property
    def engine(self) -> str:
        return "gmp"

    def load(self, values: Sequence[int]) -> GmpResidues:
        return GmpResidues([mpz(value) % self._n for value in values])

    def store(self, residues: Residues) -> list[int]:
        return [int(value) for value in _list(residues)]

    def from_bytes(self, data: bytes, count: int, width: int) -> GmpResidues:
        if len(data) != count * width:
            raise ValueError("the data do not have count * width bytes")
        n, read = self._n, mpz.from_bytes
        return GmpResidues([read(data[i : i + width], "little") % n for i in range(0, len(data), width or 1)])

    def combine(self, left: bytes, right: bytes, width: int, factors: tuple[int, int]) -> GmpResidues:
        if len(left) != len(right) or len(left) % width:
            raise ValueError("the data do not have count * width bytes")
        n, read, (x, y) = self._n, mpz.from_bytes, (mpz(factor) for factor in factors)
        return GmpResidues([
            (read(left[i : i + width], "little") * x + read(right[i : i + width], "little") * y) % n
            for i in range(0, len(left), width)
        ])

    def to_bytes(self, residues: Residues, width: int) -> bytes:
        if width < self.width:
            raise ValueError("the width is too small for this modulus")
        return packed(_list(residues), width)

    def slice(self, residues: Residues, start: int, stop: int) -> GmpResidues:
        return GmpResidues(_list(residues)[start:stop])

    def concat(self, parts: Sequence[Residues]) -> GmpResidues:
        return GmpResidues([value for part in parts for value in _list(part)])

    def mul(self, left: Residues, right: Residues) -> GmpResidues:
        n, one_side, other = self._n, _list(left), _list(right)
        if len(other) == 1:
            return GmpResidues([a * other[0] % n for a in one_side])
        return GmpResidues([a * b % n for a, b in zip(one_side, other, strict=True)])

    def pow_same(self, bases: Residues, exponent: int) -> GmpResidues:
        if exponent < 0:
            raise ValueError("the exponent must not be negative")
        return GmpResidues(gmpy2.powmod_base_list(_list(bases), mpz(exponent), self._n))  # releases the GIL

    def fixed_base(self, base: int, exponent_bits: int, expected_count: int) -> GmpFixedBase:
        window = table_window(exponent_bits, 1, expected_count, self.width + ENTRY_OVERHEAD_BYTES)
        return GmpFixedBase(base, exponent_bits, window, self._n)

    def multiexp_rows(self, bases: Residues, exponents: Exponents, exponent_bits: int) -> GmpResidues:
        values, n = _list(bases), self._n
        rows, columns = exponents.shape
        if columns != len(values):
            raise ValueError("one column of exponents per base")
        window = table_window(exponent_bits, max(columns, 1), rows, self.width + ENTRY_OVERHEAD_BYTES)
        windows = -(-exponent_bits // window)
        tables = [table for base in values for table in _tables(base, windows, window, n)]
        digits = short_digits(exponents, exponent_bits, window)          # (windows, rows, columns)
        by_row = np.moveaxis(digits, 0, 2).reshape(rows, -1)             # in the order of `tables`
        return GmpResidues([_select_product(tables, row.tolist(), n) for row in by_row])

    def multiexp_columns(self, bases: Residues, exponents: Exponents, exponent_bits: int) -> GmpResidues:
        values, n = _list(bases), self._n
        if exponents.shape[0] != len(values):
            raise ValueError("one row of exponents per base")
        window = bucket_window(exponent_bits, len(values))
        results = []
        for column in range(exponents.shape[1]):
            result = mpz(1)
            for digits in reversed(short_digits(exponents[:, column], exponent_bits, window)):
                for _ in range(window if result != 1 else 0):
                    result = result * result % n
                result = result * _bucket_product(values, digits.tolist(), window, n) % n
            results.append(result)
        return GmpResidues(results)

    def group_products(self, bases: Residues, groups: Groups, count: int) -> GmpResidues:
        values, n = _list(bases), self._n
        check_groups(bases, groups, count)
        results = [mpz(1)] * (groups.shape[1] * count)
        for j, column in enumerate(groups.T.tolist()):
            for value, group in zip(values, column, strict=True):
                place = j * count + group
                results[place] = results[place] * value % n
        return GmpResidues(results)

    def product(self, residues: Residues) -> int:
        result = mpz(1)
        for value in _list(residues):
            result = result * value % self._n
        return int(result)
