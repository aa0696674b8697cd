"""Tables in DuckDB files and object stores become files of the party; what goes wrong leaves nothing behind."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import threading
import tomllib
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO

import duckdb
import pyarrow as pa
import pyarrow.parquet as arrow_parquet
import pytest

from mpc.errors import LocalError
from party_node.config import ConfigError, PartyConfig
from party_node.consent import registration
from party_node.consent.datasets import DatasetFile
from party_node.data.sources import snapshot
from party_node.data.sources.table import read_table
from party_node.records.store import Store
from party_node.table_errors import DataError

CONFIG = PartyConfig(party="bank-a")
HEAD = 'name = "loans"\nid = "customer"\nlabel = "bad"\noffered = ["income", "region"]\n'
QUERY = "select customer, income, region, bad from loans where income >= 0"


def dataset_file(root: Path, source: str, head: str = HEAD) -> Path:
    file = root / "loans.toml"
    file.write_text(f"{head}[source]\n{source}\n")
    return file


def left(root: Path) -> list[str]:
    folder = root / "snapshots"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


# DuckDB


@pytest.fixture
def duck(tmp_path: Path) -> Path:
    with duckdb.connect(str(tmp_path / "bank.duckdb")) as connection:
        connection.execute("create table loans as select 'c' || i as customer, i * 1.5 as income, "
                           "case when i % 3 = 0 then null else 'north' end as region, i % 2 as bad, "
                           "date '2024-01-01' as since from range(300) t(i)")
    return tmp_path


def duck_source(query: str = QUERY, file: str = "bank.duckdb") -> str:
    return f'kind = "duckdb"\nfile = "{file}"\nquery = """{query}"""'


def test_a_query_of_a_duckdb_file_is_registered_as_a_private_file_whose_digest_is_signed(duck: Path) -> None:
    found = registration.prepare(dataset_file(duck, duck_source()), CONFIG, duck / "snapshots").dataset
    assert (found.rows, found.kinds) == (300, {"income": "numeric", "region": "text"})
    path = Path(found.path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert hashlib.sha256(path.read_bytes()).hexdigest() == found.digest
    assert left(duck) == [path.name]
    registration.check_unchanged(found)


def test_a_table_that_grows_later_changes_nothing_until_it_is_registered_again(duck: Path) -> None:
    store = Store(duck / "state.db")
    file = dataset_file(duck, duck_source())
    first = registration.prepare(file, CONFIG, duck / "snapshots").dataset
    registration.keep(first, store)
    with duckdb.connect(str(duck / "bank.duckdb")) as connection:
        connection.execute("delete from loans where bad = 1 or customer > 'c2'")
        connection.execute("alter table loans alter income type varchar")
        connection.execute("update loans set income = 'much'")
    registration.check_unchanged(first)
    assert read_table(first.path, columns=["income"]).rows == 300
    plain = dataset_file(duck, duck_source("select customer, income, region, bad from loans"))
    second = registration.prepare(plain, CONFIG, duck / "snapshots").dataset
    notes = registration.changes(first, second)
    assert any("`income` held numeric cells and holds text ones now" in note for note in notes)
    assert any("had 300 rows" in note for note in notes)
    assert len(left(duck)) == 2
    registration.keep(second, store)
    assert left(duck) == [Path(second.path).name]
    store.close()


DUCK_WRONG = {
    "a table that is not there": (duck_source("select * from absent"), "query_failed", "absent"),
    "a column that is not there": (duck_source("select salary from loans"), "query_failed", "salary"),
    "a query that is none": (duck_source("selekt 1"), "query_failed", "selekt"),
    "a cell that is no number": (
        duck_source("select cast(customer as integer) from loans"), "query_failed", "Conversion"),
    "a query that writes": (duck_source("create table x as select 1"), "query_failed", ""),
    "a query of another file": (duck_source("select * from read_csv('/etc/passwd')"), "query_failed", ""),
    "a query that writes a file": (duck_source("copy loans to 'out.csv'"), "query_failed", ""),
    "a file that is not there": (duck_source(file="absent.duckdb"), "unreadable", "absent.duckdb"),
    "a file of another kind": (duck_source(file="loans.toml"), "unreadable", "loans.toml"),
    "columns that the query lacks": (duck_source("select customer, bad from loans"), "column_missing", "income"),
    "no rows": (duck_source("select customer, income, region, bad from loans where income < 0"), "empty_table", ""),
}


@pytest.mark.parametrize("name", DUCK_WRONG)
def test_nothing_is_left_and_no_cell_is_quoted_when_a_duckdb_source_has(name: str, duck: Path) -> None:
    source, code, word = DUCK_WRONG[name]
    with pytest.raises(DataError) as caught:
        registration.prepare(dataset_file(duck, source), CONFIG, duck / "snapshots")
    assert caught.value.code == code
    assert word in caught.value.what
    assert "c17" not in str(caught.value)
    assert "c0" not in str(caught.value)
    assert left(duck) == []
    assert not (duck / "out.csv").exists()


def test_a_failed_registration_leaves_the_earlier_one_whole(duck: Path) -> None:
    file = dataset_file(duck, duck_source())
    first = registration.prepare(file, CONFIG, duck / "snapshots").dataset
    dataset_file(duck, duck_source(), HEAD.replace('"income"', '"incomes"'))
    with pytest.raises(DataError, match="no column `incomes`"):
        registration.prepare(file, CONFIG, duck / "snapshots")
    registration.check_unchanged(first)


SOURCES_WRONG = {
    "two statements": duck_source("select 1; drop table loans"),
    "an unknown kind": 'kind = "oracle"\nquery = "select 1"',
    "no kind": 'query = "select 1"',
    "an unknown field": duck_source() + '\npassword = "secret-7731"',
    "no query": 'kind = "duckdb"\nfile = "bank.duckdb"',
    "a password in the file": 'kind = "postgresql"\nquery = "select 1"\nhost = "h"\ndatabase = "d"\nuser = "u"\n'
                              'password = "secret-7731"',
    "an object that is a folder": 'kind = "s3"\npath = "s3://bucket/folder/"',
    "an endpoint that is none": 'kind = "s3"\npath = "s3://bucket/a.csv"\nendpoint = "localhost:9000"',
}


@pytest.mark.parametrize("name", SOURCES_WRONG)
def test_a_source_table_is_refused_that_has(name: str, duck: Path) -> None:
    with pytest.raises(ConfigError, match="source") as caught:
        registration.prepare(dataset_file(duck, SOURCES_WRONG[name]), CONFIG, duck / "snapshots")
    assert "secret-7731" not in str(caught.value)
    assert left(duck) == []


def test_the_source_tables_that_the_guide_shows_are_read() -> None:
    guide = (Path(__file__).resolve().parents[4] / "docs" / "operating.md").read_text()
    shown = re.findall(r"```toml\n(\[source\].*?)```", guide, re.DOTALL)
    kinds = [DatasetFile.model_validate(tomllib.loads(HEAD + text)).source.kind for text in shown]
    assert kinds == ["postgresql", "duckdb", "s3"]


# snapshots as such


class Rows:
    """An origin that gives some bytes, or fails halfway."""

    suffix = ".csv"

    def __init__(self, content: bytes, error: BaseException | None = None) -> None:
        self.content, self.error = content, error

    def write(self, file: BinaryIO, beside: Path) -> None:
        file.write(self.content)
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize("error", [DataError("source_lost", "lost", ""), KeyboardInterrupt(), OSError(28, "no space")])
def test_a_copy_that_stops_halfway_leaves_no_file(error: BaseException, tmp_path: Path) -> None:
    with pytest.raises((LocalError, KeyboardInterrupt)):
        snapshot.take(Rows(b"a,b\n1,", error), tmp_path / "snapshots", "loans", tmp_path)
    assert left(tmp_path) == []


def test_older_snapshots_of_a_dataset_go_and_those_of_others_stay(tmp_path: Path) -> None:
    folder = tmp_path / "snapshots"
    kept = [snapshot.take(Rows(b"new"), folder, name, tmp_path)[0] for name in ("loans", "loans-2", "loan")]
    old = snapshot.take(Rows(b"old"), folder, "loans", tmp_path)[0]
    stale = folder / f"loans-{'ab' * 16}.csv.part"
    stale.write_bytes(b"")
    snapshot.drop_others(kept[0], "loans")
    assert not old.exists()
    assert not stale.exists()
    assert all(path.exists() for path in kept)


# object stores


class Objects(BaseHTTPRequestHandler):
    """As much of an S3-style store as a reader asks for: HEAD and ranged GET of objects in memory."""

    def __init__(self, objects: dict[str, bytes], *arguments: Any) -> None:
        self.objects = objects
        super().__init__(*arguments)

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        body = self.objects.get(self.path.partition("?")[0])
        if "/private/" in self.path or body is None:
            status, body = (403, b"") if "/private/" in self.path else (404, b"")
        elif "Range" in self.headers:
            first, last = self.headers["Range"].removeprefix("bytes=").split("-")
            whole, status = len(body), 206
            body = body[int(first): int(last) + 1]
            self.send_response(status)
            self.send_header("Content-Range", f"bytes {first}-{last}/{whole}")
        else:
            status = 200
        if status != 206:
            self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "binary/octet-stream")
        self.end_headers()
        if with_body:
            self.wfile.write(body)


@pytest.fixture
def bucket() -> Iterator[tuple[str, dict[str, bytes]]]:
    """(endpoint, objects by path)."""
    objects: dict[str, bytes] = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Objects, objects))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", objects
    server.shutdown()
    server.server_close()


def stored(endpoint: str, path: str) -> str:
    return f'kind = "s3"\npath = "s3://{path}"\nregion = "eu-north-1"\nendpoint = "{endpoint}"\nanonymous = true'


def test_an_object_is_copied_and_registered_csv_and_parquet_alike(bucket: Any, tmp_path: Path) -> None:
    endpoint, objects = bucket
    rows = {"customer": [f"c{i}" for i in range(200)], "income": [float(i) for i in range(200)],
            "region": ["n", "s"] * 100, "bad": [0, 1] * 100}
    arrow_parquet.write_table(pa.table(rows), tmp_path / "x.parquet")
    objects["/risk/2024/loans.parquet"] = (tmp_path / "x.parquet").read_bytes()
    text = "customer,income,region,bad\n" + "".join(f"c{i},{i},{'ns'[i % 2]},{i % 2}\n" for i in range(200))
    objects["/risk/loans.csv"] = text.encode()
    for path, suffix in (("risk/2024/loans.parquet", ".parquet"), ("risk/loans.csv", ".csv")):
        file = dataset_file(tmp_path, stored(endpoint, path))
        found = registration.prepare(file, CONFIG, tmp_path / "snapshots").dataset
        assert (found.rows, found.usable_ids) == (200, 200)
        assert Path(found.path).read_bytes() == objects[f"/{path}"]
        assert found.path.endswith(suffix)


@pytest.mark.parametrize(
    ("path", "code"), [("risk/absent.csv", "unreadable"), ("risk/private/a.csv", "source_unreachable")])
def test_an_object_that_is_not_there_or_not_ours_is_named(path: str, code: str, bucket: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        registration.prepare(dataset_file(tmp_path, stored(bucket[0], path)), CONFIG, tmp_path / "snapshots")
    assert (caught.value.code, path in caught.value.what) == (code, True)
    assert left(tmp_path) == []


def test_credentials_come_from_the_environment_and_never_into_a_text(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA0000")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-4412")
    source = stored(bucket[0], "risk/private/a.csv").replace("anonymous = true", "")
    with pytest.raises(DataError) as caught:
        registration.prepare(dataset_file(tmp_path, source), CONFIG, tmp_path / "snapshots")
    assert "hidden-4412" not in str(caught.value)
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == "hidden-4412"
