"""Whose rows these are. Where the label holder keeps every row of a repeated id, copies are weights: a customer of c
rows weighs c times what one of a single row does. So wherever customers are counted its rows count once, and what it
weighs is bounded as other weights are. Knows no column and no outcome."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mpc.errors import Refused
from party_node.data.sources.table import F64

I64 = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, repr=False)
class Customers:
    """`rows` (customers,): how many rows each has. A customer's rows stand side by side, in this order."""

    rows: I64

    @classmethod
    def one_row_each(cls, rows: int) -> Customers:
        """As many customers as rows."""
        return cls(np.ones(rows, np.int64))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def total(self) -> int:
        """All rows."""
        return int(self.rows.sum())

    @cached_property
    def firsts(self) -> I64:
        """The place of each customer's first row."""
        firsts: I64 = np.cumsum(self.rows) - self.rows
        return firsts

    @cached_property
    def alone(self) -> bool:
        """Whether every row is a customer of its own."""
        return bool(np.all(self.rows == 1))

    @property
    def weights(self) -> F64:
        """What each weighs in a fit of all rows, in multiples of the mean."""
        weights: F64 = self.rows / self.rows.mean()
        return weights

    @property
    def worth(self) -> float:
        """How many customers of even weight these are worth, by Kish's measure [Survey Sampling, 1965]."""
        return float(self.rows.sum()) ** 2 / float(self.rows @ self.rows)

    def count(self, marked: Bools) -> int:
        """Of how many customers a row is `marked`. The marks may end early: the first rows of all."""
        if self.alone:
            return int(np.count_nonzero(marked))
        return int(np.count_nonzero(np.logical_or.reduceat(marked, self.firsts[self.firsts < len(marked)])))

    def per_code(self, codes: NDArray[np.integer], codes_in_all: int) -> I64:
        """For each code 0, 1, ... of how many customers a row has it; below 0 stands for none."""
        seen = codes >= 0
        if self.alone:
            return np.bincount(codes[seen], minlength=codes_in_all).astype(np.int64)
        owners = np.repeat(np.arange(len(self)), self.rows)
        pairs = np.unique(owners[seen] * codes_in_all + codes[seen])     # a customer and a code of it, once each
        return np.bincount(pairs % codes_in_all, minlength=codes_in_all).astype(np.int64)

    def sums(self, values: F64) -> F64:
        """`values` (rows,) added up over each customer's rows."""
        return values if self.alone else np.add.reduceat(values, self.firsts)

    def centred(self, values: F64) -> tuple[float, float]:
        """A mean of `values` (rows,) to which none adds as if it had more rows than the mean number, for what a heavy
        one adds is scaled away later (party_node.data.leverage) and would leave the others off the middle; and the root
        mean square of all rows about it."""
        if self.alone:
            return float(values.mean()), float(values.std())
        mean = float(np.average(values, weights=1 / self.heaviness()))
        return mean, float(np.sqrt(np.mean(np.square(values - mean))))

    def heaviness(self) -> F64:
        """Of every row what its customer weighs, in multiples of the mean, 1 at least."""
        return np.repeat(np.maximum(self.weights, 1.0), self.rows)


def require_even(customers: Customers, largest: float, least: float) -> None:
    """Refused at every party alike, who all know the numbers of rows, where a customer weighs more than `largest` times
    the mean or all are worth fewer than `least` customers of even weight."""
    if not len(customers):      # nobody weighs too much; that nobody is there is for others to say
        return
    if float(customers.weights.max()) > largest * (1 + 1e-9):   # the mean of equal numbers may be off by a rounding
        raise Refused(
            "UNEVEN_COPIES", "a customer has more rows than the largest weight allows that was agreed",
            "Raise label.largest_weight in the job, which each bank's policy limits, or take the first row of each "
            "customer (duplicates first)",
        )
    if customers.worth < least * (1 - 1e-9):
        raise Refused(
            "UNEVEN_COPIES", "with so uneven numbers of rows, all customers are worth fewer than the minimum that was "
            "agreed", "Take the first row of each customer (duplicates first), or lower minimum_intersection",
        )
