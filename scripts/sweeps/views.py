"""Can a leader of three parties tell with whom it shares customers? A classifier over its views of many small runs.

    make sweep-views
    python scripts/sweeps/views.py [--runs 5000] [--control-runs 300] [--json]

One class: of 50 customers of the leader, 10 are common to all and none else is shared. The other: 20 more are shared
with one follower alone. All runs are of the engine oprf, whole but for the transfers under its trees, which depend on
no input; the views and what is looked at in them are those of tests/protocols/test_align_oprf_attacks.py. A forest is
trained on each half of the runs and judged on the other; of the two areas under the curve the mean is taken, whose
standard deviation, were there nothing to find, is told beside it. All seeds are fixed. Exit status 1 unless that area
is .5 +- .02, and that of the control, whose shares of zero lack 8 of their 64 bits, at least .95.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from mpc.group import ristretto255
from mpc.sharing.zero_sharing import ZeroSharing
from tests.protocols.test_align_oprf_attacks import area, views

SHARED_WITH_ONE = (0, 20)
MOST_OFF, CONTROL_AT_LEAST = 0.02, 0.95
F64 = NDArray[np.float64]


def narrow(self: ZeroSharing, label: str, points: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The control's fault: shares of zero that are never large."""
    return WHOLE(self, label, points) >> np.uint64(8)


WHOLE = ZeroSharing.function


def classes(runs: int, **faults: Any) -> list[F64]:
    """What the leader sees in `runs` runs of either class: (runs, features) each."""
    with pytest.MonkeyPatch.context() as patch:
        return [asyncio.run(views(overlap, runs, patch, **faults)) for overlap in SHARED_WITH_ONE]


def both_ways(none: F64, some: F64) -> float:
    """The mean area under the curve of a forest judged on the half that it was not trained on."""
    return (area(none, some) + area(none[::-1], some[::-1])) / 2


def main(argv: list[str] | None = None) -> int:
    """Play, judge, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=5000, help="of each class")
    parser.add_argument("--control-runs", type=int, default=300, help="of each class, with the fault")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args(argv)
    ristretto255.warm()
    control = both_ways(*classes(options.control_runs, function=narrow))
    found = both_ways(*classes(options.runs))
    result = {
        "runs_per_class": options.runs, "area": round(found, 4),
        "standard_deviation": round(sqrt((2 * options.runs + 1) / (12 * options.runs**2)), 4),   # of Mann-Whitney's U
        "control_runs_per_class": options.control_runs, "control_area": round(control, 4),
    }
    print(json.dumps(result) if options.json else "\n".join(f"{name:24} {value}" for name, value in result.items()))
    return 0 if abs(found - 0.5) <= MOST_OFF and control >= CONTROL_AT_LEAST else 1


if __name__ == "__main__":
    raise SystemExit(main())
