"""Kernels over processes: a later one compiles nothing, two at once agree, and whoever uses none loads no compiler."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpc.errors import LocalError
from mpc.kernels import blocks, set_intersection
from mpc.kernels.compiling import code_cache, library, loops
from mpc.kernels.compiling.loops import Loop, compiled
from mpc.ring import U64

ROOT = Path(__file__).resolve().parents[4]
FIRST_JOB = """
import hashlib, json, sys
from mpc.kernels.compiling import library
compiled, counted = [], library.compiled
def counting(text, target):
    compiled.append(len(text))
    return counted(text, target)
library.compiled = counting
import numpy as np
from mpc.sets import oprf
from mpc.kernels.engines.selection import modulus
from mpc.kernels.curve import batches as curve
from mpc.kernels.simd import engine as simd
from mpc.kernels.bits import fold_leaves, weighted_sums
from mpc.kernels.blake2b import digests_16
from mpc.kernels.blocks import permute, schedule
results = hashlib.sha256()
for form in simd.FORMS.values():
    if simd.available(form):
        number = simd.SimdModulus((1 << 521) - 1, form)
        results.update(number.to_bytes(number.pow_same(number.load(list(range(2, 20))), 65537), number.width))
if curve.available():
    results.update(curve.multiply_uniform(bytes(range(64)) * 9, bytes([7] * 32)))
words = np.arange(4096, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
results.update(digests_16(words.view(np.uint8), np.arange(0, 4097, 16), b"key"))
oprf.rehearse(3)
results.update(permute(schedule([b"k" * 16]), words.reshape(-1, 2)))
sums, totals = np.empty((8, 256), np.uint64), np.empty((2, 256), np.uint64)
fold_leaves(np.stack([words.reshape(8, 512)] * 2)[:, :, :256].copy().repeat(2, axis=1), sums, totals)
results.update(sums), results.update(totals)
total = np.empty((64, 2, 4), np.uint64)
weighted_sums(words[:2048].reshape(64, 8, 4), words[:8], np.arange(8) % 2, total)
results.update(total)
print(json.dumps({"compiled": len(compiled), "numba": "numba" in sys.modules, "results": results.hexdigest()}))
"""


def started(folder: Path) -> subprocess.Popen[str]:
    given = {**os.environ, code_cache.VARIABLE: str(folder)}
    return subprocess.Popen([sys.executable, "-c", FIRST_JOB], env=given, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 0
    return dict(json.loads(out))


def test_two_processes_at_once_agree_and_a_third_compiles_nothing(tmp_path: Path) -> None:
    together = [ended(process) for process in [started(tmp_path / "kernels") for _ in range(2)]]
    after = ended(started(tmp_path / "kernels"))
    assert sum(one["compiled"] for one in together) >= 14     # all that a first job needs, by one or the other
    assert any(one["numba"] for one in together)
    assert (after["compiled"], after["numba"]) == (0, False)
    assert len({one["results"] for one in [*together, after]}) == 1
    names = [path.name for path in (tmp_path / "kernels").iterdir()]
    assert len(names) >= 14
    assert not [name for name in names if name.startswith(".")]


EMITTERS = {"blake2b_ir", "curve.field", "curve.hashing", "curve.loops", "curve.points", "simd.arithmetic",
            "simd.convert", "simd.emitter", "simd.engine", "simd.forms", "simd.loops"}


def test_nothing_but_what_emits_code_loads_a_compiler() -> None:
    code = f"""
import importlib, pkgutil, sys, mpc
for found in pkgutil.walk_packages(mpc.__path__, "mpc."):
    if found.name.removeprefix("mpc.kernels.") not in {EMITTERS!r} and not found.name.startswith("mpc.testing"):
        importlib.import_module(found.name)
        assert not {{"numba", "llvmlite"}} & set(sys.modules), found.name
for name in {EMITTERS!r}:
    importlib.import_module("mpc.kernels." + name)
assert "numba" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)


# ---------------------------------------------------------------- loops


FACTOR = 2
ODD = np.array([1, 3, 5], np.uint64)


@compiled
def _scaled(value: np.uint64) -> np.uint64:
    return value * np.uint64(FACTOR)


@compiled
def _apply(values: U64, start: int) -> int:
    for i in range(start, len(values)):
        values[i] = _scaled(values[i]) + ODD[i % 3]
    return len(values) - start


@compiled
def _divide(values: U64, by: int) -> None:
    for i in range(len(values)):
        values[i] = len(values) // by


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(code_cache.VARIABLE, str(tmp_path / "kernels"))
    return tmp_path / "kernels"


def test_a_loop_that_is_loaded_does_what_the_compiled_one_did(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> tuple[list[int], int | None]:
        values = np.arange(5, dtype=np.uint64)
        return values.tolist() if (count := Loop(_apply.py_func)(values, 1)) is None else (values.tolist(), count)

    first = run()
    assert first == ([0, 5, 9, 7, 11], 4)

    def never(*_: object) -> library.Code:
        raise AssertionError("compiled a second time")

    monkeypatch.setattr(library, "compiled", never)
    assert run() == first
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("changed", ["FACTOR", "ODD", "_scaled"])
def test_code_is_told_apart_by_all_that_it_refers_to(changed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = _apply.described()

    @compiled
    def other(value: np.uint64) -> np.uint64:
        return value * np.uint64(FACTOR) + np.uint64(1)

    values: dict[str, object] = {"FACTOR": 3, "ODD": ODD + np.uint64(2), "_scaled": other}
    assert _apply.described() == before
    monkeypatch.setitem(_apply.py_func.__globals__, changed, values[changed])
    assert _apply.described() != before


def test_code_is_told_apart_by_how_it_is_called(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> None:
        Loop(_apply.py_func)(np.arange(5, dtype=np.uint64), 1)

    run()
    whole = loops._flat

    def otherwise(arguments: tuple[Any, ...]) -> list[int | None]:
        return whole(arguments)

    monkeypatch.setattr(loops, "_flat", otherwise)
    loops._calling.cache_clear()
    try:
        run()
        assert len(list(folder.iterdir())) == 2
    finally:
        loops._calling.cache_clear()


@pytest.mark.parametrize("value", [np.arange(6)[::2], np.zeros(10**6 // 8 + 1)], ids=["with gaps", "large"])
def test_an_array_that_numba_would_not_embed_is_refused(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_apply.py_func.__globals__, "ODD", value)
    with pytest.raises(AssertionError, match="small and whole"):
        _apply.described()


def test_a_loop_over_blocks_is_told_apart_by_how_they_are_encrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for name in ("_encrypt_by_tables", "_encrypt_by_instructions"):
        monkeypatch.setattr(blocks, "encrypt", getattr(blocks, name))
        seen.append(blocks._permute.described())
    monkeypatch.setattr(blocks, "ROUNDS", 9)
    seen.append(blocks._permute.described())
    assert seen[0] != seen[1] != seen[2] != seen[0]
    assert "numba" not in json.dumps(seen[0])


@pytest.mark.parametrize(
    ("by", "change"),
    [("kind of number", lambda x: x.astype(np.int64)), ("layout", lambda x: np.repeat(x, 2)[::2]),
     ("right to write", lambda x: np.frombuffer(x.tobytes(), np.uint64)), ("dimensions", lambda x: x[None])],
)
def test_arguments_of_another_kind_get_code_of_their_own(by: str, change: Callable[[U64], Any]) -> None:
    values = np.arange(6, dtype=np.uint64)
    assert loops._kind(values) != loops._kind(change(values))
    assert loops._kind(values) == loops._kind(values[:3])


def test_rows_with_gaps_are_read_as_others_are() -> None:
    rows = np.arange(40, dtype=np.uint64).reshape(10, 4)
    keys, found, again = blocks.schedule([b"k" * 16]), np.empty((5, 2), np.uint64), np.empty((5, 2), np.uint64)
    set_intersection.compress(rows[::2], keys, found)
    set_intersection.compress(rows[::2].copy(), keys, again)
    assert np.array_equal(found, again)


def test_a_loop_that_fails_says_which() -> None:
    with pytest.raises(LocalError, match="_divide"):
        _divide(np.zeros(3, np.uint64), 0)


def test_a_loop_may_refer_to_nothing_that_its_digest_does_not_cover() -> None:
    @compiled
    def reaches_out(values: U64) -> None:
        values[0] = len(EMITTERS)

    with pytest.raises(AssertionError, match="set"):
        reaches_out.described()  # type: ignore[attr-defined]


def test_numbers_that_a_word_does_not_hold_are_refused() -> None:
    for value in (1 << 63, -(1 << 63) - 1, 1.5):
        with pytest.raises(AssertionError):
            loops._kind(value)
