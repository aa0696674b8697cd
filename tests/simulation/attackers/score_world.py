"""Customers whose hidden columns an attacker reads out of scores: the project's synthetic people, bins and fit, without
the cryptography, and what the best attacker is given of them.

Beside its own it is given more than a label holder has: every weight, every table of prepared values, and how nature
draws the hidden bins together, given the outcome (`Prior`): as a mixture of kinds of people, within whom columns are
independent, which is how the synthetic tables are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from joint_risk.synthetic_tables import INSTITUTIONS, People, outcome, people
from mpc.credit.binning import BinCounts, Constraints, Trend
from mpc.protocols.bin import told
from mpc.statistics.logistic import fit_logistic
from party_node.data.binned_column import BinnedColumn, bin_codes, fine_bins
from party_node.data.sources.table import NumericColumn, TextColumn

F64 = NDArray[np.float64]
I16 = NDArray[np.int16]
Hidden = Sequence[tuple[str, str]]      # (institution, column)
RATE, PENALTY, CLIP = 0.07, 1e-3, 5.0
LIMITS = Constraints(minimum_rows=20, minimum_share=0.05, minimum_good=5, minimum_bad=5, maximum_bins=6,
                     trend=Trend.AUTO)


@dataclass(frozen=True)
class Prior:
    """`share[t, y]`: of kind t among customers of outcome y; `bins[j][t, b]`: of bin b of column j in kind t; `rate`:
    of bad customers."""

    share: F64
    bins: tuple[F64, ...]
    rate: float

    def as_marginals(self) -> Prior:
        """What the counts of bins say, and no more: columns independent given the outcome."""
        return Prior(np.eye(2), tuple(self.share.T @ column for column in self.bins), self.rate)

    @property
    def outcomes(self) -> F64:
        return np.array([1 - self.rate, self.rate])


@dataclass(frozen=True)
class World:
    """`tables[j][b]`: prepared value of bin b of hidden column j; `codes`, `own`, `bad`: of scored customers, and with
    `_fit` of those who trained. The label holder's own block starts with ones."""

    tables: tuple[F64, ...]
    prior: Prior
    codes: I16
    own: F64
    bad: NDArray[np.bool_]
    fit_codes: I16
    fit_own: F64
    fit_bad: NDArray[np.bool_]

    def block(self, codes: I16) -> F64:
        """Prepared values of hidden columns, (rows, columns)."""
        return np.column_stack([table[codes[:, j]] for j, table in enumerate(self.tables)])

    def fitted(self, draw: int | None = None) -> tuple[F64, F64]:
        """(weights of the label holder's block, weights of the hidden columns). `draw`: of another model of the same
        bins, on another 70 % of the customers and another two thirds of the label holder's columns."""
        rows, columns = np.ones(len(self.fit_bad), np.bool_), np.ones(self.fit_own.shape[1], np.bool_)
        if draw is not None:
            rng = np.random.default_rng([77, draw])
            rows, columns[1:] = rng.random(len(rows)) < 0.7, rng.random(len(columns) - 1) < 0.67
        features = np.column_stack([self.fit_own[rows][:, columns], self.block(self.fit_codes[rows])])
        weights = fit_logistic(features, self.fit_bad[rows], PENALTY, 0).weights
        own = np.zeros(len(columns))
        own[columns] = weights[: columns.sum()]
        return own, weights[columns.sum():]


def make(hidden: Hidden, scored: int, fitted: int = 5000, seed: int = 1, kinds: int = 256, repeats: int = 400) -> World:
    """A world in which `hidden` columns are the partners'. `kinds` x `repeats` people make the prior."""
    rng = np.random.default_rng([seed, len(hidden)])
    everyone = people(fitted + scored, rng)
    bad = outcome(everyone, np.ones(len(everyone.age), np.bool_), RATE, rng)
    tables, cut, codes = [], [], []
    train = np.arange(fitted)
    columns = [*(("bank", name) for name in INSTITUTIONS["bank"].features(_first(everyone, 2), rng)), *hidden]
    raw = _raw(everyone, columns, rng)
    for one, column in zip(columns, raw, strict=True):
        fine = fine_bins(column, train, most=20, minimum_rows=20, special=())
        numbers = bin_codes(fine, column)
        counts = BinCounts.of(fine, *(np.bincount(numbers[:fitted][bad[:fitted] == side], minlength=fine.count)
                                      for side in (False, True)))
        what = told(counts, LIMITS, 0.0)
        cut.append(BinnedColumn(one[1], fine, what.group, what.good, what.bad))
        codes.append(_merged(cut[-1], numbers))
        tables.append(_table(cut[-1], codes[-1][:fitted])[: codes[-1].max() + 1])   # the last: where some are in no bin
    own = np.column_stack([np.ones(len(bad)), *(tables[j][codes[j]] for j in range(len(columns) - len(hidden)))])
    first = len(columns) - len(hidden)
    theirs = np.column_stack(codes[first:]).astype(np.int16)
    prior = _prior(cut[first:], hidden, [len(table) for table in tables[first:]], (kinds, repeats), rng)
    return World(tuple(tables[first:]), prior, theirs[fitted:], own[fitted:], bad[fitted:],
                 theirs[:fitted], own[:fitted], bad[:fitted])


def _prior(
    cut: Sequence[BinnedColumn], hidden: Hidden, sizes: Sequence[int], drawn: tuple[int, int], rng: np.random.Generator
) -> Prior:
    kinds, repeats = drawn
    kind = people(kinds, rng)
    many = People(*(np.repeat(getattr(kind, trait), repeats) for trait in People.__dataclass_fields__))
    bad = outcome(many, np.ones(kinds * repeats, np.bool_), RATE, rng).reshape(kinds, repeats).mean(axis=1)
    raw, bins = _raw(many, hidden, rng), []
    for column, values, count in zip(cut, raw, sizes, strict=True):
        codes = np.minimum(_merged(column, bin_codes(column.bins, values)), count - 1).reshape(kinds, repeats)
        shares = np.array([np.bincount(row, minlength=count) for row in codes]) / repeats
        bins.append((shares + 1e-6) / (shares + 1e-6).sum(axis=1, keepdims=True))
    share = np.column_stack([1 - bad, bad])
    return Prior(share / share.sum(axis=0), tuple(bins), float(bad.mean()))


def _raw(who: People, columns: Hidden, rng: np.random.Generator) -> list[NumericColumn | TextColumn]:
    made = {name: INSTITUTIONS[name].features(who, rng) for name in dict.fromkeys(name for name, _ in columns)}
    return [as_column(name, made[institution][name]) for institution, name in columns]


def as_column(name: str, values: pa.Array) -> NumericColumn | TextColumn:
    """As the project reads such a column from a file."""
    if not pa.types.is_string(values.type):
        return NumericColumn(name, values.cast(pa.float64()).to_numpy(zero_copy_only=False))
    found = values.dictionary_encode()
    levels = found.dictionary.to_pylist()
    order = sorted(range(len(levels)), key=levels.__getitem__)
    place = np.append(np.argsort(order), -1).astype(np.int32)
    return TextColumn(name, place[found.indices.fill_null(-1).to_numpy()], tuple(levels[k] for k in order))


def _merged(column: BinnedColumn, fine: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers of merged bins in the order of the column; the last stands for no bin."""
    rank = {merged: number for number, merged in enumerate(column.order)}
    return np.array([*(rank[merged] for merged in column.group), len(rank)])[fine]


def _table(column: BinnedColumn, fitted: NDArray[np.int64]) -> F64:
    """Prepared values of the merged bins, as party_node.data.preparation makes them (leverage aside)."""
    evidence = np.append(column.weights[column.order], 0.0)
    values = evidence[fitted]
    return np.clip((evidence - values.mean()) / values.std(), -CLIP, CLIP)


def _first(who: People, count: int) -> People:
    return People(*(getattr(who, trait)[:count] for trait in People.__dataclass_fields__))
