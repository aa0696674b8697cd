"""Champion and challenger: the joint models of two finished jobs of one label holder, on customers that judged both.

Customers are told apart by their row of the same table, so that no one is compared with somebody else, and none of them
trained either model. Reads what the node kept; private to the label holder.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mpc.errors import LocalError
from party_node.config import PartyDirectory
from party_node.models.evaluation import Evaluation, evaluate
from party_node.models.finished_job import Rows, agreed
from party_node.models.kept_scores import FILE_NAME, KeptScores, read_scores
from party_node.models.part import load_part
from party_node.records.store import Store
from wire.spec.job import JobSpec

NAMES = ("champion", "challenger")


@dataclass(frozen=True, repr=False)
class Kept:
    """What a comparison needs of one job: `rows` of the table that judged its model, in the order of `scores`."""

    job: str
    spec: JobSpec
    rows: Rows
    scores: KeptScores

    def __repr__(self) -> str:
        return f"Kept({self.job[:12]})"


def kept(directory: PartyDirectory, store: Store, job: str) -> Kept:
    """The finished job whose id begins so. LocalError: none, without our label, or judged by nobody."""
    model = load_part(directory.models, job)
    scores = directory.models / model.job / FILE_NAME
    if not scores.exists():
        raise LocalError(f"job {model.job[:12]} left no scores here", "scores are kept at the label holder")
    if not model.test.any():
        raise LocalError(f"the model of job {model.job[:12]} was judged on its own development sample",
                         "compare jobs with a hold-out sample")
    return Kept(model.job, agreed(store, model.job), model.rows[model.test], read_scores(scores))


def compare(champion: Kept, challenger: Kept, approval_rate: float) -> Evaluation:
    """Figures with intervals and the one-sided test of a gain; "solo" stands for the champion, "joint" for the
    challenger. LocalError: another table or label, or no customer who judged both."""
    tables = {one.spec.label_holder.dataset_digest for one in (champion, challenger)}
    labels = {(one.spec.label.column, one.spec.label.positive) for one in (champion, challenger)}
    if len(tables) > 1 or len(labels) > 1:
        raise LocalError("the two jobs used another table or another label, so their customers are not the same",
                         "compare jobs over one registered table and one label")
    _, first, second = np.intersect1d(champion.rows, challenger.rows, assume_unique=True, return_indices=True)
    if not len(first):
        raise LocalError("no customer judged both models", "split both jobs by one boundary in time")
    outcome = champion.scores.outcome[first]
    if not np.array_equal(outcome, challenger.scores.outcome[second]):
        raise LocalError("the kept scores of the two jobs have other outcomes for the same rows",
                         "restore them from a copy")
    return evaluate(outcome, challenger.scores.joint[second], champion.scores.joint[first],
                    approval_rate=approval_rate, challenger=NAMES[1])


def caveat(champion: Kept, challenger: Kept, found: Evaluation) -> str:
    """What has to be said beside the figures."""
    judged = found["rows"]["test"] or 0
    most = max(len(champion.rows), len(challenger.rows))
    said = f"Judged by {judged:,} of {most:,} customers of the hold-out sample: those that trained neither model."
    if judged < most:
        said += " With one boundary in time all of them would judge."
    return said + " A challenger chosen among several flatters itself: judge the one that is chosen on later customers."
