"""The columns' part of the job spec: how they are prepared, binned, and compared across institutions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from wire.spec.part import Part

Trends = Literal["auto", "ascending", "descending", "peak", "valley", "free"]
MOST_LEVELS = 50         # of one column that have a column of their own


class PreparationSpec(Part):
    """What each party does to its own columns; statistics come from training rows only."""

    missing: Literal["indicator", "constant"] = "indicator"
    constant: Annotated[float, Field(ge=-1e100, le=1e100)] = 0.0   # as for cells: beyond, sums of squares overflow
    minimum_support: Annotated[int, Field(ge=1)] = 20
    clip: Annotated[float, Field(ge=2.0, le=30.0)] = 5.0
    leverage_bound: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1

    def most_columns(self, categorical: bool) -> int:
        """How many columns one that is not binned can become: levels, missing values and all other levels; or numbers
        and a flag of missing ones."""
        return MOST_LEVELS + 2 if categorical else 1 + (self.missing == "indicator")


class BinningSpec(Part):
    """Columns enter the model as the weight of evidence of their bins. The label holder sees the counts of nameless
    fine bins and merges them (docs/protocols/bin.md)."""

    fine_bins: Annotated[int, Field(ge=2, le=64)] = 20             # of one column at most, before merging
    special_values: list[Annotated[float, Field(ge=-1e100, le=1e100)]] = Field(default=[], max_length=16)
    minimum_cell: Annotated[int, Field(ge=1)] = 20                 # fewest customers in a fine bin
    minimum_outcome: Annotated[int, Field(ge=1)] = 5               # fewest good, and fewest bad, in a merged bin
    minimum_share: Annotated[float, Field(ge=0.0, le=0.5)] = 0.05  # of the development sample, in a merged bin
    maximum_bins: Annotated[int, Field(ge=2, le=20)] = 6           # of one column after merging, missing ones aside
    trend: Trends = "auto"                                         # of the bad rate over a column of numbers
    minimum_information: Annotated[float, Field(ge=0.0, le=10.0)] = 0.02
    maximum_correlation: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0         # between columns of one party; 1: any
    maximum_inflation: Annotated[float, Field(ge=1.0, le=1e6)] | None = None   # of variance, within one party

    @property
    def slots(self) -> int:
        """Room for the fine bins of one column: those in order, missing values, special values."""
        return self.fine_bins + 1 + len(self.special_values)

    @model_validator(mode="before")
    @classmethod
    def _counted_one_way(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and "counts_at" in given:   # it was a choice once, see ADR 16
            raise ValueError("counts_at is no choice any more: the label holder alone counts, leave it out")
        return given

    @model_validator(mode="after")
    def _each_once(self) -> BinningSpec:
        if len(set(self.special_values)) != len(self.special_values):
            raise ValueError("a special value is given twice")
        return self


class CorrelateSpec(Part):
    """How columns of different parties go together on the training rows, found without showing rows: all of it, or only
    pairs at or above a threshold, or to each party the variance inflation of its own columns beside another party's
    (docs/protocols/correlate.md)."""

    show: Literal["pairs", "matrix", "inflation"] = "pairs"
    to: Literal["all", "label_holder"] = "all"                        # who sees it
    threshold: Annotated[float, Field(ge=0.3, le=1.0)] = 0.7         # far below it, pairs would be the matrix
    bits: Annotated[int, Field(ge=2, le=16)] | None = None            # after the point; none: what the rows support
    minimum_rows: Annotated[int, Field(ge=100)] = 200
    drop: bool = False     # of a pair that is shown the column of the later party goes; the label holder comes first

    @model_validator(mode="after")
    def _known_to_all(self) -> CorrelateSpec:
        if self.drop and (self.show, self.to) != ("pairs", "all"):
            raise ValueError("columns can be dropped where pairs are shown to all parties, and nowhere else")
        return self
