"""What the operator sees: live progress per stage and party on stderr, one JSON envelope on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from coordinator.driver import JobEvent
from wire.errors import PublicError

error_console = Console(stderr=True)


class ProgressScreen:
    """One bar per party: its stage, what it does, how far it is, and when that will be done."""

    def __init__(self, parties: list[str]) -> None:
        self._plain = not error_console.is_terminal
        self._last: dict[str, str] = {}
        self._progress = Progress(
            TextColumn("{task.fields[party]:>14}"), TextColumn("{task.fields[stage]:<9}"),
            TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            console=error_console, transient=False, disable=self._plain,
        )
        self._tasks: dict[str, TaskID] = {
            party: self._progress.add_task("waiting", party=party, stage="", total=None) for party in parties
        }

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """A line above the bars."""
        error_console.print(text, highlight=False, markup=False)

    def show(self, event: JobEvent) -> None:
        """One event of one party."""
        what = f"{event.stage} · {event.what}" if event.state == "running" else event.state
        changed = what != self._last.get(event.party)
        self._last[event.party] = what
        if self._plain:
            over = event.state != "running"
            if over or (changed and event.what == "begins"):
                self.say(f"{event.party:>14}  {event.stage:<9} {event.state if over else event.what}")
            return
        task = self._tasks[event.party]
        if changed:
            self._progress.reset(task)
        self._progress.update(task, description=event.what, stage=event.stage, completed=event.done,
                              total=event.total or None)


def print_error(error: PublicError, as_json: bool) -> None:
    """What happened, whose side, how to mend it; and the envelope when asked for."""
    console = error_console
    console.print(f"[bold red]{error.reason or error.code}[/]", highlight=False)
    console.print(f"  what   {error.what}", highlight=False, markup=False)
    if error.whose:
        console.print(f"  whose  {error.whose}", highlight=False, markup=False)
    if error.advice:
        console.print(f"  mend   {error.advice}", highlight=False, markup=False)
    if as_json:
        print_envelope(False, error={"code": error.code, "reason": error.reason, "what": error.what,
                                     "whose": error.whose, "advice": error.advice})


def print_envelope(ok: bool, data: Mapping[str, Any] | None = None, error: Mapping[str, Any] | None = None) -> None:
    """The one JSON object on stdout."""
    envelope: dict[str, Any] = {"ok": ok}
    if ok:
        envelope["data"] = data
    else:
        envelope["error"] = error
    sys.stdout.write(json.dumps(envelope) + "\n")
