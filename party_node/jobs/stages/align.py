"""Stage 1: read the own ids, account for their rows, find the customers that all parties have; then read the table
where a model follows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mpc.link import Link, PartyId
from mpc.protocols import align
from mpc.protocols.align_terms import share_copies
from mpc.ring import I64
from party_node.data.ids.accounting import DuplicatePolicy, IdRules, IdScheme, IdSet, read_ids
from party_node.data.ids.customers import Customers, require_even
from party_node.data.ids.normalisation import IdProfile
from party_node.data.label import Label, MissingLabel, read_label
from party_node.data.period import Period, read_period
from party_node.data.sources.files import require_digest
from party_node.data.sources.kinds import Kind
from party_node.data.sources.table import Table, read_table
from party_node.jobs.stages.context import JobContext


async def run(context: JobContext) -> None:
    """Sets outcome, common, counts; rows where this party finds out its members; marks, copies, table for a model."""
    refused = None
    if context.is_label_holder:
        label = await context.me.compute(read_outcome, context)
        context.outcome, refused = label.positive, label.refused
        if context.spec.hold_out.column is not None and context.spec.goal != "alignment":
            context.period = await context.me.compute(_period, context, context.spec.hold_out.column)
    own = await context.me.compute(_own_ids, context, refused)
    terms = context.spec.align
    options = align.AlignOptions(
        context.label_holder, context.spec.minimum_intersection, bytes.fromhex(context.job), terms.engine,
        output=terms.output, padded=terms.padding == "bucket",
    )

    def accept(count: int) -> None:
        context.accept_count(count)
        context.common = count

    links = context.peers("align")
    places = await align.run(context.me, links, own.ids, options, accept, context.settles)
    if len(places):
        context.rows = own.rows[places]
    if context.spec.keeps_copies:
        await _keep_all(context, own, places, links)
    else:
        context.counts = own.aligned(context.common)
    if context.spec.goal != "alignment":
        marks = await context.me.compute(context.mark, own.ids.take(places), terms.id_scheme == "sha256")
        context.marks = marks if context.copies is None else np.repeat(marks, context.copies)
        context.table = await context.me.compute(read_columns, context, own.counts.read)


async def _keep_all(context: JobContext, own: IdSet, places: I64, links: Mapping[PartyId, Link]) -> None:
    """Every row of the label holder with a common id is an observation; the others' rows repeat beside it."""
    mine = own.copies[places] if context.is_label_holder else None
    if mine is not None:     # of what cannot pass nothing is told; the split asks again at every party, of either side
        require_even(Customers(mine), context.spec.label.largest_weight, context.spec.minimum_intersection)
    context.copies = await share_copies(context.me, links, context.label_holder, mine, len(places))
    if context.is_label_holder:
        context.rows = own.all_rows(places)
        context.counts = own.aligned(len(context.rows))
    else:
        context.rows = np.repeat(own.rows[places], context.copies)
        context.counts = own.aligned(len(places))


def read_outcome(context: JobContext) -> Label:
    """Who is bad, per row of the table; at the label holder."""
    label = context.spec.label
    table = read_table(context.table_path, columns=[label.column], kinds={label.column: Kind.TEXT})
    return read_label(table, label.column, label.positive, MissingLabel(label.missing))


def _period(context: JobContext, column: str) -> Period:
    table = read_table(context.table_path, columns=[column], kinds={column: Kind.TEXT})
    return read_period(table, column, context.spec.hold_out.since)


def _own_ids(context: JobContext, refused: NDArray[np.bool_] | None) -> IdSet:
    part, agreed = context.my_part, context.spec.align
    rules = IdRules(tuple(map(IdProfile, agreed.id_profiles)), IdScheme(part.id_scheme), IdScheme(agreed.id_scheme))
    return read_ids(context.table_path, part.id_columns, rules, DuplicatePolicy(part.duplicates), refused)


def read_columns(context: JobContext, rows: int) -> Table:
    """The columns that the job uses, once it is known that it goes on, from the same file as the ids."""
    extra = context.spec.label.extra_columns if context.is_label_holder else []
    wanted = [*context.my_part.columns, *extra]
    kinds = {name: kind for name, kind in context.kinds.items() if name in wanted}
    kinds |= dict.fromkeys(context.my_part.categorical, Kind.TEXT) | dict.fromkeys(extra, Kind.NUMERIC)
    table = read_table(context.table_path, columns=wanted, kinds=kinds) if wanted else Table(rows, {}, ())
    require_digest(context.table_path, context.my_part.dataset_digest)
    return table
