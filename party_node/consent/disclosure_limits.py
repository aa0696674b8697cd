"""How little of single customers the values that a job opens on purpose may say: terms of the spec against the limits
of a dataset's policy. Each returns what speaks against the job, or None. Pure.
"""

from __future__ import annotations

from party_node.consent.datasets import DatasetPolicy
from wire.spec.job import JobSpec


def minimum_support(spec: JobSpec, policy: DatasetPolicy, me: str) -> str | None:
    if spec.preparation.minimum_support < policy.minimum_support:
        return f"the job's minimum support is below the {policy.minimum_support} that {me} demands"
    return None


def minimum_cell(spec: JobSpec, policy: DatasetPolicy, me: str) -> str | None:
    rules = spec.binning
    if rules is not None and rules.minimum_cell < policy.minimum_cell:
        return f"the job's minimum cell is below the {policy.minimum_cell} that {me} demands"
    return None


def minimum_outcome(spec: JobSpec, policy: DatasetPolicy, me: str) -> str | None:
    """In bins, on either side of the hold-out, and in every slice of released figures."""
    for rules in (spec.binning, spec.hold_out if spec.goal != "alignment" else None):
        if rules is not None and rules.minimum_outcome < policy.minimum_outcome:
            return f"the job's minimum outcome is below the {policy.minimum_outcome} that {me} demands"
    return None


def minimum_hold_out(spec: JobSpec, policy: DatasetPolicy, me: str) -> str | None:
    if spec.goal != "alignment" and spec.hold_out.minimum_hold_out < policy.minimum_hold_out:
        return f"the job's minimum hold-out is below the {policy.minimum_hold_out} that {me} demands"
    return None


def label_holder_columns(spec: JobSpec, policy: DatasetPolicy, me: str) -> str | None:
    """What the job names; how many of them are left after selection is looked at before training."""
    if spec.party(me).role == "label_holder" and spec.goal != "alignment" and \
            len(spec.party(me).columns) < policy.label_holder_columns:
        return f"{me} holds the label and brings fewer columns than the {policy.label_holder_columns} it demands"
    return None


def score_grid(spec: JobSpec, policy: DatasetPolicy, me: str) -> str | None:
    if _is_scored(spec, me) and spec.scores.grid < policy.finest_score_grid:
        return (f"the job's score grid is finer than the {policy.finest_score_grid:.4g} in log-odds that {me} "
                "demands")
    return None


def minimum_columns(spec: JobSpec, policy: DatasetPolicy, me: str) -> str | None:
    """The job's floor; and that columns enough are named, for selection takes some more away."""
    least = spec.scores.minimum_columns
    if not _is_scored(spec, me):
        return None
    if least < policy.minimum_columns:
        return f"the job's minimum of columns is below the {policy.minimum_columns} that {me} demands"
    if len(spec.party(me).columns) < least:
        return f"the job names fewer than {least} columns of {me}, and a score of so few shows them"
    return None


def _is_scored(spec: JobSpec, me: str) -> bool:
    """Whether a part of ours goes into scores that somebody else receives, in this job or the one that it works ahead
    of."""
    return spec.party(me).role == "feature_holder" and spec.goal != "alignment" and bool(spec.party(me).columns)


def leverage(spec: JobSpec, policy: DatasetPolicy, me: str) -> str | None:
    if spec.preparation.leverage_bound > policy.maximum_leverage:
        return f"the job's leverage bound is above the {policy.maximum_leverage:g} that {me} allows"
    return None


def noise(spec: JobSpec, policy: DatasetPolicy, me: str) -> str | None:
    if spec.goal == "model" and spec.training.noise < policy.minimum_noise:
        return f"the job's noise is below the {policy.minimum_noise:g} times the default that {me} demands"
    return None
