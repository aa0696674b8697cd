"""What scores on the grid tell of the columns that they are made of, to who is given every weight and every table.

    make sweep-scores
    python scripts/sweeps/scores_to_bins.py [--columns 3 5 7 13] [--json]

The attacker (tests/simulation/attackers/scores.py) wants the bin of each customer in each column; counted is the mean
share that it guesses right beyond the best guess given the outcome and the score rounded to 8 points. Worlds: synthetic
people, bins and a fit as the project makes them, a development sample of 5,000. Beside the share beyond:
ten choices of columns; hold-outs of three sizes, as found on customers rounded by the production code; a crowd that
learns from how often each number occurs which way each cell was rounded, and its bound, the secret given as well; 1, 2,
5 and 20 models of the same bins; repeated jobs; AUC; and the control, without the grid. All seeds are fixed. Exit
status 1 unless the bars of the issue hold and the control reads at least .9 of all bins.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from mpc.statistics.metrics import roc_auc
from party_node.models.score_grid import SCALE, dither, on_grid, step_of
from tests.simulation.attackers import scores as attacker
from tests.simulation.attackers.score_world import World, make
from wire.spec.scores import ONE_POINT

TELECOM = [("telecom", name) for name in ("tenure_months", "late_bills_12m", "number_changes_3y", "topup_irregularity",
                                          "data_gb_month", "roaming_days", "plan")]
SHOP = [("ecommerce", name) for name in ("orders_12m", "mean_basket", "return_rate", "instalment_share",
                                         "night_order_share", "months_since_first_order", "payment_method")]
HIDDEN = {3: TELECOM[:3], 5: TELECOM[:5], 7: TELECOM, 13: [*TELECOM, *SHOP[:6]]}
BARS = {5: 0.06, 7: 0.02, 13: 0.02}
HOLD_OUTS = (1000, 10_000, 1_000_000)
MODELS = (1, 2, 5, 20)
COARSE = 8                  # points of the yardstick
DECODED = {3: 2000, 5: 2000, 7: 400, 13: 16}     # customers whose several scores are decoded
MOST_LISTED = 1_000_000     # cells
CROWDED = 5                 # columns of which crowds are played for every choice
F64 = NDArray[np.float64]


def numbers(world: World, weights: F64, key: bytes = bytes(32), rows: slice = slice(None)) -> NDArray[np.int64]:
    """Whole steps of each customer's part, as the production code sends them."""
    step = step_of(ONE_POINT)
    sent = on_grid(world.block(world.codes[rows]) @ weights, dither(key, world.codes[rows]), step)
    return sent // step


def measured(columns: int) -> dict[str, Any]:
    """All figures for so many hidden columns."""
    world = make(HIDDEN[columns], max(HOLD_OUTS))
    own, weights = world.fitted()
    parts = [w * table for w, table in zip(weights, world.tables, strict=True)]
    decoder = attacker.one_score(world.prior, parts, ONE_POINT)
    coarse = attacker.coarse_score(world.prior, parts, ONE_POINT, COARSE)
    seen = numbers(world, weights)
    rounded = np.rint(world.block(world.codes) @ weights / ONE_POINT / COARSE).astype(int) * COARSE
    found: dict[str, Any] = {
        "columns": columns, "cells": int(np.prod([len(part) for part in parts], dtype=float)),
        "outcome": attacker.without_score(world.prior), "coarse": coarse.share, "grid": decoder.share,
        "beyond": decoder.share - coarse.share, "choices": choices(columns), "hold_outs": {},
    }
    for rows in HOLD_OUTS:
        some = slice(rows)
        guesses = decoder.guess(seen[some], world.bad[some]), coarse.guess(rounded[some], world.bad[some])
        one, yardstick = (attacker.right(guess, world.codes[some]) for guess in guesses)
        found["hold_outs"][rows] = one - yardstick
    if found["cells"] <= MOST_LISTED:
        found |= crowds(world, parts, seen, coarse.share)
    found["models"] = retrained(world, rounded, coarse, columns)
    found["again"] = repeated(world, weights)
    found["auc"] = auc_moves(world, own, weights)
    return found


def choices(columns: int) -> dict[str, list[float]]:
    """The share beyond for ten choices of the columns, and as many populations; that of crowds where cells are few."""
    rng, beyond, crowd = np.random.default_rng(5), [], list[float]()
    for seed in range(10):
        pool = [*TELECOM, *SHOP]
        hidden = [pool[k] for k in sorted(rng.choice(len(pool), columns, replace=False))]
        world = make(hidden, max(HOLD_OUTS) if columns == CROWDED else 1, seed=10 + seed)
        weights = world.fitted()[1]
        parts = [w * table for w, table in zip(weights, world.tables, strict=True)]
        coarse = attacker.coarse_score(world.prior, parts, ONE_POINT, COARSE).share
        beyond.append(attacker.one_score(world.prior, parts, ONE_POINT).share - coarse)
        if columns == CROWDED:
            crowd.append(max(crowds(world, parts, numbers(world, weights), coarse)["crowd"].values()))
    return {"one": beyond, "crowd": crowd}


def crowds(world: World, parts: list[F64], seen: NDArray[np.int64], coarse: float) -> dict[str, Any]:
    """A crowd's share beyond, per size, and that of who is given the secret: the bound of any crowd."""
    cells = attacker.cells(world.prior, [parts])
    u = dither(bytes(32), cells.codes)
    place = cells.parts[0] / ONE_POINT
    truth = np.floor(place + u) - np.floor(place)
    told = {}
    for rows in HOLD_OUTS:
        up = attacker.crowd(cells, ONE_POINT, seen[:rows], world.bad[:rows])
        told[rows] = attacker.among_crowd(cells, ONE_POINT, up, world.prior.outcomes, truth) - coarse
    return {"crowd": told, "bound": attacker.known_dither(cells, ONE_POINT, u, world.prior.outcomes) - coarse}


def retrained(
    world: World, rounded: NDArray[np.int64], coarse: attacker.Decoder, columns: int
) -> dict[int, float]:
    """The share beyond given scores by several models of the same bins."""
    some = slice(DECODED[columns])
    models = [world.fitted(draw)[1] for draw in range(max(MODELS))]
    seen = np.column_stack([numbers(world, weights, rows=some) for weights in models])
    parts = [[w * table for w, table in zip(weights, world.tables, strict=True)] for weights in models]
    bad, codes = world.bad[some], world.codes[some]
    yardstick = attacker.right(coarse.guess(rounded[some], bad), codes)
    told = {}
    for count in MODELS:
        if np.prod([len(table) for table in world.tables], dtype=float) <= MOST_LISTED:
            guess = attacker.several_scores(attacker.cells(world.prior, parts[:count]), ONE_POINT, seen[:, :count], bad)
        elif count == 1:
            continue
        else:
            guess = attacker.halves(world.prior, parts[:count], ONE_POINT, seen[:, :count], bad, columns // 2 + 1)
        told[count] = attacker.right(guess, codes) - yardstick
    return told


def repeated(world: World, weights: F64) -> dict[str, int]:
    """How many numbers a customer has in fifty repeated jobs, and the customers of a cell among themselves."""
    jobs = np.column_stack([numbers(world, weights, rows=slice(1000)) for _ in range(50)])
    _, cell = np.unique(world.codes[:100_000], axis=0, return_inverse=True)
    seen = numbers(world, weights, rows=slice(100_000))
    pairs = np.unique(np.column_stack([cell.ravel(), seen]), axis=0)
    return {"jobs": int(np.ptp(jobs, axis=1).max()) + 1, "cell": int(np.bincount(pairs[:, 0]).max())}


def auc_moves(world: World, own: F64, weights: F64) -> dict[str, float]:
    """By how much the grid moves the AUC of 10,000 customers: mean and largest of 20 secrets."""
    rows = slice(10_000)
    mine, bad = world.own[rows] @ own, world.bad[rows]
    exact = roc_auc(bad, mine + world.block(world.codes[rows]) @ weights)
    moves = [abs(roc_auc(bad, mine + numbers(world, weights, bytes([k]) * 32, rows) * step_of(ONE_POINT) / SCALE)
                 - exact) for k in range(20)]
    return {"exact": exact, "mean": float(np.mean(moves)), "largest": float(np.max(moves))}


def control() -> float:
    """The share right where parts leave as they are, of 1,000 customers and 7 columns."""
    world = make(HIDDEN[7], 1000)
    weights = world.fitted()[1]
    parts = [w * table for w, table in zip(weights, world.tables, strict=True)]
    seen = np.rint(world.block(world.codes) @ weights * SCALE).astype(np.int64)[:, None]
    cells = attacker.cells(world.prior, [parts])
    return attacker.right(attacker.several_scores(cells, 1 / SCALE, seen, world.bad), world.codes)


def bars_hold(found: dict[str, Any]) -> bool:
    """In the mean over choices, and of the one that is looked at closely."""
    means = [float(np.mean(each)) for each in found["choices"].values() if each]
    return (max(found["beyond"], *means, *found.get("crowd", {}).values()) <= BARS.get(found["columns"], 1.0)
            and found["again"] == {"jobs": 1, "cell": 1} and found["auc"]["largest"] < 1e-3)


def told(found: dict[str, Any]) -> str:
    """One block of lines."""
    each, crowd = found["choices"]["one"], found["choices"]["crowd"]
    lines = [
        f"{found['columns']} columns, {found['cells']:,} cells: given the outcome {found['outcome']:.3f}, the score to "
        f"{COARSE} points {found['coarse']:.3f}, on the grid {found['grid']:.3f}; beyond {found['beyond']:.4f}",
        f"  ten choices of columns: mean {np.mean(each):.4f}, largest {max(each):.4f}"
        + (f"; the best of their crowds: mean {np.mean(crowd):.4f}, largest {max(crowd):.4f}" if crowd else ""),
        "  found on customers: " + ", ".join(f"{rows:,} {share:.4f}" for rows, share in found["hold_outs"].items()),
    ]
    if "crowd" in found:
        lines.append("  a crowd of: " + ", ".join(f"{rows:,} {share:.4f}" for rows, share in found["crowd"].items())
                     + f"; given the secret {found['bound']:.4f}")
    lines.append("  models of the same bins: " + ", ".join(f"{m}: {share:.4f}" for m, share in found["models"].items())
                 + f" ({DECODED[found['columns']]} customers)")
    again, auc = found["again"], found["auc"]
    lines.append(f"  numbers of one customer in 50 jobs: {again['jobs']}, of one cell: {again['cell']}; "
                 f"AUC {auc['exact']:.4f} moves by {auc['mean']:.5f}, at most {auc['largest']:.5f}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--columns", type=int, nargs="+", choices=list(HIDDEN), default=list(HIDDEN))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    bare, all_found = control(), []
    print(f"control, without the grid: {bare:.4f} of all bins are right", file=sys.stderr)
    for columns in options.columns:
        all_found.append(measured(columns))
        print(told(all_found[-1]), file=sys.stderr, flush=True)
    if options.json:
        print(json.dumps({"control": bare, "columns": all_found}))
    held = all(bars_hold(found) for found in all_found)
    return 0 if held and bare >= 0.9 else 1


if __name__ == "__main__":
    sys.exit(main())
