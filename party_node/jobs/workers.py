"""The threads on which a node computes. Knows no job, no step."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any, TypeVar

import structlog

T = TypeVar("T")
_log = structlog.get_logger("workers")


class Workers(ThreadPoolExecutor):
    """A pool that says whether anything runs or waits."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads, thread_name_prefix="compute")
        self._under_way, self._lock = 0, Lock()

    @property
    def busy(self) -> bool:
        """Whether a step runs or waits, of any job."""
        return self._under_way > 0

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """As of ThreadPoolExecutor."""
        with self._lock:
            self._under_way += 1
        try:
            future = super().submit(fn, *args, **kwargs)
        except RuntimeError:            # after shutdown
            self._done()
            raise
        future.add_done_callback(self._done)
        return future

    def warm(self, step: Callable[[], object]) -> None:
        """Run what nobody waits for; a failure is logged, and met again by who needs what the step would have made."""
        self.submit(step).add_done_callback(_seen_off)

    def _done(self, _future: Future[Any] | None = None) -> None:
        with self._lock:
            self._under_way -= 1


def _seen_off(future: Future[Any]) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        _log.error("a step ahead of its need failed", code="bug", exc_info=error)
