"""What the coordinator keeps: job specs, approvals, states, public records. SQLite, 0600; no row, no key."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mpc.errors import LocalError

SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY,
    purpose TEXT NOT NULL,
    created TEXT NOT NULL,
    state TEXT NOT NULL,
    spec BLOB NOT NULL,
    approvals TEXT NOT NULL DEFAULT '{}',
    record TEXT,
    error TEXT
) STRICT
"""
# state -> states that may follow
NEXT: Mapping[str, frozenset[str]] = {
    "proposed": frozenset({"running", "denied", "failed", "cancelled"}),
    "running": frozenset({"finished", "failed", "cancelled"}),
    "finished": frozenset(),
    "denied": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}


@dataclass(frozen=True)
class JobRow:
    """One job as the coordinator knows it."""

    id: str
    purpose: str
    created: str
    state: str
    spec: bytes
    record: dict[str, Any] | None
    error: dict[str, Any] | None


class Store:
    """One writer at a time; every change is on the disk before the call returns."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute(SCHEMA)

    def add(self, job: str, purpose: str, spec: bytes) -> str:
        """Note a proposed job; returns the time of its making."""
        created = datetime.now(UTC).isoformat(timespec="seconds")
        self._db.execute("INSERT INTO jobs (id, purpose, created, state, spec) VALUES (?, ?, ?, 'proposed', ?)",
                         (job, purpose, created, spec))
        return created

    def move(
        self,
        job: str,
        state: str,
        *,
        record: Mapping[str, Any] | None = None,
        error: Mapping[str, Any] | None = None,
        approvals: Mapping[str, str] | None = None,
    ) -> None:
        """Change a job's state; LocalError if it may not follow."""
        current = self.job(job).state
        if state not in NEXT[current]:
            raise LocalError(f"job {job[:12]} is {current} and cannot become {state}")
        self._db.execute(
            "UPDATE jobs SET state = ?, record = ?, error = ?, approvals = coalesce(?, approvals) WHERE id = ?",
            (state, *(None if v is None else json.dumps(v) for v in (record, error, approvals)), job),
        )

    def job(self, prefix: str) -> JobRow:
        """The one job whose id begins with `prefix`; LocalError if there is none or more than one."""
        rows = self._db.execute("SELECT * FROM jobs WHERE substr(id, 1, ?) = ?", (len(prefix), prefix)).fetchall()
        if len(rows) != 1:
            found = "no job" if not rows else f"{len(rows)} jobs"
            raise LocalError(f"{found} with an id that begins with {prefix[:64]!r}", "run: coordinator jobs")
        return _row(rows[0])

    def jobs(self) -> list[JobRow]:
        """All jobs, newest first."""
        return [_row(r) for r in self._db.execute("SELECT * FROM jobs ORDER BY created DESC, id")]

    def close(self) -> None:
        self._db.close()


def _row(row: sqlite3.Row) -> JobRow:
    return JobRow(
        id=row["id"], purpose=row["purpose"], created=row["created"], state=row["state"], spec=row["spec"],
        record=None if row["record"] is None else json.loads(row["record"]),
        error=None if row["error"] is None else json.loads(row["error"]),
    )
