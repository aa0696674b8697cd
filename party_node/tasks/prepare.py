"""Stage 2: agree which customers judge the model, then turn the own columns into numbers, from training rows only."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from mpc.protocols import coin
from party_node.data.encode import Missing
from party_node.data.hold_out import hold_out
from party_node.data.label import require_both
from party_node.data.prepare import Preparation, PreparationSpec, fit
from party_node.tasks.context import JobContext


async def run(context: JobContext) -> None:
    """Sets test, preparation, features."""
    assert context.rows is not None
    rules, seed = context.spec.hold_out, context.spec.hold_out.seed
    if seed is None:
        salt = await coin.run(context.me, context.peers("prepare"), bytes.fromhex(context.job))
    else:
        salt = hashlib.sha256(seed.encode()).digest()
    context.test = await context.me.compute(hold_out, salt, len(context.rows), rules.fraction)
    if context.outcome is not None:
        labels = context.outcome[context.rows]
        require_both(labels[~context.test], "the training rows")
        require_both(labels[context.judged], "the hold-out rows")
    fitted, context.features = await context.me.compute(_prepared, context)
    context.preparation = fitted
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
    preparation = fit(
        context.table, context.rows[~context.test], spec, context.my_part.columns,
        may_be_empty=context.is_label_holder,
    )
    return preparation, with_intercept(preparation.apply(context.table, context.rows), context.is_label_holder)


def with_intercept(block: NDArray[np.float64], label_holder: bool) -> NDArray[np.float64]:
    """The label holder's block has the column of ones first."""
    return np.column_stack([np.ones(len(block)), block]) if label_holder else block
