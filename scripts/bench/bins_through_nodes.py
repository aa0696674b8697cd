"""Joint counts of bins through real daemons: seconds of the stages up to the bins of a job over made-up tables.

python scripts/bench/bins_through_nodes.py --rows 100000 --columns 300 --json

Two nodes and a coordinator run on this machine. When both nodes are done with the bins the job is cancelled: what
follows is measured by scripts/bench/train.py. A stage counts from its first beginning to its last end at either node.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from joint_risk.local_consortium import PURPOSE, LocalCluster, LocalParty, told
from mpc.errors import LocalError
from mpc.kernels.engines.selection import engine_name

STAGES = ("align", "split", "bin", "prepare")
_BEGINS = re.compile(r"^\s*(\S+)\s+(\w+)\s+begins")
_TICKS_S = os.sysconf("SC_CLK_TCK")


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--rows", type=int, default=100_000, help="customers in common, all of whom train")
    add("--columns", type=int, default=300, help="of the feature holder")
    add("--bins", type=int, default=20, help="fine bins of a column, at most")
    add("--key-bits", type=int, choices=[2048, 3072, 4096], default=2048)
    add("--json", action="store_true", help="one JSON object on stdout")
    return parser.parse_args(argv)


def make_tables(folder: Path, rows: int, columns: int) -> list[LocalParty]:
    """A label holder with one column, a feature holder with many, the same customers in another order."""
    draw = np.random.default_rng(7)
    risk = draw.normal(size=rows)
    ids = [f"customer {k:08d}" for k in range(rows)]
    bank = {"id": ids, "own": risk + draw.normal(size=rows),
            "bad": (risk + draw.logistic(size=rows) > 1.2).astype(np.int64)}
    order = draw.permutation(rows)
    shop: dict[str, Any] = {"id": [ids[k] for k in order]}
    for c in range(columns):
        shop[f"x{c}"] = (risk[order] * (c % 7) / 7 + draw.normal(size=rows)).astype(np.float32)
    for name, table in (("bank", bank), ("shop", shop)):
        pq.write_table(pa.table(table), folder / f"{name}.parquet")
    return [LocalParty("bank", folder / "bank.parquet", "id", ["own"], label="bad"),
            LocalParty("shop", folder / "shop.parquet", "id", [f"x{c}" for c in range(columns)])]


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of each stage by the clock, and of the nodes' processors."""
    with tempfile.TemporaryDirectory() as folder:
        parties = make_tables(Path(folder), options.rows, options.columns)
        cluster = LocalCluster(Path(folder) / "cluster", parties)
        cluster.make()
        job = {
            "purpose": PURPOSE, "party": [{"id": party.id, "dataset": "table"} for party in parties],
            "label": {"party": "bank", "column": "bad"}, "crypto": {"key_bits": options.key_bits},
            "hold_out": {"fraction": 0.0},
            "binning": {"fine_bins": options.bins},
        }
        with cluster.running():
            stages, cpu = _watch(cluster, cluster.launch_arguments(job))
    return {"rows": options.rows, "columns": options.columns, "bins": options.bins, "key_bits": options.key_bits,
            "engine": engine_name("auto"), "cores": os.cpu_count(),
            "seconds": stages, "processor_seconds": cpu}


def _watch(cluster: LocalCluster, words: list[str]) -> tuple[dict[str, float], dict[str, float]]:
    """Launch, note when the nodes enter each stage, and stop the job after the bins."""
    entered: dict[tuple[str, str], float] = {}
    spent: dict[str, float] = {}
    process = subprocess.Popen([sys.executable, "-m", "coordinator", *words], cwd=ROOT, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = []
    try:
        for line in process.stderr:
            said.append(line)
            found = _BEGINS.match(line)
            if found and (found[1], found[2]) not in entered:
                entered[found[1], found[2]] = time.monotonic()
                spent[found[2]] = _processor_s(cluster)   # the last node's beginning counts
            if all((party.id, STAGES[-1]) in entered for party in cluster.parties):
                break
    finally:
        process.terminate()   # not Ctrl-C: a shell has its background jobs ignore that
        process.communicate()
    if any((party.id, STAGES[-1]) not in entered for party in cluster.parties):
        raise LocalError("the job ended before its bins were counted", "".join(said[-6:]).strip())
    seconds, cpu = {}, {}
    for stage, after in pairwise(STAGES):
        first = min(entered[party.id, stage] for party in cluster.parties)
        seconds[stage] = round(max(entered[party.id, after] for party in cluster.parties) - first, 2)
        cpu[stage] = round(spent[after] - spent[stage], 2)
    return seconds, cpu


def _processor_s(cluster: LocalCluster) -> float:
    """Seconds that the nodes have computed, all cores together."""
    total = 0
    for process in cluster.processes.values():
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS_S


def main() -> int:
    """Exit codes as everywhere."""
    options = arguments()
    try:
        found = run(options)
    except Exception as error:  # the process edge
        return told(error, options.json)
    sys.stdout.write((json.dumps(found) if options.json else "\n".join(f"{k}: {v}" for k, v in found.items())) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
