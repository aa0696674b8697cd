"""What leaves the label holder's site of an evaluation: figures in coarse steps, counted in bits.

Who knows the scores of a small hold-out solves exact figures for its outcomes. So every figure comes in steps of half a
standard error or more, its interval in whole steps, its p-value in bands; every slice of customers holds the minimum of
good and of bad ones, or is joined to its neighbour. And all of it together says fewer bits than half of what there is
to know, log2 of the number of ways in which as many of the customers could be the bad ones. Sections are released in
the order of a reader's interest, as many as fit; verdict and AUC come first, and where they do not fit, or one outcome
is too rare, nothing is released at all. The two look alike to everybody else: why, the label holder alone knows.

Every number is made of counted choices and public sizes (party_node/models/counted_release.py). What is released is
made a second time from the choices alone, so that nothing uncounted can be in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mpc.statistics.counted_choices import Counting, Repeating, assignments_bits
from mpc.statistics.logistic import F64
from party_node.data.hold_out import Side
from party_node.models.counted_release import SECTIONS, Own, Public, Terms, build, cumulate
from party_node.models.evaluation import Evaluation, evaluate


@dataclass(frozen=True, repr=False)
class Judged:
    """An evaluation at home and what leaves of it. `own`: at full precision, None where one outcome is missing;
    `released`: None where nothing is; `why`: what is held back and why, for the label holder's own eyes."""

    own: Evaluation | None
    released: dict[str, Any] | None
    why: str

    def __repr__(self) -> str:
        return "Judged()"

    def __reduce__(self) -> NoReturn:
        raise TypeError("figures at full precision are private and are never pickled")


def judge(outcome: NDArray[np.bool_], joint: F64, solo: F64, side: Side, terms: Terms) -> Judged:
    """The figures of the rows that judge, [n] each, and what of them may leave; `side` counts their customers.

    Where one outcome is too rare the same is computed all the same, on other outcomes, and dropped: how long it takes
    tells nothing.
    """
    few = side.fewest < max(terms.minimum_outcome, 1)
    one_sided = side.fewest == 0
    measured = _stand_in(outcome) if one_sided else outcome
    own = evaluate(measured, joint, solo, approval_rate=terms.approval_rate, replicates=terms.replicates)
    found, why = release(own, measured, joint, solo, side, terms)
    if few:
        found, why = None, (f"nothing was released: fewer than {terms.minimum_outcome} of the customers that judge "
                            "are good, or are bad")
    return Judged(None if one_sided else own, found, why)


def release(
    own: Evaluation, outcome: ArrayLike, joint: ArrayLike, solo: ArrayLike, side: Side, terms: Terms
) -> tuple[dict[str, Any] | None, str]:
    """As many sections as fit, or None; and what was held back, in words."""
    public, limit = Public(len(np.asarray(outcome)), terms), half_of(side)
    private = Own(own, {name: cumulate(outcome, scores, public) for name, scores in
                         (("solo", solo), ("joint", joint))})
    for told in range(len(SECTIONS), 0, -1):
        counted = Counting()
        build(counted, private, public, told)
        if counted.bits < limit:
            kept = [name for name, _ in SECTIONS[told:]]
            why = f"held back, or {limit:.0f} bits would have been exceeded: {', '.join(kept)}" if kept else ""
            return build(Repeating(counted.answers), None, public, None), why
    return None, (f"nothing was released: verdict and AUC alone would say more of the outcomes than {limit:.0f} bits, "
                  "half of what there is to know")


def half_of(side: Side) -> float:
    """Bits that a release has to stay below."""
    return assignments_bits(side.customers, min(side.fewest, side.customers)) / 2


def _stand_in(outcome: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Other outcomes, of both kinds."""
    found: NDArray[np.bool_] = np.arange(len(outcome)) % 5 == 0
    return found
