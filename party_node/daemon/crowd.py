"""What strangers take of a process by connecting to it, each for the seconds of a handshake: descriptors, of which it
may have more than it is given at first, and memory, which has to go back."""

from __future__ import annotations

import ctypes
import os
import resource
import threading
from collections.abc import Callable

import structlog

FEW_DESCRIPTORS = 4096
CROWD = 200                # connections and files beyond those that a node with its jobs has open
LOOK_S = 0.2
M_ARENA_MAX, ARENAS = -8, 2
_DESCRIPTORS = "/proc/self/fd"
_log = structlog.get_logger("daemon")


def use_all_descriptors() -> None:
    """Let this process have as many connections and files open as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < FEW_DESCRIPTORS:
        _log.warning("few descriptors", total=hard)


def share_memory() -> None:
    """Let all threads take memory from the same few arenas, on glibc [mallopt(3), M_ARENA_MAX]: what a closed
    connection leaves in one of them then serves the next, whichever thread that comes to."""
    choose: Callable[[int, int], int] | None = getattr(ctypes.CDLL(None), "mallopt", None)
    if choose is not None:
        choose(M_ARENA_MAX, ARENAS)


def trim() -> None:
    """Free memory back to the system, on glibc [malloc_trim(3)]; elsewhere nothing."""
    give: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if give is not None:
        give(0)


class Tidying:
    """A thread of its own, for the event loop is late just then: while many connections stand and after they have gone,
    it gives free memory back. A connection that is closed leaves some 46 KiB, the buffers of its handshake, in the
    allocator's share of one thread, and they come to threads by turns."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="tidying", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Returns when it is over."""
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        crowded = False
        while not self._over.wait(LOOK_S):
            before, crowded = crowded, len(os.listdir(_DESCRIPTORS)) > CROWD
            if before or crowded:
                trim()
