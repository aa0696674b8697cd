"""How often the verdict on a partner is right: a useless partner's and a useful one's, over many seeded populations.

    make sweep-verdict
    python scripts/sweeps/verdict.py [--runs 100] [--customers 40000] [--seed 1]

Each run draws a population of scripts/make_synthetic_credit.py, prepares and fits as a job does (exactly, in the
clear), solo on the bank's columns and joint with a partner's, and judges both on the hold-out rows with `evaluate`.
Useless: a partner of random columns. Useful: the generator's telecom. The truth of a run is the same two models'
difference in AUC on `TRUTH` other people. Exit status 1 unless the useless partner has the verdict "no measurable gain"
in at least 95 of 100 runs, and the useful one a gain whose interval holds the truth in at least 90. `ranks_worse`: in
how many of the runs without a gain the verdict adds that joint measurably ranks worse: fitting random columns harms.
`gain_above_zero`: in how many of the runs with a gain the interval of the AUC's difference lies above 0 altogether.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from joint_risk.synthetic_tables import INSTITUTIONS, People, bank, category, number, outcome, people, telecom
from mpc.statistics.logistic import fit_logistic
from mpc.statistics.metrics import roc_auc
from party_node.data.preparation import Preparation, PreparationSpec, fit
from party_node.data.sources.table import Column, NumericColumn, Table, TextColumn
from party_node.models.evaluation import Evaluation, evaluate

HOLD_OUT = 0.3
DEFAULT_RATE = 0.07
TRUTH = 150_000
USELESS_AT_LEAST, USEFUL_AT_LEAST = 0.95, 0.90
SPEC = PreparationSpec()
Features = Callable[[People, np.random.Generator], dict[str, pa.Array]]
F64 = NDArray[np.float64]


def nothing(who: People, rng: np.random.Generator) -> dict[str, pa.Array]:
    """Ten columns that know nothing of anybody."""
    rows = len(who.age)
    columns = {f"noise_{k}": number(rng.normal(size=rows), 4, rng, 0.02 * (k % 3)) for k in range(8)}
    return columns | {f"kind_{k}": category(np.zeros(rows), ("a", "b", "c", "d"), rng) for k in range(2)}


@dataclass(frozen=True)
class Sample:
    """Customers that bank and partner share: both tables and who defaulted."""

    bank: Table
    partner: Table
    bad: NDArray[np.bool_]


def sample(count: int, partner: Features, rng: np.random.Generator) -> Sample:
    """The common customers of a population of `count` people."""
    who = people(count, rng)
    at = {name: rng.random(count) < 1 / (1 + np.exp(-INSTITUTIONS[name].members(who))) for name in ("bank", "telecom")}
    bad = outcome(who, at["bank"], DEFAULT_RATE, rng)
    index = np.flatnonzero(at["bank"] & at["telecom"])
    common = People(*(getattr(who, trait)[index] for trait in People.__dataclass_fields__))
    return Sample(as_table(bank(common, rng)), as_table(partner(common, rng)), bad[index])


def as_table(columns: dict[str, pa.Array]) -> Table:
    """Arrow columns as a node holds them."""
    read: dict[str, Column] = {}
    for name, cells in columns.items():
        if pa.types.is_string(cells.type):
            coded = cells.dictionary_encode()
            codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
            read[name] = TextColumn(name, codes, tuple(coded.dictionary.to_pylist()))
        else:
            read[name] = NumericColumn(name, cells.cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False))
    return Table(len(cells), read, ())


@dataclass(frozen=True)
class Model:
    """Preparations and weights, the intercept first."""

    preparations: tuple[Preparation, ...]
    weights: F64

    @classmethod
    def of(cls, tables: tuple[Table, ...], bad: NDArray[np.bool_], rows: NDArray[np.int64]) -> Model:
        """Prepared and fitted on the training rows, exactly."""
        found = tuple(fit(table, rows, SPEC) for table in tables)
        block = cls.block(found, tables, rows)
        return cls(found, fit_logistic(block, bad[rows], SPEC.penalty, 0).weights)

    @staticmethod
    def block(found: tuple[Preparation, ...], tables: tuple[Table, ...], rows: NDArray[np.int64]) -> F64:
        parts = [one.apply(table, rows) for one, table in zip(found, tables, strict=True)]
        return np.column_stack([np.ones(len(rows)), *parts])

    def scores(self, tables: tuple[Table, ...], rows: NDArray[np.int64]) -> F64:
        """Log-odds of being bad."""
        return self.block(self.preparations, tables, rows) @ self.weights


def one_run(
    partner: Features, customers: int, rng: np.random.Generator, truth: bool
) -> tuple[Evaluation, float | None]:
    """The evaluation of one population, and the true gain of its two models."""
    found = sample(customers, partner, rng)
    order = rng.permutation(len(found.bad)).astype(np.int64)
    cut = round(HOLD_OUT * len(order))
    test, train = order[:cut], order[cut:]
    solo = Model.of((found.bank,), found.bad, train)
    joint = Model.of((found.bank, found.partner), found.bad, train)
    scores = joint.scores((found.bank, found.partner), test), solo.scores((found.bank,), test)
    judged = evaluate(found.bad[test], *scores, replicates=5)  # the verdict needs no bootstrap
    if not truth:
        return judged, None
    others = sample(TRUTH, partner, rng)
    rows = np.arange(len(others.bad), dtype=np.int64)
    gained = roc_auc(others.bad, joint.scores((others.bank, others.partner), rows))
    return judged, gained - roc_auc(others.bad, solo.scores((others.bank,), rows))


def sweep(runs: int, customers: int, seed: int) -> dict[str, dict[str, float]]:
    """Counts over all runs, for each kind of partner."""
    result: dict[str, dict[str, float]] = {}
    for name, partner in (("useless", nothing), ("useful", telecom)):
        kinds = dict.fromkeys(("better", "none", "unclear"), 0)
        worse, above, covered, found_gain, gaps, truths = 0, 0, 0, 0, [], []
        for run in range(runs):
            rng = np.random.default_rng([seed, run, len(name)])
            with threadpool_limits(1):  # small matrices: more threads wait for each other longer than they work
                judged, truth = one_run(partner, customers, rng, truth=name == "useful")
            kind, gap = judged["verdict"]["kind"], judged["difference"]["auc"]
            kinds[kind] += 1
            worse += "ranks worse" in judged["verdict"]["text"]
            above += kind == "better" and gap["low"] > 0
            gaps.append(gap["value"])
            if truth is not None:
                truths.append(truth)
                held = gap["low"] <= truth <= gap["high"]
                covered += held
                found_gain += held and kind == "better"
        mean = round(float(np.mean(gaps)), 4)
        result[name] = {"runs": runs, **kinds, "ranks_worse": worse, "gain_above_zero": above,
                        "mean_difference": mean}
        if truths:
            result[name] |= {"mean_truth": round(float(np.mean(truths)), 4), "interval_holds_truth": covered,
                             "gain_found_and_truth_held": found_gain}
    return result


def main(arguments: list[str] | None = None) -> int:
    """Parse, sweep, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100, help="populations for each kind of partner (100)")
    parser.add_argument("--customers", type=int, default=40_000, help="people in each population (40000)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    result = sweep(options.runs, options.customers, options.seed)
    print(json.dumps(result, indent=1))
    right = result["useless"]["none"] >= USELESS_AT_LEAST * options.runs
    right = right and result["useful"]["gain_found_and_truth_held"] >= USEFUL_AT_LEAST * options.runs
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
