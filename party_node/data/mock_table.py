"""A made-up table of a registered dataset's schema, for a partner to prepare and rehearse with.

It knows what outsiders may see of the dataset (names and kinds of the allowed columns, how ids are made) and nothing
else: no cell, range, level or rate of the real table is read. Everything is drawn from the seed and the names. Mock
tables of several parties made with one seed share most of their mock people, so that a job over them aligns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as arrow_parquet

from mpc.errors import LocalError
from party_node.data.ids.normalisation import IdProfile, normalise
from party_node.data.label import same_value

MOST_ROWS = 10_000_000
MEMBER_RATE = 0.8           # of the mock people that a party's table holds
MISSING_RATE, BAD_RATE = 0.05, 0.2
GOOD = "0", "good", "none of these"   # values of a label, of which the first that does not mean bad stands for good
LEVELS = ("level a", "level b", "level c", "level d")
_SPELLED = {
    IdProfile.PLAIN: "MOCK-{:09d}",
    IdProfile.PHONE: "+999{:09d}",          # a country code that is assigned to nobody
    IdProfile.NATIONAL_ID: "MOCK{:09d}",
    IdProfile.EMAIL: "mock{:09d}@example.com",
}


@dataclass(frozen=True)
class MockSchema:
    """What outsiders may see of a dataset. `numeric`: of each allowed column, whether it holds numbers; `label` and
    `period` are None where there is none, or none for outsiders; `positive`: values of the label that mean bad."""

    dataset: str
    id_columns: Sequence[str]
    id_profiles: Sequence[IdProfile]
    id_scheme: str
    label: str | None
    positive: Sequence[str]
    period: str | None
    numeric: Mapping[str, bool]


def mock_table(schema: MockSchema, rows: int, seed: int = 1) -> pa.Table:
    """A table with the schema's id, label, period and columns."""
    if not 1 <= rows <= MOST_ROWS:
        raise LocalError(f"a mock table has 1 to {MOST_ROWS:,} rows")
    people = _people(schema.dataset, rows, seed)
    columns: dict[str, pa.Array] = dict(zip(schema.id_columns, _ids(schema, people), strict=True))
    if schema.label is not None:
        columns[schema.label] = _label(schema.positive, rows, _rng(seed, schema.dataset, schema.label))
    if schema.period is not None:
        months = _rng(seed, schema.dataset, schema.period).integers(1, 13, rows)
        columns[schema.period] = pa.array([f"2024-{month:02d}" for month in months])
    for name, numeric in schema.numeric.items():
        columns[name] = _column(numeric, rows, _rng(seed, schema.dataset, name))
    return pa.table(columns)


def write_mock(table: pa.Table, path: Path) -> None:
    """Write it as CSV, or as Parquet where the name says so. LocalError: the file is there, or cannot be written."""
    if path.exists():
        raise LocalError(f"{path} is there already", "Give another name; nothing was written.")
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            arrow_parquet.write_table(table, path)
        else:
            arrow_csv.write_csv(table, path)
    except OSError:
        raise LocalError(f"{path} cannot be written", "Check the directory.") from None


def _rng(seed: int, *labels: str) -> np.random.Generator:
    digest = hashlib.sha256("\0".join([str(seed), *labels]).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def _people(dataset: str, rows: int, seed: int) -> list[int]:
    """Numbers of the mock people of this table, out of a population that all parties' mocks share."""
    rng = _rng(seed, dataset, "people")
    found: list[int] = rng.permutation(round(rows / MEMBER_RATE))[:rows].tolist()
    return found


def _ids(schema: MockSchema, people: Sequence[int]) -> list[pa.Array]:
    """The id's columns; digests of the normalised ids where the dataset holds digests."""
    parts = [pa.array([_SPELLED[profile].format(person) for person in people]) for profile in schema.id_profiles]
    if schema.id_scheme == "written":
        return parts
    texts = [normalise(part, profile)[0].to_pylist() for part, profile in zip(parts, schema.id_profiles, strict=True)]
    rows = zip(*([text.encode() for text in part] for part in texts), strict=True)
    # docs/protocols/align.md: of several parts each stands behind its length
    whole = [
        row[0] if len(row) == 1 else b"".join(len(part).to_bytes(2, "big") + part for part in row) for row in rows
    ]
    return [pa.array([hashlib.sha256(one).hexdigest() for one in whole])]


def _label(positive: Sequence[str], rows: int, rng: np.random.Generator) -> pa.Array:
    """Bad customers have one of the declared values, all others a value that is none of them."""
    bad_ones = positive or ["1"]
    good = next(value for value in GOOD if not any(same_value(value, one) for one in bad_ones))
    values = [good, *bad_ones]
    bad = rng.random(rows) < BAD_RATE
    which = np.where(bad, rng.integers(1, len(values), rows), 0).astype(np.int32)
    texts = pa.DictionaryArray.from_arrays(pa.array(which), values).cast(pa.string())
    return texts.cast(pa.int64()) if all(value.isdecimal() for value in values) else texts


def _column(numeric: bool, rows: int, rng: np.random.Generator) -> pa.Array:
    absent = rng.random(rows) < MISSING_RATE
    if numeric:
        return pa.array(np.round(rng.normal(100.0, 15.0, rows), 2), mask=absent)
    codes = pa.array(rng.integers(0, len(LEVELS), rows).astype(np.int32), mask=absent)
    return pa.DictionaryArray.from_arrays(codes, list(LEVELS)).cast(pa.string())
