"""The sweep against a pooled oracle counts what is equal, and a planted difference is not equal."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "sweeps" / "binning.py"


@pytest.fixture(scope="module")
def sweep():
    spec = importlib.util.spec_from_file_location("sweep_binning", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["sweep_binning"] = module
    spec.loader.exec_module(module)
    return module


def echo(sweep, monkeypatch, change=lambda answer: None):
    """An oracle that gives our own answers, the first of them changed."""

    def theirs(cases, oracle):
        answers = [sweep.ours(case) | {"status": "OPTIMAL"} for case in cases]
        change(answers[0])
        return answers

    monkeypatch.setattr(sweep, "theirs", theirs)


def run(sweep, capsys, *arguments):
    code = sweep.main(["--features", "6", *arguments])
    return code, json.loads(capsys.readouterr().out)


def test_equal_answers_pass(sweep, monkeypatch, capsys):
    echo(sweep, monkeypatch)
    code, result = run(sweep, capsys)
    assert (code, result["equal"], result["wrong"]) == (0, 6, [])


def lose_a_cut(answer):
    answer["cuts"] = answer["cuts"][1:]
    answer["information_value"] -= 1e-6


def shift_the_value(answer):
    answer["information_value"] += 2e-9


@pytest.mark.parametrize("change", [lose_a_cut, shift_the_value])
def test_a_planted_difference_fails(change, sweep, monkeypatch, capsys):
    echo(sweep, monkeypatch, change)
    code, result = run(sweep, capsys)
    assert code == 1
    assert len(result["wrong"]) + (result["largest_gap_information_value"] > 1e-9) == 1


def test_with_missing_cells_other_cuts_pass_only_where_ours_say_more(sweep, monkeypatch, capsys):
    echo(sweep, monkeypatch, lose_a_cut)
    code, result = run(sweep, capsys, "--missing", "0.1")
    assert (code, result["ours_higher"]) == (0, 1)


def test_the_cases_do_not_all_ask_the_same(sweep):
    rng = np.random.default_rng(1)
    cases = [sweep.random_case(rng, 0.1) for _ in range(20)]
    assert len({case.constraints.trend for case in cases}) >= 4
    assert all(case.bins.missing is not None for case in cases)
