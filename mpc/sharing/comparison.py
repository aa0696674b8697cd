"""Products of shared values, and one bit: whether a shared value is negative.

It knows nothing else of the value.

`multiply`: Beaver, CRYPTO 1991. With a triple c = a b, open x - a and y - b (uniform) and combine.

`shared_signs`: with 64 shared random bits r_j, as sums and as XORs, and r = sum r_j 2^j
 1 c = open(x + r)                                   uniform
 2 for each bit j < 63, on XOR shares: l_j = [c_j < r_j] = (1 - c_j) r_j,   e_j = [c_j = r_j]
 3 in 6 levels of pairs, high with low: l = l_high + e_high l_low,   e = e_high e_low; so l = [c mod 2^63 < r mod 2^63]
 4 x = c - r, so the sign of x is  c_63 XOR r_63 XOR l
The comparison of a public with a shared number by (less, equal) pairs follows Damgard, Fitzi, Kiltz, Nielsen and
Toft, TCC 2006; products of bits by triples of bits, as in GMW (Goldreich, Micali and Wigderson, STOC 1987). l_high and
e_high l_low are never both 1, so + is XOR. Exact for all of Z_2^64.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mpc.correlated_randomness.kinds import CorrelationSource, Triples
from mpc.link import Link, PartyId
from mpc.protocol import LedgerLine, Party
from mpc.ring import U64, RingVector
from mpc.sharing.opening import holds_constants, open_masked, refreshed

_LEVELS = 6
COMPARISON_ANDS = 2 * ((1 << _LEVELS) - 1)
"""Products of bits: two for each join of the tree."""


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
    triples = await source.triples(me, len(a))
    share = RingVector(np.concatenate((a - triples.a, b - triples.b)), 64)
    d, e = np.split(await open_masked(me, peers, share, code), 2)
    constant = d * e if holds_constants(me, peers) else np.uint64(0)
    return constant + d * triples.b + e * triples.a + triples.c


async def is_below(
    me: Party, peers: Mapping[PartyId, Link], x: U64, source: CorrelationSource, code: str
) -> bool:
    """Whether all of the shared x, (count,), read as signed 64-bit numbers, are negative; all parties learn this bit.

    Records `code` for the bit and `code`.masked for the uniform words on the way (`comparison_lines`).
    """
    signs = await shared_signs(me, peers, x, source, f"{code}.masked")
    sign = signs[:1]
    for k in range(1, len(signs)):
        sign = await _and(me, peers, sign, signs[k : k + 1], await source.ands(me, 1), f"{code}.masked")
    fresh = await refreshed(me, peers, RingVector(sign, 1))
    return bool((await open_masked(me, peers, fresh, code))[0])


async def shared_signs(
    me: Party, peers: Mapping[PartyId, Link], x: U64, source: CorrelationSource, masked: str
) -> U64:
    """My XOR shares of the sign bits, (count,): 1 where the shared x, read as a signed 64-bit number, is negative.

    Opens uniform words and bits under the ledger line `masked`. Seven rounds whatever the count; takes 64 bits and
    COMPARISON_ANDS triples of bits of `source` per value.
    """
    count = len(x)
    bits = await source.bits(me, 64 * count)
    triples = await source.ands(me, COMPARISON_ANDS * count)
    places = np.arange(64, dtype=np.uint64)
    share = RingVector(x + (bits.sums.reshape(count, 64) << places).sum(axis=1, dtype=np.uint64), 64)
    opened = await open_masked(me, peers, share, masked)                                      # 1
    one = np.uint64(holds_constants(me, peers))
    public = (opened[:, None] >> places) & np.uint64(1)
    flips = bits.flips.reshape(count, 64)
    differs = public * one ^ flips
    less, equal = (np.uint64(1) - public) * flips, one ^ differs                              # 2
    # The top bit stays out of the tree: in its place, below all others, stands a pair that is never less.
    nothing = np.zeros((count, 1), np.uint64)
    less, equal = (np.concatenate([nothing, part[:, :-1]], axis=1) for part in (less, equal))
    used = 0
    for _ in range(_LEVELS):                                                                  # 3
        pairs = less.shape[1] // 2
        high = np.tile(equal[:, 1::2], (1, 2))
        low = np.concatenate((less[:, ::2], equal[:, ::2]), axis=1)
        need = 2 * pairs * count
        joined = await _and(me, peers, high.ravel(), low.ravel(), triples.part(used, used + need), masked)
        joined, used = joined.reshape(count, 2 * pairs), used + need
        less, equal = less[:, 1::2] ^ joined[:, :pairs], joined[:, pairs:]
    sign: U64 = differs[:, -1] ^ less[:, 0]                                                   # 4
    return sign


async def as_sums(
    me: Party, peers: Mapping[PartyId, Link], flips: U64, source: CorrelationSource, masked: str
) -> U64:
    """My shares mod 2^64 of bits that are shared as XORs: with a random bit r shared both ways, open x XOR r (uniform),
    then x = r or 1 - r. Opens as many bits under the ledger line `masked`."""
    random = await source.bits(me, len(flips))
    opened = await open_masked(me, peers, RingVector(flips ^ random.flips, 1), masked)
    constant = opened * np.uint64(holds_constants(me, peers))
    result: U64 = constant + random.sums - np.uint64(2) * opened * random.sums
    return result


async def _and(
    me: Party, peers: Mapping[PartyId, Link], x: U64, y: U64, triples: Triples, code: str
) -> U64:
    """x y = d e + d [b] + e [a] + [c] over bits, where d = x + a and e = y + b are opened, + being XOR."""
    share = RingVector(np.concatenate((x ^ triples.a, y ^ triples.b)), 1)
    d, e = np.split(await open_masked(me, peers, share, code), 2)
    result: U64 = (d & e & np.uint64(holds_constants(me, peers))) ^ (d & triples.b) ^ (e & triples.a) ^ triples.c
    return result
