"""Stage 2: agree which of the common customers judge the model; all that is fitted sees the others only."""

from __future__ import annotations

import hashlib

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
    context.test = await context.me.compute(hold_out, salt, len(context.rows), rules.fraction)
    if context.outcome is not None:
        labels = context.outcome[context.rows]
        require_both(labels[~context.test], "the training rows")
        require_both(labels[context.judged], "the hold-out rows")
