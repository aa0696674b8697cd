"""The one place where a shared value is opened. It knows the reveal list, and not what the values mean.

All parties call the same function with the same code and length; a code that the signed spec does not list
raises before anything is sent. Source: trust.md section 2, "opening a shared value has one function".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mpc.errors import Reason
from mpc.link import Link, PartyId
from mpc.protocol import Party
from mpc.ring import U64, RingVector, mask_of, reduce
from mpc.sharing import zero_sharing

CHUNK = 1 << 17
"""Elements a message: at most 1 MiB."""


@dataclass(frozen=True)
class Opening:
    """One party's share of a vector that is being opened (or a slice of it)."""

    share: RingVector


def holds_constants(me: Party, peers: Mapping[PartyId, Link]) -> bool:
    """Whether I am the party that adds public constants to shares: the one with the lowest id."""
    return all(me.id < peer for peer in peers)


async def open_masked(me: Party, peers: Mapping[PartyId, Link], share: RingVector, code: str) -> U64:
    """The sum mod 2^bits of all parties' shares, shown to all parties under the ledger line `code`.

    The caller has masked the value, or the spec reveals it and the caller has refreshed the shares.
    Returns (len(share),). Raises LocalError for a code that is not allowed or not for all, PeerError for a bad share.
    """
    me.ledger.record(code, len(share), common=True)
    answers = await me.together(
        *(_send(link, share) for link in peers.values()),
        *(_receive(link, len(share), share.bits) for link in peers.values()),
    )
    total = share.values.copy()
    for theirs in answers[len(peers) :]:
        total += theirs
    return reduce(total, share.bits)


async def open_to(
    me: Party, peers: Mapping[PartyId, Link], share: RingVector, receiver: PartyId, code: str
) -> U64 | None:
    """The sum mod 2^bits of all shares, shown to `receiver` only; None for everybody else.

    Shares are re-randomised first, so that the receiver gets the sum and no trace of how it came about.
    Every party records the line: each consents to it. Raises as `open_masked`.
    """
    me.ledger.record(code, len(share), common=False)
    fresh = await refreshed(me, peers, share)
    if me.id != receiver:
        await _send(peers[receiver], fresh)
        return None
    total = fresh.values.copy()
    for theirs in await me.together(*(_receive(link, len(share), share.bits) for link in peers.values())):
        total += theirs
    return reduce(total, share.bits)


async def refreshed(me: Party, peers: Mapping[PartyId, Link], share: RingVector) -> RingVector:
    """My share of the same vector plus a fresh sharing of zero (`zero_sharing`, which also says whom it blames).

    Uniform subject to the sum, for any coalition of up to N-1 parties.
    """
    zero = (await zero_sharing.agree(me, peers)).mask("refresh", len(share), share.bits)
    return RingVector(reduce(share.values + zero, share.bits), share.bits)


async def _send(link: Link, share: RingVector) -> None:
    for start in range(0, len(share), CHUNK):
        await link.send(Opening(RingVector(share.values[start : start + CHUNK], share.bits)))


async def _receive(link: Link, count: int, bits: int) -> U64:
    values = np.empty(count, np.uint64)
    for start in range(0, count, CHUNK):
        piece = (await link.receive(Opening)).share
        due = min(CHUNK, count - start)
        link.require(piece.bits == bits and len(piece) == due, Reason.WRONG_LENGTH)
        link.require(bool(np.all(piece.values <= mask_of(bits))), Reason.OUT_OF_RANGE)
        values[start : start + due] = piece.values
    return values
