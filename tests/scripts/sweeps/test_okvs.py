"""The bound behind the stores' failure probability, against exact counts; and that smaller tables would not do."""

from __future__ import annotations

import importlib.util
import itertools
import json
import sys
from math import comb, log2
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from mpc.rng import Rng
from mpc.sets.okvs import MOST_LEFT_OVER, Layout

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "sweeps" / "okvs.py"


@pytest.fixture(scope="module")
def sweep() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sweep_okvs", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["sweep_okvs"] = module
    spec.loader.exec_module(module)
    return module


def exact_parts(keys: int, size: int, slots: int) -> float:
    """The expected number, by going through all places of `size` keys in one segment."""
    whole = sum(
        1 not in np.bincount(places, minlength=slots)
        for places in itertools.product(range(slots), repeat=size)
    )
    return comb(keys, size) * (whole / slots**size) ** 3


@pytest.mark.parametrize(("keys", "size", "slots"), [(6, 2, 5), (9, 3, 4), (9, 4, 5), (12, 5, 6), (12, 6, 5)])
def test_the_bound_lies_above_the_exact_expectation_and_near_it(
    sweep: ModuleType, keys: int, size: int, slots: int
) -> None:
    found, exact = sweep.expected_parts(keys, size, slots), log2(exact_parts(keys, size, slots))
    assert exact <= found <= exact + 12


@pytest.mark.parametrize("keys", [2, 3, 17, 50, 120, 200, 230, 250, 270, 350, 500, 800])
def test_small_tables_fail_with_less_than_2_to_the_minus_40(sweep: ModuleType, keys: int) -> None:
    found = sweep.bound(keys)
    assert 2 ** found["left_over"] + 2 ** found["dependent"] < 2.0**-40


def test_bins_of_large_stores_have_small_parts_as_rarely(sweep: ModuleType) -> None:
    """All sizes that are solved, and refused ones up to 200; larger parts are for the measurement."""
    for capacity in (1 << 15, 1 << 20, 1 << 24):
        layout = Layout(capacity)
        keys, slots = layout.bin_keys, layout.segment
        for size in (2, 3, 10, 24, MOST_LEFT_OVER):
            assert sweep.expected_parts(keys, size, slots) + size - 64 + log2(layout.bins) < -40
        for size in (MOST_LEFT_OVER + 1, 60, 100, 200):
            assert sweep.expected_parts(keys, size, slots) + log2(layout.bins) < -60


def test_fault_refusing_more_than_24_keys_left_over_would_not_be_proven(sweep: ModuleType) -> None:
    assert sweep.bound(250, refused=24)["left_over"] > -40


def test_tables_stop_peeling_far_above_their_capacity_and_tighter_ones_near_it(
    sweep: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = Rng(bytes(32))
    assert sweep.measure(256, 30, rng)["deviations"] > 10
    monkeypatch.setattr(Layout, "segment", property(lambda self: int(1.25 * self.bin_keys / 3)))
    assert sweep.measure(256, 30, rng)["deviations"] < 4


def test_rows_come_as_json_with_known_names(sweep: ModuleType, monkeypatch: pytest.MonkeyPatch,
                                            capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sweep, "BOUNDED", (10,))
    monkeypatch.setattr(sweep, "MEASURED", (16,))
    assert sweep.main(["--trials", "3", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [set(line) for line in lines] == [
        {"keys", "left_over", "dependent"}, {"keys", "mean", "least", "deviations"}]
