"""What a running job tells its watchers: a numbered list of events, kept until the node stops. No private value."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from enum import StrEnum

from wire.errors import PublicError

PROGRESS_EVERY_S = 0.2
KEPT_EVENTS = 10_000


class FeedState(StrEnum):
    """How a job stands, as watchers see it."""

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class FeedEvent:
    """One event; `record` is the public part of a finished job, JSON bytes."""

    sequence: int
    time_ms: int
    stage: str
    what: str
    done: int
    total: int
    state: FeedState
    error: PublicError | None = None
    record: bytes = b""


class Feed:
    """One job's events, and how many watch them."""

    def __init__(self) -> None:
        self._events: list[FeedEvent] = []
        self._changed = asyncio.Event()
        self._stage = ""
        self._told: dict[str, float] = {}
        self._watchers = 0
        self.unwatched_since = time.monotonic()

    @property
    def over(self) -> bool:
        return bool(self._events) and self._events[-1].state is not FeedState.RUNNING

    @property
    def place(self) -> str:
        """How far the job has come, in words."""
        for event in reversed(self._events):
            if event.stage == self._stage and event.done < event.total:
                return f"{event.stage}, {event.what} {event.done} of {event.total}"
        return self._stage or "its start"

    @property
    def watched(self) -> bool:
        return self._watchers > 0

    def stage(self, name: str) -> None:
        """The job has entered a stage."""
        self._stage = name
        self._add(FeedEvent(0, 0, name, "begins", 0, 0, FeedState.RUNNING))

    def progress(self, what: str, done: int, total: int) -> None:
        """Progress inside the stage; called often, told at most five times a second for each `what`."""
        now = time.monotonic()
        if done < total and now - self._told.get(what, 0.0) < PROGRESS_EVERY_S:
            return
        self._told[what] = now
        self._add(FeedEvent(0, 0, self._stage, what, done, total, FeedState.RUNNING))

    def end(self, state: FeedState, error: PublicError | None = None, record: bytes = b"") -> None:
        """The last event."""
        if not self.over:
            self._add(FeedEvent(0, 0, self._stage, "ends", 1, 1, state, error, record))

    async def follow(self, after: int) -> AsyncGenerator[FeedEvent, None]:
        """Events with a sequence above `after`, until the last."""
        self._watchers += 1
        try:
            while True:
                changed = self._changed
                for event in self._events[self._index(after) :]:
                    after = event.sequence
                    yield event
                    if event.state is not FeedState.RUNNING:
                        return
                await changed.wait()
        finally:
            self._watchers -= 1
            self.unwatched_since = time.monotonic()

    def _index(self, after: int) -> int:
        first = self._events[0].sequence if self._events else 1
        return max(0, after - first + 1)

    def _add(self, event: FeedEvent) -> None:
        sequence = self._events[-1].sequence + 1 if self._events else 1
        self._events.append(replace(event, sequence=sequence, time_ms=int(time.time() * 1000)))
        del self._events[:-KEPT_EVENTS]
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
