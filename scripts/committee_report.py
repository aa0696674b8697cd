"""The committee's whole report of a local consortium's job, from --out of run_local_cluster.py.

python scripts/committee_report.py DIR [--lgd X --margin Y --exposure Z] [--segment COLUMN]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from joint_risk.local_consortium import told
from joint_risk.local_report import make_report, signed_terms
from party_node.models.scorecard import scale_of
from party_node.reports.judgement import asked


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("home", type=Path, metavar="DIR", help="the --out of run_local_cluster.py")
    add("--job", default="", help="how the job's id begins; else the latest")
    add("--out", type=Path, help="the folder to write; else DIR/report")
    add("--base-score", type=float, help="the score at --base-odds; else as the job says")
    add("--base-odds", type=float, help="good customers to one bad, at --base-score; likewise")
    add("--pdo", type=float, help="points to double the odds; likewise")
    add("--decimals", type=int, help="digits of the points; likewise")
    add("--lgd", type=float, help="loss given default, as a share of the exposure")
    add("--margin", type=float, help="earned on a good customer, likewise")
    add("--exposure", type=float, help="lent to one customer, in your currency")
    add("--segment", action="append", default=[], metavar="COLUMN", help="a column of the label holder's table")
    add("--json", action="store_true", help="one JSON object on stdout")
    return parser.parse_args(argv)


def main() -> int:
    """Exit codes as everywhere."""
    options = arguments()
    try:
        agreed = signed_terms(options.home, options.job)
        scale = scale_of(agreed, options.base_score, options.base_odds, options.pdo, options.decimals)
        wanted = asked(scale, (options.lgd, options.margin, options.exposure), options.segment)
        out = options.out or options.home / "report"
        made = make_report(options.home, options.job, wanted, out)
    except Exception as error:  # the process edge
        return told(error, options.json)
    sys.stderr.write(f"{out / 'report.html'}, tables.xlsx and tables/*.csv\n")
    if options.json:
        sys.stdout.write(json.dumps({"ok": True, "code": 0, "data": {"path": str(out), "tables": made}}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
