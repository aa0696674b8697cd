"""Three institutions on this machine show each other nothing and train one credit model. Writes demo/report.html."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from rich.console import Console

from joint_risk.local_consortium import PURPOSE, CommandFailed, LocalParty
from joint_risk.local_job import run_job
from joint_risk.local_report import make_report
from joint_risk.synthetic_tables import make
from mpc.credit.money import Terms
from mpc.credit.scorecard import Scale
from party_node.reports.judgement import Asked

ROOT = Path(__file__).resolve().parents[1]
MINIMUM_COMMON = 3000


def main() -> int:
    """Exit code 0, or the failed command's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "demo")
    parser.add_argument("--customers", type=int, default=8000, help="the population; about half is common to all")
    parser.add_argument("--key-bits", type=int, choices=[2048, 3072, 4096], default=2048)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    say = Console(stderr=True, highlight=False).print
    began = time.monotonic()

    say("[bold]1[/] making the tables of a bank, an e-commerce platform and a telecom operator")
    manifest = make(options.out / "data", options.customers, options.seed)
    parties = [
        LocalParty(id=name, table=options.out / "data" / entry["file"], id_column=entry["id"],
                   columns=entry["features"], label=entry["label"])
        for name, entry in manifest["parties"].items()
    ]
    job = {
        "purpose": PURPOSE,
        "minimum_intersection": MINIMUM_COMMON if manifest["people_in_common"] > MINIMUM_COMMON else 100,
        "party": [{"id": party.id, "dataset": "table"} for party in parties],
        "label": {"party": "bank", "column": "defaulted_12m", "positive": "1"},
        "training": {"expected_default_rate": 0.07},
        "binning": {},   # columns enter by weights of evidence, so that there is a scorecard
        "crypto": {"key_bits": options.key_bits},
        "hold_out": {"fraction": 0.3},
    }
    say("[bold]2[/] keys, certificates and policies for each; their nodes start; the coordinator proposes the job")
    try:
        result, record = run_job(options.out / "cluster", parties, job)
    except CommandFailed as error:
        sys.stderr.write(error.stderr)
        return error.code

    asked = Asked(Scale(), Terms(0.6, 0.05), 5000.0, ())
    make_report(options.out / "cluster", record["job_id"], asked, options.out)
    (options.out / "result.json").write_text(json.dumps(result, indent=1))
    say(f"[bold]3[/] {record['common']:,} customers in common; AUC on the hold-out sample: "
        f"bank alone {result['auc']['solo']:.4f}, "
        f"joint {result['auc']['joint']:.4f}, all data in one place {result['auc']['pooled']:.4f}")
    say(f"done in {time.monotonic() - began:.0f} s: {options.out / 'report.html'} and result.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
