"""What a job costs the budgets of a dataset: a pure function of the spec. Knows no limit and nothing that was spent."""

from __future__ import annotations

import math
from collections.abc import Mapping

from mpc.link import PartyId
from mpc.protocols.train import padded
from party_node.consent.datasets import RegisteredDataset
from party_node.records.budgets import Budget, Debit
from wire.spec.columns import BinningSpec
from wire.spec.job import JobSpec, PartySpec

LEAST_COUNTED, MOST_COUNTED = 1e-3, 10**6   # noise below the one costs a budget of models the other


def feature_equations(spec: JobSpec, me: str) -> int:
    """Numbers that others receive from the job, at most: each is one equation on our rows and labels. protocol.md 2.4

    One weight for each column; of our labels, one count for each bin of a column but the last, which follows from the
    others: together as many as there are bins; and each correlation of a column of ours with one of theirs.
    """
    others = sum(len(party.columns) for party in spec.parties if party.id != me)
    if spec.prepared is not None:
        return others                   # weights; the rest was told, and debited, by the job that prepared this one
    shown = correlations_told(spec, me)
    weights = 0 if spec.goal == "precompute" else others
    if spec.binning is None or spec.label_holder.id != me:
        return weights + shown
    return weights + others * (bins_told(spec.binning) - 1) + 1 + shown    # 1: bad customers in all, of any column


def correlations_told(spec: JobSpec, me: str) -> int:
    """Correlations of our columns that somebody else is shown, at most."""
    if spec.correlate is None or (spec.correlate.to == "label_holder" and spec.label_holder.id == me):
        return 0
    others = sum(len(party.columns) for party in spec.parties if party.id != me)
    return others * len(spec.party(me).columns)


def bins_told(rules: BinningSpec) -> int:
    """Bins of one column of which its owner hears at most, missing and special values included."""
    return rules.maximum_bins + rules.slots - rules.fine_bins


def further_equations(spec: JobSpec, widths: Mapping[PartyId, int]) -> int:
    """By how much the others' blocks may have outgrown their columns in the spec: levels, and flags of missing values.

    `widths` are padded, and what a block holds is its owner's affair: all of its width counts. In bins a column stays
    one column.
    """
    if spec.binning is not None:
        return 0
    intercept = {spec.label_holder.id: 1}
    return sum(max(0, width - len(spec.party(party).columns) - intercept.get(party, 0))
               for party, width in widths.items())


def models(spec: JobSpec) -> int:
    """What the job's weights add to what all jobs' weights tell of one customer, in models of the default noise: 1/s^2,
    rounded up, for k estimates of variance s^2 have an average of variance s^2 / k."""
    if spec.goal != "model":
        return 0
    return math.ceil(1 / spec.training.noise**2) if spec.training.noise > LEAST_COUNTED else MOST_COUNTED


def widest(spec: JobSpec, party: PartySpec) -> int:
    """The padded width that the block of `party` can have: what the columns that all signed can become, no more."""
    intercept = int(party.id == spec.label_holder.id)
    if spec.binning is not None:
        return padded(intercept + len(party.columns))      # one weight of evidence each
    return padded(intercept + sum(spec.preparation.most_columns(name in party.categorical) for name in party.columns))


def models_scored(spec: JobSpec, me: str) -> int:
    """Models of which somebody else receives scores with a part of ours in them.

    Given the weights, each is another equation on the bins of the same customers; the same dither is in all of them.
    """
    mine = spec.party(me)
    scored = any(code.startswith("score.") for code in spec.reveal)
    return int(scored and mine.role == "feature_holder" and bool(mine.columns))


def splits_by_period(spec: JobSpec) -> bool:
    """Whether every party is told which customers belong to the later period."""
    return spec.hold_out.column is not None and spec.goal != "alignment"


def debits(spec: JobSpec, me: str, dataset: RegisteredDataset) -> list[Debit]:
    """What the job costs the dataset's budgets when it starts: of two halves, each what it does and reveals."""
    aligns = spec.prepared is None
    amounts = {
        Budget.ALIGNMENTS: int(aligns),
        Budget.TRAINING_ROUNDS: spec.training.iterations if spec.goal == "model" else 0,
        Budget.SCORE_CALLS: 1 if any(code.startswith("score.") for code in spec.reveal) else 0,
        Budget.FEATURE_EQUATIONS: feature_equations(spec, me),
        Budget.MODELS: models(spec) if dataset.policy.minimum_noise else 0,   # who lets it be zero counts none
        Budget.PERIOD_SPLITS: int(aligns and splits_by_period(spec) and spec.label_holder.id == me),
    }
    each = Budget.ALIGNMENTS_PER_PARTNER
    return [
        *(Debit(budget, amount, dataset.limit(budget)) for budget, amount in amounts.items()),
        *(Debit(each, int(aligns), dataset.limit(each), party.id) for party in spec.parties if party.id != me),
    ]


def debits_later(spec: JobSpec, me: str, dataset: RegisteredDataset) -> list[Debit]:
    """What it costs besides when it comes so far: a job that fails before its scores leave has told no equation."""
    return [Debit(Budget.SCORED_MODELS, models_scored(spec, me), dataset.limit(Budget.SCORED_MODELS))]
