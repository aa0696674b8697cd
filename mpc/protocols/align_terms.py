"""What both engines of `align` share: the agreed options, the messages around the members, the one refusal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mpc.errors import LocalError, Reason, Refused
from mpc.link import Link, PartyId
from mpc.ring import I64, RingVector

MAX_IDS = 1 << 24          # a list is held in memory as 32 bytes an id
MESSAGE_INDICES = 1 << 18  # 1 MiB
INDEX_BITS = 32
AUTO_IDS = 1 << 16

# ---------------------------------------------------------------- messages


@dataclass(frozen=True)
class SetSize:
    """How many ids the sender brings."""

    count: int


@dataclass(frozen=True)
class Verdict:
    """How many customers all have in common; 0 says that they are too few, and not how many."""

    common: int


@dataclass(frozen=True)
class Indices:
    """Places of the common customers in the list that the receiver sent on, in canonical order."""

    places: RingVector


# ---------------------------------------------------------------- inputs


@dataclass(frozen=True)
class AlignOptions:
    """Agreed by all in the job spec. `session` (16..64 bytes) binds the job and is hashed with every id.

    `engine` auto: oprf from AUTO_IDS ids on, all sets together, else ecdh. `sample`: how many ids of the smallest set
    the first sample of the oprf engine holds (0: four times the minimum).
    """

    leader: PartyId
    minimum: int
    session: bytes
    engine: Literal["auto", "ecdh", "oprf"] = "ecdh"
    sample: int = 0

    def __post_init__(self) -> None:
        if self.minimum < 1 or not 16 <= len(self.session) <= 64:
            raise LocalError("the minimum is at least 1 and the session label has 16 to 64 bytes")

    def uses_oprf(self, ids: int) -> bool:
        """Which engine runs, given the sum of all announced sizes; the same at every party."""
        return self.engine == "oprf" or (self.engine == "auto" and ids >= AUTO_IDS)


# ---------------------------------------------------------------- steps


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


def too_few() -> Refused:
    """One text for every party and every number: it says nothing of how many there were."""
    return Refused(
        "TOO_FEW_COMMON", Reason.TOO_FEW_COMMON.value,
        "Likely causes: ids written differently on the two sides, another id column, or other customers",
    )


