"""How a release of figures is made of counted choices: one method a section, one for each kind of figure.

`build` runs twice, with the private figures to count the choices, and from the choices alone. Whatever it takes of the
private figures it takes in a question to `Choices` (mpc/statistics/counted_choices.py); all else is public or follows
from answers: Gini from the AUC, ROC, lift and gain from the share of bad customers above each edge.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mpc.statistics.counted_choices import Choices, Grid, coarse_enough, steps
from mpc.statistics.curves import bad_above
from mpc.statistics.logistic import F64, sigmoid
from mpc.statistics.metrics import Ranking
from party_node.models.evaluation import (
    HEADLINE_APPROVAL,
    REPLICATES,
    Evaluation,
    FigureJson,
    Finding,
    SwapCellJson,
    approval_rates,
    worded,
)
from reporting.comparison_table import COARSE_P

MINIMUM_CELL = 20     # customers in a released slice or quadrant
REACHES = 5           # an interval reaches so many steps to either side at most: 1.96 standard errors and the rounding
WIDEST = 1.96         # standard errors in half an interval
MODELS = ("solo", "joint")
P_BANDS = tuple(COARSE_P)
FEW_SLICES, MANY_SLICES, MANY_ROWS = 10, 20, 5000
# Where a figure can lie; one beyond is told as lying at the end.
BOUNDS = {
    "auc": (0.0, 1.0), "ks": (0.0, 1.0), "brier": (0.0, 1.0), "log_loss": (0.0, 4.0), "bad_rate": (0.0, 1.0),
    "approval": (0.0, 1.0), "calibration_intercept": (-5.0, 5.0), "calibration_slope": (-1.0, 5.0),
}


@dataclass(frozen=True)
class Terms:
    """What is agreed of a release: public."""

    minimum_outcome: int
    with_curves: bool = True
    approval_rate: float = HEADLINE_APPROVAL
    replicates: int = REPLICATES


@dataclass(frozen=True, repr=False)
class Slices:
    """A model's customers from the riskiest down: bad ones, and predicted ones, above each edge, [slices + 1]."""

    bad: F64
    predicted: F64


@dataclass(frozen=True, repr=False)
class Own:
    """What a release is asked from; the second time there is none."""

    figures: Evaluation
    slices: dict[str, Slices]


@dataclass(frozen=True)
class Public:
    """What everybody knows beforehand."""

    rows: int
    terms: Terms

    @property
    def slices(self) -> int:
        """Into how many equal slices of customers a score is cut."""
        return MANY_SLICES if self.rows >= MANY_ROWS else FEW_SLICES

    @property
    def ladder(self) -> tuple[float, ...]:
        """The steps that figures may have."""
        return steps(self.rows)


Fragment = dict[str, Any]
Private = Callable[[], FigureJson]


def build(choices: Choices, own: Own | None, public: Public, told: int | None) -> Fragment:
    """The released evaluation of the first `told` sections; `own` and `told` are None where choices are repeated."""
    made = _Release(choices, own, public)
    count = choices.place(len(SECTIONS) + 1, lambda: told or 0)
    for _, section in SECTIONS[:count]:
        section(made)
    return made.whole(SECTIONS[count:])


class _Release:
    """A release in the making. Whatever it asks of `own` it asks through `choices`."""

    def __init__(self, choices: Choices, own: Own | None, public: Public) -> None:
        self._choices, self._maybe, self._public = choices, own, public
        self._models: dict[str, dict[str, FigureJson]] = {name: {} for name in MODELS}
        self._difference: dict[str, FigureJson] = {}
        self._trade_off: list[Fragment] = []
        self._withheld: list[str] = []
        self._parts: Fragment = {"groups": {}, "curves": {}, "swap_set": None}
        self._bad: int | None = None
        self._ends, self._rates = np.zeros(0, np.int64), dict[str, F64]()

    def whole(self, left: Sequence[tuple[str, Section]]) -> Fragment:
        """All that was made; `left`: sections that do not fit."""
        withheld = [f"{', '.join(name for name, _ in left)}: figures say less than half of what there is to know of "
                    "the outcomes"] if left else []
        return {
            "version": 1, "rows": {"test": self._public.rows, "bad": self._bad},
            "approval_rate": self._public.terms.approval_rate, "models": self._models,
            "difference": self._difference, "trade_off": self._trade_off, **self._parts,
            "withheld": [*self._withheld, *withheld],
            "limits": {
                "minimum_cell": MINIMUM_CELL, "minimum_outcome": self._public.terms.minimum_outcome,
                "curve_points": self._public.slices, "bootstrap_replicates": self._public.terms.replicates,
                "coverage": 0.95, "bits": math.ceil(self._choices.bits),
            },
        }

    # ------------------------------------------------------------ sections

    def headline(self) -> None:
        """Verdict, AUC, and Gini, which follows from it."""
        findings = tuple(Finding)
        found = findings[self._choices.place(len(findings), lambda: findings.index(
            Finding[self._own["verdict"]["finding"].upper()]))]
        self._measure("auc")
        gap = self._difference["auc"]
        gap["p_value"] = self._band(lambda: self._own["difference"]["auc"]["p_value"])
        p_value = self._band(lambda: self._own["verdict"]["p_value"])
        for name, table in self._models.items():
            self._models[name]["gini"] = _turned(table["auc"], 2.0, -1.0)
        self._difference["gini"] = _turned(gap, 2.0, 0.0)
        self._parts["verdict"] = worded(found, gap, p_value, gap["p_value"])

    def at_equal_approval(self) -> None:
        """Both figures of the trade-off at the agreed rate."""
        self._measure("bad_rate")
        self._measure("approval")
        columns = self._models | {"difference": self._difference}
        self._trade_off.append({
            "approval_rate": self._public.terms.approval_rate,
            "bad_rate": {name: table["bad_rate"] for name, table in columns.items()},
            "approval_at_equal_bad_rate": {name: table["approval"] for name, table in columns.items()},
        })

    def kolmogorov_smirnov(self) -> None:
        self._measure("ks")

    def groups_and_curves(self) -> None:
        """How many are bad, and what share of them lies above each edge of the score: groups, ROC and KS follow."""
        rows = self._public.rows
        rate = self._share(rows, lambda: (self._own["rows"]["bad"] or 0) / rows)
        self._bad = min(max(round(rate * rows), 1), rows - 1)
        self._ends = self._slice_ends()
        for name in MODELS:
            self._slices(name, self._bad)

    def accuracy(self) -> None:
        self._measure("brier")
        self._measure("log_loss")

    def calibration(self) -> None:
        """Intercept and slope, and what was predicted in each slice."""
        for name in MODELS:
            self._line(name)
            if self._public.terms.with_curves:
                self._predicted(name)

    def swap_set(self) -> None:
        """The four quadrants; none of them if one is small, as its content would follow from the other three. An empty
        one tells of nobody, so it may stand."""
        least, terms = self._public.terms.minimum_outcome, self._public.terms
        if not self._choices.place(2, lambda: int(_large(self._cells, least))):
            self._withheld.append(f"the swap set: a quadrant has fewer than {MINIMUM_CELL} customers, or fewer than "
                                  f"{least} good or bad ones")
            return
        approved = round(terms.approval_rate * self._public.rows)
        moved = self._choices.place(approved + 1, lambda: self._cells["joint_only"]["rows"])
        sizes = {"approved_by_both": approved - moved, "joint_only": moved, "solo_only": moved,
                 "declined_by_both": self._public.rows - approved - moved}
        self._parts["swap_set"] = {
            "approval_rate": _short(terms.approval_rate),
            "cells": {name: {"rows": size, "bad_rate": self._quadrant(name, size)} for name, size in sizes.items()},
        }

    def other_rates(self) -> None:
        """Both figures of the trade-off at the other rates."""
        agreed = self._public.terms.approval_rate
        for place, rate in enumerate(approval_rates(agreed)):
            if rate != agreed:
                self._trade_off.append(self._trade_off_line(place, rate))
        self._trade_off.sort(key=lambda line: float(line["approval_rate"]))

    # ------------------------------------------------------------ figures

    @property
    def _own(self) -> Evaluation:
        assert self._maybe is not None, "only what is counted asks for it"
        return self._maybe.figures

    @property
    def _cells(self) -> dict[str, SwapCellJson]:
        swap = self._own["swap_set"]
        assert swap is not None
        return swap["cells"]

    def _cumulated(self, name: str) -> Slices:
        assert self._maybe is not None, "only what is counted asks for it"
        return self._maybe.slices[name]

    def _step(self, spread: Callable[[], float]) -> float:
        """At least half of the standard error `spread`."""
        ladder = self._public.ladder
        return ladder[self._choices.place(len(ladder), lambda: coarse_enough(ladder, spread() / 2))]

    def _share(self, rows: int, wanted: Callable[[], float]) -> float:
        """A share of `rows` customers."""
        grid = Grid(self._step(lambda: math.sqrt(wanted() * (1 - wanted()) / rows)), 0.0, 1.0)
        return min(grid.at(self._choices.place(grid.places, lambda: grid.place(wanted()))), 1.0)

    def _band(self, wanted: Callable[[], float]) -> float:
        """The least of the bands that the p-value lies below."""
        return P_BANDS[self._choices.place(len(P_BANDS), lambda: sum(wanted() >= band for band in P_BANDS))]

    def _figure(self, grid: Grid, private: Private) -> FigureJson:
        """A value, and the ends of an interval that holds the private one."""
        value = grid.at(self._choices.place(grid.places, lambda: grid.place(private()["value"])))
        reach = 1 + self._choices.place(REACHES, lambda: math.ceil(
            max(private()["high"] - value, value - private()["low"]) / grid.step - 1e-9) - 1)
        return {"value": _short(value), "low": _short(value - reach * grid.step),
                "high": _short(value + reach * grid.step)}

    def _compared(self, bounds: tuple[float, float], private: Callable[[str], FigureJson]) -> dict[str, FigureJson]:
        """solo and joint in one step, their difference in its own: it lies near that of the two."""
        step = self._step(lambda: max(_spread(private(name)) for name in MODELS))
        found = {name: self._figure(Grid(step, *bounds), partial(private, name)) for name in MODELS}
        own_step = self._step(lambda: _spread(private("difference")))
        gap = found["joint"]["value"] - found["solo"]["value"]
        around = Grid(own_step, gap - step, gap + step)
        found["difference"] = self._figure(around, lambda: private("difference"))
        return {name: _within(figure, *bounds) if name in MODELS else figure for name, figure in found.items()}

    def _measure(self, key: str) -> None:
        def private(name: str) -> FigureJson:
            return self._own["difference"][key] if name == "difference" else self._own["models"][name][key]

        found = self._compared(BOUNDS[key], private)
        for name in MODELS:
            self._models[name][key] = found[name]
        self._difference[key] = found["difference"]

    def _line(self, name: str) -> None:
        if not self._choices.place(2, lambda: int("calibration_slope" in self._own["models"][name])):
            return
        for key in ("calibration_intercept", "calibration_slope"):
            self._models[name][key] = self._alone(name, key)

    def _alone(self, name: str, key: str) -> FigureJson:
        def private() -> FigureJson:
            return self._own["models"][name][key]

        return self._figure(Grid(self._step(lambda: _spread(private())), *BOUNDS[key]), private)

    def _trade_off_line(self, place: int, rate: float) -> Fragment:
        bad_rate = self._compared(BOUNDS["bad_rate"], lambda name: self._own["trade_off"][place]["bad_rate"][name])
        approval = self._compared(
            BOUNDS["approval"], lambda name: self._own["trade_off"][place]["approval_at_equal_bad_rate"][name])
        return {"approval_rate": _short(rate), "bad_rate": bad_rate, "approval_at_equal_bad_rate": approval}

    def _quadrant(self, name: str, size: int) -> float | None:
        return _short(self._share(size, lambda: self._cells[name]["bad_rate"] or 0.0)) if size else None

    def _slice_ends(self) -> NDArray[np.int64]:
        """Where slices end, in both models alike, the last at the number of slices: too small ones are joined."""
        count, least = self._public.slices, self._public.terms.minimum_outcome
        chosen = self._choices.place(1 << (count - 1), lambda: sum(1 << (end - 1) for end in _joined(
            [self._cumulated(name).bad for name in MODELS], self._public.rows, least)[:-1]))
        return np.array([*(end for end in range(1, count) if chosen >> (end - 1) & 1), count], np.int64)

    def _slices(self, name: str, bad: int) -> None:
        """Curves and groups of one model."""
        public, rows, ends = self._public, self._public.rows, self._ends
        shares = ends / public.slices
        # half the standard error of the share of the bad ones that lies in one slice
        step = coarse_enough(public.ladder, 0.5 / math.sqrt(public.slices * min(bad, rows - bad)))
        grid = Grid(public.ladder[step], 0.0, 1.0)
        path = self._choices.path(len(ends) - 1, grid.places, lambda: [
            grid.place(found / self._cumulated(name).bad[-1]) for found in self._cumulated(name).bad[ends[:-1]]])
        gains = np.append([min(grid.at(place), 1.0) for place in path], 1.0)
        widths, parts = np.diff(shares, prepend=0.0), np.diff(gains, prepend=0.0)
        rates = self._rates[name] = np.minimum(parts * bad / (widths * rows), 1.0)
        if len(ends) > 1:
            self._parts["groups"][name] = [
                {"group": place, "bad_rate": _short(rate), "lift": _short(part / width), "gain": _short(gain)}
                for place, (rate, part, width, gain) in enumerate(zip(rates, parts, widths, gains, strict=True), 1)]
        if public.terms.with_curves:
            good = np.clip((shares * rows - gains * bad) / (rows - bad), 0.0, 1.0)
            self._parts["curves"][name] = {
                "roc": {"fpr": _listed(good), "tpr": _listed(gains)},
                "ks": {"share": _listed(shares), "bad": _listed(gains), "good": _listed(good)},
            }

    def _predicted(self, name: str) -> None:
        """The mean prediction in each slice, safest first, in steps of a standard error of what was observed."""
        public, bad = self._public, self._bad or 0
        spread = math.sqrt(bad * (public.rows - bad) * public.slices / public.rows**3)
        grid = Grid(public.ladder[coarse_enough(public.ladder, spread)], 0.0, 1.0)
        path = self._choices.path(len(self._ends), grid.places, lambda: [
            grid.place(one) for one in _means(self._cumulated(name).predicted, self._ends, public.rows)[::-1]])
        self._parts["curves"][name]["calibration"] = {
            "predicted": [_short(min(grid.at(place), 1.0)) for place in path],
            "observed": _listed(self._rates[name][::-1]),
        }


Section = Callable[[_Release], None]
SECTIONS: tuple[tuple[str, Section], ...] = (
    ("verdict and AUC", _Release.headline),
    ("bad rate and approval at the agreed rate", _Release.at_equal_approval),
    ("KS", _Release.kolmogorov_smirnov),
    ("number of bad customers, groups, ROC and KS curves", _Release.groups_and_curves),
    ("Brier score and log-loss", _Release.accuracy),
    ("calibration", _Release.calibration),
    ("the swap set", _Release.swap_set),
    ("the trade-off at other rates", _Release.other_rates),
)


# ---------------------------------------------------------------- small steps


def cumulate(outcome: ArrayLike, scores: ArrayLike, public: Public) -> Slices:
    """From the riskiest down, in proportion inside a run of equal scores."""
    ranking, shares = Ranking.of(outcome, scores), np.arange(public.slices + 1) / public.slices
    curve = ranking.curve()
    expected = np.append(0.0, np.cumsum(sigmoid(np.asarray(scores, np.float64)[ranking.order]))[ranking.ends])
    return Slices(bad_above(curve, shares), np.interp(shares * public.rows, curve.depth, expected))


def _joined(bad: Sequence[F64], rows: int, least: int) -> list[int]:
    """Ends of slices that hold the minimum cell, and `least` good and bad customers by each model; one slice where none
    does. `bad`: of each model the bad ones above each edge."""
    count, last = len(bad[0]) - 1, 0
    ends: list[int] = []
    for end in range(1, count + 1):
        size = (end - last) * rows / count
        hits = [float(one[end] - one[last]) for one in bad]
        if min(size - MINIMUM_CELL, min(hits) - least, size - max(hits) - least) >= -1e-9:
            ends.append(end)
            last = end
    return [*ends[:-1], count] if ends else [count]


def _means(cumulated: F64, ends: NDArray[np.int64], rows: int) -> F64:
    found: F64 = np.diff(cumulated[ends], prepend=0.0) / (np.diff(ends, prepend=0) * rows / (len(cumulated) - 1))
    return found


def _large(cells: dict[str, SwapCellJson], least: int) -> bool:
    """Whether each quadrant that is not empty holds the minimum cell and `least` good and bad customers."""
    sizes = [(cell["rows"], round(cell["rows"] * (cell["bad_rate"] or 0.0))) for cell in cells.values()]
    return all(not rows or min(rows - MINIMUM_CELL, bad - least, rows - bad - least) >= 0 for rows, bad in sizes)


def _spread(figure: FigureJson) -> float:
    """The standard error that the longer arm of an interval stands for."""
    return max(figure["high"] - figure["value"], figure["value"] - figure["low"]) / WIDEST


def _turned(figure: FigureJson, factor: float, shift: float) -> FigureJson:
    return {"value": _short(factor * figure["value"] + shift), "low": _short(factor * figure["low"] + shift),
            "high": _short(factor * figure["high"] + shift)}


def _within(figure: FigureJson, low: float, high: float) -> FigureJson:
    return {"value": figure["value"], "low": max(figure["low"], low), "high": min(figure["high"], high)}


def _short(value: float) -> float:
    """Without the dust of binary fractions, and no negative zero."""
    return round(float(value), 6) + 0.0


def _listed(values: F64) -> list[float]:
    return [_short(value) for value in values.tolist()]
