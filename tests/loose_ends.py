"""Watches the whole run for tasks, futures and generators that nobody awaited: the event loop says so in its log only,
when the collector finds them. A hit fails the run at its end and names the test that ran then; workers tell the
controller what they heard.
"""

from __future__ import annotations

import gc
import logging
import os
import re

import pytest

SENTENCES = (
    "exception was never retrieved",                 # Task and Future
    "Task was destroyed but it is pending",
    "unhandled exception during asyncio.run() shutdown",
    "Unhandled exception in client_connected_cb",
    "an error occurred during closing of asynchronous generator",
)
ACCOUNT = "loose-ends"
SAID = re.compile("|".join(map(re.escape, SENTENCES)))


class LooseEnds(logging.Handler):
    """The plugin: collects what the loops log, looks at the end."""

    def __init__(self, config: pytest.Config) -> None:
        super().__init__(logging.ERROR)
        self.config = config
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if SAID.search(text):
            self.found.append(f"{os.environ.get('PYTEST_CURRENT_TEST', 'between tests')}: {text}")

    def pytest_sessionstart(self) -> None:
        logging.getLogger("asyncio").addHandler(self)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        gc.collect()
        logging.getLogger("asyncio").removeHandler(self)
        output = getattr(self.config, "workeroutput", None)
        if output is not None:
            output[ACCOUNT] = self.found
        if self.found and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object) -> None:
        self.found += getattr(node, "workeroutput", {}).get(ACCOUNT, [])

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.found:
            terminalreporter.section("started and never awaited", sep="!", red=True)
            for one in self.found[:100]:
                terminalreporter.line(one)
            terminalreporter.line(f"{len(self.found)} in all")
