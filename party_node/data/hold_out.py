"""Which rows are kept for testing: a keyed function of the public row order, so that nobody can choose them; and how
many customers lie on either side, whichever way the hold-out was made."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mpc.domains import Domain
from party_node.data.ids.customers import Customers

WORDS_PER_DIGEST = 4


@dataclass(frozen=True)
class Side:
    """Customers of one sample. bad, good: how many have a row of that outcome; 0 where outcomes are not known."""

    customers: int
    bad: int = 0
    good: int = 0

    @property
    def fewest(self) -> int:
        """Of the outcome that is rarer."""
        return min(self.bad, self.good)


def count(customers: Customers, bad: NDArray[np.bool_] | None) -> Side:
    """The `customers` of a sample, and how many of them have a bad row and a good one. `bad` [rows of the sample]:
    outcomes, where they are known."""
    if bad is None:
        return Side(len(customers))
    return Side(len(customers), customers.count(bad), customers.count(~bad))


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
