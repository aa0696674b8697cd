"""What one job holds at one party while it runs: the agreed spec, the links, and the private results so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from mpc.errors import LocalError
from mpc.link import Link, PartyId
from mpc.protocol import Party
from mpc.protocols.train import Tools
from mpc.rng import Rng
from party_node.data.binned_column import BinnedColumn
from party_node.data.ids.accounting import IdCounts
from party_node.data.period import Period
from party_node.data.preparation import Preparation
from party_node.data.sources.kinds import Kind
from party_node.data.sources.table import Table
from party_node.models.part import Trained
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
    accept_count: Callable[[int], None]              # raises if this party's policy refuses so many in common
    # Whether it would accept every number from a proven one on; who does not say so learns the exact number first.
    settles: Callable[[int], bool] = lambda lower: False
    # Hears which table rows will train; raises if an earlier job trained on nearly the same ones.
    accept_training: Callable[[NDArray[np.int64]], None] = lambda rows: None
    # Hears the padded widths of the others' blocks before anything of training is sent; raises past the budget.
    accept_widths: Callable[[Mapping[PartyId, int]], None] = lambda widths: None
    # Remembers the digest of what masks are made for; raises if the job has another one under that name.
    pin: Callable[[str, bytes], None] = lambda what, digest: None
    # The stream of this party's linear term, given which table rows train.
    noise: Callable[[NDArray[np.int64]], Rng] = _nothing_to_draw_from
    # Where a job keeps what it makes ahead of another one; and how this one notes that it uses what another made.
    prepared: Path = Path()
    burn_prepared: Callable[[], None] = _nowhere
    minimum_outcome: int = 1                         # good, and bad, customers on either side of a period at least
    # align
    common: int = 0                                  # customers that all parties have
    copies: NDArray[np.int64] | None = None          # per customer, how many rows: where the label holder keeps all
    table: Table | None = None
    outcome: NDArray[np.bool_] | None = None         # per table row, label holder only
    period: Period | None = None                     # likewise, where the hold-out is out of time
    rows: NDArray[np.int64] | None = None            # table rows in canonical order, if this party knows them
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
    # correlate
    correlations: dict[str, Any] | None = None       # what this party is shown of them
    # train
    weights: NDArray[np.float64] | None = None
    solo_weights: NDArray[np.float64] | None = None  # label holder only
    # evaluate, label holder only
    evaluation: dict[str, Any] | None = None         # what `release` allows, None where that is nothing
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
                       self.class_shift, self.scores)

    def peers(self, stage: str) -> dict[PartyId, Link]:
        """The links of one stage; their traffic is counted under its name."""
        return {peer: link.channel(stage) for peer, link in self.links.items()}

    @property
    def judged(self) -> NDArray[np.bool_]:
        """Which common customers judge the model: the hold-out, or all when there is none."""
        assert self.test is not None
        return self.test if self.test.any() else np.ones_like(self.test)

    def __repr__(self) -> str:
        return f"JobContext({self.job[:12]})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a running job holds private data and is never pickled")
