"""Which rows are kept for testing: a keyed function of the public row order, so that nobody can choose them."""

from __future__ import annotations

import hashlib
import hmac

import numpy as np
from numpy.typing import NDArray

from mpc.domains import Domain

WORDS_PER_DIGEST = 4


def hold_out(salt: bytes, rows: int, fraction: float) -> NDArray[np.bool_]:
    """True for test rows among canonical indices 0..rows-1; about `fraction` in [0, 1) of them, none at 0.

    Row i is a test row when word i of PRF(salt) is below fraction * 2^64: HMAC-SHA256 [RFC 2104] in counter mode,
    key = salt (at least 16 bytes, from the joint coin), block b = HMAC(domain || b), four big-endian words a
    block. More rows do not change the earlier ones.
    """
    if len(salt) < 16:
        raise ValueError("the salt has at least 16 bytes")
    if not 0 <= fraction < 1 or rows < 0:
        raise ValueError("the fraction lies in [0, 1) and rows are counted from 0")
    keyed = hmac.new(salt, Domain.HOLD_OUT.encode() + b"\0", hashlib.sha256)
    blocks = []
    for block in range(-(-rows // WORDS_PER_DIGEST)):
        state = keyed.copy()
        state.update(block.to_bytes(8, "big"))
        blocks.append(state.digest())
    words = np.frombuffer(b"".join(blocks), dtype=">u8")[:rows]
    return words.astype(np.uint64) < np.uint64(int(fraction * 2.0**64))
