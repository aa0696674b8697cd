"""A finished job as one party kept it: the spec, its part of the model, its table if that still is the same.

Everything that the party's own report shows is computed from this. Private to the party.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from mpc.errors import LocalError
from party_node.config import PartyDirectory
from party_node.consent import datasets, registration
from party_node.data.label import read_label
from party_node.data.sources.kinds import Kind
from party_node.data.sources.table import Table, read_table
from party_node.models.kept_evaluation import FILE_NAME as FIGURES
from party_node.models.kept_evaluation import read_evaluation
from party_node.models.kept_scores import FILE_NAME, KeptScores, read_scores
from party_node.models.part import PART, ModelPart, load_part
from party_node.records.store import Store
from party_node.table_errors import DataError
from wire.record import PartyPart
from wire.spec.job import JobSpec, kept_spec

Rows = NDArray[np.int64]


@dataclass(frozen=True, repr=False)
class Finished:
    """`table`: None where the registered table is another by now, for which `changed` has the sentence."""

    party: str
    spec: JobSpec
    model: ModelPart
    public: PartyPart
    scores: KeptScores | None        # label holder only
    table: Table | None
    changed: str
    figures: dict[str, Any] | None = None   # label holder only: the evaluation at full precision
    held_back: str = ""                     # and why less of it was released

    @property
    def trained(self) -> Rows:
        """Rows of the table that trained the model: the development sample."""
        return self.model.rows[~self.model.test]

    @property
    def judged(self) -> Rows:
        """Rows of the table that judged it; without a hold-out the same."""
        return self.model.rows[self.model.test] if self.held_out else self.model.rows

    @property
    def held_out(self) -> bool:
        """Whether the rows that judged are others than those that trained."""
        return bool(self.model.test.any())

    @property
    def judging_sample(self) -> str:
        """What the rows that judged are called, where they are others."""
        return "out-of-time sample" if self.spec.hold_out.column else "hold-out sample"

    def outcome(self) -> NDArray[np.bool_] | None:
        """Who is bad, per row of the table; None where this party has no label, or no table any more."""
        if self.table is None or not self.model.label_holder:
            return None
        return read_label(self.table, self.spec.label.column, self.spec.label.positive).positive

    def __repr__(self) -> str:
        return f"Finished({self.model.job[:12]})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a finished job holds private data and is never pickled")


def load(directory: PartyDirectory, party: str, store: Store, job: str, further: Sequence[str] = ()) -> Finished:
    """The finished job whose id begins so; `further` columns of its table are read too. LocalError: there is none, or
    what was kept of it cannot be read."""
    model = load_part(directory.models, job)
    folder = directory.models / model.job
    spec = agreed(store, model.job)
    try:
        public = PartyPart.model_validate_json((folder / PART).read_bytes())
    except (OSError, ValidationError):
        raise LocalError(f"the record of job {model.job[:12]} cannot be read", "restore it from a copy") from None
    kept = folder / FILE_NAME
    scores = read_scores(kept) if kept.exists() else None
    exact = folder / FIGURES
    figures, held_back = read_evaluation(exact) if exact.exists() else (None, "")
    table, changed = _table(store, spec, party, model, further)
    return Finished(party, spec, model, public, scores, table, changed, figures, held_back)


def agreed(store: Store, job: str) -> JobSpec:
    """The spec that all signed. LocalError: there is no such job, or another release has to read it."""
    spec = kept_spec(store.find_job(job).spec)
    if spec is None:
        raise LocalError(f"job {job[:12]} was agreed under another release", "read it with that release")
    return spec


def _table(
    store: Store, spec: JobSpec, party: str, model: ModelPart, further: Sequence[str]
) -> tuple[Table | None, str]:
    mine = spec.party(party)
    dataset = datasets.find(store, mine.dataset)
    if dataset is None or dataset.digest != mine.dataset_digest:
        return None, f"the dataset {mine.dataset} is no longer registered with the table that this job used"
    try:
        registration.check_unchanged(dataset)
    except DataError as error:
        return None, error.what
    period = [spec.hold_out.column] if spec.hold_out.column else []
    label = [spec.label.column, *period] if model.label_holder else []
    offset = [model.offset] if model.offset is not None else []
    wanted = list(dict.fromkeys([*model.preparation.inputs, *label, *offset, *further]))
    kinds = dataset.kinds_for_reading() | model.preparation.kinds | dict.fromkeys(label, Kind.TEXT)
    return read_table(Path(dataset.path), columns=wanted, kinds=kinds), ""
