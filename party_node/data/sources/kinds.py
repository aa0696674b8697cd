"""Kinds of columns. Knows no table, so that terms can be read without the libraries that tables need."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """How a column is understood."""

    NUMERIC = "numeric"
    TEXT = "text"
