"""Which of the common customers judge the model, where the period of the label holder's rows decides. N parties.

   label holder: later_1 .. later_n                              feature holder j
 1 enough customers on both sides, or the job ends
 2 one bit per customer        -- LaterRows -->                  the same check: enough on both sides
 3 SHA-256 of the bits         <-- SplitHeard -->                all hold the same bits, feature holders among them

The bits are the output: every party has to know which of its rows train. Semi-honest; nothing else crosses the wire.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mpc.domains import Domain
from mpc.errors import LocalError, Reason, Refused
from mpc.link import Link, PartyId
from mpc.protocol import LedgerLine, Party, ProtocolSpec

Bits = NDArray[np.bool_]

# ---------------------------------------------------------------- messages


@dataclass(frozen=True)
class LaterRows:
    """One bit per common customer, the first the highest of its byte; the last byte is filled with zeros."""

    bits: bytes


@dataclass(frozen=True)
class SplitHeard:
    """SHA-256 over the job and the bits that the sender holds, 32 bytes."""

    digest: bytes


# ---------------------------------------------------------------- roles


@dataclass(frozen=True)
class SplitOptions:
    """Agreed by all: who knows the periods, how many customers are in common, how few there may be on either side."""

    label_holder: PartyId
    rows: int
    least: int
    session: bytes


async def run(me: Party, peers: Mapping[PartyId, Link], later: Bits | None, options: SplitOptions) -> Bits:
    """True for customers of the later period, [rows], alike at all parties; `later` is given by the label holder.

    Refused SMALL_SIDE; PeerError WRONG_LENGTH, OUT_OF_RANGE, SMALL_SIDE, UNEQUAL.
    """
    if not peers or (later is not None) != (me.id == options.label_holder):
        raise LocalError("a split needs a second party, and the label holder's periods")
    if later is not None:
        if later.shape != (options.rows,) or later.dtype != np.bool_:
            raise LocalError("the periods do not have the agreed form")
        if not enough(later, options.least):                                        # 1
            raise Refused(Reason.SMALL_SIDE.name, Reason.SMALL_SIDE.value,
                          "choose another boundary, or a lower minimum_intersection")
    me.ledger.record("split.period", options.rows, common=True)
    if later is not None:
        message = LaterRows(packed(later))
        await me.together(*(link.send(message) for link in peers.values()))         # 2
    else:
        later = await _told(peers[options.label_holder], options)
    mine = digest(options.session, later)

    async def compare(link: Link) -> None:
        await link.send(SplitHeard(mine))                                           # 3
        theirs = (await link.receive(SplitHeard)).digest
        link.require(len(theirs) == len(mine), Reason.WRONG_LENGTH)
        link.require(theirs == mine, Reason.UNEQUAL)

    await me.together(*(compare(link) for link in peers.values()))
    return later


async def _told(link: Link, options: SplitOptions) -> Bits:
    length = -(-options.rows // 8)
    bits = (await link.receive(LaterRows, at_most=length)).bits
    link.require(len(bits) == length, Reason.WRONG_LENGTH)
    later = np.unpackbits(np.frombuffer(bits, np.uint8)).astype(np.bool_)
    link.require(not later[options.rows:].any(), Reason.OUT_OF_RANGE)
    later = later[: options.rows]
    link.require(enough(later, options.least), Reason.SMALL_SIDE)
    return later


# ---------------------------------------------------------------- steps


def enough(later: Bits, least: int) -> bool:
    """Whether at least `least` customers lie on either side, so that neither is a handful that can be named."""
    count = int(np.count_nonzero(later))
    return min(count, len(later) - count) >= least


def packed(later: Bits) -> bytes:
    """The bits, eight a byte."""
    return np.packbits(later).tobytes()


def digest(session: bytes, later: Bits) -> bytes:
    """Binds the bits to their job."""
    framed = b"".join(len(part).to_bytes(8, "big") + part for part in (Domain.SPLIT.encode(), session, packed(later)))
    return hashlib.sha256(framed).digest()


# ---------------------------------------------------------------- ideal


def ideal(later: Bits, least: int) -> Bits | None:
    """The label holder's bits for everybody; None where a side is too small."""
    return later if enough(later, least) else None


PROTOCOL = ProtocolSpec(
    name="split",
    version=1,
    messages=(LaterRows, SplitHeard),
    roles={"label_holder": run, "feature_holder": run},
    ideal=ideal,
    learns={
        "label_holder": "nothing",
        "feature_holder": "which of its own customers belong to the later period, one bit each, where the job splits "
                          "by period; that enough lie on either side",
    },
    ledger=(LedgerLine("split.period", "revealed", "all",
                       "which of its own customers belong to the later period, that judges the model"),),
)
