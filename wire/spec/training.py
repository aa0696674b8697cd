"""The part of the job spec that says how the model is fitted."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from wire.spec.part import Part

MIN_ITERATIONS = 8       # a one-step job from zero would output the plain gradient
MIN_PENALTY = 1e-4
MOST_NOISE = 100.0

Iterations = Annotated[int, Field(ge=MIN_ITERATIONS, le=200)]


class TrainingTerms(Part):
    """The objective is mean log-loss + penalty/2 |w|^2, intercept free (sklearn's C = 1/(n penalty)), and a secret
    linear term of every party (mpc.regression.perturbation)."""

    penalty: Annotated[float, Field(ge=MIN_PENALTY, le=1.0)] | None = None   # none: as the training rows and noise ask
    noise: Annotated[float, Field(ge=0.0, le=MOST_NOISE)] = 1.0   # times the default s of the linear terms; 0: none
    expected_default_rate: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    sigmoid: Literal["auto", "six", "eight", "twelve"] = "auto"
    tolerance: Annotated[float, Field(gt=0.0, le=1.0)] = 0.03


class TrainingSpec(TrainingTerms):
    """And how often the data are gone through."""

    iterations: Iterations = 8
