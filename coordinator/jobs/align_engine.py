"""Which engine aligns a job that leaves it open: the one that is foretold to be done first, from sizes and line.

It knows rounded sizes and a usual processor, no rehearsal: `plan` and `launch` have to choose alike, and the spec that
all sign names one engine. Either can be demanded in job.toml.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from mpc.protocols.align_terms import FEW_IDS
from mpc.sets.okvs import Layout
from wire.line import Line

Engine = Literal["ecdh", "oprf"]

# Seconds of one core (docs/benchmarks.md): an id of one list under one secret; an id of one side with one counterpart.
POINT_S, FUNCTION_S = 8e-6, 0.7e-6
START_S = 0.3            # of oprf with one counterpart: transfers, trees
BYTES_PER_POINT, BYTES_PER_HEAD, BYTES_PER_CODE, BYTES_PER_CHECK = 32, 12, 32, 8
ECDH_WAITS, OPRF_WAITS = 4, 10   # times that a message crosses the line before the next can; ecdh: and once a party


def quicker(leader: str, rows: Mapping[str, int], line: Line | None) -> Engine:
    """For sets of `rows` over `line` (None: one that is never in the way); ecdh where both take as long."""
    if max(rows.values()) < FEW_IDS:
        return "ecdh"
    return "oprf" if oprf_s(leader, rows, line) < ecdh_s(leader, rows, line) else "ecdh"


def ecdh_s(leader: str, rows: Mapping[str, int], line: Line | None) -> float:
    """Seconds: each party multiplies every list; of three or more, a link of the ring carries all lists but one."""
    led, total = rows[leader], sum(rows.values())
    if len(rows) == 2:
        crossing = max(BYTES_PER_POINT * led, BYTES_PER_POINT * (total - led) + BYTES_PER_HEAD * led)
    else:
        crossing = BYTES_PER_POINT * (total - min(rows.values()))
    return _together(POINT_S * total, crossing, ECDH_WAITS + len(rows), line)


def oprf_s(leader: str, rows: Mapping[str, int], line: Line | None) -> float:
    """Seconds: the leader works with each follower; its codes, or the follower's store, fill a link."""
    led = rows[leader]
    others = [count for party, count in rows.items() if party != leader]
    work = START_S * len(others) + FUNCTION_S * sum(led + count for count in others)
    crossing = max(BYTES_PER_CODE * Layout(led).slots, BYTES_PER_CHECK * Layout(max(others)).slots)
    return _together(work, crossing, OPRF_WAITS, line)


def _together(work: float, crossing: float, waits: int, line: Line | None) -> float:
    """Computing and sending run side by side; what waits for the line's length comes on top."""
    if line is None:
        return work
    return max(work, 8 * crossing / line.rate) + waits * line.delay
