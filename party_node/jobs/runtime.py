"""A party inside its daemon: where pure steps run, how conversations run side by side. Knows no protocol."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Literal, TypeVar

from mpc.kernels import cores
from mpc.link import PartyId
from mpc.protocol import Ledger
from mpc.rng import Rng
from party_node.jobs.workers import Workers
from wire import awaited

T = TypeVar("T")
Progress = Callable[[str, int, int], None]
Burn = Callable[[str, int], None]
IDLE_LOOK_S = 0.01


def forgotten(what: str, index: int) -> None:
    """For runs without a job, whose one-time values nobody else ever sees."""


class NodeParty:
    """Implements mpc.protocol.Party for one job: threads over kernels that release the GIL."""

    def __init__(
        self, party: str, rng: Rng, ledger: Ledger, pool: Workers, progress: Progress, burn: Burn = forgotten
    ) -> None:
        self._id, self._rng, self._ledger = PartyId(party), rng, ledger
        self._pool, self._progress, self._burn = pool, progress, burn

    @property
    def id(self) -> PartyId:
        return self._id

    @property
    def rng(self) -> Rng:
        return self._rng

    @property
    def ledger(self) -> Ledger:
        return self._ledger

    def burn(self, what: str, index: int) -> None:
        self._burn(what, index)

    async def compute(self, step: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, partial(step, *args, **kwargs))

    async def when_idle(self, step: Callable[[], None], wanted: Callable[[], object], /) -> None:
        while wanted():                     # asked while waiting, too: another job may keep the pool busy for long
            if self._pool.busy:
                await asyncio.sleep(IDLE_LOOK_S)
            else:
                await self.compute(step)

    async def together(self, *conversations: Awaitable[Any]) -> list[Any]:
        return await awaited.together(*conversations)

    def progress(self, what: str, done: int, total: int) -> None:
        self._progress(what, done, total)


def make_pool(compute: Literal["local", "ray"] = "local") -> Workers:
    """One pool per daemon, a thread per core; a bulk call of the kernels may use all cores too.

    "ray": steps without secrets run on the institution's cluster. LocalError if Ray is not installed.
    """
    threads = os.cpu_count() or 1
    cores.use(threads)
    if compute == "ray":
        from party_node.jobs.ray_cluster import ClusterPool

        return ClusterPool(threads)
    return Workers(threads)
