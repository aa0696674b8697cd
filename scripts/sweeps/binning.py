"""Compares our bins with those of a pooled optimal binning (optbinning) on random features.

    make sweep-binning                                           # with optbinning in build/oracle
    python scripts/sweeps/binning.py [--features 100] [--seed 1] [--missing 0.0]

Every feature has its own rows, bad rate, shape, trend and constraints; both sides start from the same fine edges,
cut by `numeric_bins`. Exit status 1 if a cut differs or an information value by more than 1e-9. Two ways to cut may say
exactly as much (two fine bins with the same counts): such a tie is counted apart, and it is an error if ours is not the
one that the rule of `best_bins` takes, the earlier last cut. The oracle knows no rule.

With --missing, cells are missing at random. optbinning then weighs a merging against the totals of the rows present,
and its own table against all rows; we weigh against all rows throughout. So cuts may differ, and then our information
value must be the higher one: that is what is tested.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpc.credit.binning import BinCounts, Constraints, Trend, best_bins
from mpc.credit.fine_bins import NumericBins, numeric_bins
from mpc.credit.weight_of_evidence import information_value, weight_of_evidence

ROOT = Path(__file__).resolve().parents[2]
ORACLE = ROOT / "build" / "oracle" / "bin" / "python"
WITHIN = 1e-9
TIE = 1e-13  # some roundings of the information value
TRENDS = (Trend.ASCENDING, Trend.DESCENDING, Trend.PEAK, Trend.VALLEY, Trend.FREE)


@dataclass(frozen=True)
class Case:
    """One feature in the clear, its fine bins and what is asked of the merging."""

    values: NDArray[np.float64]
    bad: NDArray[np.bool_]
    bins: NumericBins
    constraints: Constraints


def random_case(rng: np.random.Generator, missing: float) -> Case:
    """Rows, bad rate, shape of the risk, spread of the values, trend and constraints, all drawn."""
    rows = int(rng.integers(8_000, 40_000))
    latent = rng.normal(size=rows)
    shape = [latent, -latent, latent**2, -(latent**2), np.sin(2 * latent), 0 * latent][rng.integers(6)]
    risk = rng.uniform(0.2, 1.2) * shape + rng.normal(0.0, 0.5, rows) + rng.logistic(size=rows)
    bad = risk > np.quantile(risk, 1 - rng.uniform(0.05, 0.35))
    seen = [latent, np.exp(2 * latent), np.round(10 * latent), latent**3, np.round(np.exp(3 + latent))][rng.integers(5)]
    values = np.where(rng.random(rows) < missing, np.nan, seen)
    bins = numeric_bins(values, most=int(rng.integers(8, 21)), minimum_rows=rows // 60)
    constraints = Constraints(
        trend=TRENDS[rng.integers(len(TRENDS))],
        minimum_share=float(rng.choice([0.02, 0.05, 0.1])),
        minimum_good=int(rng.integers(1, 200)),
        minimum_bad=int(rng.integers(1, 100)),
        maximum_bins=int(rng.integers(3, 11)),
    )
    return Case(values, bad, bins, constraints)


def ours(case: Case) -> dict[str, Any]:  # what is printed as JSON
    """Cuts, information value and weights from the counts alone."""
    codes, count = case.bins.codes(case.values), case.bins.count
    bad = np.bincount(codes[case.bad], minlength=count)
    counts = BinCounts.of(case.bins, np.bincount(codes, minlength=count) - bad, bad)
    merging = best_bins(counts, case.constraints)
    merged = counts.merged(merging)
    return {
        "cuts": list(merging.cuts(case.bins)),
        "information_value": information_value(merged.good, merged.bad),
        "weights": weight_of_evidence(merged.good, merged.bad).tolist(),
    }


def theirs(cases: list[Case], oracle: Path) -> list[dict[str, Any]]:
    """The oracle's answers, from a process in its own environment."""
    settings = [
        {
            "edges": case.bins.edges,
            "trend": case.constraints.trend.value,
            "minimum_share": case.constraints.minimum_share,
            "minimum_good": case.constraints.minimum_good,
            "minimum_bad": case.constraints.minimum_bad,
            "maximum_bins": case.constraints.maximum_bins,
        }
        for case in cases
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cases.npz"
        arrays = {f"values_{i}": case.values for i, case in enumerate(cases)}
        np.savez(path, **arrays, **{f"bad_{i}": case.bad for i, case in enumerate(cases)})
        done = subprocess.run(
            [oracle, ROOT / "scripts" / "sweeps" / "oracle_binning.py", path],
            input=json.dumps(settings), capture_output=True, text=True, check=True,
        )
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def compare(cases: list[Case], oracle: Path) -> dict[str, Any]:
    """How many are equal; the largest difference; what was wrong."""
    start = time.process_time()
    mine = [ours(case) for case in cases]
    seconds = time.process_time() - start
    equal, tied, higher, worst_value, worst_weight, wrong = 0, 0, 0, 0.0, 0.0, []
    for place, (case, one, other) in enumerate(zip(cases, mine, theirs(cases, oracle), strict=True)):
        gap = one["information_value"] - other["information_value"]
        if one["cuts"] == other["cuts"]:
            equal += 1
            worst_value = max(worst_value, abs(gap))
            known = other["weights"][: len(one["cuts"]) + 1]
            worst_weight = max(worst_weight, *(abs(a - b) for a, b in zip(one["weights"], known, strict=False)))
        elif len(one["cuts"]) == len(other["cuts"]) and abs(gap) < TIE and one["cuts"][::-1] < other["cuts"][::-1]:
            tied += 1
        elif case.bins.missing is not None and gap > 0.0:
            higher += 1
        else:
            wrong.append({"feature": place, "trend": case.constraints.trend.value, "gap": gap,
                          "ours": one["cuts"], "theirs": other["cuts"], "status": other["status"]})
    return {
        "features": len(cases), "equal": equal, "tied": tied, "ours_higher": higher, "wrong": wrong,
        "largest_gap_information_value": worst_value, "largest_gap_weight": worst_weight,
        "our_seconds": round(seconds, 2),
    }


def main(arguments: list[str] | None = None) -> int:
    """Parse, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--missing", type=float, default=0.0, help="share of missing cells (0)")
    parser.add_argument("--oracle", type=Path, default=ORACLE, help="Python of an environment with optbinning")
    options = parser.parse_args(arguments)
    rng = np.random.default_rng(options.seed)
    result = compare([random_case(rng, options.missing) for _ in range(options.features)], options.oracle)
    print(json.dumps(result, indent=1))
    return 0 if not result["wrong"] and result["largest_gap_information_value"] <= WITHIN else 1


if __name__ == "__main__":
    sys.exit(main())
