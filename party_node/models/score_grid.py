"""How a part of a score leaves its owner: as whole steps of the agreed grid, up or down by a dither that is kept.

A part x goes out as floor(x / step + u) steps, u in [0, 1): right in the mean over u, and never a step away from x.
(Non-subtractive dither: Gray, Stockham, Dithered quantizers, IEEE Trans. Inf. Theory 39 (1993), section II.) u is a
function of the node's secret, the dataset's name and the customer's cell, that is of all that its part is made of
(party_node.models.score_cells), and of nothing else. Were it fresh in each job, or of the id, jobs or customers of one
cell could be averaged until the part is bare.
"""

from __future__ import annotations

import hmac

import numpy as np

from mpc.ring import I64
from party_node.data.sources.table import F64
from party_node.models.score_cells import Cells

SCALE = 2.0**32   # fixed point of a part of a score; the sum of 16 parties stays exact to 2^-28


def step_of(grid: float) -> int:
    """The grid, in units of 1 / SCALE, at least 1."""
    return max(1, round(grid * SCALE))


def dither(key: bytes, cells: Cells) -> F64:
    """u in [0, 1) of each row of `cells`, by 53 bits of a pseudo-random function: HMAC with SHA-256 (RFC 2104; Bellare,
    New proofs for NMAC and HMAC, CRYPTO 2006) under `key`, which belongs to one dataset and one choice of columns."""
    words = b"".join(hmac.digest(key, cell.tobytes(), "sha256")[:8] for cell in np.ascontiguousarray(cells, "<i2"))
    return (np.frombuffer(words, "<u8") >> np.uint64(11)).astype(np.float64) * 2.0**-53


def on_grid(parts: F64, u: F64, step: int) -> I64:
    """The parts (log-odds) as multiples of `step`, in units of 1 / SCALE."""
    return np.floor(parts * (SCALE / step) + u).astype(np.int64) * step
