"""What doctor says of the engine that a processor gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpc.kernels.compiling import code_cache
from mpc.kernels.simd import engine as simd
from party_node.commands import doctor

HERE = [name for name, form in simd.FORMS.items() if simd.available(form)]


@pytest.mark.parametrize("engine", [*HERE, "gmp"])
def test_doctor_measures_the_engine_of_the_processor_and_warns_without_a_native_one(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simd, "available", lambda form: form.engine == engine)
    check = doctor._speed()
    assert f"engine {engine}: " in check.what
    assert (check.outcome, "native kernel off" in check.what) == (("warn", True) if engine == "gmp" else ("ok", False))


def test_doctor_says_where_compiled_kernels_are_kept_or_why_they_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(code_cache.VARIABLE, str(tmp_path / "kernels"))
    kept = doctor._kernels()
    assert (kept.outcome, str(tmp_path / "kernels") in kept.what) == ("ok", True)
    (tmp_path / "kernels").chmod(0o755)
    loose = doctor._kernels()
    assert (loose.outcome, "open to others" in loose.what) == ("warn", True)
    assert code_cache.VARIABLE in loose.advice
