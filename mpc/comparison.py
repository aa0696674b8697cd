"""Products of shared values, and one bit: whether a shared value is negative.

It knows nothing else of the value.

`multiply`: Beaver, CRYPTO 1991. With a triple c = a b, open x - a and y - b (uniform) and combine.

`is_below`: with 64 shared random bits r_j and r = sum r_j 2^j
 1 c = open(x + r)                                   uniform
 2 for each bit j < 63, on shares: l_j = [c_j < r_j] = (1 - c_j) r_j,   e_j = [c_j = r_j]
 3 in 6 levels of pairs, high with low: l = l_high + e_high l_low,   e = e_high e_low; so l = [c mod 2^63 < r mod 2^63]
 4 x = c - r, so the sign of x is  c_63 XOR r_63 XOR l
 5 shares refreshed, the sign opened
The comparison of a public with a shared number by (less, equal) pairs follows Damgard, Fitzi, Kiltz, Nielsen and
Toft, TCC 2006. Exact for all of Z_2^64.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mpc.correlations import CorrelationSource, Triples
from mpc.errors import LocalError
from mpc.link import Link, PartyId
from mpc.opening import holds_constants, open_masked, refreshed
from mpc.protocol import LedgerLine, Party
from mpc.ring import U64, RingVector

_LEVELS = 6
COMPARISON_TRIPLES = 2 * ((1 << _LEVELS) - 1) + 1
"""Two for each join of the tree and one for the last XOR."""


def comparison_lines(code: str, what: str) -> tuple[LedgerLine, LedgerLine]:
    """The two ledger lines that `is_below(..., code)` records: the revealed bit, and its masked openings."""
    return (
        LedgerLine(code, "revealed", "all", what),
        LedgerLine(f"{code}.masked", "masked", "all", f"values minus uniform masks, for {code}"),
    )


async def multiply(
    me: Party, peers: Mapping[PartyId, Link], a: U64, b: U64, source: CorrelationSource, code: str
) -> U64:
    """My shares of a * b mod 2^64, element by element, (count,).

    Opens 2 `count` uniform words under the ledger line `code`; takes `count` triples from `source`.
    """
    return await _product(me, peers, a, b, await source.triples(me, len(a)), code)


async def is_below(
    me: Party, peers: Mapping[PartyId, Link], x: U64, source: CorrelationSource, code: str
) -> bool:
    """Whether all of the shared x, (count,), read as signed 64-bit numbers, are negative; all parties learn this bit.

    Records `code` for the bit and `code`.masked for the uniform words on the way (`comparison_lines`).
    LocalError when the shares do not end in a bit.
    """
    signs = await shared_signs(me, peers, x, source, f"{code}.masked")
    sign = signs[:1]
    for k in range(1, len(signs)):
        sign = await multiply(me, peers, sign, signs[k : k + 1], source, f"{code}.masked")
    fresh = await refreshed(me, peers, RingVector(sign, 64))
    bit = int((await open_masked(me, peers, fresh, code))[0])                                 # 5
    if bit not in (0, 1):
        raise LocalError("the shares of a comparison do not add up to a bit")
    return bit == 1


async def shared_signs(
    me: Party, peers: Mapping[PartyId, Link], x: U64, source: CorrelationSource, masked: str
) -> U64:
    """My shares of the sign bits, (count,): 1 where the shared x, read as a signed 64-bit number, is negative.

    Opens uniform words under the ledger line `masked`. Eight rounds whatever the count; takes 64 bits and
    COMPARISON_TRIPLES triples of `source` per value.
    """
    count = len(x)
    bits = (await source.bits(me, 64 * count)).reshape(count, 64)
    triples = await source.triples(me, COMPARISON_TRIPLES * count)
    places = np.arange(64, dtype=np.uint64)
    share = RingVector(x + (bits << places).sum(axis=1, dtype=np.uint64), 64)
    opened = await open_masked(me, peers, share, masked)                                      # 1
    one = np.uint64(holds_constants(me, peers))
    public = (opened[:, None] >> places) & np.uint64(1)
    differs = public * one + bits - np.uint64(2) * public * bits                              # c_j XOR r_j
    less, equal = (np.uint64(1) - public) * bits, one - differs                               # 2
    # The top bit stays out of the tree: in its place, below all others, stands a pair that is never less.
    nothing = np.zeros((count, 1), np.uint64)
    less, equal = (np.concatenate([nothing, part[:, :-1]], axis=1) for part in (less, equal))
    used = 0
    for _ in range(_LEVELS):                                                                  # 3
        pairs = less.shape[1] // 2
        high = np.tile(equal[:, 1::2], (1, 2))
        low = np.concatenate((less[:, ::2], equal[:, ::2]), axis=1)
        need = 2 * pairs * count
        joined = await _product(me, peers, high.ravel(), low.ravel(), _part(triples, used, need), masked)
        joined, used = joined.reshape(count, 2 * pairs), used + need
        less, equal = less[:, 1::2] + joined[:, :pairs], joined[:, pairs:]
    top = differs[:, -1]
    both = await _product(me, peers, top, less[:, 0], _part(triples, used, count), masked)
    sign: U64 = top + less[:, 0] - np.uint64(2) * both                                        # 4
    return sign


async def _product(
    me: Party, peers: Mapping[PartyId, Link], a: U64, b: U64, triples: Triples, code: str
) -> U64:
    """a b = d e + d [b'] + e [a'] + [c'], where (a', b', c') is the triple, d = a - a' and e = b - b' are opened."""
    share = RingVector(np.concatenate((a - triples.a, b - triples.b)), 64)
    d, e = np.split(await open_masked(me, peers, share, code), 2)
    constant = d * e if holds_constants(me, peers) else np.uint64(0)
    return constant + d * triples.b + e * triples.a + triples.c


def _part(triples: Triples, start: int, count: int) -> Triples:
    here = slice(start, start + count)
    return Triples(triples.a[here], triples.b[here], triples.c[here])
