"""The commands of the coordinator's operator: exit codes, one envelope, text on stderr, and no traceback."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from coordinator.commands.operator import run_command
from coordinator.config import CoordinatorDirectory
from wire.errors import Overdue, PublicError, RemoteFailure
from wire.signing import Identity

Call = Callable[..., tuple[int, dict[str, Any], str]]
JOB = """
purpose = "credit risk"
[label]
party = "bank"
column = "bad"
[[party]]
id = "bank"
dataset = "loans"
[[party]]
id = "shop"
dataset = "orders"
"""


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    def run(*words: str) -> tuple[int, dict[str, Any], str]:
        code = run_command([*words, "--dir", str(tmp_path / "c"), "--json"])
        out, err = capsys.readouterr()
        assert out.count("\n") == 1, out
        envelope = json.loads(out)
        assert (envelope["code"], envelope["ok"]) == (code, code == 0)
        assert "Traceback" not in out + err
        return code, envelope, err

    return run


@pytest.fixture
def ready(call: Call, tmp_path: Path, nodes: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch) -> Call:
    """A coordinator with a consortium whose nodes answer from this process."""
    assert call("init")[0] == 0

    async def close() -> None:
        pass

    for node in nodes.values():
        node.close = close
    monkeypatch.setattr(CoordinatorDirectory, "load", lambda self: (self.name(), None, Identity.generate()))
    monkeypatch.setattr("coordinator.jobs.node_client.connect", lambda consortium, identity: dict(nodes))
    (tmp_path / "job.toml").write_text(JOB)
    return call


def test_init_prints_what_is_read_aloud_and_happens_once(call: Call, tmp_path: Path) -> None:
    code, envelope, text = call("init", "--name", "conductor")
    assert code == 0
    assert envelope["data"]["ca_fingerprint"] in text
    assert (tmp_path / "c" / "name").read_text() == "conductor\n"
    assert call("init")[0] == 4


def test_plan_tells_who_learns_what_before_anything_runs(ready: Call, tmp_path: Path, nodes: Any) -> None:
    code, envelope, text = ready("plan", str(tmp_path / "job.toml"))
    assert code == 0, text
    assert envelope["data"]["spec"]["purpose"] == "credit risk"
    assert envelope["data"]["forecast"]["megabytes"] > 0
    assert envelope["data"]["forecast"]["seconds"]["train"] == 17.8    # shop's 1 + 0.02 for each of 840 rows
    for words in ("who learns what", "the joint score of each scored row", "approvals missing: bank, shop",
                  "time about 18 s"):
        assert words in text
    assert "each fine bin" not in text      # what the job does not do is not told
    assert all(node.calls == ["describe", "rehearse"] for node in nodes.values())
    assert ready("jobs")[1]["data"]["jobs"] == []


def test_plan_counts_the_line_where_it_is_named_and_rehearses_nothing_when_told(
    ready: Call, tmp_path: Path, nodes: Any
) -> None:
    plan = str(tmp_path / "job.toml")
    fast, slow = (ready("plan", plan, "--line", line)[1]["data"]["forecast"]["seconds"]
                  for line in ("1gbps/0ms", "1mbps/100ms"))
    assert slow["total"] > fast["total"]
    code, envelope, text = ready("plan", plan, "--no-rehearsal")
    assert (code, "seconds" in envelope["data"]["forecast"], "time about" in text) == (0, False, False)
    assert nodes["bank"].calls[-1] == "describe"
    code, envelope, _ = ready("plan", plan, "--line", "fast")
    assert (code, envelope["error"]["advice"]) == (4, "write --line 20mbps/20ms")


def test_launch_keeps_record_and_report_privately(ready: Call, tmp_path: Path) -> None:
    code, envelope, text = ready("launch", str(tmp_path / "job.toml"))
    assert code == 0, text
    folder = tmp_path / "c" / "jobs" / envelope["data"]["job_id"]
    assert json.loads((folder / "record.json").read_text()) == envelope["data"]
    assert "<html" in (folder / "report.html").read_text()
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()} == {0o600}
    (job,) = ready("jobs")[1]["data"]["jobs"]
    assert (job["state"], job["purpose"]) == ("finished", "credit risk")
    code, envelope, _ = ready("watch", job["id"][:10])
    assert (code, envelope["data"]["states"]) == (0, {"bank": "finished", "shop": "finished"})
    code, envelope, text = ready("cancel", job["id"], "--reason", "no longer needed")
    assert envelope["data"]["was_running"] == {"bank": True, "shop": True}


def test_a_failure_at_a_node_has_its_exit_code_and_its_side(ready: Call, tmp_path: Path, nodes: Any) -> None:
    nodes["shop"].ends = nodes["shop"].failed("too-few-common", "too few customers in common")
    code, envelope, text = ready("launch", str(tmp_path / "job.toml"))
    assert code == 6
    assert envelope["error"]["whose"] == "shop"
    assert "too few customers in common" in text


def test_a_mistake_in_the_plan_names_the_side_that_has_to_act(ready: Call, tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text(JOB.replace('"orders"', '"ordres"'))
    code, envelope, _ = ready("plan", str(tmp_path / "job.toml"))
    assert code == 4
    assert envelope["error"]["whose"] == "shop"
    assert "did you mean `orders`" in envelope["error"]["advice"]


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_interrupted_twice_ends_all_that_it_started(
    blow: signal.Signals, ready: Call, tmp_path: Path, nodes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = []

    async def describe() -> None:
        os.kill(os.getpid(), blow)
        try:
            await asyncio.sleep(60)
        finally:
            os.kill(os.getpid(), blow)
            try:
                await asyncio.sleep(60)
            finally:
                ended.append(blow)
                raise RemoteFailure(PublicError("unreachable", "the call was cut off", "shop"))

    for node in nodes.values():
        monkeypatch.setattr(node, "describe", describe)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)    # a shell may have its background ignore it
    try:
        code, envelope, _ = ready("plan", str(tmp_path / "job.toml"))
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert (code, envelope["error"]["code"]) == (1, "cancelled")
    assert ended == [blow] * len(nodes)


ENDINGS = {
    "a bug": (ZeroDivisionError("canary-secret"), 5),
    "no answer": (Overdue("late", whose="shop"), 3),
    "Ctrl-C": (KeyboardInterrupt(), 1),
}


@pytest.mark.parametrize("case", ENDINGS)
def test_each_ending_has_its_exit_code(
    case: str, ready: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error, wanted = ENDINGS[case]

    def failing(path: Path) -> None:
        raise error

    monkeypatch.setattr("coordinator.jobs.plan.load_plan", failing)
    code, envelope, text = ready("plan", str(tmp_path / "job.toml"))
    assert code == wanted
    assert "canary-secret" not in text + json.dumps(envelope)
    log = tmp_path / "c" / "coordinator.log"
    assert log.exists() == (case == "a bug")
    if log.exists():
        assert stat.S_IMODE(log.stat().st_mode) == 0o600
        assert "canary-secret" in log.read_text()


WRONG = {
    "no such command": ["frobnicate"],
    "an option that does not exist": ["jobs", "--fast"],
    "a missing argument": ["launch"],
    "no coordinator here": ["jobs"],
    "a job that is not known": ["watch", "abcd"],
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_ends_in_exit_4(case: str, call: Call) -> None:
    code, envelope, _ = call(*WRONG[case])
    assert code == 4
    assert envelope["error"]["advice"]


def test_the_directory_may_stand_on_either_side_of_the_command(tmp_path: Path) -> None:
    assert run_command(["--dir", str(tmp_path / "a"), "init"]) == 0
    assert run_command(["init", f"--dir={tmp_path / 'b'}"]) == 0
    assert run_command(["jobs", "--dir"]) == 4
    assert (tmp_path / "a" / "name").exists()
    assert (tmp_path / "b" / "name").exists()
