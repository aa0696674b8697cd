"""The section of correlations: what a job showed, a party's own share, and foreign nonsense without an error."""

from __future__ import annotations

from typing import Any

import pytest

from reporting.correlation_tables import MOST_ACROSS, section, sheets

HOSTILE = "<script>alert(1)</script>"
SHOWN: dict[str, Any] = {
    "rows": 2917, "show": "pairs", "to": "all", "threshold": 0.7, "step": 0.015625,
    "pairs": [{"parties": ["bank", "shop"], "columns": ["income", "basket"], "r": -0.81},
              {"parties": ["shop", "telco"], "columns": ["visits", HOSTILE], "r": 0.75}],
    "dropped": [{"party": "shop", "column": "basket", "with": ["bank", "income"]},
                {"party": "telco", "column": HOSTILE, "with": ["shop", "visits"]}],
}
MATRIX = SHOWN | {"show": "matrix", "dropped": [], "matrices": [
    {"parties": ["bank", "shop"], "columns": [["income", "age"], ["basket", "visits"]],
     "r": [[-0.81, 0.1], [0.0, 0.25]]},
    {"parties": ["shop", "telco"], "columns": [["basket", "visits"], ["calls"]], "r": [[0.3], [0.75]]},
]}
INFLATION = {"rows": 400, "show": "inflation", "to": "all", "threshold": 0.7, "step": 0.03, "inflation": [
    {"party": "bank", "column": "income", "with": "shop", "alone": 1.2, "together": 3.5, "explained": 0.66},
    {"party": "shop", "column": "basket", "with": "bank", "alone": None, "together": None, "explained": None},
]}


def named(found: Any, own: str | None = None) -> dict[str, list[tuple[Any, ...]]]:
    made = section(found, own)
    assert made is not None
    return {sheet.name: list(sheet.rows) for sheet in made.sheets}


def test_pairs_and_what_was_left_out_for_them_stand_by_name() -> None:
    found = named(SHOWN)
    assert found == {
        "correlation_pairs": [("bank", "income", "shop", "basket", -0.81), ("shop", "visits", "telco", HOSTILE, 0.75)],
        "correlation_dropped": [("shop", "basket", "bank", "income"), ("telco", HOSTILE, "shop", "visits")],
    }
    page = str(section(SHOWN).html())  # type: ignore[union-attr]
    assert "on 2,917 rows of the development sample, rounded to steps of 0.016" in page
    assert "pairs of 0.7 or more" in page
    assert "-0.8100" in page
    assert "<script>" not in page


def test_a_party_sees_what_its_own_columns_are_in() -> None:
    assert named(SHOWN, "bank") == {"correlation_pairs": [("bank", "income", "shop", "basket", -0.81)]}
    assert named(SHOWN, "telco")["correlation_dropped"] == [("telco", HOSTILE, "shop", "visits")]
    assert {row[2] for row in named(MATRIX, "telco")["correlations"]} == {"telco"}
    assert named(INFLATION, "shop")["correlation_inflation"] == [("shop", "basket", "bank", None, None, None)]


def test_a_matrix_is_a_table_in_the_page_and_a_line_each_in_the_file() -> None:
    assert named(MATRIX)["correlations"][:3] == [
        ("bank", "income", "shop", "basket", -0.81), ("bank", "income", "shop", "visits", 0.1),
        ("bank", "age", "shop", "basket", 0.0)]
    page = str(section(MATRIX).html())  # type: ignore[union-attr]
    assert page.count("<table") == 3
    assert "bank (down) and shop (across)" in page
    wide = [f"c{k}" for k in range(MOST_ACROSS + 1)]
    large = MATRIX | {"matrices": [{"parties": ["a", "b"], "columns": [["x"], wide], "r": [[0.5] * len(wide)]}]}
    page = str(section(large).html())  # type: ignore[union-attr]
    assert page.count("<table") == 1
    assert "in the file of correlations" in page
    assert len(named(large)["correlations"]) == len(wide)


def test_that_no_pair_goes_together_is_said() -> None:
    made = section(SHOWN | {"pairs": [], "dropped": []})
    assert made is not None
    assert "No pair of columns of different institutions reaches the threshold" in str(made.html())
    assert made.sheets == ()


@pytest.mark.parametrize("found", [None, {}, [], "matrix", 7, {"pairs": []}])
def test_where_nothing_was_shown_there_is_no_section(found: Any) -> None:
    assert section(found) is None
    assert sheets(found) == []


@pytest.mark.parametrize("nonsense", [
    {"pairs": 3}, {"pairs": [None, 1, {}, {"parties": "ab", "columns": [1]}]},
    {"matrices": [{"r": [[1, None, "x"], 3]}]},
    {"matrices": [{"parties": ["a", "b"], "columns": [["x", "y"], ["z"]], "r": [[0.1, 0.2], []]}]},
    {"dropped": [{"with": "abc"}]}, {"inflation": [7, {"explained": float("nan")}]},
    {"rows": "many", "step": [], "threshold": None, "to": {}},
])
def test_foreign_nonsense_is_a_dash_or_nothing(nonsense: dict[str, Any]) -> None:
    made = section({"show": "matrix"} | nonsense)
    assert made is not None
    assert str(made.html())
    assert all(sheet.text() for sheet in made.sheets)
