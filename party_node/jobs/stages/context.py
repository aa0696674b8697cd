"""What one job holds at one party while it runs: the agreed spec, the links, and the private results so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from mpc.errors import LocalError
from mpc.link import Link, PartyId
from mpc.protocol import Party
from mpc.protocols.train import Tools
from mpc.ring import U64
from mpc.rng import Rng
from party_node.data.binned_column import BinnedColumn
from party_node.data.hold_out import Side, count
from party_node.data.ids.accounting import IdCounts
from party_node.data.ids.customers import Customers
from party_node.data.period import Period
from party_node.data.preparation import Preparation
from party_node.data.sources.kinds import Kind
from party_node.data.sources.table import Table
from party_node.models.part import Trained
from party_node.models.released_figures import Judged
from party_node.models.score_cells import Cells
from wire.spec.job import JobSpec, PartySpec


@dataclass(frozen=True, repr=False)
class Binning:
    """A party's own columns as weights of evidence, and those that were left out, each with the reason."""

    columns: tuple[BinnedColumn, ...]
    left_out: tuple[tuple[str, str], ...]


def _nothing_to_draw_from(rows: NDArray[np.int64]) -> Rng:
    raise LocalError("nobody keeps a secret here to draw a linear term from")


def _nowhere() -> None:
    raise LocalError("nobody notes here what one-time values are used")


def _no_key(what: Sequence[bytes]) -> bytes:
    raise LocalError("no secret of the node is at hand, and without one no part of a score leaves it")


@dataclass
class JobContext:
    """Filled stage by stage. Everything below `links` is private and never leaves the process unmasked."""

    job: str
    spec: JobSpec
    me: Party
    links: Mapping[PartyId, Link]
    table_path: Path
    kinds: Mapping[str, Kind]
    tools: Tools
    accept_count: Callable[[int], None]              # raises if this party's policy refuses so few in common
    # Whether it would accept every number from a proven one on; who does not say so learns the exact number first.
    settles: Callable[[int], bool] = lambda lower: False
    # The marks of customers by which this party knows them again in other jobs; of ids in writing, or of digests.
    mark: Callable[[Sequence[bytes], bool], U64] = lambda ids, hashed: np.zeros(len(ids), np.uint64)
    # Hears the marks of the customers in common, and who of them is held out; raises if an earlier job had nearly the
    # same.
    accept_sets: Callable[[U64, NDArray[np.bool_]], None] = lambda marks, test: None
    # Hears the padded widths of the others' blocks before anything of training is sent; raises past the budget.
    accept_widths: Callable[[Mapping[PartyId, int]], None] = lambda widths: None
    # Debits the budget before a part of a score leaves; raises if the dataset may not have another model scored.
    accept_scores: Callable[[], None] = lambda: None
    # From this node's secret: the key that rounds parts of scores of this dataset, for columns of these names.
    dither_key: Callable[[Sequence[bytes]], bytes] = _no_key
    # Remembers the digest of what masks are made for; raises if the job has another one under that name.
    pin: Callable[[str, bytes], None] = lambda what, digest: None
    # The stream of this party's linear term, given which table rows train.
    noise: Callable[[NDArray[np.int64]], Rng] = _nothing_to_draw_from
    # Where a job keeps what it makes ahead of another one; and how this one notes that it uses what another made.
    prepared: Path = Path()
    burn_prepared: Callable[[], None] = _nowhere
    label_holder_columns: int = 0                    # of ours that have to enter the model, where we hold the label
    # align
    common: int = 0                                  # customers that all parties have
    copies: NDArray[np.int64] | None = None          # per customer, how many rows: where the label holder keeps all
    table: Table | None = None
    outcome: NDArray[np.bool_] | None = None         # per table row, label holder only
    period: Period | None = None                     # likewise, where the hold-out is out of time
    rows: NDArray[np.int64] | None = None            # table rows in canonical order, if this party knows them
    marks: U64 | None = None                         # of the customer of each of `rows`, where a model follows
    counts: IdCounts | None = None
    # split
    test: NDArray[np.bool_] | None = None            # per common customer
    row_weights: NDArray[np.float64] | None = None   # per training row, mean 1; label holder of a job that has weights
    class_shift: float = 0.0                         # taken off the intercept of a fit by class weights, likewise
    offset: NDArray[np.float64] | None = None        # per common customer; label holder of a job that has an offset
    # bin
    binning: Binning | None = None                   # only where the job has bins
    # prepare
    preparation: Preparation | None = None
    features: NDArray[np.float64] | None = None      # common customers x d
    cells: Cells | None = None                       # judging customers x own columns, feature holder only
    # correlate
    correlations: dict[str, Any] | None = None       # what this party is shown of them
    # train
    weights: NDArray[np.float64] | None = None
    solo_weights: NDArray[np.float64] | None = None  # label holder only
    # evaluate, label holder only
    evaluation: dict[str, Any] | None = None         # what `release` allows, None where that is nothing
    judged_here: Judged | None = None                # the same at full precision, and why less is released
    scores: dict[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def my_part(self) -> PartySpec:
        return self.spec.party(self.me.id)

    @property
    def label_holder(self) -> PartyId:
        return PartyId(self.spec.label_holder.id)

    @property
    def is_label_holder(self) -> bool:
        return self.me.id == self.label_holder

    def trained(self) -> Trained:
        """What this party keeps of a job that trained a model."""
        assert self.preparation is not None
        assert self.weights is not None
        assert self.rows is not None
        assert self.test is not None
        return Trained(self.job, self.spec, self.me.id, self.preparation, self.weights, self.rows, self.test,
                       self.class_shift, self.scores, self.judged_here)

    def peers(self, stage: str) -> dict[PartyId, Link]:
        """The links of one stage; their traffic is counted under its name."""
        return {peer: link.channel(stage) for peer, link in self.links.items()}

    @property
    def judged(self) -> NDArray[np.bool_]:
        """Which common customers judge the model: the hold-out, or all where the job says that it has none."""
        assert self.test is not None
        return np.ones_like(self.test) if self.spec.hold_out.all_judge else self.test

    def sides(self, labels: NDArray[np.bool_] | None = None) -> list[Side]:
        """The development sample and the sample that judges, counted in customers; outcomes where `labels` are given,
        a row each."""
        assert self.test is not None
        return [count(self.customers(side), None if labels is None else labels[side])
                for side in (~self.test, self.judged)]

    def customers(self, chosen: NDArray[np.bool_]) -> Customers:
        """Whose the `chosen` common rows are: of every customer all, or none."""
        if self.copies is None:
            return Customers.one_row_each(int(chosen.sum()))
        return Customers(self.copies[chosen[Customers(self.copies).firsts]])

    @property
    def heaviness(self) -> NDArray[np.float64] | None:
        """Of every common row what its customer weighs where it trains; None where none weighs more than others."""
        assert self.test is not None
        if self.copies is None:
            return None
        found = np.ones(len(self.test))
        found[~self.test] = self.customers(~self.test).heaviness()
        return found

    def __repr__(self) -> str:
        return f"JobContext({self.job[:12]})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a running job holds private data and is never pickled")
