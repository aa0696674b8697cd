"""A node under siege by a member and by strangers: its job goes on, a new one starts, and its memory stays."""

from __future__ import annotations

import contextlib
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coordinator.config import CoordinatorDirectory
from coordinator.jobs.node_client import connect
from joint_risk.local_consortium import COORDINATOR, ROOT
from tests.e2e.scene import Background, Scene, make_scene

VICTIM, BESIEGER = "telco", "shop"        # the one with the lower id dials
MEMORY = 64 << 20
DESCRIPTORS = 1024                        # what most systems give a process


@pytest.fixture(scope="module")
def three_of_them(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    scene = make_scene(tmp_path_factory.mktemp("doors") / "home", ["bank", BESIEGER, VICTIM])
    try:
        yield scene
    finally:
        scene.stop()


@contextlib.contextmanager
def descriptors(soft: int, hard: int | None = None) -> Iterator[None]:
    """What is started in the block may have so many. Only the soft limit comes back for this process itself."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1] if hard is None else hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


class Siege:
    """The other process; a context that begins once everything is held."""

    def __init__(self, scene: Scene, *more: str) -> None:
        home = str(scene.directory(BESIEGER))
        self._command = [sys.executable, "-m", "tests.e2e.siege", home, BESIEGER, VICTIM, *more]
        self._log = scene.home / "siege.txt"

    def __enter__(self) -> Siege:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            self.until("held")
        except BaseException:
            self.__exit__()
            raise
        return self

    def until(self, word: str) -> None:
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        assert said == f"{word}\n", self._log.read_text(errors="replace")[-2000:]

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def job_of_two(scene: Scene, iterations: int) -> dict[str, Any]:
    parties = [{"id": party, "dataset": "table"} for party in ("bank", VICTIM)]
    return scene.job(party=parties, training={
        "penalty": 1e-2, "iterations": iterations, "expected_default_rate": 0.3})


def memory(scene: Scene, line: str) -> int:
    """VmRSS or VmHWM of the victim in bytes."""
    status = Path(f"/proc/{scene.processes[VICTIM].pid}/status").read_text()
    return int(next(row.split()[1] for row in status.splitlines() if row.startswith(line))) << 10


async def seconds_to_be_described(scene: Scene) -> float:
    _, consortium, identity = CoordinatorDirectory(scene.directory(COORDINATOR)).load()
    node = connect(consortium, identity)[VICTIM]
    began = time.monotonic()
    try:
        assert (await node.describe()).party == VICTIM
        return time.monotonic() - began
    finally:
        await node.close()


def peak_begins_anew(scene: Scene) -> None:
    Path(f"/proc/{scene.processes[VICTIM].pid}/clear_refs").write_text("5")


def running_job(scene: Scene) -> Background:
    launch = scene.begin(job_of_two(scene, 40))
    launch.until(rf"{VICTIM} +train +iterations")
    return launch


@pytest.mark.large
async def test_a_running_job_goes_on_a_new_one_starts_and_memory_stays(three_of_them: Scene) -> None:
    scene = three_of_them
    with descriptors(DESCRIPTORS):
        scene.start("bank", VICTIM)
    undisturbed = running_job(scene)               # the same two jobs without a siege
    assert scene.run(job_of_two(scene, 8)).code == 0
    assert undisturbed.wait().code == 0
    before = memory(scene, "VmHWM")
    peak_begins_anew(scene)
    running = running_job(scene)
    with Siege(scene) as siege:
        assert running.process.poll() is None
        described = [await seconds_to_be_described(scene) for _ in range(5)]
        new = scene.begin(job_of_two(scene, 8))
        new.job()
        asked = time.monotonic()
        new.until(rf"{VICTIM} +align")
        started = time.monotonic() - asked
        ended, other = running.wait(), new.wait()
        assert (ended.code, other.code) == (0, 0), ended.text + other.text
        siege.until("flooded")
    grown = memory(scene, "VmHWM") - before
    print(f"described in {max(described):.2f} s at the most, started in {started:.2f} s, grown by {grown >> 20} MiB")
    assert max(described) < 5
    assert started < 5
    assert grown < MEMORY, f"{grown >> 20} MiB"
    assert scene.alarms() == []


@pytest.mark.large
async def test_without_the_doors_strangers_alone_stop_a_node(three_of_them: Scene) -> None:
    """The control: gRPC's own patience, and the descriptors that a process is born with."""
    scene = three_of_them
    scene.stop()
    scene.program = "tests.e2e.careless_node"
    with descriptors(DESCRIPTORS):
        scene.start("bank", VICTIM)
    with Siege(scene, "strangers"):
        time.sleep(5)                      # longer than the patience that would have closed them
        ran = scene.coordinator("plan", scene.launch_arguments(job_of_two(scene, 8))[1], "--no-rehearsal")
    assert ran.code != 0
    assert ran.error["whose"] == VICTIM
