"""The sweep over the engines compares on each of them, and a planted difference stops it."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from mpc.kernels.engines.gmp import GmpModulus
from mpc.kernels.modulus import Residues

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "sweeps" / "paillier.py"


@pytest.fixture(scope="module")
def sweep() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sweep_paillier", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["sweep_paillier"] = module
    spec.loader.exec_module(module)
    module.SIZES = (384, 386)  # type: ignore[attr-defined]
    return module


def test_a_short_sweep_compares_on_every_engine(sweep: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep.main(["--operations", "300", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result["equal"]) == set(sweep.engines()) >= {"gmp", "phe"}
    assert all(count >= 300 for count in result["equal"].values())
    assert result["operations"]["phe encrypts; decrypt: gmp"] > 0


def test_a_planted_difference_stops_the_sweep(sweep: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = GmpModulus.mul

    def wrong(self: GmpModulus, left: Residues, right: Residues) -> Residues:
        result = honest(self, left, right)
        result.values[-1] ^= 1
        return result

    monkeypatch.setattr(GmpModulus, "mul", wrong)
    with pytest.raises(SystemExit, match="product on gmp differs"):
        sweep.main(["--operations", "300"])
