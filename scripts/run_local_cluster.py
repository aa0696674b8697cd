"""The whole path on anybody's tables, on this machine: one daemon per party, a coordinator, a joint model.

python scripts/run_local_cluster.py --table bank=PATH --table partner=PATH --id COLUMN --label bank:COLUMN
  --out DIR --json
"""

from __future__ import annotations

import argparse
import json
import sys
from math import floor, log10
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from joint_risk.local_consortium import PURPOSE, CommandFailed, LocalParty, told
from joint_risk.local_job import run_job
from mpc.errors import LocalError
from party_node.data.label import read_label
from party_node.data.sources.kinds import Kind
from party_node.data.sources.table import read_table
from wire.spec.hold_out import LEAST_ROWS
from wire.spec.scores import MINIMUM_COLUMNS, ONE_POINT


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--table", action="append", required=True, metavar="PARTY=PATH", help="CSV or Parquet; one per party")
    add("--id", action="append", required=True, metavar="[PARTY:]COLUMN[,COLUMN]", help="several make one id")
    add("--label", required=True, metavar="PARTY:COLUMN")
    add("--positive", default="1", help="the label's value that means default")
    add("--weights", metavar="COLUMN", help="of the label holder: what each row weighs in the fit")
    add("--largest-weight", type=float, default=10.0, help="of --weights, in multiples of their mean; public")
    add("--class-weights", type=class_weights, default="none", metavar="balanced|BAD:GOOD", help="times --weights")
    add("--offset", metavar="COLUMN", help="of the label holder: added to each row's log-odds")
    add("--columns", action="append", default=[], metavar="PARTY:A,B,C", help="features (default: all others)")
    add("--drop", action="append", default=[], metavar="PARTY:A,B", help="columns to leave out")
    add("--categorical", action="append", default=[], metavar="PARTY:A,B")
    add("--id-profile", choices=["plain", "phone", "national_id", "email"], default="plain")
    add("--duplicates", choices=["first", "refuse"], default="first")
    add("--lambda", dest="penalty", type=float, default=None, help="default: as the training rows and --noise ask")
    add("--noise", type=float, default=1.0, help="of the secret terms in the objective, times the default; 0: none")
    add("--iterations", type=iterations, default="auto", help="a number; auto: as many as the default rate asks for")
    add("--expected-default-rate", type=float, default=None, help="default: the label's rate to one digit")
    add("--test-fraction", type=float, default=0.3, help="hold-out sample; 0: train and judge on the same rows")
    add("--period", metavar="COLUMN", help="of the label holder: the latest --test-fraction are the out-of-time sample")
    add("--since", metavar="WHEN", help="with --period: rows from then on judge; a number, or a date as in 2024-01-31")
    add("--minimum-hold-out", type=int, default=LEAST_ROWS, help="fewest customers that train, and that judge")
    add("--seed", default="1", help="fixes the split in the signed spec")
    add("--minimum-columns", type=int, default=MINIMUM_COLUMNS, help="of each partner in a score, below which its "
        "columns can be read out of it; a lower one is written into the policies too")
    add("--score-grid", type=float, default=ONE_POINT, help="log-odds in which a partner's part of a score is told; "
        "a finer one is written into the policies too")
    add("--key-bits", type=int, choices=[2048, 3072, 4096], default=3072)
    add("--bins", action="store_true", help="columns enter as weights of evidence of bins, counted jointly")
    add("--correlations", choices=["pairs", "matrix", "inflation"], help="of columns of different parties: those "
        "above a threshold, or all; or each party's variance inflation beside another's columns")
    add("--correlation-threshold", type=float, default=0.7)
    add("--drop-correlated", action="store_true", help="with --correlations pairs: of each the later party's goes")
    add("--sigmoid", choices=["auto", "six", "eight", "twelve"], default="auto")
    add("--engine", choices=["own", "phe"], default="own")
    add("--precompute", action="store_true", help="in two jobs: all that can run ahead of the round, then the round")
    add("--out", type=Path, required=True)
    add("--json", action="store_true", help="one JSON object on stdout")
    return parser.parse_args(argv)


def per_party(values: list[str], option: str, parties: list[str]) -> dict[str, str]:
    """`PARTY:VALUE` entries by party; a bare value counts for every party."""
    found: dict[str, str] = {}
    for value in values:
        party, _, rest = value.partition(":")
        if rest and party in parties:
            found[party] = rest
        elif option == "--id":
            found |= {name: value for name in parties if name not in found}
        else:
            raise LocalError(f"{option} {value!r} does not name a party", f"write {option} {parties[0]}:COLUMN")
    return found


def local_parties(options: argparse.Namespace) -> list[LocalParty]:
    """The parties that the options describe."""
    tables = {}
    for entry in options.table:
        name, _, path = entry.partition("=")
        if not path:
            raise LocalError(f"--table {entry!r} is not PARTY=PATH", "write --table bank=loans.csv")
        tables[name] = Path(path)
    names = list(tables)
    ids = per_party(options.id, "--id", names)
    label = per_party([options.label], "--label", names)
    chosen = per_party(options.columns, "--columns", names)
    dropped = per_party(options.drop, "--drop", names)
    categorical = per_party(options.categorical, "--categorical", names)
    missing = [name for name in names if name not in ids]
    if missing:
        raise LocalError(f"no id column is given for {missing[0]}", f"add --id {missing[0]}:COLUMN")
    parties = []
    extra = [name for name in (options.weights, options.offset) if name]
    for name in names:
        columns = chosen[name].split(",") if name in chosen else list(column_names(tables[name]))
        id_columns = ids[name].split(",")
        period, own = (options.period, extra) if name in label else (None, [])
        without = {*id_columns, label.get(name), period, *dropped.get(name, "").split(","), *own}
        parties.append(LocalParty(
            id=name, table=tables[name], id_column=id_columns, label=label.get(name),
            positive=options.positive, extra=own,
            columns=[column for column in columns if column not in without],
            categorical=[c for c in categorical.get(name, "").split(",") if c], id_profile=options.id_profile,
            period=period, policy={"minimum_columns": min(options.minimum_columns, MINIMUM_COLUMNS),
                                   "finest_score_grid": min(options.score_grid, ONE_POINT)},
        ))
    return parties


def column_names(path: Path) -> tuple[str, ...]:
    """The columns of a table."""
    return read_table(path).names


def iterations(text: str) -> int | str:
    """The option's value."""
    return text if text == "auto" else int(text)


def class_weights(text: str) -> str | dict[str, float]:
    """The option's value."""
    bad, _, good = text.partition(":")
    return {"bad": float(bad), "good": float(good)} if good else text


def one_digit(rate: float) -> float:
    """The rate as a public prior: one significant digit, between 0.01 and 0.5."""
    bounded = min(max(rate, 0.01), 0.5)
    return round(bounded, -floor(log10(bounded)))


def job_of(options: argparse.Namespace, parties: list[LocalParty]) -> dict[str, Any]:
    """job.toml as a dictionary."""
    holder = next(party for party in parties if party.label is not None)
    assert holder.label is not None
    rate = options.expected_default_rate
    if rate is None:
        table = read_table(holder.table, columns=[holder.label], kinds={holder.label: Kind.TEXT})
        label = read_label(table, holder.label, options.positive)
        rate = one_digit(float(np.mean(label.positive[~label.refused])))
    terms = {"weights": options.weights, "offset": options.offset, "class_weights": options.class_weights,
             "largest_weight": options.largest_weight}
    terms = {name: value for name, value in terms.items() if value is not None}
    return {
        "purpose": PURPOSE,
        "minimum_intersection": 100,
        "party": [{"id": p.id, "dataset": "table", "columns": p.columns, "duplicates": options.duplicates}
                  for p in parties],
        "label": {"party": holder.id, "column": holder.label, "positive": options.positive, **terms},
        "training": {"iterations": options.iterations, "sigmoid": options.sigmoid, "expected_default_rate": rate,
                     "noise": options.noise,
                     **({} if options.penalty is None else {"penalty": options.penalty})},
        "crypto": {"key_bits": options.key_bits, "engine": options.engine},
        "hold_out": hold_out_of(options) | {"minimum_hold_out": options.minimum_hold_out},
        "scores": {"grid": options.score_grid, "minimum_columns": options.minimum_columns},
        **({"binning": {}} if options.bins else {}),
        **({"correlate": {"show": options.correlations, "threshold": options.correlation_threshold,
                          "drop": options.drop_correlated}}
           if options.correlations else {}),
    }


def hold_out_of(options: argparse.Namespace) -> dict[str, Any]:
    """Which rows judge."""
    if options.since is not None:
        if options.period is None:
            raise LocalError("--since names a boundary, but no column says when a row was", "add --period COLUMN")
        return {"column": options.period, "since": options.since}
    if options.period is not None:
        return {"column": options.period, "fraction": options.test_fraction}
    return {"fraction": options.test_fraction, "seed": options.seed}


def run(options: argparse.Namespace) -> dict[str, Any]:
    """What the options ask for; the object that is printed."""
    parties = local_parties(options)
    return run_job(options.out, parties, job_of(options, parties), ahead=options.precompute)[0]


def main() -> int:
    """Exit codes as everywhere: 0 ok, 1 job failed, 2 not reached, 3 timeout, 4 wrong input, 5 bug, 6 policy."""
    options = arguments()
    try:
        result = run(options)
    except CommandFailed as error:
        sys.stderr.write(error.stderr)
        if options.json:
            sys.stdout.write(json.dumps(error.envelope or {"ok": False}) + "\n")
        return error.code
    except Exception as error:  # the process edge
        return told(error, options.json)
    if options.json:
        sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
