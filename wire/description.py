"""What a node tells about itself before a job: its datasets as outsiders may see them. Nothing of a row."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

from wire.spec import Hex32


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
    id_shape: dict[str, float]
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


def id_mismatch(ours: dict[str, float], theirs: dict[str, float]) -> str | None:
    """Why ids of these shapes can never meet, or None. Shares: kinds of characters, and `length_LOW_HIGH`."""
    for key, what in _KINDS:
        here, there = ours.get(key, 0.0), theirs.get(key, 0.0)
        if abs(here - there) >= _FAR:
            first, second = ("the former", "the latter") if here > there else ("the latter", "the former")
            return f"{first} are {what}, {second} are not"
    lengths = sorted(key for key in ours if key.startswith("length_"))
    exist = any(ours[k] for k in lengths) and any(theirs.get(k, 0.0) for k in lengths)
    if exist and not any(ours[k] and theirs.get(k, 0.0) for k in lengths):
        return "they never have the same length"
    return None
