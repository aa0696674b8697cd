"""Reject inference: what a model's figures would become if declined applicants had paid as one assumes they would.

python scripts/infer_rejects.py --scores scores.npz --declined declined.csv --column log_odds [--factor 1.5 --factor 2]

`--scores` is what the label holder's node kept of a finished job: outcomes and scores of accepted customers. The table
of declined applicants holds their log-odds of being bad by the same model, in a column: the sum of all parties' parts,
or with --solo of the label holder's own. Outcomes of the declined are assumed, not known; the caveats say what for, and
are part of what is printed. Nothing leaves this machine.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from joint_risk.local_consortium import told
from mpc.credit.reject_inference import parcelling, sensitivity, simple_augmentation
from mpc.errors import LocalError
from mpc.rng import Rng
from party_node.data.sources.kinds import Kind
from party_node.data.sources.table import NumericColumn, read_table
from party_node.models.kept_scores import read_scores
from wire.private_files import write_private

FACTORS = (1.0, 1.5, 2.0, 3.0)
SEED = bytes(32)   # of the parcels: the same files and options give the same labels


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--scores", type=Path, required=True, metavar="PATH", help="scores.npz of the kept model: the accepted")
    add("--solo", action="store_true", help="the declined were scored by the label holder's own model")
    add("--declined", type=Path, required=True, metavar="TABLE", help="CSV or Parquet")
    add("--column", required=True, help="its column of log-odds of being bad")
    add("--factor", type=float, action="append", metavar="X",
        help="how much worse the declined are than accepted ones of the same score; repeat (default: 1 1.5 2 3)")
    add("--bad-rate", type=float, metavar="RATE", help="the riskiest RATE of the declined are bad, instead of parcels")
    add("--out", type=Path, metavar="FILE", help="write the assumed outcomes with the first factor, or --bad-rate: CSV")
    add("--json", action="store_true", help="one JSON object on stdout")
    return parser.parse_args(argv)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Bad rates under each guess, and the caveats. LocalError: wrong input."""
    kept = read_scores(options.scores)
    accepted = kept.solo if options.solo else kept.joint
    declined = _declined(options.declined, options.column)
    factors = options.factor or list(FACTORS)
    if options.bad_rate is not None:
        inferred = simple_augmentation(declined, options.bad_rate)
        rates = {f"riskiest {options.bad_rate:g} bad": _all(kept.outcome, inferred.assumed)}
    else:
        inferred = parcelling(kept.outcome, accepted, declined, Rng(SEED), factor=factors[0])
        rates = {f"factor {factor:g}": rate
                 for factor, rate in sensitivity(kept.outcome, accepted, declined, factors).items()}
    if options.out is not None:
        lines = [f"{int(bad)},{share:.6f}" for bad, share in zip(inferred.outcome, inferred.assumed, strict=True)]
        write_private(options.out, "\n".join(["assumed_bad,assumed_share", *lines, ""]).encode())
    return {
        "method": inferred.method.value, "accepted": len(accepted), "declined": len(declined),
        "bad_rate_of_accepted": float(kept.outcome.mean()),
        "assumed_bad_rate_of_declined": float(inferred.assumed.mean()),
        "bad_rate_of_all_applicants": rates, "caveats": list(inferred.caveats),
    }


def _declined(path: Path, column: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    cells = read_table(path, columns=[column], kinds={column: Kind.NUMERIC}).column(column)
    assert isinstance(cells, NumericColumn)
    if cells.missing.any():
        raise LocalError(f"{int(cells.missing.sum())} declined applicants have no score in `{column}`",
                         "score them, or leave them out and say so")
    return cells.values


def _all(outcome: np.ndarray[Any, Any], assumed: np.ndarray[Any, Any]) -> float:
    return float(outcome.sum() + assumed.sum()) / (len(outcome) + len(assumed))


def show(found: dict[str, Any]) -> None:
    """For people: stderr."""
    out = sys.stderr
    seen, assumed = 100 * found["bad_rate_of_accepted"], 100 * found["assumed_bad_rate_of_declined"]
    out.write(f"{found['method']}: {found['accepted']:,} accepted, {seen:.2f} % bad (seen); "
              f"{found['declined']:,} declined, {assumed:.2f} % bad (assumed)\n")
    for guess, rate in found["bad_rate_of_all_applicants"].items():
        out.write(f"  {guess}: {100 * rate:.2f} % of all applicants bad\n")
    for line in found["caveats"]:
        out.write(f"  Caveat: {line}\n")


def main() -> int:
    """Exit codes as everywhere."""
    options = arguments()
    try:
        found = run(options)
    except Exception as error:  # the process edge
        return told(error, options.json)
    show(found)
    if options.json:
        sys.stdout.write(json.dumps({"ok": True, "code": 0, "data": found}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
