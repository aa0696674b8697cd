"""Stage 2: agree which of the common customers judge the model; all that is fitted sees the others only."""

from __future__ import annotations

import hashlib

import numpy as np

from mpc.protocols import coin
from party_node.data.hold_out import hold_out
from party_node.data.label import require_both
from party_node.tasks.context import JobContext


async def run(context: JobContext) -> None:
    """Sets test."""
    assert context.rows is not None
    rules, seed = context.spec.hold_out, context.spec.hold_out.seed
    if seed is None:
        salt = await coin.run(context.me, context.peers("split"), bytes.fromhex(context.job))
    else:
        salt = hashlib.sha256(seed.encode()).digest()
    customers = len(context.rows) if context.copies is None else len(context.copies)
    test = await context.me.compute(hold_out, salt, customers, rules.fraction)
    context.test = test if context.copies is None else np.repeat(test, context.copies)   # no customer on both sides
    if context.outcome is not None:
        labels = context.outcome[context.rows]
        require_both(labels[~context.test], "the training rows")
        require_both(labels[context.judged], "the hold-out rows")
