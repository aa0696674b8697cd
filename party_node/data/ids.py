"""Identifiers: normalised, deduplicated and accounted for, row by row. Never printed, never in an error text.

Every row of the table ends in exactly one count: read = matched + unmatched + duplicate + blank + refused.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mpc.id_column import IdColumn
from party_node.data.errors import DataError

BLANK_TOKENS = ("", "nan", "null", "none", "n/a", "#n/a")
LONGEST_ID_BYTES = 256
PHONE_DIGITS = (6, 15)  # [E.164] section 6: at most 15 digits with the country code
# Signs that no reader sees and that copying out of a spreadsheet or a web page leaves behind.
_INVISIBLE = dict.fromkeys((0x00AD, 0x200B, 0x200C, 0x200D, 0x200E, 0x200F, 0x2060, 0xFEFF))


class IdProfile(StrEnum):
    """How identifiers are normalised; all parties of a job use the same one."""

    PLAIN = "plain"
    PHONE = "phone"


class DuplicatePolicy(StrEnum):
    """What repeated identifiers mean: a table that is refused, or the first usable row of each counts."""

    REFUSE = "refuse"
    FIRST = "first"


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
    """Unique normalised ids (UTF-8), in the order of the table; `rows[i]` is the table row (from 0) of `ids[i]`.

    Before alignment every usable row counts as unmatched.
    """

    ids: IdColumn
    rows: NDArray[np.int64]
    counts: IdCounts

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"IdSet({len(self.ids)} ids)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("identifiers are private and are never pickled")

    def aligned(self, matched: int) -> IdCounts:
        """The counts once `matched` of the ids were found at all parties."""
        if not 0 <= matched <= len(self.ids):
            raise ValueError("more ids matched than there are")
        return replace(self.counts, matched=matched, unmatched=len(self.ids) - matched)


def collect_ids(
    cells: pa.ChunkedArray,
    profile: IdProfile,
    duplicates: DuplicatePolicy,
    refused: NDArray[np.bool_] | None = None,
) -> IdSet:
    """Unique ids of a text column (`Table.ids`).

    `refused` marks rows that are not to take part (a missing label, say). A blank row counts as blank even if it
    is marked; ids that cannot be identifiers (too long, a phone of 3 digits) count as refused; of the others the
    first row of each id stays and the rest are duplicates. Raises DataError: no_ids, duplicate_ids.
    """
    normal = normalise(cells, profile)
    read = len(normal)
    blank = _mask(pc.is_null(normal))
    unusable = _mask(pc.fill_null(pc.invert(_plausible(normal, profile)), False))
    if refused is not None:
        if refused.shape != (read,):
            raise ValueError("one mark per row")
        unusable |= refused
    unusable &= ~blank
    usable = np.flatnonzero(~blank & ~unusable)
    taken = normal if len(usable) == read else normal.take(pa.array(usable, pa.int64()))
    coded = pa.concat_arrays(taken.chunks).dictionary_encode()
    # Dictionary codes are numbered by first appearance, so a code above all before it stands in its first row.
    first = np.flatnonzero(np.diff(np.maximum.accumulate(coded.indices.to_numpy()), prepend=-1))
    repeated = len(usable) - len(first)
    if repeated and duplicates is DuplicatePolicy.REFUSE:
        raise DataError(
            "duplicate_ids",
            f"{repeated} rows repeat the id of an earlier row",
            "Clean the table, or let the dataset's duplicates be 'first'.",
        )
    if not len(first):
        raise DataError("no_ids", "no row has a usable id", "Check the id column and the id profile.")
    counts = IdCounts(read, 0, len(first), repeated, int(blank.sum()), int(unusable.sum()))
    return IdSet(_column(coded.dictionary), usable[first].astype(np.int64), counts)


def normalise(cells: pa.ChunkedArray, profile: IdProfile) -> pa.ChunkedArray:
    """Normalised ids as text, null where blank. Normalising twice changes nothing.

    PLAIN: invisible signs out, NFKC, case-folded, trimmed. PHONE: NFKC, then digits alone, leading `00` gone (a
    leading `+` is no digit), so that +47.., 0047.. and 47.. are one number.
    """
    text = pc.cast(cells, pa.string())
    if profile is IdProfile.PHONE:
        digits = pc.replace_substring_regex(pc.utf8_normalize(text, form="NFKC"), r"[^0-9]", "")
        text = pc.replace_substring_regex(digits, r"^(00)+", "")
    else:
        text = pc.utf8_trim_whitespace(_folded(text))
    blank = pc.fill_null(pc.is_in(text, value_set=pa.array(BLANK_TOKENS)), True)
    return _chunked(pc.if_else(blank, pa.scalar(None, pa.string()), text))


def _column(texts: pa.StringArray) -> IdColumn:
    """The bytes of texts without a null, where Arrow holds them."""
    _, offsets, data = texts.buffers()
    places = np.frombuffer(offsets, np.int32)[texts.offset:texts.offset + len(texts) + 1]
    return IdColumn(np.frombuffer(data, np.uint8), places.astype(np.int64))


def _folded(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """Case-folded NFKC. Arrow has no case folding, so the rows that are not plain ASCII go through Python."""
    text = pa.concat_arrays(text.chunks)
    special = pc.fill_null(pc.invert(pc.string_is_ascii(text)), False)
    lowered = pc.utf8_lower(text)
    if not pc.any(special).as_py():
        return _chunked(lowered)
    folded = [_fold(value) for value in text.filter(special).to_pylist()]
    return _chunked(pc.replace_with_mask(lowered, special, pa.array(folded, pa.string())))


def _fold(value: str) -> str:
    """Compatibility caseless form. Source: the Unicode Standard, section 3.13, definition D146."""
    value = unicodedata.normalize("NFD", value.translate(_INVISIBLE)).casefold()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", value).casefold())


def _plausible(normal: pa.ChunkedArray, profile: IdProfile) -> pa.ChunkedArray:
    length = pc.binary_length(normal)
    if profile is IdProfile.PHONE:
        return pc.and_(pc.greater_equal(length, PHONE_DIGITS[0]), pc.less_equal(length, PHONE_DIGITS[1]))
    return pc.less_equal(length, LONGEST_ID_BYTES)


def _chunked(values: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    return values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([values])


def _mask(flags: pa.ChunkedArray) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = np.array(flags.to_numpy(), dtype=np.bool_)
    return mask
