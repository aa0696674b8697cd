"""Times ristretto255 in lanes beside libsodium in one run, on one core: hash to group, multiplication, check.

    python scripts/bench/group.py [--json] [--points 16384]
    python scripts/bench/group.py --align 1048576

Points per second of processor time, the median of repeated runs. libsodium takes a part of the points, for its cost is
linear. What both compute is compared before it counts. With --align: processor seconds of an alignment of two parties
by ecdh, half of the ids in common, within this process and without a wire, by step.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mpc.group import ristretto255
from mpc.group.id_column import IdColumn
from mpc.group.ristretto255 import Scalar, expand_message_xmd
from mpc.kernels import sodium
from mpc.kernels.curve import batches as curve
from mpc.link import PartyId
from mpc.protocols import align
from mpc.rng import Rng
from mpc.testing.memory_link import Network, party, run_roles

LABEL = b"scripts/bench/group.py"
REPEATS = 5


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--points", type=int, default=1 << 14, help="points by lanes; libsodium takes a sixteenth of them")
    add("--align", type=int, metavar="IDS", help="ids of each of two parties that align, instead")
    add("--json", action="store_true", help="one JSON object on stdout")
    return parser.parse_args(argv)


def per_second(work: Callable[[], object], count: int) -> float:
    """`count` over the median of the processor seconds."""
    times = []
    for _ in range(REPEATS):
        start = time.thread_time()
        work()
        times.append(time.thread_time() - start)
    return count / statistics.median(times)


def measure(count: int) -> dict[str, Any]:
    """Every operation by both; SystemExit if they differ."""
    few = max(1, count // 16)
    ids = [b"cust%012d" % i for i in range(count)]
    column, scalar = IdColumn.of(ids), Scalar.random(Rng.from_system())._bytes
    start = time.thread_time()
    curve.library()
    compiled_s = time.thread_time() - start
    uniform = curve.expand(column.data, column.offsets, LABEL)
    points = curve.multiply_uniform(uniform, scalar)
    some = points[: 32 * few]
    operations: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "expand_message_xmd": (lambda: curve.expand(column.data, column.offsets, LABEL),
                               lambda: b"".join(expand_message_xmd(one, LABEL, 64) for one in ids[:few])),
        "one-way map and multiply": (lambda: curve.multiply_uniform(uniform, scalar),
                                     lambda: sodium.multiply(sodium.from_uniform(uniform[: 64 * few]), scalar)),
        "multiply": (lambda: curve.multiply(points, scalar), lambda: sodium.multiply(some, scalar)),
        "check": (lambda: curve.are_elements(points), lambda: sodium.are_elements(some)),
    }
    rows = []
    for name, (lanes, one_by_one) in operations.items():
        mine, theirs = lanes(), one_by_one()
        if (mine if isinstance(mine, bool) else mine[: len(theirs)]) != theirs:
            raise SystemExit(f"{name}: a wrong result")
        ours, sodium_s = per_second(lanes, count), per_second(one_by_one, few)
        rows.append({"operation": name, "lanes": round(ours), "libsodium": round(sodium_s),
                     "ratio": round(ours / sodium_s, 2)})
    return {"points": count, "compile_s": round(compiled_s, 2), "rows": rows}


def split(count: int) -> dict[str, float]:
    """Processor seconds by step of an alignment, both parties together."""
    spent, network = dict[str, float](), Network(timeout_s=3600.0)
    names, options = ("bank", "partner"), align.AlignOptions(PartyId("bank"), 1, LABEL)

    async def clocked(step: Callable[..., Any], /, *args: Any) -> Any:
        start = time.thread_time()
        result = step(*args)
        spent[step.__name__] = spent.get(step.__name__, 0.0) + time.thread_time() - start
        return result

    roles = {}
    for i, name in enumerate(names):
        me, other = party(name), names[1 - i]
        me.compute = clocked
        ids = IdColumn.of([b"cust%012d" % k for k in range(i * count // 2, i * count // 2 + count)])
        roles[PartyId(name)] = align.run(me, {PartyId(other): network.link(name, other)}, ids, options)
    ristretto255.warm()
    start = time.process_time()
    rows = asyncio.run(run_roles(roles))
    total = time.process_time() - start
    assert {len(found) for found in rows.values()} == {count - count // 2}
    return {**spent, "everything else": total - sum(spent.values()), "total": total}


def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    options = arguments(argv)
    if options.align:
        steps = {name: round(seconds, 2) for name, seconds in split(options.align).items()}
        print(json.dumps(steps) if options.json else "\n".join(f"{k:20} {v:8.2f} s" for k, v in steps.items()))
        return 0
    if not curve.available():
        raise SystemExit("this processor has no AVX512-IFMA: there is nothing to compare")
    result = measure(options.points)
    if options.json:
        print(json.dumps(result))
        return 0
    print(f"{'points per second of one core':32} {'lanes':>12} {'libsodium':>12} {'ratio':>7}")
    for row in result["rows"]:
        print(f"{row['operation']:32} {row['lanes']:12,} {row['libsodium']:12,} {row['ratio']:7}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
