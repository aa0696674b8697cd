"""What a node tells about itself before a job: its datasets as outsiders may see them. Nothing of a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from wire.spec import Hex32

# What a column of ids looks like: shares of kinds of characters and of lengths (`length_LOW_HIGH`, HIGH 0: no end).
ShapeName = Annotated[str, Field(pattern=r"^(digits_only|with_at|hexadecimal|length_[0-9]{1,3}_[0-9]{1,3})$")]
Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
IdShape = Annotated[dict[ShapeName, Share], Field(max_length=32)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ColumnDescription(_Part):
    """One offered column."""

    name: str
    kind: Literal["numeric", "categorical"]


class DatasetDescription(_Part):
    """One offered dataset. `rows` is rounded to two digits; `id_shape` tells the ids' form, not their values."""

    name: str
    digest: Hex32
    rows: int
    id_column: str
    id_profile: Literal["plain", "phone"]
    id_shape: IdShape
    label_column: str | None
    columns: list[ColumnDescription]
    purposes: list[str]


_LIST = TypeAdapter(list[DatasetDescription])


def encode_datasets(datasets: list[DatasetDescription]) -> bytes:
    """JSON bytes for Description.datasets_json."""
    return _LIST.dump_json(datasets)


def decode_datasets(data: bytes) -> list[DatasetDescription]:
    """Parse a node's answer; ValueError when it is malformed."""
    return _LIST.validate_json(data)


_KINDS = (("with_at", "e-mail addresses"), ("hexadecimal", "hashed values"), ("digits_only", "digits only"))
_FAR = 0.75


def id_mismatch(party: str, ours: Mapping[str, float], peer: str, theirs: Mapping[str, float]) -> str | None:
    """Why ids of these shapes can never meet, or None. It names the parties and speaks of formats only."""
    for key, what in _KINDS:
        here, there = ours.get(key, 0.0), theirs.get(key, 0.0)
        if abs(here - there) >= _FAR:
            one, other = (party, peer) if here > there else (peer, party)
            return f"{one}'s ids are {what}, {other}'s ids are not"
    mine, other_lengths = _lengths(ours), _lengths(theirs)
    # Whatever exists has a share above 0, so no common bucket means that no two ids are equally long.
    if mine and other_lengths and not set(mine) & set(other_lengths):
        return (f"the ids of {party} and {peer} never have the same length "
                f"({_commonest(mine)} characters at {party}, {_commonest(other_lengths)} at {peer})")
    return None


def _lengths(shape: Mapping[str, float]) -> dict[str, float]:
    return {key: share for key, share in shape.items() if key.startswith("length_") and share > 0}


def _commonest(lengths: Mapping[str, float]) -> str:
    _, low, high = max(lengths, key=lambda key: lengths[key]).split("_")
    if high == "0":
        return f"mostly {low} or more"
    return f"mostly {low}" if low == high else f"mostly {low} to {high}"
