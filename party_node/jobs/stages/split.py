"""Stage 2: agree which of the common customers judge the model; all that is fitted sees the others only."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from mpc.errors import Refused
from mpc.protocols import coin, split
from mpc.regression.sizes import planned
from party_node.data.hold_out import hold_out
from party_node.data.ids.customers import require_even
from party_node.data.label import require_least
from party_node.data.period import require_outcomes
from party_node.data.row_terms import Limits, read_offset, read_weights
from party_node.jobs.stages.context import JobContext
from wire.spec.training_terms import heaviest, is_weighted, least_worth, series_of, train_options, weighting_of


async def run(context: JobContext) -> None:
    """Sets test; at the label holder row_weights and offset, where the job has them."""
    assert context.rows is not None
    if context.spec.hold_out.column is None:
        context.test = await _drawn(context)
        _require_customers(context)
        await _accept(context)
    else:
        await _by_period(context)


def _require_customers(context: JobContext) -> None:
    """Refused SMALL_SAMPLE at all parties alike, for all know how many customers were drawn."""
    least = context.spec.hold_out.minimum_hold_out
    if min(side.customers for side in context.sides()) < least:
        raise Refused(
            "SMALL_SAMPLE",
            f"fewer than {least} customers are in the development sample or in the one that judges",
            "hold out another share, or use tables with more customers in common",
        )


async def _accept(context: JobContext) -> None:
    """The rows fit the bits of training, and no customer weighs more than was agreed, on either side; what the label
    holder demands of the rows; then nobody's customers are nearly an earlier job's, neither all nor those on a side.

    Nothing here depends on the outcomes of the rows that judge, but for a period, whose two sides tell them. A job that
    went on or ended by them would count the bad ones of a handful of customers whom all parties know. Too few of one
    outcome there, and the job releases nothing (party_node/models/released_figures.py).
    """
    assert context.rows is not None
    assert context.test is not None
    training = ~context.test
    rows = max(1, int(training.sum()))
    await context.me.compute(planned, train_options(context.spec, rows), {})    # LocalError, before anything is counted
    if context.copies is not None:
        for side in (training, context.judged):
            customers = context.customers(side)
            least = least_worth(context.spec, len(customers), len(context.copies))
            require_even(customers, context.spec.label.largest_weight, least)
    if context.outcome is not None:
        labels = context.outcome[context.rows]
        development, _ = context.sides(labels)
        require_least(development.fewest, context.spec.hold_out.minimum_outcome)
        await context.me.compute(_read_terms, context, labels[training])
    assert context.marks is not None
    await context.me.compute(context.accept_sets, context.marks, context.test)


async def _drawn(context: JobContext) -> NDArray[np.bool_]:
    """At random, by a seed or a joint coin; no customer on both sides."""
    assert context.rows is not None
    rules, seed = context.spec.hold_out, context.spec.hold_out.seed
    if seed is None:
        salt = await coin.run(context.me, context.peers("split"), bytes.fromhex(context.job))
    else:
        salt = hashlib.sha256(seed.encode()).digest()
    customers = len(context.rows) if context.copies is None else len(context.copies)
    test = await context.me.compute(hold_out, salt, customers, rules.fraction)
    return test if context.copies is None else np.repeat(test, context.copies)


async def _by_period(context: JobContext) -> None:
    """The later ones, as the label holder's column says; it looks at its own rows before a bit of them leaves."""
    assert context.rows is not None
    later, period, rules = None, context.period, context.spec.hold_out
    least = max(context.spec.minimum_intersection, rules.minimum_hold_out)
    if period is not None:
        assert context.outcome is not None
        later = await context.me.compute(period.later, context.rows, rules.fraction)
        if split.enough(later, least):   # else the protocol refuses
            require_outcomes(later, context.outcome[context.rows], rules.minimum_outcome)
            context.test = later
            await _accept(context)
    options = split.SplitOptions(context.label_holder, len(context.rows), least, bytes.fromhex(context.job))
    context.test = await split.run(context.me, context.peers("split"), later, options)
    if later is None:
        await _accept(context)


def _read_terms(context: JobContext, bad: NDArray[np.bool_]) -> None:
    """What the label holder knows of each row beside the outcome; weights count on training rows, and nowhere else."""
    assert context.table is not None
    assert context.rows is not None
    assert context.test is not None
    if is_weighted(context.spec):
        fitted = context.rows[~context.test]
        allowed = weighting_of(context.spec)
        assert allowed is not None
        largest = min(allowed.largest, heaviest(context.spec))
        limits = Limits(largest, least_worth(context.spec, len(fitted), len(context.rows)))
        context.row_weights, context.class_shift = read_weights(context.table, fitted, bad, context.spec.label, limits)
    if context.spec.label.offset is not None:
        valid = series_of(context.spec).valid
        context.offset = read_offset(context.table, context.rows, context.spec.label.offset, valid)
