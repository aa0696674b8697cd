"""Identifiers: read in batches, normalised, deduplicated and accounted for, row by row. Never printed, never in an
error text.

Every row of the table ends in exactly one count: read = matched + unmatched + duplicate + blank + refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mpc.group.id_column import IdColumn
from party_node.data.ids.normalisation import IdProfile, buffers, flags, normalise, plausible
from party_node.data.sources.files import batches
from party_node.data.sources.table import as_text
from party_node.table_errors import DataError

I64 = NDArray[np.int64]
MOST_PARTS = 8           # of a composite id
_DIGEST = r"^[0-9a-f]{64}$"


class IdScheme(StrEnum):
    """What stands for an id: its normalised text, or the hexadecimal SHA-256 of that, in small letters."""

    WRITTEN = "written"
    SHA256 = "sha256"


class DuplicatePolicy(StrEnum):
    """What repeated identifiers mean: a table that is refused; the first usable row of each counts; all of them do."""

    REFUSE = "refuse"
    FIRST = "first"
    KEEP_ALL = "keep_all"


@dataclass(frozen=True)
class IdRules:
    """How the cells of a row become its id: a profile for each part; what the table `holds`, what `enters` a job."""

    profiles: tuple[IdProfile, ...] = (IdProfile.PLAIN,)
    holds: IdScheme = IdScheme.WRITTEN
    enters: IdScheme = IdScheme.WRITTEN

    def __post_init__(self) -> None:
        unhashed = (self.holds, self.enters) == (IdScheme.SHA256, IdScheme.WRITTEN)
        if not 1 <= len(self.profiles) <= MOST_PARTS or unhashed:
            raise ValueError("an id has 1 to 8 parts, and one that is hashed stays so")

    @property
    def columns(self) -> int:
        """How many columns of the table an id takes: one where it holds digests, whatever they were made of."""
        return 1 if self.holds is IdScheme.SHA256 else len(self.profiles)


@dataclass(frozen=True)
class IdCounts:
    """Where every row went. `read` is the sum of the others, by construction and checked."""

    read: int
    matched: int
    unmatched: int
    duplicate: int
    blank: int
    refused: int

    def __post_init__(self) -> None:
        parts = (self.matched, self.unmatched, self.duplicate, self.blank, self.refused)
        if min(parts) < 0 or self.read != sum(parts):
            raise ValueError("row counts do not add up")

    def to_json(self) -> dict[str, int]:
        """The six counts by name."""
        return {
            "read": self.read,
            "matched": self.matched,
            "unmatched": self.unmatched,
            "duplicate": self.duplicate,
            "blank": self.blank,
            "refused": self.refused,
        }


@dataclass(frozen=True, repr=False)
class IdSet:
    """Unique ids as bytes, in the order of the table; `rows[i]` is the first table row (from 0) of `ids[i]`.

    Before alignment every usable row counts as unmatched. `mixed`: cells that held bytes of two encodings. `further`:
    where all rows are kept, the rows after the first, and the place in `ids` of each.
    """

    ids: IdColumn
    rows: I64
    counts: IdCounts
    mixed: int
    further: tuple[I64, I64]

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"IdSet({len(self.ids)} ids)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("identifiers are private and are never pickled")

    def aligned(self, matched: int) -> IdCounts:
        """The counts once the ids of `matched` rows were found at all parties."""
        if not 0 <= matched <= self.counts.unmatched:
            raise ValueError("more rows matched than there are")
        return replace(self.counts, matched=matched, unmatched=self.counts.unmatched - matched)

    @property
    def copies(self) -> I64:
        """How many rows each id has."""
        return 1 + np.bincount(self.further[1], minlength=len(self.ids)).astype(np.int64)

    def all_rows(self, places: I64) -> I64:
        """The rows of the ids at `places`, id after id, each id's own in the order of the table."""
        order = np.empty(len(self.ids), np.int64)
        order.fill(len(places))
        order[places] = np.arange(len(places))
        rows = np.concatenate([self.rows[places], self.further[0]])
        ranks = np.concatenate([np.arange(len(places)), order[self.further[1]]])
        by_id = np.argsort(ranks, kind="stable")
        kept: I64 = rows[by_id][ranks[by_id] < len(places)]
        return kept


def read_ids(
    path: Path,
    columns: Sequence[str],
    rules: IdRules,
    duplicates: DuplicatePolicy,
    refused: NDArray[np.bool_] | None = None,
) -> IdSet:
    """The unique ids of a CSV or Parquet file. Raises DataError as `IdCollector.finish` and `source.batches` do."""
    found = IdCollector(rules)
    for cells in id_batches(path, columns):
        found.add(cells)
    return found.finish(duplicates, refused)


def id_batches(path: Path, columns: Sequence[str]) -> Iterator[list[pa.StringArray]]:
    """The cells of the id's columns as text, batch by batch. Raises DataError."""
    for cells in batches(path, columns):
        yield [as_text(name, column) for name, column in zip(columns, cells, strict=True)]


class IdCollector:
    """Gathers the ids of a table batch by batch; holds their bytes and little else."""

    def __init__(self, rules: IdRules) -> None:
        self._rules = rules
        self._parts: list[IdColumn] = []
        self._blank: list[NDArray[np.bool_]] = []
        self._sound: list[NDArray[np.bool_]] = []
        self._mixed = 0

    def add(self, cells: Sequence[pa.StringArray]) -> list[pa.StringArray]:
        """Take the next rows, one array for each column of the id. Returns their normalised texts, "" where blank."""
        assert len(cells) == self._rules.columns
        texts = []
        for column, profile in zip(cells, self._profiles(), strict=True):
            text, mixed = normalise(column, profile)
            self._mixed += mixed
            texts.append(text)
        blank, sound = np.zeros(len(cells[0]), np.bool_), np.ones(len(cells[0]), np.bool_)
        for text, profile in zip(texts, self._profiles(), strict=True):
            blank |= np.diff(buffers(text)[1]) == 0
            sound &= plausible(text, profile)
        if self._rules.holds is IdScheme.SHA256:
            sound &= flags(pc.match_substring_regex(texts[0], _DIGEST))
        self._parts.append(_keys(texts, self._rules))
        self._blank.append(blank)
        self._sound.append(sound)
        return texts

    def _profiles(self) -> tuple[IdProfile, ...]:
        return (IdProfile.PLAIN,) if self._rules.holds is IdScheme.SHA256 else self._rules.profiles

    def finish(self, duplicates: DuplicatePolicy, refused: NDArray[np.bool_] | None = None) -> IdSet:
        """The ids of all rows.

        `refused` marks rows that are not to take part (a missing label, say). A row without a part of its id counts
        as blank even if it is marked; ids that cannot be identifiers (too long, a phone of 3 digits) count as
        refused; of the others the first row of each id stays and the rest are duplicates. Raises DataError: no_ids,
        duplicate_ids.
        """
        ids, blank, sound = IdColumn.join(self._parts), _joined(self._blank), _joined(self._sound)
        self._parts.clear()
        read = len(ids)
        if not read:
            raise DataError("empty_table", "the table has no rows", "Give at least one row.")
        if refused is not None:
            if refused.shape != (read,):
                raise ValueError("one mark per row")
            sound &= ~refused
        usable = ~blank & sound
        rows = np.arange(read) if usable.all() else np.flatnonzero(usable)
        ids = ids if len(rows) == read else ids.take(rows)
        first = ids.firsts()
        alone = first == np.arange(len(ids))
        repeated = len(ids) - int(alone.sum())
        if repeated and duplicates is DuplicatePolicy.REFUSE:
            raise DataError(
                "duplicate_ids",
                f"{repeated} rows repeat the id of an earlier row",
                "Clean the table, or let this party's duplicates be 'first' in the job.",
            )
        if not len(rows):
            raise DataError("no_ids", "no row has a usable id", "Check the id column and the id profile.")
        further = np.zeros(0, np.int64), np.zeros(0, np.int64)
        if repeated and duplicates is DuplicatePolicy.KEEP_ALL:
            further = rows[~alone], (np.cumsum(alone) - 1)[first[~alone]]
            repeated = 0
        if not alone.all():
            ids, rows = ids.take(np.flatnonzero(alone)), rows[alone]
        usable_rows = len(rows) + len(further[0])
        counts = IdCounts(read, 0, usable_rows, repeated, int(blank.sum()), int(np.sum(~blank & ~sound)))
        return IdSet(ids, rows, counts, self._mixed, further)


def _joined(parts: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    return np.concatenate(parts) if parts else np.zeros(0, np.bool_)


def _keys(texts: Sequence[pa.StringArray], rules: IdRules) -> IdColumn:
    """One string of bytes for each row: its one text, or its parts with their lengths, or the SHA-256 of these."""
    ids = _column(texts[0]) if len(texts) == 1 else _composite(texts)
    if rules.enters is not rules.holds:
        return IdColumn.of([hashlib.sha256(one).hexdigest().encode() for one in ids])
    return ids


def _composite(texts: Sequence[pa.StringArray]) -> IdColumn:
    """Each part behind its length in bytes, 2 bytes big-endian, so that ("a,b", "c") and ("a", "b,c") stay two ids."""
    pieces = []
    for text in texts:
        lengths = np.minimum(np.diff(buffers(text)[1]), 0xFFFF).astype(">u2")   # longer parts are refused
        prefixes = pa.Array.from_buffers(pa.binary(2), len(text), [None, pa.py_buffer(lengths)])
        pieces += [prefixes.cast(pa.binary()), text.cast(pa.binary())]
    return _column(pc.binary_join_element_wise(*pieces, b""))


def _column(values: pa.Array) -> IdColumn:
    data, offsets = buffers(values)
    return IdColumn(data, offsets.astype(np.int64))
