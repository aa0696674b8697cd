"""Keyed BLAKE2b with 16-byte digests of many short strings, eight side by side. It knows bytes, not what they mean.

The compression is written as vectors of eight words, which LLVM fits to whatever registers the processor has.
"""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mpc.kernels.blake2b_sizes import IV, LANES
from mpc.kernels.compiling.library import Library, any_with, kept, processor_has
from mpc.kernels.compiling.loops import compiled
from mpc.ring import I64, U64

U8 = NDArray[np.uint8]
BLOCK = 128
_GROUPS = 512   # at once: 512 KiB of blocks
_FEATURES = ("ssse3", "sse4.1", "avx", "avx2", "avx512f", "avx512vl")   # wide registers, bytes in order, rotations


def digests_16(data: U8, offsets: I64, key: bytes) -> U64:
    """(n, 2): the digest of data[offsets[i]:offsets[i + 1]] for each i. `key` has 1..64 bytes. [RFC 7693]"""
    count, data = len(offsets) - 1, data.view()
    data.flags.writeable = False   # one kind of array, so that the loop is compiled once
    start = np.array(IV, np.uint64)
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


@cache
def _library() -> Library:
    from mpc.kernels.blake2b_ir import source

    return Library(kept(source(), any_with([feature for feature in _FEATURES if processor_has([feature])])))
