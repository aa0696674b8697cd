"""Stage 7: the joint scores of the judging rows reach the label holder, who measures them and says whether they are
in range. A feature holder's part leaves it on the agreed grid; the label holder's own goes to itself, as it is. Every
party keeps its weights in memory only until that verdict. Neither the verdict nor how long it takes depends on whether
figures may be released."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mpc.protocols import finish, score
from mpc.ring import U64, from_signed, to_signed
from party_node.jobs.stages.context import JobContext
from party_node.models.counted_release import Terms
from party_node.models.released_figures import judge
from party_node.models.score_cells import cell_names
from party_node.models.score_grid import SCALE, dither, on_grid, step_of
from wire.spec.training_terms import series_of


async def run(context: JobContext) -> None:
    """At the label holder sets scores and evaluation. Refused OUT_OF_RANGE at all parties; raises at a feature holder
    whose dataset may not have another model scored."""
    judged = context.judged
    step = step_of(context.spec.scores.grid)
    if not context.is_label_holder:
        context.accept_scores()
    part = await context.me.compute(_own_part, context, step)
    options = score.ScoreOptions(context.label_holder, int(judged.sum()), step)
    peers = context.peers("evaluate")
    total = await score.run(context.me, peers, part, options)
    accepted = None
    if total is not None:
        joint = to_signed(total) / SCALE
        trained_at = joint + context.class_shift   # the log-odds that the sigmoid saw, but for less than a step a part
        unseen = len(peers) * step / SCALE
        accepted = bool(np.abs(trained_at).max() <= series_of(context.spec).valid - unseen)
        if accepted:
            assert context.features is not None
            assert context.outcome is not None
            assert context.rows is not None
            assert context.solo_weights is not None
            outcome = context.outcome[context.rows][judged]
            solo = context.features[judged] @ context.solo_weights + _offset(context)
            context.scores = {"outcome": outcome, "joint": joint, "solo": solo}
            release = context.spec.release
            terms = Terms(context.spec.hold_out.minimum_outcome, with_curves="curves" in release)
            _, side = context.sides(context.outcome[context.rows])
            context.judged_here = await context.me.compute(judge, outcome, joint, solo, side, terms)
            context.evaluation = context.judged_here.released if "metrics" in release else None
    await finish.verdict(context.me, peers, context.label_holder, accepted)


def _own_part(context: JobContext, step: int) -> U64:
    """This party's part of each judging row's score, in fixed point."""
    assert context.features is not None
    assert context.weights is not None
    own = context.features[context.judged] @ context.weights + _offset(context)
    if context.is_label_holder:
        return from_signed(np.rint(own * SCALE))
    assert context.cells is not None
    assert context.preparation is not None
    key = context.dither_key([name.encode() for name in cell_names(context.preparation)])
    return from_signed(on_grid(own, dither(key, context.cells), step))


def _offset(context: JobContext) -> NDArray[np.float64] | float:
    return 0.0 if context.offset is None else context.offset[context.judged]
