"""The verdict on a useless and on a useful partner, over a few populations of the generator."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "sweeps" / "verdict.py"


@pytest.fixture(scope="module")
def sweep():
    spec = importlib.util.spec_from_file_location("sweep_verdict", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["sweep_verdict"] = module
    spec.loader.exec_module(module)
    return module


def test_a_useless_partner_brings_no_measurable_gain_and_a_useful_one_does(sweep, monkeypatch):
    monkeypatch.setattr(sweep, "TRUTH", 60_000)
    result = sweep.sweep(4, 25_000, 1)
    assert result["useless"]["none"] == 4
    assert abs(result["useless"]["mean_difference"]) < 0.02
    useful = result["useful"]
    assert useful["better"] == 4
    assert useful["interval_holds_truth"] >= 3
    assert abs(useful["mean_difference"] - useful["mean_truth"]) < 0.02


def test_the_useless_partner_knows_nothing(sweep):
    rng = np.random.default_rng(1)
    found = sweep.sample(5000, sweep.nothing, rng)
    for column in found.partner.columns.values():
        values = column.values if hasattr(column, "values") else column.codes.astype(float)
        known = ~np.isnan(values)
        assert abs(np.corrcoef(values[known], found.bad[known])[0, 1]) < 0.07


def test_bars_that_are_missed_are_an_exit_status(sweep, monkeypatch, capsys):
    result = {"useless": {"runs": 100, "none": 94}, "useful": {"gain_found_and_truth_held": 95}}
    monkeypatch.setattr(sweep, "sweep", lambda *_: result)
    assert sweep.main([]) == 1
    result["useless"]["none"] = 95
    assert sweep.main([]) == 0
    result["useful"]["gain_found_and_truth_held"] = 89
    assert sweep.main([]) == 1
    assert json.loads(capsys.readouterr().out.split("}\n{")[0] + "}")["useless"]["runs"] == 100
