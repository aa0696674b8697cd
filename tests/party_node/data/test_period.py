"""Periods: dates and numbers in their usual forms, a boundary of the same kind, and rows that cannot be placed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from party_node.data.period import as_date, read_period
from party_node.data.sources.kinds import Kind
from party_node.data.sources.table import Table, read_table
from party_node.table_errors import TOLD, DataError

ALL = np.arange


def table(folder: Path, cells: list[str]) -> Table:
    path = folder / "t.csv"
    path.write_text("id,when\n" + "".join(f"{k},{cell}\n" for k, cell in enumerate(cells)))
    return read_table(path, columns=["when"], kinds={"when": Kind.TEXT})


FORMS = {
    "days": (["2023-12-31", "2024-01-01", "2024-06-30", "2022-02-28"], "2024-01-01", [False, True, True, False]),
    "days, and a boundary of a month": (["2023-12-31", "2024-01-01", "2024-06-30"], "2024-01", [False, True, True]),
    "days, and a boundary of a year": (["2023-12-31", "2024-01-01"], "2024", [False, True]),
    "months": (["2023-12", "2024-01", "2024-02"], "2024-01", [False, True, True]),
    "months, and a day that begins one": (["2023-12", "2024-01"], "2024-01-01", [False, True]),
    "quarters": (["2023-Q4", "2024Q1", "2024-q2"], "2024-Q1", [False, True, True]),
    "quarters, and a boundary of a month": (["2023-Q4", "2024-Q1"], "2024-01", [False, True]),
    "years": (["2022", "2023", "2024"], "2023", [False, True, True]),
    "moments with and without a zone": (
        ["2024-01-01T00:30:00+01:00", "2024-01-01T00:30:00Z", "2024-01-01 00:00", "2023-12-31 23:59:59.5"],
        "2024-01-01", [False, True, True, False]),
    "numbers": (["202312", "202401", "202402.0"], "202401", [False, True, True]),
    "numbers below zero": (["-3", "-1.5", "2e3"], "-2", [False, True, True]),
}


@pytest.mark.parametrize("case", FORMS)
def test_rows_at_the_boundary_and_after_it_judge(case: str, tmp_path: Path) -> None:
    cells, since, expected = FORMS[case]
    found = read_period(table(tmp_path, cells), "when", since)
    assert found.later(ALL(len(cells)), 0.3).tolist() == expected


def test_typed_dates_and_numbers_of_a_parquet_file_serve(tmp_path: Path) -> None:
    days = np.array(["2023-12-31", "2024-01-01"], "datetime64[D]")
    pq.write_table(pa.table({"day": pa.array(days), "at": pa.array(days.astype("datetime64[ms]")),
                             "month": [202312.0, 202401.0]}), tmp_path / "t.parquet")
    for column, since in (("day", "2024-01-01"), ("at", "2024-01"), ("month", "202401")):
        read = read_table(tmp_path / "t.parquet", columns=[column], kinds={column: Kind.TEXT})
        assert read_period(read, column, since).later(ALL(2), 0.3).tolist() == [False, True]


def test_without_a_boundary_the_latest_share_judges_and_one_moment_splits_nothing(tmp_path: Path) -> None:
    found = read_period(table(tmp_path, ["2024-03", "2024-01", "2024-02", "2024-03"]), "when", None)
    assert found.later(ALL(4), 0.3).tolist() == [True, False, False, True]     # a month is not torn
    assert found.later(np.array([1, 2, 1]), 0.2).tolist() == [False, True, False]
    assert found.later(np.array([0, 3]), 0.3).tolist() == [False, False]


FAULTS = {
    "a missing value": (["2024-01", "", "2024-02"], "2024-01", "period_missing", "row 2"),
    "a cell that is no date": (["2024-01", "2024-02", "spring"], "2024-01", "period_values", "row 3"),
    "a thirteenth month": (["2024-01", "2024-13"], "2024-01", "period_values", "row 2"),
    "a thirtieth of February": (["2024-02-30", "2024-01-01"], "2024-01", "period_values", "row 1"),
    "dates, and a boundary that is a number": (["2024-01", "2024-02"], "7", "period_values", "row 1"),
    "numbers, and a boundary that is a date": (["7", "8"], "2024-01", "period_values", "another kind"),
    "a boundary that is neither": (["7", "8"], "spring", "period_values", "another kind"),
    "a month that the boundary divides": (["2024-01", "2024-02"], "2024-01-15", "period_values", "coarser"),
    "a year that the boundary divides": (["2023", "2024"], "2024-07", "period_values", "coarser"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_what_cannot_be_placed_is_named_by_row_and_never_quoted(case: str, tmp_path: Path) -> None:
    cells, since, code, words = FAULTS[case]
    with pytest.raises(DataError) as error:
        read_period(table(tmp_path, cells), "when", since)
    assert error.value.code == code
    assert words in str(error.value)
    assert "spring" not in str(error.value)
    what, _ = error.value.for_others("bank")
    assert what == TOLD[code]
    assert not any(digit in what for digit in "0123456789")


def test_a_date_is_a_span() -> None:
    start, end = as_date("2024-02") or (0.0, 0.0)
    assert end - start == 29 * 86400
    assert (as_date("2024-12") or (0, 0))[1] == (as_date("2025") or (1, 1))[0]
    assert as_date("2024-01-01T10:00Z") == (as_date("2024-01-01T11:00:00+01:00"))
    assert as_date("20240101") is None
