"""The local cluster starts its commands in another folder than the one it was called from; its ports are its own."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from joint_risk.local_consortium import LocalCluster, free_ports


def test_a_relative_folder_stays_where_the_caller_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cluster = LocalCluster(Path("result"), [])
    assert cluster.directory("bank") == tmp_path / "result" / "bank"


def test_a_port_of_a_cluster_is_its_nodes_alone_even_while_they_are_down() -> None:
    (port,) = free_ports(1)
    for _ in range(2):   # a node that stops and starts again
        with socket.create_server(("127.0.0.1", port)):
            pass
        with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
            stranger.bind(("127.0.0.1", port))
