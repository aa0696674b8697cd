"""What both engines of `align` share: the agreed options, sizes and padding, the messages around the members, the one
refusal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mpc.errors import LocalError, Reason, Refused
from mpc.group.id_column import IdColumn
from mpc.link import Link, PartyId
from mpc.protocol import Party
from mpc.ring import I64, RingVector
from mpc.rng import Rng

FEW_IDS = 100_000          # of each party: below, ecdh takes some seconds, trusts coalitions less, and compiles little
MAX_IDS = 1 << 24          # a list is held in memory as 32 bytes an id
MESSAGE_INDICES = 1 << 18  # 1 MiB
INDEX_BITS = 32
SMALLEST_BUCKET = 1 << 10
PADDING_BYTES = 32

Output = Literal["all", "label_holder_only", "sizes_only"]   # who finds out the members: everybody, the leader, nobody
# Under which line of the ledger the leader and the others note what they found out, after the count.
TOLD: dict[Output, tuple[str, str]] = {
    "all": ("align.members", "align.members"),
    "label_holder_only": ("align.members.label_holder", "align.size"),
    "sizes_only": ("align.size", "align.size"),
}

# ---------------------------------------------------------------- messages


@dataclass(frozen=True)
class SetSize:
    """How many ids the sender brings."""

    count: int


@dataclass(frozen=True)
class SizesHeard:
    """The sizes of all parties as the sender was told them, its own included, in the order of the parties' names."""

    counts: RingVector


@dataclass(frozen=True)
class Verdict:
    """How many customers all have in common; 0 says that they are too few, and not how many."""

    common: int


@dataclass(frozen=True)
class Copies:
    """How many rows of the leader each common customer has, in canonical order."""

    counts: RingVector


@dataclass(frozen=True)
class Indices:
    """Places of the common customers in the list that the receiver sent on, in canonical order."""

    places: RingVector


# ---------------------------------------------------------------- inputs


@dataclass(frozen=True)
class AlignOptions:
    """Agreed by all in the job spec. `session` (16..64 bytes) binds the job and is hashed with every id.

    `sample`: how many ids of the smallest set the first sample of the oprf engine holds (0: four times the minimum).
    `padded`: every set is filled up to a bucket with random ids, so that its size is told no more exactly than that.
    """

    leader: PartyId
    minimum: int
    session: bytes
    engine: Literal["ecdh", "oprf"] = "ecdh"
    sample: int = 0
    output: Output = "all"
    padded: bool = False

    def __post_init__(self) -> None:
        if self.minimum < 1 or not 16 <= len(self.session) <= 64:
            raise LocalError("the minimum is at least 1 and the session label has 16 to 64 bytes")

    def uses_oprf(self, parties: int) -> bool:
        """Which engine runs. A number alone is counted on points in either engine, so with two parties there is nothing
        for functions to do."""
        return self.engine == "oprf" and not (self.output == "sizes_only" and parties == 2)


# ---------------------------------------------------------------- steps


def bucket(count: int) -> int:
    """The smallest bucket for a set of `count` ids: 4, 5, 6 or 7 times a power of two, so at most a quarter larger."""
    if count <= SMALLEST_BUCKET:
        return SMALLEST_BUCKET
    step = 1 << ((count - 1).bit_length() - 3)
    return -(-count // step) * step


def padded(ids: IdColumn, rng: Rng) -> IdColumn:
    """`ids` and behind them as many random ones as fill the bucket; nobody else has one of those."""
    fresh = bucket(len(ids)) - len(ids)
    words = np.frombuffer(rng.bytes(PADDING_BYTES * fresh), np.uint8)
    return IdColumn.join([ids, IdColumn(words, np.arange(0, PADDING_BYTES * (fresh + 1), PADDING_BYTES))])


def check_inputs(
    me: Party, peers: Mapping[PartyId, Link], ids: Sequence[bytes], options: AlignOptions
) -> None:
    if not peers or me.id in peers or options.leader not in {me.id, *peers}:
        raise LocalError("an alignment needs a second party, and its leader among the parties")
    # A column was made from a dictionary, and whoever needs it finds a repetition among the digests.
    if len(ids) > MAX_IDS or (not isinstance(ids, IdColumn) and len(set(ids)) != len(ids)):
        raise LocalError(f"an alignment takes at most {MAX_IDS} ids, and each once")


async def announce(
    me: Party, peers: Mapping[PartyId, Link], count: int, options: AlignOptions
) -> dict[PartyId, int]:
    async def exchange(link: Link) -> int:
        await link.send(SetSize(count))
        theirs = (await link.receive(SetSize)).count
        link.require(0 <= theirs <= MAX_IDS, Reason.OUT_OF_RANGE)
        link.require(not options.padded or bucket(theirs) == theirs, Reason.OUT_OF_RANGE)
        return theirs

    sizes = await me.together(*(exchange(link) for link in peers.values()))
    announced = {me.id: count, **dict(zip(peers, sizes, strict=True))}
    if len(peers) > 1:
        await _compare(me, peers, announced)
    return announced


async def _compare(me: Party, peers: Mapping[PartyId, Link], sizes: Mapping[PartyId, int]) -> None:
    """Whether all were told the same. PeerError UNEQUAL: whoever misreports us or itself is to blame; else the party
    that announced, or so it seems, two sizes (links carry no signatures: the one who reports it may be lying)."""
    names = sorted(sizes)
    mine = RingVector(np.array([sizes[name] for name in names], np.uint64), INDEX_BITS)

    async def exchange(link: Link) -> dict[PartyId, int]:
        await link.send(SizesHeard(mine))
        theirs = (await link.receive(SizesHeard)).counts
        link.require(len(theirs) == len(names), Reason.WRONG_LENGTH)
        link.require(theirs.bits == INDEX_BITS, Reason.OUT_OF_RANGE)
        heard = dict(zip(names, theirs.values.tolist(), strict=True))
        link.require(all(heard[name] == sizes[name] for name in (me.id, link.peer)), Reason.UNEQUAL)
        return heard

    for heard in await me.together(*(exchange(link) for link in peers.values())):
        for name, link in peers.items():
            link.require(heard[name] == sizes[name], Reason.UNEQUAL)


async def send_places(link: Link, places: I64) -> None:
    """`places` in messages of 1 MiB."""
    for start in range(0, len(places), MESSAGE_INDICES):
        part = places[start:start + MESSAGE_INDICES].astype(np.uint64)
        await link.send(Indices(RingVector(part, INDEX_BITS)))


async def receive_places(link: Link, count: int, size: int) -> I64:
    """`count` different places below `size`. PeerError WRONG_LENGTH, OUT_OF_RANGE, REPEATED_VALUE."""
    parts = []
    for start in range(0, count, MESSAGE_INDICES):
        part = (await link.receive(Indices)).places
        link.require(len(part) == min(MESSAGE_INDICES, count - start), Reason.WRONG_LENGTH)
        link.require(part.bits == INDEX_BITS and bool(np.all(part.values < size)), Reason.OUT_OF_RANGE)
        parts.append(part.values.astype(np.int64))
    places = np.concatenate(parts)
    link.require(all_differ(places, size), Reason.REPEATED_VALUE)
    return places


def all_differ(places: I64, size: int) -> bool:
    """Whether no place, each below `size`, occurs twice."""
    seen = np.zeros(size, np.bool_)
    seen[places] = True
    return int(np.count_nonzero(seen)) == len(places)


async def share_copies(
    me: Party, peers: Mapping[PartyId, Link], leader: PartyId, copies: I64 | None, common: int
) -> I64:
    """How many rows of the leader, which gives them as `copies`, each of the `common` customers has: at every party.

    PeerError WRONG_LENGTH, OUT_OF_RANGE.
    """
    me.ledger.record("align.copies", common)
    if copies is not None:
        message = Copies(RingVector(copies.astype(np.uint64), INDEX_BITS))
        await me.together(*(link.send(message) for link in peers.values()))
        return copies
    link = peers[leader]
    counts = (await link.receive(Copies, at_most=8 * common)).counts
    link.require(len(counts) == common, Reason.WRONG_LENGTH)
    fine = counts.bits == INDEX_BITS and bool(np.all(counts.values >= 1)) and int(counts.values.sum()) <= MAX_IDS
    link.require(fine, Reason.OUT_OF_RANGE)
    return counts.values.astype(np.int64)


def too_few() -> Refused:
    """One text for every party and every number: it says nothing of how many there were."""
    return Refused(
        "TOO_FEW_COMMON", Reason.TOO_FEW_COMMON.value,
        "Likely causes: ids written differently on the two sides, another id column, or other customers",
    )


