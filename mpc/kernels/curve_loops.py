"""LLVM IR of the calls: many ristretto255 points multiplied by one scalar, checked, or made from uniform bytes.

Words of points are (batches, words, 8): word w of eight points side by side. A secret scalar steers neither branches
nor addresses: each step reads its whole table.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from mpc.kernels.curve_field import LIMBS, NONE, ONE, Field
from mpc.kernels.curve_points import COORDINATES, WORDS, Points, scratch
from mpc.kernels.simd_emitter import I64, PTR, VECTOR, ZERO, Emitter, Value, splat_const

WINDOW_BITS = 4
DIGITS = 64                                  # of 252 bits and a carry
ENTRIES = 1 << (WINDOW_BITS - 1)             # digits run from -8 to 7, and -d costs what d costs
POINT = COORDINATES * LIMBS                  # vectors


class Loops:
    """The exported functions, one method each."""

    def __init__(self, module: ir.Module) -> None:
        self.module = module
        self.points = Points(module)
        for emit in (self.check, self.make, self.multiply):
            emit()

    def _exported(self, name: str, arguments: list[Value]) -> tuple[Emitter, Field]:
        e = Emitter(self.module, name, arguments)
        return e, Field(e)

    @staticmethod
    def _each_batch(e: Emitter, count: Value, body: Callable[[Value], object]) -> None:
        e.each(0, count, body)
        e.done()

    def check(self) -> None:
        """(valid, words, batches)."""
        e, _ = self._exported("check", [PTR, PTR, I64])
        point = scratch(e, COORDINATES)

        def one(i: Value) -> None:
            words = e.at(e.args[1], i, ir.ArrayType(VECTOR, WORDS))
            e.b.call(self.points.decode, [point, e.at(e.args[0], i), words])

        self._each_batch(e, e.args[2], one)

    def make(self) -> None:
        """(words, uniform, batches): the element of 64 uniform bytes, eight words. [RFC 9496] section 4.3.4."""
        e, _ = self._exported("make", [PTR, PTR, I64])
        left, right, cached, total = (scratch(e, COORDINATES) for _ in range(4))
        positive = e.scratch(1)
        e.put(ZERO, positive, 0)

        def one(i: Value) -> None:
            words = e.at(e.args[1], i, ir.ArrayType(VECTOR, 2 * WORDS))
            e.b.call(self.points.map, [left, words])
            e.b.call(self.points.map, [right, e.at(words, WORDS)])
            e.b.call(self.points.cache, [cached, right])
            e.b.call(self.points.add, [total, left, cached, positive])
            e.b.call(self.points.complete, [left, total])
            e.b.call(self.points.encode, [e.at(e.args[0], i, ir.ArrayType(VECTOR, WORDS)), left])

        self._each_batch(e, e.args[2], one)

    def multiply(self) -> None:
        """(words, valid, words of points, digits, batches): digits are words from -8 to 7, the highest first."""
        e, f = self._exported("multiply", [PTR, PTR, PTR, PTR, I64])
        target, valid, source, digits, count = e.args
        point, total, chosen = (scratch(e, COORDINATES) for _ in range(3))
        table = scratch(e, ENTRIES * COORDINATES)
        sign = e.scratch(1)

        def one(i: Value) -> None:
            words = e.at(source, i, ir.ArrayType(VECTOR, WORDS))
            e.b.call(self.points.decode, [point, e.at(valid, i), words])
            self._fill(e, table, point, total, sign)
            for k, value in enumerate((NONE, ONE, ONE, ONE)):       # (E, F, G, H) of the neutral element
                f.store(value, total, k)

            def position(p: Value) -> None:
                e.each(0, WINDOW_BITS, lambda _: e.b.call(self.points.double, [total]))
                e.b.call(self.points.complete, [point, total])
                self._choose(f, table, e.broadcast(digits, p), chosen, sign)
                e.b.call(self.points.add, [total, point, chosen, sign])

            e.each(0, DIGITS, position)
            e.b.call(self.points.complete, [point, total])
            e.b.call(self.points.encode, [e.at(target, i, ir.ArrayType(VECTOR, WORDS)), point])

        self._each_batch(e, count, one)

    def _fill(self, e: Emitter, table: Value, point: Value, total: Value, sign: Value) -> None:
        """Entry k is cached (k + 1) times the point."""
        entry = ir.ArrayType(VECTOR, POINT)
        e.put(ZERO, sign, 0)
        e.b.call(self.points.cache, [table, point])

        def following(k: Value) -> None:
            e.b.call(self.points.add, [total, point, table, sign])
            e.b.call(self.points.complete, [point, total])
            e.b.call(self.points.cache, [e.at(table, k, entry), point])

        e.each(1, ENTRIES, following)

    def _choose(self, f: Field, table: Value, digit: Value, chosen: Value, sign: Value) -> None:
        """Entry |digit| - 1, or the neutral element for 0: all entries are read. All ones in `sign` if negative."""
        e = f.e
        negative = e.b.icmp_signed("<", digit, ZERO)
        e.put(e.b.sext(negative, VECTOR), sign, 0)
        size = e.b.select(negative, e.b.sub(ZERO, digit), digit)
        wanted = [e.b.icmp_unsigned("==", size, splat_const(k + 1)) for k in range(ENTRIES)]
        neutral = [*ONE, *ONE, *(splat_const(2 * (i == 0)) for i in range(LIMBS)), *NONE]
        for place, value in enumerate(neutral):
            for k in range(ENTRIES):
                value = e.b.select(wanted[k], e.vector(table, POINT * k + place), value)
            e.put(value, chosen, place)
