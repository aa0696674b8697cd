"""AES-128 as a permutation of 16-byte blocks, also inside compiled loops. It knows neither modes nor what blocks are.

A block is two words, its bytes in little-endian order. With the processor's AES instructions (x86) a block takes about
2 ns and its time depends on nothing; elsewhere by tables, some fifty times slower, and whoever shares the processor's
caches may learn of the keys from the time. Both give the same blocks [FIPS 197].
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mpc.kernels.compiling.library import processor_has
from mpc.kernels.compiling.loops import chosen, compiled, inserted
from mpc.ring import U64

if TYPE_CHECKING:
    from llvmlite import ir

ROUNDS = 10
KEY_WORDS = 2 * (ROUNDS + 1)


def has_instructions() -> bool:
    """Whether this processor encrypts by itself."""
    return processor_has(["aes"]) and platform.machine() in ("x86_64", "AMD64")


# ---------------------------------------------------------------- keys


def _sbox() -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """[FIPS 197] section 5.1.1: the inverse in F_2^8 and an affine map. 3 generates the field's units."""
    box, x, inverse = np.empty(256, np.uint8), 1, 1
    box[0] = 0x63
    for _ in range(255):
        x ^= (x << 1 & 0xFF) ^ (0x1B if x & 0x80 else 0)               # times 3
        for shift in (1, 2, 4):                                        # over 3
            inverse ^= inverse << shift & 0xFF
        inverse ^= 0x09 if inverse & 0x80 else 0
        spread = inverse * 0x101
        box[x] = 0x63 ^ inverse ^ (spread >> 7 ^ spread >> 6 ^ spread >> 5 ^ spread >> 4) & 0xFF
    return box


_SBOX = _sbox()


def schedule(keys: Sequence[bytes]) -> U64:
    """Round keys (m, KEY_WORDS) of m keys of 16 bytes. [FIPS 197] section 5.2."""
    columns = np.empty((len(keys), 4 * (ROUNDS + 1), 4), np.uint8)
    columns[:, :4] = np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), 4, 4)
    constant = 1
    for i in range(4, columns.shape[1]):
        last = columns[:, i - 1]
        if i % 4 == 0:
            last = _SBOX[np.roll(last, -1, axis=1)]
            last[:, 0] ^= np.uint8(constant)
            constant = constant << 1 ^ (0x11B if constant & 0x80 else 0)
        columns[:, i] = columns[:, i - 4] ^ last
    return columns.reshape(len(keys), 8 * KEY_WORDS).view(np.uint64)


# ---------------------------------------------------------------- one block


@inserted
def _by_instructions() -> object:
    """The image of a block (low, high) under the round keys that lie at `address`."""
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    lanes = ir.VectorType(ir.IntType(64), 2)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Sequence[ir.Value]) -> object:
        def instruction(name: str) -> ir.Function:
            declared = builder.module.globals.get(name)
            return declared or ir.Function(builder.module, ir.FunctionType(lanes, [lanes, lanes]), name)

        def key(number: int) -> ir.Value:
            return builder.load(builder.gep(keys, [ir.IntType(64)(number)]), align=8)

        low, high, address = arguments
        keys = builder.inttoptr(address, lanes.as_pointer())
        block = builder.insert_element(ir.Constant(lanes, ir.Undefined), low, ir.IntType(32)(0))
        block = builder.xor(builder.insert_element(block, high, ir.IntType(32)(1)), key(0))
        for number in range(1, ROUNDS):
            block = builder.call(instruction("llvm.x86.aesni.aesenc"), [block, key(number)])
        block = builder.call(instruction("llvm.x86.aesni.aesenclast"), [block, key(ROUNDS)])
        words = [builder.extract_element(block, ir.IntType(32)(lane)) for lane in (0, 1)]
        return context.make_tuple(builder, signature.return_type, words)

    @intrinsic
    def by_instructions(_context: object, low: object, high: object, address: object) -> object:
        word = types.uint64
        return types.UniTuple(word, 2)(word, word, word), generate  # type: ignore[no-untyped-call]

    return by_instructions


@compiled
def _encrypt_by_instructions(low: np.uint64, high: np.uint64, keys: U64, row: int) -> tuple[np.uint64, np.uint64]:
    address = np.uint64(keys.ctypes.data) + np.uint64(8 * KEY_WORDS * row)
    image: tuple[np.uint64, np.uint64] = _by_instructions(low, high, address)
    return image


def _column_tables() -> np.ndarray[tuple[int, int], np.dtype[np.uint64]]:
    """(4, 256): what byte k of a column becomes by sections 5.1.1 and 5.1.3, as a column."""
    one = _SBOX.astype(np.uint64)
    two = one << np.uint64(1) ^ np.where(one & np.uint64(0x80), np.uint64(0x11B), np.uint64(0))
    column = two | one << np.uint64(8) | one << np.uint64(16) | (one ^ two) << np.uint64(24)
    turned = [(column << np.uint64(8 * k) | column >> np.uint64(32 - 8 * k)) & np.uint64(0xFFFFFFFF) for k in range(4)]
    return np.array(turned)


_COLUMNS = _column_tables()


@compiled
def _encrypt_by_tables(low: np.uint64, high: np.uint64, keys: U64, row: int) -> tuple[np.uint64, np.uint64]:
    byte = np.uint64(255)
    for number in range(ROUNDS + 1):
        low ^= keys[row, 2 * number]
        high ^= keys[row, 2 * number + 1]
        if number == ROUNDS:
            break
        next_low = next_high = np.uint64(0)
        for c in range(4):   # columns of 32 bits; byte k comes from the k-th column behind, which turns the rows
            total = np.uint64(0)
            for k in range(4):
                source = (c + k) & 3
                at = ((low if source < 2 else high) >> np.uint64(32 * (source & 1) + 8 * k)) & byte
                if number < ROUNDS - 1:
                    total ^= _COLUMNS[k, at]
                else:
                    total |= np.uint64(_SBOX[at]) << np.uint64(8 * k)
            if c < 2:
                next_low |= total << np.uint64(32 * (c & 1))
            else:
                next_high |= total << np.uint64(32 * (c & 1))
        low, high = next_low, next_high
    return low, high


@chosen
def encrypt() -> Callable[[np.uint64, np.uint64, U64, int], tuple[np.uint64, np.uint64]]:
    """For compiled loops: the image of the block (low, high) under the key in `row` of a schedule."""
    return _encrypt_by_instructions if has_instructions() else _encrypt_by_tables


# ---------------------------------------------------------------- many blocks


@compiled
def _permute(keys: U64, blocks: U64, images: U64) -> None:
    for i in range(len(blocks)):
        for k in range(len(keys)):
            images[i, 2 * k], images[i, 2 * k + 1] = encrypt(blocks[i, 0], blocks[i, 1], keys, k)


def permute(keys: U64, blocks: U64) -> U64:
    """The images of `blocks` (n, 2) under all keys of a schedule, side by side: (n, 2 m)."""
    images = np.empty((len(blocks), 2 * len(keys)), np.uint64)
    _permute(keys, blocks, images)
    return images
