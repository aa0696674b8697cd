"""Reading private tables: what is tolerated, what is refused, and that no refusal quotes a cell."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from party_node.data.ids.accounting import id_batches
from party_node.data.sources import files
from party_node.data.sources.files import batches, file_digest
from party_node.data.sources.kinds import Kind
from party_node.data.sources.table import NumericColumn, Table, TextColumn, read_table
from party_node.table_errors import DataError

SHARED = Path(__file__).resolve().parents[5] / "shared" / "data"


def write(tmp_path: Path, content: str | bytes, name: str = "loans.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def numbers(table: Table, name: str) -> list[float]:
    column = table.column(name)
    assert isinstance(column, NumericColumn)
    return list(column.values)


def words(table: Table, name: str) -> list[str | None]:
    column = table.column(name)
    assert isinstance(column, TextColumn)
    return [None if code < 0 else column.levels[code] for code in column.codes]


def ids(path: Path) -> list[str]:
    return [value for (cells,) in id_batches(path, ["id"]) for value in cells.to_pylist()]


def test_the_id_stays_text_and_the_features_get_types(tmp_path: Path) -> None:
    path = write(tmp_path, 'id,age,city,owner\n007,31,Oslo,true\n08, 4.5 ,"B, C",FALSE\n9,N/A,?,\n')
    table = read_table(path, leave_out=["id"])
    assert ids(path) == ["007", "08", "9"]
    assert table.kinds == {"age": Kind.NUMERIC, "city": Kind.TEXT, "owner": Kind.NUMERIC}
    assert numbers(table, "age")[:2] == [31.0, 4.5]
    assert np.isnan(numbers(table, "age")[2])
    assert words(table, "city") == ["Oslo", "B, C", None]
    assert numbers(table, "owner")[:2] == [1.0, 0.0]


ODD_FILES: dict[str, bytes] = {
    "a byte order mark": b"\xef\xbb\xbfid,v,city\na,1,Z\xc3\xbcrich\nb,2,Oslo\n",
    "UTF-16": "id,v,city\na,1,Zürich\nb,2,Oslo\n".encode("utf-16"),
    "Windows-1252": "id,v,city\na,1,Zürich\nb,2,Oslo\n".encode("cp1252"),
    "semicolons": "id;v;city\na;1;Zürich\nb;2;Oslo\n".encode(),
    "tabs": "id\tv\tcity\na\t1\tZürich\nb\t2\tOslo\n".encode(),
    "carriage returns and blank lines": "id,v,city\r\na,1,Zürich\r\n\r\nb,2,Oslo\r\n\r\n".encode(),
    "spaces around the header names": " id , v,city \na,1,Zürich\nb,2,Oslo".encode(),
    "every cell quoted": '"id","v","city"\n"a","1","Zürich"\n"b","2","Oslo"\n'.encode(),
}


@pytest.mark.parametrize("case", ODD_FILES)
def test_a_file_reads_the_same_with(case: str, tmp_path: Path) -> None:
    path = write(tmp_path, ODD_FILES[case])
    table = read_table(path, leave_out=["id"])
    assert ids(path) == ["a", "b"]
    assert numbers(table, "v") == [1.0, 2.0]
    assert words(table, "city") == ["Zürich", "Oslo"]


def test_two_encodings_in_one_file_are_repaired_byte_by_byte_and_noted(tmp_path: Path) -> None:
    raw = "id,city\na,Zürich\n".encode() + "b,Zürich\n".encode("cp1252")
    table = read_table(write(tmp_path, raw), leave_out=["id"])
    assert words(table, "city") == ["Zürich", "Zürich"]
    assert table.notes == ("not UTF-8, read as Windows-1252: 1 bytes",)


def test_empty_lines_are_rows_without_an_id_where_the_id_is_all_there_is(tmp_path: Path) -> None:
    assert ids(write(tmp_path, "id\na\n\nb\n\n")) == ["a", "", "b", ""]
    assert ids(write(tmp_path, "id,v\na,1\n\nb,2\n\n")) == ["a", "b"]


@pytest.mark.parametrize("case", ODD_FILES)
def test_batches_of_any_size_read_as_the_whole_does(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Repaired text too, where a sign of several bytes may lie on the border of two blocks."""
    path = write(tmp_path, ODD_FILES[case])
    for size in (2, 3, 5, 1 << 20):
        monkeypatch.setattr(files, "BLOCK_BYTES", size)
        (cities,) = zip(*batches(path, ["city"]), strict=True)
        assert [value for part in cities for value in part.to_pylist()] == ["Zürich", "Oslo"]


def test_cells_may_hold_line_breaks_and_doubled_quotes(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, 'id,t\n1,"a\nb"\n2,"say ""x"""\n'), leave_out=["id"])
    assert words(table, "t") == ["a\nb", 'say "x"']


def test_a_decimal_comma_counts_where_the_separator_is_a_semicolon(tmp_path: Path) -> None:
    assert numbers(read_table(write(tmp_path, "id;v\na;1,5\nb;-2\n"), leave_out=["id"]), "v") == [1.5, -2.0]


def test_packed_files_are_read_by_their_name(tmp_path: Path) -> None:
    path = write(tmp_path, gzip.compress(b"id,v\na,1\n"), "loans.csv.gz")
    assert numbers(read_table(path, leave_out=["id"]), "v") == [1.0]


def test_only_the_named_columns_are_read_in_the_asked_order(tmp_path: Path) -> None:
    path = write(tmp_path, "a,b,c,id\n1,x,3,k\n")
    table = read_table(path, columns=["c", "a"])
    assert table.names == ("c", "a")


def test_parquet_and_csv_of_one_table_read_alike(tmp_path: Path) -> None:
    arrow = pa.table(
        {
            "id": pa.array([7.0, 8.0, None]),
            "n": pa.array([1, None, 3]),
            "t": pa.array(["x", None, "y"]).dictionary_encode(),
            "flag": pa.array([True, False, None]),
        }
    )
    pq.write_table(arrow, tmp_path / "loans.parquet")
    one = read_table(tmp_path / "loans.parquet", leave_out=["id"])
    path = write(tmp_path, "id,n,t,flag\n7,1,x,true\n8,,,false\n,3,y,\n")
    other = read_table(path, leave_out=["id"])
    assert one.kinds == other.kinds
    assert [value or "" for value in ids(tmp_path / "loans.parquet")] == ids(path) == ["7", "8", ""]
    for name in ("n", "flag"):
        np.testing.assert_array_equal(numbers(one, name), numbers(other, name))
    assert words(one, "t") == words(other, "t") == ["x", None, "y"]


def test_declared_kinds_overrule_what_the_cells_look_like(tmp_path: Path) -> None:
    path = write(tmp_path, "id,zip,v\na,0101,1\nb,0202,oops\n")
    table = read_table(path, leave_out=["id"], kinds={"zip": Kind.TEXT})
    assert words(table, "zip") == ["0101", "0202"]
    with pytest.raises(DataError) as caught:
        read_table(path, leave_out=["id"], kinds={"v": Kind.NUMERIC})
    assert caught.value.code == "not_numeric"


def test_one_wrong_cell_in_a_numeric_column_is_named_by_row_and_never_quoted(tmp_path: Path) -> None:
    rows = "".join(f"{i},{i}.5\n" for i in range(50))
    path = write(tmp_path, f"id,income\n{rows}50,CANARY-CELL\n51,1\n")
    with pytest.raises(DataError) as caught:
        read_table(path, leave_out=["id"])
    assert caught.value.code == "not_numeric"
    assert "`income`" in str(caught.value)
    assert "row 51 " in str(caught.value)
    assert "CANARY" not in str(caught.value)
    assert caught.value.__cause__ is None
    table = read_table(path, leave_out=["id"], kinds={"income": Kind.TEXT})
    assert "CANARY-CELL" in words(table, "income")


BROKEN: dict[str, tuple[bytes, str, str]] = {
    "an empty file": (b"", "empty_table", "empty"),
    "a file of blank lines": (b"\n\n", "empty_table", "empty"),
    "a header alone": (b"id,v\n", "empty_table", "no rows"),
    "a ragged row": (b"id,v\n1,2\nCANARY-RAGGED\n", "ragged_row", "row 2 of `loans.csv` has 1 cells"),
    "a repeated header": (b"id,v,v\n1,2,3\n", "column_repeated", "`v`"),
    "an infinite number": (b"id,v\n1,2\n2,inf\n", "not_numeric", "row 2"),
    "no such id": (b"ident,v\n1,2\n", "column_missing", "`id`"),
    "a workbook": (b"PK\x03\x04CANARY", "unreadable", "workbook"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_table_is_refused_by_name(case: str, tmp_path: Path) -> None:
    content, code, text = BROKEN[case]
    with pytest.raises(DataError) as caught:
        read_table(write(tmp_path, content), leave_out=["id"])
    assert caught.value.code == code
    assert text in str(caught.value)
    assert "CANARY" not in str(caught.value)


def test_a_missing_column_suggests_the_nearest_name(tmp_path: Path) -> None:
    path = write(tmp_path, "id,dpd90_12m,age\n1,0,3\n")
    with pytest.raises(DataError, match=r"did you mean `dpd90_12m`\?"):
        read_table(path, columns=["DPD90_12"])
    with pytest.raises(DataError, match=r"did you mean `dpd90_12m`\?"):
        read_table(path, leave_out=["id"]).column("dpd90_m")


def test_files_that_cannot_be_opened_are_a_data_error_without_their_directory(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and then rubbish")
    (tmp_path / "text.parquet").write_bytes(b"id,v\n1,2\n")
    for name in ("absent.csv", "folder", "bad.parquet", "text.parquet"):
        with pytest.raises(DataError) as caught:
            read_table(tmp_path / name)
        assert caught.value.code == "unreadable"
        assert str(tmp_path) not in str(caught.value)


def test_binary_rubbish_never_escapes_as_another_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    for seed in range(30):
        raw = rng.integers(0, 256, 200 + seed, dtype=np.uint8).tobytes()
        with pytest.raises(DataError):
            read_table(write(tmp_path, raw, "noise.csv"), leave_out=["id"])


def test_the_profile_tells_types_ranges_and_missing_rates_and_repr_tells_no_value(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "id,v,t,e\n1,5,x,\n2,,y,\n3,9,x,\n4,7,,\n"), leave_out=["id"])
    v, t, e = table.profile()
    assert (v.kind, v.low, v.high, v.missing_rate) == (Kind.NUMERIC, 5.0, 9.0, 0.25)
    assert (t.kind, t.levels, t.missing_rate) == (Kind.TEXT, 2, 0.25)
    assert (e.low, e.high, e.missing_rate) == (None, None, 1.0)
    assert repr(table) == "Table(4 rows, 3 columns)"


def test_the_digest_is_that_of_the_bytes_on_disk(tmp_path: Path) -> None:
    one = file_digest(write(tmp_path, b"id\n1\n"))
    assert len(one) == 32
    assert one != file_digest(write(tmp_path, b"id\n2\n"))


def test_the_raw_credit_table_reads_with_every_column_numeric() -> None:
    path = SHARED / "UCI_Credit_Card.csv"
    if not path.exists():
        pytest.skip("../shared/data is absent")
    table = read_table(path, leave_out=["ID"])
    assert table.rows == 30_000
    assert len(table.names) == 24
    assert set(table.kinds.values()) == {Kind.NUMERIC}
