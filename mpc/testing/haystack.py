"""Looking for thousands of known byte strings in megabytes at once: a filter on the first eight bytes, then a check."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

FILTER_BITS = 22
_FACTOR = np.uint64(0x9E3779B97F4A7C15)   # Fibonacci hashing, Knuth, TAOCP 3, section 6.4
_SHIFT = np.uint64(64 - FILTER_BITS)


class Haystack:
    """Needles, prepared once: name -> form of eight bytes or more."""

    def __init__(self, needles: Mapping[str, bytes]) -> None:
        if any(len(form) < 8 for form in needles.values()):
            raise ValueError("a form of less than eight bytes turns up by chance")
        self._by_start: dict[int, list[tuple[str, bytes]]] = defaultdict(list)
        for name, form in needles.items():
            self._by_start[int.from_bytes(form[:8], "little")].append((name, form))
        starts = np.array(list(self._by_start), dtype=np.uint64)
        self._filter = np.zeros(1 << FILTER_BITS, dtype=np.bool_)
        self._filter[(starts * _FACTOR) >> _SHIFT] = True

    def found(self, data: bytes) -> list[str]:
        """Names of the needles that occur in `data`, each once, sorted."""
        names: set[str] = set()
        for offset in range(min(8, len(data) - 7)):
            words = np.frombuffer(data, "<u8", count=(len(data) - offset) // 8, offset=offset)
            for index in np.flatnonzero(self._filter[(words * _FACTOR) >> _SHIFT]):
                place = offset + 8 * int(index)
                for name, form in self._by_start.get(int(words[index]), ()):
                    if data.startswith(form, place):
                        names.add(name)
        return sorted(names)
