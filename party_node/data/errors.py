"""What can be wrong with a private table, as a value. Knows names, counts and row numbers; never a cell."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from mpc.errors import LocalError


class DataError(LocalError):
    """Our own table, label or ids cannot be used. `code` is stable, `what` and `advice` are for the operator.

    Texts name columns, row numbers and counts. They never hold the content of a cell, an id or a label.
    """

    def __init__(self, code: str, what: str, advice: str) -> None:
        super().__init__(what, advice)
        self.code = code


def column_missing(column: str, names: Iterable[str]) -> DataError:
    """The error for a column that the table lacks, with the nearest name that it has."""
    known = list(names)
    folded = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(column.casefold(), folded, n=1, cutoff=0.6)
    if near:
        advice = f"did you mean `{folded[near[0]]}`?"
    else:
        shown = ", ".join(f"`{name}`" for name in known[:12]) + (", ..." if len(known) > 12 else "")
        advice = f"The table has {shown}."
    return DataError("column_missing", f"the table has no column `{column}`", advice)
