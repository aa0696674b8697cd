"""What a dataset may be used for so many times, over all jobs together. Knows no job and no file."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Budget(StrEnum):
    """What a dataset may be used for so many times, over all jobs together."""

    ALIGNMENTS = "alignments"
    TRAINING_ROUNDS = "training_rounds"
    SCORE_CALLS = "score_calls"
    SCORED_MODELS = "scored_models"   # whose scores others receive: each is a new equation on the same customers
    FEATURE_EQUATIONS = "feature_equations"  # weights that leave: so many equations on the same rows
    ALIGNMENTS_PER_PARTNER = "alignments_per_partner"   # counted for each partner by itself
    MODELS = "models"   # by how much noise each has: averages of models trained alike say more than one of them
    PERIOD_SPLITS = "period_splits"   # jobs in which others learn who is of the later period: a bit of each customer


@dataclass(frozen=True)
class Debit:
    """`amount` of `budget`, refused when the dataset's total, or that for one `partner`, would pass `limit`."""

    budget: Budget
    amount: int
    limit: int
    partner: str = ""


def spent_as_told(spent: int, limit: int) -> int:
    """What was spent, rounded up to tenths of the limit: proposals cost nothing, so what answers them would else be
    halved until it is known exactly."""
    step = max(1, limit // 10)
    return -(-spent // step) * step


def account_of(dataset: str, partner: str = "") -> str:
    """What debits are kept under: a dataset, or a dataset towards one partner. Names of datasets have no @."""
    return f"{dataset}@{partner}" if partner else dataset
