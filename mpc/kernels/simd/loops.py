"""LLVM IR of the loops around the product: whole powers, table look-ups and bucket sums in one call.

Two layouts. A *batch* has eight residues side by side (see arithmetic). A *row* is one residue, `size` words in
sequence, 64-byte aligned; tables and buckets are made of rows, so that a lane can fetch its own entry, and an 8x8
transposition leads from eight rows to a batch and back. Addresses depend on exponents, branches do not.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from mpc.kernels.simd.arithmetic import emit_products, exported
from mpc.kernels.simd.convert import emit_enter, emit_leave
from mpc.kernels.simd.emitter import I8, I32, I64, PTR, VECTOR, Emitter, Value, const
from mpc.kernels.simd.forms import MAX_LIMBS, LimbEmitter
from mpc.kernels.simd.memory import LANES


def _shuffle(e: Emitter, x: Value, y: Value, lanes: Sequence[int]) -> Value:
    return e.b.shuffle_vector(x, y, ir.Constant(ir.VectorType(I32, LANES), list(lanes)))


def _transposed(e: Emitter, rows: list[Value]) -> list[Value]:
    """An 8x8 matrix of words, transposed in three butterfly steps."""
    for half in (1, 2, 4):
        lower = [i if not i & half else i - half + LANES for i in range(LANES)]
        upper = [i + half if not i & half else i + LANES for i in range(LANES)]
        following = list(rows)
        for i in range(LANES):
            if not i & half:
                following[i] = _shuffle(e, rows[i], rows[i + half], lower)
                following[i + half] = _shuffle(e, rows[i], rows[i + half], upper)
        rows = following
    return rows


class Loops:
    """The exported functions, one method each; every function ends with the modulus as its last argument."""

    def __init__(self, form: type[LimbEmitter], module: ir.Module) -> None:
        self.form, self.module = form, module
        self.multiply, self.square = emit_products(form, module)
        for emit in (
            self.multiply_many,
            self.power,
            self.build_tables,
            self.select_product,
            self.rows_of,
            self.fill_buckets,
            self.sum_buckets,
        ):
            emit()
        emit_enter(form, module, self.multiply)
        emit_leave(form, module, self.multiply)

    def _exported(self, name: str, arguments: Sequence[Value]) -> tuple[LimbEmitter, Value, Value]:
        return exported(self.form, self.module, name, arguments)

    @staticmethod
    def _copy(e: Emitter, target: Value, source: Value, size: Value) -> None:
        e.each(0, size, lambda i: e.put(e.vector(source, i), target, i))

    @staticmethod
    def _gather(e: Emitter, target: Value, rows: Sequence[Value], size: Value) -> None:
        """Eight rows into a batch."""

        def eight_words(word: Value) -> None:
            lanes = [e.b.load(e.at(row, word, I64), align=64, typ=VECTOR) for row in rows]
            for i, value in enumerate(_transposed(e, lanes)):
                e.put(value, target, e.add(word, i))

        e.each(0, size, eight_words, step=LANES)

    @staticmethod
    def _scatter(e: Emitter, rows: Sequence[Value], source: Value, size: Value) -> None:
        """A batch into eight rows."""

        def eight_words(word: Value) -> None:
            lanes = [e.vector(source, e.add(word, i)) for i in range(LANES)]
            for row, value in zip(rows, _transposed(e, lanes), strict=True):
                e.b.store(value, e.at(row, word, I64), align=64)

        e.each(0, size, eight_words, step=LANES)

    @staticmethod
    def _row(e: Emitter, base: Value, index: Value, size: Value) -> Value:
        """The address of row `index`."""
        return e.at(base, e.b.mul(index, size), I64)

    @staticmethod
    def _prefetch(e: Emitter, rows: Sequence[Value], size: Value) -> None:
        """Ask for eight rows that the next product needs."""
        name = "llvm.prefetch.p0"
        fetch = e.module.globals.get(name) or ir.Function(
            e.module, ir.FunctionType(ir.VoidType(), [PTR, I32, I32, I32]), name
        )
        # to the second level: the first one holds the operands of the product that runs meanwhile
        read, second_level, data = ir.Constant(I32, 0), ir.Constant(I32, 2), ir.Constant(I32, 1)

        def line(word: Value) -> None:
            for row in rows:
                e.b.call(fetch, [e.at(row, word, I64), read, second_level, data])

        e.each(0, size, line, step=LANES)

    def multiply_many(self) -> None:
        """(r, a, b, step, batches): r = a b; step is 1, or 0 where one batch b serves all."""
        e, modulus, size = self._exported("multiply_many", [PTR, PTR, PTR, I64, I64])
        target, a, b, step, count = e.args[:5]

        def one(i: Value) -> None:
            at = e.b.mul(i, size)
            other = e.at(b, e.b.mul(at, step))
            e.b.call(self.multiply, [e.at(target, at), e.at(a, at), other, modulus])

        e.each(0, count, one)
        e.done()

    def power(self) -> None:
        """(r, a, one, digits, count of digits, window, table, batches): r = a^e.

        The digits of e are bytes, high first; all lanes share them. Fixed window; digit 0 multiplies too.
        """
        e, modulus, size = self._exported("power", [PTR, PTR, PTR, PTR, I64, I64, PTR, I64])
        target, base, unit, digits, length, window, table, count = e.args[:8]
        entries = e.b.shl(const(1), window)

        def entry(index: Value) -> Value:
            return e.at(table, e.b.mul(index, size))

        def multiply(product: Value, x: Value, y: Value) -> None:
            e.b.call(self.multiply, [product, x, y, modulus])

        def digit(index: Value) -> Value:
            return e.b.zext(e.b.load(e.at(digits, index, I8), align=1, typ=I8), I64)

        def one(i: Value) -> None:
            at = e.b.mul(i, size)
            result = e.at(target, at)
            self._copy(e, entry(const(0)), unit, size)
            self._copy(e, entry(const(1)), e.at(base, at), size)
            e.each(2, entries, lambda k: multiply(entry(k), entry(e.add(k, -1)), entry(const(1))))
            self._copy(e, result, entry(digit(const(0))), size)

            def position(p: Value) -> None:
                e.each(0, window, lambda _: e.b.call(self.square, [result, result, modulus]))
                multiply(result, result, entry(digit(p)))

            e.each(1, length, position)

        e.each(0, count, one)
        e.done()

    def build_tables(self) -> None:
        """(tables, bases, one, entries, batches): row `d` of table `t` is bases[t]^d; eight tables at a time."""
        e, modulus, size = self._exported("build_tables", [PTR, PTR, PTR, I64, I64])
        tables, bases, unit, entries, count = e.args[:5]
        current = e.scratch(2 * MAX_LIMBS)

        def batch(i: Value) -> None:
            base = e.at(bases, e.b.mul(i, size))
            first = [e.b.mul(e.add(e.b.mul(i, const(LANES)), lane), entries) for lane in range(LANES)]
            self._copy(e, current, unit, size)

            def fill(d: Value) -> None:
                rows = [self._row(e, tables, e.add(start, d), size) for start in first]
                self._scatter(e, rows, current, size)
                e.b.call(self.multiply, [current, current, base, modulus])

            e.each(0, entries, fill)

        e.each(0, count, batch)
        e.done()

    def select_product(self) -> None:
        """(r, tables, entries, exponents, stride, starts, masks, positions, batches).

        r = prod_p tables[p][digit p]; digit p of a lane is `(exponent >> starts[p]) & masks[p]`, the exponent of
        residue i being the little-endian bytes at exponents + i stride (eight more may be read).
        """
        e, modulus, size = self._exported("select_product", [PTR, PTR, I64, PTR, I64, PTR, PTR, I64, I64])
        target, tables, entries, exponents, stride, starts, masks, positions, count = e.args[:9]
        chosen = e.scratch(2 * MAX_LIMBS)

        def one(i: Value) -> None:
            lanes = [e.b.mul(e.add(e.b.mul(i, const(LANES)), lane), stride) for lane in range(LANES)]

            def rows(p: Value) -> list[Value]:
                start, mask = e.word(starts, p), e.word(masks, p)
                byte, bit = e.b.lshr(start, const(3)), e.b.and_(start, const(7))
                first = e.b.mul(p, entries)
                found = []
                for lane in lanes:
                    word = e.unaligned_word(e.at(exponents, e.add(lane, byte), I8))
                    digit = e.b.and_(e.b.lshr(word, bit), mask)
                    found.append(self._row(e, tables, e.add(first, digit), size))
                return found

            result = e.at(target, e.b.mul(i, size))
            self._gather(e, result, rows(const(0)), size)

            def position(p: Value) -> None:
                self._gather(e, chosen, rows(p), size)
                following = e.add(p, 1)
                last = e.b.icmp_unsigned("==", following, positions)
                self._prefetch(e, rows(e.b.select(last, p, following)), size)
                e.b.call(self.multiply, [result, result, chosen, modulus])

            e.each(1, positions, position)

        e.each(0, count, one)
        e.done()

    def rows_of(self) -> None:
        """(rows, a, batches): a vector as rows."""
        e, _, size = self._exported("rows_of", [PTR, PTR, I64])
        target, source, count = e.args[:3]

        def one(i: Value) -> None:
            first = e.b.mul(i, const(LANES))
            rows = [self._row(e, target, e.add(first, lane), size) for lane in range(LANES)]
            self._scatter(e, rows, e.at(source, e.b.mul(i, size)), size)

        e.each(0, count, one)
        e.done()

    def fill_buckets(self) -> None:
        """(buckets, entries, rows, exponents, step, lanes, start, stop): each lane multiplies its bases into buckets.

        `lanes` has four arrays of eight words: index of the lane's first row in `rows` (counted from `start`), index
        of its first exponent, number of its bases, shift of its digit. In step i of start..stop-1 the lane's exponent
        is exponents[first + i step]; beyond its number of bases it works for bucket 0, which counts for nothing.
        """
        e, modulus, size = self._exported("fill_buckets", [PTR, I64, PTR, PTR, I64, PTR, I64, I64])
        buckets, entries, rows, exponents, step, lanes, start, stop = e.args[:8]
        bucket, factor = e.scratch(2 * MAX_LIMBS), e.scratch(2 * MAX_LIMBS)
        mask = e.add(entries, -1)
        base_row, first, count, shift = (
            [e.word(lanes, group * LANES + lane) for lane in range(LANES)] for group in range(4)
        )

        def bucket_rows(i: Value) -> list[Value]:
            found = []
            for lane in range(LANES):
                valid = e.b.icmp_unsigned("<", i, count[lane])
                index = e.add(first[lane], e.b.mul(e.b.select(valid, i, const(0)), step))
                digit = e.b.and_(e.b.lshr(e.word(exponents, index), shift[lane]), mask)
                place = e.add(e.b.mul(entries, const(lane)), e.b.select(valid, digit, const(0)))
                found.append(self._row(e, buckets, place, size))
            return found

        def one(i: Value) -> None:
            mine = bucket_rows(i)
            self._gather(e, bucket, mine, size)
            at = e.b.sub(i, start)
            self._gather(e, factor, [self._row(e, rows, e.add(r, at), size) for r in base_row], size)
            self._prefetch(e, bucket_rows(e.add(i, 1)), size)
            e.b.call(self.multiply, [bucket, bucket, factor, modulus])
            self._scatter(e, mine, bucket, size)

        e.each(start, stop, one)
        e.done()

    def sum_buckets(self) -> None:
        """(r, buckets, one, entries): r = prod_d bucket[d]^d by running products, each lane its own buckets."""
        e, modulus, size = self._exported("sum_buckets", [PTR, PTR, PTR, I64])
        target, buckets, unit, entries = e.args[:4]
        running, bucket = e.scratch(2 * MAX_LIMBS), e.scratch(2 * MAX_LIMBS)
        self._copy(e, running, unit, size)
        self._copy(e, target, unit, size)

        def one(i: Value) -> None:
            d = e.b.sub(entries, i)
            places = [e.add(e.b.mul(entries, const(lane)), d) for lane in range(LANES)]
            self._gather(e, bucket, [self._row(e, buckets, place, size) for place in places], size)
            e.b.call(self.multiply, [running, running, bucket, modulus])
            e.b.call(self.multiply, [target, target, running, modulus])

        e.each(1, entries, one)
        e.done()
