"""Stage 1: read the own ids, account for their rows, find the customers that all parties have; then read the table."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mpc.protocols import align
from party_node.data.id_profiles import IdProfile
from party_node.data.ids import DuplicatePolicy, IdRules, IdScheme, IdSet, read_ids
from party_node.data.label import Label, MissingLabel, read_label
from party_node.data.source import require_digest
from party_node.data.table import Kind, Table, read_table
from party_node.tasks.context import JobContext


async def run(context: JobContext) -> None:
    """Sets outcome, rows, counts, table."""
    refused = None
    if context.is_label_holder:
        label = await context.me.compute(_label, context)
        context.outcome, refused = label.positive, label.refused
    own = await context.me.compute(_own_ids, context, refused)
    options = align.AlignOptions(
        context.label_holder, context.spec.minimum_intersection, bytes.fromhex(context.job),
        context.spec.align.engine,
    )
    places = await align.run(
        context.me, context.peers("align"), own.ids, options, context.accept_count, context.settles
    )
    context.rows = own.rows[places]
    context.counts = own.aligned(len(places))
    context.table = await context.me.compute(_table, context, own.counts.read)


def _label(context: JobContext) -> Label:
    label = context.spec.label
    table = read_table(context.table_path, columns=[label.column], kinds={label.column: Kind.TEXT})
    return read_label(table, label.column, label.positive, MissingLabel(label.missing))


def _own_ids(context: JobContext, refused: NDArray[np.bool_] | None) -> IdSet:
    part, agreed = context.my_part, context.spec.align
    rules = IdRules(tuple(map(IdProfile, agreed.id_profiles)), IdScheme(part.id_scheme), IdScheme(agreed.id_scheme))
    return read_ids(context.table_path, part.id_columns, rules, DuplicatePolicy(part.duplicates), refused)


def _table(context: JobContext, rows: int) -> Table:
    """The columns that the job uses, once it is known that it goes on, from the same file as the ids."""
    wanted = list(context.my_part.columns)
    kinds = {name: kind for name, kind in context.kinds.items() if name in wanted}
    kinds |= dict.fromkeys(context.my_part.categorical, Kind.TEXT)
    table = read_table(context.table_path, columns=wanted, kinds=kinds) if wanted else Table(rows, {}, ())
    require_digest(context.table_path, context.my_part.dataset_digest)
    return table
