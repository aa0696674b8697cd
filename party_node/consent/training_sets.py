"""Which rows every job of a table trained on: two models whose training sets differ by a few customers would show them.

training_sets/<job>.npz    one bit for each row of the table (packed), its SHA-256, the parties of the job (no pickle)
Written before the job trains, whether it comes to a model or not. Rows of two tables are not compared, nor sets of
parties of which neither lies within the other. Knows no outcome, no period and no policy.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mpc.errors import LocalError
from wire.private_files import write_private


@dataclass(frozen=True, repr=False)
class TrainingSet:
    """`rows`: of the table with the digest `table`, hexadecimal; in any order, repeats do not count."""

    job: str
    table: str
    parties: frozenset[str]
    rows: NDArray[np.int64]

    def __repr__(self) -> str:
        return f"TrainingSet({self.job[:12]})"


def accept(folder: Path, now: TrainingSet, least: int) -> bool:
    """Remember the set, unless it differs from that of an earlier job by some rows, but fewer than `least`."""
    mine = _packed(now.rows)
    if least > 1 and any(0 < _apart(mine, other) < least for other in _earlier(folder, now)):
        return False
    buffer = io.BytesIO()
    np.savez_compressed(buffer, bits=mine, table=np.array(now.table), parties=np.array(sorted(now.parties)))
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        write_private(folder / f"{now.job}.npz", buffer.getvalue())
    except OSError:
        raise LocalError("the rows that this job trains on could not be noted", "make room on the disk") from None
    return True


def _earlier(folder: Path, now: TrainingSet) -> Iterator[NDArray[np.uint8]]:
    for path in sorted(folder.glob("*.npz")):
        try:
            with np.load(path, allow_pickle=False) as kept:
                table, parties, bits = str(kept["table"]), frozenset(map(str, kept["parties"])), kept["bits"]
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error):
            raise LocalError("what this party remembers of the rows that earlier jobs trained on cannot be read",
                             "restore training_sets from a copy: without it nobody can say whether two models are too "
                             "near") from None
        if path.stem != now.job and table == now.table and (parties <= now.parties or now.parties <= parties):
            yield bits


def _packed(rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    flags = np.zeros(int(rows.max(initial=-1)) + 1, np.bool_)
    flags[rows] = True
    return np.packbits(flags)


def _apart(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> int:
    """In how many rows two sets differ."""
    length = max(len(one), len(other))
    both = [np.pad(bits, (0, length - len(bits))) for bits in (one, other)]
    return int(np.unpackbits(both[0] ^ both[1]).sum())
