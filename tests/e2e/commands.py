"""Commands in processes of their own that do not each load their libraries: one process has, and forks for every one.

The command's process is as it would be otherwise: its own standard streams, signals, exit code and end of the
interpreter. Only its line in /proc is the forking process's, so a line is searched for canaries before it is run.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from joint_risk.local_consortium import ROOT
from mpc.testing.haystack import Haystack
from tests import canaries

PROGRAMS = ("coordinator", "party_node")
START_S = 60.0


class Command:
    """One that was started: what a test does with a `subprocess.Popen`."""

    def __init__(self, pid: int, commands: Commands) -> None:
        self.pid, self._commands = pid, commands

    def poll(self) -> int | None:
        """Its exit code, or minus the signal that ended it; None while it runs."""
        return self._commands.code(self.pid, 0.0)

    def wait(self, timeout: float) -> int:
        """Its exit code once it has ended."""
        deadline = time.monotonic() + timeout
        while (code := self._commands.code(self.pid, max(0.0, deadline - time.monotonic()))) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("a command of the test", timeout)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Commands:
    """The process that forks, from this side."""

    def __init__(self) -> None:
        self._server = subprocess.Popen([sys.executable, "-m", "tests.e2e.commands"], cwd=ROOT, bufsize=0,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._asked, self._told = self._server.stdin, self._server.stdout
        self._started: list[int] = []
        self._codes: dict[int, int] = {}
        self._rest = b""

    def __enter__(self) -> Commands:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.communicate(timeout=20)   # it ends with its input

    def start(self, module: str, arguments: Sequence[str], out: Path, err: Path) -> Command:
        """`python -m module arguments` with its output in `out` and `err`."""
        found = _values().found("\0".join(arguments).encode())
        assert not found, f"a command line holds {found}"
        request = {"module": module, "arguments": list(arguments), "out": str(out), "err": str(err)}
        self._asked.write(json.dumps(request).encode() + b"\n")
        while not self._started:
            self._listen(START_S)
        return Command(self._started.pop(), self)

    def code(self, pid: int, timeout: float) -> int | None:
        """The exit code of `pid`, if it is told in time."""
        if pid not in self._codes:
            self._listen(timeout)
        return self._codes.get(pid)

    def _listen(self, timeout: float) -> None:
        if not select.select([self._told], [], [], timeout)[0]:
            return
        heard = self._told.read(1 << 16)
        assert heard, "the process that forks has ended"
        *lines, self._rest = (self._rest + heard).split(b"\n")
        for pid, *code in (map(int, line.split()) for line in lines):
            if code:
                self._codes[pid] = code[0]
            else:
                self._started.append(pid)


@functools.cache
def _values() -> Haystack:
    return canaries.haystack(canaries.data_needles())


def serve() -> None:
    """Fork for every request on stdin; tell `pid` of what was started and `pid code` of what has ended."""
    for name in PROGRAMS:
        importlib.import_module(f"{name}.__main__")
    ended, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    while True:
        ready, _, _ = select.select([0, ended], [], [])
        if ended in ready:
            os.read(ended, 1 << 12)
            for pid, status in iter(_reaped, None):
                os.write(1, b"%d %d\n" % (pid, os.waitstatus_to_exitcode(status)))
        if 0 in ready:
            line = b""
            while not line.endswith(b"\n"):
                more = os.read(0, 1 << 16)
                if not more:
                    return
                line += more
            request = json.loads(line)
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                os.close(ended), os.close(wake)
                become(request)
                return
            os.write(1, b"%d\n" % pid)


def _reaped() -> tuple[int, int] | None:
    """A child that has ended and nobody was told of."""
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, status) if pid else None


def become(request: dict[str, Any]) -> None:
    """Run the command; ends in SystemExit, as the program does."""
    # A shell that starts the tests in the background has them ignore SIGINT, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    null = os.open(os.devnull, os.O_RDONLY)
    files = [os.open(request[end], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600) for end in ("out", "err")]
    for own, standard in zip([null, *files], (0, 1, 2), strict=True):
        os.dup2(own, standard)
        os.close(own)
    program = importlib.import_module(f"{request['module']}.__main__")
    sys.argv = [request["module"], *request["arguments"]]
    program.main()


if __name__ == "__main__":
    serve()
