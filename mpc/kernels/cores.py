"""How many cores one bulk call of a native engine may use: a property of the process, not of a key. Default 1."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

CUTS_PER_THREAD = 4
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

    There are more cuts than threads, and who is done takes the next: a helper that wakes late or is held up delays
    nobody. What no helper has begun, the caller does: calls never wait for a queue.
    """
    helpers, parts = _helpers, min(_threads * CUTS_PER_THREAD, count // max(least, 1))
    if helpers is None or parts < 2:
        if count:
            work(0, count)
        return
    edges = [count * part // parts for part in range(parts + 1)]
    left = deque(pairwise(edges))

    def take() -> None:
        while left:
            try:
                first, last = left.popleft()
            except IndexError:          # another thread was quicker
                return
            work(first, last)

    waiting = [helpers.submit(take) for _ in range(min(_threads, parts) - 1)]
    try:
        take()
    finally:                            # the helpers write into the caller's memory: none may outlive this call
        left.clear()
        failures = [future.exception() for future in waiting if not future.cancel()]
    for failure in failures:
        if failure is not None:
            raise failure
