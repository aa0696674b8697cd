"""Stage 7: the joint scores of the judging rows reach the label holder, who measures them and says whether they are
in range. Every party keeps its weights in memory only until that verdict. Neither the verdict nor how long it takes
depends on whether figures may be released."""

from __future__ import annotations

import numpy as np

from mpc.protocols import finish, score
from mpc.ring import from_signed, to_signed
from party_node.jobs.stages.context import JobContext
from party_node.models.counted_release import Terms
from party_node.models.released_figures import judge
from wire.spec.training_terms import series_of

SCORE_SCALE = 2.0**32  # fixed point of a partial score; the sum of 16 parties stays exact to 2^-28


async def run(context: JobContext) -> None:
    """At the label holder sets scores and evaluation. Refused OUT_OF_RANGE at all parties."""
    assert context.features is not None
    assert context.weights is not None
    judged = context.judged
    offset = 0.0 if context.offset is None else context.offset[judged]
    own = context.features[judged] @ context.weights + offset
    partial_scores = from_signed(np.rint(own * SCORE_SCALE))
    options = score.ScoreOptions(context.label_holder, int(judged.sum()))
    peers = context.peers("evaluate")
    total = await score.run(context.me, peers, partial_scores, options)
    accepted = None
    if total is not None:
        joint = to_signed(total) / SCORE_SCALE
        trained_at = joint + context.class_shift   # the log-odds that the sigmoid saw
        accepted = bool(np.abs(trained_at).max() <= series_of(context.spec).valid)
        if accepted:
            assert context.outcome is not None
            assert context.rows is not None
            assert context.solo_weights is not None
            outcome = context.outcome[context.rows][judged]
            solo = context.features[judged] @ context.solo_weights + offset
            context.scores = {"outcome": outcome, "joint": joint, "solo": solo}
            release = context.spec.release
            terms = Terms(context.spec.hold_out.minimum_outcome, with_curves="curves" in release)
            _, side = context.sides(context.outcome[context.rows])
            context.judged_here = await context.me.compute(judge, outcome, joint, solo, side, terms)
            context.evaluation = context.judged_here.released if "metrics" in release else None
    await finish.verdict(context.me, peers, context.label_holder, accepted)
