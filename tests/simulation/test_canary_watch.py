"""The watch over the whole run sees what it is there for: files, modes, command lines, every encoding."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joint_risk.local_consortium import ROOT
from mpc.testing.haystack import Haystack
from tests import canaries
from tests.conftest import descendants
from wire.signing import Identity

ID = canaries.canary_id(3)


@pytest.fixture
def spoiled(tmp_path: Path) -> Path:
    """A directory that the watch at the end leaves alone, because the test spoils it."""
    canaries.exempt(tmp_path / "spoiled")
    base = tmp_path / "spoiled" / "run"
    base.mkdir(parents=True)
    return base


def leaks(base: Path) -> list[str]:
    """As at the end of the run, for a directory that is exempt there."""
    kept, canaries._EXEMPT = canaries._EXEMPT, set()
    try:
        return canaries.leaks(base)
    finally:
        canaries._EXEMPT = kept


@pytest.mark.parametrize(("what", "data"), [
    ("an id", ID.encode()),
    ("an id in capitals", ID.upper().encode()),
    ("an id in UTF-16", ID.encode("utf-16-le")),
    ("an id in hex", ID.encode().hex().encode()),
    ("an id in base64", base64.b64encode(b"x" + ID.encode())),
    ("an id's SHA-256", hashlib.sha256(ID.encode()).hexdigest().encode()),
    ("the beginning of an id's MD5", hashlib.md5(ID.encode()).digest()[:8]),
    ("a label", canaries.NEGATIVE.encode()),
    ("a level", b'{"level": "%s"}' % canaries.LEVELS[1].encode()),
    ("a number", f"mean {canaries.NUMBER} of".encode()),
    ("a number as float64", struct.pack("<d", canaries.NUMBER)),
])
def test_a_planted_value_in_a_log_is_found(what: str, data: bytes, spoiled: Path) -> None:
    (spoiled / "node.log").write_bytes(b'{"event": "ok"}\n' + data + b"\n")
    assert leaks(spoiled), what


def test_tables_and_models_may_hold_their_values_and_a_quiet_log_is_quiet(spoiled: Path) -> None:
    (spoiled / "bank" / "models").mkdir(parents=True)
    (spoiled / "bank" / "models" / "manifest.json").write_text(canaries.LEVELS[0])
    (spoiled / "loans.csv").write_text(ID)
    (spoiled / "node.log").write_text('{"event": "listening", "party": "bank"}\n')
    assert leaks(spoiled) == []


def test_a_private_key_outside_its_folder_is_found(spoiled: Path) -> None:
    key = spoiled / "bank" / "keys" / "identity.pem"
    key.parent.mkdir(parents=True)
    key.write_bytes(Identity.generate().to_pem())
    assert leaks(spoiled) == []
    (spoiled / "crash.txt").write_bytes(key.read_bytes())
    assert leaks(spoiled) == ["crash.txt: private key of bank/identity.pem"]
    der = base64.b64decode(b"".join(key.read_bytes().splitlines()[1:-1]))
    (spoiled / "crash.txt").write_text(f"key {der.hex()}")
    assert leaks(spoiled) == ["crash.txt: private key of bank/identity.pem: hex"]


def test_a_readable_file_in_a_party_directory_is_found(spoiled: Path) -> None:
    bank = spoiled / "bank"
    (bank / "audit").mkdir(parents=True, mode=0o700)
    bank.chmod(0o700)
    for name in ("party.toml", "process.log"):
        (bank / name).touch(mode=0o600)
    assert canaries.loose_modes_of(bank, spoiled) == []
    (bank / "audit" / "audit.jsonl").touch(mode=0o644)
    assert canaries.loose_modes_of(bank, spoiled) == ["bank/audit/audit.jsonl: mode 644 where 600 is due"]


def test_the_command_lines_of_children_and_grandchildren_are_seen(request: pytest.FixtureRequest) -> None:
    watch: Any = request.config.pluginmanager.get_plugin("canary-watch")
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(9)', 'mark-a83f'])"
    child = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    try:
        deadline = time.monotonic() + 8
        while not any(b"mark-a83f\0" in line and b"subprocess" not in line for line in watch.command_lines.seen):
            assert time.monotonic() < deadline, "the grandchild's command line was not seen"
            time.sleep(0.1)
    finally:
        os.killpg(child.pid, 9)
        child.wait()


def test_a_process_that_ends_while_it_is_looked_at_ends_nothing_but_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    children = [subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) for _ in range(2)]
    first, second = (Path("/proc") / str(child.pid) for child in children)
    listing = os.listdir

    def gone(path: Path) -> list[str]:
        if path == first / "task":
            raise FileNotFoundError(path)
        return listing(path)

    try:
        monkeypatch.setattr(os, "listdir", gone)
        assert {first, second} <= set(descendants(Path("/proc/self")))
    finally:
        for child in children:
            child.kill()
            child.communicate()


# ---------------------------------------------------------------- a run in workers

# Another label than the one that the watch over this run looks for: it would see the command line.
CONFTEST = """
from tests import canaries

canaries.NEGATIVE = "another-canary"
"""
QUIET = """
from tests import canaries

def test_a_log_and_a_spoiled_directory(tmp_path):
    (tmp_path / "node.log").write_text("listening")
    canaries.exempt(tmp_path / "spoiled")
    (tmp_path / "spoiled").mkdir()
    (tmp_path / "spoiled" / "node.log").write_text("repaid: another-canary")

def test_output():
    print("listening")
"""
LEAKY = """
import subprocess, sys, time

def test_a_file_and_output(tmp_path):
    (tmp_path / "node.log").write_text("repaid: another-canary")
    print("repaid: another-canary")

def test_a_command_line():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)", "another-canary"])
    time.sleep(1.0)
    child.kill()
    child.wait()
"""
BLIND = """
def test_the_watch_is_over(request):
    watch = request.config.pluginmanager.get_plugin("canary-watch")
    watch.command_lines.stop()
    watch.command_lines.join()
"""


def run_in_workers(folder: Path, tests: str) -> tuple[int, list[str]]:
    """(exit code, what the watch says) of a run of its own, with a worker for each test."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_planted.py").write_text(tests)
    count = tests.count("def test_")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", str(count), "-p", "tests.conftest", "-p", "no:cacheprovider",
         "--rootdir", str(folder), "--basetemp", str(folder / "base"), str(folder)],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120,
        check=False)
    assert f"{count} passed" in done.stdout, done.stdout + done.stderr
    _, _, said = done.stdout.partition("canaries outside their cage")
    return done.returncode, said.splitlines()[1:]


def test_a_run_in_workers_is_green_where_nothing_leaks_but_what_a_test_spoils_on_purpose(tmp_path: Path) -> None:
    assert run_in_workers(tmp_path, QUIET) == (0, [])


def test_what_leaks_in_a_worker_fails_the_run_and_is_named(tmp_path: Path) -> None:
    code, said = run_in_workers(tmp_path, LEAKY)
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "captured output: label: raw" in said
    assert "command line: label: raw" in said
    assert any(re.fullmatch(r"worker gw\d: command line: label: raw", line) for line in said)
    assert any(re.fullmatch(r"popen-gw\d/\w+/node.log: label: raw", line) for line in said)


def test_a_watch_that_ends_early_in_a_worker_fails_the_run(tmp_path: Path) -> None:
    code, said = run_in_workers(tmp_path, BLIND)
    assert code == pytest.ExitCode.TESTS_FAILED
    assert said[:2] == ["worker gw0: the watch over command lines ended before the run did", "1 in all"]


@given(prefix=st.binary(max_size=40), suffix=st.binary(max_size=40), needle=st.binary(min_size=8, max_size=30))
def test_the_haystack_finds_a_needle_wherever_it_lies(prefix: bytes, suffix: bytes, needle: bytes) -> None:
    assert Haystack({"needle": needle, "other": b"12345678"}).found(prefix + needle + suffix).count("needle") == 1


@given(data=st.binary(max_size=200), needle=st.binary(min_size=8, max_size=12))
def test_the_haystack_finds_what_is_there_and_nothing_else(data: bytes, needle: bytes) -> None:
    assert Haystack({"needle": needle}).found(data) == (["needle"] if needle in data else [])


def test_short_needles_are_refused() -> None:
    with pytest.raises(ValueError, match="eight bytes"):
        Haystack({"short": b"1234567"})
