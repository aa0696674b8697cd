"""Solo and joint in money at equal approval, from figures that are there already: profit is linear in the bad rate.

So the evaluation's intervals carry over and nothing is drawn anew. The terms are inputs with errors of their own, which
the intervals do not know.
"""

from __future__ import annotations

from typing import TypedDict

from mpc.credit.money import Terms
from mpc.errors import LocalError
from party_node.models.evaluation import FigureJson, TradeOffJson

APPLICANTS = 1000  # money is told per so many applicants


class Money(TypedDict):
    """Expected profit per 1,000 applicants at one approval rate, in the unit of the exposure."""

    approval_rate: float
    solo: FigureJson
    joint: FigureJson
    difference: FigureJson


def profit(trade_off: TradeOffJson, terms: Terms, exposure: float) -> Money:
    """Money at one approval rate: it is linear and falling in the bad rate, so the intervals carry over."""
    approved = APPLICANTS * trade_off["approval_rate"] * exposure

    def turned(figure: FigureJson, without: float = 0.0) -> FigureJson:
        value, high, low = (
            round(approved * (terms.profit(figure[end]) - without), 2) + 0.0 for end in ("value", "low", "high")
        )
        return {"value": value, "low": low, "high": high}

    rates = trade_off["bad_rate"]
    return Money(
        approval_rate=trade_off["approval_rate"],
        solo=turned(rates["solo"]),
        joint=turned(rates["joint"]),
        difference=turned(rates["difference"], without=terms.margin),
    )


def terms_of(lgd: float | None, margin: float | None, exposure: float | None) -> tuple[Terms, float] | None:
    """The terms and the exposure as an analyst gave them; None where money was not asked for."""
    if lgd is None and margin is None and exposure is None:
        return None
    if lgd is None or margin is None or exposure is None:
        raise LocalError("money needs --lgd, --margin and --exposure together", "Give all three or none.")
    if not (0 < lgd <= 1 and 0 < margin <= 1 and 0 < exposure < 1e12):
        raise LocalError(
            "--lgd and --margin are shares above 0 and at most 1, --exposure is an amount above 0",
            "For example --lgd 0.6 --margin 0.08 --exposure 5000.",
        )
    return Terms(lgd, margin), exposure
