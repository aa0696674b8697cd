"""How limbs are cut and multiplied: one form for each set of instructions. All else is common to the forms.

A *limb* is a digit of a residue; a *column* is a sum of products of limbs, not yet carried, in 64 bits. Limbs lie one
in a vector while they are worked on, and `per_word` of them share a word of memory otherwise.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from mpc.kernels.compiling.library import AVX2, IFMA
from mpc.kernels.simd.emitter import ZERO, Emitter, Value, const, splat_const

MAX_LIMBS = 256
HALF = 32


class LimbEmitter(Emitter):
    """An emitter that knows its limbs; the class is the form."""

    engine: ClassVar[str]
    features: ClassVar[tuple[str, ...]]     # LLVM's names of what a processor must have; the code uses no others
    limb_bits: ClassVar[int]
    per_word: ClassVar[int]
    reach: ClassVar[int]                    # columns that one product touches
    rows: ClassVar[int]                     # of limbs of three products, after which columns must be carried

    @abstractmethod
    def add_products(self, columns: list[Value], first: int, limb: Value, others: Sequence[Value]) -> None:
        """Add limb * others[i] to the column first + i, of the full length (the upper half goes to the next one)."""

    @abstractmethod
    def low_product(self, x: Value, y: Value) -> Value:
        """x y modulo 2^limb_bits; x may be a column."""

    @abstractmethod
    def split(self, word: Value) -> list[Value]:
        """The limbs of a word."""

    @abstractmethod
    def joined(self, limbs: Sequence[Value], half: Value) -> Value:
        """The word of `per_word` limbs; `half` is the number HALF, of their type."""

    def carry(self, x: Value) -> Value:
        """What lies above the limb."""
        return self.b.lshr(x, splat_const(self.limb_bits))

    def limb(self, x: Value) -> Value:
        """What lies inside the limb."""
        return self.b.and_(x, splat_const((1 << self.limb_bits) - 1))

    def words(self, limbs: Value) -> Value:
        """How many words hold so many limbs, an even number."""
        return self.b.lshr(limbs, const(self.per_word - 1))

    def limbs_of(self, batch: Value, count: Value) -> Value:
        """`count` limbs, at most 2 MAX_LIMBS, one in a vector: where they lie already, or unpacked on the stack."""
        if self.per_word == 1:
            return batch
        target = self.scratch(2 * MAX_LIMBS)

        def unpack(i: Value) -> None:
            for k, limb in enumerate(self.split(self.vector(batch, i))):
                self.put(limb, target, self.add(self.b.mul(i, const(self.per_word)), k))

        self.each(0, self.words(count), unpack)
        return target


class Ifma(LimbEmitter):
    """Limbs of 52 bits; vpmadd52 adds the low or the high half of a product to a column."""

    engine = "ifma"
    features = IFMA
    limb_bits, per_word, reach = 52, 1, 2
    rows = MAX_LIMBS                        # 6 h terms below 2^52: never

    def add_products(self, columns: list[Value], first: int, limb: Value, others: Sequence[Value]) -> None:
        for i, other in enumerate(others, first):
            columns[i] = self.low(columns[i], limb, other)
        for i, other in enumerate(others, first):
            columns[i + 1] = self.high(columns[i + 1], limb, other)

    def low_product(self, x: Value, y: Value) -> Value:
        return self.low(ZERO, x, y)

    def split(self, word: Value) -> list[Value]:
        return [word]

    def joined(self, limbs: Sequence[Value], half: Value) -> Value:
        return limbs[0]


class Avx2(LimbEmitter):
    """Limbs of 28 bits; vpmuludq gives whole products of 56 bits, four a register. A word has a limb in each half.

    255 products of limbs, each at most (2^28 - 1)^2 = 2^56 - 2^29 + 1, leave room for one more 2^56 in a column: for
    84 rows of three products, or a square's 84 and as many again, with shifts and carries.
    """

    engine = "avx2"
    features = AVX2
    limb_bits, per_word, reach = 28, 2, 1
    rows = 84

    def add_products(self, columns: list[Value], first: int, limb: Value, others: Sequence[Value]) -> None:
        for i, other in enumerate(others, first):
            columns[i] = self.add(columns[i], self._product(limb, other))

    def low_product(self, x: Value, y: Value) -> Value:
        return self.limb(self._product(x, y))

    def _product(self, x: Value, y: Value) -> Value:
        """The product of the lower halves: LLVM takes vpmuludq for this pattern, which reads no more than them."""
        return self.b.mul(self._lower(x), self._lower(y))

    def _lower(self, x: Value) -> Value:
        return self.b.and_(x, splat_const((1 << HALF) - 1))

    def split(self, word: Value) -> list[Value]:
        return [self._lower(word), self.b.lshr(word, splat_const(HALF))]

    def joined(self, limbs: Sequence[Value], half: Value) -> Value:
        low, high = limbs
        return self.b.or_(low, self.b.shl(high, half))

