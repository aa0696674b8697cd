"""What a node tells about itself before a job: its datasets as outsiders may see them. Nothing of a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from wire.spec.job import MAX_ID_PARTS, Hex32, IdColumns, IdProfiles, IdSchemeName
from wire.spec.label import MAX_LABEL_VALUES, LabelValue

# What a column of ids looks like: shares of kinds of characters and of lengths (`length_LOW_HIGH`, HIGH 0: no end).
ShapeName = Annotated[str, Field(
    pattern=r"^(digits_only|with_at|with_sign|leading_zero|hexadecimal|length_[0-9]{1,3}_[0-9]{1,3})$"
)]
Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
IdShape = Annotated[dict[ShapeName, Share], Field(max_length=32)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ColumnDescription(_Part):
    """One offered column."""

    name: str
    kind: Literal["numeric", "categorical"]


class DatasetDescription(_Part):
    """One offered dataset. `rows` is rounded to two digits; `id_shapes` tell the form of each column of the id after
    normalisation, not its values."""

    name: str
    digest: Hex32
    rows: int
    id_columns: IdColumns
    id_profiles: IdProfiles
    id_scheme: IdSchemeName
    id_shapes: Annotated[list[IdShape], Field(max_length=MAX_ID_PARTS)]
    label_column: str | None
    label_positive: Annotated[list[LabelValue], Field(max_length=MAX_LABEL_VALUES)] = []   # of which a job names one
    period_column: str | None = None
    columns: list[ColumnDescription]
    purposes: list[str]


_LIST = TypeAdapter(list[DatasetDescription])


def encode_datasets(datasets: list[DatasetDescription]) -> bytes:
    """JSON bytes for Description.datasets_json."""
    return _LIST.dump_json(datasets)


def decode_datasets(data: bytes) -> list[DatasetDescription]:
    """Parse a node's answer; ValueError when it is malformed."""
    return _LIST.validate_json(data)


@dataclass(frozen=True)
class Mismatch:
    """Why the ids of two parties can never meet, and how to mend it; it speaks of formats only."""

    what: str
    advice: str


def ids_mismatch(party: str, ours: DatasetDescription, peer: str, theirs: DatasetDescription) -> Mismatch | None:
    """Why the ids of two datasets can never meet, or None."""
    if ours.id_profiles != theirs.id_profiles:
        mine, other = (", ".join(one.id_profiles) for one in (ours, theirs))
        return Mismatch(f"{party} matches ids as {mine}, {peer} as {other}",
                        "set the same id_profile in both dataset files")
    for name, one in ((party, ours), (peer, theirs)):
        if one.id_scheme == "sha256" and not _digests(one.id_shapes):
            return Mismatch(f"{name} says that its ids are SHA-256 digests, and they are not 64 hexadecimal digits",
                            f'on {name}: take id_scheme = "sha256" out of the dataset file')
    if ours.id_scheme == theirs.id_scheme:
        parts = zip(ours.id_shapes, theirs.id_shapes, strict=False)
        found = (shape_mismatch(party, one, peer, two) for one, two in parts)
        return next((mismatch for mismatch in found if mismatch), None)
    written, hashed, shapes = (peer, party, theirs.id_shapes) if ours.id_scheme == "sha256" else (
        party, peer, ours.id_shapes)
    if _digests(shapes):
        return Mismatch(f"{written}'s ids are digests already, and would be hashed again to match those of {hashed}",
                        f'on {written}: say so in the dataset file, id_scheme = "sha256"')
    return None


def _digests(shapes: list[IdShape]) -> bool:
    return len(shapes) == 1 and min(shapes[0].get("length_64_64", 0.0), shapes[0].get("hexadecimal", 0.0)) >= _FAR


_REGISTER = "agree on one id column and profile, and register the dataset again"
_KINDS = (
    ("with_at", "e-mail addresses", _REGISTER),
    ("hexadecimal", "hashed values",
     'if they are SHA-256 digests of ids, say so in the dataset file: id_scheme = "sha256"'),
    ("with_sign", "written with signs in between",
     'set id_profile = "national_id" on both sides, which drops them, or "phone" for telephone numbers'),
    ("digits_only", "digits only", _REGISTER),
    ("leading_zero", "written with a leading zero",
     "a spreadsheet may have taken zeros away on one side: export that column as text, and register it again"),
)
_FAR = 0.75


def shape_mismatch(party: str, ours: Mapping[str, float], peer: str, theirs: Mapping[str, float]) -> Mismatch | None:
    """Why ids of these shapes can never meet, or None."""
    mine, other_lengths = _lengths(ours), _lengths(theirs)
    if not mine or not other_lengths:   # nothing told, or no ids
        return None
    for key, what, advice in _KINDS:
        here, there = ours.get(key, 0.0), theirs.get(key, 0.0)
        if abs(here - there) >= _FAR:
            one, other = (party, peer) if here > there else (peer, party)
            return Mismatch(f"{one}'s ids are {what}, {other}'s ids are not", advice)
    # Whatever exists has a share above 0, so no common bucket means that no two ids are equally long.
    if not set(mine) & set(other_lengths):
        return Mismatch(f"the ids of {party} and {peer} never have the same length "
                        f"({_commonest(mine)} characters at {party}, {_commonest(other_lengths)} at {peer})", _REGISTER)
    return None


def _lengths(shape: Mapping[str, float]) -> dict[str, float]:
    return {key: share for key, share in shape.items() if key.startswith("length_") and share > 0}


def _commonest(lengths: Mapping[str, float]) -> str:
    _, low, high = max(lengths, key=lambda key: lengths[key]).split("_")
    if high == "0":
        return f"mostly {low} or more"
    return f"mostly {low}" if low == high else f"mostly {low} to {high}"
