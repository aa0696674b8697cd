"""What identifiers look like, as coarse shares: enough to see that two parties use different formats, no more.

Parties compare shapes before a job, so that ids that can never meet are found before any cryptography. A shape
tells lengths and kinds of characters of the whole column in steps of 5 %, never an id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc

from party_node.data.ids import IdProfile, normalise

# Upper ends of the length buckets: phones (11, 13, 15), national ids (18), digests in hex (32, 40, 64).
LENGTH_ENDS = (4, 8, 10, 11, 13, 15, 17, 18, 31, 32, 39, 40, 63, 64)
STEPS = 20
FAR = 0.75


@dataclass(frozen=True)
class IdShape:
    """Shares of the non-blank ids after normalisation, each a multiple of 1/20; what exists is at least 1/20."""

    digits_only: float
    with_at: float
    hexadecimal: float
    lengths: tuple[float, ...]

    def to_json(self) -> dict[str, object]:
        """Plain JSON for the dataset's public description."""
        return {
            "digits_only": self.digits_only,
            "with_at": self.with_at,
            "hexadecimal": self.hexadecimal,
            "lengths": list(self.lengths),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> IdShape:
        """Parse a shape that another party sent. Raises ValueError for anything but shares of the right number."""
        lengths = value.get("lengths")
        if not isinstance(lengths, (list, tuple)) or len(lengths) != len(LENGTH_ENDS) + 1:
            raise ValueError("an id shape has one share per length bucket")
        shares = [value.get("digits_only"), value.get("with_at"), value.get("hexadecimal"), *lengths]
        if not all(isinstance(share, (int, float)) and 0 <= share <= 1 for share in shares):
            raise ValueError("the shares of an id shape lie between 0 and 1")
        digits, at, hexadecimal, *rest = (float(cast(float, share)) for share in shares)
        return cls(digits, at, hexadecimal, tuple(rest))


def id_shape(cells: pa.ChunkedArray, profile: IdProfile) -> IdShape:
    """The shape of a text column of ids. An empty or blank column has all shares 0."""
    normal = normalise(cells, profile).drop_null()
    total = len(normal)
    length = pc.utf8_length(normal)
    shares = []
    low = 0
    for end in (*LENGTH_ENDS, None):
        inside = pc.greater(length, low)
        if end is not None:
            inside = pc.and_(inside, pc.less_equal(length, end))
            low = end
        shares.append(_share(inside, total))
    digits = pc.match_substring_regex(normal, r"^[0-9]+$")
    # A hexadecimal digest has a letter; plain numbers are told apart by `digits_only`.
    hexadecimal = pc.and_(pc.match_substring_regex(normal, r"^[0-9a-f]{32,}$"), pc.invert(digits))
    return IdShape(
        _share(digits, total), _share(pc.match_substring(normal, "@"), total), _share(hexadecimal, total), tuple(shares)
    )


def _share(flags: pa.ChunkedArray, total: int) -> float:
    count = pc.sum(flags).as_py() or 0
    if count == 0:
        return 0.0
    return max(1, round(STEPS * count / total)) / STEPS


def mismatch(ours: IdShape, theirs: IdShape) -> str | None:
    """A sentence on why ids of these shapes do not meet, or None. It speaks of formats only."""
    for what, here, there in (
        ("e-mail addresses", ours.with_at, theirs.with_at),
        ("hashed values", ours.hexadecimal, theirs.hexadecimal),
        ("digits only", ours.digits_only, theirs.digits_only),
    ):
        if abs(here - there) >= FAR:
            one, other = ("our", "their") if here > there else ("their", "our")
            return f"id formats differ: {one} ids are {what}, {other} ids are not"
    if not any(ours.lengths) or not any(theirs.lengths):
        return None
    # Whatever exists has a share of at least 1/20, so no common bucket means that no two ids are equally long.
    if not any(here and there for here, there in zip(ours.lengths, theirs.lengths, strict=True)):
        return (
            "id formats differ: our ids and theirs never have the same length "
            f"(ours mostly {_commonest(ours)} characters, theirs {_commonest(theirs)})"
        )
    return None


def _commonest(shape: IdShape) -> str:
    place = max(range(len(shape.lengths)), key=lambda i: shape.lengths[i])
    low = LENGTH_ENDS[place - 1] + 1 if place else 1
    if place == len(LENGTH_ENDS):
        return f"{low} or more"
    return str(low) if low == LENGTH_ENDS[place] else f"{low} to {LENGTH_ENDS[place]}"
