"""The joint score of each row reaches the label holder; the parts it is made of stay hidden in it. N parties.

   feature holder i: s_i, whole steps of the grid      label holder: s_0
 1 MaskKey: every pair agrees on a stream; m_0 + m_1 + ... = 0  (mpc.sharing.zero_sharing)
 2 s_i + m_i                  -- Opening -->           s = s_0 + m_0 + sum_i (s_i + m_i)  mod 2^64

Scores are fixed-point integers of one scale at all parties, so the parts of a score are additive shares of it
and the sum is opened like any shared value. Semi-honest: a coalition that leaves out two parties or more learns
at most the sum of theirs. With two parties the sum is the partner's part: the label holder knows its own. A value of
full precision is many facts (weights, then the bins of every row), so no part leaves its owner but on the grid; how it
is rounded is the owner's business (party_node/models/score_grid.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mpc.errors import LocalError
from mpc.link import Link, PartyId
from mpc.protocol import LedgerLine, Party, ProtocolSpec
from mpc.ring import U64, RingVector, to_signed
from mpc.sharing.opening import Opening, open_to
from mpc.sharing.zero_sharing import MaskKey

# ---------------------------------------------------------------- roles


@dataclass(frozen=True)
class ScoreOptions:
    """Agreed by all: who receives the sum, how many rows there are, and the grid of the parts in units of their scale
    (1: as they are)."""

    label_holder: PartyId
    rows: int
    step: int


async def run(
    me: Party, peers: Mapping[PartyId, Link], partial: U64, options: ScoreOptions
) -> U64 | None:
    """`partial` is (rows,) in two's complement. The label holder gets the sum mod 2^64, the others None."""
    if partial.shape != (options.rows,) or partial.dtype != np.uint64:
        raise LocalError("the partial scores do not have the agreed form")
    if me.id != options.label_holder and bool((to_signed(partial) % options.step).any()):
        raise LocalError("a part of a score leaves its owner on the agreed grid, and nowhere else")
    if options.label_holder != me.id and options.label_holder not in peers:
        raise LocalError("the label holder is not among the parties")
    return await open_to(me, peers, RingVector(partial, 64), options.label_holder, "score.sum")   # 1, 2


# ---------------------------------------------------------------- ideal


def ideal(partials: Sequence[U64]) -> U64:
    """The sum of the parts, row by row, mod 2^64."""
    total = np.zeros_like(partials[0])
    for partial in partials:
        total = total + partial
    return total


PROTOCOL = ProtocolSpec(
    name="score",
    version=1,
    messages=(MaskKey, Opening),
    roles={"label_holder": run, "feature_holder": run},
    ideal=ideal,
    learns={
        "label_holder": "the joint score of every row with the others' parts rounded to the agreed grid, and so the "
                        "sum of these; with two parties that is the partner's rounded part of every row, which tells "
                        "of its columns what docs/threat-model.md measures",
        "feature_holder": "nothing",
    },
    ledger=(LedgerLine("score.sum", "revealed", "label_holder",
                       "the joint score of each scored row, to one step of the agreed grid for each feature holder"),),
)
