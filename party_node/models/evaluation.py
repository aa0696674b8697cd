"""What the joint model is worth, computed at the label holder and reduced to what may leave its site.

`evaluate` takes labels and scores of the hold-out rows and returns a JSON-able `Evaluation` of figures with
intervals, 20-point curves, counts of at least the minimum cell and a verdict: no row, no score, no curve at
full resolution (which would rank the labels). Every number is rounded to six decimals, so that none can carry
a row's value in its tail. Knows neither the parties nor the job.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
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

MINIMUM_CELL = 20          # rows in a released bin, group or quadrant; bad and good customers behind a curve
MINIMUM_BAD = 20           # below this a verdict would be luck
VERDICT_LEVEL = 0.01       # a gain that chance alone would show more often than this is not called one
UNCLEAR_HALF_WIDTH = 0.05  # an AUC difference known no better than this, and not significant, is unknown
APPROVAL_RATES = (0.5, 0.6, 0.7, 0.8, 0.9)
HEADLINE_APPROVAL = 0.8
REPLICATES = 500
DECIMALS = 6


class FigureJson(TypedDict):
    """A figure with its 95 % interval; p_value where the difference has a paired test."""

    value: float
    low: float
    high: float
    p_value: NotRequired[float]


class VerdictJson(TypedDict):
    """`none`: no measurable gain, and so where joint measurably ranks worse. p_value: of the test for a gain."""

    kind: Literal["better", "none", "unclear"]
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
    """All that leaves the label holder's site about the hold-out rows. `withheld`: what is left out and why."""

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
    minimum_cell: int = MINIMUM_CELL,
    approval_rate: float = HEADLINE_APPROVAL,
    replicates: int = REPLICATES,
    with_curves: bool = True,
    challenger: str = "joint",
) -> Evaluation:
    """Compare two scores of the same hold-out rows; the verdict calls the one that is tried `challenger`.

    outcome [n] bool, True for a bad customer; joint, solo [n] log-odds of being bad. `minimum_cell` 1 shows
    all and is for the label holder's own eyes only. The bootstrap is seeded by a constant: the same rows give
    the same figures. LocalError: all labels equal, other lengths, a score that is not finite.
    """
    y, _ = metrics.checked(outcome, joint)
    if not 0.0 < approval_rate < 1.0:
        raise LocalError("the approval rate must lie between 0 and 1")
    models = {"solo": _Model.of(y, solo), "joint": _Model.of(y, joint)}
    auc = delong(y, models["joint"].scores, models["solo"].scores)
    rates = sorted({*APPROVAL_RATES, approval_rate})
    drawn = _redrawn(y, models, rates, replicates)
    bad = int(y.sum())
    enough = min(bad, len(y) - bad) >= minimum_cell
    withheld = [] if enough else [f"all but the totals: fewer than {minimum_cell} bad or good customers"]
    swap = _swap_set(y, models, approval_rate, minimum_cell) if enough else None
    if enough and swap is None:
        withheld.append(f"the swap set: a quadrant has fewer than {minimum_cell} customers")
    group_count = min(10, len(y) // max(minimum_cell, 1)) if enough else 0
    if enough and group_count < 10:
        withheld.append(f"deciles: {len(y)} rows are shown in {group_count} groups")
    figures = _figures(y, models, auc, drawn)
    if enough:
        at = rates.index(approval_rate)
        for column in (*models, "difference"):
            figures[column]["bad_rate"] = drawn[f"bad_rate {at}"][column]
            figures[column]["approval"] = drawn[f"approval {at}"][column]
    return Evaluation(
        version=1,
        rows={"test": len(y), "bad": bad if enough else None},
        verdict=verdict(auc, added_information(y, models["joint"].scores, models["solo"].scores), bad, len(y) - bad,
                        challenger),
        approval_rate=approval_rate,
        models={name: figures[name] for name in models},
        difference=figures["difference"],
        trade_off=_trade_off(rates, drawn) if enough else [],
        groups={name: _groups(model, group_count) for name, model in models.items()} if group_count else {},
        curves={n: _curves(y, m, minimum_cell) for n, m in models.items()} if enough and with_curves else {},
        swap_set=swap,
        withheld=withheld,
        limits={
            "minimum_cell": minimum_cell, "curve_points": CURVE_POINTS, "bootstrap_replicates": replicates,
            "coverage": 0.95,
        },
    )


def verdict(auc: AucComparison, p_value: float, bad: int, good: int, challenger: str = "joint") -> VerdictJson:
    """The plain sentence: does the joint model rank better than the label holder alone?

    A gain: the joint AUC is higher, and what joint adds to solo goes with the outcome, tested on one side at
    `VERDICT_LEVEL` (`p_value`, of `added_information`). Anything else is no gain; that joint measurably ranks worse
    is said beside it (DeLong, two-sided, at the same level).
    """
    gap, rounded = auc.difference, _rounded(p_value)
    figures = f"AUC {gap.value:+.3f} ({gap.low:+.3f}..{gap.high:+.3f})"
    for count, name in ((bad, "bad"), (good, "good")):
        if count < MINIMUM_BAD:
            text = f"too few {name} customers to tell: fewer than {MINIMUM_BAD} in the hold-out sample"
            return {"kind": "unclear", "text": text, "p_value": rounded}
    if p_value < VERDICT_LEVEL and gap.value > 0.0:
        better = "ranks better" if gap.low > 0.0 else "knows more, too few rows to say how much"
        return {"kind": "better", "text": f"{challenger} {better}: {figures}, {p_text(p_value)}", "p_value": rounded}
    worse = auc.p_value < VERDICT_LEVEL and gap.value < 0.0
    if not worse and (gap.high - gap.low) / 2 > UNCLEAR_HALF_WIDTH:
        text = f"too few bad customers to tell: {figures}, {p_text(p_value)}"
        return {"kind": "unclear", "text": text, "p_value": rounded}
    text = f"no measurable gain: {figures}, {p_text(p_value)}, tested at {100 * VERDICT_LEVEL:g} %"
    if worse:
        text += f"; {challenger} even ranks worse ({p_text(auc.p_value)})"
    return {"kind": "none", "text": text, "p_value": rounded}


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


def _curves(y: F64, model: _Model, minimum_cell: int) -> CurvesJson:
    curve = model.ranking.curve()
    roc, ks = binned_roc(curve), binned_ks(curve)
    bins = metrics.calibration_bins(y, model.scores, CURVE_POINTS, minimum_cell)
    return CurvesJson(
        roc={"fpr": _listed(roc.false_positive_rate), "tpr": _listed(roc.true_positive_rate)},
        ks={"share": _listed(ks.share), "bad": _listed(ks.bad), "good": _listed(ks.good)},
        calibration={"predicted": _listed(bins.predicted), "observed": _listed(bins.observed)},
    )


def _swap_set(
    y: F64, models: dict[str, _Model], approval: float, minimum_cell: int
) -> SwapSetJson | None:
    """The four quadrants; or None if one is small, as its content would follow from the other three.

    An empty one tells of nobody, so it may stand.
    """
    swap = cut_offs.swap_set(y, models["joint"].scores, models["solo"].scores, approval)
    cells = {
        "approved_by_both": swap.both,
        "joint_only": swap.joint_only,
        "solo_only": swap.solo_only,
        "declined_by_both": swap.neither,
    }
    if any(0 < cell.rows < minimum_cell for cell in cells.values()):
        return None
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
