"""LLVM IR of the border: packed little-endian integers into Montgomery batches and back (layout: see arithmetic)."""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from mpc.kernels.simd.arithmetic import BLOCK, HEADER, LIMBS, PARTS, exported, resolve_carries, resolve_into_words
from mpc.kernels.simd.emitter import I8, I64, PTR, ZERO, Value, const, splat_const
from mpc.kernels.simd.forms import HALF, MAX_LIMBS, LimbEmitter
from mpc.kernels.simd.memory import LANES

WORD_BITS = 64


def pair_bytes(form: type[LimbEmitter]) -> int:
    """Two limbs fill so many bytes, thirteen or seven."""
    return 2 * form.limb_bits // 8


def emit_enter(form: type[LimbEmitter], module: ir.Module, multiply: ir.Function) -> None:
    """(r, bytes, stride, r2, r3, batches): little-endian integers below R, or R^2 for pairs, into the domain.

    An integer A + B R enters as A R^2 / R + B R^3 / R. With A, B < R and constants below n, both components of
    either product are at most 2 n + 1, and of their sum at most 4 n + 2 < 5 n.
    """
    e, modulus, size = exported(form, module, "enter", [PTR, PTR, I64, PTR, PTR, I64])
    target, data, stride, square, cube, count = e.args[:6]
    limbs = e.word(modulus, LIMBS)
    both = e.b.shl(limbs, const(1))
    digits, upper, columns = (e.scratch(2 * MAX_LIMBS) for _ in range(3))
    e.each(0, size, lambda i: e.put(ZERO, digits, i))
    paired = e.b.icmp_unsigned("==", e.word(modulus, PARTS), const(2))
    half_bytes = e.b.lshr(e.b.mul(limbs, const(pair_bytes(form))), const(1))

    def one(i: Value) -> None:
        result = e.at(target, e.b.mul(i, size))
        first = e.at(data, e.b.mul(i, e.b.mul(stride, const(LANES))), I8)
        _unpack(e, digits, first, stride, limbs)
        e.b.call(multiply, [result, digits, square, modulus])
        with e.b.if_then(paired):
            _unpack(e, digits, e.at(first, half_bytes, I8), stride, limbs)
            e.b.call(multiply, [upper, digits, cube, modulus])
            x, y = e.limbs_of(result, both), e.limbs_of(upper, both)
            e.each(0, both, lambda i: e.put(e.add(e.vector(x, i), e.vector(y, i)), columns, i))
            resolve_into_words(e, columns, result, limbs)
            resolve_into_words(e, e.at(columns, limbs), e.at(result, e.words(limbs)), limbs)

    e.each(0, count, one)
    e.done()


def emit_leave(form: type[LimbEmitter], module: ir.Module, multiply: ir.Function) -> None:
    """(bytes, stride, a, unit, batches): canonical little-endian integers.

    The product with 1 has t <= n and u <= n + 1, so t + u n <= N + 2 n < 2 N: one conditional subtraction of N.
    """
    e, modulus, size = exported(form, module, "leave", [PTR, I64, PTR, PTR, I64])
    data, stride, source, unit, count = e.args[:5]
    limbs = e.word(modulus, LIMBS)
    total = e.b.mul(limbs, e.word(modulus, PARTS))
    n = e.at(modulus, HEADER, I64)
    whole = e.at(n, e.b.shl(limbs, const(1)), I64)
    words, wide = e.scratch(2 * MAX_LIMBS), e.scratch(2 * MAX_LIMBS + BLOCK)
    paired = e.b.icmp_unsigned("==", e.word(modulus, PARTS), const(2))

    def one(i: Value) -> None:
        e.b.call(multiply, [words, e.at(source, e.b.mul(i, size)), unit, modulus])
        value = e.limbs_of(words, total)
        with e.b.if_then(paired):
            _multiply_out(e, wide, value, n, limbs)
            e.each(0, total, lambda w: e.put(e.vector(wide, w), value, w))
        _subtract_if_not_less(e, value, whole, total)
        _pack(e, e.at(data, e.b.mul(i, e.b.mul(stride, const(LANES))), I8), stride, value, total)

    e.each(0, count, one)
    e.done()


def _unpack(e: LimbEmitter, target: Value, data: Value, stride: Value, limbs: Value) -> None:
    """Bytes of eight integers into words of limbs."""
    width = pair_bytes(type(e))
    byte, bit = divmod(e.limb_bits, 8)               # where the second limb of a pair begins
    mask = const((1 << e.limb_bits) - 1)

    def pair(lane: Value, k: Value) -> None:
        address = e.at(data, e.add(e.b.mul(lane, stride), e.b.mul(k, const(width))), I8)
        second = e.b.lshr(e.unaligned_word(e.at(address, byte, I8)), const(bit))
        found = [e.b.and_(word, mask) for word in (e.unaligned_word(address), second)]
        for j in range(0, 2, e.per_word):
            word = e.joined(found[j : j + e.per_word], const(HALF))
            place = e.add(e.b.mul(e.words(e.add(e.b.shl(k, const(1)), j)), const(LANES)), lane)
            e.b.store(word, e.at(target, place, I64), align=8)

    _by_pairs(e, limbs, pair)


def _pack(e: LimbEmitter, data: Value, stride: Value, source: Value, limbs: Value) -> None:
    """Limbs, one in a vector, into bytes; what a pair writes too many are overwritten by the next one."""
    width, over = pair_bytes(type(e)), 2 * e.limb_bits - WORD_BITS

    def pair(lane: Value, k: Value) -> None:
        address = e.at(data, e.add(e.b.mul(lane, stride), e.b.mul(k, const(width))), I8)
        first, second = (
            e.word(source, e.add(e.b.mul(e.add(e.b.shl(k, const(1)), j), const(LANES)), lane)) for j in range(2)
        )
        e.b.store(e.b.or_(first, e.b.shl(second, const(e.limb_bits))), address, align=1)
        if over > 0:
            rest = e.b.lshr(second, const(e.limb_bits - over))
            e.b.store(rest, e.at(address, WORD_BITS // 8, I8), align=1)

    _by_pairs(e, limbs, pair)


def _by_pairs(e: LimbEmitter, limbs: Value, move: Callable[[Value, Value], None]) -> None:
    """`move(lane, k)` for the limbs 2 k and 2 k + 1 of every lane."""
    e.each(0, LANES, lambda lane: e.each(0, e.b.lshr(limbs, const(1)), lambda k: move(lane, k)))


def _subtract_if_not_less(e: LimbEmitter, x: Value, n: Value, limbs: Value) -> None:
    """x becomes x - n in the lanes where that is not negative."""
    arithmetic = splat_const(e.limb_bits)

    def compare(i: Value, borrow: list[Value]) -> list[Value]:
        difference = e.add(e.b.sub(e.vector(x, i), e.broadcast(n, i)), borrow[0])
        return [e.b.ashr(difference, arithmetic)]

    less = e.loop(0, limbs, 1, [ZERO], compare)[0]          # -1 where x < n, else 0
    chosen = e.b.xor(less, splat_const(-1))

    def subtract(i: Value, borrow: list[Value]) -> list[Value]:
        difference = e.add(e.b.sub(e.vector(x, i), e.b.and_(e.broadcast(n, i), chosen)), borrow[0])
        e.put(e.limb(difference), x, i)
        return [e.b.ashr(difference, arithmetic)]

    e.loop(0, limbs, 1, [ZERO], subtract)


def _multiply_out(e: LimbEmitter, wide: Value, pair: Value, n: Value, limbs: Value) -> None:
    """wide = x0 + x1 n of the pair, as plain integers of 2 h limbs."""
    high, held = e.at(pair, limbs), BLOCK - 2 + e.reach
    e.each(0, limbs, lambda i: e.put(e.vector(pair, i), wide, i))
    e.each(limbs, e.add(e.b.shl(limbs, const(1)), BLOCK), lambda i: e.put(ZERO, wide, i))

    def block(row: Value) -> None:
        rows = [e.vector(high, e.add(row, r)) for r in range(BLOCK)]
        target = e.at(wide, row)

        def scan(column: Value, window: list[Value]) -> list[Value]:
            window = [*window, e.vector(target, e.add(column, held))]
            limb = e.broadcast(n, column)
            e.add_products(window, 0, limb, rows)
            e.put(window[0], target, column)
            return window[1:]

        window = e.loop(0, limbs, 1, [e.vector(target, r) for r in range(held)], scan)
        for r in range(held):
            e.put(window[r], target, e.add(limbs, r))

    e.each(0, limbs, block, step=BLOCK)
    resolve_carries(e, wide, wide, e.b.shl(limbs, const(1)))
