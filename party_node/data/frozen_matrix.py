"""The frozen integer matrix that enters the cryptography: int16 at one public scale for all columns and parties.

scale = floor(32767 / clip); |x| <= clip, so |q| <= 32767. The intercept is a column of `scale`, exactly 1.0. The
matrix is persisted and its digest pinned before the offline phase: one changed last bit makes masks useless.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from mpc.domains import Domain
from party_node.data.sources.table import F64

I16 = NDArray[np.int16]
LARGEST = 32767
INTERCEPT = "(intercept)"


def scale_of(clip: float) -> int:
    """The public scale of every column: floor(32767 / clip)."""
    if not 1 <= clip <= LARGEST:
        raise ValueError("clip lies between 1 and 32767")
    return int(LARGEST // clip)


def quantise(block: F64, clip: float, *, intercept: bool = False) -> I16:
    """Prepared block (n x d, |x| <= clip) as int16, rounded half to even; `intercept` puts a column of ones first.

    Raises ValueError for values that are not finite or beyond the clip.
    """
    scale = scale_of(clip)
    if block.ndim != 2:
        raise ValueError("a block has two dimensions")
    if block.size and not float(np.max(np.abs(block))) <= clip:
        raise ValueError("a prepared value lies beyond the clip")
    first = int(intercept)
    matrix = np.empty((block.shape[0], block.shape[1] + first), dtype=np.int16)
    if intercept:
        matrix[:, 0] = scale
    # float64 -> int16 after rounding is exact: |x| * scale <= 32767.
    np.rint(block * scale, out=matrix[:, first:], casting="unsafe")
    return matrix


def dequantise(matrix: I16, clip: float) -> F64:
    """The numbers that the matrix stands for, float64 (n x d)."""
    return matrix.astype(np.float64) / scale_of(clip)


def matrix_digest(matrix: I16, clip: float) -> bytes:
    """SHA-256 over domain, scale, shape and the entries (little-endian, row by row); 32 bytes."""
    if matrix.dtype != np.int16 or matrix.ndim != 2:
        raise ValueError("the frozen matrix is two-dimensional int16")
    state = hashlib.sha256(Domain.MATRIX_DIGEST.encode() + b"\0")
    for number in (scale_of(clip), *matrix.shape):
        state.update(number.to_bytes(8, "big"))
    state.update(np.ascontiguousarray(matrix, dtype="<i2").data)
    return state.digest()
