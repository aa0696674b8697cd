"""The public terms of training that follow from the spec: the options of the protocol, alike wherever they are needed.

Weights change them: what is expected of the outcome is by weight, and how unequal weights may be is public.
"""

from __future__ import annotations

from mpc.link import PartyId
from mpc.regression.sigmoid import SineSeries, chosen
from mpc.regression.sizes import TrainOptions
from mpc.regression.weighting import Classes, Weighting, balanced, weighted_rate, weighting
from wire.spec.job import JobSpec
from wire.spec.label import ClassWeights


def train_options(spec: JobSpec, rows: int) -> TrainOptions:
    """For `rows` training rows."""
    training = spec.training
    return TrainOptions(
        parties=tuple(PartyId(party.id) for party in spec.parties), label_holder=PartyId(spec.label_holder.id),
        rows=rows, iterations=training.iterations, penalty=training.penalty, clip=spec.preparation.clip,
        expected_default_rate=_expected_rate(spec), sigmoid=training.sigmoid, tolerance=training.tolerance,
        key_bits=spec.crypto.key_bits, weighting=weighting_of(spec),
        has_offset=spec.label.offset is not None,
    )


def series_of(spec: JobSpec) -> SineSeries:
    """The sigmoid of the job."""
    return chosen(spec.training.sigmoid, _expected_rate(spec))


def is_weighted(spec: JobSpec) -> bool:
    """Whether rows weigh differently."""
    return spec.label.weights is not None or spec.label.class_weights != "none"


def weighting_of(spec: JobSpec) -> Weighting | None:
    """How unequal weights may be; None where every row weighs the same."""
    if not is_weighted(spec):
        return None
    largest = None if spec.label.weights is None else spec.label.largest_weight
    return weighting(PartyId(spec.label_holder.id), spec.training.expected_default_rate, _classes(spec), largest)


def least_worth(spec: JobSpec, training: int, common: int) -> float:
    """How many customers of even weight the `training` ones of `common` have to be worth: with fewer, a model of a few
    would pass the minimum that all sides agreed on."""
    return spec.minimum_intersection * training / common


def _classes(spec: JobSpec) -> Classes:
    chosen_weights = spec.label.class_weights
    if isinstance(chosen_weights, ClassWeights):
        pair = chosen_weights.bad, chosen_weights.good
        return lambda rate: pair
    return balanced if chosen_weights == "balanced" else lambda rate: (1.0, 1.0)


def _expected_rate(spec: JobSpec) -> float:
    return weighted_rate(spec.training.expected_default_rate, _classes(spec))
