"""Keyed BLAKE2b with 16-byte digests of many short strings, eight side by side. It knows bytes, not what they mean.

The compression is written as vectors of eight words, which LLVM fits to whatever registers the processor has.
"""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from mpc.kernels.bits import compiled
from mpc.kernels.simd.jit import Library, processor_has
from mpc.ring import I64, U64

U8 = NDArray[np.uint8]
BLOCK = 128
LANES = 8
_GROUPS = 512   # at once: 512 KiB of blocks
_FEATURES = ("ssse3", "sse4.1", "avx", "avx2", "avx512f", "avx512vl")   # wide registers, bytes in order, rotations

# [RFC 7693] sections 2.6 and 2.7
_IV = (
    0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1,
    0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179,
)
_SIGMA = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    (14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3),
    (11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4),
    (7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8),
    (9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13),
    (2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9),
    (12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11),
    (13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10),
    (6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5),
    (10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0),
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    (14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3),
)
_MIXED = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
          (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
_TURNS = (32, 24, 16, 63)
_WORD, _VECTOR = ir.IntType(64), ir.VectorType(ir.IntType(64), LANES)


def digests_16(data: U8, offsets: I64, key: bytes) -> U64:
    """(n, 2): the digest of data[offsets[i]:offsets[i + 1]] for each i. `key` has 1..64 bytes. [RFC 7693]"""
    count, data = len(offsets) - 1, data.view()
    data.flags.writeable = False   # one kind of array, so that the loop is compiled once
    start = np.array(_IV, np.uint64)
    start[0] ^= np.uint64(0x01010000 ^ len(key) << 8 ^ 16)
    after_key, digests = np.empty((LANES, 2), np.uint64), np.empty((-(-count // LANES) * LANES, 2), np.uint64)
    states = np.empty((8, LANES), np.uint64)
    blocks, lengths = np.zeros((_GROUPS, BLOCK // 8, LANES), np.uint64), np.empty((_GROUPS, LANES), np.uint64)
    blocks[0] = np.frombuffer(key.ljust(BLOCK, b"\0"), "<u8")[:, None]
    lengths[0] = BLOCK
    _library().call("compress", 1, 0, 0, start, blocks, lengths, after_key, states)
    start, blocks[0] = states[:, 0].copy(), 0
    sizes, step = np.diff(offsets), _GROUPS * LANES
    words = min(-(-int(sizes.max(initial=0)) // 8), BLOCK // 8)   # behind them all blocks stay zero
    for first in range(0, count, step):
        part = offsets[first:first + step + 1]
        _lay_out(data, part, words, blocks, lengths)
        groups = -(-(len(part) - 1) // LANES)
        _library().call("compress", groups, BLOCK, 1, start, blocks, lengths, digests[first:first + step], states)
    for row in np.flatnonzero((sizes == 0) | (sizes > BLOCK)).tolist():   # where the last block is not the only one
        one = data[offsets[row]:offsets[row + 1]].tobytes()
        digests[row] = np.frombuffer(hashlib.blake2b(one, key=key, digest_size=16).digest(), "<u8")
    return digests[:count]


@compiled
def _lay_out(data: U8, offsets: I64, words: int, blocks: U64, lengths: U64) -> None:
    """The first `words` words of each string, zeros where it is shorter, lane by lane."""
    for i in range(len(offsets) - 1):
        group, lane, start = i // LANES, i % LANES, offsets[i]
        size = min(offsets[i + 1] - start, BLOCK)
        lengths[group, lane] = size
        for k in range(words):
            word, used = np.uint64(0), min(size - 8 * k, 8)
            for b in range(used):
                word |= np.uint64(data[start + 8 * k + b]) << np.uint64(8 * b)
            blocks[group, k, lane] = word


# ---------------------------------------------------------------- the compression, as LLVM code


@cache
def _library() -> Library:
    module = ir.Module("blake2b")
    pointer = ir.PointerType()
    kind = ir.FunctionType(ir.VoidType(), [_WORD, _WORD, _WORD, pointer, pointer, pointer, pointer, pointer])
    _compress(ir.Function(module, kind, "compress"))
    return Library(str(module), [feature for feature in _FEATURES if processor_has([feature])])


def _compress(function: ir.Function) -> None:
    """F of [RFC 7693] section 3.2 for `groups` times eight blocks, all from the state `start`.

    (groups, bytes before, 1 if the last block, start, blocks, lengths, digests, states): the first two words of each
    state go to `digests`, the whole states of the last group to `states`.
    """
    groups, before, last, start, blocks, lengths, digests, states = function.args
    entry, loop, done = (function.append_basic_block(name) for name in ("entry", "loop", "done"))
    build = ir.IRBuilder(entry)
    initial = [_spread(build, build.load(_at(build, start, _WORD, _WORD(k)), typ=_WORD)) for k in range(8)]
    earlier, inverted = _spread(build, before), _spread(build, build.sub(_WORD(0), last))
    build.cbranch(build.icmp_unsigned("==", groups, _WORD(0)), done, loop)
    build.position_at_end(loop)
    group = build.phi(_WORD)
    words = [_load(build, blocks, build.add(build.mul(group, _WORD(16)), _WORD(k))) for k in range(16)]
    v = [*initial, *(_constant(iv) for iv in _IV)]
    v[12] = build.xor(v[12], build.add(earlier, _load(build, lengths, group)))
    v[14] = build.xor(v[14], inverted)
    for order in _SIGMA:
        for number, quarter in enumerate(_MIXED):
            _mix(build, v, quarter, words[order[2 * number]], words[order[2 * number + 1]])
    ends = [build.xor(initial[k], build.xor(v[k], v[k + 8])) for k in range(8)]
    for k, end in enumerate(ends):
        build.store(end, _at(build, states, _VECTOR, _WORD(k)), align=8)
    pairs = ir.Constant(ir.VectorType(ir.IntType(32), 2 * LANES), [k // 2 + LANES * (k % 2) for k in range(2 * LANES)])
    both = build.shuffle_vector(ends[0], ends[1], pairs)
    build.store(both, _at(build, digests, both.type, group), align=8)
    following = build.add(group, _WORD(1))
    group.add_incoming(_WORD(0), entry)
    group.add_incoming(following, loop)
    build.cbranch(build.icmp_unsigned("<", following, groups), loop, done)
    ir.IRBuilder(done).ret_void()


def _mix(build: ir.IRBuilder, v: list[ir.Value], quarter: tuple[int, ...], x: ir.Value, y: ir.Value) -> None:
    """G of [RFC 7693] section 3.1."""
    a, b, c, d = quarter
    for word, first, second in ((x, *_TURNS[:2]), (y, *_TURNS[2:])):
        v[a] = build.add(build.add(v[a], v[b]), word)
        v[d] = _turned(build, build.xor(v[d], v[a]), first)
        v[c] = build.add(v[c], v[d])
        v[b] = _turned(build, build.xor(v[b], v[c]), second)


def _turned(build: ir.IRBuilder, value: ir.Value, right: int) -> ir.Value:
    return build.or_(build.lshr(value, _constant(right)), build.shl(value, _constant(64 - right)))


def _constant(value: int) -> ir.Constant:
    return ir.Constant(_VECTOR, [value] * LANES)


def _spread(build: ir.IRBuilder, word: ir.Value) -> ir.Value:
    one = build.insert_element(ir.Constant(_VECTOR, ir.Undefined), word, ir.IntType(32)(0))
    return build.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))


def _at(build: ir.IRBuilder, base: ir.Value, kind: ir.Type, index: ir.Value) -> ir.Value:
    return build.gep(base, [index], source_etype=kind)


def _load(build: ir.IRBuilder, base: ir.Value, index: ir.Value) -> ir.Value:
    return build.load(_at(build, base, _VECTOR, index), typ=_VECTOR, align=8)
