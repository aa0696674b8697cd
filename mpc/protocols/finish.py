"""How a job ends alike for all: the label holder's verdict, then everybody's word that its part is kept.

   label holder                            every feature holder
 1 did the scores stay in range? -- Accepted -->    no: all drop what they hold
   every party i: has its part on disk under a passing name      every other party j
 2 end of its audit log, signed  -- AuditHead -->   checks it against what it knows of i
 3                               <-- Countersigned --   signature over i's head
 4 all heads and signatures have come: the part gets its lasting name

A party that falls silent before step 3 leaves no model anywhere. One that fails between 3 and 4 may leave the others
with a model and itself without: its own operator sees the failed job (two generals; no protocol avoids it).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mpc.errors import LocalError, Reason, Refused
from mpc.link import Link, PartyId
from mpc.protocol import LedgerLine, Party, ProtocolSpec

# -- messages ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Accepted:
    """Step 1: 1 if the hold-out scores lie in the sigmoid's range, else 0."""

    accepted: int


@dataclass(frozen=True)
class AuditHead:
    """Step 2: length and last hash of the sender's audit log, with its Ed25519 signature."""

    count: int
    head: bytes
    signature: bytes


@dataclass(frozen=True)
class Countersigned:
    """Step 3: the sender's Ed25519 signature over the receiver's head."""

    signature: bytes


# -- roles -------------------------------------------------------------------------------------------------------


async def verdict(
    me: Party, peers: Mapping[PartyId, Link], label_holder: PartyId, accepted: bool | None
) -> None:
    """Step 1. The label holder passes its verdict. Refused OUT_OF_RANGE at all parties if it is no."""
    if (me.id == label_holder) != (accepted is not None):
        raise LocalError("the verdict is the label holder's, and nobody else's")
    me.ledger.record("finish.range")
    if accepted is not None:
        for link in peers.values():
            await link.send(Accepted(int(accepted)))
    else:
        link = peers[label_holder]
        said = (await link.receive(Accepted)).accepted
        link.require(said in (0, 1), Reason.OUT_OF_RANGE)
        accepted = said == 1
    if not accepted:
        raise Refused(
            "OUT_OF_RANGE",
            "some joint scores lie beyond the range on which the sigmoid is exact; nothing was kept",
            "raise --lambda, lower the clip, or choose the series with the wider range",
        )


async def close(
    me: Party,
    peers: Mapping[PartyId, Link],
    mine: AuditHead,
    countersign: Callable[[PartyId, AuditHead], bytes],
    keep: Callable[[PartyId, bytes], None],
) -> None:
    """Steps 2 to 4. `countersign` checks a peer's head and signs it, `keep` checks and keeps a peer's signature
    on ours; both raise PeerError."""

    async def talk(link: Link) -> None:
        await link.send(mine)
        theirs = await link.receive(AuditHead)
        link.require(len(theirs.head) == 32 and len(theirs.signature) == 64, Reason.WRONG_LENGTH)
        await link.send(Countersigned(countersign(link.peer, theirs)))
        signature = (await link.receive(Countersigned)).signature
        link.require(len(signature) == 64, Reason.WRONG_LENGTH)
        keep(link.peer, signature)

    await me.together(*(talk(link) for link in peers.values()))


# -- ideal -------------------------------------------------------------------------------------------------------


def ideal(accepted: bool) -> bool:
    """All keep their parts, or nobody does."""
    return accepted


PROTOCOL = ProtocolSpec(
    name="finish",
    version=1,
    messages=(Accepted, AuditHead, Countersigned),
    roles={"verdict": verdict, "close": close},
    ideal=ideal,
    learns={
        "label_holder": "length and last hash of the others' audit logs",
        "feature_holder": "one bit: whether all hold-out scores lie in range; length and last hash of audit logs",
    },
    ledger=(LedgerLine("finish.range", "revealed", "all", "one bit: whether all hold-out scores lie in range"),),
)
