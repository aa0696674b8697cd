"""Two cells of the sweep over hard tables, by the real protocol; and a bad model does not pass for a good one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from scripts.sweeps import training as sweep_training


def test_models_of_few_defaults_and_of_correlated_columns_equal_the_exact_fit(
    capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep_training.main(
        ["--rows", "8000", "--rates", "0.02", "--parties", "3", "--kinds", "correlated,one-hot", "--json"]) == 0
    cells = json.loads(capsys.readouterr().out)
    assert [cell["kind"] for cell in cells] == ["correlated", "one-hot"]
    assert all(cell["good"] for cell in cells)
    assert all(cell["auc"] > 0.58 for cell in cells)


def test_a_model_with_another_intercept_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = sweep_training.joint_weights

    def shifted(*arguments: object) -> object:
        weights = honest(*arguments)  # type: ignore[arg-type]
        weights[0] += np.log(1.05)
        return weights

    monkeypatch.setattr(sweep_training, "joint_weights", shifted)
    assert sweep_training.main(["--rows", "2000", "--rates", "0.2", "--parties", "2", "--kinds", "plain"]) == 1


def test_a_run_that_does_not_converge_is_a_refusal(capsys: pytest.CaptureFixture[str]) -> None:
    line = ["--rows", "2000", "--rates", "0.2", "--parties", "2", "--kinds", "plain", "--tolerance", "1e-6"]
    assert sweep_training.main(line) == 0
    assert "did not converge" in capsys.readouterr().out
