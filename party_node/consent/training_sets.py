"""Which customers every job of this node used: two jobs whose sets differ by a few customers would show these few.

training_sets/<job>.npz    `marks` of the customers in common, sorted; `held_out`, a bit for each; `key`, which tells
                           the key of the marks (no pickle)
A mark is 64 bits of a MAC of a customer's id under a key that this node alone has. So one customer has one mark in all
tables and datasets whose ids are normalised alike, whoever the partners are and however often a table is registered.
Written before the job trains, whether it comes to a model or not. Knows no outcome, no period and no policy.

Marks of two customers are equal with probability 2^-64, and nobody outside can look for such a pair: a difference of
fewer than 20 customers among n is taken for a smaller one with probability below 20 n 2^-64, 2^-39 at a million.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from mpc.errors import LocalError
from mpc.ring import U64
from wire.private_files import write_private

MARK_BYTES = 8
_OF_THE_KEY = b"key"    # no id: an id enters as 64 hexadecimal digits


class TrainingSets:
    """What one node remembers in `folder`, under `key` (16 to 64 bytes). Jobs of several threads may ask at once."""

    def __init__(self, folder: Path, key: bytes) -> None:
        self._folder, self._key, self._lock = folder, key, Lock()

    def __repr__(self) -> str:
        return "TrainingSets(...)"

    def marks(self, ids: Sequence[bytes], hashed: bool) -> U64:
        """The mark of each normalised id, in order; `hashed`: they are SHA-256 digests of ids already, hexadecimal.

        Keyed BLAKE2b [RFC 7693] of that digest: an id in writing and its digest in another table are one customer.
        """
        return np.frombuffer(b"".join(
            self._mac(one if hashed else hashlib.sha256(one).hexdigest().encode()) for one in ids
        ), "<u8").astype(np.uint64)

    def check(self) -> None:
        """LocalError unless all that is remembered can be read and compared: said before a job costs anything."""
        for _ in self._earlier(""):
            pass

    def accept(self, job: str, marks: U64, test: NDArray[np.bool_], least: int) -> str | None:
        """Remember the customers of `job` (repeats do not count) and which of them are held out; None.

        Nothing is remembered if those in common, those that train or those held out differ from an earlier job's by
        some, but fewer than `least`: then the words for these customers. LocalError if the folder cannot be used.
        """
        common, first = np.unique(marks, return_index=True)
        later = test[first]
        with self._lock:                # no other job comes between the look and the note
            if least > 1:
                for other, other_later in self._earlier(job):
                    for what, one, two in (
                        ("in common", common, other),
                        ("that train", common[~later], other[~other_later]),
                        ("held out", common[later], other[other_later]),
                    ):
                        if 0 < apart(one, two) < least:
                            return what
            self._note(job, common, later)
        return None

    def _note(self, job: str, common: U64, later: NDArray[np.bool_]) -> None:
        buffer = io.BytesIO()
        np.savez(buffer, marks=common, held_out=np.packbits(later), key=np.frombuffer(self._mac(_OF_THE_KEY), np.uint8))
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            write_private(self._folder / f"{job}.npz", buffer.getvalue())
        except OSError:
            raise LocalError("the customers that this job uses could not be noted", "make room on the disk") from None

    def _earlier(self, job: str) -> Iterator[tuple[U64, NDArray[np.bool_]]]:
        for path in sorted(self._folder.glob("*.npz")):
            if path.stem == job:
                continue
            try:
                with np.load(path, allow_pickle=False) as kept:
                    if "marks" not in kept:
                        raise LocalError("what an earlier release remembered of the rows of jobs cannot be compared",
                                         "move the files of that time out of training_sets: jobs from before then are "
                                         "compared with none")
                    marks, key = kept["marks"].astype(np.uint64), kept["key"].tobytes()
                    later = np.unpackbits(kept["held_out"], count=len(marks)).astype(np.bool_)
            except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error):
                raise LocalError("what this party remembers of the customers of earlier jobs cannot be read",
                                 "restore training_sets from a copy: without it nobody can say whether two models are "
                                 "too near") from None
            if key != self._mac(_OF_THE_KEY):
                raise LocalError("the customers of earlier jobs were noted under another secret of this node",
                                 "restore keys and training_sets from one copy: else nobody can say whether two "
                                 "models are too near")
            yield marks, later

    def _mac(self, message: bytes) -> bytes:
        return hashlib.blake2b(message, key=self._key, digest_size=MARK_BYTES).digest()


def apart(one: U64, other: U64) -> int:
    """In how many values two sorted sets differ."""
    both = np.concatenate([one, other])
    both.sort(kind="stable")     # merges two sorted runs
    return len(both) - 2 * int(np.count_nonzero(both[1:] == both[:-1]))
