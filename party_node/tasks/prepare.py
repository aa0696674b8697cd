"""Stage 4: turn the own columns into numbers, from training rows only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from party_node.data.encode import Missing
from party_node.data.prepare import Preparation, PreparationSpec, fit
from party_node.tasks.context import JobContext


async def run(context: JobContext) -> None:
    """Sets preparation, features; the table has served."""
    fitted, context.features = await context.me.compute(_prepared, context)
    context.preparation, context.table = fitted, None
    if fitted.report.warning:  # the counts stay in our own report
        context.me.progress("warning: too few rows for so many columns, see this party's own report", 1, 1)


def _prepared(context: JobContext) -> tuple[Preparation, NDArray[np.float64]]:
    assert context.table is not None
    assert context.rows is not None
    assert context.test is not None
    rules = context.spec.preparation
    spec = PreparationSpec(
        missing=Missing(rules.missing),
        constant=rules.constant,
        minimum_support=rules.minimum_support,
        clip=rules.clip,
        leverage_bound=rules.leverage_bound,
        penalty=context.spec.training.penalty,
    )
    rows = context.rows[~context.test]
    if context.copies is not None:
        rows = np.unique(rows)   # what is fitted counts customers of ours, not how often the label holder has them
    preparation = fit(
        context.table, rows, spec, context.my_part.columns,
        may_be_empty=context.is_label_holder,
        binned=context.binning.columns if context.binning else None,
        left_out=context.binning.left_out if context.binning else (),
    )
    return preparation, with_intercept(preparation.apply(context.table, context.rows), context.is_label_holder)


def with_intercept(block: NDArray[np.float64], label_holder: bool) -> NDArray[np.float64]:
    """The label holder's block has the column of ones first."""
    return np.column_stack([np.ones(len(block)), block]) if label_holder else block
