"""Integers drawn in bulk: range, length, and as uniform as those drawn one by one."""

from __future__ import annotations

from collections import Counter

import pytest

from mpc.rng import Rng


@pytest.mark.parametrize("bits", [0, 1, 7, 8, 9, 448])
def test_many_bits_are_those_drawn_one_by_one(bits: int) -> None:
    one, many = Rng(bytes(32)), Rng(bytes(32))
    assert many.many_bits(bits, 20) == [one.bits(bits) for _ in range(20)]
    assert many.many_bits(bits, 0) == []


def test_many_below_are_uniform_and_below() -> None:
    counts = Counter(Rng(bytes(32)).many_below(5, 10_000))
    assert set(counts) == set(range(5))
    assert sum((count - 2000) ** 2 / 2000 for count in counts.values()) < 40  # 4 degrees of freedom: once in 10^7
    assert len(Rng(bytes(32)).many_below(1 << 300, 7)) == 7
    with pytest.raises(ValueError, match="positive"):
        Rng(bytes(32)).many_below(0, 1)
