"""What a party keeps of a job that was an alignment alone: which rows of its table all parties have. Private to it.

alignments/<job>.npz     rows (int64, from 0, in the order that is the same at all parties that have them), and the
                         SHA-256 of the table they are rows of (no pickle)
Written under a passing name and renamed when all parties have theirs. Where the job was for numbers only, or for the
label holder alone, there is nothing to keep.
"""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mpc.errors import LocalError
from wire.private_files import write_private

PASSING = ".partial"


@dataclass(frozen=True, repr=False)
class KeptRows:
    """`rows[i]` is the table row of the i-th common customer; `table` the digest of that table, hexadecimal."""

    rows: NDArray[np.int64]
    table: str

    def __repr__(self) -> str:
        return f"KeptRows({len(self.rows)} rows)"


def write_rows(folder: Path, job: str, rows: NDArray[np.int64] | None, table: str) -> Path | None:
    """Write the rows of the table with this digest under their passing name, if this party knows them."""
    if rows is None:
        return None
    folder.mkdir(mode=0o700, exist_ok=True)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, rows=rows, table=np.array(table))
    path = folder / f"{job}.npz{PASSING}"
    write_private(path, buffer.getvalue())
    return path


def settle_rows(path: Path | None) -> None:
    """Give complete rows, if there are any, their lasting name."""
    if path is not None:
        path.rename(path.with_name(path.name.removesuffix(PASSING)))


def drop_unsettled(folder: Path, job: str = "*") -> None:
    """Remove rows under a passing name: of a job that failed, or of all at the start of the node."""
    for path in folder.glob(f"{job}.npz{PASSING}"):
        with suppress(OSError):   # nothing may keep a failed job from ending; a passing name is never a result
            path.unlink()


def read_rows(folder: Path, job: str) -> KeptRows:
    """The kept rows of `job`. LocalError if there are none or they are damaged."""
    try:
        with np.load(folder / f"{job}.npz", allow_pickle=False) as arrays:
            return KeptRows(arrays["rows"], str(arrays["table"]))
    except (OSError, KeyError, ValueError) as error:
        raise LocalError(f"no rows of job {job[:12]} can be read ({type(error).__name__})",
                         "run: party-node jobs") from None
