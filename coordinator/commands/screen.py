"""What the operator sees of a running job: live progress per stage and party, on stderr."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from coordinator.jobs.driver import JobEvent
from wire.command import console, plain


class ProgressScreen:
    """One bar per party: its stage, what it does, how far it is, and when that will be done."""

    def __init__(self, parties: list[str]) -> None:
        self._console = console()
        self._plain = not self._console.is_terminal
        self._last: dict[str, str] = {}
        self._told: set[tuple[str, str]] = set()
        self._progress = Progress(
            # A node's words are text, never markup: a stray bracket would end the screen, and the job with it.
            TextColumn("{task.fields[party]:>14}"), TextColumn("{task.fields[stage]:<10}", markup=False),
            TextColumn("{task.description:<24}", markup=False), BarColumn(), MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console, transient=False, disable=self._plain,
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
        self._console.print(plain(text))

    def show(self, event: JobEvent) -> None:
        """One event of one party."""
        what = f"{event.stage} · {event.what}" if event.state == "running" else event.state
        changed = what != self._last.get(event.party)
        self._last[event.party] = what
        if self._plain:
            if (event.party, what) not in self._told:  # a line for each new thing, not for each step of it
                self._told.add((event.party, what))
                steps = f" {event.done} of {event.total}" if event.total > 1 else ""
                running = event.state == "running"
                self.say(f"{event.party:>14}  {event.stage:<10} {event.what + steps if running else event.state}")
            return
        if event.what.startswith("warning: "):  # stays above the bars
            self.say(f"{event.party:>14}  {event.what}")
            return
        task = self._tasks[event.party]
        if changed:
            self._progress.reset(task)
        self._progress.update(task, description=plain(event.what), stage=plain(event.stage), completed=event.done,
                              total=event.total or None)
