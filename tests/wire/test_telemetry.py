"""A log line carries what is on the list and nothing else."""

from __future__ import annotations

import io
import json
import stat

import pytest
import structlog

from mpc.errors import LocalError
from wire import telemetry


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "node.log"
    telemetry.configure(path)
    yield path
    structlog.reset_defaults()


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_listed_fields_pass_and_all_others_are_dropped_and_counted(log):
    structlog.get_logger().info("stage done", job="ab", count=3, row="CANARY-1", value=0.5)
    (line,) = lines(log)
    assert line["job"] == "ab"
    assert line["count"] == 3
    assert line["count_dropped"] == 2
    assert "CANARY" not in log.read_text()


def test_an_exception_leaves_its_type_and_places_but_not_its_text(log):
    try:
        float("CANARY-2")
    except ValueError:
        structlog.get_logger().exception("call failed")
    (line,) = lines(log)
    assert line["error"] == "ValueError"
    assert any("test_telemetry.py" in frame for frame in line["frames"])
    assert "CANARY" not in log.read_text()


def test_our_own_errors_keep_their_public_text(log):
    structlog.get_logger().error("job failed", exc_info=LocalError("no such column", "name another"))
    assert lines(log)[0]["error"] == "LocalError: no such column. name another"


def test_bytes_are_named_by_length_and_long_texts_are_cut(log):
    structlog.get_logger().info("x", digest=b"12345678", what="y" * 10_000)
    (line,) = lines(log)
    assert line["digest"] == "8 bytes"
    assert len(line["what"]) == telemetry.MAX_TEXT


def test_the_log_file_is_private(log):
    structlog.get_logger().info("x")
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_without_a_file_the_lines_go_to_stderr(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    telemetry.configure()
    structlog.get_logger().warning("x", peer="bank-b")
    structlog.reset_defaults()
    assert json.loads(stream.getvalue())["peer"] == "bank-b"
