"""The same face over python-paillier's arithmetic (phe.util): no tables, no buckets. Slow, and the oracle."""

from __future__ import annotations

from collections.abc import Sequence

from phe.util import mulmod, powmod

from mpc.kernels.modulus import Exponents, Groups, Modulus, Residues, check_groups, packed, packed_exponents


class PheResidues:
    """A list of Python integers in [0, modulus)."""

    __slots__ = ("values",)

    def __init__(self, values: list[int]) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"PheResidues({len(self.values)})"


def _list(residues: Residues) -> list[int]:
    if not isinstance(residues, PheResidues):
        raise TypeError("these residues belong to another engine")
    return residues.values


class PheFixedBase:
    """A base without a table."""

    def __init__(self, base: int, bits: int, n: int) -> None:
        self._base, self._bits, self._n = base % n, bits, n

    def pow(self, exponents: bytes) -> PheResidues:
        rows = packed_exponents(exponents, self._bits)
        return PheResidues([int(powmod(self._base, int.from_bytes(row.tobytes(), "little"), self._n)) for row in rows])


class PheModulus(Modulus):
    """Implements mpc.kernels.modulus, one phe.util call per product or power."""

    @property
    def engine(self) -> str:
        return "phe"

    def load(self, values: Sequence[int]) -> PheResidues:
        return PheResidues([int(value) % self.value for value in values])

    def store(self, residues: Residues) -> list[int]:
        return list(_list(residues))

    def from_bytes(self, data: bytes, count: int, width: int) -> PheResidues:
        if len(data) != count * width:
            raise ValueError("the data do not have count * width bytes")
        starts = range(0, len(data), width or 1)
        return self.load([int.from_bytes(data[i : i + width], "little") for i in starts])

    def combine(self, left: bytes, right: bytes, width: int, factors: tuple[int, int]) -> PheResidues:
        if len(left) != len(right) or len(left) % width:
            raise ValueError("the data do not have count * width bytes")
        read, (x, y) = int.from_bytes, factors
        return self.load([
            read(left[i : i + width], "little") * x + read(right[i : i + width], "little") * y
            for i in range(0, len(left), width)
        ])

    def to_bytes(self, residues: Residues, width: int) -> bytes:
        if width < self.width:
            raise ValueError("the width is too small for this modulus")
        return packed(_list(residues), width)

    def slice(self, residues: Residues, start: int, stop: int) -> PheResidues:
        return PheResidues(_list(residues)[start:stop])

    def concat(self, parts: Sequence[Residues]) -> PheResidues:
        return PheResidues([value for part in parts for value in _list(part)])

    def mul(self, left: Residues, right: Residues) -> PheResidues:
        one_side, other = _list(left), _list(right)
        if len(other) == 1:
            other = other * len(one_side)
        pairs = zip(one_side, other, strict=True)
        return PheResidues([int(mulmod(a, b, self.value)) for a, b in pairs])

    def pow_same(self, bases: Residues, exponent: int) -> PheResidues:
        if exponent < 0:
            raise ValueError("the exponent must not be negative")
        return PheResidues([int(powmod(base, exponent, self.value)) for base in _list(bases)])

    def fixed_base(self, base: int, exponent_bits: int, expected_count: int) -> PheFixedBase:
        return PheFixedBase(base, exponent_bits, self.value)

    def multiexp_rows(self, bases: Residues, exponents: Exponents, exponent_bits: int) -> PheResidues:
        if exponents.shape[1] != len(bases):
            raise ValueError("one column of exponents per base")
        if any(int(e) >> exponent_bits for e in exponents.flat):
            raise ValueError("an exponent is longer than was declared")
        values = _list(bases)
        return PheResidues([self._weighted(values, row) for row in exponents.tolist()])

    def multiexp_columns(self, bases: Residues, exponents: Exponents, exponent_bits: int) -> PheResidues:
        if exponents.shape[0] != len(bases):
            raise ValueError("one row of exponents per base")
        return self.multiexp_rows(bases, exponents.T, exponent_bits)

    def group_products(self, bases: Residues, groups: Groups, count: int) -> PheResidues:
        check_groups(bases, groups, count)
        results = [1] * (groups.shape[1] * count)
        for value, row in zip(_list(bases), groups.tolist(), strict=True):
            for j, group in enumerate(row):
                results[j * count + group] = int(mulmod(results[j * count + group], value, self.value))
        return PheResidues(results)

    def product(self, residues: Residues) -> int:
        values = _list(residues)
        return self._weighted(values, [1] * len(values))

    def _weighted(self, values: Sequence[int], weights: Sequence[int]) -> int:
        result = 1
        for value, weight in zip(values, weights, strict=True):
            result = int(mulmod(result, powmod(value, weight, self.value), self.value))
        return result
