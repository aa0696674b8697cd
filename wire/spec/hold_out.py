"""The part of the job spec that says which rows judge the model."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from wire.spec.part import ColumnName, Part

HELD_OUT = 0.3           # share of the customers in common that judge, where nothing else is said
LEAST_ROWS = 100         # customers on either side
LEAST_OUTCOME = 5        # good, and bad, ones of them


class HoldOutSpec(Part):
    """Which rows judge the model. Fraction 0: all rows train and judge. A seed takes the coin's place; without it the
    parties toss a joint coin after all approved. With a column of the label holder's the hold-out is out of time: rows
    `since` that moment judge, or without it the latest `fraction` of the customers in common. However it is made, there
    are floors on either side: too few customers end the job before training, too few of one outcome among those that
    judge leave it without a figure, the label holder alone knowing why (docs/protocols/split.md)."""

    fraction: Annotated[float, Field(ge=0.0, lt=0.9)] = HELD_OUT
    seed: Annotated[str, Field(max_length=64)] | None = None
    column: ColumnName | None = None
    since: Annotated[str, Field(min_length=1, max_length=40)] | None = None   # a number, or a date as in 2024-01-31
    minimum_hold_out: Annotated[int, Field(ge=1)] = LEAST_ROWS   # customers in the development and the hold-out sample
    minimum_outcome: Annotated[int, Field(ge=1)] = LEAST_OUTCOME  # good, and bad, ones of them; in any slice too

    @property
    def all_judge(self) -> bool:
        """Whether the rows that train judge, too."""
        return self.fraction == 0.0 and self.column is None

    @field_validator("since", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:   # in TOML a boundary may be a date or a number
        return value.isoformat() if isinstance(value, date) else str(value) if type(value) in (int, float) else value

    @model_validator(mode="after")
    def _one_way(self) -> HoldOutSpec:
        if self.column is None and self.since is not None:
            raise ValueError("since names a boundary, but no column says when a row was")
        if self.column is not None and (self.seed is not None or self.fraction == 0.0):
            raise ValueError("rows are split by column: a seed, or a fraction of 0, says nothing then")
        if self.since is not None and self.fraction != HELD_OUT:
            raise ValueError("the boundary says how many rows judge: leave the fraction out")
        return self
