"""How many cores one bulk call of a native engine may use: a property of the process, not of a key. Default 1."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

_threads = 1
_helpers: ThreadPoolExecutor | None = None


def use(threads: int) -> None:
    """Let every bulk call use up to `threads` threads, the caller's among them; of concurrent calls, all together."""
    global _threads, _helpers
    if threads < 1:
        raise ValueError("a call needs at least one thread")
    _threads = threads
    _helpers = ThreadPoolExecutor(threads - 1, thread_name_prefix="kernel") if threads > 1 else None


def in_use() -> int:
    """How many threads a bulk call may use."""
    return _threads


def share_out(count: int, least: int, work: Callable[[int, int], None]) -> None:
    """`work(first, last)` for cuts of range(count), side by side, none shorter than `least` items.

    What no helper has begun when the caller is done with its own cut, the caller does: calls never wait for a queue.
    """
    helpers, parts = _helpers, min(_threads, count // max(least, 1))
    if helpers is None or parts < 2:
        if count:
            work(0, count)
        return
    cuts = [count * part // parts for part in range(parts + 1)]
    waiting = [helpers.submit(work, cuts[part], cuts[part + 1]) for part in range(1, parts)]
    try:
        work(cuts[0], cuts[1])
    finally:                     # the helpers write into the caller's memory: none may outlive this call
        for part, future in enumerate(waiting, 1):
            if future.cancel():
                work(cuts[part], cuts[part + 1])
        failures = [future.exception() for future in waiting if not future.cancelled()]
    for failure in failures:
        if failure is not None:
            raise failure
