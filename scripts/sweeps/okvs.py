"""How often the tables of the oprf engine cannot be solved: a bound for small parts, and a measurement of the rest.

    python scripts/sweeps/okvs.py [--trials 200] [--seed 1] [--json]

bound: keys that peeling leaves over form a part in which every slot is touched twice or not at all. The expected
number of such parts of s keys among n, with M slots in each of three segments, is at most

    C(n, s) ( s! [x^s] (e^x - x)^M / M^s )^3        and   [x^s] f(x) <= f(x) / x^s   for every x > 0,

for in each segment s keys fall on slots that are hit never or at least twice. `left_over` is the sum over all s that
are refused, `dependent` that over the others, times 2^-(64 - s) for dependent masks; both as logarithms to base 2.
For more than some hundred keys the first moment of large parts says nothing: there

measure: keys are added to a table of the size for n keys until peeling leaves more than are refused. How many that
takes is compared with n, in standard deviations over the trials.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from math import exp, lgamma, log, log2
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mpc.kernels import set_intersection
from mpc.ring import U64
from mpc.rng import Rng
from mpc.sets.okvs import BIN_KEYS, DENSE, MOST_LEFT_OVER, Keys, Layout

BOUNDED = (2, 10, 30, 60, 100, 150, 200, 250, 300, 400, 600, 800)
MEASURED = (16, 64, 256, 1024, 4096, BIN_KEYS)
STEPS = 50   # of the search for the best x


def expected_parts(keys: int, size: int, slots: int) -> float:
    """log2 of a bound on the expected number of unpeelable parts of `size` among `keys`, `slots` in each segment."""
    def exponent(log_x: float) -> float:
        x = exp(log_x)
        grown = x + log(1 - x * exp(-x))             # log(e^x - x), without loss
        return slots * grown - size * log_x

    low, high = -14.0, 4.0                           # convex in log x: thirds
    for _ in range(STEPS):
        third = (high - low) / 3
        if exponent(low + third) < exponent(high - third):
            high -= third
        else:
            low += third
    choices = lgamma(keys + 1) - lgamma(size + 1) - lgamma(keys - size + 1)
    in_segment = lgamma(size + 1) - size * log(slots) + exponent((low + high) / 2)
    return (choices + 3 * in_segment) / log(2)


def bound(keys: int, refused: int = MOST_LEFT_OVER) -> dict[str, float]:
    """Of a table of one bin for `keys` keys, where more than `refused` left over are refused."""
    slots, left_over, dependent = Layout(keys).segment, 0.0, 0.0
    for size in range(2, keys + 1):
        chance = 2.0 ** min(0.0, expected_parts(keys, size, slots))
        if size > refused:
            left_over += chance
        else:
            dependent += chance * 2.0 ** (size - DENSE)
    return {"left_over": log2(left_over or 2**-200), "dependent": log2(dependent or 2**-200)}


def stops_at(layout: Layout, words: U64) -> int:
    """The least number of the first `words` of which peeling leaves more than may be left over."""
    places = Keys.locate(words, layout).places
    low, high = 0, len(words)
    while low + 1 < high:
        middle = (low + high) // 2
        order = np.empty(middle, np.uint32)
        taken = set_intersection.peel(places[:middle], layout.bin_slots, order, order.copy())
        low, high = (low, middle) if middle - taken > MOST_LEFT_OVER else (middle, high)
    return high


def measure(keys: int, trials: int, rng: Rng) -> dict[str, float]:
    """Where tables for `keys` keys stop peeling."""
    layout = Layout(keys)
    found = [stops_at(layout, rng.ring(4 * 3 * layout.segment).reshape(-1, 4)) for _ in range(trials)]
    mean, deviation = float(np.mean(found)), float(np.std(found, ddof=1))
    return {"mean": round(mean, 1), "least": min(found), "deviations": round((mean - keys) / deviation, 1)}


def rows(trials: int, seed: int) -> Iterator[dict[str, Any]]:
    """One row of results after the other."""
    for keys in BOUNDED:
        yield {"keys": keys, **{name: round(value, 1) for name, value in bound(keys).items()}}
    rng = Rng(seed.to_bytes(32, "big"))
    for keys in MEASURED:
        yield {"keys": keys, **measure(keys, trials, rng.child(str(keys)))}


def main(argv: list[str] | None = None) -> int:
    """Print as it goes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=200, help="tables of each size that are filled")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON object in each line")
    options = parser.parse_args(argv)
    for row in rows(options.trials, options.seed):
        print(json.dumps(row) if options.json else "  ".join(f"{name} {value}" for name, value in row.items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
