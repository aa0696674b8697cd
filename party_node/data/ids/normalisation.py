"""How one column of identifiers is spelled out alike everywhere: four profiles. Never printed, never in an error text.

A profile works on whole columns: ASCII cells, which are nearly all, go through Arrow, the others one by one through
Python, and a cell comes out the same whatever stands beside it. Normalising twice changes nothing.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from party_node.data.sources.files import repaired

BLANK_TOKENS = ("", "nan", "null", "none", "n/a", "#n/a")
LONGEST_ID_BYTES = 256
PHONE_DIGITS = (6, 15)          # [E.164] section 6: at most 15 digits with the country code
NATIONAL_ID_SIGNS = (4, 32)
LONGEST_EMAIL_BYTES = 254       # [RFC 5321] section 4.5.3.1.3: a path of 256 with its brackets
_ASCII_SPACE = "\t\n\v\f\r\x1c\x1d\x1e\x1f "   # what str.strip takes for space below 128
_LONGEST_BLANK = max(map(len, BLANK_TOKENS))
# Signs that no reader sees and that copying out of a spreadsheet or a web page leaves behind.
_INVISIBLE = dict.fromkeys((0x00AD, 0x200B, 0x200C, 0x200D, 0x200E, 0x200F, 0x2060, 0xFEFF))


class IdProfile(StrEnum):
    """How identifiers are normalised; all parties of a job use the same one for the same part of an id."""

    PLAIN = "plain"
    PHONE = "phone"
    NATIONAL_ID = "national_id"
    EMAIL = "email"


@dataclass(frozen=True)
class _Rule:
    """What a profile does after folding: to a cell that is not ASCII, then to all at once."""

    odd: Callable[[str], str]
    all: Callable[[pa.StringArray], pa.StringArray]
    plausible: Callable[[pa.StringArray], NDArray[np.bool_]]


def normalise(cells: pa.StringArray, profile: IdProfile) -> tuple[pa.StringArray, int]:
    """Normalised texts, "" where blank, and how many cells had bytes that are no UTF-8 (read as Windows-1252).

    Everywhere: invisible signs out, NFKC, case-folded, space around it off, `7.0` is `7`; tokens such as `n/a` are
    blank. PHONE: digits alone, a leading `00` gone (a leading `+` is no digit), so that +47.., 0047.. and 47.. are one
    number. NATIONAL_ID: letters and digits alone. EMAIL: nothing further; dots and tags in it are part of the name.
    """
    rule = _RULES[profile]
    text, broken = _folded(pc.fill_null(cells, ""), rule.odd)
    return _without_blanks(rule.all(_without_blanks(text))), broken   # n-an is nan without its sign


def plausible(texts: pa.StringArray, profile: IdProfile) -> NDArray[np.bool_]:
    """For each normalised text that is not blank, whether it can be an identifier of this kind."""
    return _RULES[profile].plausible(texts)


def buffers(texts: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Bytes and (n + 1,) offsets of an array of texts or binaries without nulls, where Arrow holds them."""
    _, places, data = texts.buffers()
    offsets = np.frombuffer(places, np.int32)[texts.offset:texts.offset + len(texts) + 1] if len(texts) else (
        np.zeros(1, np.int32))
    return (np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)), offsets


def flags(mask: pa.Array) -> NDArray[np.bool_]:
    """An Arrow mask without nulls as numpy's."""
    found: NDArray[np.bool_] = mask.to_numpy(zero_copy_only=False)
    return found


# ---------------------------------------------------------------- folding


def _folded(text: pa.StringArray, odd: Callable[[str], str]) -> tuple[pa.StringArray, int]:
    ascii_only = pc.string_is_ascii(text)
    plain = pc.ascii_trim(pc.ascii_lower(text), _ASCII_SPACE)
    broken = 0
    if not pc.all(ascii_only, min_count=0).as_py():
        special = pc.invert(ascii_only)
        raw = text.filter(special).cast(pa.binary()).to_pylist()
        cells = [repaired(value) for value in raw]
        broken = sum(count > 0 for _, count in cells)
        plain = pc.replace_with_mask(plain, special, pa.array([odd(_fold(cell)) for cell, _ in cells], pa.string()))
    decimal = flags(pc.match_substring(plain, ".0"))
    if decimal.any():  # a data frame writes whole numbers so, once one of the column is missing
        marks = pa.array(decimal)
        plain = pc.replace_with_mask(
            plain, marks, pc.replace_substring_regex(plain.filter(marks), r"^([0-9]+)\.0+$", r"\1"))
    return plain, broken


def _fold(value: str) -> str:
    """Compatibility caseless form, trimmed. Source: the Unicode Standard, section 3.13, definition D146."""
    value = unicodedata.normalize("NFD", value.translate(_INVISIBLE)).casefold()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", value).casefold()).strip()


def _without_blanks(text: pa.StringArray) -> pa.StringArray:
    """Texts of BLANK_TOKENS become empty."""
    _, offsets = buffers(text)
    short = np.diff(offsets) <= _LONGEST_BLANK
    if not short.any():
        return text
    blank = pc.is_in(text, value_set=pa.array(BLANK_TOKENS))
    return pc.if_else(blank, "", text)


# ---------------------------------------------------------------- what each profile adds


def _only(kept: str, beyond_ascii: bool) -> Callable[[pa.StringArray], pa.StringArray]:
    """Drops every byte that is not in `kept`; those above 127 stay where `beyond_ascii` says so."""
    table = (np.arange(256) > 127) & beyond_ascii
    table[list(kept.encode())] = True

    def filtered(text: pa.StringArray) -> pa.StringArray:
        data, offsets = buffers(text)
        data = data[offsets[0]:offsets[-1]]
        keep = table[data]
        if keep.all():
            return text
        places = np.zeros(len(data) + 1, np.int32)
        np.cumsum(keep, out=places[1:])
        moved = np.ascontiguousarray(places[offsets - offsets[0]])
        return pa.StringArray.from_buffers(len(text), pa.py_buffer(moved), pa.py_buffer(data[keep]))

    return filtered


def _digits_of_any_script(value: str) -> str:
    """Decimal digits as 0..9."""
    return "".join(str(unicodedata.decimal(sign)) if sign.isdecimal() else sign for sign in value)


def _without_odd_signs(value: str) -> str:
    """Beyond ASCII letters and digits alone; the others are dropped with those of ASCII cells."""
    return "".join(sign for sign in value if sign.isascii() or sign.isalnum())


def _phone(text: pa.StringArray) -> pa.StringArray:
    digits = _only("0123456789", beyond_ascii=False)(text)
    abroad = pc.starts_with(digits, "00")
    if not flags(abroad).any():
        return digits
    return pc.replace_with_mask(digits, abroad, pc.replace_substring_regex(digits.filter(abroad), r"^(00)+", ""))


def _lengths_within(low: int, high: int) -> Callable[[pa.StringArray], NDArray[np.bool_]]:
    def check(texts: pa.StringArray) -> NDArray[np.bool_]:
        lengths = np.diff(buffers(texts)[1])
        return np.asarray((lengths >= low) & (lengths <= high))

    return check


def _address(texts: pa.StringArray) -> NDArray[np.bool_]:
    form = flags(pc.match_substring_regex(texts, r"^[^@\s]+@[^@\s]+\.[^@\s.]+$"))
    return form & _lengths_within(1, LONGEST_EMAIL_BYTES)(texts)


_SIGNS = "0123456789abcdefghijklmnopqrstuvwxyz"
_RULES = {
    IdProfile.PLAIN: _Rule(str, lambda text: text, _lengths_within(1, LONGEST_ID_BYTES)),
    IdProfile.PHONE: _Rule(_digits_of_any_script, _phone, _lengths_within(*PHONE_DIGITS)),
    IdProfile.NATIONAL_ID: _Rule(
        _without_odd_signs, _only(_SIGNS, beyond_ascii=True), _lengths_within(*NATIONAL_ID_SIGNS)),
    IdProfile.EMAIL: _Rule(str, lambda text: text, _address),
}
