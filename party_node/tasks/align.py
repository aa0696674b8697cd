"""Stage 1: read the own table, account for its rows, find the customers that all parties have."""

from __future__ import annotations

from mpc.protocols import align
from party_node.data.ids import DuplicatePolicy, IdProfile, collect_ids
from party_node.data.label import MissingLabel, read_label
from party_node.data.table import Kind, Table, read_table
from party_node.tasks.context import JobContext


async def run(context: JobContext) -> None:
    """Sets table, outcome, rows, counts."""
    part = context.my_part
    context.table = await context.me.compute(_read, context)
    refused = None
    if context.is_label_holder:
        label = context.spec.label
        found = read_label(context.table, label.column, label.positive, MissingLabel(label.missing))
        context.outcome, refused = found.positive, found.refused
    assert context.table.ids is not None
    own = await context.me.compute(
        collect_ids, context.table.ids, IdProfile(part.id_profile), DuplicatePolicy(part.duplicates), refused
    )
    options = align.AlignOptions(
        context.label_holder, context.spec.minimum_intersection, bytes.fromhex(context.job),
        context.spec.align.engine,
    )
    places = await align.run(
        context.me, context.peers("align"), own.ids, options, context.accept_count, context.settles
    )
    context.rows = own.rows[places]
    context.counts = own.aligned(len(places))


def _read(context: JobContext) -> Table:
    part = context.my_part
    wanted = list(part.columns)
    kinds = {name: kind for name, kind in context.kinds.items() if name in wanted}
    kinds |= dict.fromkeys(part.categorical, Kind.TEXT)
    if context.is_label_holder:
        wanted.append(context.spec.label.column)
        kinds[context.spec.label.column] = Kind.TEXT
    return read_table(context.table_path, id_column=part.id_column, columns=wanted, kinds=kinds)
