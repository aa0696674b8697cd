"""What identifiers look like, as coarse shares: enough to see that two parties use different formats, no more.

Parties compare shapes before a job, so that ids that can never meet are found before any cryptography. A shape
tells lengths and kinds of characters of the whole column in steps of 5 %, never an id.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from party_node.data.ids.normalisation import flags

# Upper ends of the length buckets: phones (11, 13, 15), national ids (18), digests in hex (32, 40, 64).
LENGTH_ENDS = (4, 8, 10, 11, 13, 15, 17, 18, 31, 32, 39, 40, 63, 64)
STEPS = 20
_LENGTHS = [f"length_{low + 1}_{high}" for low, high in zip((0, *LENGTH_ENDS), (*LENGTH_ENDS, 0), strict=True)]
_KINDS = {
    # A hexadecimal digest has a letter; plain numbers are told apart by `digits_only`.
    "hexadecimal": r"^[0-9a-f]*[a-f][0-9a-f]*$",
    "leading_zero": r"^0",
    "with_at": "@",
    "with_sign": r"[-_./ ]",
}
_SHORTEST_DIGEST = 32


class ShapeCounter:
    """Counts the texts of one column of normalised ids, batch by batch; "" counts for nothing."""

    def __init__(self) -> None:
        self._total = 0
        self._counts = dict.fromkeys(("digits_only", *_KINDS, *_LENGTHS), 0)

    def add(self, texts: pa.StringArray) -> None:
        """The next rows."""
        lengths = pc.utf8_length(texts).to_numpy()
        present = lengths > 0
        digits = flags(pc.ascii_is_decimal(texts)) & present
        found = {name: flags(pc.match_substring_regex(texts, form)) for name, form in _KINDS.items()}
        found["hexadecimal"] &= lengths >= _SHORTEST_DIGEST
        self._total += int(present.sum())
        for name, marks in {"digits_only": digits, **found}.items():
            self._counts[name] += int(np.sum(marks & present))
        buckets = np.searchsorted(LENGTH_ENDS, lengths[present])
        for name, count in zip(_LENGTHS, np.bincount(buckets, minlength=len(_LENGTHS)), strict=True):
            self._counts[name] += int(count)

    def shape(self) -> dict[str, float]:
        """Shares of the non-blank ids, by kind of characters and by `length_LOW_HIGH` (HIGH 0: no end).

        Each is a multiple of 1/20; what exists has at least 1/20. An empty or blank column has all shares 0.
        `wire.description` compares two shapes.
        """
        return {name: self._share(count) for name, count in self._counts.items()}

    def _share(self, count: int) -> float:
        return max(1, round(STEPS * count / self._total)) / STEPS if count else 0.0
