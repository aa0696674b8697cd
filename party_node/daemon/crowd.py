"""What strangers take of a process by connecting to it, each for the seconds of a handshake: descriptors, of which it
may have more than it is given at first, and memory, which has to go back."""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
from collections.abc import Callable

import structlog

FEW_DESCRIPTORS = 4096
CROWD = 200                # connections and files beyond those that a node with its jobs has open
LOOK_S = 0.5
_DESCRIPTORS = "/proc/self/fd"
_log = structlog.get_logger("daemon")


def use_all_descriptors() -> None:
    """Let this process have as many connections and files open as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < FEW_DESCRIPTORS:
        _log.warning("few descriptors", total=hard)


def trim() -> None:
    """Free memory back to the system, on glibc [malloc_trim(3)]; elsewhere nothing."""
    give: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if give is not None:
        give(0)


async def give_memory_back() -> None:
    """For ever: while many connections stand and after they have gone. A connection that is closed leaves some 46 KiB,
    the buffers of its handshake, in the allocator's share of one thread, and they come to threads by turns."""
    crowded = False
    while True:
        await asyncio.sleep(LOOK_S)
        before, crowded = crowded, len(os.listdir(_DESCRIPTORS)) > CROWD
        if before or crowded:
            await asyncio.to_thread(trim)
