"""What identifiers look like, as coarse shares: enough to see that two parties use different formats, no more.

Parties compare shapes before a job, so that ids that can never meet are found before any cryptography. A shape
tells lengths and kinds of characters of the whole column in steps of 5 %, never an id.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from party_node.data.ids import IdProfile, normalise

# Upper ends of the length buckets: phones (11, 13, 15), national ids (18), digests in hex (32, 40, 64).
LENGTH_ENDS = (4, 8, 10, 11, 13, 15, 17, 18, 31, 32, 39, 40, 63, 64)
STEPS = 20


def id_shape(cells: pa.ChunkedArray, profile: IdProfile) -> dict[str, float]:
    """Shares of the non-blank ids after normalisation, by kind of characters and by `length_LOW_HIGH` (HIGH 0: no end).

    Each is a multiple of 1/20; what exists has at least 1/20. An empty or blank column has all shares 0.
    `wire.description` compares two shapes.
    """
    normal = normalise(cells, profile).drop_null()
    total = len(normal)
    length = pc.utf8_length(normal)
    digits = pc.match_substring_regex(normal, r"^[0-9]+$")
    # A hexadecimal digest has a letter; plain numbers are told apart by `digits_only`.
    hexadecimal = pc.and_(pc.match_substring_regex(normal, r"^[0-9a-f]{32,}$"), pc.invert(digits))
    shape = {
        "digits_only": _share(digits, total),
        "with_at": _share(pc.match_substring(normal, "@"), total),
        "hexadecimal": _share(hexadecimal, total),
    }
    low = 1
    for end in (*LENGTH_ENDS, 0):
        inside = pc.greater_equal(length, low)
        if end:
            inside = pc.and_(inside, pc.less_equal(length, end))
        shape[f"length_{low}_{end}"] = _share(inside, total)
        low = end + 1
    return shape


def _share(flags: pa.ChunkedArray, total: int) -> float:
    count = pc.sum(flags).as_py() or 0
    if count == 0:
        return 0.0
    return max(1, round(STEPS * count / total)) / STEPS
