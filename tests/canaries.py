"""Values that must never be seen outside the tables, models and keys of their owners, and how to look for them.

Tests put them into the tables of every cluster; at the end of the run tests/conftest.py looks for them in whatever
was left behind (logs, audit lines, captured output, command lines). Knows nothing of how a cluster is made.

   id      canary_id(k), k = 0, 1, ...: every id of a canary table has the mark; use k = 0..7 for common customers
   label   POSITIVE is public (the spec names it), NEGATIVE is the canary
   level   LEVELS of a categorical column
   number  NUMBER itself in some rows of a numeric column, number(draw) near it in the others
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mpc.testing.haystack import Haystack
from mpc.testing.transcript import encodings

ID_MARK = "kq7vzcanary"
POSITIVE = "yes"
NEGATIVE = "zj4xq-repaid-canary"
LEVELS = ("wq9-canary-level-one", "vx8-canary-level-two", "yk6-canary-level-three")
NUMBER = 73918264.25
HASHED = 8
"""So many ids are also looked for in hashed form."""


def canary_id(k: int) -> str:
    """The k-th customer; the same at every party."""
    return f"{ID_MARK}-{k:06d}"


def number(draw: float) -> float:
    """A value near NUMBER whose text begins with the same six digits: |draw| <= 1, e.g. a bounded uniform."""
    return NUMBER + 40.0 * max(-1.0, min(1.0, draw))


@dataclass(frozen=True)
class Needle:
    """One form of one canary. `name` says which without repeating it."""

    name: str
    form: bytes


def data_needles() -> list[Needle]:
    """Every form in which an id, a label, a level or a number of a canary table could be seen."""
    texts = {"id": ID_MARK, "label": NEGATIVE} | {f"level {i}": level for i, level in enumerate(LEVELS)}
    found = [Needle("number: text", b"73918264"), Needle("number: exponent", b"7.3918264")]
    found += [Needle(f"number: float64 {order}", struct.pack(f"{order}d", NUMBER)) for order in "<>"]
    for kind, text in texts.items():
        for case in (text, text.upper()):
            named = kind if case == text else f"{kind} in capitals"
            found += [Needle(f"{named}: {name}", form) for name, form in encodings(case.encode()).items()]
    for k in range(HASHED):
        forms = encodings(canary_id(k).encode())
        hashes = [name for name in forms if re.match("md5|sha|blake", name)]
        found += [Needle(f"id {k}: {name}", forms[name]) for name in hashes]
    return found


def key_needles(files: Iterable[Path]) -> list[Needle]:
    """A piece from the inside of each private key in PEM: as base64, as bytes, and these in hex."""
    found = []
    for file in files:
        name = f"private key of {file.parent.parent.name}/{file.name}"
        for block in re.findall(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s(.*?)-----END", file.read_bytes(), re.DOTALL):
            body = b"".join(block.split())
            # Inside the secret: the beginning names the algorithm, and an EC key ends with its public point.
            inside = body[52:76] if len(body) > 100 else body[-24:]
            data = base64.b64decode(inside)
            found += [Needle(name, inside), Needle(f"{name}: bytes", data), Needle(f"{name}: hex", data.hex().encode())]
    return found


def haystack(needles: Iterable[Needle]) -> Haystack:
    """Prepared for searching."""
    return Haystack({needle.name: needle.form for needle in needles})


# ---------------------------------------------------------------- what a run leaves behind

_EXEMPT: set[Path] = set()
TABLES = {".csv", ".parquet"}
MAX_BYTES = 1 << 28


def exempt(path: Path) -> None:
    """A test that spoils a directory on purpose (modes, contents) takes it out of the scan at the end."""
    _EXEMPT.add(path.resolve())


def exempted() -> list[str]:
    """What was taken out so far, for a process that scans what this one left."""
    return sorted(map(str, _EXEMPT))


def _scanned(base: Path) -> Iterator[Path]:
    for path in sorted(base.rglob("*")):
        resolved = path.resolve()
        if path.is_symlink() or not path.is_file() or any(e == resolved or e in resolved.parents for e in _EXEMPT):
            continue
        yield path


def party_directories(base: Path) -> list[Path]:
    """Directories of nodes that have run as processes, and of coordinators that have seen a job through (tests of
    loose directories spoil theirs on purpose)."""
    marks = {"party.toml": "process.log", "name": "jobs/*/record.json"}
    return sorted(
        path.parent for path in _scanned(base) if path.name in marks and any(path.parent.glob(marks[path.name]))
    )


def owner_may_hold(path: Path) -> bool:
    """Whether `path` is a table, or lies where private data is at home: among models, or what was made ahead of one."""
    return path.suffix in TABLES or bool({"models", "prepared"} & set(path.parts))


def leaks(base: Path) -> list[str]:
    """What was found under `base` where it must not be: 'file: which canary'."""
    found = []
    values = haystack(data_needles())
    keys = [p for p in _scanned(base) if p.suffix in (".pem", ".key") and {"keys", "tls"} & set(p.parts)]
    secrets = haystack(key_needles(keys))
    for path in _scanned(base):
        if path.stat().st_size > MAX_BYTES:
            continue
        data = path.read_bytes()
        names = [] if owner_may_hold(path) else values.found(data)
        names += [] if path in keys else secrets.found(data)
        found += [f"{path.relative_to(base)}: {name}" for name in names]
    return found


def loose_modes(base: Path) -> list[str]:
    """Files of all party directories that are not 0600, directories that are not 0700."""
    return [line for party in party_directories(base) for line in loose_modes_of(party, base)]


def loose_modes_of(party: Path, base: Path) -> list[str]:
    """The same of one party directory; paths are told from `base`."""
    found = []
    for path in [party, *party.rglob("*")]:
        due = 0o700 if path.is_dir() else 0o600
        mode = path.lstat().st_mode & 0o777
        if not path.is_symlink() and mode != due:
            found.append(f"{path.relative_to(base)}: mode {mode:o} where {due:o} is due")
    return found
