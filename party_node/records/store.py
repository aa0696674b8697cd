"""What one institution remembers between messages: `state.db`, one SQLite file, 0600, WAL, synchronous=FULL.

Jobs move only along TRANSITIONS. A job id runs once. A budget is debited, and a correlation index burnt, in
the same transaction that allows the use, so that nothing is sent on the strength of something forgotten.
The running daemon holds a lock file and a fencing token: a second instance on the directory is refused, and
one that lost its token can write no more. The command line opens the same file beside it, without the token.
Knows no row, key or share.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from pathlib import Path
from threading import RLock
from typing import Any

from mpc.errors import LocalError
from party_node.records import schema
from party_node.records.budgets import Budget, Debit, account_of


class JobState(StrEnum):
    """Where a job stands at this party."""

    PENDING = "pending"      # a person must decide
    APPROVED = "approved"    # signed by us
    DENIED = "denied"        # a person said no, before or after a yes (a denial by policy is not kept at all)
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    JobState.PENDING: frozenset({JobState.APPROVED, JobState.DENIED, JobState.CANCELLED}),
    JobState.APPROVED: frozenset({JobState.RUNNING, JobState.DENIED, JobState.CANCELLED}),
    JobState.RUNNING: frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED}),
    JobState.DENIED: frozenset(),
    JobState.DONE: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}


Noted = Callable[[], object]   # called once a step is allowed, before it counts; if it raises, the step is not made


def _unnoted() -> None:
    """For a step of which nobody keeps a line."""


class StoreError(LocalError):
    """The store refused: a step out of order, a second instance, a repeated use."""


class BudgetExhausted(StoreError):
    """The debit would pass the limit of the dataset's policy; nothing was debited."""

    def __init__(self, dataset: str, budget: Budget) -> None:
        # No figures: the text may be shown to a peer, and a limit can be a tenth of our rows.
        super().__init__(f"the budget {budget.value} of dataset {dataset} is used up",
                         "party-node dataset list shows what was spent; the bank may raise it in the policy")


@dataclass(frozen=True)
class JobRow:
    """One job as this party remembers it."""

    id: str
    spec: bytes
    coordinator: str
    state: JobState
    stage: str
    error_code: str
    error_text: str
    created: float  # Unix seconds
    updated: float


@dataclass(frozen=True)
class ModelRow:
    """A kept model part: file name under models/, SHA-256 of the manifest, the job that made it."""

    job: str
    name: str
    digest: str
    created: float


@dataclass(frozen=True)
class HeadRow:
    """A signed audit head: ours, countersigned by `peer` (ours=True), or the peer's own (ours=False)."""

    job: str
    peer: str
    ours: bool
    count: int
    head: str
    signature: bytes


class Store:
    """One party's memory. Safe to call from several threads; each write is one durable transaction."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        """Open or make the file; StoreError if a newer release wrote it."""
        self._clock = clock
        self._mutex = RLock()
        self._token: int | None = None
        self._lock_handle: int | None = None
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite's sidecar files copy this mode
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("PRAGMA foreign_keys=ON")
        self._migrate(path)

    def _migrate(self, path: Path) -> None:
        with self._write() as db:
            version = int(db.execute("PRAGMA user_version").fetchone()[0])
            if version < schema.VERSION:
                for statement in chain.from_iterable(schema.MIGRATIONS[version:]):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version={schema.VERSION:d}")
        if version > schema.VERSION:
            self._db.close()
            raise StoreError(f"{path} has schema {version}, this release knows {schema.VERSION}",
                             "install the release that wrote it")

    def close(self) -> None:
        """Give up the file and, if held, the instance lock."""
        with self._mutex:
            self._db.close()
            if self._lock_handle is not None:
                os.close(self._lock_handle)
                self._lock_handle = None

    # ------------------------------------------------------------------ one writer

    def claim(self, lock_file: Path) -> int:
        """Become the one running instance of this party; returns the fencing token of this start.

        Jobs that an earlier instance left running are marked failed: they cannot be replayed.
        Raises StoreError when another instance runs on the same directory.
        """
        handle = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            raise StoreError(f"another party-node already runs on {lock_file.parent}",
                             "stop it first; two instances would use one party's masks twice") from None
        self._lock_handle = handle
        with self._write() as db:
            db.execute("UPDATE meta SET value = value + 1 WHERE key = 'fencing_token'")
            self._token = self._current_token()
            db.execute(
                "UPDATE jobs SET state = ?, error_code = 'NODE_RESTARTED', error_text = ?, updated = ? "
                "WHERE state = ?",
                (JobState.FAILED, "this node stopped while the job ran", self._clock(), JobState.RUNNING),
            )
        return self._token

    def _current_token(self) -> int:
        return int(self._db.execute("SELECT value FROM meta WHERE key = 'fencing_token'").fetchone()[0])

    @contextmanager
    def _write(self, noted: Noted = _unnoted) -> Iterator[sqlite3.Connection]:
        """One transaction, all or nothing; StoreError once a later instance has started."""
        with self._mutex:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                if self._token is not None and self._current_token() != self._token:
                    raise StoreError("a later instance of this party has started", "this one must stop")
                yield self._db
                noted()
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _read(self, query: str, values: tuple[Any, ...] = ()) -> list[sqlite3.Row]:
        with self._mutex:
            return self._db.execute(query, values).fetchall()

    # ------------------------------------------------------------------ jobs

    def add_job(self, job: str, nonce: str, spec: bytes, coordinator: str, noted: Noted = _unnoted) -> None:
        """Remember a proposed job as PENDING; StoreError if the job or its nonce is known already."""
        with self._write(noted) as db:
            self._add(db, job, nonce, spec, coordinator)

    def add_approved(
        self, job: str, nonce: str, spec: bytes, coordinator: str, party: str, signature: bytes,
        noted: Noted = _unnoted,
    ) -> None:
        """Remember a job that policy alone allows, APPROVED, with our signature."""
        with self._write(noted) as db:
            self._add(db, job, nonce, spec, coordinator)
            self._approve(db, job, party, signature)

    def _add(self, db: sqlite3.Connection, job: str, nonce: str, spec: bytes, coordinator: str) -> None:
        now = self._clock()
        try:
            db.execute(
                "INSERT INTO jobs(id, nonce, spec, coordinator, state, created, updated) "
                "VALUES(?,?,?,?,?,?,?)",
                (job, nonce, spec, coordinator, JobState.PENDING, now, now),
            )
        except sqlite3.IntegrityError:
            raise StoreError(f"job {job[:12]} or its nonce is known already") from None

    def job(self, job: str) -> JobRow | None:
        """The job, or None."""
        rows = self._read("SELECT * FROM jobs WHERE id = ?", (job,))
        return _job_row(rows[0]) if rows else None

    def jobs(self, *states: JobState) -> list[JobRow]:
        """Jobs in one of `states` (none given: all), oldest first."""
        rows = self._read("SELECT * FROM jobs WHERE state IN (SELECT value FROM json_each(?)) ORDER BY created, id",
                          (json.dumps(states or list(JobState)),))
        return [_job_row(row) for row in rows]

    def find_job(self, start: str) -> JobRow:
        """The one job whose id begins with `start`; StoreError if there is none or several."""
        rows = self._read("SELECT * FROM jobs WHERE substr(id, 1, ?) = ?", (len(start), start))
        if len(rows) != 1:
            raise StoreError(f"{len(rows) or 'no'} jobs begin with `{start}`", "run: party-node jobs")
        return _job_row(rows[0])

    def job_of_nonce(self, nonce: str) -> str | None:
        """The id of the job that carried `nonce`, or None."""
        rows = self._read("SELECT id FROM jobs WHERE nonce = ?", (nonce,))
        return str(rows[0]["id"]) if rows else None

    def move(self, job: str, to: JobState, *, code: str = "", text: str = "", noted: Noted = _unnoted) -> None:
        """Move a job along TRANSITIONS, with the error's code and public text where it failed."""
        with self._write(noted) as db:
            self._move(db, job, to, code, text)

    def _move(self, db: sqlite3.Connection, job: str, to: JobState, code: str = "", text: str = "") -> None:
        row = db.execute("SELECT state FROM jobs WHERE id = ?", (job,)).fetchone()
        if row is None:
            raise StoreError(f"no job {job[:12]} is known here")
        state = JobState(row["state"])
        if to not in TRANSITIONS[state]:
            raise StoreError(f"job {job[:12]} is {state.value} and cannot become {to.value}")
        db.execute("UPDATE jobs SET state = ?, error_code = ?, error_text = ?, updated = ? WHERE id = ?",
                   (to, code, text, self._clock(), job))

    def set_stage(self, job: str, stage: str) -> None:
        """Note the stage that a running job has reached."""
        with self._write() as db:
            done = db.execute("UPDATE jobs SET stage = ?, updated = ? WHERE id = ? AND state = ?",
                              (stage, self._clock(), job, JobState.RUNNING))
            if done.rowcount != 1:
                raise StoreError(f"job {job[:12]} is not running")

    def approve_job(self, job: str, party: str, signature: bytes, noted: Noted = _unnoted) -> None:
        """PENDING becomes APPROVED and our signature is kept, in one transaction."""
        with self._write(noted) as db:
            self._approve(db, job, party, signature)

    def _approve(self, db: sqlite3.Connection, job: str, party: str, signature: bytes) -> None:
        self._move(db, job, JobState.APPROVED)
        db.execute("INSERT INTO approvals VALUES(?,?,?)", (job, party, signature))

    def approvals(self, job: str) -> dict[str, bytes]:
        """Signatures by party: our own once given, everybody's once the job has started."""
        return {row["party"]: bytes(row["signature"])
                for row in self._read("SELECT party, signature FROM approvals WHERE job = ?", (job,))}

    def start_job(
        self, job: str, approvals: Mapping[str, bytes], dataset: str, debits: Iterable[Debit],
        noted: Noted = _unnoted,
    ) -> None:
        """APPROVED becomes RUNNING, all approvals are kept and all budgets debited: all of it or none.

        Raises BudgetExhausted, or StoreError if the job is not APPROVED (a job id runs once).
        """
        with self._write(noted) as db:
            self._move(db, job, JobState.RUNNING)
            db.executemany("INSERT OR IGNORE INTO approvals VALUES(?,?,?)",
                           [(job, party, signature) for party, signature in sorted(approvals.items())])
            for debit in debits:
                self._debit(db, dataset, job, debit)

    # ------------------------------------------------------------------ budgets and burnt correlations

    def debit(self, dataset: str, job: str, debit: Debit, noted: Noted = _unnoted) -> None:
        """Raise the job's debit by `amount`; BudgetExhausted (and nothing debited) past the limit."""
        with self._write(noted) as db:
            self._debit(db, dataset, job, debit)

    def _debit(self, db: sqlite3.Connection, dataset: str, job: str, debit: Debit) -> None:
        if debit.amount < 0:
            raise StoreError("a debit cannot be negative")
        account = account_of(dataset, debit.partner)
        row = db.execute("SELECT COALESCE(SUM(amount), 0) FROM debits WHERE dataset = ? AND budget = ?",
                         (account, debit.budget)).fetchone()
        if int(row[0]) + debit.amount > debit.limit:
            raise BudgetExhausted(dataset, debit.budget)
        db.execute(
            "INSERT INTO debits VALUES(?,?,?,?,?) ON CONFLICT(dataset, job, budget) "
            "DO UPDATE SET amount = amount + excluded.amount",
            (account, job, debit.budget, debit.amount, self._clock()),
        )

    def spent(self, dataset: str, partner: str = "") -> dict[Budget, int]:
        """What all jobs together have used of the dataset's budgets, or of those that `partner` has for itself."""
        rows = self._read("SELECT budget, SUM(amount) AS total FROM debits WHERE dataset = ? GROUP BY budget",
                          (account_of(dataset, partner),))
        used = {Budget(row["budget"]): int(row["total"]) for row in rows}
        return {budget: used.get(budget, 0) for budget in Budget}

    def burn(self, job: str, what: str, indices: Iterable[int]) -> None:
        """Mark correlations as used, before their use; StoreError, and none burnt, if any was used before."""
        try:
            with self._write() as db:
                db.executemany("INSERT INTO burnt VALUES(?,?,?)", [(job, what, i) for i in indices])
        except sqlite3.IntegrityError:
            raise StoreError(f"a mask of {what} in job {job[:12]} was used before",
                             "the job must stop; start a new one") from None

    def is_burnt(self, job: str, what: str) -> bool:
        """Whether any correlation of that kind was used."""
        return bool(self._read("SELECT 1 FROM burnt WHERE job = ? AND what = ? LIMIT 1", (job, what)))

    def pin(self, job: str, what: str, digest: bytes) -> None:
        """Remember what masks are made for; StoreError if the job has pinned something else under that name."""
        with self._write() as db:
            db.execute("INSERT OR IGNORE INTO pinned VALUES(?,?,?)", (job, what, digest))
            kept = db.execute("SELECT digest FROM pinned WHERE job = ? AND what = ?", (job, what)).fetchone()
            if bytes(kept["digest"]) != digest:
                raise StoreError(f"{what} of job {job[:12]} has changed", "the job must stop; start a new one")

    # ------------------------------------------------------------------ datasets, models, audit heads

    def put_dataset(self, name: str, record: Mapping[str, Any]) -> None:
        """Register or replace a dataset; its budgets stay as spent."""
        with self._write() as db:
            db.execute("INSERT OR REPLACE INTO datasets VALUES(?,?,?)",
                       (name, json.dumps(record, sort_keys=True), self._clock()))

    def dataset(self, name: str) -> dict[str, Any] | None:
        """The registered record, or None."""
        rows = self._read("SELECT record FROM datasets WHERE name = ?", (name,))
        return dict(json.loads(rows[0]["record"])) if rows else None

    def dataset_names(self) -> list[str]:
        """Names of all registered datasets."""
        return [str(row["name"]) for row in self._read("SELECT name FROM datasets ORDER BY name")]

    def add_model(self, job: str, name: str, digest: str) -> None:
        """Register a kept model part, after its files are complete on disk; StoreError if the job has one."""
        try:
            with self._write() as db:
                db.execute("INSERT INTO models VALUES(?,?,?,?)", (job, name, digest, self._clock()))
        except sqlite3.IntegrityError:
            raise StoreError(f"job {job[:12]} has a model already") from None

    def models(self) -> list[ModelRow]:
        """Kept model parts, oldest first."""
        return [ModelRow(row["job"], row["name"], row["digest"], row["created"])
                for row in self._read("SELECT * FROM models ORDER BY created, name")]

    def keep_head(self, head: HeadRow) -> None:
        """Keep a countersignature on our audit head, or a peer's head."""
        with self._write() as db:
            db.execute("INSERT OR REPLACE INTO heads VALUES(?,?,?,?,?,?)",
                       (head.job, head.peer, int(head.ours), head.count, head.head, head.signature))

    def heads(self, *, ours: bool) -> list[HeadRow]:
        """Kept audit heads in the order of the log: our countersigned ones, or the peers' own."""
        rows = self._read("SELECT * FROM heads WHERE ours = ? ORDER BY count, peer", (int(ours),))
        return [
            HeadRow(row["job"], row["peer"], ours, row["count"], row["head"], bytes(row["signature"]))
            for row in rows
        ]


def _job_row(row: sqlite3.Row) -> JobRow:
    return JobRow(row["id"], bytes(row["spec"]), row["coordinator"], JobState(row["state"]), row["stage"],
                  row["error_code"], row["error_text"], row["created"], row["updated"])
