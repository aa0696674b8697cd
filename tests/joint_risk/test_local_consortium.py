"""The local cluster starts its commands in another folder than the one it was called from."""

from __future__ import annotations

from pathlib import Path

import pytest

from joint_risk.local_consortium import LocalCluster


def test_a_relative_folder_stays_where_the_caller_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cluster = LocalCluster(Path("result"), [])
    assert cluster.directory("bank") == tmp_path / "result" / "bank"
