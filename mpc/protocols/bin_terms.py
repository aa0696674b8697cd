"""What both sides of `bin` agree on: sizes, minima, and how a column's counts become the bins that its
owner hears of. Pure; knows no message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from mpc.credit.binning import BinCounts, Constraints, Trend, best_bins
from mpc.credit.weight_of_evidence import I64, information_value
from mpc.errors import LocalError
from mpc.kernels.modulus import MOST_GROUPS
from mpc.link import PartyId
from mpc.rng import Rng

COUNT_BITS = 32       # of a number of customers on the wire
FORM_BITS = 8         # of a number of bins, and of a form
FORMS: tuple[Trend | None, ...] = (*Trend, None)     # None: levels, which have no order
MIRRORED = {Trend.ASCENDING: Trend.DESCENDING, Trend.DESCENDING: Trend.ASCENDING}


@dataclass(frozen=True)
class BinOptions:
    """Agreed in the job spec.

    `columns`: of every feature holder. `slots`: room for the fine bins of one column. `constraints.minimum_rows` is
    the minimum cell: fewer customers stand in no bin that anybody hears of. A column whose information value stays
    below `minimum_information` becomes one bin. `engine` as in mpc.kernels.engines.
    """

    label_holder: PartyId
    rows: int
    columns: Mapping[PartyId, int]
    slots: int
    constraints: Constraints
    minimum_information: float
    key_bits: int
    engine: str = "auto"

    def __post_init__(self) -> None:
        if not 1 <= self.slots <= MOST_GROUPS or self.rows < 1 or self.rows >> COUNT_BITS:
            raise LocalError(f"counting takes 1 to {MOST_GROUPS} bins a column, and rows below 2^{COUNT_BITS}")
        if min(self.columns.values(), default=0) < 1 or self.label_holder in self.columns:
            raise LocalError("counting needs a feature holder, with at least one column")

    @property
    def bits(self) -> int:
        """Of one count inside a plaintext: no count exceeds the number of rows."""
        return self.rows.bit_length()

    def told(self, counts: BinCounts, trend: Trend) -> Told:
        """What the owner of a column with these counts hears."""
        return told(counts, replace(self.constraints, trend=trend), self.minimum_information)

    def replies(self, party: PartyId) -> int:
        """Ciphertexts that hold all counts of `party`'s columns, side by side."""
        return -(-self.columns[party] * self.slots // ((self.key_bits - 1) // self.bits))

    def counts_each(self, party: PartyId) -> int:
        """Counts in one of these; the last ones of them all may be empty."""
        return -(-self.columns[party] * self.slots // self.replies(party))


@dataclass(frozen=True, repr=False)
class Column:
    """One column's training rows as its owner has cut them: `codes` (rows,) are bins 0..count-1, each holding at least
    the minimum cell; the first `regular` may be merged, neighbours only if `ordered`."""

    codes: NDArray[np.uint8]
    regular: int
    count: int
    ordered: bool = True
    trend: Trend = Trend.AUTO

    def totals(self) -> I64:
        """Customers per fine bin."""
        return np.bincount(self.codes, minlength=self.count).astype(np.int64)


@dataclass(frozen=True)
class Told:
    """What the owner hears of one column. `group`: for each of its fine bins the bin it was merged into, numbered as
    they first appear; `good`, `bad`: customers per merged bin."""

    group: tuple[int, ...]
    good: tuple[int, ...]
    bad: tuple[int, ...]


def told(counts: BinCounts, constraints: Constraints, minimum_information: float) -> Told:
    """The best bins of a column, none with fewer good or bad customers than the minimum, missing and special values
    included; one bin of all where its information value stays below the minimum."""
    group = np.array(best_bins(counts, constraints).group, dtype=np.int64)
    group = _without_bare_bins(counts, group, constraints)
    if information_value(*_sums(counts, group)) < minimum_information:
        group = np.zeros_like(group)
    return in_own_order(group, counts.rows, _sums(counts, group)[1])


def in_own_order(group: I64, rows: I64, bad: I64) -> Told:
    """`group` renumbered as the groups first appear; `rows` per fine bin, `bad` per group before."""
    names, first = np.unique(group, return_index=True)
    order = names[np.argsort(first)]
    place = np.empty(len(bad), dtype=np.int64)
    place[order] = np.arange(len(order))
    merged = place[group]
    in_bad = bad[order]
    in_good = np.bincount(merged, weights=rows, minlength=len(order)).astype(np.int64) - in_bad
    return Told(tuple(merged.tolist()), tuple(in_good.tolist()), tuple(in_bad.tolist()))


def _sums(counts: BinCounts, group: I64) -> tuple[I64, I64]:
    """Good and bad customers per group."""
    good, bad = (np.bincount(group, weights=part).astype(np.int64) for part in (counts.good, counts.bad))
    return good, bad


def _without_bare_bins(counts: BinCounts, group: I64, constraints: Constraints) -> I64:
    """Bins with too few good or bad customers are merged into the one with the nearest bad rate, the smallest first."""
    while True:
        group = np.unique(group, return_inverse=True)[1]
        good, bad = _sums(counts, group)
        short = [k for k in range(len(good)) if good[k] < constraints.minimum_good or bad[k] < constraints.minimum_bad]
        if not short or len(good) == 1:
            return group
        rates = [Fraction(int(b), int(g + b) or 1) for g, b in zip(good, bad, strict=True)]
        least = min(short, key=lambda k: (good[k] + bad[k], rates[k]))
        near = min((k for k in range(len(good)) if k != least), key=lambda k: (abs(rates[k] - rates[least]), rates[k]))
        group[group == least] = near


def own_counts(column: Column, labels: NDArray[np.bool_]) -> BinCounts:
    """Good and bad customers per fine bin, where the labels are at hand."""
    bad = np.bincount(column.codes[labels], minlength=column.count).astype(np.int64)
    return BinCounts(column.totals() - bad, bad, column.regular, column.ordered)


# ---------------------------------------------------------------- a feature holder's columns


def check_columns(columns: Sequence[Column], options: BinOptions, party: PartyId) -> None:
    """LocalError unless the columns keep what was agreed; nothing below the minimum cell ever gets further."""
    if len(columns) > options.columns[party]:
        raise LocalError("more columns are to be counted than were agreed")
    for column in columns:
        if column.codes.shape != (options.rows,) or column.codes.dtype != np.uint8:
            raise LocalError("a column to be counted has another form than was agreed")
        if not 1 <= column.regular <= column.count <= options.slots or int(column.codes.max()) >= column.count:
            raise LocalError("a column has more bins than were agreed")
        if int(column.totals().min()) < options.constraints.minimum_rows:
            raise LocalError("a bin holds fewer customers than the minimum cell", "merge it before counting")


def room(columns: Sequence[Column], options: BinOptions, party: PartyId) -> I64:
    """Customers per fine bin, (columns agreed, slots); zeros where there is none."""
    totals = np.zeros((options.columns[party], options.slots), np.int64)
    for c, column in enumerate(columns):
        totals[c, : column.count] = column.totals()
    return totals


@dataclass(frozen=True, repr=False)
class Disguise:
    """What makes a feature holder's columns anonymous: shown column c is its own column order[c], whose fine bin b is
    shown as bin places[c][b]. Numbers are turned round by a fair coin; levels, and bins apart, are shuffled."""

    order: I64
    places: tuple[I64, ...]
    turned: tuple[bool, ...]

    @classmethod
    def draw(cls, columns: Sequence[Column], rng: Rng) -> Disguise:
        order, places, turned = rng.permutation(len(columns)), [], []
        for own in order.tolist():
            column = columns[own]
            turn = column.ordered and rng.bits(1) == 1
            place = np.arange(column.regular) if column.ordered else rng.permutation(column.regular)
            apart = column.regular + rng.permutation(column.count - column.regular)
            places.append(np.concatenate([place[::-1] if turn else place, apart]).astype(np.int64))
            turned.append(turn)
        return cls(order, tuple(places), tuple(turned))

    def apply(self, columns: Sequence[Column], c: int) -> Column:
        """Shown column c."""
        column: Column = columns[int(self.order[c])]
        trend = MIRRORED.get(column.trend, column.trend) if self.turned[c] else column.trend
        return replace(column, codes=self.places[c].astype(np.uint8)[column.codes], trend=trend)

    def lifted(self, columns: Sequence[Column], groups: I64, bad: I64) -> list[Told] | None:
        """What is told of one's own columns, in their order; None where groups are not numbered 0, 1, ... each with a
        place in the room, or where something is told of no column."""
        found: dict[int, Told] = {}
        for c, place in enumerate(self.places):
            group, used = groups[c, place], len(place)
            count = int(group.max()) + 1
            whole = count <= used and len(np.unique(group)) == count
            if not whole or groups[c, used:].any() or bad[c, count:].any():
                return None
            found[int(self.order[c])] = in_own_order(group, columns[self.order[c]].totals(), bad[c, :count])
        unused = slice(len(self.places), None)
        return None if groups[unused].any() or bad[unused].any() else [found[own] for own in range(len(columns))]


def forms_of(shown: Sequence[Column], count: int) -> tuple[I64, I64]:
    """Of each shown column how many of its bins may be merged, and its form; zeros to `count`."""
    regular, forms = np.zeros(count, np.int64), np.zeros(count, np.int64)
    for c, column in enumerate(shown):
        regular[c], forms[c] = column.regular, FORMS.index(column.trend if column.ordered else None)
    return regular, forms


# ---------------------------------------------------------------- what the other side said


def forms_fit(regular: I64, forms: I64, totals: I64, options: BinOptions) -> bool:
    """Whether shown columns can be whole: bins without a gap, as many regular ones as are said, every row in one."""
    used = (totals > 0).sum(axis=1)
    gapless = (totals > 0) == (np.arange(options.slots) < used[:, None])
    empty = (used == 0) & (regular == 0) & (forms == 0)
    whole = (totals.sum(axis=1) == options.rows) & (regular >= 1) & (regular <= used) & (forms < len(FORMS))
    last = np.append(~empty[1:] & empty[:-1], False)     # an empty column stands before one that is not
    return bool(np.all(gapless) and np.all(empty | whole) and not last.any())


def counts_fit(bad: I64, totals: I64, all_bad: int) -> bool:
    """Whether these can be the bad customers of every bin: all columns have the same sum, `all_bad`."""
    sums = bad.sum(axis=1)[totals.any(axis=1)]
    return bool(np.all(bad <= totals) and np.all(sums == all_bad))


def anonymous_counts(regular: I64, forms: I64, totals: I64, bad: I64) -> list[tuple[BinCounts, Trend]]:
    """The shown columns, and the trend under which each is to be merged."""
    found = []
    for c in range(int(np.count_nonzero(regular))):
        used, form = int(np.count_nonzero(totals[c])), FORMS[forms[c]]
        good = totals[c, :used] - bad[c, :used]
        found.append((BinCounts(good, bad[c, :used], int(regular[c]), form is not None), form or Trend.AUTO))
    return found


def can_be(found: Sequence[Told], columns: Sequence[Column], options: BinOptions) -> bool:
    """Whether this can be told of one's columns: neighbours merged where there is an order, both outcomes as often as
    was agreed, and the same number of bad customers in every column."""
    limits = options.constraints
    for column, answer in zip(columns, found, strict=True):
        good, bad, group = np.array(answer.good), np.array(answer.bad), np.array(answer.group[: column.regular])
        enough = len(good) == 1 or (good.min() >= limits.minimum_good and bad.min() >= limits.minimum_bad)
        if good.min() < 0 or not enough or (column.ordered and bool(np.any(np.diff(group) < 0))):
            return False
    return len({sum(answer.bad) for answer in found}) <= 1
