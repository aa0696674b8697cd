"""The Paillier benchmark runs, checks its own results and prints what it promises."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from mpc.kernels.simd.engine import available
from mpc.kernels.simd.forms import Avx2

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "bench" / "paillier.py"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_paillier", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_paillier"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("engine", ["auto", "gmp", *(["avx2"] if available(Avx2) else [])])
def test_a_quick_run_prints_every_operation_beside_phe(
    bench: ModuleType, engine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.main(["--json", "--quick", "--engine", engine]) == 0
    result = json.loads(capsys.readouterr().out)
    operations = {row["operation"].split(",")[0] for row in result["rows"]}
    assert operations == {"encrypt", "re-randomise", "decrypt", "ct + ct", "X^T [[d]]"}
    assert {row["threads"] for row in result["rows"]} == {1, 2}
    assert all(row["ours"] > 0 and row["phe"] > 0 and row["kernel"] == result["kernel"] for row in result["rows"])
    assert engine == "auto" or result["kernel"] == engine


def test_a_wrong_result_is_never_timed(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.Bench, "_columns", lambda self, vector, weights: vector.slice(0, 10).residues)
    with pytest.raises(SystemExit, match="wrong result"):
        bench.main(["--quick", "--threads", "1"])
