"""LLVM IR of the border: packed little-endian integers into Montgomery batches and back (layout: see simd_ir)."""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from mpc.kernels.simd_emitter import I8, I64, LANES, LIMB_BITS, LIMB_MASK, PTR, ZERO, Emitter, Value, const, splat_const
from mpc.kernels.simd_ir import BLOCK, HEADER, LIMBS, MAX_LIMBS, PARTS, exported, resolve_carries

WORD_BYTES = 8
PAIR_BYTES = 2 * LIMB_BITS // 8     # two limbs fill thirteen bytes
SECOND_LIMB = 6, 4                  # the second limb begins at this byte, at this bit


def emit_enter(module: ir.Module, multiply: ir.Function) -> None:
    """(r, bytes, stride, r2, r3, batches): little-endian integers below R, or R^2 for pairs, into the domain.

    An integer A + B R enters as A R^2 / R + B R^3 / R. With A, B < R and constants below n, both components of
    either product are at most 2 n + 1, and of their sum at most 4 n + 2 < 5 n.
    """
    e, modulus, size = exported(module, "enter", [PTR, PTR, I64, PTR, PTR, I64])
    target, data, stride, square, cube, count = e.args[:6]
    limbs = e.word(modulus, LIMBS)
    digits, upper = e.scratch(2 * MAX_LIMBS), e.scratch(2 * MAX_LIMBS)
    e.each(0, size, lambda i: e.put(ZERO, digits, i))
    paired = e.b.icmp_unsigned("==", e.word(modulus, PARTS), const(2))
    half_bytes = e.b.lshr(e.b.mul(limbs, const(PAIR_BYTES)), const(1))

    def one(i: Value) -> None:
        result = e.at(target, e.b.mul(i, size))
        first = e.at(data, e.b.mul(i, e.b.mul(stride, const(LANES))), I8)
        _unpack(e, digits, first, stride, limbs)
        e.b.call(multiply, [result, digits, square, modulus])
        with e.b.if_then(paired):
            _unpack(e, digits, e.at(first, half_bytes, I8), stride, limbs)
            e.b.call(multiply, [upper, digits, cube, modulus])
            e.each(0, size, lambda w: e.put(e.add(e.vector(result, w), e.vector(upper, w)), result, w))
            resolve_carries(e, result, result, limbs)
            resolve_carries(e, e.at(result, limbs), e.at(result, limbs), limbs)

    e.each(0, count, one)
    e.done()


def emit_leave(module: ir.Module, multiply: ir.Function) -> None:
    """(bytes, stride, a, unit, batches): canonical little-endian integers.

    The product with 1 has t <= n and u <= n + 1, so t + u n <= N + 2 n < 2 N: one conditional subtraction of N.
    """
    e, modulus, size = exported(module, "leave", [PTR, I64, PTR, PTR, I64])
    data, stride, source, unit, count = e.args[:5]
    limbs = e.word(modulus, LIMBS)
    total = e.b.mul(limbs, e.word(modulus, PARTS))
    n = e.at(modulus, HEADER, I64)
    whole = e.at(n, e.b.shl(limbs, const(1)), I64)
    value, wide = e.scratch(2 * MAX_LIMBS), e.scratch(2 * MAX_LIMBS + BLOCK)
    paired = e.b.icmp_unsigned("==", e.word(modulus, PARTS), const(2))

    def one(i: Value) -> None:
        e.b.call(multiply, [value, e.at(source, e.b.mul(i, size)), unit, modulus])
        with e.b.if_then(paired):
            _multiply_out(e, wide, value, n, limbs)
            e.each(0, total, lambda w: e.put(e.vector(wide, w), value, w))
        _subtract_if_not_less(e, value, whole, total)
        _pack(e, e.at(data, e.b.mul(i, e.b.mul(stride, const(LANES))), I8), stride, value, total)

    e.each(0, count, one)
    e.done()


def _unpack(e: Emitter, target: Value, data: Value, stride: Value, limbs: Value) -> None:
    """Bytes of eight integers into limbs."""
    _by_pairs(e, data, stride, limbs, _read_pair, target)


def _pack(e: Emitter, data: Value, stride: Value, source: Value, limbs: Value) -> None:
    """Limbs into bytes; the three bytes that a pair writes too many are overwritten by the next one."""
    _by_pairs(e, data, stride, limbs, _write_pair, source)


def _by_pairs(
    e: Emitter, data: Value, stride: Value, limbs: Value, move: Callable[[Emitter, Value, Value], None], words: Value
) -> None:
    def lane(i: Value) -> None:
        start, column = e.b.mul(i, stride), e.at(words, i, I64)

        def pair(k: Value) -> None:
            address = e.at(data, e.add(start, e.b.mul(k, const(PAIR_BYTES))), I8)
            move(e, e.at(column, e.b.mul(k, const(2 * LANES)), I64), address)

        e.each(0, e.b.lshr(limbs, const(1)), pair)

    e.each(0, LANES, lane)


def _read_pair(e: Emitter, words: Value, address: Value) -> None:
    byte, bit = SECOND_LIMB
    first = e.b.and_(e.unaligned_word(address), const(LIMB_MASK))
    second = e.b.lshr(e.unaligned_word(e.at(address, byte, I8)), const(bit))
    e.b.store(first, words, align=8)
    e.b.store(e.b.and_(second, const(LIMB_MASK)), e.at(words, LANES, I64), align=8)


def _write_pair(e: Emitter, words: Value, address: Value) -> None:
    first, second = e.word(words, 0), e.word(words, LANES)
    e.b.store(e.b.or_(first, e.b.shl(second, const(LIMB_BITS))), address, align=1)
    rest = e.b.lshr(second, const(64 - LIMB_BITS))
    e.b.store(rest, e.at(address, WORD_BYTES, I8), align=1)


def _subtract_if_not_less(e: Emitter, x: Value, n: Value, limbs: Value) -> None:
    """x becomes x - n in the lanes where that is not negative."""
    arithmetic = splat_const(LIMB_BITS)

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


def _multiply_out(e: Emitter, wide: Value, pair: Value, n: Value, limbs: Value) -> None:
    """wide = x0 + x1 n of the pair, as plain integers of 2 h limbs."""
    high = e.at(pair, limbs)
    e.each(0, limbs, lambda i: e.put(e.vector(pair, i), wide, i))
    e.each(limbs, e.add(e.b.shl(limbs, const(1)), BLOCK), lambda i: e.put(ZERO, wide, i))

    def block(row: Value) -> None:
        rows = [e.vector(high, e.add(row, r)) for r in range(BLOCK)]
        target = e.at(wide, row)

        def scan(column: Value, window: list[Value]) -> list[Value]:
            window = [*window, e.vector(target, e.add(column, BLOCK))]
            limb = e.broadcast(n, column)
            for r in range(BLOCK):
                window[r] = e.low(window[r], limb, rows[r])
                window[r + 1] = e.high(window[r + 1], limb, rows[r])
            e.put(window[0], target, column)
            return window[1:]

        window = e.loop(0, limbs, 1, [e.vector(target, r) for r in range(BLOCK)], scan)
        for r in range(BLOCK):
            e.put(window[r], target, e.add(limbs, r))

    e.each(0, limbs, block, step=BLOCK)
    resolve_carries(e, wide, wide, e.b.shl(limbs, const(1)))
