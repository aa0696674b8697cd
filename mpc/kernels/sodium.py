"""ristretto255 by libsodium, point by point, on any processor; called without the GIL.

The only module that knows rbcl. It knows encodings, not who sent them: what is no element is an answer (None), not an
error. mpc.kernels.curve.batches gives the same bytes for many points at once.
"""

from __future__ import annotations

import ctypes
import tempfile
from contextlib import suppress
from pathlib import Path

import rbcl

POINT_BYTES, UNIFORM_BYTES = 32, 64

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


def multiply(points: bytes, scalar: bytes) -> bytes | None:
    """Each encoded point times a scalar in [1, order), little-endian; None if one is no element or is neutral."""
    if _has_high_bit(points):
        return None
    # libsodium decodes strictly (canonical, on the group) and refuses a neutral result, which for a scalar
    # that is not zero means a neutral input: the multiplication is the check.
    source = ctypes.create_string_buffer(points, len(points))
    target = ctypes.create_string_buffer(len(points))
    factor = ctypes.create_string_buffer(scalar, POINT_BYTES)
    read, write, by = ctypes.addressof(source), ctypes.addressof(target), ctypes.addressof(factor)
    for offset in range(0, len(points), POINT_BYTES):
        if _scalarmult(write + offset, by, read + offset) != 0:
            return None
    return target.raw


def multiply_base(scalar: bytes) -> bytes:
    """The generator times a scalar in [1, order), little-endian. [RFC 9496] section 4."""
    target = ctypes.create_string_buffer(POINT_BYTES)
    result = _scalarmult_base(ctypes.addressof(target), ctypes.c_char_p(scalar))
    assert result == 0
    return target.raw


def are_elements(points: bytes) -> bool:
    """Whether each is the canonical encoding of an element that is not neutral. [RFC 9496] section 4.3.1."""
    if _has_high_bit(points):
        return False
    source = ctypes.create_string_buffer(points, len(points))
    read, neutral = ctypes.addressof(source), bytes(POINT_BYTES)
    return all(
        _is_valid_point(read + offset) == 1 and points[offset : offset + POINT_BYTES] != neutral
        for offset in range(0, len(points), POINT_BYTES)
    )


def from_uniform(uniform: bytes) -> bytes:
    """The element of each 64 uniform bytes. [RFC 9496] section 4.3.4."""
    count = len(uniform) // UNIFORM_BYTES
    source = ctypes.create_string_buffer(uniform, len(uniform))
    target = ctypes.create_string_buffer(POINT_BYTES * count)
    read, write = ctypes.addressof(source), ctypes.addressof(target)
    for i in range(count):
        _from_hash(write + POINT_BYTES * i, read + UNIFORM_BYTES * i)
    return target.raw


def add(left: bytes, right: bytes) -> bytes | None:
    """Element by element left + right, perhaps neutral; None if an input is no element."""
    return _pairwise(_add, left, right)


def subtract(left: bytes, right: bytes) -> bytes | None:
    """Element by element left - right, perhaps neutral; None if an input is no element."""
    return _pairwise(_subtract, left, right)


def _pairwise(operation: ctypes._CFunctionType, left: bytes, right: bytes) -> bytes | None:
    if _has_high_bit(left) or _has_high_bit(right):
        return None
    one = ctypes.create_string_buffer(left, len(left))
    two = ctypes.create_string_buffer(right, len(right))
    target = ctypes.create_string_buffer(len(left))
    write, first, second = ctypes.addressof(target), ctypes.addressof(one), ctypes.addressof(two)
    for offset in range(0, len(left), POINT_BYTES):
        if operation(write + offset, first + offset, second + offset) != 0:
            return None
    return target.raw


def _has_high_bit(points: bytes) -> bool:
    # libsodium 1.0.18 (the one in rbcl 1.1.2) ignores bit 255, so every element would have two encodings and a
    # repeated point could pass for two. [RFC 9496] section 4.3.1 refuses it; so do we.
    return bool(max(points[POINT_BYTES - 1 :: POINT_BYTES], default=0) & 0x80)
