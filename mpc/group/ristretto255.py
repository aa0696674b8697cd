"""The prime-order group ristretto255 (RFC 9496): hash into it, multiply, add, check.

Knows nothing of protocols. Many points go eight at a time where the processor can (mpc.kernels.curve), few points and
other processors are served by libsodium (mpc.kernels.sodium), with equal results; both without the interpreter's lock,
so two threads use two cores. Encodings are canonical: equal elements have equal bytes, which is what lets a
protocol compare blinded values with `==`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from mpc.errors import MpcError
from mpc.group.id_column import IdColumn
from mpc.kernels import sodium
from mpc.kernels.curve import batches as curve
from mpc.rng import Rng

POINT_BYTES = 32
ORDER = curve.ORDER
IDENTITY = bytes(POINT_BYTES)  # the all-zero string encodes the neutral element, RFC 9496 appendix A.1

MANY_POINTS = 1 << 10  # from here on a call by lanes repays that they are compiled first (a second, once)
FEW_POINTS = 8         # and from here on, once they are compiled


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

    def inverse(self) -> Scalar:
        """What undoes a multiplication by this scalar."""
        return Scalar(pow(int.from_bytes(self._bytes, "little"), -1, ORDER))

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
    if _by_lanes(len(messages)):
        return _hashed_by_lanes(messages, dst, Scalar(1))
    return PointVector(sodium.from_uniform(b"".join(expand_message_xmd(message, dst, 64) for message in messages)))


def hash_and_multiply(messages: Sequence[bytes], dst: bytes, scalar: Scalar) -> PointVector:
    """`hash_to_group` times `scalar`, cheaper than one after the other."""
    if _by_lanes(len(messages)):
        return _hashed_by_lanes(messages, dst, scalar)
    return multiply(hash_to_group(messages, dst), scalar)


def multiply(points: PointVector, scalar: Scalar) -> PointVector:
    """Each point times `scalar`, in order; InvalidPoint if any is not an element or is neutral."""
    engine = curve.multiply if _by_lanes(len(points)) else sodium.multiply
    products = engine(points.data, scalar._bytes)
    if products is None:
        raise InvalidPoint("a point is neutral, off the group or not canonical")
    return PointVector(products)


def multiply_base(scalar: Scalar) -> PointVector:
    """The generator times `scalar`: one point. RFC 9496 section 4."""
    return PointVector(sodium.multiply_base(scalar._bytes))


def add(left: PointVector, right: PointVector) -> PointVector:
    """Element by element left + right; InvalidPoint if an input is no element. The result may be neutral."""
    return _pairwise(sodium.add, left, right)


def subtract(left: PointVector, right: PointVector) -> PointVector:
    """Element by element left - right; InvalidPoint if an input is no element. The result may be neutral."""
    return _pairwise(sodium.subtract, left, right)


def check(points: PointVector) -> None:
    """InvalidPoint unless each encoding is canonical, on the group, not neutral. RFC 9496 section 4.3.1."""
    engine = curve.are_elements if _by_lanes(len(points)) else sodium.are_elements
    if not engine(points.data):
        raise InvalidPoint("a point is neutral, off the group or not canonical")


def _pairwise(
    operation: Callable[[bytes, bytes], bytes | None], left: PointVector, right: PointVector
) -> PointVector:
    if len(left) != len(right):
        raise ValueError("two vectors of different lengths")
    results = operation(left.data, right.data)
    if results is None:
        raise InvalidPoint("a point is off the group or not canonical")
    return PointVector(results)


def warm() -> None:
    """Compile the lanes, where this processor has them, so that the first long list does not wait for it."""
    if curve.available():
        curve.library()


def _hashed_by_lanes(messages: Sequence[bytes], dst: bytes, scalar: Scalar) -> PointVector:
    column = IdColumn.of(messages)
    return PointVector(curve.multiply_uniform(curve.expand(column.data, column.offsets, dst), scalar._bytes))


def _by_lanes(count: int) -> bool:
    return curve.available() and count >= (FEW_POINTS if curve.compiled() else MANY_POINTS)
