"""A consortium of real processes for tests: tables full of canaries, commands with a clock, jobs in the background.

Commands and daemons are the ones that a bank and an operator use; nothing of a node is replaced or reached into.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from joint_risk.local_consortium import COORDINATOR, PURPOSE, ROOT, LocalCluster, LocalParty, dataset_toml
from party_node.commands.operator import run_command
from party_node.config import PartyDirectory
from party_node.records.store import Store
from tests import canaries
from tests.loose_ends import SENTENCES

LABEL = "dpd90_12m"
ALARMS = (
    *SENTENCES, "Traceback (most recent call last)", "Exception ignored", "never awaited",
    "Unhandled exception", '"code": "bug"', "a bug in party-node", "an unexpected failure",
)
RUN_S = 180.0
FAMILY = {"bank": ["age", "income", "region"], "shop": ["basket", "visits"], "telco": ["calls", "topups"]}
PRESENT = {"bank": (0, 260), "shop": (40, 300), "telco": (20, 280)}
FEW_COLUMNS = {"minimum_columns": 1}   # said by policies and jobs: the tables here have two or three
COMMON_OF_TWO = 220
COMMON_OF_THREE = 220
FLOORS = {"minimum_hold_out": 40}   # the tables of a scene are small, so its jobs and policies say so


@dataclass(frozen=True)
class Ran:
    """One command: exit code, JSON envelope (empty if none), text for people, seconds."""

    code: int
    envelope: Mapping[str, Any]
    text: str
    seconds: float

    @property
    def data(self) -> dict[str, Any]:
        assert self.code == 0, self.text
        return dict(self.envelope["data"])

    @property
    def error(self) -> dict[str, str]:
        assert self.code != 0, "the command succeeded"
        return dict(self.envelope["error"])


@dataclass
class Background:
    """A coordinator that runs beside the test."""

    process: subprocess.Popen[bytes]
    out: Path
    err: Path
    began: float = field(default_factory=time.monotonic)

    @property
    def text(self) -> str:
        return self.err.read_text(errors="replace")

    def until(self, pattern: str, timeout: float = RUN_S) -> re.Match[str]:
        """Wait for a line on its stderr."""
        deadline = time.monotonic() + timeout
        while (found := re.search(pattern, self.text)) is None:
            assert self.process.poll() is None, f"ended before {pattern!r}:\n{self.text}"
            assert time.monotonic() < deadline, f"no {pattern!r} in {timeout} s:\n{self.text}"
            time.sleep(0.02)
        return found

    def iterating(self) -> None:
        """Wait until every party is in the midst of training."""
        for party in re.findall(r"\w+", self.until(r"proposed to ([\w, -]+)")[1]):
            self.until(rf"{party} +train +iterations")

    def job(self) -> str:
        """How the id of the job begins."""
        return self.until(r"job ([0-9a-f]{12}) proposed")[1]

    def wait(self, timeout: float = RUN_S) -> Ran:
        """Its end; `seconds` counts from this call."""
        began = time.monotonic()
        code = self.process.wait(timeout)
        return Ran(code, envelope(self.out.read_text()), self.text, time.monotonic() - began)


def envelope(out: str) -> dict[str, Any]:
    """The one JSON object on stdout, or nothing."""
    lines = out.strip().splitlines()
    assert len(lines) <= 1, out
    return dict(json.loads(lines[0])) if lines else {}


class Scene(LocalCluster):
    """A cluster whose commands never raise: a failure is what most tests want to see."""

    def __init__(self, home: Path, parties: Sequence[LocalParty]) -> None:
        super().__init__(home, parties)
        self.heard: list[str] = []       # stderr of every command
        self._read: dict[Path, int] = {}  # how much of each log was looked at
        self._jobs = 0

    # ------------------------------------------------------------------ commands

    def coordinator(self, *arguments: str, timeout: float = RUN_S) -> Ran:
        """A coordinator command in a process of its own."""
        return self._process("coordinator", *arguments, "--dir", str(self.directory(COORDINATOR)), "--json",
                             timeout=timeout)

    def node_process(self, party: str, *arguments: str, timeout: float = RUN_S) -> Ran:
        """A party-node command in a process of its own."""
        return self._process("party_node", "--dir", str(self.directory(party)), "--json", *arguments, timeout=timeout)

    def _process(self, module: str, *arguments: str, timeout: float) -> Ran:
        began = time.monotonic()
        done = subprocess.run([sys.executable, "-m", module, *arguments], cwd=ROOT, capture_output=True, text=True,
                              timeout=timeout, check=False)
        self.heard.append(done.stderr)
        return Ran(done.returncode, envelope(done.stdout), done.stderr, time.monotonic() - began)

    def operator(self, party: str, *arguments: str) -> Ran:
        """A party-node command in this process, where the process is not the point."""
        began, out, err = time.monotonic(), io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run_command(["--dir", str(self.directory(party)), "--json", *arguments])
        self.heard.append(err.getvalue())
        return Ran(code, envelope(out.getvalue()), err.getvalue(), time.monotonic() - began)

    # ------------------------------------------------------------------ tables

    def offer(
        self, party: str, name: str, table: str | bytes, columns: Sequence[str] | None = None, **change: Any
    ) -> Ran:
        """Write a table and register it as another dataset of `party`; `change` goes to LocalParty."""
        path = self.home / "tables" / f"{party}-{name}.csv"
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.write_bytes(table.encode() if isinstance(table, str) else table)
        known = next(p for p in self.parties if p.id == party)
        offered = LocalParty(**(vars(known) | {"table": path, "columns": list(columns or known.columns)} | change))
        offered.policy = FEW_COLUMNS | offered.policy
        text = dataset_toml(offered, [p.id for p in self.parties if p.id != party])
        file = self.directory(party) / f"{name}.toml"
        file.write_text(text.replace('name = "table"', f'name = "{name}"'))
        file.chmod(0o600)
        return self.operator(party, "dataset", "register", str(file))

    # ------------------------------------------------------------------ jobs

    def job(self, datasets: Mapping[str, str] | None = None, **change: Any) -> dict[str, Any]:
        """job.toml of all parties; `datasets` where a party's is not `table`, `change` replaces whole entries."""
        chosen = {party.id: "table" for party in self.parties} | dict(datasets or {})
        return {
            "purpose": PURPOSE,
            "party": [{"id": party, "dataset": name} for party, name in chosen.items()],
            "label": {"party": "bank", "column": LABEL, "positive": canaries.POSITIVE},
            "training": {"penalty": 1e-2, "iterations": 8, "expected_default_rate": 0.3},
            "crypto": {"key_bits": 2048},
            "hold_out": {"fraction": 0.3, "seed": "1", **FLOORS},
            "scores": FEW_COLUMNS,
        } | change

    @property
    def long_iterations(self) -> int:
        """Of `long_job`: with three parties an iteration takes longer, and so does what comes before the first."""
        return 80 if len(self.parties) == 2 else 40

    def long_job(self) -> dict[str, Any]:
        """Many seconds of training."""
        return self.job(training={"penalty": 1e-2, "iterations": self.long_iterations, "expected_default_rate": 0.3})

    def launch_arguments(self, job: dict[str, Any]) -> list[str]:
        arguments = super().launch_arguments(job)
        self._jobs += 1
        file = self.home / f"job-{self._jobs}.toml"
        (self.home / "job.toml").rename(file)
        return [arguments[0], str(file), *arguments[2:]]

    def run(self, job: dict[str, Any], *more: str, timeout: float = RUN_S) -> Ran:
        """`coordinator launch` to its end."""
        return self._process("coordinator", *self.launch_arguments(job), *more, timeout=timeout)

    def ahead(self, job: dict[str, Any]) -> Ran:
        """`coordinator precompute` to its end."""
        return self._process("coordinator", "precompute", *self.launch_arguments(job)[1:], timeout=RUN_S)

    def begin(self, job: dict[str, Any], *more: str) -> Background:
        """`coordinator launch` in the background."""
        arguments = [*self.launch_arguments(job), *more]
        out, err = (self.home / f"launch-{self._jobs}.{end}" for end in ("out", "err"))
        with out.open("wb") as stdout, err.open("wb") as stderr:
            # A shell that starts the tests in the background has them ignore SIGINT, and children inherit that.
            process = subprocess.Popen([sys.executable, "-m", "coordinator", *arguments], cwd=ROOT, stdout=stdout,
                                       stderr=stderr, preexec_fn=_heed_interrupts)
        return Background(process, out, err)

    # ------------------------------------------------------------------ what a node knows

    def last_job(self, party: str) -> dict[str, Any]:
        """The newest job of a node, as `party-node jobs` shows it."""
        jobs = self.operator(party, "jobs").data["jobs"]
        return dict(jobs[-1]) if jobs else {}

    def jobs(self, party: str) -> list[str]:
        return [str(job["job"]) for job in self.operator(party, "jobs").data["jobs"]]

    def ended(self, party: str, timeout: float = 30.0) -> dict[str, Any]:
        """The newest job of a node once it is over."""
        deadline = time.monotonic() + timeout
        while (row := self.last_job(party))["state"] == "running":
            assert time.monotonic() < deadline, f"{party} still runs its job after {timeout} s"
            time.sleep(0.1)
        return row

    def models(self, party: str) -> set[str]:
        """What lies in the models directory."""
        return set(os.listdir(self.directory(party) / "models"))

    def listed_models(self, party: str) -> set[str]:
        """Models that the node's state lists."""
        store = Store(PartyDirectory(self.directory(party)).state_db)
        try:
            return {row.name for row in store.models()}
        finally:
            store.close()

    def audit_lines(self, party: str) -> list[dict[str, Any]]:
        """The audit log, line by line."""
        return [json.loads(line) for line in PartyDirectory(self.directory(party)).audit_log.read_text().splitlines()]

    # ------------------------------------------------------------------ processes

    def all_up(self) -> None:
        """Start whatever does not run."""
        down = [p.id for p in self.parties if p.id not in self.processes or self.processes[p.id].poll() is not None]
        if down:
            self.start(*down)

    @contextlib.contextmanager
    def without(self, party: str) -> Iterator[None]:
        """`party`'s node is stopped inside the block and up again after it."""
        self.stop_one(party)
        try:
            yield
        finally:
            self.all_up()

    def stop_one(self, party: str) -> int:
        """SIGTERM to one node; its exit code."""
        process = self.processes[party]
        process.send_signal(signal.SIGTERM)
        return process.wait(20)

    @contextlib.contextmanager
    def changed(self, *files: Path) -> Iterator[None]:
        """Whatever the block writes into `files` is undone after it."""
        before = [file.read_bytes() for file in files]
        try:
            yield
        finally:
            for file, data in zip(files, before, strict=True):
                file.write_bytes(data)

    def alarms(self) -> list[str]:
        """Tracebacks and bugs in what processes of this scene have written since the last call."""
        fresh = [("stderr of a command", text) for text in self.heard]
        self.heard = []
        for file in sorted(self.home.rglob("*")):
            if file.suffix in (".log", ".err") and file.is_file():
                data = file.read_bytes()
                text = data[self._read.get(file, 0):].decode(errors="replace")
                fresh.append((f"{file.parent.name}/{file.name}", text))
                self._read[file] = len(data)
        return [f"{where}: {alarm}\n{text[-2000:]}" for where, text in fresh for alarm in ALARMS if alarm in text]


# ---------------------------------------------------------------- tables


def csv(columns: Mapping[str, Sequence[Any]]) -> str:
    """Columns as CSV text."""
    rows = zip(*columns.values(), strict=True)
    return "\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]) + "\n"


def world(size: int = 400) -> dict[str, list[Any]]:
    """All customers with all that anybody could know of them; the label depends on every party's columns."""
    draw = np.random.default_rng(20)
    age, income, basket, visits, calls, topups = draw.normal(size=(6, size))
    level = draw.integers(0, 3, size)
    logit = 0.8 * age - 0.6 * basket + 0.7 * calls + 0.5 * (level == 1) - 0.9
    bad = draw.random(size) < 1 / (1 + np.exp(-logit))
    cells: dict[str, list[Any]] = {
        "customer": [canaries.canary_id(k) for k in range(size)],
        "age": [f"{v:.4f}" for v in age],
        "income": [f"{canaries.number(v / 4):.4f}" for v in income],
        "region": [canaries.LEVELS[k] for k in level],
        LABEL: [canaries.POSITIVE if b else canaries.NEGATIVE for b in bad],
    }
    numbers = {"basket": basket, "visits": visits, "calls": calls, "topups": topups}
    return cells | {name: [f"{v:.4f}" for v in values] for name, values in numbers.items()}


def table(party: str, start: int | None = None, stop: int | None = None, **columns: Sequence[Any]) -> str:
    """`party`'s table of customers start..stop; `columns` replaces or adds columns."""
    low, high = PRESENT[party]
    low, high = (low if start is None else start), (high if stop is None else stop)
    names = ["customer", *FAMILY[party], *([LABEL] if party == "bank" else [])]
    known = world()
    return csv({name: known[name][low:high] for name in names} | columns)


def make_scene(home: Path, parties: Sequence[str], **change: Any) -> Scene:
    """Directories, certificates and registered tables; no process yet. `change` goes to every LocalParty."""
    home.mkdir(parents=True, mode=0o700)
    made = []
    for party in parties:
        path = home / f"{party}.csv"
        path.write_text(table(party))
        made.append(LocalParty(**({
            "id": party, "table": path, "id_column": "customer", "columns": FAMILY[party],
            "label": LABEL if party == "bank" else None, "positive": canaries.POSITIVE,
            "policy": {"minimum_difference": 0, **FLOORS},
        } | change)))
        made[-1].policy = FEW_COLUMNS | made[-1].policy
    scene = Scene(home / "cluster", made)
    scene.make()
    return scene


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
