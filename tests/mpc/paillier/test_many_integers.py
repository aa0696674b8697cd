"""Integers drawn in bulk: range, length, and every bit a fair coin."""

from __future__ import annotations

import numpy as np
import pytest

from mpc.rng import Rng


@pytest.mark.parametrize("bits", [1, 7, 8, 9, 448])
def test_packed_bits_are_fair_coins_and_no_more_than_asked_for(bits: int) -> None:
    rows = Rng(bytes(32)).packed_bits(bits, 4000)
    assert rows.shape == (4000, (bits + 7) // 8)
    ones = np.unpackbits(rows, axis=1, bitorder="little").sum(axis=0)
    assert not ones[bits:].any()
    assert np.abs(ones[:bits] - 2000.0).max() < 6 * 31.7  # 6 standard deviations
    assert Rng(bytes(32)).packed_bits(bits, 0).shape == (0, (bits + 7) // 8)


def test_packed_bits_do_not_depend_on_how_they_are_cut() -> None:
    whole, parts = Rng(bytes(32)), Rng(bytes(32))
    assert (np.concatenate([parts.packed_bits(13, 3), parts.packed_bits(13, 4)]) == whole.packed_bits(13, 7)).all()
