"""The pooled oracle of scripts/sweeps/binning.py: optbinning on the rows themselves, in an environment of its own.

    oracle/bin/python scripts/sweeps/oracle_binning.py CASES.npz < settings.json > found.json

Imports nothing of this project, and this project never imports it: optbinning is not a dependency. Settings that
differ from its defaults, and why: `user_splits` are the fine edges, so that both merge the same bins; `solver` mip
with cbc, because cp rounds information values to six digits; `min_event_rate_diff` 1e-12 switches off a shortcut for
falling rates that is no longer right once bins have a least size (it then also forbids equal neighbours, as our rule
of fewest bins does); `max_n_prebins` and `min_prebin_size` do not matter with given splits. The solver is made to
search to the end: by its own defaults it is content with 1 part in 10,000, and passes over a solution that is better by
less than 1e-5, so information values are stretched by `STRETCH` for it.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import optbinning.binning.mip as formulation
from optbinning import OptimalBinning
from ortools.linear_solver import pywraplp

STRETCH = 1e7

_solve = pywraplp.Solver.Solve
_model_data = formulation.model_data


def _to_the_end(solver: pywraplp.Solver) -> int:
    parameters = pywraplp.MPSolverParameters()
    parameters.SetDoubleParam(parameters.RELATIVE_MIP_GAP, 0.0)
    return _solve(solver, parameters)


def _stretched(*given: object) -> list:
    rates, values, *rest = _model_data(*given)
    return [rates, [value * STRETCH for value in values], *rest]


pywraplp.Solver.Solve = _to_the_end
formulation.model_data = _stretched


def found(values: np.ndarray, bad: np.ndarray, setting: dict) -> dict:
    """Cuts and information value of one feature."""
    trend = setting["trend"]
    binning = OptimalBinning(
        solver="mip",
        mip_solver="cbc",
        user_splits=setting["edges"],
        monotonic_trend=None if trend == "free" else trend,
        min_event_rate_diff=1e-12,
        min_bin_size=setting["minimum_share"],
        min_bin_n_event=setting["minimum_bad"],
        min_bin_n_nonevent=setting["minimum_good"],
        max_n_bins=setting["maximum_bins"],
        time_limit=60,
    )
    binning.fit(values, bad.astype(np.int64))
    table = binning.binning_table
    table.build()
    return {
        "status": binning.status,
        "cuts": [float(cut) for cut in binning.splits],
        "information_value": float(table.iv),
        "weights": [float(weight) for weight in table._woe],
    }


def main() -> int:
    """Every case in turn."""
    settings = json.load(sys.stdin)
    with np.load(sys.argv[1]) as cases:
        answers = [found(cases[f"values_{i}"], cases[f"bad_{i}"], setting) for i, setting in enumerate(settings)]
    json.dump(answers, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
