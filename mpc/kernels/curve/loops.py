"""LLVM IR of the calls: many ristretto255 points checked, or multiplied by one scalar, as such or from uniform bytes.

Words of points are (batches, words, 8): word w of eight points side by side. A secret scalar steers neither branches
nor addresses: each step reads its whole table.
"""

from __future__ import annotations

from llvmlite import ir

from mpc.kernels.curve.field import NONE, ONE, Field
from mpc.kernels.curve.points import COORDINATES, Points, scratch
from mpc.kernels.curve.sizes import DIGITS, ENCODING, LIMBS, WINDOW_BITS, WORDS
from mpc.kernels.simd.emitter import I64, PTR, VECTOR, ZERO, Emitter, Value, splat_const

ENTRIES = 1 << (WINDOW_BITS - 1)             # digits run from -8 to 7, and -d costs what d costs
POINT = COORDINATES * LIMBS                  # vectors


class Loops:
    """The exported functions."""

    def __init__(self, module: ir.Module) -> None:
        self.module = module
        self.points = Points(module)
        self.check()
        self.multiply("multiply", self.points.decode, WORDS)
        self.multiply("multiply_uniform", self.points.make, 2 * WORDS)

    def check(self) -> None:
        """(valid, words, batches)."""
        e = Emitter(self.module, "check", [PTR, PTR, I64])
        point = scratch(e, COORDINATES)

        def one(i: Value) -> None:
            words = e.at(e.args[1], i, ir.ArrayType(VECTOR, WORDS))
            e.b.call(self.points.decode, [point, e.at(e.args[0], i), words])

        e.each(0, e.args[2], one)
        e.done()

    def multiply(self, name: str, enter: ir.Function, words: int) -> None:
        """(words, valid, source, digits, room, batches): twice each point times the number that `digits` write.

        Digits are words from -8 to 7, the highest first. `room` has ENCODING elements a batch. `enter` makes a point of
        as many `words` of the source.
        """
        e = Emitter(self.module, name, [PTR, PTR, PTR, PTR, PTR, I64])
        f = Field(e)
        target, valid, source, digits, room, count = e.args
        point, total, chosen = (scratch(e, COORDINATES) for _ in range(3))
        table, running = scratch(e, ENTRIES * COORDINATES), scratch(e, 1)
        sign = e.scratch(1)
        kept = ir.ArrayType(VECTOR, ENCODING * LIMBS)
        f.store(ONE, running)

        def one(i: Value) -> None:
            e.put(ZERO, sign, 0)
            e.b.call(enter, [point, e.at(valid, i), e.at(source, i, ir.ArrayType(VECTOR, words))])
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
            e.b.call(self.points.begin_encoding, [e.at(room, i, kept), running, point])

        def back(k: Value) -> None:
            i = e.b.sub(count, k)
            encoded = e.at(target, i, ir.ArrayType(VECTOR, WORDS))
            e.b.call(self.points.end_encoding, [encoded, e.at(room, i, kept), running])

        e.each(0, count, one)
        e.b.call(self.points.invert, [running])
        e.each(1, e.add(count, 1), back)
        e.done()

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
