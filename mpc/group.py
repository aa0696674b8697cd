"""The prime-order group ristretto255 (RFC 9496) on libsodium: hash into it, multiply, add, check.

Knows nothing of protocols. Batches run over flat buffers; libsodium is called without the interpreter's lock,
so two threads use two cores. Encodings are canonical: equal elements have equal bytes, which is what lets a
protocol compare blinded values with `==`.
"""

from __future__ import annotations

import ctypes
import hashlib
import hmac
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import rbcl
from numpy.typing import NDArray

from mpc.errors import MpcError
from mpc.rng import Rng

POINT_BYTES = 32
ORDER = 2**252 + 27742317777372353535851937790883648493  # RFC 9496 section 4
IDENTITY = bytes(POINT_BYTES)  # the all-zero string encodes the neutral element, RFC 9496 appendix A.1

# rbcl's checked wrappers add 20 us to 50 us of arithmetic; these prototypes reach the same library.
_BINARY = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
_UNARY = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_CHECK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
_scalarmult = _BINARY(("crypto_scalarmult_ristretto255", rbcl._sodium))
_scalarmult_base = _UNARY(("crypto_scalarmult_ristretto255_base", rbcl._sodium))
_from_hash = _UNARY(("crypto_core_ristretto255_from_hash", rbcl._sodium))
_is_valid_point = _CHECK(("crypto_core_ristretto255_is_valid_point", rbcl._sodium))
_add = _BINARY(("crypto_core_ristretto255_add", rbcl._sodium))
_subtract = _BINARY(("crypto_core_ristretto255_sub", rbcl._sodium))

# rbcl unpacks libsodium (2.8 MB) into a temporary file at every import and leaves it there. Once loaded the library
# needs no name, and daemons that restart would fill the disk.
_unpacked = Path(rbcl._sodium._name)
if _unpacked.parent == Path(tempfile.gettempdir()) and _unpacked.suffix == ".so":
    with suppress(OSError):
        _unpacked.unlink()


class InvalidPoint(MpcError):
    """An encoding is the identity, off the group or not canonical. The caller knows whom to blame."""


@dataclass(frozen=True)
class PointVector:
    """Encoded group elements, 32 bytes each, end to end; unchecked until `multiply` or `check`."""

    data: bytes

    def __post_init__(self) -> None:
        if not isinstance(self.data, bytes) or len(self.data) % POINT_BYTES:
            raise ValueError("a PointVector holds whole 32-byte encodings")

    def __len__(self) -> int:
        return len(self.data) // POINT_BYTES

    def __repr__(self) -> str:
        return f"PointVector({len(self)} points)"

    def __getitem__(self, part: slice) -> PointVector:
        start, stop, step = part.indices(len(self))
        if step != 1:
            raise ValueError("a PointVector is cut in one piece")
        return PointVector(self.data[POINT_BYTES * start:POINT_BYTES * stop])

    def values(self) -> NDArray[np.bytes_]:
        """The encodings as an array of 32-byte strings, which sorts and compares exactly as the bytes do."""
        return np.frombuffer(self.data, dtype=f"S{POINT_BYTES}")

    def take(self, indices: NDArray[np.int64]) -> PointVector:
        """The points at `indices`, in that order."""
        rows = np.frombuffer(self.data, dtype=np.uint8).reshape(-1, POINT_BYTES)
        return PointVector(rows[indices].tobytes())

    @classmethod
    def join(cls, parts: Iterable[PointVector]) -> PointVector:
        """All points of `parts`, in order."""
        return cls(b"".join(part.data for part in parts))


class Scalar:
    """A secret exponent in [1, ORDER), kept little-endian. Never printed or pickled."""

    __slots__ = ("_bytes",)

    def __init__(self, value: int) -> None:
        if not 0 < value < ORDER:
            raise ValueError("a scalar lies in [1, order)")
        self._bytes = value.to_bytes(POINT_BYTES, "little")

    @classmethod
    def random(cls, rng: Rng) -> Scalar:
        """Uniform and not zero."""
        return cls(1 + rng.below(ORDER - 1))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scalar) and hmac.compare_digest(self._bytes, other._bytes)

    __hash__ = None  # type: ignore[assignment]  # a secret is no dictionary key

    def __bool__(self) -> NoReturn:
        raise TypeError("a scalar is a secret and has no truth value")

    def __repr__(self) -> str:
        return "Scalar(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a scalar is a secret and is never pickled")


def expand_message_xmd(message: bytes, dst: bytes, length: int) -> bytes:
    """`length` uniform bytes from `message` under the label `dst`, with SHA-512. RFC 9380 section 5.3.1."""
    if not 0 < len(dst) <= 255 or not 0 < length <= 255 * 64:
        raise ValueError("the label has 1..255 bytes and the output at most 255 blocks")
    dst_prime = dst + bytes([len(dst)])
    z_pad = bytes(128)  # the block size of SHA-512
    b_0 = hashlib.sha512(z_pad + message + length.to_bytes(2, "big") + b"\0" + dst_prime).digest()
    block = hashlib.sha512(b_0 + b"\1" + dst_prime).digest()
    out = [block]
    for i in range(2, -(-length // 64) + 1):
        mixed = bytes(x ^ y for x, y in zip(b_0, block, strict=True))
        block = hashlib.sha512(mixed + bytes([i]) + dst_prime).digest()
        out.append(block)
    return b"".join(out)[:length]


def hash_to_group(messages: Sequence[bytes], dst: bytes) -> PointVector:
    """One element per message, logarithm unknown to all. RFC 9380 appendix B, RFC 9496 section 4.3.4."""
    uniform = b"".join(expand_message_xmd(message, dst, 64) for message in messages)
    source = ctypes.create_string_buffer(uniform, len(uniform))
    target = ctypes.create_string_buffer(POINT_BYTES * len(messages))
    read, write = ctypes.addressof(source), ctypes.addressof(target)
    for i in range(len(messages)):
        _from_hash(write + POINT_BYTES * i, read + 64 * i)
    return PointVector(target.raw)


def multiply(points: PointVector, scalar: Scalar) -> PointVector:
    """Each point times `scalar`, in order; InvalidPoint if any is not an element or is neutral."""
    _refuse_high_bit(points)
    # libsodium decodes strictly (canonical, on the group) and refuses a neutral result, which for a scalar
    # that is not zero means a neutral input: the multiplication is the check.
    source = ctypes.create_string_buffer(points.data, len(points.data))
    target = ctypes.create_string_buffer(len(points.data))
    factor = ctypes.create_string_buffer(scalar._bytes, POINT_BYTES)
    read, write, by = ctypes.addressof(source), ctypes.addressof(target), ctypes.addressof(factor)
    for offset in range(0, len(points.data), POINT_BYTES):
        if _scalarmult(write + offset, by, read + offset) != 0:
            raise InvalidPoint("a point is neutral, off the group or not canonical")
    return PointVector(target.raw)


def multiply_base(scalar: Scalar) -> PointVector:
    """The generator times `scalar`: one point. RFC 9496 section 4."""
    target = ctypes.create_string_buffer(POINT_BYTES)
    result = _scalarmult_base(ctypes.addressof(target), ctypes.c_char_p(scalar._bytes))
    assert result == 0
    return PointVector(target.raw)


def add(left: PointVector, right: PointVector) -> PointVector:
    """Element by element left + right; InvalidPoint if an input is no element. The result may be neutral."""
    return _pairwise(_add, left, right)


def subtract(left: PointVector, right: PointVector) -> PointVector:
    """Element by element left - right; InvalidPoint if an input is no element. The result may be neutral."""
    return _pairwise(_subtract, left, right)


def _pairwise(operation: ctypes._CFunctionType, left: PointVector, right: PointVector) -> PointVector:
    _refuse_high_bit(left)
    _refuse_high_bit(right)
    if len(left) != len(right):
        raise ValueError("two vectors of different lengths")
    one = ctypes.create_string_buffer(left.data, len(left.data))
    two = ctypes.create_string_buffer(right.data, len(right.data))
    target = ctypes.create_string_buffer(len(left.data))
    write, first, second = ctypes.addressof(target), ctypes.addressof(one), ctypes.addressof(two)
    for offset in range(0, len(left.data), POINT_BYTES):
        if operation(write + offset, first + offset, second + offset) != 0:
            raise InvalidPoint("a point is off the group or not canonical")
    return PointVector(target.raw)


def check(points: PointVector) -> None:
    """InvalidPoint unless each encoding is canonical, on the group, not neutral. RFC 9496 section 4.3.1."""
    _refuse_high_bit(points)
    source = ctypes.create_string_buffer(points.data, len(points.data))
    read = ctypes.addressof(source)
    for offset in range(0, len(points.data), POINT_BYTES):
        if _is_valid_point(read + offset) != 1 or points.data[offset:offset + POINT_BYTES] == IDENTITY:
            raise InvalidPoint("a point is neutral, off the group or not canonical")


def _refuse_high_bit(points: PointVector) -> None:
    # libsodium 1.0.18 (the one in rbcl 1.1.2) ignores bit 255, so every element would have two encodings and a
    # repeated point could pass for two. RFC 9496 section 4.3.1 refuses it; so do we.
    if max(points.data[POINT_BYTES - 1::POINT_BYTES], default=0) & 0x80:
        raise InvalidPoint("a point is neutral, off the group or not canonical")
