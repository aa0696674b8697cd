"""The label's part of the job spec: the outcome, and what the label holder alone knows of each row besides."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from wire.spec.part import ColumnName, Part

MAX_LABEL_VALUES = 50
LabelValue = Annotated[str, Field(min_length=1, max_length=200)]


class ClassWeights(Part):
    """What a bad and a good customer weigh."""

    bad: Annotated[float, Field(ge=1e-3, le=1e3)]
    good: Annotated[float, Field(ge=1e-3, le=1e3)]


class LabelSpec(Part):
    """The outcome, at the label holder, and what it alone knows of each row besides (docs/protocols/train.md)."""

    column: ColumnName
    positive: LabelValue = "1"             # the value that means default, as text; the dataset declares which may be
    missing: Literal["refuse", "error"] = "refuse"
    weights: ColumnName | None = None      # what each row weighs in the fit, a column of the label holder
    # Of `weights`, or of a customer by the rows that the label holder keeps of it, in multiples of the mean.
    largest_weight: Annotated[float, Field(ge=1.0, le=100.0)] = 10.0
    class_weights: Literal["none", "balanced"] | ClassWeights = "none"  # times what its row weighs
    offset: ColumnName | None = None       # added to each row's log-odds, a column of the label holder

    @property
    def extra_columns(self) -> list[str]:
        """Columns of the label holder that are neither features nor the outcome."""
        return [name for name in (self.weights, self.offset) if name is not None]
