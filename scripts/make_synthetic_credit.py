"""Make synthetic credit tables of several institutions, from one seed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from joint_risk.synthetic_tables import INSTITUTIONS, make


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; prints the manifest. Exit code 4 for arguments that make no table."""
    parser = argparse.ArgumentParser(description="Make synthetic credit tables of several institutions.")
    parser.add_argument("--out", type=Path, required=True, help="directory for the tables and manifest.json")
    parser.add_argument("--customers", type=int, default=8000, help="people in the whole population (8000)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same files (1)")
    parser.add_argument("--parties", type=int, default=3, help=f"2 to 5, in this order: {', '.join(INSTITUTIONS)}")
    parser.add_argument("--default-rate", type=float, default=0.07, help="share of the bank's customers (0.07)")
    parser.add_argument("--format", choices=("csv", "parquet"), default="csv")
    given = parser.parse_args(argv)
    try:
        manifest = make(given.out, given.customers, given.seed, given.parties, given.default_rate, given.format)
    except (ValueError, OSError) as error:
        print(f"no tables were made: {error}", file=sys.stderr)
        return 4
    print(json.dumps(manifest, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
