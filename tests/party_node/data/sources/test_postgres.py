"""Tables of a real PostgreSQL server, started here: read by a user that may only read; every failure told plainly."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from party_node.config import PartyConfig
from party_node.consent import datasets, registration
from party_node.consent.registration import Registration
from party_node.data.sources.table import read_table
from party_node.records.store import Store
from party_node.table_errors import DataError

CONFIG = PartyConfig(party="bank-a")
HEAD = 'name = "loans"\nid = "customer"\nlabel = "bad"\noffered = ["income", "region"]\n'
QUERY = "select customer, income, region, bad from loans order by customer"
PASSWORD = "reader-secret-5527"


def _binary(name: str) -> str:
    """A program of the server; the newest that is installed."""
    found = [*sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}")), *filter(None, [shutil.which(name)])]
    if not found:
        pytest.skip(f"{name} is not installed: apt-get install postgresql")
    return found[-1] if "/usr/lib" not in found[0] else [one for one in found if "/usr/lib" in one][-1]


@dataclass
class Server:
    """A running server with its own data, sockets and port."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    def run(self, *statements: str, database: str = "risk") -> Any:
        """Statements of the superuser; the last one's rows, if it has any."""
        with psycopg.connect(host=str(self.folder), port=self.port, user="postgres", dbname=database,
                             autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else None

    def source(self, query: str = QUERY, **changes: Any) -> str:
        given = {"kind": "postgresql", "query": query, "host": "127.0.0.1", "port": self.port, "database": "risk",
                 "user": "reader", "password_file": "password", "sslmode": "disable"} | changes
        return "\n".join(f"{key} = {value}" if isinstance(value, int) else f'{key} = """{value}"""'
                         for key, value in given.items())


def _start(folder: Path, port: int) -> subprocess.Popen[bytes]:
    user = {"user": "postgres"} if os.geteuid() == 0 else {}
    return subprocess.Popen(
        [_binary("postgres"), "-D", folder / "data", "-k", folder, "-p", str(port), "-c", "listen_addresses=127.0.0.1",
         "-c", "fsync=off"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", **user)  # type: ignore[call-overload]


def _make(folder: Path) -> None:
    user = {"user": "postgres"} if os.geteuid() == 0 else {}
    if user:
        os.chown(folder, pwd.getpwnam("postgres").pw_uid, -1)
    subprocess.run([_binary("initdb"), "-D", folder / "data", "-U", "postgres", "--auth-local=trust",
                    "--auth-host=scram-sha-256", "--no-sync", "-E", "UTF8", "--locale=C"],
                   check=True, capture_output=True, cwd="/", **user)  # type: ignore[call-overload]


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="jcr-pg-"))   # short, for a socket; the server's user may enter it
    try:
        _make(folder)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        server = Server(folder, port, _start(folder, port))
        _until(lambda: server.run("select 1", database="postgres"))
        server.run("create database risk", database="postgres")
        server.run(f"create role reader login password '{PASSWORD}'", "create role slow login",
                   "create role writer login in role pg_write_all_data", "create role bare login",
                   "grant pg_read_all_data to reader, slow")
        yield server
        server.process.send_signal(signal.SIGINT)       # fast shutdown
        server.process.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _until(attempt: Callable[[], Any], seconds: float = 60.0) -> Any:
    end = time.monotonic() + seconds
    while True:
        try:
            found = attempt()
            if found:
                return found
        except psycopg.OperationalError:
            pass
        if time.monotonic() > end:
            raise TimeoutError("the server did not get there")
        time.sleep(0.1)


@pytest.fixture
def loans(server: Server) -> Server:
    """A fresh table of 300 rows."""
    server.run("drop table if exists loans",
               "create table loans (customer text, income text, region text, bad int, open boolean, opened date)",
               "insert into loans select 'c' || i, (i * 1.5)::text, "
               "case when i % 3 = 0 then null else 'north, \"far\"' end, i % 2, i % 2 = 0, "
               "date '2024-01-01' + i from generate_series(0, 299) i")
    return server


def register(root: Path, source: str, head: str = HEAD) -> Registration:
    (root / "loans.toml").write_text(f"{head}[source]\n{source}\n")
    secret = root / "password"
    secret.write_text(PASSWORD + "\n")
    secret.chmod(0o600)
    return registration.prepare(root / "loans.toml", CONFIG, root / "snapshots")


def left(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "snapshots").iterdir()) if (root / "snapshots").exists() else []


def test_a_query_is_registered_with_a_password_from_a_private_file(loans: Server, tmp_path: Path) -> None:
    found = register(tmp_path, loans.source())
    assert (found.dataset.rows, found.dataset.usable_ids) == (300, 300)
    assert found.dataset.kinds == {"income": "numeric", "region": "text"}
    region = next(column for column in found.columns if column.name == "region")
    assert (region.missing_rate, region.levels) == (pytest.approx(1 / 3), 1)
    assert PASSWORD not in found.dataset.model_dump_json()
    assert len(left(tmp_path)) == 1


def test_a_local_socket_needs_no_password_and_no_tls(loans: Server, tmp_path: Path) -> None:
    source = loans.source(host=str(loans.folder), sslmode="verify-full").replace('password_file = """password"""', "")
    assert register(tmp_path, source).dataset.rows == 300


def test_every_type_that_a_bank_keeps_can_be_read(loans: Server, tmp_path: Path) -> None:
    head = HEAD.replace('"income", "region"', '"income", "open", "opened"')
    found = register(tmp_path, loans.source("select customer, income::numeric, bad, open, opened from loans"), head)
    assert found.dataset.kinds == {"income": "numeric", "open": "text", "opened": "text"}
    table = read_table(found.dataset.path, columns=["income"])
    assert table.column("income").values[:3].tolist() == [0.0, 1.5, 3.0]  # type: ignore[union-attr]


def test_the_same_rows_have_the_same_digest(loans: Server, tmp_path: Path) -> None:
    first, second = (register(tmp_path, loans.source()).dataset for _ in range(2))
    assert first.digest == second.digest
    assert len(left(tmp_path)) == 1


def test_a_changed_schema_is_told_and_the_earlier_registration_still_serves(loans: Server, tmp_path: Path) -> None:
    store = Store(tmp_path / "state.db")
    first = register(tmp_path, loans.source()).dataset
    registration.keep(first, store)
    loans.run("alter table loans rename column income to salary")
    with pytest.raises(DataError, match='column "income" does not exist') as caught:
        register(tmp_path, loans.source())
    assert caught.value.code == "query_failed"
    registration.check_unchanged(first)
    assert read_table(first.path, columns=["income"]).rows == 300
    assert datasets.find(store, "loans") == first
    with pytest.raises(DataError, match="no column `income`"):
        register(tmp_path, loans.source("select * from loans"))
    registration.check_unchanged(first)
    loans.run("alter table loans rename column salary to income", "update loans set income = 'a lot'")
    again = register(tmp_path, loans.source()).dataset
    notes = registration.changes(first, again)
    assert any("`income` held numeric cells and holds text ones now" in note for note in notes)
    store.close()


def test_a_text_in_a_number_column_is_named_by_row_and_not_quoted(loans: Server, tmp_path: Path) -> None:
    loans.run("update loans set income = 'secret-word' where customer = 'c100'")
    with pytest.raises(DataError) as caught:
        register(tmp_path, loans.source("select customer, income, region, bad from loans order by opened"))
    assert caught.value.code == "not_numeric"
    assert "column `income`" in caught.value.what
    assert "row 101 of the data" in caught.value.what
    assert "secret-word" not in str(caught.value)
    assert left(tmp_path) == []


def test_a_cell_that_the_server_cannot_convert_is_not_quoted(loans: Server, tmp_path: Path) -> None:
    loans.run("update loans set income = 'secret-word' where customer = 'c100'")
    with pytest.raises(DataError) as caught:
        register(tmp_path, loans.source("select customer, income::numeric, region, bad from loans"))
    assert "SQLSTATE 22P02" in caught.value.what
    assert "secret-word" not in str(caught.value)
    assert left(tmp_path) == []


REFUSED = {
    "a table that is not there": ({"query": "select * from absent"}, "query_failed", 'relation "absent"'),
    "a query that is none": ({"query": "selekt 1"}, "query_failed", "syntax error"),
    "a query that writes": (
        {"query": "with gone as (delete from loans returning *) select * from gone"}, "query_failed", ""),
    "a table that this user may not read": (
        {"user": "bare", "host": "SOCKET"}, "query_failed", "permission denied for table loans"),
    "a user that may write": (
        {"user": "writer", "host": "SOCKET"}, "source_rights", "may do more than read"),
    "a superuser": ({"user": "postgres", "host": "SOCKET"}, "source_rights", "may do more than read"),
    "a wrong password": ({"password_file": "wrong"}, "source_unreachable", "password authentication failed"),
    "a database that is not there": ({"database": "absent"}, "source_unreachable", "absent"),
    "a server that is not there": ({"port": 1}, "source_unreachable", ""),
    "a server without TLS": ({"sslmode": "verify-full"}, "source_unreachable", "SSL"),
    "a password file that is not there": ({"password_file": "absent"}, "source_password", "`absent`"),
    "a password file that others can read": ({"password_file": "open"}, "source_password", "open to others"),
    "an empty result": ({"query": f"select * from ({QUERY}) all_rows where false"}, "empty_table", ""),
}


@pytest.mark.parametrize("name", REFUSED)
def test_nothing_is_registered_and_no_secret_is_shown_with(name: str, loans: Server, tmp_path: Path) -> None:
    changes, code, words = REFUSED[name]
    for file, mode in (("wrong", 0o600), ("open", 0o644)):
        (tmp_path / file).write_text("another-secret-9932")
        (tmp_path / file).chmod(mode)
    given = changes | ({"host": str(loans.folder)} if changes.get("host") == "SOCKET" else {})
    with pytest.raises(DataError) as caught:
        register(tmp_path, loans.source(**given))
    assert caught.value.code == code, caught.value
    assert words in caught.value.what
    assert caught.value.advice
    assert not [secret for secret in (PASSWORD, "another-secret-9932") if secret in str(caught.value)]
    assert left(tmp_path) == []
    assert loans.run("select count(*) from loans") == [(300,)]


def _slow(server: Server) -> str:
    """A query of many rows that takes minutes."""
    query = ("select 'c' || i as customer, i as income, 'x' as region, i % 2 as bad, pg_sleep(0.0005) "
             "from generate_series(1, 1000000) i")
    return server.source(query, user="slow", host=str(server.folder))


def _backend(server: Server) -> list[Any]:
    return server.run("select pid from pg_stat_activity where usename = 'slow' and state = 'active'") or []


def _failing(root: Path, source: str) -> tuple[threading.Thread, list[BaseException]]:
    """A registration in a thread, and what it raised."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            register(root, source)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, raised


def test_a_connection_that_is_lost_midway_leaves_nothing_and_ends_soon(loans: Server, tmp_path: Path) -> None:
    thread, raised = _failing(tmp_path, _slow(loans))
    pid = _until(lambda: _backend(loans))[0][0]
    _until(lambda: any(path.stat().st_size > 4096 for path in (tmp_path / "snapshots").iterdir()))
    loans.run(f"select pg_terminate_backend({pid})")
    thread.join(20)
    assert not thread.is_alive()
    assert isinstance(raised[0], DataError)
    assert raised[0].code == "source_lost"
    assert "Nothing was registered" in raised[0].advice
    assert left(tmp_path) == []


def test_a_query_that_takes_too_long_is_ended(loans: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("party_node.data.sources.postgres.MINUTE_MS", 300)
    with pytest.raises(DataError, match="statement timeout"):
        register(tmp_path, _slow(loans) + "\nminutes = 1")
    assert left(tmp_path) == []


def test_a_server_that_dies_midway_leaves_nothing(tmp_path: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix="jcr-pg-"))
    try:
        _make(folder)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        own = Server(folder, port, _start(folder, port))
        _until(lambda: own.run("select 1", database="postgres"))
        own.run("create database risk", "create role slow login", database="postgres")
        thread, raised = _failing(tmp_path, _slow(own))
        _until(lambda: _backend(own))
        own.process.kill()
        own.process.wait(10)
        thread.join(30)
        assert not thread.is_alive()
        assert isinstance(raised[0], DataError)
        assert raised[0].code in ("source_lost", "source_unreachable")
        assert left(tmp_path) == []
    finally:
        shutil.rmtree(folder, ignore_errors=True)
