"""Dividing a shared value by 2^shift without opening it. It knows the shift and the range, never the value.

Share-local shifting fails for most values once there are three parties (protocol.md 2.3), so the value is
opened under a random mask whose high part and top bit are shared as well:

    offline   r uniform in Z_2^64 from 64 shared bits; shares of r, r >> f and msb(r)
    online    c = open(x + 2^62 + r)
    x >> f  = (c >> f) - (r >> f) + msb(r) (1 - msb c) 2^(64-f) - 2^(62-f)      floor(x / 2^f), or that plus 1

The third term undoes the one possible wrap: 0 < x + 2^62 < 2^63, so the sum wraps exactly when r has its top
bit and c has not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np

from mpc.correlated_randomness.kinds import CorrelationSource
from mpc.errors import LocalError
from mpc.link import Link, PartyId
from mpc.protocol import Party
from mpc.ring import U64, RingVector
from mpc.sharing.opening import holds_constants, open_masked

_OFFSET_BITS = 62
_BATCH = 1 << 12
"""Masks prepared at once: 2^18 shared bits, 2 MiB."""


@dataclass(repr=False)
class TruncationMasks:
    """My shares of prepared masks for one shift; each is used once: `take` moves on and never looks back."""

    shift: int
    mask: U64 = field(repr=False)
    high: U64 = field(repr=False)
    top: U64 = field(repr=False)
    used: int = 0

    def __len__(self) -> int:
        """How many are left."""
        return len(self.mask) - self.used

    def take(self, count: int) -> tuple[U64, U64, U64]:
        """The next `count` masks with their high parts and top bits; LocalError when there are too few."""
        if count > len(self):
            raise LocalError(f"{count} truncation masks are due and {len(self)} are left", "Prepare more.")
        here = slice(self.used, self.used + count)
        self.used += count
        return self.mask[here], self.high[here], self.top[here]

    def handed_over(self) -> tuple[U64, U64, U64]:
        """All of them, to be kept where only this party reads; LocalError if one was used before."""
        if self.used:
            raise LocalError("a truncation mask was used before, so the others cannot be kept for later")
        return self.take(len(self))

    def __repr__(self) -> str:
        return f"TruncationMasks(shift={self.shift}, left={len(self)})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("masks are secrets and are never pickled")


async def prepare_truncation(me: Party, source: CorrelationSource, count: int, shift: int) -> TruncationMasks:
    """`count` masks for dividing by 2^shift, 1 <= shift <= 62: the offline part, 64 shared bits a mask."""
    if not 1 <= shift <= _OFFSET_BITS:
        raise LocalError("a truncation shift lies between 1 and 62 bits")
    masks = TruncationMasks(
        shift, np.empty(count, np.uint64), np.empty(count, np.uint64), np.empty(count, np.uint64)
    )
    for start in range(0, count, _BATCH):
        size = min(_BATCH, count - start)
        bits = (await source.bits(me, 64 * size)).sums.reshape(size, 64)
        here = slice(start, start + size)
        masks.mask[here] = bits @ (np.uint64(1) << np.arange(64, dtype=np.uint64))
        masks.high[here] = bits[:, shift:] @ (np.uint64(1) << np.arange(64 - shift, dtype=np.uint64))
        masks.top[here] = bits[:, 63]
    return masks


async def truncate(
    me: Party, peers: Mapping[PartyId, Link], x: U64, masks: TruncationMasks, code: str
) -> U64:
    """My share of floor(x / 2^shift), or of that plus 1, for shared |x| < 2^62; (count,) mod 2^64.

    One opening of (count,) uniform words under the ledger line `code`. A larger |x| gives garbage: callers
    bound it.
    """
    shift = masks.shift
    mask, high, top = masks.take(len(x))
    share = x + mask
    if holds_constants(me, peers):
        share = share + np.uint64(1 << _OFFSET_BITS)
    opened = await open_masked(me, peers, RingVector(share, 64), code)
    wrap_weight = (np.uint64(1) - (opened >> np.uint64(63))) << np.uint64(64 - shift)
    result = top * wrap_weight - high
    if holds_constants(me, peers):
        result = result + (opened >> np.uint64(shift)) - np.uint64(1 << (_OFFSET_BITS - shift))
    return result
