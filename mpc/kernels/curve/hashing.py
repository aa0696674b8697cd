"""LLVM IR of expand_message_xmd with SHA-512 for 64 bytes [RFC 9380 section 5.3.1]: eight messages side by side.

b_0 = H(Z_pad || message || tail), b_1 = H(b_0 || second tail); the uniform bytes are b_1. Lengths of messages steer
branches and addresses: how long an identifier is, is not hidden from an observer of this machine.
"""

from __future__ import annotations

import math

from llvmlite import ir

from mpc.kernels.curve.sizes import BLOCK_BYTES, LENGTH_BYTES
from mpc.kernels.simd.emitter import I8, I32, I64, PTR, VECTOR, ZERO, Emitter, Value, const, splat_const
from mpc.kernels.simd.memory import LANES

WORDS, STATE, ROUNDS = 16, 8, 80


def _primes(count: int) -> list[int]:
    return [n for n in range(2, 410) if all(n % m for m in range(2, n))][:count]


def _cube_root(value: int) -> int:
    root = 1 << -(-value.bit_length() // 3)
    while root**3 > value:
        root = (2 * root + value // root**2) // 3
    return root


# [FIPS 180-4] sections 4.2.3 and 5.3.5: 64 bits of the fractions of the cube and square roots of the first primes
ROUND_CONSTANTS = [_cube_root(p << 192) % (1 << 64) for p in _primes(ROUNDS)]
INITIAL = [math.isqrt(p << 128) % (1 << 64) for p in _primes(STATE)]


class Hashing:
    """The exported function `expand` and what it calls."""

    def __init__(self, module: ir.Module) -> None:
        self.module = module
        kind = ir.ArrayType(I64, ROUNDS)
        self.constants = ir.GlobalVariable(module, kind, "sha512_constants")
        self.constants.global_constant, self.constants.linkage = True, "internal"
        self.constants.initializer = ir.Constant(kind, ROUND_CONSTANTS)
        self.compress = self._compress()
        self._expand()

    @staticmethod
    def _rotated(e: Emitter, x: Value, right: int) -> Value:
        return e.b.or_(e.b.lshr(x, splat_const(right)), e.b.shl(x, splat_const(64 - right)))

    def _mixed(self, e: Emitter, x: Value, rotations: tuple[int, ...], shift: int | None = None) -> Value:
        """The Sigma and sigma functions of [FIPS 180-4] section 4.1.3."""
        parts = [self._rotated(e, x, r) for r in rotations]
        if shift is not None:
            parts.append(e.b.lshr(x, splat_const(shift)))
        first, *more = parts
        for part in more:
            first = e.b.xor(first, part)
        return first

    def _compress(self) -> ir.Function:
        """(state, block): absorb a block of words, which is spent. [FIPS 180-4] section 6.4.2."""
        e = Emitter(self.module, "sha512", [PTR, PTR], exported=False)
        b, (state, block) = e.b, e.args
        start = [e.vector(state, i) for i in range(STATE)]

        def sixteen(first: Value, held: list[Value]) -> list[Value]:
            a, bb, c, d, ee, f, g, h = held
            words = [e.vector(block, i) for i in range(WORDS)]
            for i in range(WORDS):
                key = e.broadcast(self.constants, e.add(first, i))
                choice = b.xor(g, b.and_(ee, b.xor(f, g)))
                t1 = b.add(b.add(b.add(h, self._mixed(e, ee, (14, 18, 41))), b.add(choice, key)), words[i])
                majority = b.or_(b.and_(a, bb), b.and_(c, b.or_(a, bb)))
                t2 = b.add(self._mixed(e, a, (28, 34, 39)), majority)
                a, bb, c, d, ee, f, g, h = b.add(t1, t2), a, bb, c, b.add(d, t1), ee, f, g
                older = b.add(words[i], self._mixed(e, words[(i + 1) % WORDS], (1, 8), 7))
                newer = b.add(words[(i + 9) % WORDS], self._mixed(e, words[(i + 14) % WORDS], (19, 61), 6))
                words[i] = b.add(older, newer)
            for i, word in enumerate(words):
                e.put(word, block, i)
            return [a, bb, c, d, ee, f, g, h]

        found = e.loop(0, const(ROUNDS), WORDS, start, sixteen)
        for i, (old, new) in enumerate(zip(start, found, strict=True)):
            e.put(b.add(old, new), state, i)
        return e.done()

    def _begin(self, e: Emitter, state: Value) -> None:
        for i, word in enumerate(INITIAL):
            e.put(splat_const(word), state, i)

    def _expand(self) -> None:
        """(uniform, data, offsets, tail, tail bytes, second tail, its blocks, room, stride, messages).

        Message i is data[offsets[i]:offsets[i + 1]]. `tail` ends with the byte that begins its padding. The second
        tail is in words, after eight zeros, with all of its padding. `room` has `stride` bytes, whole blocks, for each
        of eight messages with their tails.
        """
        e = Emitter(self.module, "expand", [PTR, PTR, PTR, PTR, I64, PTR, I64, PTR, I64, I64])
        uniform, data, offsets, tail, tail_bytes, second, second_blocks, room, stride, count = e.args
        start, state, digest, block, blocks = (e.scratch(n) for n in (STATE, STATE, STATE, WORDS, 1))
        self._begin(e, start)
        e.each(0, WORDS, lambda i: e.put(ZERO, block, i))
        e.b.call(self.compress, [start, block])                    # Z_pad

        def batch(i: Value) -> None:
            def lane(n: Value, most: list[Value]) -> list[Value]:
                wanted = e.add(e.b.mul(i, const(LANES)), n)
                index = e.b.select(e.b.icmp_unsigned("<", wanted, count), wanted, e.add(count, -1))
                mine = e.at(room, e.b.mul(n, stride), I8)
                length = self._message(e, mine, data, e.at(offsets, index, I64), (tail, tail_bytes))
                e.b.store(length, e.at(blocks, n, I64), align=8)
                return [e.b.select(e.b.icmp_unsigned("<", length, most[0]), most[0], length)]

            (most,) = e.loop(0, const(LANES), 1, [const(0)], lane)
            for w in range(STATE):
                e.put(e.vector(start, w), digest, w)
            self._absorb(e, digest, block, (room, stride), (blocks, most))
            self._begin(e, state)
            self._absorb_second(e, state, block, digest, (second, second_blocks))
            for w in range(STATE):
                e.put(self._swapped(e, e.vector(state, w)), e.at(uniform, i, ir.ArrayType(VECTOR, STATE)), w)

        e.each(0, e.b.udiv(e.add(count, LANES - 1), const(LANES)), batch)
        e.done()

    def _message(
        self, e: Emitter, target: Value, data: Value, offset: Value, tail: tuple[Value, Value]
    ) -> Value:
        """A message with its tail and padding; the number of its blocks."""
        first, stop = e.word(offset, 0), e.word(offset, 1)
        length = e.b.sub(stop, first)
        self._copy(e, target, e.at(data, first, I8), length)
        self._copy(e, e.at(target, length, I8), *tail)
        used = e.add(length, tail[1])
        whole = e.b.and_(e.add(used, LENGTH_BYTES + BLOCK_BYTES - 1), const(-BLOCK_BYTES))
        e.each(used, whole, lambda k: e.b.store(ir.Constant(I8, 0), e.at(target, k, I8), align=1))
        bits = e.b.shl(e.add(used, BLOCK_BYTES - 1), const(3))     # with Z_pad, without the padding's first byte
        e.b.store(self._swapped(e, bits), e.at(target, e.add(whole, -8), I8), align=1)
        return e.b.udiv(whole, const(BLOCK_BYTES))

    @staticmethod
    def _copy(e: Emitter, target: Value, source: Value, length: Value) -> None:
        def byte(k: Value) -> None:
            e.b.store(e.b.load(e.at(source, k, I8), align=1, typ=I8), e.at(target, k, I8), align=1)

        e.each(0, length, byte)

    @staticmethod
    def _swapped(e: Emitter, x: Value) -> Value:
        """The bytes of each word in reverse order."""
        name = "llvm.bswap.v8i64" if x.type == VECTOR else "llvm.bswap.i64"
        swap = e.module.globals.get(name) or ir.Function(e.module, ir.FunctionType(x.type, [x.type]), name)
        return e.b.call(swap, [x])

    def _absorb(
        self, e: Emitter, state: Value, block: Value, room: tuple[Value, Value], blocks: tuple[Value, Value]
    ) -> None:
        """The lanes' blocks, `most` at most; a lane that has no more keeps its state."""
        (area, stride), (counts, most) = room, blocks

        def one(j: Value) -> None:
            at = e.at(area, e.b.mul(j, const(BLOCK_BYTES)), I8)
            rows = [e.at(at, e.b.mul(stride, const(lane)), I8) for lane in range(LANES)]

            def gather(w: Value) -> None:
                words = ir.Constant(VECTOR, ir.Undefined)
                for lane, row in enumerate(rows):
                    words = e.b.insert_element(words, e.word(row, w), ir.Constant(I32, lane))
                e.put(self._swapped(e, words), block, w)

            e.each(0, WORDS, gather)
            active = e.b.icmp_unsigned(">", e.vector(counts, 0), e.splat(j))
            before = [e.vector(state, w) for w in range(STATE)]
            e.b.call(self.compress, [state, block])
            for w, old in enumerate(before):
                e.put(e.b.select(active, e.vector(state, w), old), state, w)

        e.each(0, most, one)

    def _absorb_second(
        self, e: Emitter, state: Value, block: Value, digest: Value, second: tuple[Value, Value]
    ) -> None:
        """b_0, which is in `digest`, and what follows it in all lanes."""

        def one(j: Value) -> None:
            words = e.at(second[0], e.b.mul(j, const(WORDS)), I64)
            for w in range(WORDS):
                word = e.broadcast(words, w)
                e.put(e.add(e.vector(digest, w), word) if w < STATE else word, block, w)
            for w in range(STATE):
                e.put(ZERO, digest, w)
            e.b.call(self.compress, [state, block])

        e.each(0, second[1], one)
