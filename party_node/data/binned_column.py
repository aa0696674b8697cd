"""A column as the weights of evidence of its bins: the owner's cuts, what was told of them, and any row's weight.

The cuts come from training rows and are kept with the model, so a later table falls into the same bins; a cell that
belongs to none weighs 0. Private to the owner: edges and levels are its data. It knows nothing of other parties.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpc.credit.binning import Merging, Trend
from mpc.credit.fine_bins import FineBins, LevelBins, NumericBins, level_bins, numeric_bins
from mpc.credit.weight_of_evidence import information_value, weight_of_evidence
from party_node.data.sources.kinds import Kind
from party_node.data.sources.table import F64, Column, NumericColumn, TextColumn
from party_node.table_errors import other_kind

Rows = NDArray[np.int64]


@dataclass(frozen=True, repr=False)
class BinnedColumn:
    """One table column. `bins`: its fine bins; `group`: for each of these the merged bin; `good`, `bad`: training
    customers of each merged bin."""

    name: str
    bins: FineBins
    group: tuple[int, ...]
    good: tuple[int, ...]
    bad: tuple[int, ...]

    @property
    def kind(self) -> Kind:
        """How the column has to be read."""
        return Kind.NUMERIC if isinstance(self.bins, NumericBins) else Kind.TEXT

    @property
    def weights(self) -> F64:
        """Weight of evidence of each merged bin."""
        return weight_of_evidence(self.good, self.bad)

    @property
    def information(self) -> float:
        """The column's information value."""
        return information_value(self.good, self.bad)

    @property
    def order(self) -> list[int]:
        """The merged bins in the order of the column, each by its place among the counts."""
        return list(dict.fromkeys(self.group))

    @property
    def reading_order(self) -> list[int]:
        """As a reader expects them: ranges of numbers from low to high, categories from the safest bin to the riskiest;
        what stands apart comes last."""
        if isinstance(self.bins, NumericBins):
            return self.order
        weights, regular = self.weights, set(self.group[: self.bins.regular])
        return sorted(self.order, key=lambda merged: (merged not in regular, -float(weights[merged])))

    @property
    def merged(self) -> FineBins:
        """The merged bins themselves, numbered in the order of the column."""
        order = self.order
        rank = {group: place for place, group in enumerate(order)}
        regular = len(set(self.group[: self.bins.regular]))
        return Merging(tuple(rank[group] for group in self.group), regular, Trend.FREE).bins(self.bins)

    def labels(self) -> list[str]:
        """What each merged bin holds, in words, for its owner's eyes."""
        return words(self.bins, self.group)

    def values(self, column: Column, rows: Rows) -> F64:
        """The weight of each of `rows`, [n]. Raises DataError column_kind."""
        weights = np.append(self.weights[list(self.group)], 0.0)     # the last one answers code -1
        return weights[bin_codes(self.bins, column, rows)]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; floats survive `json` to the last bit. `weights` and `information` are for its readers."""
        cuts = asdict(self.bins) | {"kind": self.kind}
        return asdict(self) | {"bins": cuts, "weights": self.weights.tolist(), "information": self.information}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> BinnedColumn:
        """What `to_json` wrote; KeyError, TypeError or ValueError else."""
        cuts = value["bins"]
        if cuts["kind"] == Kind.NUMERIC:
            special = tuple((float(cell), int(home)) for cell, home in cuts["special"])
            made: FineBins = NumericBins(tuple(map(float, cuts["edges"])), special, cuts["missing"])
        else:
            made = LevelBins(tuple(tuple(levels) for levels in cuts["groups"]), cuts["other"], cuts["missing"])
        group, good, bad = (tuple(int(count) for count in value[key]) for key in ("group", "good", "bad"))
        if len(group) != made.count or set(group) != set(range(len(good))) or len(good) != len(bad):
            raise ValueError
        return cls(value["name"], made, group, good, bad)


def words(bins: FineBins, group: Sequence[int]) -> list[str]:
    """What each merged bin holds; `group`: for each fine bin the merged one."""
    parts: list[list[str]] = [[] for _ in range(max(group) + 1)]
    for merged, text in _ranges(bins, group) if isinstance(bins, NumericBins) else _levels(bins, group):
        parts[merged].append(text)
    if bins.missing is not None:
        parts[group[bins.missing]].append("missing")
    return ["; ".join(texts) for texts in parts]


def _ranges(bins: NumericBins, group: Sequence[int]) -> Iterator[tuple[int, str]]:
    ends = [None, *(f"{edge:.6g}" for edge in bins.edges), None]
    for merged, places in groupby(range(bins.regular), key=group.__getitem__):
        first, *more = places
        yield merged, _between(ends[first], ends[(more or [first])[-1] + 1])
    yield from ((group[home], f"{value:.6g}") for value, home in bins.special)


def _levels(bins: LevelBins, group: Sequence[int]) -> Iterator[tuple[int, str]]:
    for place, levels in enumerate(bins.groups):
        yield from ((group[place], level) for level in levels)
    if bins.other is not None:
        yield group[bins.other], "all others"


def _between(low: str | None, high: str | None) -> str:
    if low is None:
        return "any value" if high is None else f"under {high}"
    return f"{low} or more" if high is None else f"{low} to {high}"


def fine_bins(column: Column, rows: Rows, *, most: int, minimum_rows: int, special: Sequence[float]) -> FineBins:
    """Cut one column by its cells at `rows`, the training rows."""
    if isinstance(column, NumericColumn):
        return numeric_bins(column.values[rows], most=most, minimum_rows=minimum_rows, special=special)
    return level_bins(column.codes[rows], column.levels, most=most, minimum_rows=minimum_rows)


def bin_codes(bins: FineBins, column: Column, rows: Rows | slice = slice(None)) -> Rows:
    """The fine bin of each of `rows` (all), -1 where there is none. DataError column_kind: the column is of another
    kind now."""
    if isinstance(bins, NumericBins):
        if not isinstance(column, NumericColumn):
            raise other_kind(column.name, "numbers")
        return bins.codes(column.values[rows])
    if not isinstance(column, TextColumn):
        raise other_kind(column.name, "categories")
    return bins.codes(column.codes[rows], column.levels)
