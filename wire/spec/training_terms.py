"""The public terms of training that follow from the spec: the options of the protocol, alike wherever they are needed.

What depends on the number of training rows, the penalty of a job that names none and the noise, is settled here when it
is known. Weights change them: what is expected of the outcome is by weight, and how unequal weights may be is public.
"""

from __future__ import annotations

import math

from mpc.link import PartyId
from mpc.regression.perturbation import default_penalty, default_scale, standard_errors
from mpc.regression.sigmoid import SineSeries, chosen
from mpc.regression.sizes import TrainOptions
from mpc.regression.weighting import Classes, Weighting, balanced, weighted_rate, weighting
from wire.spec.job import JobSpec
from wire.spec.label import ClassWeights

HEAVIER = 1.5    # than expected, for one outcome is rarer than the job says


def train_options(spec: JobSpec, rows: int) -> TrainOptions:
    """For `rows` training rows."""
    training = spec.training
    return TrainOptions(
        parties=tuple(PartyId(party.id) for party in spec.parties), label_holder=PartyId(spec.label_holder.id),
        rows=rows, iterations=training.iterations, penalty=penalty_of(spec, rows), clip=spec.preparation.clip,
        expected_default_rate=_expected_rate(spec), sigmoid=training.sigmoid, tolerance=training.tolerance,
        key_bits=spec.crypto.key_bits, weighting=weighting_of(spec),
        has_offset=spec.label.offset is not None, noise=noise_of(spec, rows),
    )


def penalty_of(spec: JobSpec, rows: int) -> float:
    """Lambda, for `rows` training rows."""
    training = spec.training
    named = training.penalty
    return named if named is not None else default_penalty(training.noise, len(spec.parties), rows)


def noise_of(spec: JobSpec, rows: int) -> float:
    """s of every party's linear term, for `rows` training rows."""
    return spec.training.noise * default_scale(penalty_of(spec, rows), rows, heaviest(spec))


def noise_in_errors(spec: JobSpec, rows: int) -> float:
    """What all parties' linear terms move a weight by, in standard errors of that weight."""
    square = 1.0 if (weights := weighting_of(spec)) is None else weights.mean_square
    scale = noise_of(spec, rows) / math.sqrt(square)
    return standard_errors(scale, len(spec.parties), _expected_rate(spec), rows)


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


def heaviest(spec: JobSpec) -> float:
    """The most that a customer may weigh, in multiples of the mean: what the noise is made for, and what the label
    holder holds its rows to, so that an expected default rate that is far off leaves no customer without its noise."""
    allowed = weighting_of(spec)
    if allowed is None:
        return 1.0
    rate, classes = spec.training.expected_default_rate, _classes(spec)
    bad, good = classes(rate)
    expected = max(bad, good) / (rate * bad + (1 - rate) * good)
    own = spec.label.largest_weight if spec.label.weights is not None else 1.0
    return min(allowed.largest, own * (expected if spec.label.class_weights == "none" else HEAVIER * expected))


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
