"""Joint counts of good and bad customers per bin: seconds and bytes of one run, both sides in one process.

python scripts/bench/bin.py --rows 100000 --columns 300 --json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sys
import time
from collections import defaultdict
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mpc.credit.binning import Constraints
from mpc.kernels import cores
from mpc.kernels.engines.selection import engine_name
from mpc.link import PartyId
from mpc.paillier.ciphertexts import SealedVector
from mpc.paillier.keys import generate
from mpc.protocols import bin
from mpc.ring import RingVector
from mpc.rng import Rng
from mpc.testing.memory_link import Network, party, run_roles

BANK, SHOP = PartyId("bank"), PartyId("shop")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--columns", type=int, default=300)
    parser.add_argument("--bins", type=int, default=20, help="fine bins of a column")
    parser.add_argument("--key-bits", type=int, choices=[2048, 3072, 4096], default=2048)
    parser.add_argument("--engine", choices=["auto", "gmp", "avx2", "ifma"], default="auto")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    return parser.parse_args()


def size_of(message: object) -> int:
    """Bytes of a message's vectors."""
    total = 0
    for field in fields(message):  # type: ignore[arg-type]
        value = getattr(message, field.name)
        if isinstance(value, RingVector):
            total += len(value) * ((value.bits + 7) // 8)
        else:
            total += len(value.data if isinstance(value, SealedVector) else value)
    return total


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """One run, compared with the counts of the pooled table."""
    draw = np.random.default_rng(7)
    risk = draw.normal(size=options.rows)
    labels = risk + draw.logistic(size=options.rows) > 1.2
    edges = np.linspace(0, 1, options.bins + 1)[1:-1]
    columns = []
    for c in range(options.columns):
        values = risk * (c % 7) / 7 + draw.normal(size=options.rows)
        codes = np.searchsorted(np.quantile(values, edges), values).astype(np.uint8)
        columns.append(bin.Column(codes, options.bins, options.bins))
    agreed = bin.BinOptions(BANK, options.rows, {SHOP: options.columns}, options.bins + 1, Constraints(), 0.02,
                            options.key_bits, options.engine)
    key = generate(Rng.from_system(), options.key_bits, options.engine)
    network, people = Network(), {name: party(name) for name in (BANK, SHOP)}
    for person in people.values():
        person.threads = True
    wall, cpu = time.perf_counter(), time.process_time()
    results = await run_roles({
        BANK: bin.run_label_holder(people[BANK], {SHOP: network.link(BANK, SHOP)}, labels, agreed, key),
        SHOP: bin.run_feature_holder(people[SHOP], network.link(SHOP, BANK), columns, agreed),
    })
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    sent: dict[str, int] = defaultdict(int)
    for message in network.transcript:
        sent[message.sender] += size_of(message.message)
    return {
        "rows": options.rows, "columns": options.columns, "bins": options.bins, "key_bits": options.key_bits,
        "engine": engine_name(options.engine), "threads": options.threads,
        "seconds": round(wall, 2), "processor_seconds": round(cpu, 2), "bytes": dict(sent),
        "equal_to_pooled": results[SHOP] == bin.ideal(labels, {SHOP: columns}, agreed)[SHOP],
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main() -> int:
    """0 if the counts equal the pooled ones, else 1."""
    options = arguments()
    cores.use(options.threads)
    found = asyncio.run(run(options))
    sys.stdout.write((json.dumps(found) if options.json else "\n".join(f"{k}: {v}" for k, v in found.items())) + "\n")
    return 0 if found["equal_to_pooled"] else 1


if __name__ == "__main__":
    sys.exit(main())
