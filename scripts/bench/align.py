"""Alignment between real daemons on this machine: wall seconds from launch until every party holds the row order.

    python scripts/bench/align.py --ids 1048576 --parties 2 --engine oprf --json [--split]

Half of the ids are common to all (or --common). The job is stopped once it has left the alignment. --split tells where
the processor time goes: the steps of every party once more in one process, over links in memory, timed thread by
thread; what the node's process took beyond them is called `wire` (gRPC, TLS, transcripts, event loop, audit).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import secrets
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from coordinator.config import CoordinatorDirectory
from coordinator.jobs import driver
from coordinator.jobs.align_engine import quicker
from coordinator.jobs.driver import JobEvent
from coordinator.jobs.node_client import connect
from coordinator.jobs.plan import load_plan
from coordinator.jobs.store import Store
from joint_risk.local_consortium import COORDINATOR, PURPOSE, LocalCluster, LocalParty, toml
from mpc.link import PartyId
from mpc.protocol import Ledger
from mpc.protocols import align
from mpc.rng import Rng
from mpc.sets import oprf
from mpc.testing.memory_link import AnyLedger, Network
from party_node.config import PartyDirectory
from party_node.data.ids.accounting import DuplicatePolicy, IdRules, read_ids
from party_node.jobs.runtime import NodeParty
from party_node.jobs.workers import Workers
from wire.awaited import each, first_of, together

NAMES = ("bank", *(f"partner-{letter}" for letter in "bcdefgh"))
WARM_S = 120.0
T = TypeVar("T")


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--ids", type=int, default=1 << 20, help="ids of each party")
    add("--leader-ids", type=int, default=None, help="ids of the label holder, where they differ")
    add("--common", type=int, default=None, help="ids in common (default: half of the smallest set)")
    add("--parties", type=int, default=2, choices=range(2, len(NAMES) + 1))
    add("--engine", choices=["auto", "ecdh", "oprf"], default="auto")
    add("--split", action="store_true", help="split the processor time of each party by steps")
    add("--repeats", type=int, default=1, help="jobs, each with fresh nodes; the fastest is printed")
    add("--json", action="store_true", help="one JSON object on stdout")
    return parser.parse_args(argv)


def write_tables(folder: Path, sizes: list[int], common: int) -> list[Path]:
    """A Parquet file each: an id of 16 signs, a feature and, at the first party, an outcome; rows shuffled."""
    paths = []
    for party, size in enumerate(sizes):
        draw = np.random.default_rng(party)
        own = (party + 1) * 10**10 + np.arange(size - common)
        numbers = draw.permutation(np.concatenate([np.arange(common), own]))
        text = pc.utf8_lpad(pa.array(numbers).cast(pa.string()), 12, "0")
        ids = pc.binary_join_element_wise("cust", text, "")
        columns = {"id": ids, f"x{party}": draw.normal(size=size)}
        if party == 0:
            columns["y"] = draw.integers(0, 2, size)
        paths.append(folder / f"{NAMES[party]}.parquet")
        pq.write_table(pa.table(columns), paths[-1])
    return paths


async def align_once(cluster: LocalCluster, job: dict[str, Any]) -> float:
    """Launch, wait until all parties have left the alignment, stop the job: seconds."""
    directory = CoordinatorDirectory(cluster.directory(COORDINATOR))
    file = cluster.home / "job.toml"
    file.write_text(toml(job))
    _, consortium, identity = directory.load()
    nodes, store = connect(consortium, identity), Store(directory.state_db)
    aligned, everybody = set(), asyncio.Event()
    names = {party["id"] for party in job["party"]}

    def on_event(event: JobEvent) -> None:
        if event.stage == "split":
            aligned.add(event.party)
        if aligned == names:
            everybody.set()

    try:
        await driver.survey(nodes)   # connections stand, as they do at a coordinator that has planned the job
        began = time.perf_counter()
        spec, _ = await driver.prepare(load_plan(file), nodes)

        async def waited() -> float:
            await everybody.wait()
            return time.perf_counter() - began

        launched = driver.launch(spec, nodes, store, on_event, lambda line: None, 60.0)
        seconds: float = (await first_of(waited(), launched)).result()   # where it is the launch, raises why
        return seconds
    finally:
        store.close()
        await each(*(node.close() for node in nodes.values()))


def bytes_sent(cluster: LocalCluster) -> int:
    """Of the alignment stage of all jobs, by all parties: envelopes as they left, from the audit logs."""
    total = 0
    for party in cluster.parties:
        for line in PartyDirectory(cluster.directory(party.id)).audit_log.read_text().splitlines():
            fields = json.loads(line).get("fields", {})
            if (fields.get("stage"), fields.get("direction")) == ("align", "sent"):
                total += int(fields["size_bytes"])
    return total


def common_of(cluster: LocalCluster, party: str) -> int:
    """How many customers the last alignment found, from the node's own store."""
    with contextlib.closing(sqlite3.connect(cluster.directory(party) / "state.db")) as store:
        return int(store.execute("SELECT count FROM alignments ORDER BY rowid DESC LIMIT 1").fetchone()[0])


def peak_mib(cluster: LocalCluster, party: str) -> int:
    """The largest resident size of a node's process so far."""
    status = Path(f"/proc/{cluster.processes[party].pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) >> 10


def cpu_s(cluster: LocalCluster, party: str) -> float:
    """Processor seconds of a node's process so far, all threads."""
    fields = Path(f"/proc/{cluster.processes[party].pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def wait_until_idle(cluster: LocalCluster) -> None:
    """Nodes compile their loops behind the listening port: a node that has been up for a while is what is measured."""
    deadline = time.monotonic() + WARM_S
    while time.monotonic() < deadline:
        before = sum(cpu_s(cluster, party.id) for party in cluster.parties)
        time.sleep(1.0)
        if sum(cpu_s(cluster, party.id) for party in cluster.parties) - before < 0.1:
            return


class TimedParty(NodeParty):
    """A party that notes the processor time of each step by its name."""

    def __init__(self, party: str, pool: Workers) -> None:
        super().__init__(party, Rng.from_system(), Ledger(AnyLedger()), pool, lambda what, done, total: None)
        self.spent = Counter[str]()

    async def compute(self, step: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        return await super().compute(self._timed, step, *args, **kwargs)

    def _timed(self, step: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        began = time.thread_time()
        try:
            return step(*args, **kwargs)
        finally:
            self.spent[getattr(step, "__qualname__", "?").split(".")[-1].strip("_")] += time.thread_time() - began


async def steps_of(tables: list[Path], engine: Literal["ecdh", "oprf"]) -> dict[str, Counter[str]]:
    """Processor seconds of each party's steps, read from its table to the row order."""
    pool, network = Workers(os.cpu_count() or 1), Network(timeout_s=3600.0)
    people = {PartyId(name): TimedParty(name, pool) for name in NAMES[:len(tables)]}
    options = align.AlignOptions(PartyId(NAMES[0]), 100, secrets.token_bytes(32), engine)

    async def one(me: TimedParty, table: Path) -> None:
        own = await me.compute(read_ids, table, ["id"], IdRules(), DuplicatePolicy.REFUSE)
        await align.run(me, {peer: network.link(me.id, peer) for peer in people if peer != me.id}, own.ids, options)

    oprf.warm()
    await together(*(one(me, table) for me, table in zip(people.values(), tables, strict=True)))
    return {name: me.spent for name, me in people.items()}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Make the cluster, run the jobs, take it down."""
    sizes = [options.leader_ids or options.ids, *([options.ids] * (options.parties - 1))]
    engine = options.engine
    if engine == "auto":
        engine = quicker(NAMES[0], dict(zip(NAMES, sizes, strict=False)), None)
    common = min(sizes) // 2 if options.common is None else options.common
    with tempfile.TemporaryDirectory() as folder:
        tables = write_tables(Path(folder), sizes, common)
        parties = [
            LocalParty(name, table, "id", [f"x{i}"], label="y" if i == 0 else None)
            for i, (name, table) in enumerate(zip(NAMES, tables, strict=False))
        ]
        cluster = LocalCluster(Path(folder) / "cluster", parties)
        cluster.make()
        job = {
            "purpose": PURPOSE, "minimum_intersection": 100,
            "party": [{"id": p.id, "dataset": "table", "columns": p.columns} for p in parties],
            "label": {"party": NAMES[0], "column": "y", "positive": "1"},
            "crypto": {"key_bits": 2048}, "align": {"engine": engine},
        }
        runs, found, peak = [], dict[str, int](), dict[str, int]()
        for _ in range(options.repeats):
            cluster.start()
            wait_until_idle(cluster)
            before = {p.id: cpu_s(cluster, p.id) for p in parties}
            seconds = asyncio.run(align_once(cluster, job))
            runs.append((seconds, {p.id: round(cpu_s(cluster, p.id) - before[p.id], 2) for p in parties}))
            found = {p.id: common_of(cluster, p.id) for p in parties}
            peak = {p.id: peak_mib(cluster, p.id) for p in parties}
            for party in parties:
                cluster.kill(party.id)   # the next stage computes on, and would be measured with the next run
        assert set(found.values()) == {common}, f"wrong number in common: {found}, not {common}"
        sent = bytes_sent(cluster) / options.repeats
        steps = asyncio.run(steps_of(tables, engine)) if options.split else {}
    seconds, cpu = min(runs)
    split = {
        name: {step: round(spent, 3) for step, spent in found.most_common() if spent >= 0.005}
        | {"wire": round(cpu[name] - found.total(), 3)}
        for name, found in steps.items()
    }
    return {
        "engine": engine, "parties": options.parties, "ids": sizes, "common": common,
        "seconds": round(seconds, 3), "all_seconds": [round(s, 3) for s, _ in runs], "cpu_s": cpu,
        "bytes_per_id": round(sent / max(sizes), 1), "peak_rss": peak, **({"split_s": split} if split else {}),
    }


def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    options = arguments(argv)
    result = measure(options)
    if options.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:14} {value}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
