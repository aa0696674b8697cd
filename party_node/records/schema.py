"""The tables of `state.db` and their version. A new version adds a migration; it never edits an old one."""

from __future__ import annotations

_FIRST = (
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL)",
    "INSERT INTO meta VALUES('fencing_token', 0)",
    "CREATE TABLE datasets(name TEXT PRIMARY KEY, record TEXT NOT NULL, registered REAL NOT NULL)",
    """CREATE TABLE jobs(id TEXT PRIMARY KEY, nonce TEXT NOT NULL UNIQUE, spec BLOB NOT NULL,
         coordinator TEXT NOT NULL, state TEXT NOT NULL, stage TEXT NOT NULL DEFAULT '',
         error_code TEXT NOT NULL DEFAULT '', error_text TEXT NOT NULL DEFAULT '',
         created REAL NOT NULL, updated REAL NOT NULL)""",
    """CREATE TABLE approvals(job TEXT NOT NULL REFERENCES jobs(id), party TEXT NOT NULL,
         signature BLOB NOT NULL, PRIMARY KEY(job, party))""",
    """CREATE TABLE debits(dataset TEXT NOT NULL, job TEXT NOT NULL, budget TEXT NOT NULL,
         amount INTEGER NOT NULL, at REAL NOT NULL, PRIMARY KEY(dataset, job, budget))""",
    """CREATE TABLE burnt(job TEXT NOT NULL, product TEXT NOT NULL, idx INTEGER NOT NULL,
         PRIMARY KEY(job, product, idx)) WITHOUT ROWID""",
    """CREATE TABLE alignments(job TEXT PRIMARY KEY, dataset TEXT NOT NULL, partners TEXT NOT NULL,
         count INTEGER NOT NULL)""",
    """CREATE TABLE models(job TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, digest TEXT NOT NULL,
         created REAL NOT NULL)""",
    """CREATE TABLE heads(job TEXT NOT NULL, peer TEXT NOT NULL, ours INTEGER NOT NULL,
         count INTEGER NOT NULL, head TEXT NOT NULL, signature BLOB NOT NULL,
         PRIMARY KEY(job, peer, ours))""",
)
_PINNED = (
    "ALTER TABLE burnt RENAME COLUMN product TO what",
    "CREATE TABLE pinned(job TEXT NOT NULL, what TEXT NOT NULL, digest BLOB NOT NULL, PRIMARY KEY(job, what))",
)
_NO_COUNTS = ("DROP TABLE alignments",)   # customers are compared, no longer their number

MIGRATIONS = (_FIRST, _PINNED, _NO_COUNTS)   # entry v leads from version v to v + 1
VERSION = len(MIGRATIONS)
