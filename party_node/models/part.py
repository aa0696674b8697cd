"""A party's own part of a joint model on disk: what it takes to score a table again. Private to this party.

models/<job>/manifest.json   version, job, role, preparation, columns with weights in standardised and original units
models/<job>/weights.npz     weights, rows of the table in canonical order, which of them judged (no pickle)
models/<job>/scores.npz      label holder only: outcome, joint and solo scores of the judging rows
models/<job>/evaluation.json label holder only: figures of these rows at full precision
models/<job>/public.json     what this party handed to the coordinator
A part is written under a passing name and renamed when all parties have theirs; a passing name is never a model.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from mpc.errors import LocalError
from party_node.data.preparation import Preparation, with_intercept
from party_node.data.row_terms import read_offset
from party_node.data.sources.table import Table
from party_node.models.kept_evaluation import FILE_NAME as FIGURES
from party_node.models.kept_evaluation import write_evaluation
from party_node.models.kept_scores import FILE_NAME, write_scores
from party_node.models.released_figures import Judged
from wire.private_files import write_private
from wire.spec.job import JobSpec
from wire.spec.training_terms import penalty_of

VERSION = 1
PASSING = ".partial"
MANIFEST, ARRAYS, PART = "manifest.json", "weights.npz", "public.json"


@dataclass(frozen=True, repr=False)
class ModelPart:
    """What one party keeps of one joint model. `weights`: the intercept first at the label holder."""

    job: str
    label_holder: bool
    preparation: Preparation
    weights: NDArray[np.float64]
    rows: NDArray[np.int64]
    test: NDArray[np.bool_]
    offset: str | None = None    # the label holder's column that is added to the log-odds

    def partial_scores(self, table: Table, rows: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """This party's part of the log-odds of the table's `rows` (None: all); the joint score is the sum of all
        parties' parts for the same customer."""
        block = with_intercept(self.preparation.apply(table, rows), self.label_holder)
        scores: NDArray[np.float64] = block @ self.weights
        if self.offset is not None:
            chosen = np.arange(table.rows) if rows is None else rows
            scores = scores + read_offset(table, chosen, self.offset)
        return scores

    def __repr__(self) -> str:
        return f"ModelPart({self.job[:12]})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a model part is private and is never pickled")


@dataclass(frozen=True, repr=False)
class Trained:
    """What a job came to at one party, as `write_part` takes it. `weights`: the intercept first at the label holder."""

    job: str
    spec: JobSpec
    party: str
    preparation: Preparation
    weights: NDArray[np.float64]
    rows: NDArray[np.int64]
    test: NDArray[np.bool_]
    class_shift: float                       # what was taken off the intercept of the weighted fit
    scores: Mapping[str, NDArray[Any]]       # empty but at the label holder
    judged: Judged | None = None             # likewise

    def __repr__(self) -> str:
        return f"Trained({self.job[:12]})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("what a job came to is private and is never pickled")


def write_part(models: Path, trained: Trained) -> tuple[Path, str]:
    """Write the part under its passing name; returns (path, SHA-256 of the manifest)."""
    folder = models / f"{trained.job}{PASSING}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    manifest = json.dumps(_manifest(trained), indent=1, sort_keys=True).encode()
    write_private(folder / MANIFEST, manifest)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, weights=trained.weights, rows=trained.rows, test=trained.test)
    write_private(folder / ARRAYS, buffer.getvalue())
    if trained.scores:
        write_scores(folder / FILE_NAME, **trained.scores)
    if trained.judged is not None:
        write_evaluation(folder / FIGURES, trained.judged)
    return folder, hashlib.sha256(manifest).hexdigest()


def settle(folder: Path) -> Path:
    """Give a complete part its lasting name."""
    return folder.rename(folder.with_name(folder.name.removesuffix(PASSING)))


def drop_unfinished(models: Path, failed: Iterable[str]) -> None:
    """Remove passing parts, and parts of the jobs `failed`, whose node stopped between naming and registering one. At
    the start of the node."""
    for folder in (*models.glob(f"*{PASSING}"), *(models / job for job in failed)):
        shutil.rmtree(folder, ignore_errors=not folder.exists())


def load_part(models: Path, job: str) -> ModelPart:
    """The kept part of `job` (or of the one job whose id begins so). LocalError if there is none or it is damaged."""
    found = [p for p in sorted(models.glob(f"{job}*")) if p.is_dir() and not p.name.endswith(PASSING)]
    if not job or len(found) != 1:
        raise LocalError(f"{'no model' if not found else 'more than one model'} of a job that begins with {job[:64]!r}",
                         "run: party-node jobs")
    try:
        manifest = json.loads((found[0] / MANIFEST).read_bytes())
        with np.load(found[0] / ARRAYS, allow_pickle=False) as arrays:
            weights, rows, test = arrays["weights"], arrays["rows"], arrays["test"]
        if manifest["version"] != VERSION:
            raise LocalError(f"the model has version {manifest['version']}, this release reads {VERSION}")
        preparation = Preparation.from_json(manifest["preparation"])
        return ModelPart(manifest["job"], manifest["role"] == "label_holder", preparation, weights, rows, test,
                         manifest.get("offset"))
    except (OSError, KeyError, ValueError) as error:
        raise LocalError(f"the model of job {found[0].name[:12]} cannot be read ({type(error).__name__})",
                         "restore it from a copy") from None


def _manifest(trained: Trained) -> Mapping[str, Any]:
    part = trained.spec.party(trained.party)
    first = int(part.role == "label_holder")
    standardised = trained.weights[first:]
    original, shift = trained.preparation.original_units(standardised)
    return {
        "version": VERSION,
        "job": trained.job,
        "party": trained.party,
        "role": part.role,
        "penalty": penalty_of(trained.spec, int((~trained.test).sum())),
        "preparation": trained.preparation.to_json(),
        "columns": list(trained.preparation.names),
        "offset": trained.spec.label.offset if first else None,
        "class_shift": trained.class_shift,
        "weights_standardised": standardised.tolist(),
        "weights_original": original.tolist(),
        "offset_original": shift + (float(trained.weights[0]) if first else 0.0),
    }
