"""Who knows the scores of a hold-out and reads the report: the outcomes of its customers, from released figures.

`solve` is exact: counts between the places of the curves, then meet in the middle on the sums that AUC, log-loss and
Brier score are. It is the control, on figures at full precision. `belief` is what is left where figures are coarse: a
belief over outcomes, sampled from the calibrated score as prior and held against every figure and interval that was
released, at the places and in the steps in which they came.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import comb, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpc.statistics.counted_choices import steps
from mpc.statistics.intervals import calibration_line, delong
from mpc.statistics.logistic import sigmoid
from mpc.statistics.metrics import ks

Reals = NDArray[np.float64]
Bits = NDArray[np.bool_]
MODELS = "solo", "joint"
CHAINS, ROUNDS, KEPT = 48, 320, 160
MOST_SUMS = 2_000_000     # of one half, in the exact attack


# ---------------------------------------------------------------- the world


@dataclass(frozen=True)
class HoldOut:
    """What there is to know. `own` is the attacker's part of the log-odds; the label holder's columns add `theirs`."""

    own: Reals
    theirs: Reals
    outcome: Bits
    joint: Reals
    solo: Reals
    spread: float      # standard deviation of the label holder's part, known of the population

    @property
    def bad(self) -> int:
        return int(self.outcome.sum())


def hold_out(rows: int, rate: float, unknown: int, seed: int, least: int) -> HoldOut:
    """A calibrated model on `rows` customers of whom about `rate` are bad, at least `least` of either outcome;
    `unknown` columns of the label holder's."""
    rng = np.random.default_rng([rows, round(1000 * rate), unknown, seed])
    spread, slope = 0.5 * np.sqrt(unknown), 1.1
    population = slope * rng.normal(size=100_000) + spread * rng.normal(size=100_000)
    low, high = -12.0, 4.0
    for _ in range(60):     # the intercept at which so many of the population are bad
        middle = (low + high) / 2
        low, high = (middle, high) if sigmoid(population + middle).mean() < rate else (low, middle)
    while True:
        own, theirs = middle + slope * rng.normal(size=rows), spread * rng.normal(size=rows)
        outcome = rng.random(rows) < sigmoid(own + theirs)
        if least <= outcome.sum() <= rows - least:
            return HoldOut(own, theirs, outcome, own + theirs, np.log(rate / (1 - rate)) + theirs, spread)


# ---------------------------------------------------------------- coarse figures


@dataclass(frozen=True)
class Belief:
    """Probability of being bad, before and after the figures were read, [rows]; `misfit`: how many steps the sampled
    outcomes are off the released figures in the mean (well below 1, or the sampler has not found its way)."""

    prior: Reals
    posterior: Reals
    misfit: float


def belief(
    world: HoldOut, released: Mapping[str, Any], *, scores_known: bool, chains: int = CHAINS, seed: int = 0
) -> Belief:
    """What a reader of `released` believes of each customer. `scores_known`: it was given the joint and the solo score
    of every customer; else it knows its own part, and how far the label holder's part spreads."""
    rng, rows = np.random.default_rng(seed), len(world.own)
    known = np.broadcast_to(world.theirs, (chains, rows))

    def draw() -> tuple[Bits, Reals]:
        theirs = known if scores_known else world.spread * rng.normal(size=(chains, rows))
        return rng.random((chains, rows)) < sigmoid(world.own + theirs), theirs

    ranks = _Ranks(world) if scores_known else None

    def measure(bad: Bits, theirs: Reals) -> dict[str, Reals]:
        return figures(bad, world.own + theirs, world.solo.mean() + theirs, released, ranks)

    state = draw()
    measured = measure(*state)
    seen = _seen(released, {name: float(np.nanstd(found)) for name, found in measured.items()}, rows)
    fit = _misfit(measured, seen)
    total, counted, off = np.zeros(rows), 0, 0.0
    for turn in range(ROUNDS + KEPT):
        heat = max(1.0, 30.0 * (1 - turn / (0.7 * ROUNDS)))
        chosen = rng.random((chains, rows)) < rng.choice([1.5 / rows, 3.0 / rows, 0.03, 0.08])
        fresh = draw()
        tried = np.where(chosen, fresh[0], state[0]), known if scores_known else np.where(chosen, fresh[1], state[1])
        found = _misfit(measure(*tried), seen)       # a part drawn anew from the prior: only the fit decides
        taken = np.log(rng.random(chains)) < (fit - found) / heat
        state = (np.where(taken[:, None], tried[0], state[0]),
                 known if scores_known else np.where(taken[:, None], tried[1], state[1]))
        fit = np.where(taken, found, fit)
        if turn >= ROUNDS:
            total, counted, off = total + state[0].sum(axis=0), counted + chains, off + float(fit.mean())
    return Belief(_prior(world, scores_known), total / counted, off / KEPT / max(len(seen), 1))


class _Ranks:
    """Places by score, riskiest first, where every chain has the same scores."""

    def __init__(self, world: HoldOut) -> None:
        scores = {"joint": world.joint, "solo": world.solo}
        self._orders = {name: np.argsort(-one, kind="stable") for name, one in scores.items()}

    def of(self, name: str, shape: tuple[int, ...]) -> NDArray[np.int64]:
        return np.broadcast_to(self._orders[name], shape)


def _prior(world: HoldOut, scores_known: bool) -> Reals:
    if scores_known or not world.spread:
        return sigmoid(world.joint)
    around = world.spread * np.random.default_rng(1).normal(size=4000)
    return np.array([sigmoid(one + around).mean() for one in world.own])


def figures(
    bad: Bits, joint: Reals, solo: Reals, released: Mapping[str, Any], ranks: _Ranks | None = None
) -> dict[str, Reals]:
    """Every figure of the report that a belief is held against, of each chain, [chains, rows] -> name -> [chains]."""
    found: dict[str, Reals] = {}
    placed, orders = {}, {}
    for name, scores in (("solo", solo), ("joint", joint)):
        if scores[0].std():
            orders[name] = np.argsort(-scores, axis=1, kind="stable") if ranks is None else ranks.of(name, bad.shape)
            placed[name] = _ranked(name, bad, scores, orders[name], released, found)
    total = bad.sum(axis=1).astype(float)
    found["rows bad"] = total
    if {"solo", "joint"} <= placed.keys():
        for key in ("auc", "ks", "brier", "log_loss", "bad_rate"):
            found[f"difference {key}"] = found[f"joint {key}"] - found[f"solo {key}"]
        (over, under), (more, less) = placed["joint"], placed["solo"]
        found["difference auc spread"] = _delong(over - more, under - less, bad)
        cut = round(0.2 * bad.shape[1])
        for cell, (first, second) in {"joint_only": (False, True), "solo_only": (True, False)}.items():
            inside = [np.zeros(bad.shape, bool) for _ in MODELS]
            for mask, ranked in zip(inside, (orders["joint"], orders["solo"]), strict=True):
                np.put_along_axis(mask, ranked[:, :cut], True, axis=1)
            member = (inside[0] == first) & (inside[1] == second)
            found[f"swap {cell}"] = (bad & member).sum(axis=1) / np.maximum(member.sum(axis=1), 1)
    return found


def _ranked(
    name: str, bad: Bits, scores: Reals, order: NDArray[np.int64], released: Mapping[str, Any], found: dict[str, Reals]
) -> tuple[Reals, Reals]:
    """Adds one model's figures. Returned: places of the bad among the good, and of the good among the bad, by row."""
    chains, rows = bad.shape
    ranked = np.take_along_axis(bad, order, axis=1)
    seen = np.cumsum(ranked, axis=1, dtype=float)
    total = np.maximum(seen[:, -1:], 1e-9)
    good = np.arange(1, rows + 1) - seen
    goods = np.maximum(rows - total, 1e-9)
    below = np.where(ranked, (goods - good) / goods, np.nan)       # share of the good that a bad one outranks
    above = np.where(ranked, np.nan, seen / total)
    found[f"{name} auc"] = np.where(ranked, below, 0.0).sum(axis=1) / total[:, 0]
    found[f"{name} ks"] = np.maximum((seen / total - good / goods).max(axis=1), 0.0)
    p = sigmoid(scores)
    squared, logged = (p - bad) ** 2, np.logaddexp(0.0, scores) - bad * scores
    found[f"{name} brier"], found[f"{name} log_loss"] = squared.mean(axis=1), logged.mean(axis=1)
    found[f"{name} brier spread"] = squared.std(axis=1) / np.sqrt(rows)
    found[f"{name} log_loss spread"] = logged.std(axis=1) / np.sqrt(rows)
    found[f"{name} calibration_intercept"] = (bad - p).sum(axis=1) / (p * (1 - p)).sum(axis=1)     # one Newton step
    padded = np.concatenate([np.zeros((chains, 1)), seen], axis=1)
    for line in released["trade_off"]:
        rate = line["approval_rate"]
        missed = total[:, 0] - _between(padded, (1 - rate) * rows)
        found[f"{name} bad_rate" if rate == 0.8 else f"{name} bad_rate {rate}"] = missed / (rate * rows)
    if not released["trade_off"]:
        found[f"{name} bad_rate"] = (total[:, 0] - _between(padded, 0.2 * rows)) / (0.8 * rows)
    for share in released["curves"].get(name, {}).get("ks", {}).get("share", [])[:-1]:
        found[f"{name} gain {share}"] = _between(padded, share * rows) / total[:, 0]
    back = np.argsort(order, axis=1, kind="stable")
    below, above = (np.take_along_axis(one, back, axis=1) for one in (below, above))
    found[f"{name} auc spread"] = _delong(below, above, bad)
    return below, above


def _between(cumulated: Reals, place: float) -> Reals:
    whole = min(int(place + 1e-9), cumulated.shape[1] - 2)
    part = place - whole
    found: Reals = (1 - part) * cumulated[:, whole] + part * cumulated[:, whole + 1]
    return found


def _delong(below: Reals, above: Reals, bad: Bits) -> Reals:
    """Standard error of an AUC, or of the difference of two, from the places of bad and good rows."""
    hits = bad.sum(axis=1)
    with np.errstate(all="ignore"):
        spread: Reals = np.sqrt(np.nanvar(np.where(bad, below, np.nan), axis=1) / hits
                                + np.nanvar(np.where(bad, np.nan, above), axis=1) / (bad.shape[1] - hits))
    return np.nan_to_num(spread, nan=1.0)


@dataclass(frozen=True)
class _Cell:
    """A figure lies in low..high; `soft` is the width within which a sampler still finds its way there."""

    low: float
    high: float
    soft: float


def _seen(released: Mapping[str, Any], spreads: Mapping[str, float], rows: int) -> dict[str, _Cell]:
    """What the report says of each figure. A step is not written down: it is the one of the ladder that fits the
    interval and lies nearest to half the standard error that figures of such rows have."""
    found: dict[str, _Cell] = {}
    columns = {**released["models"], "difference": released["difference"]}
    for column, table in columns.items():
        for key, figure in table.items():
            if f"{column} {key}" in spreads:
                _add(found, f"{column} {key}", figure, spreads, rows)
    for line in released["trade_off"]:
        for column in MODELS:
            name = f"{column} bad_rate {line['approval_rate']}"
            if name in spreads:
                _add(found, name, line["bad_rate"][column], spreads, rows)
    if released["rows"]["bad"] is not None:
        found |= _seen_in_groups(released, rows, released["rows"]["bad"])
    for cell, content in ((released["swap_set"] or {}).get("cells") or {}).items():
        if f"swap {cell}" in spreads and content["rows"]:
            step = _step(0.5 * np.sqrt(max(content["bad_rate"], 0.02) / content["rows"]), rows)
            found[f"swap {cell}"] = _Cell(content["bad_rate"] - step, content["bad_rate"] + step, step / 4)
    return found


def _seen_in_groups(released: Mapping[str, Any], rows: int, bad: int) -> dict[str, _Cell]:
    """The number of bad customers, and the share of them above each edge."""
    rate = bad / rows
    step = _step(0.5 * np.sqrt(rate * (1 - rate) / rows), rows) * rows
    found = {"rows bad": _Cell(bad - step / 2 - 0.5, bad + step / 2 + 0.5, step / 8)}
    step = _step(0.5 / np.sqrt(_slices(rows) * min(bad, rows - bad)), rows)
    for name, curves in released["curves"].items():
        for share, gain in list(zip(curves["ks"]["share"], curves["ks"]["bad"], strict=True))[:-1]:
            found[f"{name} gain {share}"] = _Cell(gain - step / 2, gain + step / 2, step / 8)
    return found


def _slices(rows: int) -> int:
    return 20 if rows >= 5000 else 10


def _step(least: float, rows: int) -> float:
    return next((step for step in steps(rows) if step >= least * (1 - 1e-9)), steps(rows)[-1])


def _add(
    found: dict[str, _Cell], name: str, figure: Mapping[str, float], spreads: Mapping[str, float], rows: int
) -> None:
    reach = figure["high"] - figure["value"]
    fitting = [(step, reach / step) for step in steps(rows)
               if abs(reach / step - round(reach / step)) < 1e-3 and 1 <= round(reach / step) <= 5]
    if not fitting:    # cut at the end of the range
        return
    usual = spreads.get(name) or reach / 2
    step, times = min(fitting, key=lambda one: abs(np.log(one[0] / (usual / 2 * 1.4))))
    found[name] = _Cell(figure["value"] - step / 2, figure["value"] + step / 2, step / 8)
    if f"{name} spread" in spreads:   # half an interval is 1.96 standard errors, and at most half a step of rounding
        low, high = ((times - 1.5) * step / 1.96, times * step / 1.96)
        found[f"{name} spread"] = _Cell(max(low, 0.0), high, step / 8)


def _misfit(measured: Mapping[str, Reals], seen: Mapping[str, _Cell]) -> Reals:
    total: Reals = np.zeros(len(measured["rows bad"]))
    for name, cell in seen.items():
        value = measured[name]
        off = np.maximum(np.maximum(cell.low - value, value - cell.high), 0.0) / cell.soft
        total = total + np.minimum(np.nan_to_num(off, nan=50.0), 50.0) ** 2 / 2
    return total


# ---------------------------------------------------------------- exact figures

Options = list[tuple[int, ...]]
_Half = tuple[Reals, list[Options]]


def solve(world: HoldOut, evaluation: Mapping[str, Any]) -> list[Bits] | None:
    """Every assignment of outcomes that fits figures at full precision, from the joint scores and no outcome; None
    where there are too many to look at."""
    rows, bad = len(world.joint), int(evaluation["rows"]["bad"])
    order = np.argsort(-world.joint, kind="stable")
    cells = _counts(evaluation, rows, bad)
    scores = world.joint[order]
    p = sigmoid(scores)
    table = evaluation["models"]["joint"]
    weights = np.column_stack([np.arange(rows, dtype=float), scores, 1 - 2 * p])
    outranked = round(table["auc"]["value"] * bad * (rows - bad))
    due = np.array([bad * rows - outranked - bad * (bad + 1) / 2,    # sum of places of the bad ones, from 0
                    np.logaddexp(0.0, scores).sum() - rows * table["log_loss"]["value"],
                    rows * table["brier"]["value"] - (p**2).sum()])
    tolerance = np.array([0.5, 6e-7 * rows, 6e-7 * rows])
    middle = _middle(cells)
    first, second = _sums(cells[:middle], weights), _sums(cells[middle:], weights)
    if first is None or second is None:
        return None
    found = []
    for members in _matching(first, second, due, tolerance):
        one = np.zeros(rows, bool)
        one[order[list(members)]] = True
        found.append(one)
    return [one for one in found if len(found) == 1 or _fits(world, one, table)]


def _fits(world: HoldOut, outcome: Bits, table: Mapping[str, Mapping[str, float]]) -> bool:
    """Whether the interval of the AUC, KS and the calibration line are those of the report, too."""
    auc = delong(outcome, world.joint, world.joint).first
    line = calibration_line(outcome, world.joint)
    told = [(auc.low, table["auc"]["low"]), (ks(outcome, world.joint), table["ks"]["value"])]
    if line is not None:
        told += [(line[k].value, table[name]["value"])
                 for k, name in enumerate(("calibration_intercept", "calibration_slope")) if name in table]
    return all(abs(one - other) < 2e-6 for one, other in told)


def _counts(evaluation: Mapping[str, Any], rows: int, bad: int) -> list[tuple[range, int]]:
    """Neighbours in the order of scores, with the number of bad ones among them, as curves and groups tell it."""
    curves = evaluation["curves"]["joint"]["ks"]
    known = {0: 0, rows: bad}
    lines = [*zip(curves["share"], curves["bad"], strict=True),
             *((k / len(evaluation["groups"]["joint"]), one["gain"])
               for k, one in enumerate(evaluation["groups"]["joint"], start=1))]
    for share, gain in lines:
        place = share * rows
        whole, part = int(place + 1e-4), place - int(place + 1e-4)
        value = gain * bad
        if part < 1e-3:
            known[whole] = round(value)
        elif abs(value - round(value)) < 1e-3 * part:
            known[whole] = known[whole + 1] = round(value)
        else:
            known[whole], known[whole + 1] = int(value), int(value) + 1
    ends = sorted(known)
    return [(range(one, other), known[other] - known[one]) for one, other in pairwise(ends)]


def _middle(cells: list[tuple[range, int]]) -> int:
    """Where both halves have about as many assignments."""
    sizes = np.cumsum([log(comb(len(places), bad)) for places, bad in cells])
    return int(np.argmin(np.maximum(sizes, sizes[-1] - sizes))) + 1


def _sums(cells: list[tuple[range, int]], weights: Reals) -> _Half | None:
    """Sums over the bad ones of every assignment that fits the counts, and how to find it again."""
    total = np.zeros((1, weights.shape[1]))
    choices: list[Options] = []
    for places, bad in cells:
        options = list(combinations(places, bad))
        if len(total) * len(options) > MOST_SUMS:
            return None
        more = np.array([weights[list(option)].sum(axis=0) for option in options])
        total = (total[:, None] + more[None]).reshape(-1, weights.shape[1])
        choices.append(options)
    return total, choices


def _matching(one: _Half, other: _Half, due: Reals, tolerance: Reals) -> list[tuple[int, ...]]:
    (first, left), (second, right) = one, other
    order = np.argsort(first[:, 1])
    ranked = first[order, 1]
    low = np.searchsorted(ranked, due[1] - second[:, 1] - tolerance[1])
    high = np.searchsorted(ranked, due[1] - second[:, 1] + tolerance[1])
    found = []
    for k in np.flatnonzero(high > low):
        near = order[low[k] : high[k]]
        fits = (np.abs(first[near] + second[k] - due) <= tolerance).all(axis=1)
        found += [_members(int(j), left) + _members(int(k), right) for j in near[fits]]
    return found


def _members(place: int, choices: list[Options]) -> tuple[int, ...]:
    chosen: list[tuple[int, ...]] = []
    for options in reversed(choices):
        place, which = divmod(place, len(options))
        chosen.append(options[which])
    return tuple(member for option in chosen for member in option)
