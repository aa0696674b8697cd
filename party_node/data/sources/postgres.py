"""Rows of a PostgreSQL query as CSV: one read-only transaction of a user that may only read, streamed by COPY.

The server's own words are passed on where they speak of the query, its names and rights; where they would quote a cell,
they are not. Knows no dataset, no column's meaning.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from party_node.table_errors import DataError, engine_missing, one_statement

if TYPE_CHECKING:
    import psycopg

CONNECT_SECONDS, SILENT_MS, MINUTE_MS = 10, 60_000, 60_000
# Classes of SQLSTATE whose text names tables, columns and rights, never a cell.
_SPEAKING = ("42", "3D", "3F", "28", "25", "57014", "0A")
_MAY_WRITE = """
select rolsuper or rolcreatedb or rolcreaterole or exists (
    select from pg_roles writers where writers.rolname = 'pg_write_all_data' and pg_has_role(writers.oid, 'member'))
from pg_roles where rolname = current_user
"""


class PostgresSource(BaseModel):
    """A `[source]` table of a dataset file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: Literal["postgresql"]
    query: Annotated[str, Field(min_length=1, max_length=100_000)]
    host: Annotated[str, Field(min_length=1)]            # a name, an address, or the directory of a local socket
    port: Annotated[int, Field(ge=1, le=65535)] = 5432
    database: Annotated[str, Field(min_length=1)]
    user: Annotated[str, Field(min_length=1)]
    password_file: str | None = None                     # relative to the dataset file; mode 600
    sslmode: Literal["verify-full", "verify-ca", "require", "disable"] = "verify-full"
    root_certificate: str = "system"                     # PEM of the database's CA, relative to the dataset file
    minutes: Annotated[int, Field(ge=1, le=1440)] = 60   # the query may take

    _one_statement = field_validator("query")(one_statement)

    @property
    def suffix(self) -> str:
        """Of the file that is written."""
        return ".csv"

    def write(self, file: BinaryIO, beside: Path) -> None:
        """Run the query and write its rows. `beside` is the folder of the dataset file. Raises DataError."""
        try:
            import psycopg
            from psycopg import sql
        except ImportError:
            raise engine_missing("psycopg", "postgresql") from None
        query = sql.SQL(self.query)  # the operator's own, not a literal of this program
        copy = sql.SQL("copy ({}) to stdout (format csv, header)").format(query)
        written = 0
        try:
            with self._connected(beside) as connection, connection.cursor() as cursor:
                row = cursor.execute(_MAY_WRITE).fetchone()
                if row is None or row[0]:
                    raise DataError("source_rights", f"the database user `{self.user}` may do more than read",
                                    "Give the node a user of its own with the right to SELECT and no other.")
                with cursor.copy(copy) as rows:
                    for block in rows:
                        file.write(block)
                        written += len(block)
        except psycopg.Error as error:
            raise _why(error, written) from None

    def _connected(self, beside: Path) -> psycopg.Connection:
        import psycopg
        from psycopg.conninfo import make_conninfo

        certificate = None
        if self.sslmode.startswith("verify"):
            system = self.root_certificate == "system"
            certificate = "system" if system else str(beside / self.root_certificate)
        where = make_conninfo(
            host=self.host, port=self.port, dbname=self.database, user=self.user, password=self._password(beside),
            passfile="/dev/null", sslmode=self.sslmode, sslrootcert=certificate, client_encoding="UTF8",
            connect_timeout=CONNECT_SECONDS, keepalives_idle=30, keepalives_interval=10, keepalives_count=3,
            tcp_user_timeout=SILENT_MS, application_name="party-node",
            options=f"-c default_transaction_read_only=on -c statement_timeout={self.minutes * MINUTE_MS}",
        )
        try:
            return psycopg.connect(where)
        except psycopg.OperationalError as error:
            raise DataError("source_unreachable", f"no connection to the database: {_first_line(str(error))}",
                            "Check host, port, database, user, password_file and sslmode.") from None

    def _password(self, beside: Path) -> str | None:
        if self.password_file is None:
            return None
        path = beside / self.password_file
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
            text = path.read_text(encoding="utf-8").strip("\r\n")
        except (OSError, UnicodeDecodeError):
            raise DataError("source_password", f"`{path.name}` cannot be read", "Check password_file.") from None
        if mode & 0o077:
            raise DataError("source_password", f"`{path.name}` is open to others (mode {mode:03o})",
                            f"run: chmod 600 {path}")
        return text


def _why(error: psycopg.Error, written: int) -> DataError:
    state = error.sqlstate or ""
    if not state or state.startswith(("08", "57P")):
        return DataError("source_lost", f"the connection to the database was lost after {written:,} bytes",
                         "Nothing was registered; run it again when the database is back.")
    if state.startswith(_SPEAKING):
        words = _first_line(error.diag.message_primary or "")
        return DataError("query_failed", f"the database refuses the query: {words}", "Mend the query or the rights.")
    return DataError("query_failed", f"the query failed (SQLSTATE {state})",
                     "Run it in psql: the server's words may quote a cell, so they are not shown here.")


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason was given"])[0][:300]
