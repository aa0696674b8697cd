"""ristretto255 for many points at once, on processors with AVX512-IFMA; called without the GIL.

Compiled once, loaded at first use (docs/adr/0015-ristretto255-in-lanes.md). Equal to mpc.kernels.sodium bit for
bit. It knows encodings, not who sent them: what is no element is an answer, not an error.
"""

from __future__ import annotations

import threading
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mpc.kernels import cores
from mpc.kernels.compiling.library import IFMA, Library, any_with, kept, processor_has
from mpc.kernels.curve.sizes import BLOCK_BYTES, DIGITS, ENCODING, LENGTH_BYTES, LIMBS, WINDOW_BITS, WORDS
from mpc.kernels.simd.memory import LANES, Bytes, Words, aligned, batches

POINT_BYTES, UNIFORM_BYTES = 32, 64
ORDER = 2**252 + 27742317777372353535851937790883648493  # [RFC 9496] section 4
CHUNK_BATCHES = 64               # they share one inverse, and what is kept of them fits the second cache
FEW_BATCHES = 16                 # 128 points, under 1 ms: fewer are not worth a thread
_OFFSET = int("8" * DIGITS, 16)  # 8 in every digit: k + _OFFSET in base 16, less 8 each, has digits from -8 to 7

_library: Library | None = None
_compiling = threading.Lock()


@cache
def available() -> bool:
    """Whether this processor and its operating system run AVX512-IFMA."""
    return processor_has(IFMA)


def compiled() -> bool:
    """Whether a call costs no more than its work."""
    return _library is not None


def source() -> str:
    """The module as LLVM text; the same on every machine."""
    from llvmlite import ir

    from mpc.kernels.curve.hashing import Hashing
    from mpc.kernels.curve.loops import Loops

    module = ir.Module("curve")
    Hashing(module)
    Loops(module)
    return str(module)


def library() -> Library:
    """The compiled functions; the first call loads them, or compiles them (about a second)."""
    global _library
    with _compiling:
        if _library is None:
            _library = Library(kept(source(), any_with(IFMA)))
        return _library


def multiply(points: bytes, scalar: bytes) -> bytes | None:
    """Each encoded point times a scalar in [1, order), little-endian; None if one is no element or is neutral."""
    products, valid = _products("multiply", _enter(points, WORDS), scalar)
    return _leave(products, len(points) // POINT_BYTES) if _all_good(points, valid) else None


def multiply_uniform(uniform: bytes, scalar: bytes) -> bytes:
    """The element of each 64 uniform bytes [RFC 9496 section 4.3.4] times a scalar in [1, order), little-endian."""
    products, _ = _products("multiply_uniform", _enter(uniform, 2 * WORDS), scalar)
    return _leave(products, len(uniform) // UNIFORM_BYTES)


def are_elements(points: bytes) -> bool:
    """Whether each is the canonical encoding of an element that is not neutral. [RFC 9496] section 4.3.1."""
    lanes = _enter(points, WORDS)
    valid = aligned(len(lanes), LANES)

    def work(first: int, last: int) -> None:
        library().call("check", valid[first:last], lanes[first:last], last - first)

    cores.share_out(len(lanes), FEW_BATCHES, work)
    return _all_good(points, valid)


def _products(function: str, lanes: Words, scalar: bytes) -> tuple[Words, Words]:
    """Words of the products, and which points are valid."""
    target, valid, digits = aligned(len(lanes), WORDS, LANES), aligned(len(lanes), LANES), _digits(_half(scalar))

    def work(first: int, last: int) -> None:
        room = aligned(min(CHUNK_BATCHES, last - first), ENCODING * LIMBS, LANES)
        for start in range(first, last, CHUNK_BATCHES):
            cut = slice(start, min(start + CHUNK_BATCHES, last))
            library().call(function, target[cut], valid[cut], lanes[cut], digits, room, cut.stop - start)

    cores.share_out(len(lanes), FEW_BATCHES, work)
    return target, valid


def expand(data: Bytes, offsets: NDArray[np.int64], dst: bytes) -> bytes:
    """64 uniform bytes from each data[offsets[i]:offsets[i + 1]] under `dst`. [RFC 9380] section 5.3.1."""
    count, suffix = len(offsets) - 1, dst + bytes([len(dst)])
    if not count:
        return b""
    tail = np.frombuffer(UNIFORM_BYTES.to_bytes(2, "big") + b"\0" + suffix + b"\x80", dtype=np.uint8)
    second = _padded(bytes(UNIFORM_BYTES) + b"\1" + suffix)
    longest = int(np.diff(offsets).max()) + len(tail) + LENGTH_BYTES
    stride = -(-longest // BLOCK_BYTES) * BLOCK_BYTES
    target = aligned(batches(count), 2 * WORDS, LANES)

    def work(first: int, last: int) -> None:
        part, room = offsets[LANES * first : LANES * last + 1], np.empty(LANES * stride, dtype=np.uint8)
        library().call("expand", target[first:last], data, part, tail, len(tail), second,
                       second.nbytes // BLOCK_BYTES, room, stride, len(part) - 1)

    cores.share_out(len(target), FEW_BATCHES, work)
    return _leave(target, count)


def _enter(data: bytes, words: int) -> Words:
    """Rows of `words` words, side by side in batches of eight; the last batch is filled up with zeros."""
    rows = np.frombuffer(data, dtype="<u8").reshape(-1, words)
    lanes = aligned(batches(len(rows)), words, LANES)
    whole = len(rows) // LANES
    lanes[:whole] = rows[: whole * LANES].reshape(whole, LANES, words).transpose(0, 2, 1)
    if whole < len(lanes):
        lanes[whole] = 0
        lanes[whole, :, : len(rows) % LANES] = rows[whole * LANES :].T
    return lanes


def _leave(lanes: Words, count: int) -> bytes:
    """The way back."""
    return lanes.transpose(0, 2, 1).reshape(-1, lanes.shape[1])[:count].tobytes()


def _all_good(points: bytes, valid: Words) -> bool:
    """None was found invalid, and none is neutral, whose encoding is zero; so are the lanes that fill a batch up."""
    rows = np.frombuffer(points, dtype="<u8").reshape(-1, WORDS)
    return bool(valid.all() and rows.any(axis=1).all())


def _half(scalar: bytes) -> int:
    """What twice gives the scalar modulo the order, which is odd. No branch."""
    value = int.from_bytes(scalar, "little")
    return (value + (value & 1) * ORDER) >> 1


def _digits(value: int) -> Words:
    """`value` < 2^253 in base 16 with digits from -8 to 7, the highest first."""
    shifted = (value + _OFFSET).to_bytes(POINT_BYTES, "big")
    packed = np.frombuffer(shifted, dtype=np.uint8)
    nibbles = np.stack([packed >> WINDOW_BITS, packed & 15], axis=1).reshape(-1)
    return (nibbles.astype(np.int64) - 8).view(np.uint64)


def _padded(message: bytes) -> Words:
    """The words of a message with its padding. [FIPS 180-4] section 5.1.2."""
    zeros = -(len(message) + 1 + LENGTH_BYTES) % BLOCK_BYTES
    blocks = message + b"\x80" + bytes(zeros) + (8 * len(message)).to_bytes(LENGTH_BYTES, "big")
    return np.frombuffer(blocks, dtype=">u8").astype(np.uint64)
