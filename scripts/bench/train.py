"""The whole job between real daemons, over a line of given speed: seconds and bytes per phase, memory, processor time,
accuracy.

python scripts/bench/train.py --rows 20000 --features 13,10 --link 20mbps/20ms --key-bits 2048 --json
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from joint_risk.local_consortium import PURPOSE, LocalCluster, LocalParty
from joint_risk.pooled_reference import compare
from scripts.bench.shaped_link import Line, ShapedLinks
from scripts.run_local_cluster import iterations, one_digit
from wire.spec.label import LabelSpec

NAMES = ("bank", "partner-b", "partner-c", "partner-d", "partner-e")


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--rows", type=int, default=20_000, help="customers, common to all")
    add("--features", default="13,10", help="features of each party, the label holder first")
    add("--rate", type=float, default=0.2, help="share of defaults")
    add("--correlation", type=float, default=0.5, help="between features of different parties, 0..1")
    add("--link", default="", help="such as 20mbps/20ms, each way (default: loopback as it is)")
    add("--key-bits", type=int, choices=[2048, 3072, 4096], default=2048)
    add("--iterations", type=iterations, default="auto", help="a number; auto: as many as the default rate asks for")
    add("--lambda", dest="penalty", type=float, default=1e-3)
    add("--noise", type=float, default=1.0, help="of the secret terms in the objective, times the default; 0: none")
    add("--sigmoid", choices=["auto", "six", "eight", "twelve"], default="auto")
    add("--test-fraction", type=float, default=0.3)
    add("--precompute", action="store_true", help="in two jobs: all that can run ahead of the round, then the round")
    add("--json", action="store_true", help="one JSON object on stdout")
    return parser.parse_args(argv)


def write_tables(folder: Path, options: argparse.Namespace) -> list[LocalParty]:
    """A Parquet file per party: an id, correlated features and, at the first party, the outcome."""
    widths = [int(width) for width in options.features.split(",")]
    draw = np.random.default_rng(1)
    common = draw.normal(size=(options.rows, 3))
    share, parties, score = options.correlation, [], np.zeros(options.rows)
    blocks = []
    for width in widths:
        own = draw.normal(size=(options.rows, width))
        loads = draw.normal(size=(3, width))
        loads /= np.sqrt((loads**2).sum(axis=0))
        blocks.append(np.sqrt(share) * common @ loads + np.sqrt(1 - share) * own)
        score += blocks[-1] @ draw.normal(scale=1 / np.sqrt(sum(widths)), size=width)
    cut = np.quantile(score + draw.logistic(size=options.rows), 1 - options.rate)
    outcome = (score + np.random.default_rng(2).logistic(size=options.rows) > cut).astype(np.int64)
    for name, block in zip(NAMES, blocks, strict=False):
        order = draw.permutation(options.rows)
        columns: dict[str, Any] = {"id": [f"cust{k:010d}" for k in order]}
        columns |= {f"x{k}": block[order, k] for k in range(block.shape[1])}
        if name == NAMES[0]:
            columns["y"] = outcome[order]
        path = folder / f"{name}.parquet"
        pq.write_table(pa.table(columns), path)
        parties.append(LocalParty(
            id=name, table=path, id_column="id", columns=[f"x{k}" for k in range(block.shape[1])],
            label="y" if name == NAMES[0] else None,
        ))
    return parties


def shape(cluster: LocalCluster, links: ShapedLinks) -> None:
    """Each node dials its later peers through a line of its own."""
    names = sorted(party.id for party in cluster.parties)
    for k, dialler in enumerate(names):
        file = cluster.directory(dialler) / "consortium.toml"
        text = file.read_text()
        for peer in names[k + 1 :]:
            entry = (cluster.directory(peer) / "entry.toml").read_text()
            address = entry.split('address = "', 1)[1].split('"', 1)[0]
            text = text.replace(f'address = "{address}"', f'address = "{links.open(address)}"')
        file.write_text(text)


class Usage:
    """The largest resident size and the processor seconds of each node, read from /proc while the job runs."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._cluster, self._over = cluster, threading.Event()
        self.peak: dict[str, int] = {}
        self.processor_s: dict[str, float] = {}
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Usage:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.5):
            for name, process in list(self._cluster.processes.items()):
                try:
                    status = Path(f"/proc/{process.pid}/status").read_text()
                    spent = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
                except OSError:
                    continue
                if "VmHWM:" in status:
                    self.peak[name] = int(status.split("VmHWM:")[1].split()[0]) * 1024
                    self.processor_s[name] = sum(map(int, spent)) / os.sysconf("SC_CLK_TCK")


def run(options: argparse.Namespace, home: Path) -> dict[str, Any]:
    """Tables, cluster, job, comparison; the object that is printed."""
    parties = write_tables(home, options)
    cluster = LocalCluster(home / "cluster", parties)
    cluster.make()
    links = None
    if options.link:
        links = ShapedLinks(Line.parse(options.link))
        shape(cluster, links)
    job = {
        "purpose": PURPOSE,
        "party": [{"id": party.id, "dataset": "table"} for party in parties],
        "label": {"party": NAMES[0], "column": "y", "positive": "1"},
        "training": {"penalty": options.penalty, "iterations": options.iterations, "sigmoid": options.sigmoid,
                     "noise": options.noise, "expected_default_rate": one_digit(options.rate)},
        "crypto": {"key_bits": options.key_bits},
        "hold_out": {"fraction": options.test_fraction},
    }
    with cluster.running(), Usage(cluster) as usage:
        early = time.monotonic()
        first = cluster.precompute(job, show=True) if options.precompute else None
        began = time.monotonic()
        record = cluster.launch(job, show=True, prepared=first["job_id"] if first else "")
        total = time.monotonic() - began
    if links is not None:
        links.close()
    pooled = compare(cluster.home, parties, record["job_id"], record["parameters"]["lambda"], LabelSpec(column="y"))
    rounds = record["train_rows"] * record["parameters"]["iterations"]
    sizes = {stage: sum(ends.values()) for stage, ends in record["bytes"].items()}
    return {
        "rows": options.rows,
        "train_rows": record["train_rows"],
        "features": options.features,
        "link": options.link or "loopback",
        "seconds": record["seconds"] | {"total": round(total, 2)},
        "bytes": sizes | {
            "per_row_and_iteration": round(sizes["train"] / rounds, 1),
            "links": record["bytes"]["train"],
        },
        "peak_rss": usage.peak,
        "processor_s": usage.processor_s,
        "auc": pooled.auc,
        "max_abs_error": pooled.coefficients["max_abs_error"],
        "engines": record["engines"],
        **({} if first is None else {"ahead": {
            "seconds": first["seconds"] | {"total": round(began - early, 2)},
            "bytes": {stage: sum(ends.values()) for stage, ends in first["bytes"].items()},
        }}),
    }


def main() -> int:
    """Print the object."""
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="bench-train-") as home:
        result = run(options, Path(home))
    sys.stdout.write(json.dumps(result, indent=None if options.json else 1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
