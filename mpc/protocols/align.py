"""Private set intersection: which customers do all institutions have in common. N >= 2 parties, semi-honest.

   H: hash to ristretto255 under the session; k_i: fresh secret of party i; each list is shuffled at every stop

   owner i                      every other party j, in turn            leader
 1 SetSize              <------>  all to all; of three or more, each then says what it was told: SizesHeard
 2 shuffle{ k_i H(x) }  -- Blinded -->  shuffle{ k_j P }  -- Blinded -->  F_i = { k_0 .. k_N-1 H(x) }
   the leader's own list, at its last stop    -- Returned -->             F_leader, 12 bytes a value
 3                                                                      |F_0 n .. n F_N-1| : a number, no members
 4                              <-- Verdict: the number, or 0 = too few --
 5 own rows  <-- Indices --  un-shuffle  <-- Indices --                 places of the common values in F_i, sorted

The leader's own list leaves it, passes everybody and comes back. Nobody holds another's secret, so nobody can test
a guessed identifier: equal values meet only under all N secrets. Phase one (1 to 4) shows the leader how many
customers each combination of institutions shares; phase two (5) runs only if all share `minimum` or more. It brings
all lists back, or the leader's alone (output label_holder_only), or none (sizes_only).

Source: Meadows, IEEE S&P 1986 and Huberman, Franklin, Hogg, EC 1999 (commutative blinding); the ring for N parties
with shuffles as in Vaidya and Clifton, J. Computer Security 2005. Departures: docs/protocols/align.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mpc.domains import Domain
from mpc.errors import Reason
from mpc.group import ristretto255
from mpc.group.id_column import IdColumn
from mpc.group.ristretto255 import PointVector, Scalar
from mpc.link import Link, PartyId
from mpc.ot.base import BaseAnswer, BaseOffer
from mpc.ot.extension import TreeSums
from mpc.protocol import LedgerLine, Party, ProtocolSpec
from mpc.protocols import align_oprf
from mpc.protocols.align_count import Programmed
from mpc.protocols.align_oprf import Tags
from mpc.protocols.align_terms import (
    MAX_IDS,
    TOLD,
    AlignOptions,
    Copies,
    Indices,
    SetSize,
    SizesHeard,
    Verdict,
    announce,
    check_inputs,
    padded,
    receive_places,
    send_places,
    too_few,
)
from mpc.ring import I64, U64
from mpc.rng import Rng
from mpc.sets.hidden_count import Counted, blaming
from mpc.sets.oprf import Offsets
from mpc.sharing.zero_sharing import MaskKey

__all__ = [
    "MAX_IDS", "PROTOCOL", "AlignOptions", "Blinded", "Indices", "Returned", "SetSize", "Verdict", "ideal", "run",
]

MESSAGE_POINTS = 1 << 15   # 1 MiB
COMPUTE_POINTS = 1 << 12   # 0.03 s or 0.2 s of one core, so that progress moves and all cores are used
HEAD_BYTES = 12            # two of 2^24 by 2^24 different values agree in them with probability 2^-48

T = TypeVar("T")
Values = NDArray[np.bytes_]

# ---------------------------------------------------------------- messages


@dataclass(frozen=True)
class Blinded:
    """Part of a list: shuffled points under the secrets of all whom it has passed."""

    points: PointVector


@dataclass(frozen=True)
class Returned:
    """Part of the leader's own list as it comes home: of each shuffled point, the first bytes, to be compared only."""

    heads: bytes


# ---------------------------------------------------------------- inputs


@dataclass(repr=False)
class _Walk:
    """What one party keeps of one alignment: its secret, its shuffles, what it has sent."""

    me: Party
    peers: Mapping[PartyId, Link]
    options: AlignOptions
    accept_count: Callable[[int], None]
    sizes: Mapping[PartyId, int]
    secret: Scalar
    seed: Rng
    orders: dict[PartyId, I64] = field(default_factory=dict)
    sent: list[PointVector] = field(default_factory=list)
    links: dict[tuple[PartyId, PartyId], Link] = field(default_factory=dict)
    blinded: int = 0

    def route(self, owner: PartyId) -> list[PartyId]:
        """The stops of `owner`'s list: the owner first, the leader last (and first too, if it is the owner)."""
        leader = self.options.leader
        members = sorted(p for p in self.sizes if p != leader)
        if owner == leader:
            return [leader, *members, leader]
        start = members.index(owner)
        return [*members[start:], *members[:start], leader]

    def link(self, peer: PartyId, owner: PartyId) -> Link:
        """The conversation with `peer` about `owner`'s list; opened once, for it counts its messages."""
        if (peer, owner) not in self.links:
            self.links[peer, owner] = self.peers[peer].channel(f"list/{owner}")
        return self.links[peer, owner]


# ---------------------------------------------------------------- role


async def run(
    me: Party,
    peers: Mapping[PartyId, Link],
    ids: Sequence[bytes],
    options: AlignOptions,
    accept_count: Callable[[int], None] = lambda count: None,
    settles: Callable[[int], bool] = lambda lower: True,
) -> I64:
    """Positions in `ids` of the customers that all parties have, the same customer at the same index everywhere.

    `ids` are normalised and unique. Refused TOO_FEW_COMMON at every party if fewer than `minimum` are common.
    `accept_count` gets the number between the phases and raises if this party's own rules forbid it. Every list
    passes every party on its way back, so one that stops here keeps the members from everybody. `settles(lower)` says
    whether it would accept every number from `lower` on (asked by the oprf engine only). Whoever does not find out the
    members, by `options.output`, gets no positions.
    """
    check_inputs(me, peers, ids, options)
    own = len(ids)
    if options.padded:
        ids = await me.compute(padded, IdColumn.of(ids), me.rng.child("padding"))
    sizes = await announce(me, peers, len(ids), options)                           # 1
    if min(sizes.values()) < options.minimum:
        raise too_few()  # the sizes are known to all, so all stop here alike
    engine = align_oprf.run if options.uses_oprf(len(sizes)) else _ring
    places = await engine(me, peers, ids, options, sizes, accept_count, settles)
    if np.any(places >= own):   # filling, which nobody else has: the leader's message was not honest
        peers[next(iter(peers)) if me.id == options.leader else options.leader].require(False, Reason.OUT_OF_RANGE)
    return places


async def _ring(
    me: Party,
    peers: Mapping[PartyId, Link],
    ids: Sequence[bytes],
    options: AlignOptions,
    sizes: Mapping[PartyId, int],
    accept_count: Callable[[int], None],
    settles: Callable[[int], bool],
) -> I64:
    """The engine ecdh."""
    seed = Rng(me.rng.bytes(32))
    walk = _Walk(me, peers, options, accept_count, sizes, Scalar.random(seed.child("secret")), seed)
    owners = sorted(sizes)
    lists = await me.together(*(_pass_on(walk, owner, ids) for owner in owners))    # 2
    if me.id == options.leader:
        places = await _decide(walk, dict(zip(owners, lists, strict=True)))         # 3, 4
    else:
        places = await _hear(walk)
    back = {"all": owners, "label_holder_only": [options.leader], "sizes_only": []}[options.output]
    rows = await me.together(*(_bring_back(walk, owner, places[owner]) for owner in back))     # 5
    mine: I64 = dict(zip(back, rows, strict=True)).get(me.id, np.empty(0, np.int64))
    return mine


async def _pass_on(walk: _Walk, owner: PartyId, ids: Sequence[bytes]) -> Values:
    """My stops on the way of `owner`'s list; returns the heads of the list as I had it last."""
    route = walk.route(owner)
    here = route.index(walk.me.id)
    if here == 0:
        label = Domain.ALIGN_HASH_TO_GROUP.encode() + b"/" + walk.options.session
        points = await _in_pieces(walk, ids, blind, label, walk.secret)
    else:
        before = walk.link(route[here - 1], owner)
        received = await _receive_list(walk, before, owner)
        points = await blaming(before, _in_pieces(walk, received, ristretto255.multiply, walk.secret))
    if here < len(route) - 1:
        points = await _send_shuffled(walk, walk.link(route[here + 1], owner), owner, points)
    if here == 0 and route[-1] == walk.me.id:
        return await _receive_home(walk, walk.link(route[-2], owner))
    return heads_of(points)


async def _send_shuffled(walk: _Walk, link: Link, owner: PartyId, points: PointVector) -> PointVector:
    order = walk.seed.child(f"order/{owner}").permutation(len(points))
    walk.orders[owner] = order
    shuffled = points.take(order)
    walk.sent.append(shuffled)
    for start in range(0, len(shuffled), MESSAGE_POINTS):
        part = shuffled[start:start + MESSAGE_POINTS]
        await link.send(Returned(heads_of(part).tobytes()) if link.peer == owner else Blinded(part))
    return shuffled


async def _receive_list(walk: _Walk, link: Link, owner: PartyId) -> PointVector:
    """A whole list: as long as its owner said, no point twice, none that I have sent myself."""
    parts: list[PointVector] = []
    for start in range(0, walk.sizes[owner], MESSAGE_POINTS):
        part = (await link.receive(Blinded)).points
        link.require(len(part) == min(MESSAGE_POINTS, walk.sizes[owner] - start), Reason.WRONG_LENGTH)
        parts.append(part)
    points = PointVector.join(parts)
    await _refuse_known(walk, link, points.values(), [sent.values() for sent in walk.sent])
    return points


async def _receive_home(walk: _Walk, link: Link) -> Values:
    """The leader's own list under all secrets: as long as it was, nothing twice, nothing as it went out."""
    parts = []
    for start in range(0, walk.sizes[walk.me.id], MESSAGE_POINTS):
        part = (await link.receive(Returned)).heads
        expected = min(MESSAGE_POINTS, walk.sizes[walk.me.id] - start)
        link.require(len(part) == HEAD_BYTES * expected, Reason.WRONG_LENGTH)
        parts.append(part)
    heads = np.frombuffer(b"".join(parts), dtype=f"S{HEAD_BYTES}")
    await _refuse_known(walk, link, heads, [heads_of(sent) for sent in walk.sent])
    return heads


async def _refuse_known(walk: _Walk, link: Link, values: Values, sent: Sequence[Values]) -> None:
    # What I send carries my secret; what honest peers send me does not, or (my own list) carries theirs as well.
    link.require(not await walk.me.compute(any_in_common, values, sent), Reason.REFLECTED)
    link.require(not await walk.me.compute(has_repeats, values), Reason.REPEATED_VALUE)


async def _decide(walk: _Walk, finals: Mapping[PartyId, Values]) -> dict[PartyId, I64]:
    """The leader's comparison and verdict; the places of the common values in each final list."""
    me = walk.me
    me.ledger.record("align.overlaps")
    common = await me.compute(values_in_all, list(finals.values()))
    try:
        if len(common) < walk.options.minimum:
            raise too_few()
        walk.accept_count(len(common))
        me.ledger.record(TOLD[walk.options.output][0], len(common))
    except Exception:
        await me.together(*(link.send(Verdict(0)) for link in walk.peers.values()))
        raise
    await me.together(*(link.send(Verdict(len(common))) for link in walk.peers.values()))
    return {owner: await me.compute(places_of, common, final) for owner, final in finals.items()}


async def _hear(walk: _Walk) -> dict[PartyId, I64]:
    """The leader's verdict at the others; room for as many places as it names."""
    leader = walk.peers[walk.options.leader]
    common = (await leader.receive(Verdict)).common
    if common == 0:
        raise too_few()
    leader.require(walk.options.minimum <= common <= min(walk.sizes.values()), Reason.OUT_OF_RANGE)
    walk.accept_count(common)
    walk.me.ledger.record(TOLD[walk.options.output][1], common)
    return dict.fromkeys(walk.sizes, np.empty(common, dtype=np.int64))


async def _bring_back(walk: _Walk, owner: PartyId, places: I64) -> I64:
    """My stops on the way back of the places in `owner`'s list; at the owner, its own row numbers."""
    route = walk.route(owner)
    here = route.index(walk.me.id)
    if walk.me.id == walk.options.leader:
        await send_places(walk.link(route[-2], owner), places)
        if here != 0:
            return places
    link = walk.link(route[here + 1], owner)
    received = await receive_places(link, len(places), walk.sizes[owner])
    unshuffled = walk.orders[owner][received]
    if here != 0:
        await send_places(walk.link(route[here - 1], owner), unshuffled)
    return unshuffled


async def _in_pieces(
    walk: _Walk, items: Sequence[bytes] | PointVector, step: Callable[..., PointVector], *rest: object
) -> PointVector:
    """`step` over pieces of `items` side by side, in order; every list passes here once at every party."""
    async def one(start: int) -> PointVector:
        part = await walk.me.compute(step, items[start:start + COMPUTE_POINTS], *rest)
        walk.blinded += len(part)
        # In thousandths: watchers need not know how large the lists are.
        walk.me.progress("align", 1000 * walk.blinded // sum(walk.sizes.values()), 1000)
        return part

    return PointVector.join(await walk.me.together(*map(one, range(0, len(items), COMPUTE_POINTS))))


# ---------------------------------------------------------------- steps


def blind(ids: Sequence[bytes], label: bytes, secret: Scalar) -> PointVector:
    """k H(x) for each id, in order."""
    return ristretto255.hash_and_multiply(ids, label, secret)


def heads_of(points: PointVector) -> Values:
    """The first bytes of each point, as strings."""
    rows = np.frombuffer(points.data, dtype=np.uint8).reshape(len(points), ristretto255.POINT_BYTES)
    return np.frombuffer(rows[:, :HEAD_BYTES].tobytes(), dtype=f"S{HEAD_BYTES}")


def has_repeats(values: Values) -> bool:
    """Whether a value occurs twice (encodings are canonical, so bytes tell)."""
    words = _first_words(values)
    ordered = np.sort(words)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]   # of honest values none: they differ in their first 64 bits
    suspects = values[np.isin(words, twice)] if len(twice) else values[:0]
    return len(np.unique(suspects)) != len(suspects)


def any_in_common(values: Values, others: Sequence[Values]) -> bool:
    """Whether one of `values` occurs in one of `others`, which have its width."""
    words = _first_words(values)
    ordered = np.sort(words)
    for other in others:
        theirs = np.sort(_first_words(other))
        places = np.minimum(np.searchsorted(theirs, ordered), max(len(theirs) - 1, 0))
        shared = ordered[theirs[places] == ordered] if len(theirs) else ordered[:0]
        if len(shared) and np.isin(values[np.isin(words, shared)], other).any():
            return True
    return False


def _first_words(values: Values) -> U64:
    """The first eight bytes of each value."""
    rows = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), values.itemsize)
    return np.frombuffer(rows[:, :8].tobytes(), dtype=np.uint64)


def values_in_all(lists: Sequence[Values]) -> Values:
    """The values that occur in every list, sorted: the canonical order."""
    first, *more = lists
    return reduce(lambda a, b: np.intersect1d(a, b, assume_unique=True), more, np.sort(first))


def places_of(common: Values, values: Values) -> I64:
    """Where each of `common`, all present, stands in `values`."""
    order = np.argsort(values, kind="stable").astype(np.int64)
    return order[np.searchsorted(values, common, sorter=order)]


# ---------------------------------------------------------------- ideal


def ideal(sets: Mapping[PartyId, Sequence[bytes]], minimum: int) -> set[bytes]:
    """The ids that all have; Refused if they are fewer than `minimum`."""
    common = set.intersection(*(set(ids) for ids in sets.values()))
    if len(common) < minimum:
        raise too_few()
    return common


PROTOCOL = ProtocolSpec(
    name="align",
    version=1,
    messages=(
        SetSize, SizesHeard, Blinded, Returned, Verdict, Indices, Copies,
        MaskKey, BaseOffer, BaseAnswer, TreeSums, Offsets, Programmed, Counted, Tags,
    ),
    roles={"label_holder": run, "feature_holder": run},
    ideal=ideal,
    learns={
        "label_holder": "every party's number of ids (the bucket it lies in, where the job pads); how many each "
                        "combination of parties has in common (counts, no members), before the minimum is tested; and, "
                        "if it is met, which of its own ids all have (output sizes_only: no member)",
        "feature_holder": "every party's number of ids (or its bucket); whether the minimum is met; and, if it is, how "
                          "many customers all have in common and which of its own they are (outputs label_holder_only "
                          "and sizes_only: no member); where repeated ids are kept, how many rows of the label holder "
                          "each of them has",
    },
    ledger=(
        LedgerLine("align.overlaps", "revealed", "label_holder",
                   "how many customers each combination of institutions has in common (counts, no members)"),
        LedgerLine("align.members", "revealed", "all", "which of its own customers all institutions have"),
        LedgerLine("align.members.label_holder", "revealed", "label_holder",
                   "which of its own customers all institutions have"),
        LedgerLine("align.size", "revealed", "all", "how many customers all institutions have in common, no members"),
        LedgerLine("align.copies", "revealed", "all",
                   "how many rows of the label holder each common customer has, where repeated ids are kept"),
    ),
)
