"""Stage 6: the joint model on shares; the label holder's own model in the clear, before it, is its starting point."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mpc.protocols import train
from mpc.statistics.logistic import fit_logistic
from party_node.data.frozen_matrix import matrix_digest, quantise
from party_node.jobs.stages.context import JobContext
from party_node.records.precomputed_files import opened
from party_node.table_errors import DataError
from wire.spec.training_terms import train_options


async def run(context: JobContext) -> None:
    """Sets weights; at the label holder solo_weights too."""
    assert context.rows is not None
    assert context.test is not None
    require_columns(context)
    spec, fitted, labels = context.spec, ~context.test, None
    if context.outcome is not None:
        labels = context.outcome[context.rows][fitted]
        context.solo_weights = await context.me.compute(_solo, context, labels)
    options = options_of(context)
    block = train.Block(matrix=await pinned_matrix(context), labels=labels, start=context.solo_weights,
                        weights=context.row_weights, offset=None if context.offset is None else context.offset[fitted],
                        noise=context.noise(context.rows[fitted]) if options.noise else None)
    what = context.me, context.peers("train"), block, options, context.tools, context.accept_widths
    if spec.prepared is None:
        context.weights = await train.run(*what)
    else:
        with opened(context.prepared, spec.prepared, context.burn_prepared) as kept:
            context.weights = await train.run(*what, kept)
    if context.solo_weights is not None:   # back to the odds of the rows as they are
        context.weights[0] -= context.class_shift
        context.solo_weights[0] -= context.class_shift


def require_columns(context: JobContext) -> None:
    """DataError unless as many columns of the label holder are left as its policy demands. With none of them in the
    model, every partner of two knows the score of every customer, but for the intercept."""
    least = context.label_holder_columns
    if not context.is_label_holder or not least:
        return
    assert context.preparation is not None
    left = len({one.source for one in context.preparation.outputs})
    if left < least:
        raise DataError("few_columns", f"{left} of our own columns enter the model, and our policy demands {least}",
                        "Offer columns that say more, or lower policy.label_holder_columns.")


async def pinned_matrix(context: JobContext) -> NDArray[np.int16]:
    """The block in fixed point. What masks are made for is this matrix and no other."""
    matrix, clip = await context.me.compute(_quantised, context), context.spec.preparation.clip
    context.pin("the training matrix", await context.me.compute(matrix_digest, matrix, clip))
    matrix.flags.writeable = False
    return matrix


def options_of(context: JobContext) -> train.TrainOptions:
    """What all parties agreed on."""
    assert context.test is not None
    return train_options(context.spec, int((~context.test).sum()))


def _solo(context: JobContext, labels: NDArray[np.bool_]) -> NDArray[np.float64]:
    assert context.test is not None
    offset = None if context.offset is None else context.offset[~context.test]
    fit = fit_logistic(_fitted(context), labels, options_of(context).penalty, 0,
                       sample_weights=context.row_weights, offset=offset)
    return fit.weights


def _quantised(context: JobContext) -> NDArray[np.int16]:
    """The block in fixed point; the label holder's column of ones becomes the scale itself."""
    first = int(context.is_label_holder)
    own = _fitted(context)[:, first:]
    return quantise(own, context.spec.preparation.clip, intercept=context.is_label_holder)


def _fitted(context: JobContext) -> NDArray[np.float64]:
    """The rows that train. A copy, to be forgotten soon."""
    assert context.features is not None
    assert context.test is not None
    return context.features[~context.test]
