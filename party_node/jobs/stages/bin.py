"""Stage 3, where the job has bins: cut the own columns, count good and bad customers per bin together, keep what says
enough. The label holder does the same with its own columns alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mpc.credit.binning import Constraints, Trend
from mpc.credit.fine_bins import NumericBins
from mpc.link import PartyId
from mpc.protocols import bin
from party_node.data.binned_column import BinnedColumn, bin_codes, fine_bins
from party_node.data.column_selection import select
from party_node.data.near_bins import CutColumn, apart
from party_node.jobs.stages.context import Binning, JobContext
from wire.spec.columns import BinningSpec
from wire.spec.job import PartySpec


async def run(context: JobContext) -> None:
    """Sets binning; nothing to do where columns enter as they are."""
    rules = context.spec.binning
    if rules is None:
        return
    assert context.test is not None
    assert context.copies is None    # the spec refuses it: every row is a customer
    cut, left_out = await context.me.compute(_cuts, context, rules)
    options = _options(context, rules)
    columns = [_column(one, trend_of(one.name, context.my_part, rules)) for one in cut]
    if context.is_label_holder:
        assert context.outcome is not None
        assert context.rows is not None
        labels = context.outcome[context.rows][~context.test]
        key = await context.me.compute(context.tools.make_key, context.me.rng.child("bin"), options.key_bits)
        await bin.run_label_holder(context.me, context.peers("bin"), labels, options, key)
        told = [await context.me.compute(_own, column, labels, options) for column in columns]
    else:
        link = context.peers("bin")[context.label_holder]
        told = await bin.run_feature_holder(context.me, link, columns, options)
    context.binning = await context.me.compute(_selected, cut, told, left_out, rules)


def _options(context: JobContext, rules: BinningSpec) -> bin.BinOptions:
    assert context.test is not None
    return bin.BinOptions(
        label_holder=context.label_holder,
        rows=int((~context.test).sum()),
        columns={PartyId(p.id): len(p.columns) for p in context.spec.parties if p.id != context.label_holder},
        slots=rules.slots,
        constraints=limits_of(rules),
        minimum_information=rules.minimum_information,
        key_bits=context.spec.crypto.key_bits,
        engine="phe" if context.spec.crypto.engine == "phe" else "auto",
    )


def limits_of(rules: BinningSpec) -> Constraints:
    """What merged bins have to keep, whatever their trend."""
    return Constraints(
        minimum_rows=rules.minimum_cell, minimum_share=rules.minimum_share,
        minimum_good=rules.minimum_outcome, minimum_bad=rules.minimum_outcome, maximum_bins=rules.maximum_bins,
    )


def trend_of(column: str, part: PartySpec, rules: BinningSpec) -> Trend:
    """How the bad rate has to run over a column of `part`."""
    return Trend(part.trends.get(column, rules.trend))


def _column(cut: CutColumn, trend: Trend) -> bin.Column:
    return bin.Column(cut.codes, cut.bins.regular, cut.bins.count, isinstance(cut.bins, NumericBins), trend)


def _own(column: bin.Column, labels: NDArray[np.bool_], options: bin.BinOptions) -> bin.Told:
    return options.told(bin.own_counts(column, labels), column.trend)


def _cuts(context: JobContext, rules: BinningSpec) -> tuple[list[CutColumn], list[tuple[str, str]]]:
    """The columns that can be counted, and the others with the reason."""
    assert context.table is not None
    assert context.rows is not None
    assert context.test is not None
    rows = context.rows[~context.test]
    found: list[CutColumn] = []
    left_out: list[tuple[str, str]] = []
    for name in context.my_part.columns:
        column = context.table.column(name)
        if bool(np.all(column.missing[rows])):
            left_out.append((name, "all values are missing"))
            continue
        bins = fine_bins(
            column, rows, most=rules.fine_bins, minimum_rows=rules.minimum_cell, special=rules.special_values
        )
        if bins.count == 1:
            left_out.append((name, f"no two bins of {rules.minimum_cell} rows"))
            continue
        found.append(CutColumn(name, bins, bin_codes(bins, column, rows).astype(np.uint8)))
    kept, near = apart(found, rules.minimum_cell, rules.minimum_outcome)
    return kept, [*left_out, *near]


def _selected(
    cut: Sequence[CutColumn], told: Sequence[bin.Told], left_out: Sequence[tuple[str, str]], rules: BinningSpec
) -> Binning:
    columns = [BinnedColumn(one.name, one.bins, what.group, what.good, what.bad)
               for one, what in zip(cut, told, strict=True)]
    rows = len(cut[0].codes) if cut else 0
    values = np.empty((rows, len(columns)))
    for j, (one, column) in enumerate(zip(cut, columns, strict=True)):
        values[:, j] = column.weights[np.array(column.group)][one.codes]
    dropped = select(
        columns, values, minimum_information=rules.minimum_information,
        maximum_correlation=rules.maximum_correlation, maximum_inflation=rules.maximum_inflation,
    )
    reasons = [(columns[j].name, reason) for j, reason in sorted(dropped.items())]
    kept = tuple(column for j, column in enumerate(columns) if j not in dropped)
    return Binning(kept, (*left_out, *reasons))
