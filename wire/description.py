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
