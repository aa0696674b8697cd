"""Stage 6 of a job that works ahead of another one: all correlations of training, kept for it beside what this party
has come to by now. No label is used and nothing of the model is found out."""

from __future__ import annotations

from typing import Any

from mpc.protocols import train
from mpc.regression import precomputed
from party_node.jobs.stages.context import JobContext
from party_node.jobs.stages.train import options_of, pinned_matrix, require_columns
from party_node.records.precomputed_files import OPEN, Writer


async def run(context: JobContext) -> None:
    """Leaves one file under its passing name."""
    assert context.rows is not None
    assert context.test is not None
    require_columns(context)
    labels = None if context.outcome is None else context.outcome[context.rows][~context.test]
    block = train.Block(matrix=await pinned_matrix(context), labels=labels)
    writer = Writer(context.prepared, context.job)
    widths, shape = await precomputed.precompute(
        context.me, context.peers("precompute"), block, options_of(context), context.tools, writer.put
    )
    writer.put(f"{OPEN}rows", context.rows)
    writer.put(f"{OPEN}test", context.test)
    if context.copies is not None:
        writer.put(f"{OPEN}copies", context.copies)
    await context.me.compute(writer.close, _about(context) | {"widths": dict(widths), "shape": shape})


def _about(context: JobContext) -> dict[str, Any]:
    assert context.counts is not None
    assert context.preparation is not None
    return {
        "job": context.job,
        "party": context.me.id,
        "until": context.spec.valid_until,
        "common": context.common,
        "counts": context.counts.to_json(),
        "preparation": context.preparation.to_json(),
        "correlations": context.correlations,
    }
