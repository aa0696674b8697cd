"""Stage 4: turn the own columns into numbers, from training rows only, and count those that enter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mpc.errors import Refused
from party_node.data.encoding import Missing
from party_node.data.preparation import Preparation, PreparationSpec, fit, with_intercept
from party_node.jobs.stages.context import JobContext
from party_node.models.score_cells import Cells, cells_of, own_columns
from wire.spec.training_terms import penalty_of


async def run(context: JobContext, apart: Sequence[tuple[str, str]] = ()) -> None:
    """Sets preparation, features, cells; `apart`: columns to leave out, each with the reason. The table has served,
    unless columns may still go for their correlations. Refused TOO_FEW_COLUMNS: the part of a score would show them."""
    fitted, context.features, context.cells = await context.me.compute(_prepared, context, apart)
    _enough(context, own_columns(fitted))
    context.preparation = fitted
    if apart or context.spec.correlate is None or not context.spec.correlate.drop:
        context.table = None
    if fitted.report.warning:  # the counts stay in our own report
        context.me.progress("warning: too few rows for so many columns, see this party's own report", 1, 1)


def _prepared(
    context: JobContext, apart: Sequence[tuple[str, str]]
) -> tuple[Preparation, NDArray[np.float64], Cells | None]:
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
    rows, customers = context.rows[~context.test], context.customers(~context.test)
    binning, gone = context.binning, {name for name, _ in apart}
    preparation = fit(
        context.table, rows, spec, [name for name in context.my_part.columns if name not in gone],
        may_be_empty=context.is_label_holder,
        binned=[column for column in binning.columns if column.name not in gone] if binning else None,
        left_out=[*(binning.left_out if binning else ()), *apart], customers=customers,
    )
    block = preparation.apply(context.table, context.rows, context.heaviness)
    return preparation, with_intercept(block, context.is_label_holder), judged_cells(context, preparation, block)


def judged_cells(context: JobContext, preparation: Preparation, block: NDArray[np.float64]) -> Cells | None:
    """What a feature holder rounds the parts of the judging rows by; None at the label holder, which rounds nothing.
    `block`: all common customers."""
    assert context.table is not None
    assert context.rows is not None
    if context.is_label_holder:
        return None
    return cells_of(preparation, context.table, context.rows[context.judged], block[context.judged])


def _enough(context: JobContext, entering: int) -> None:
    """Each feature holder counts its own: the others' columns hide nothing from a label holder that one of them helps.
    """
    least = context.spec.scores.minimum_columns
    if not context.is_label_holder and entering < least:
        raise Refused("TOO_FEW_COLUMNS",
                      f"after selection fewer than {least} columns of {context.me.id} enter the model, and a score of "
                      "so few shows them",
                      "name more columns, or lower binning.minimum_information; a lower scores.minimum_columns has to "
                      "be allowed by the bank's policy")
