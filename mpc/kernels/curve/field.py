"""LLVM IR of arithmetic modulo p = 2^255 - 19: eight elements side by side, five limbs of 51 bits, AVX512-IFMA.

Bounds. An `Element` has limbs below 2^51 + 2^16, a `Wide` has columns below 2^62; nothing else is ever held.

- Product: a low half is below 2^52, a high half below 2^50 + 2^17 and counted twice, for 2^52 = 2 * 2^51. With
  2^255 = 19, column 0 is the largest: 1 + 19 * 4 low halves and 19 * 5 high ones, twice: below 124.6 * 2^52 < 2^59.
- `minus` adds 2^10 p, whose columns lie between 2^60 and 2^61, so what is subtracted may be the sum of two products.
- So a sum of three products and `minus` of one more stay below 3 * 2^59 + 2^61 < 2^62.
- `carry`: what leaves a column is below 2^11; 19 times that, below 2^16, enters the lowest limb.

Nothing here branches on an element; conditions are vectors of bits that select. It knows no curve.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from mpc.kernels.curve.sizes import LIMBS
from mpc.kernels.simd.emitter import VECTOR, ZERO, Emitter, Value, const, splat_const

RADIX_BITS = 51
MASK = (1 << RADIX_BITS) - 1
PRIME = 2**255 - 19
FOLD = 19                           # 2^255 mod p
BIAS_BITS = 10

Element = Sequence[Value]
Wide = Sequence[Value]


def limbs_of(value: int) -> list[int]:
    """The limbs of `value` below 2^255."""
    return [(value >> (RADIX_BITS * i)) & MASK for i in range(LIMBS)]


def constant(value: int) -> Element:
    """The same element in all lanes."""
    return [splat_const(limb) for limb in limbs_of(value % PRIME)]


ONE = constant(1)
NONE = constant(0)


class Field:
    """Arithmetic in the function that `emitter` builds."""

    def __init__(self, emitter: Emitter) -> None:
        self.e, self.b = emitter, emitter.b

    # ------------------------------------------------------------ memory

    def load(self, base: Value, place: Value = 0) -> Element:
        """The element `place` of an array."""
        first = self.e.at(base, place, ir.ArrayType(VECTOR, LIMBS))
        return [self.e.vector(first, i) for i in range(LIMBS)]

    def store(self, x: Element, base: Value, place: Value = 0) -> None:
        """`x` as the element `place` of an array."""
        first = self.e.at(base, place, ir.ArrayType(VECTOR, LIMBS))
        for i, limb in enumerate(x):
            self.e.put(limb, first, i)

    # ------------------------------------------------------------ sums and products

    def plus(self, x: Wide, y: Wide) -> Wide:
        """x + y."""
        return [self.b.add(s, t) for s, t in zip(x, y, strict=True)]

    def minus(self, x: Wide, y: Wide) -> Wide:
        """x - y; columns of y up to 2^60."""
        bias = [splat_const(limb << BIAS_BITS) for limb in limbs_of(PRIME)]
        return [self.b.sub(self.b.add(s, z), t) for s, z, t in zip(x, bias, y, strict=True)]

    def carry(self, w: Wide) -> Element:
        """All columns at once hand on what lies above 51 bits."""
        over = [self.b.lshr(column, splat_const(RADIX_BITS)) for column in w]
        kept = [self.b.and_(column, splat_const(MASK)) for column in w]
        lowest = self.e.low(kept[0], over[-1], splat_const(FOLD))
        return [lowest, *(self.b.add(kept[k], over[k - 1]) for k in range(1, LIMBS))]

    def wide_product(self, x: Element, y: Element) -> Wide:
        """x y before the carries."""
        e, columns = self.e, []
        for k in range(2 * LIMBS):
            total = ZERO
            for i in range(max(0, k - LIMBS), min(k, LIMBS)):
                total = e.high(total, x[i], y[k - 1 - i])
            total = self.b.add(total, total)
            for i in range(max(0, k - LIMBS + 1), min(k + 1, LIMBS)):
                total = e.low(total, x[i], y[k - i])
            columns.append(total)
        return self._folded(columns)

    def wide_square(self, x: Element) -> Wide:
        """x^2 before the carries: what two limbs have in common is counted once and doubled."""
        e, columns = self.e, []
        for k in range(2 * LIMBS):
            total, half = ZERO, k // 2
            for i in range(max(0, k - LIMBS), half):
                total = e.high(total, x[i], x[k - 1 - i])
            total = self.b.add(total, total)
            for i in range(max(0, k - LIMBS + 1), (k + 1) // 2):
                total = e.low(total, x[i], x[k - i])
            if k % 2:
                total = e.high(total, x[half], x[half])
            total = self.b.add(total, total)
            if k % 2 == 0 and half < LIMBS:
                total = e.low(total, x[half], x[half])
            columns.append(total)
        return self._folded(columns)

    def _folded(self, columns: Sequence[Value]) -> Wide:
        nineteen = splat_const(FOLD)
        return [self.b.add(columns[k], self.b.mul(columns[k + LIMBS], nineteen)) for k in range(LIMBS)]

    def add(self, x: Wide, y: Wide) -> Element:
        """x + y."""
        return self.carry(self.plus(x, y))

    def sub(self, x: Wide, y: Wide) -> Element:
        """x - y."""
        return self.carry(self.minus(x, y))

    def mul(self, x: Element, y: Element) -> Element:
        """x y."""
        return self.carry(self.wide_product(x, y))

    def square(self, x: Element) -> Element:
        """x^2."""
        return self.carry(self.wide_square(x))

    def squares(self, x: Element, count: int) -> Element:
        """x^(2^count)."""
        return self.e.loop(0, const(count), 1, x, lambda _, y: list(self.square(y)))

    # ------------------------------------------------------------ conditions

    def canonical(self, x: Element) -> Element:
        """The representative in [0, p), all limbs below 2^51. x < 2 p, so one subtraction at most."""
        over = splat_const(FOLD)
        for limb in x:                                    # at last: whether x + 19 reaches 2^255
            over = self.b.lshr(self.b.add(limb, over), splat_const(RADIX_BITS))
        over = self.b.mul(over, splat_const(FOLD))
        limbs = []
        for limb in x:
            total = self.b.add(limb, over)
            limbs.append(self.b.and_(total, splat_const(MASK)))
            over = self.b.lshr(total, splat_const(RADIX_BITS))
        return limbs

    def same_limbs(self, x: Element, y: Element) -> Value:
        """Whether the limbs are equal: of canonical elements, whether the elements are."""
        different = ZERO
        for s, t in zip(x, y, strict=True):
            different = self.b.or_(different, self.b.xor(s, t))
        return self.b.icmp_unsigned("==", different, ZERO)

    def is_odd(self, canonical: Element) -> Value:
        """IS_NEGATIVE of [RFC 9496] section 2, of a canonical element."""
        return self.b.icmp_unsigned("!=", self.b.and_(canonical[0], splat_const(1)), ZERO)

    def select(self, condition: Value, x: Wide, y: Wide) -> Wide:
        """x where the condition holds, else y."""
        return [self.b.select(condition, s, t) for s, t in zip(x, y, strict=True)]

    def absolute(self, x: Element) -> Element:
        """CT_ABS of [RFC 9496] section 2, canonical."""
        as_is = self.canonical(x)
        return self.select(self.is_odd(as_is), self.canonical(self.sub(NONE, as_is)), as_is)
