"""What a job made ahead of another one, in one private file: prepared/JOB, 0600. Read by one later job, once.

   arrays, one after the other | manifest, JSON: name, kind, shape, place, SHA-256 of each | its length | its SHA-256
The one-time values among them can be had only after `begin`, which burns the job in the store (for good, whatever
becomes of the file) and removes the file's name. Written under a passing name, flushed, and renamed when all parties
have theirs. Nothing is unpickled. Knows no protocol.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
from numpy.typing import NDArray

from mpc.errors import LocalError
from mpc.link import PartyId
from party_node.records.store import JobState, Store, StoreError
from wire.spec.job import kept_spec

PASSING = ".partial"
VERSION = 1
BURNT = "prepared"                   # under which a job's values are burnt in the store
OPEN = "open/"                       # names of arrays that serve no single use
TAIL = struct.Struct("<Q32s")
JOB_ID = re.compile("[0-9a-f]{64}")
PIECE = 1 << 22
KINDS = ("<u8", "<i8", "<i2", "|b1")
Array = NDArray[Any]


class Damaged(LocalError):
    """The file is not what was written, or cannot be read."""

    def __init__(self, job: str) -> None:
        super().__init__(f"what job {job[:12]} made ahead is damaged or cannot be read",
                         f"party-node prepared remove {job[:12]}; then coordinator precompute")


class Gone(LocalError):
    """There is no file."""

    def __init__(self, job: str) -> None:
        super().__init__(f"what job {job[:12]} made ahead is not here any more",
                         "launch without --prepared, or coordinator precompute again")


class Used(LocalError):
    """Some process has used the values, or somebody has removed them."""

    def __init__(self, job: str) -> None:
        super().__init__(f"what job {job[:12]} made ahead was used before or removed",
                         "launch without --prepared, or coordinator precompute again")


# -- writing -----------------------------------------------------------------------------------------------------


class Writer:
    """One file under its passing name. Arrays go to the disk as they come; none is copied."""

    def __init__(self, folder: Path, job: str) -> None:
        self.path = folder / f"{job}{PASSING}"
        with _written():
            folder.mkdir(mode=0o700, exist_ok=True)
            self.path.unlink(missing_ok=True)
            self._file = os.fdopen(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=0)
        self._places: dict[str, dict[str, Any]] = {}
        self._length = 0

    def put(self, name: str, array: Array) -> None:
        """Append one array. LocalError where the disk does not take it."""
        if name in self._places or array.dtype.str not in KINDS:
            raise LocalError("an array is kept once, and as numbers")
        data = np.ascontiguousarray(array).data.cast("B") if array.size else memoryview(b"")
        self._append(data)
        self._places[name] = {"kind": array.dtype.str, "shape": list(array.shape), "at": self._length - len(data),
                              "sha256": hashlib.sha256(data).hexdigest()}

    def close(self, about: Mapping[str, Any]) -> Path:
        """End the file with its manifest; on the disk when this returns."""
        manifest = json.dumps({"version": VERSION, "arrays": self._places, **about}, allow_nan=False).encode()
        self._append(memoryview(manifest))
        self._append(memoryview(TAIL.pack(len(manifest), hashlib.sha256(manifest).digest())))
        with _written():
            os.fsync(self._file.fileno())
            self._file.close()
        return self.path

    def _append(self, data: memoryview) -> None:
        with _written():
            for start in range(0, len(data), PIECE):
                piece = data[start : start + PIECE]
                while piece:
                    piece = piece[self._file.write(piece) :]
        self._length += len(data)

    def __reduce__(self) -> NoReturn:
        raise TypeError("what was made ahead is secret and is never pickled")


@contextmanager
def _written() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LocalError(f"what was made ahead could not be written ({error.strerror or 'unknown'})",
                         "mend the disk, then coordinator precompute again") from None


def settle(path: Path) -> None:
    """Give a complete file its lasting name, on the disk too."""
    with _written():
        path.rename(path.with_name(path.name.removesuffix(PASSING)))
        _sync(path.parent)


def drop_unsettled(folder: Path, job: str = "*") -> None:
    """Remove what was written under a passing name: of a job that failed, or of all at the start of the node."""
    for path in folder.glob(f"{job}{PASSING}"):
        with suppress(OSError):
            path.unlink()


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# -- reading -----------------------------------------------------------------------------------------------------


class Prepared:
    """One open file. Implements mpc.regression.precomputed.Kept; `burn` notes for good that its values are used."""

    def __init__(self, path: Path, file: BinaryIO, burn: Callable[[], None]) -> None:
        """Reads the manifest. Damaged."""
        self._path, self._file, self._burn, self._begun = path, file, burn, False
        self.job = path.name
        try:
            size = os.fstat(file.fileno()).st_size
            length, digest = TAIL.unpack(os.pread(file.fileno(), TAIL.size, size - TAIL.size))
            end = size - TAIL.size - length
            if length == 0 or end < 0:
                raise ValueError
            manifest = os.pread(file.fileno(), length, end)
            if hashlib.sha256(manifest).digest() != digest:
                raise ValueError
            self.about: dict[str, Any] = json.loads(manifest)
            if self.about["version"] != VERSION or self.about["job"] != self.job:
                raise ValueError
            self.until = float(self.about["until"])
            self._left: dict[str, dict[str, Any]] = dict(self.about.pop("arrays"))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
            raise Damaged(self.job) from None

    @property
    def widths(self) -> Mapping[PartyId, int]:
        """Padded widths of all parties' blocks."""
        return {PartyId(party): int(width) for party, width in self.about["widths"].items()}

    @property
    def shape(self) -> str:
        """Of the run that the values are for (mpc.regression.precomputed.shape_of)."""
        return str(self.about["shape"])

    def check(self) -> None:
        """Damaged unless every byte is as it was written."""
        for place in self._left.values():
            digest, (start, stop) = hashlib.sha256(), _span(place)
            for at in range(start, stop, PIECE):
                piece = bytearray(min(PIECE, stop - at))
                self._fill(memoryview(piece), at)
                digest.update(piece)
            if digest.hexdigest() != place["sha256"]:
                raise Damaged(self.job)

    def begin(self) -> None:
        """Burn the one-time values, then take the file's name away: what is open here is all that is left of it."""
        try:
            self._burn()
        finally:                        # a file whose values were burnt before is of no use either
            self._path.unlink(missing_ok=True)
            _sync(self._path.parent)
        self._begun = True

    def known(self, name: str) -> Array | None:
        """An array that serves no single use; None if there is none of that name."""
        place = self._left.get(OPEN + name)
        return None if place is None else self._read(place)

    def take(self, name: str) -> Array:
        """A one-time array. LocalError before `begin`, when it was taken before, and for a name that is not there."""
        if not self._begun or name.startswith(OPEN):
            raise LocalError("one-time values are burnt before they are read")
        place = self._left.pop(name, None)
        if place is None:
            raise LocalError(f"what job {self.job[:12]} made ahead lacks something, or it was taken before",
                             "coordinator precompute again")
        return self._read(place)

    def _read(self, place: Mapping[str, Any]) -> Array:
        """What is used is what was checked: these very bytes, whatever became of the file since. Damaged."""
        array = np.empty(place["shape"], place["kind"])
        if array.size:
            view = array.data.cast("B")
            self._fill(view, int(place["at"]))
            if hashlib.sha256(view).hexdigest() != place["sha256"]:
                raise Damaged(self.job)
        return array

    def _fill(self, view: memoryview, at: int) -> None:
        try:
            while view:
                done = os.preadv(self._file.fileno(), [view], at)
                if done == 0:
                    raise Damaged(self.job)
                view, at = view[done:], at + done
        except OSError:
            raise Damaged(self.job) from None

    def __repr__(self) -> str:
        return f"Prepared({self.job[:12]})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("what was made ahead is secret and is never pickled")


def _span(place: Mapping[str, Any]) -> tuple[int, int]:
    start, size = int(place["at"]), int(np.dtype(place["kind"]).itemsize * np.prod(place["shape"], dtype=np.int64))
    return start, start + size


@contextmanager
def opened(folder: Path, job: str, burn: Callable[[], None]) -> Iterator[Prepared]:
    """What `job` made ahead. Gone, Damaged."""
    try:
        file = (folder / job).open("rb", buffering=0)
    except FileNotFoundError:
        raise Gone(job) from None
    except OSError:
        raise Damaged(job) from None
    with file:
        yield Prepared(folder / job, file, burn)


# -- the books ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Listed:
    """One file as its owner sees it."""

    job: str
    made: float          # Unix seconds
    until: float
    size: int
    state: str           # ready, lapsed, used, damaged


def burn(store: Store, job: str) -> None:
    """Note for good that what `job` made ahead is used. Used; StoreError if that cannot be noted."""
    try:
        store.burn(job, BURNT, [0])
    except StoreError:
        if not store.is_burnt(job, BURNT):     # this process may write no more
            raise
        raise Used(job) from None


def listed(folder: Path, store: Store) -> list[Listed]:
    """All files, oldest first."""
    found = []
    for path in _files(folder):
        with suppress(FileNotFoundError):      # a job has just taken it
            found.append(_looked_at(path, store))
    return sorted(found, key=lambda one: (one.made, one.job))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if JOB_ID.fullmatch(path.name)) if folder.is_dir() else []


def _looked_at(path: Path, store: Store) -> Listed:
    """`until` is what was agreed, so that it is known of a file that nobody can read, too."""
    status, row = path.stat(), store.job(path.name)
    spec = None if row is None else kept_spec(row.spec)
    until, state = 0.0, "damaged"
    with suppress(LocalError), opened(path.parent, path.name, _nothing) as file:
        until, state = file.until, "ready"
    until = until if spec is None else float(spec.valid_until)
    if until < time.time():
        state = "lapsed"
    if store.is_burnt(path.name, BURNT) or row is None or row.state not in (JobState.DONE, JobState.RUNNING):
        state = "used"
    return Listed(path.name, status.st_mtime, until, status.st_size, state)


def remove(folder: Path, store: Store, job: str) -> None:
    """Burn what `job` made ahead, and delete it."""
    with suppress(Used):
        burn(store, job)
    (folder / job).unlink(missing_ok=True)


def sweep(folder: Path, store: Store) -> None:
    """Remove what cannot serve any more: used, lapsed, whole or damaged, or of a job that did not end well here.

    What a running job names stays until it ends. A file that cannot be removed keeps nobody from starting: it is tried
    again with the next job.
    """
    running: set[str | None] = set()
    for row in store.jobs(JobState.RUNNING):
        spec = kept_spec(row.spec)
        running |= {row.id} if spec is None else {row.id, spec.prepared}
    with suppress(OSError):
        for path in _files(folder):
            with suppress(OSError, StoreError):
                if path.name not in running and _looked_at(path, store).state in ("used", "lapsed"):
                    remove(folder, store, path.name)


def _nothing() -> NoReturn:
    raise LocalError("a list uses nothing")
