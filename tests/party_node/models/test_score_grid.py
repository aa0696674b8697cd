"""Parts of scores on the grid: never a step away, right in the mean over secrets, the same for the same cell."""

from __future__ import annotations

import numpy as np
import pytest

from party_node.models.score_grid import SCALE, dither, on_grid, step_of
from wire.spec.scores import ONE_POINT

CELLS = np.random.default_rng(1).integers(0, 5, (4000, 6)).astype(np.int16)
PARTS = np.random.default_rng(2).normal(size=4000)
STEP = step_of(ONE_POINT)


def test_a_part_goes_out_as_whole_steps_and_never_a_step_away() -> None:
    sent = on_grid(PARTS, dither(bytes(32), CELLS), STEP)
    assert not (sent % STEP).any()
    assert np.abs(sent / SCALE - PARTS).max() < STEP / SCALE
    assert step_of(ONE_POINT) / SCALE == pytest.approx(ONE_POINT, abs=1e-9)
    assert step_of(1e-12) == 1


def test_rounding_is_right_in_the_mean_over_secrets() -> None:
    keys = [bytes([k]) * 32 for k in range(200)]
    sent = np.array([on_grid(PARTS, dither(key, CELLS), STEP) for key in keys]) / SCALE
    spread = ONE_POINT / 2 / np.sqrt(len(keys))
    assert np.abs(sent.mean(axis=0) - PARTS).max() < 6 * spread
    plain = on_grid(PARTS, np.full(len(PARTS), 0.5), STEP) / SCALE         # what rounding to the nearest would do
    assert np.abs(plain - PARTS).max() > 6 * spread


def test_the_dither_is_uniform_and_belongs_to_the_cell_and_the_key() -> None:
    u = dither(bytes(32), CELLS)
    assert 0 <= u.min() < 0.01 < 0.99 < u.max() < 1
    assert np.array_equal(u[::-1], dither(bytes(32), CELLS[::-1]))          # of the cell, not the place
    assert np.array_equal(u[:7], dither(bytes(32), CELLS[:7].astype(np.int64).astype(np.int16)))
    _, first, names = np.unique(CELLS, axis=0, return_index=True, return_inverse=True)
    assert np.array_equal(u, u[first][names.ravel()])
    assert len(np.unique(u)) == len(first)
    assert not np.isin(dither(b"\1" * 32, CELLS), u).any()
    grid = np.array(np.meshgrid(*[np.arange(10)] * 4)).reshape(4, -1).T.astype(np.int16)
    counts = np.bincount((dither(bytes(32), grid) * 20).astype(int), minlength=20)
    assert ((counts - 500.0) ** 2 / 500).sum() < 19 + 6 * np.sqrt(38)       # 19 degrees of freedom


def test_known_answers() -> None:
    """HMAC-SHA256 under 32 zero bytes of the cells as little-endian words, its first 53 of 64 bits."""
    import hashlib
    import hmac

    cell = np.array([[3, -1]], np.int16)
    word = int.from_bytes(hmac.new(bytes(32), b"\x03\x00\xff\xff", hashlib.sha256).digest()[:8], "little")
    assert dither(bytes(32), cell)[0] == (word >> 11) / 2.0**53
