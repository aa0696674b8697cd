"""The part of the job spec that says how the model is fitted."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from wire.spec.part import Part

MIN_ITERATIONS = 8       # a one-step job from zero would output the plain gradient
MIN_PENALTY = 1e-4

Iterations = Annotated[int, Field(ge=MIN_ITERATIONS, le=200)]


class TrainingTerms(Part):
    """The objective is mean log-loss + penalty/2 |w|^2, intercept free (sklearn's C = 1/(n penalty))."""

    penalty: Annotated[float, Field(ge=MIN_PENALTY, le=1.0)] = 1e-3
    expected_default_rate: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    sigmoid: Literal["auto", "six", "eight", "twelve"] = "auto"
    tolerance: Annotated[float, Field(gt=0.0, le=1.0)] = 0.03


class TrainingSpec(TrainingTerms):
    """And how often the data are gone through."""

    iterations: Iterations = 8
