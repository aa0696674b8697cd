"""The first stage of a job on what another one made ahead: everything up to training as that job left it, and the own
columns once more from the table. Touches no one-time value."""

from __future__ import annotations

from mpc.errors import LocalError
from party_node.data.ids.accounting import IdCounts
from party_node.data.preparation import Preparation, with_intercept
from party_node.jobs.stages.align import read_columns, read_outcome
from party_node.jobs.stages.context import JobContext
from party_node.jobs.stages.prepare import judged_cells
from party_node.records.precomputed_files import Damaged, Prepared, opened


async def run(context: JobContext) -> None:
    """Sets all that the stages up to training set. LocalError for a file that is missing or damaged."""
    assert context.spec.prepared is not None
    context.me.progress(f"on what job {context.spec.prepared[:12]} made ahead", 0, 1)
    with opened(context.prepared, context.spec.prepared, context.burn_prepared) as file:
        await context.me.compute(file.check)
        await context.me.compute(_fill, context, file)
    context.me.progress(f"on what job {context.spec.prepared[:12]} made ahead", 1, 1)


def _fill(context: JobContext, file: Prepared) -> None:
    about = file.about
    try:
        context.counts = IdCounts(**about["counts"])
        context.preparation = Preparation.from_json(about["preparation"])
        context.common, context.correlations = int(about["common"]), about["correlations"]
    except (KeyError, TypeError, ValueError, LocalError):
        raise Damaged(file.job) from None
    context.rows, context.test, context.copies = (file.known(name) for name in ("rows", "test", "copies"))
    if context.rows is None or context.test is None:
        raise Damaged(file.job)
    if context.is_label_holder:
        context.outcome = read_outcome(context).positive
    context.table = read_columns(context, context.counts.read)
    block = context.preparation.apply(context.table, context.rows, context.heaviness)
    context.features = with_intercept(block, context.is_label_holder)
    context.cells = judged_cells(context, context.preparation, block)
    context.table = None
