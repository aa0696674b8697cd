"""Every task that is started is awaited: the one place where production code starts any (tests/architecture).

Whatever ends the waiting - a failure, a cancellation, a second one during the clean-up - nothing that was started here
outlives it, and no failure is left for the garbage collector to tell. Knows no job, no node, no network.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

import structlog

T = TypeVar("T")
_log = structlog.get_logger("tasks")


async def together(
    *work: Awaitable[T], grace_s: float = 0.0, distance: Callable[[BaseException], int] = lambda _: 0
) -> list[T]:
    """Side by side. After the first failure the others have `grace_s` to end by themselves, then they are cancelled;
    of the failures until then the one of least `distance` is raised, of equal ones that of the first of `work`.
    """
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        ended = await _until(tasks, _failed)
        if grace_s and len(ended) < len(tasks):
            await asyncio.wait(tasks, timeout=grace_s)
        failures = [error for task in tasks
                    if task in ended and not task.cancelled() and (error := task.exception()) is not None]
    finally:
        await _over(tasks)
    if failures:
        raise min(failures, key=distance)
    return [task.result() for task in tasks]    # CancelledError where one was cancelled, and not by us


async def each(*work: Awaitable[T]) -> list[T | BaseException]:
    """Side by side, each to its own end; a failure stands in the place of its result and stops nobody else."""
    return await asyncio.gather(*work, return_exceptions=True)


async def first_of(*work: Awaitable[Any]) -> asyncio.Future[Any]:
    """Side by side until the first has ended, however it did: that one, over. The others are cancelled."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return (await _until(tasks, lambda _: True))[0]
    finally:
        await _over(tasks)


async def in_thread(step: Callable[[], T]) -> T:
    """`step` in a thread. A thread cannot be stopped: a cancellation is raised when the step has ended."""
    running = asyncio.get_running_loop().run_in_executor(None, step)
    stopped: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as error:
            stopped = error
    if stopped is None:
        return running.result()
    running.exception()     # nobody asks for it any more
    raise stopped


class Crew:
    """Tasks that run beside whoever started them: kept while they run, a failure is logged, `ended` awaits them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None], name: str | None = None) -> asyncio.Task[None]:
        """Begin; the task may be cancelled, nobody need keep it."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._seen_off)
        return task

    async def ended(self) -> None:
        """Wait until all are over, those too that are started meanwhile. Cancelled, it cancels them, and waits on."""
        while self._tasks:
            await each(*self._tasks)

    def _seen_off(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a task failed unexpectedly", code="bug", exc_info=error)


def _failed(task: asyncio.Future[Any]) -> bool:
    return task.cancelled() or task.exception() is not None


async def _until(
    tasks: Sequence[asyncio.Future[Any]], enough: Callable[[asyncio.Future[Any]], bool]
) -> list[asyncio.Future[Any]]:
    """Wait for the first end that is enough, or for all: a list that goes on to grow, in the order of their ends."""
    ended: list[asyncio.Future[Any]] = []
    waiting = asyncio.get_running_loop().create_future()

    def note(task: asyncio.Future[Any]) -> None:
        ended.append(task)
        if (enough(task) or len(ended) == len(tasks)) and not waiting.done():
            waiting.set_result(None)

    for task in tasks:
        task.add_done_callback(note)
    if tasks:
        await waiting
    return ended


async def _over(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Cancel those that still run and await all. A cancellation of this waiting reaches them again, and ends nothing
    before they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
