"""A line between two institutions: how fast, how far. Written as `20mbps/20ms`."""

from __future__ import annotations

import re
from dataclasses import dataclass

UNITS = {"kbps": 1e3, "mbps": 1e6, "gbps": 1e9}


@dataclass(frozen=True)
class Line:
    """Rate (bits per second, each direction) and one-way delay (seconds)."""

    rate: float
    delay: float

    @classmethod
    def parse(cls, text: str) -> Line:
        """`20mbps/20ms`; ValueError otherwise."""
        found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(kbps|mbps|gbps)/([0-9]+(?:\.[0-9]+)?)ms", text.lower())
        if found is None or float(found[1]) == 0:
            raise ValueError(f"{text!r} is not a line such as 20mbps/20ms")
        return cls(float(found[1]) * UNITS[found[2]], float(found[3]) / 1000)
