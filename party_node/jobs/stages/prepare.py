"""Stage 4: turn the own columns into numbers, from training rows only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from party_node.data.encoding import Missing
from party_node.data.preparation import Preparation, PreparationSpec, fit, with_intercept
from party_node.jobs.stages.context import JobContext
from wire.spec.training_terms import penalty_of


async def run(context: JobContext, apart: Sequence[tuple[str, str]] = ()) -> None:
    """Sets preparation, features; `apart`: columns to leave out, each with the reason. The table has served, unless
    columns may still go for their correlations."""
    fitted, context.features = await context.me.compute(_prepared, context, apart)
    context.preparation = fitted
    if apart or context.spec.correlate is None or not context.spec.correlate.drop:
        context.table = None
    if fitted.report.warning:  # the counts stay in our own report
        context.me.progress("warning: too few rows for so many columns, see this party's own report", 1, 1)


def _prepared(
    context: JobContext, apart: Sequence[tuple[str, str]]
) -> tuple[Preparation, NDArray[np.float64]]:
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
        penalty=penalty_of(context.spec, int((~context.test).sum())),
    )
    rows = context.rows[~context.test]
    if context.copies is not None:
        rows = np.unique(rows)   # what is fitted counts customers of ours, not how often the label holder has them
    binning, gone = context.binning, {name for name, _ in apart}
    preparation = fit(
        context.table, rows, spec, [name for name in context.my_part.columns if name not in gone],
        may_be_empty=context.is_label_holder,
        binned=[column for column in binning.columns if column.name not in gone] if binning else None,
        left_out=[*(binning.left_out if binning else ()), *apart],
    )
    return preparation, with_intercept(preparation.apply(context.table, context.rows), context.is_label_holder)
