"""How much one customer may count in a model, as the policy says: compared with what the job's spec allows. Pure."""

from __future__ import annotations

from party_node.consent.datasets import DatasetPolicy
from wire.spec.job import JobSpec
from wire.spec.training_terms import weighting_of


def too_heavy(spec: JobSpec, policy: DatasetPolicy) -> str | None:
    """What speaks against weights of rows, against named weights of classes, and against customers who weigh by the
    number of their rows.

    Balanced ones have a line of their own: nobody chooses them, they follow from the outcomes. At 1 % of defaults a
    bad customer weighs fifty times the mean with them, and no limit on single rows would let that pass; what bounds
    them is the number of rows that all together are worth (wire.spec.training_terms.least_worth).
    """
    allowed = weighting_of(spec)
    if allowed is None:
        if spec.keeps_copies and spec.label.largest_weight > policy.largest_weight:
            return (f"a customer may weigh, by its rows, more than the {policy.largest_weight:g} times the mean that "
                    "the policy allows")
        return None
    by_rows = spec.label.largest_weight if spec.label.weights is not None else 1.0
    largest = by_rows if spec.label.class_weights == "balanced" else allowed.largest
    if largest > policy.largest_weight:
        return f"a row may weigh more than the {policy.largest_weight:g} times the mean that the policy allows"
    return None


def balanced_refused(spec: JobSpec, policy: DatasetPolicy) -> str | None:
    """What speaks against classes of equal weight."""
    if spec.label.class_weights == "balanced" and not policy.balanced_classes:
        return "the policy does not allow that both outcomes weigh the same"
    return None
