"""One set of values, shown in a page and written as files: nothing rounded in a file, nothing a formula."""

from __future__ import annotations

import csv
import io
import re
import stat
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import pytest

from reporting.page import Block, Section, write_report
from reporting.sheets import Column, Sheet, interval, shown, workbook
from wire.private_files import write_private

HOSTILE = '=HYPERLINK("http://x","<b>")'
SHEET = Sheet("rates", "Rates <of> bins",
              (Column("characteristic", runs=True), Column("bin"), *interval("bad rate", "share"),
               Column("weight", "weight"), Column("customers", "count", minor=True)),
              (("income", "under 3", 0.123456, 0.1, 0.15, -0.5, 1234),
               ("income", HOSTILE, float("nan"), 0.0, 1.0, None, 0),
               ("age", "-1 to 2", 0.5, None, None, 0.25, 7)))

SHOWN = {
    ("share", 0.12345): "12.3 %", ("change", -0.0111): "-1.1 pt", ("count", 1234567): "1,234,567",
    ("figure", 0.5): "0.5000", ("weight", 0.25): "+0.2500", ("points", 12.0): "12", ("points", -0.5): "-0.5",
    ("ratio", 3.116): "3.12", ("money", -1234.5): "-1,234", ("text", "x"): "x", ("figure", None): "–",
    ("share", float("nan")): "–", ("share", -0.0): "0.0 %", ("figure", -1e-9): "0.0000",
}


@pytest.mark.parametrize("case", SHOWN)
def test_each_kind_of_value_is_written_in_one_way(case: tuple) -> None:
    assert shown(*case) == SHOWN[case]


def test_a_page_folds_intervals_and_shows_repeats_once() -> None:
    first, second, third = SHEET.lines()
    assert [column.name for column in SHEET.heads()] == ["characteristic", "bin", "bad rate", "weight", "customers"]
    assert [cell.text for cell in first] == ["income", "under 3", "12.3 %", "-0.5000", "1,234"]
    assert first[2].small == "10.0..15.0 %"
    assert [cell.text for cell in second] == ["", HOSTILE, "–", "–", "0"]
    assert third[0].text == "age"
    assert third[2].small == ""
    assert [cell.style for cell in first] == ["", "", "n", "n", "n minor"]


def test_a_file_holds_raw_values_and_no_formula() -> None:
    head, *rows = csv.reader(io.StringIO(SHEET.text()))
    assert head == ["characteristic", "bin", "bad rate", "bad rate, low", "bad rate, high", "weight", "customers"]
    assert rows[0] == ["income", "under 3", "0.123456", "0.1", "0.15", "-0.5", "1234"]
    assert rows[1] == ["income", "'" + HOSTILE, "", "0.0", "1.0", "", "0"]
    assert rows[2][1] == "'-1 to 2"


def test_a_workbook_holds_the_same_values_and_no_formula() -> None:
    data = workbook([SHEET, SHEET])
    with zipfile.ZipFile(io.BytesIO(data)) as book:
        page = book.read("xl/worksheets/sheet1.xml").decode()
        tabs = re.findall(r'<sheet name="([^"]+)"', book.read("xl/workbook.xml").decode())
        words = book.read("xl/sharedStrings.xml").decode()
        assert not [name for name in book.namelist() if "externalLinks" in name or "vba" in name]
    assert tabs == ["rates", "rates 2"]
    assert "<f>" not in page
    assert "hyperlink" not in page.lower()
    assert "=HYPERLINK" in words
    for value in ("0.123456", "1234", "-0.5"):
        assert f"<v>{value}</v>" in page
    assert workbook([SHEET, SHEET]) == data


def test_long_names_of_tabs_stay_apart() -> None:
    long = [Sheet("x" * 40 + tail, "", (Column("a"),), (("b",),)) for tail in ("1", "2")]
    with zipfile.ZipFile(io.BytesIO(workbook(long))) as book:
        tabs = re.findall(r'<sheet name="([^"]+)"', book.read("xl/workbook.xml").decode())
    assert len(set(tabs)) == 2
    assert all(len(tab) <= 31 for tab in tabs)


def test_a_row_of_another_length_is_a_bug_that_shows() -> None:
    with pytest.raises(ValueError, match="another number of cells"):
        Sheet("rates", "", (Column("a"),), (("b", "c"),))


def test_a_section_escapes_what_it_is_given() -> None:
    found: set[str] = set()

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attributes: object) -> None:
            found.add(tag)

    html = Section("model", (Block(HOSTILE, HOSTILE, SHEET),)).html()
    Tags().feed(html)
    assert "<b>" not in html
    assert "&lt;of&gt;" in html
    assert found == {"div", "h4", "p", "table", "caption", "thead", "tbody", "tr", "th", "td", "small"}


def test_a_report_is_written_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    for _ in range(2):
        write_report(folder, "<p>", [SHEET], write_private)
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*")) == [
        "report.html", "tables", "tables.xlsx", "tables/contents.csv", "tables/rates.csv"]
    for path in (folder, *folder.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_tables_of_an_earlier_report_go_and_other_files_stay(tmp_path: Path) -> None:
    money = Sheet("money", "Money", SHEET.columns, SHEET.rows)
    write_report(tmp_path, "<p>", [SHEET, money], write_private)
    mine, outside = tmp_path / "tables" / "mine.csv", tmp_path / "outside.csv"
    for path in (mine, outside):
        path.write_text("a\n")
    write_report(tmp_path, "<p>", [SHEET], write_private)
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {"contents.csv", "rates.csv", "mine.csv"}
    (tmp_path / "tables" / "contents.csv").write_text("table,title\n../outside,x\n\nrates,y\n")
    write_report(tmp_path, "<p>", [money], write_private)
    assert outside.exists()
    assert mine.exists()
    assert not (tmp_path / "tables" / "rates.csv").exists()
