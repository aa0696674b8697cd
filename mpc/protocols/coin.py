"""32 random bytes that nobody chose: commit, open, compare. N parties, used for the hold-out salt.

   party i: r_i uniform                                  every other party j
 1 c_i = SHA-256(domain, session, i, r_i)  -- Commitment -->   keeps c_i
 2 only when every c_j has come: r_i       -- CoinShare -->    checks it against c_i
 3 SHA-256 of all commitments seen         -- Seen -->         all saw the same
   coin = SHA-256(domain, session, r_1 .. r_N in the order of the names)

As long as one party draws its share at random nobody can steer the coin. The last to open may still refuse,
and then there is no coin, for anybody: a named error, never a second throw under the same session.

Source: Blum, Coin flipping by telephone, 1981; the hash commitment hides because the share has 256 bits.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from mpc.domains import Domain
from mpc.errors import LocalError, Reason
from mpc.link import Link, PartyId
from mpc.protocol import Party, ProtocolSpec

SHARE_BYTES = 32

# ---------------------------------------------------------------- messages


@dataclass(frozen=True)
class Commitment:
    """SHA-256 over a share that stays closed, 32 bytes."""

    digest: bytes


@dataclass(frozen=True)
class CoinShare:
    """The share, 32 bytes."""

    share: bytes


@dataclass(frozen=True)
class Seen:
    """SHA-256 over all commitments that the sender holds, its own included, 32 bytes."""

    digest: bytes


# ---------------------------------------------------------------- roles


async def run(me: Party, peers: Mapping[PartyId, Link], session: bytes) -> bytes:
    """32 bytes, equal at all parties; `session` (16 bytes or more) is agreed and used for one coin only."""
    if len(session) < 16 or not peers:
        raise LocalError("a coin needs a session label of 16 bytes or more and a second party")
    share = me.rng.bytes(SHARE_BYTES)
    mine = commitment(session, me.id, share)
    order = sorted(peers)

    async def commit(link: Link) -> bytes:
        await link.send(Commitment(mine))                                           # 1
        theirs = (await link.receive(Commitment)).digest
        link.require(len(theirs) == 32, Reason.WRONG_LENGTH)
        link.require(theirs != mine, Reason.REFLECTED)
        return theirs

    closed = dict(zip(order, await me.together(*(commit(peers[p]) for p in order)), strict=True))
    for index, peer in enumerate(order):
        earlier = [closed[p] for p in order[:index]]
        peers[peer].require(closed[peer] not in earlier, Reason.REPEATED_VALUE)

    async def opened(link: Link) -> bytes:
        await link.send(CoinShare(share))                                             # 2
        theirs = (await link.receive(CoinShare)).share
        link.require(len(theirs) == SHARE_BYTES, Reason.WRONG_LENGTH)
        fits = hmac.compare_digest(commitment(session, link.peer, theirs), closed[link.peer])
        link.require(fits, Reason.BAD_COMMITMENT)
        return theirs

    shares = dict(zip(order, await me.together(*(opened(peers[p]) for p in order)), strict=True))
    all_closed = {**closed, me.id: mine}
    seen = hashlib.sha256(b"".join(all_closed[p] for p in sorted(all_closed))).digest()

    async def compare(link: Link) -> None:
        await link.send(Seen(seen))                                                 # 3
        theirs = (await link.receive(Seen)).digest
        link.require(len(theirs) == 32, Reason.WRONG_LENGTH)
        link.require(theirs == seen, Reason.BAD_TRANSCRIPT)

    await me.together(*(compare(peers[p]) for p in order))
    return ideal(session, {**shares, me.id: share})


# ---------------------------------------------------------------- steps


def commitment(session: bytes, party: PartyId, share: bytes) -> bytes:
    """Binds the share to its session and its owner: a copied commitment opens for nobody else."""
    label = Domain.COIN_COMMITMENT.encode()
    framed = b"".join(len(part).to_bytes(2, "big") + part for part in (label, session, party.encode(), share))
    return hashlib.sha256(framed).digest()


# ---------------------------------------------------------------- ideal


def ideal(session: bytes, shares: Mapping[PartyId, bytes]) -> bytes:
    """What the shares determine; uniform if one of them is."""
    parts = [Domain.COIN_RESULT.encode(), session, *(shares[p] for p in sorted(shares))]
    return hashlib.sha256(b"".join(len(part).to_bytes(2, "big") + part for part in parts)).digest()


PROTOCOL = ProtocolSpec(
    name="coin",
    version=1,
    messages=(Commitment, CoinShare, Seen),
    roles={"label_holder": run, "feature_holder": run},
    ideal=ideal,
    learns={
        "label_holder": "the coin, which is public among the parties",
        "feature_holder": "the coin, which is public among the parties",
    },
)
