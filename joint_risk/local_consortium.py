"""A whole consortium on this machine: real directories, certificates, daemons and a coordinator process.

Drives the same commands that a bank and an operator type. Owns all directories, so it may also look into them all.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mpc.protocols import PROTOCOLS
from wire.command import AT_THE_KEYBOARD
from wire.errors import OUR_BUG, exit_code, to_public

ROOT = Path(__file__).resolve().parents[1]
PURPOSE = "joint credit risk"
COORDINATOR = "coordinator"
RESULT = "result.json"  # in a cluster's directory: what run_local_cluster.py found, the pooled fit included
START_S = 60.0
STOP_S = 15.0
_HELD: list[socket.socket] = []   # the ports that this process gave to nodes


@dataclass
class LocalParty:
    """One institution: its table and what it offers of it."""

    id: str
    table: Path
    id_column: str | list[str]
    columns: list[str]
    label: str | None = None
    positive: str = "1"                                   # the label's value that means default
    extra: list[str] = field(default_factory=list)        # offered beside the features: weights, an offset
    categorical: list[str] = field(default_factory=list)
    id_profile: str = "plain"
    id_scheme: str = "written"
    approval: str = "auto"
    period: str | None = None   # the label holder's column that says which rows judge; no feature
    policy: dict[str, Any] = field(default_factory=dict)  # fields that differ from the permissive default


class CommandFailed(Exception):
    """A command ended with another code than 0; `envelope` is its JSON, if it printed one."""

    def __init__(self, command: Sequence[str], code: int, stdout: str, stderr: str) -> None:
        super().__init__(f"{' '.join(command[2:5])} ended with code {code}:\n{stderr[-4000:]}")
        self.code, self.stdout, self.stderr = code, stdout, stderr
        self.envelope: dict[str, Any] = {}
        with contextlib.suppress(ValueError, IndexError):
            self.envelope = json.loads(stdout.strip().splitlines()[-1])

    @property
    def interrupted(self) -> bool:
        """Whether a person stopped it at the keyboard."""
        error = self.envelope.get("error", {})
        return (error.get("code"), error.get("what")) == (AT_THE_KEYBOARD.code, AT_THE_KEYBOARD.what)


def told(error: Exception, as_json: bool) -> int:
    """A script's failure as the commands tell theirs, at the process edge; the exit code. Our own bugs go on up."""
    if (code := exit_code(error)) == OUR_BUG:
        raise error
    public = to_public(error, "this machine")
    sys.stderr.write(f"{public.code}: {public}\n")
    if as_json:
        sys.stdout.write(json.dumps({"ok": False, "code": code, "error": vars(public)}) + "\n")
    return code


def command(module: str, *arguments: str, show: bool = False, timeout: float = 3600) -> dict[str, Any]:
    """Run `python -m module ... --json`; returns the data of its envelope. `show` passes its stderr through."""
    line = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=None if show else subprocess.PIPE,
                          text=True, timeout=timeout, check=False)
    if done.returncode != 0:
        raise CommandFailed(line, done.returncode, done.stdout, done.stderr or "")
    return dict(json.loads(done.stdout.strip().splitlines()[-1])["data"])


def command_here(module: str, *arguments: str) -> dict[str, Any]:
    """The same in this process: to start one takes ten times as long as what most commands do."""
    run: Callable[[Sequence[str]], int] = importlib.import_module(f"{module}.__main__").run_command
    line, out, err = [*arguments, "--json"], io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(line)
    if code != 0:
        failed = CommandFailed([sys.executable, "-m", module, *line], code, out.getvalue(), err.getvalue())
        if failed.interrupted:
            raise KeyboardInterrupt         # it was for all of this process
        raise failed
    return dict(json.loads(out.getvalue())["data"])


def free_ports(count: int) -> list[int]:
    """Ports that nobody else is given while this process lives: a socket that never listens stays bound to each, and
    only who asks for that very port may share it. A node that was stopped finds its own free when it starts again."""
    held = [socket.socket() for _ in range(count)]
    _HELD.extend(held)
    for one in held:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("127.0.0.1", 0))
    return [int(one.getsockname()[1]) for one in held]


class LocalCluster:
    """Directories and processes of one consortium under `home`."""

    program = "party_node"    # the module that a node runs

    def __init__(self, home: Path, parties: Sequence[LocalParty]) -> None:
        self.home, self.parties = home.absolute(), list(parties)  # commands run in another folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def directory(self, party: str) -> Path:
        return self.home / party

    def node(self, party: str, *arguments: str) -> dict[str, Any]:
        """Run a `party-node` command of `party`."""
        return command_here("party_node", "--dir", str(self.directory(party)), *arguments)

    # ------------------------------------------------------------------ making

    def make(self) -> None:
        """Everything up to registered datasets; removes what an earlier run left."""
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir(parents=True, mode=0o700)
        ports = iter(free_ports(2 * len(self.parties)))
        addresses = {party.id: (f"127.0.0.1:{next(ports)}", f"127.0.0.1:{next(ports)}") for party in self.parties}
        for party in self.parties:
            self._init(party.id, *addresses[party.id])
        command_here("coordinator", "init", "--dir", str(self.directory(COORDINATOR)))
        self.write_consortium()
        for party in self.parties:
            self._furnish(party)

    def _init(self, party: str, listen: str, doctor: str) -> None:
        self.node(party, "init", "--party", party, "--listen", listen, "--doctor-listen", doctor)

    def write_consortium(self) -> None:
        """One file from everybody's entries, for everybody."""
        entries = [(self.directory(COORDINATOR) / "entry.toml").read_text()]
        entries += [(self.directory(party.id) / "entry.toml").read_text() for party in self.parties]
        text = "version = 1\n\n" + "\n".join(entries)
        self.consortium_file.write_text(text)
        target = self.directory(COORDINATOR) / "consortium.toml"
        target.write_text(text)
        target.chmod(0o600)

    @property
    def consortium_file(self) -> Path:
        return self.home / "consortium.toml"

    def _furnish(self, party: LocalParty) -> None:
        self.node(party.id, "join", str(self.consortium_file))
        self.register(party)

    def register(self, party: LocalParty) -> dict[str, Any]:
        """Write the dataset's TOML and register it."""
        file = self.directory(party.id) / "dataset.toml"
        file.write_text(dataset_toml(party, [p.id for p in self.parties if p.id != party.id]))
        file.chmod(0o600)
        return self.node(party.id, "dataset", "register", str(file))

    # ------------------------------------------------------------------ processes

    def start(self, *parties: str) -> None:
        """Start the nodes (all, if none is named) and wait until they listen."""
        names = parties or tuple(party.id for party in self.parties)
        for name in names:
            ready = self.directory(name) / "ready.json"
            ready.unlink(missing_ok=True)
            private = os.open(self.directory(name) / "process.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            log = os.fdopen(private, "wb")
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", self.program, "--dir", str(self.directory(name)), "run",
                 "--ready-file", str(ready)],
                cwd=ROOT, stdout=log, stderr=log,
            )
            log.close()
        for name in names:
            self._wait_ready(name)

    def _wait_ready(self, name: str) -> None:
        deadline = time.monotonic() + START_S
        while not (self.directory(name) / "ready.json").exists():
            code = self.processes[name].poll()
            if code is not None or time.monotonic() > deadline:
                text = (self.directory(name) / "process.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"the node of {name} did not start (code {code}):\n{text}")
            time.sleep(0.05)

    def stop(self) -> dict[str, int]:
        """SIGTERM to all nodes; their exit codes."""
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        codes = {}
        for name, process in self.processes.items():
            try:
                codes[name] = process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                codes[name] = process.wait()
        self.processes.clear()
        return codes

    def kill(self, party: str) -> None:
        """SIGKILL to one node."""
        self.processes[party].kill()
        self.processes[party].wait()

    @contextlib.contextmanager
    def running(self) -> Iterator[LocalCluster]:
        """Nodes up inside the block, stopped after it."""
        try:
            self.start()
            yield self
        finally:
            self.stop()

    # ------------------------------------------------------------------ jobs

    def launch(
        self, job: dict[str, Any], *, show: bool = False, timeout: float = 7200, prepared: str = ""
    ) -> dict[str, Any]:
        """`coordinator launch`, on what the job `prepared` made ahead; the public record. CommandFailed otherwise."""
        more = ["--prepared", prepared] if prepared else []
        return command("coordinator", *self.launch_arguments(job), *more, show=show, timeout=timeout)

    def precompute(self, job: dict[str, Any], *, show: bool = False, timeout: float = 7200) -> dict[str, Any]:
        """`coordinator precompute`; as `launch`."""
        return command("coordinator", "precompute", *self.launch_arguments(job)[1:], show=show, timeout=timeout)

    def launch_arguments(self, job: dict[str, Any]) -> list[str]:
        """Write job.toml; the arguments of `coordinator launch`."""
        file = self.home / "job.toml"
        file.write_text(toml(job))
        return ["launch", str(file), "--dir", str(self.directory(COORDINATOR)), "--json"]


def dataset_toml(party: LocalParty, partners: list[str]) -> str:
    """A permissive policy for this machine's own experiments, with the party's own changes."""
    revealed = sorted(line.code for p in PROTOCOLS.values() for line in p.ledger if line.kind == "revealed")
    policy = {
        "purposes": [PURPOSE], "partners": partners, "coordinators": [COORDINATOR],
        "use_label": party.label is not None, "minimum_rows": 1, "minimum_hold_out": 1, "largest_weight": 100.0,
        "minimum_noise": 0.0,
        "key_bits": 2048, "reveal": revealed,
        "release": ["metrics", "curves", "correlations", "row_counts", "timings"], "approval": party.approval,
        "budgets": {"feature_equations": 1_000_000, "training_rounds": 100_000, "alignments": 1000,
                    "alignments_per_partner": 1000, "score_calls": 1000, "scored_models": 1000,
                    "period_splits": 1000},
    } | party.policy
    document: dict[str, Any] = {
        "name": "table", "source": os.path.abspath(party.table), "id": party.id_column, "id_profile": party.id_profile,
        "id_scheme": party.id_scheme,
        "offered": [*party.columns, *party.extra],
        "categorical": party.categorical,
    }
    if party.label is not None:
        document |= {"label": party.label, "label_positive": party.positive}
    if party.period is not None:
        document["period"] = party.period
    return toml(document | {"policy": policy})


def toml(document: dict[str, Any], prefix: str = "") -> str:
    """The little TOML that these files need: scalars, lists, tables, lists of tables."""
    plain, tables = [], []
    for key, value in document.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            tables.append(f"\n[{name}]\n{toml(value, f'{name}.')}")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            tables.extend(f"\n[[{name}]]\n{toml(item, f'{name}.')}" for item in value)
        else:
            plain.append(f"{key} = {json.dumps(value, ensure_ascii=False)}\n")
    return "".join(plain + tables)
