"""The label holder's private keep-file: labels and both scores of the hold-out rows, for its own analyst.

One `scores.npz`, 0600, in the model's directory at the label holder's own site. It never leaves it: what may
leave is made by party_node/models/evaluation.py. Plain arrays only; nothing in it is unpickled.
"""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import ArrayLike

from mpc.errors import LocalError
from mpc.statistics.logistic import F64

FILE_NAME = "scores.npz"


@dataclass(frozen=True, repr=False)
class KeptScores:
    """outcome [n] bool (True: bad); joint, solo [n] float64 log-odds of being bad; one row order."""

    outcome: np.ndarray[tuple[int], np.dtype[np.bool_]]
    joint: F64
    solo: F64

    def __repr__(self) -> str:
        return f"KeptScores({len(self.outcome)} rows)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("kept scores are private and are never pickled")


def write_scores(path: Path, outcome: ArrayLike, joint: ArrayLike, solo: ArrayLike) -> None:
    """Write the keep-file, readable by its owner only; it appears whole or not at all."""
    arrays = {
        "y": np.asarray(outcome).astype(bool),
        "joint": np.asarray(joint, dtype=np.float64),
        "solo": np.asarray(solo, dtype=np.float64),
    }
    if len({array.shape for array in arrays.values()}) != 1 or arrays["y"].ndim != 1:
        raise LocalError("labels and scores have different lengths")
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def read_scores(path: Path) -> KeptScores:
    """Read a keep-file. LocalError: not there, not readable, not such a file, or rows that do not fit."""
    try:
        with np.load(path, allow_pickle=False) as file:
            y, joint, solo = (file[name] for name in ("y", "joint", "solo"))
    except FileNotFoundError:
        raise LocalError(
            f"there is no file {path}", "It lies in the model's directory at the label holder."
        ) from None
    except PermissionError:
        raise LocalError(f"{path} may not be read", "Run this as the user of the party-node.") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile):
        raise LocalError(
            f"{path} is not a file of kept scores", "Give the scores.npz that the party-node wrote."
        ) from None
    if y.dtype != np.bool_ or joint.dtype != np.float64 or solo.dtype != np.float64:
        raise LocalError(f"{path} holds columns of another kind than labels and log-odds")
    if y.ndim != 1 or not y.shape == joint.shape == solo.shape:
        raise LocalError(f"{path} holds columns of different lengths")
    return KeptScores(y, joint, solo)
