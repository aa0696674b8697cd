"""The benchmark of group elements runs, compares what it times, and prints every operation beside libsodium."""

from __future__ import annotations

import json

import pytest

from mpc.kernels.curve import batches as curve
from scripts.bench import group as bench_group

pytestmark = pytest.mark.skipif(not curve.available(), reason="this processor has no AVX512-IFMA")


def test_every_operation_is_printed_beside_libsodium(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_group.main(["--json", "--points", "64"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["operation"] for row in rows] == [
        "expand_message_xmd", "one-way map and multiply", "multiply", "check"]
    assert all(row["lanes"] > 0 and row["libsodium"] > 0 for row in rows)


def test_an_alignment_is_split_by_steps(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_group.main(["--json", "--align", "50"]) == 0
    steps = json.loads(capsys.readouterr().out)
    assert {"blind", "multiply", "places_of", "everything else", "total"} <= set(steps)


def test_a_wrong_result_is_never_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curve, "multiply", lambda points, scalar: points)
    with pytest.raises(SystemExit, match="wrong result"):
        bench_group.main(["--points", "64"])
