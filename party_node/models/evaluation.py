"""What the joint model is worth, computed at the label holder for its own eyes.

`evaluate` takes labels and scores of the hold-out rows and returns a JSON-able `Evaluation` of figures with
intervals, 20-point curves, counts and a verdict, all at full precision. It stays where it was made: six decimals of a
few figures are as many facts as a small hold-out has outcomes, and solve for them. What leaves the site is made of it
by party_node/models/released_figures.py and by nothing else. Knows neither the parties nor the job.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NotRequired, TypedDict

import numpy as np
from numpy.typing import ArrayLike

from mpc.credit import cut_offs
from mpc.domains import Domain
from mpc.errors import LocalError
from mpc.rng import Rng
from mpc.statistics import metrics
from mpc.statistics.curves import CURVE_POINTS, binned_ks, binned_roc
from mpc.statistics.intervals import (
    AucComparison,
    Interval,
    added_information,
    bias_corrected,
    bootstrap,
    calibration_line,
    delong,
)
from mpc.statistics.logistic import F64, log_losses
from mpc.statistics.metrics import Ranking
from reporting.comparison_table import p_text

MINIMUM_BAD = 20           # below this a verdict would be luck
VERDICT_LEVEL = 0.01       # a gain that chance alone would show more often than this is not called one
UNCLEAR_HALF_WIDTH = 0.05  # an AUC difference known no better than this, and not significant, is unknown
APPROVAL_RATES = (0.5, 0.6, 0.7, 0.8, 0.9)
HEADLINE_APPROVAL = 0.8
REPLICATES = 500
GROUPS = 10
DECIMALS = 6


class Finding(StrEnum):
    """What the verdict found; its sentence follows from it and from the figures that it is told with."""

    FEW_BAD = "too few bad customers"
    FEW_GOOD = "too few good customers"
    GAIN = "a gain"
    NONE = "no measurable gain"
    WORSE = "no measurable gain, and ranks worse"
    UNKNOWN = "too wide an interval"


class FigureJson(TypedDict):
    """A figure with its 95 % interval; p_value where the difference has a paired test."""

    value: float
    low: float
    high: float
    p_value: NotRequired[float]


class VerdictJson(TypedDict):
    """`none`: no measurable gain, and so where joint measurably ranks worse. p_value: of the test for a gain."""

    kind: Literal["better", "none", "unclear"]
    finding: str
    text: str
    p_value: float


class TradeOffJson(TypedDict):
    """One approval rate: bad rate there, and the approval rate that keeps the bad rate of the solo model."""

    approval_rate: float
    bad_rate: dict[str, FigureJson]
    approval_at_equal_bad_rate: dict[str, FigureJson]


class GroupJson(TypedDict):
    """One of at most ten equal groups, 1 the riskiest."""

    group: int
    bad_rate: float
    lift: float
    gain: float


class CurvesJson(TypedDict):
    roc: dict[str, list[float]]
    ks: dict[str, list[float]]
    calibration: dict[str, list[float]]


class SwapCellJson(TypedDict):
    rows: int
    bad_rate: float | None


class SwapSetJson(TypedDict):
    approval_rate: float
    cells: dict[str, SwapCellJson]


class Evaluation(TypedDict):
    """All figures of the hold-out rows; released, they are fewer. `withheld`: what is left out and why."""

    version: Literal[1]
    rows: dict[str, int | None]
    verdict: VerdictJson
    approval_rate: float
    models: dict[str, dict[str, FigureJson]]
    difference: dict[str, FigureJson]
    trade_off: list[TradeOffJson]
    groups: dict[str, list[GroupJson]]
    curves: dict[str, CurvesJson]
    swap_set: SwapSetJson | None
    withheld: list[str]
    limits: dict[str, float]


@dataclass(frozen=True, repr=False)
class _Model:
    """One model on the hold-out rows: ranked once, with its losses per row."""

    scores: F64
    ranking: Ranking
    squared: F64
    logged: F64

    @classmethod
    def of(cls, y: F64, scores: ArrayLike) -> _Model:
        _, z = metrics.checked(y, scores)
        return cls(z, Ranking.of(y, z), metrics.squared_errors(y, z), log_losses(y, z))


def evaluate(
    outcome: ArrayLike,
    joint: ArrayLike,
    solo: ArrayLike,
    *,
    approval_rate: float = HEADLINE_APPROVAL,
    replicates: int = REPLICATES,
    challenger: str = "joint",
) -> Evaluation:
    """Compare two scores of the same hold-out rows; the verdict calls the one that is tried `challenger`.

    outcome [n] bool, True for a bad customer; joint, solo [n] log-odds of being bad. The bootstrap is seeded by a
    constant: the same rows give the same figures. LocalError: all labels equal, other lengths, a score that is not
    finite.
    """
    y, _ = metrics.checked(outcome, joint)
    if not 0.0 < approval_rate < 1.0:
        raise LocalError("the approval rate must lie between 0 and 1")
    models = {"solo": _Model.of(y, solo), "joint": _Model.of(y, joint)}
    auc = delong(y, models["joint"].scores, models["solo"].scores)
    rates = approval_rates(approval_rate)
    drawn = _redrawn(y, models, rates, replicates)
    bad, figures, at = int(y.sum()), _figures(y, models, auc, drawn), rates.index(approval_rate)
    for column in (*models, "difference"):
        figures[column]["bad_rate"] = drawn[f"bad_rate {at}"][column]
        figures[column]["approval"] = drawn[f"approval {at}"][column]
    added = added_information(y, models["joint"].scores, models["solo"].scores)
    return Evaluation(
        version=1,
        rows={"test": len(y), "bad": bad},
        verdict=worded(finding(auc, added, bad, len(y) - bad), figures["difference"]["auc"], _rounded(added),
                       _rounded(auc.p_value), challenger),
        approval_rate=approval_rate,
        models={name: figures[name] for name in models},
        difference=figures["difference"],
        trade_off=_trade_off(rates, drawn),
        groups={name: _groups(model, min(GROUPS, len(y))) for name, model in models.items()},
        curves={name: _curves(y, model) for name, model in models.items()},
        swap_set=_swap_set(y, models, approval_rate),
        withheld=[],
        limits={"curve_points": CURVE_POINTS, "bootstrap_replicates": replicates, "coverage": 0.95},
    )


def approval_rates(headline: float) -> list[float]:
    """The rates of the trade-off, the headline's among them."""
    return sorted({*APPROVAL_RATES, headline})


def finding(auc: AucComparison, p_value: float, bad: int, good: int) -> Finding:
    """Does the joint model rank better than the label holder alone?

    A gain: the joint AUC is higher, and what joint adds to solo goes with the outcome, tested on one side at
    `VERDICT_LEVEL` (`p_value`, of `added_information`). Anything else is no gain; that joint measurably ranks worse
    is said beside it (DeLong, two-sided, at the same level).
    """
    gap = auc.difference
    for count, few in ((bad, Finding.FEW_BAD), (good, Finding.FEW_GOOD)):
        if count < MINIMUM_BAD:
            return few
    if p_value < VERDICT_LEVEL and gap.value > 0.0:
        return Finding.GAIN
    if auc.p_value < VERDICT_LEVEL and gap.value < 0.0:
        return Finding.WORSE
    return Finding.UNKNOWN if (gap.high - gap.low) / 2 > UNCLEAR_HALF_WIDTH else Finding.NONE


def worded(found: Finding, gap: FigureJson, p_value: float, worse_p: float, challenger: str = "joint") -> VerdictJson:
    """The plain sentence, with the difference of the AUCs and the p-values as they are told: `worse_p` is DeLong's."""
    figures = f"AUC {gap['value']:+.3f} ({gap['low']:+.3f}..{gap['high']:+.3f})"
    few = {Finding.FEW_BAD: "bad", Finding.FEW_GOOD: "good"}
    kind: Literal["better", "none", "unclear"] = "unclear"
    if found in few:
        text = f"too few {few[found]} customers to tell: fewer than {MINIMUM_BAD} in the hold-out sample"
    elif found is Finding.GAIN:
        kind, better = "better", "ranks better" if gap["low"] > 0.0 else "knows more, too few rows to say how much"
        text = f"{challenger} {better}: {figures}, {p_text(p_value)}"
    elif found is Finding.UNKNOWN:
        text = f"too few bad customers to tell: {figures}, {p_text(p_value)}"
    else:
        kind = "none"
        text = f"no measurable gain: {figures}, {p_text(p_value)}, tested at {100 * VERDICT_LEVEL:g} %"
        text += f"; {challenger} even ranks worse ({p_text(worse_p)})" if found is Finding.WORSE else ""
    return {"kind": kind, "finding": found.name.lower(), "text": text, "p_value": p_value}


def _redrawn(
    y: F64, models: dict[str, _Model], rates: Sequence[float], replicates: int
) -> dict[str, dict[str, FigureJson]]:
    """Bootstrapped figures: name -> solo, joint, difference."""
    names = ["ks", "gini", "brier", "log_loss"]
    names += [f"bad_rate {k}" for k in range(len(rates))] + [f"approval {k}" for k in range(len(rates))]
    total = float(len(y))

    def statistics(times: F64) -> F64:
        curves = {name: model.ranking.curve(times) for name, model in models.items()}
        accepted = [cut_offs.bad_rate_at_approval(curves["solo"], rate) for rate in rates]
        found = []
        for name, model in models.items():
            curve = curves[name]
            found += [metrics.ks_of(curve), 2 * metrics.auc_of(curve) - 1]
            found += [float(times @ model.squared) / total, float(times @ model.logged) / total]
            found += [cut_offs.bad_rate_at_approval(curve, rate) for rate in rates]
            found += [cut_offs.approval_at_bad_rate(curve, bad_rate) for bad_rate in accepted]
        return np.array(found)

    seed = Rng(hashlib.sha256(Domain.BOOTSTRAP.encode()).digest())
    value, samples = bootstrap(y, statistics, seed, replicates)
    result: dict[str, dict[str, FigureJson]] = {}
    for k, name in enumerate(names):
        s, j = k, len(names) + k
        result[name] = {
            "solo": _figure(bias_corrected(value[s], samples[:, s])),
            "joint": _figure(bias_corrected(value[j], samples[:, j])),
            "difference": _figure(bias_corrected(value[j] - value[s], samples[:, j] - samples[:, s])),
        }
    return result


def _figures(
    y: F64, models: dict[str, _Model], auc: AucComparison, drawn: dict[str, dict[str, FigureJson]]
) -> dict[str, dict[str, FigureJson]]:
    """solo, joint, difference -> name -> figure, in the order of a reader's interest."""
    table: dict[str, dict[str, FigureJson]] = {
        "solo": {"auc": _figure(auc.second)},
        "joint": {"auc": _figure(auc.first)},
        "difference": {"auc": _figure(auc.difference) | {"p_value": _rounded(auc.p_value)}},
    }
    for name in ("ks", "gini", "brier", "log_loss"):
        for column, figure in drawn[name].items():
            table[column][name] = figure
    for column, model in models.items():
        line = calibration_line(y, model.scores)
        if line is not None:
            table[column]["calibration_intercept"] = _figure(line[0])
            table[column]["calibration_slope"] = _figure(line[1])
    return table


def _trade_off(rates: Sequence[float], drawn: dict[str, dict[str, FigureJson]]) -> list[TradeOffJson]:
    return [
        TradeOffJson(
            approval_rate=_rounded(rate),
            bad_rate=drawn[f"bad_rate {k}"],
            approval_at_equal_bad_rate=drawn[f"approval {k}"],
        )
        for k, rate in enumerate(rates)
    ]


def _groups(model: _Model, count: int) -> list[GroupJson]:
    found = cut_offs.risk_groups(model.ranking.curve(), count)
    columns = zip(_listed(found.bad_rate), _listed(found.lift), _listed(found.gain), strict=True)
    return [
        GroupJson(group=place, bad_rate=bad_rate, lift=lift, gain=gain)
        for place, (bad_rate, lift, gain) in enumerate(columns, start=1)
    ]


def _curves(y: F64, model: _Model) -> CurvesJson:
    curve = model.ranking.curve()
    roc, ks = binned_roc(curve), binned_ks(curve)
    bins = metrics.calibration_bins(y, model.scores, CURVE_POINTS)
    return CurvesJson(
        roc={"fpr": _listed(roc.false_positive_rate), "tpr": _listed(roc.true_positive_rate)},
        ks={"share": _listed(ks.share), "bad": _listed(ks.bad), "good": _listed(ks.good)},
        calibration={"predicted": _listed(bins.predicted), "observed": _listed(bins.observed)},
    )


def _swap_set(y: F64, models: dict[str, _Model], approval: float) -> SwapSetJson:
    """The four quadrants."""
    swap = cut_offs.swap_set(y, models["joint"].scores, models["solo"].scores, approval)
    cells = {
        "approved_by_both": swap.both,
        "joint_only": swap.joint_only,
        "solo_only": swap.solo_only,
        "declined_by_both": swap.neither,
    }
    shown = {
        name: SwapCellJson(rows=cell.rows, bad_rate=_rounded(cell.bad / cell.rows) if cell.rows else None)
        for name, cell in cells.items()
    }
    return SwapSetJson(approval_rate=_rounded(approval), cells=shown)


def _figure(interval: Interval) -> FigureJson:
    return {
        "value": _rounded(interval.value), "low": _rounded(interval.low), "high": _rounded(interval.high)
    }


def _rounded(value: float) -> float:
    return round(float(value), DECIMALS) + 0.0  # no negative zero


def _listed(values: F64) -> list[float]:
    return [_rounded(value) for value in values.tolist()]
