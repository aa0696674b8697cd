"""The part of the job spec that says how fine a score leaves its owner, and of how many columns it is made at least."""

from __future__ import annotations

from math import log
from typing import Annotated

from pydantic import Field

from wire.spec.part import Part

ONE_POINT = log(2.0) / 20.0   # log-odds: a point of a scorecard on which 20 points double the odds
MINIMUM_COLUMNS = 5           # of a feature holder's own, in its part of a score: docs/adr/0025

Grid = Annotated[float, Field(ge=1e-6, le=1.0)]
ColumnFloor = Annotated[int, Field(ge=1, le=5000)]


class ScoreSpec(Part):
    """A feature holder's part of a score is a whole number of steps of `grid` log-odds, and is made of at least so many
    of its own columns, counted when its selection is over (docs/protocols/score.md)."""

    grid: Grid = ONE_POINT
    minimum_columns: ColumnFloor = MINIMUM_COLUMNS
