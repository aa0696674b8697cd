"""Products of a private matrix in the clear: exact, and without a copy of the whole matrix."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from mpc.ring import SIDE, TILE, times
from mpc.rng import Rng


@pytest.mark.parametrize("shape", [(1, 1), (3, 2 * SIDE + 5), (TILE // 4 + 7, 6), (0, 4), (5, 0), (40, 40)])
@pytest.mark.parametrize("kind", [np.int16, np.int64])
def test_a_matrix_times_a_vector_is_exact_modulo_2_to_the_64(shape: tuple[int, int], kind: type[np.integer]) -> None:
    rng = Rng(bytes(32))
    matrix = rng.ring(shape[0] * shape[1]).reshape(shape).view(np.int64).astype(kind)
    vector = rng.ring(shape[1])
    some = range(0, shape[0], max(1, shape[0] // 5))
    wanted = [sum(int(a) * int(v) for a, v in zip(matrix[row], vector, strict=True)) % 2**64 for row in some]
    assert times(matrix, vector)[list(some)].tolist() == wanted


@pytest.mark.parametrize("shape", [(16, 1 << 18), (1 << 18, 16)])
def test_a_large_matrix_of_16_bits_is_never_widened_whole(shape: tuple[int, int]) -> None:
    matrix, vector = np.ones(shape, np.int16), np.ones(shape[1], np.uint64)
    tracemalloc.start()
    try:
        times(matrix, vector)
        assert tracemalloc.get_traced_memory()[1] < 12 << 20   # whole: 32 MiB
    finally:
        tracemalloc.stop()
