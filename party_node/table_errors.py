"""What can be wrong with a private table, as a value. Knows names, counts and row numbers; never a cell."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from mpc.errors import LocalError

_LABEL = "the label column does not serve the job: a value is missing, or there are too few of one outcome"
_PERIOD = "the column that says which rows judge does not serve the job: a value is missing or cannot be "\
          "read, or it goes with the outcome"
# One sentence for all that can be wrong with a label: which of them it is says something of every customer in common.
_WEIGHTS = ("the weights of rows do not serve the job: a value is missing, not above zero, too far from the others, or "
            "few rows weigh as much as all the rest")
_OFFSET = "the column of the offset does not serve the job: a value is missing or out of range"
_SOURCE = "the source of the table does not serve the node"
# What others read of an error, by its code. Its own text counts rows, numbers them, or names files, and stays here.
TOLD = {
    "duplicate_ids": "rows repeat the id of an earlier row",
    "no_ids": "no row has a usable id",
    "label_missing": _LABEL,
    "label_one_sided": _LABEL,
    "label_values": _LABEL,
    "few_outcomes": _LABEL,
    "few_columns": "fewer columns of the label holder enter the model than it demands",
    "period_missing": _PERIOD,
    "period_outcomes": _PERIOD,
    "period_values": _PERIOD,
    "weights_values": _WEIGHTS,
    "weights_uneven": _WEIGHTS,
    "offset_values": _OFFSET,
    "offset_range": _OFFSET,
    "ragged_row": "a row has another number of cells than the header",
    "not_numeric": "a column of numbers holds cells that are none",
    "column_missing": "the table lacks a column",
    "column_repeated": "two columns of the table have one name",
    "column_kind": "a column is of another kind than when the model was fitted",
    "unsupported_type": "a column holds neither numbers nor text",
    "too_few_rows": "too few rows are left to train on",
    "no_columns": "no column is left to train on",
    "table_changed": "the table changed since it was registered",
    "unreadable": "the table cannot be read",
    "empty_table": "the table has no rows",
    "damaged_preparation": "the kept preparation cannot be read",
    "engine_missing": "a library that the table needs is not installed",
    "source_rights": _SOURCE,
    "source_unreachable": _SOURCE,
    "source_password": _SOURCE,
    "source_lost": _SOURCE,
    "query_failed": _SOURCE,
    "snapshot": _SOURCE,
}
_DONE = {"table_changed": "party-node dataset register FILE, then launch a new job"}   # what helps, and names nothing


class DataError(LocalError):
    """Our own table, label or ids cannot be used. `code` is stable, `what` and `advice` are for the operator.

    Texts name files, columns, row numbers and counts. They never hold the content of a cell, an id or a label. Others
    read the sentence of the code, so a code without one is a bug: ValueError.
    """

    def __init__(self, code: str, what: str, advice: str) -> None:
        if code not in TOLD:
            raise ValueError(f"no sentence tells others of {code}")
        super().__init__(what, advice)
        self.code = code

    def for_others(self, party: str) -> tuple[str, str]:
        """(what, advice) as coordinator and peers may read them: no count, no row number, no name they did not give."""
        return TOLD[self.code], f"on {party}: {_DONE.get(self.code, 'party-node jobs tells more')}"


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


def other_kind(column: str, what: str) -> DataError:
    """The error for a column that is not what it was when the model was fitted."""
    return DataError(
        "column_kind",
        f"column `{column}` held {what} when the model was fitted and does not now",
        "Read the table with the kinds that the preparation keeps.",
    )


def engine_missing(package: str, extra: str) -> DataError:
    """The error where a source needs a package that is not installed."""
    return DataError("engine_missing", f"{package} is not installed",
                     f"run: pip install 'joint-credit-risk[{extra}]'")


def one_statement(query: str) -> str:
    """The query without a closing semicolon; ValueError where it is more than one statement."""
    query = query.strip().rstrip(";").rstrip()
    if not query or ";" in query:
        raise ValueError("the query is one statement, without a semicolon in it")
    return query
