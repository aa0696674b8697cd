"""Watches the whole run for canaries: command lines of all child processes, captured output, whatever is left on disk.

A hit fails the run at its end and names file and canary, never the value. Where tests run in workers (pytest-xdist),
each worker watches its own children and the controller looks at everything: what workers captured comes with their
reports, what they left lies under its directory, and each ends with an account of its watch.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests import canaries
from tests.chromium import chromium, show  # noqa: F401 fixtures of whoever looks at pages
from tests.loose_ends import LooseEnds

settings.register_profile("fixed", derandomize=True)  # the same examples in every run
settings.register_profile("fresh")  # make fuzz: new ones each time
settings.load_profile("fixed")

SAMPLE_S = 0.2
ACCOUNT = "canary-watch"
"""Under this name a worker tells the controller how its watch ended."""


class CommandLines(threading.Thread):
    """Notes the command lines of all descendants of this process while they run."""

    def __init__(self) -> None:
        super().__init__(name="command-lines", daemon=True)
        self.seen: set[bytes] = set()
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(SAMPLE_S):
            self.sample()

    def sample(self) -> None:
        """One look."""
        for process in descendants(Path("/proc/self")):
            try:
                self.seen.add((process / "cmdline").read_bytes())
            except OSError:  # it has ended meanwhile
                continue

    def stop(self) -> None:
        self._over.set()


def descendants(process: Path) -> Iterator[Path]:
    """Children, their children and so on."""
    try:
        tasks = os.listdir(process / "task")
    except OSError:  # it has ended meanwhile
        return
    for task in tasks:
        try:
            children = (process / "task" / task / "children").read_text().split()
        except OSError:
            continue
        for child in children:
            yield Path("/proc") / child
            yield from descendants(Path("/proc") / child)


class CanaryWatch:
    """The plugin: collects while tests run, looks at the end."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.command_lines = CommandLines()
        self.output: list[bytes] = []
        self.leaks: list[str] = []

    def pytest_sessionstart(self) -> None:
        self.command_lines.start()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.passed:  # the account of a failed test quotes its source
            self.output += [text.encode() for _, text in report.sections]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        account = getattr(node, "workeroutput", {}).get(ACCOUNT)
        if account is None:
            self.leaks.append(f"worker {node.gateway.id} ended without an account of its watch")
            return
        self.leaks += [f"worker {node.gateway.id}: {leak}" for leak in account["leaks"]]
        for path in account["exempt"]:
            canaries.exempt(Path(path))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not self.command_lines.is_alive():
            self.leaks.append("the watch over command lines ended before the run did")
        self.command_lines.stop()
        values = canaries.haystack(canaries.data_needles())
        self.leaks += [f"command line: {name}" for line in self.command_lines.seen for name in values.found(line)]
        output = getattr(self.config, "workeroutput", None)
        if output is not None:   # a worker: the controller looks at the rest
            output[ACCOUNT] = {"leaks": self.leaks, "exempt": canaries.exempted()}
            return
        self.leaks += [f"captured output: {name}" for text in self.output for name in values.found(text)]
        base = self._base()
        if base is not None:
            self.leaks += canaries.leaks(base) + canaries.loose_modes(base)
        if self.leaks and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _base(self) -> Path | None:
        """Where all temporary directories of this run are; None if no test asked for one."""
        factory = getattr(self.config, "_tmp_path_factory", None)
        base: Path | None = getattr(factory, "_basetemp", None)
        return base

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.leaks:
            terminalreporter.section("canaries outside their cage", sep="!", red=True)
            for leak in self.leaks[:100]:
                terminalreporter.line(leak)
            terminalreporter.line(f"{len(self.leaks)} in all")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(CanaryWatch(config), ACCOUNT)
    config.pluginmanager.register(LooseEnds(config), "loose-ends")
