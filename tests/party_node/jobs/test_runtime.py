"""Where a node's steps run: what is due goes first."""

import asyncio
import threading
from functools import partial
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mpc.errors import LocalError
from mpc.kernels import cores
from mpc.kernels.engines.selection import modulus
from mpc.kernels.modulus import Residues
from mpc.paillier.blinding import ReadyFactors, fill
from mpc.protocol import Ledger
from mpc.rng import Rng
from party_node.jobs.runtime import NodeParty
from party_node.jobs.workers import Workers
from party_node.records.store import Store


def node(pool: Workers) -> NodeParty:
    return NodeParty("bank", Rng(bytes(32)), Ledger({}), pool, lambda what, done, total: None)


async def test_idle_work_waits_for_all_that_runs_or_waits() -> None:
    pool, gate, order = Workers(1), threading.Event(), list[str]()
    me, other = node(pool), node(pool)

    def step(name: str) -> None:
        if name == "first":
            assert gate.wait(10)
        order.append(name)

    due = [asyncio.create_task(me.compute(step, name)) for name in ("first", "second")]
    await asyncio.sleep(0)
    idle = asyncio.create_task(other.when_idle(partial(step, "idle"), lambda: "idle" not in order))
    await asyncio.sleep(0.05)
    assert order == []
    due.append(asyncio.create_task(me.compute(step, "third")))
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*due, idle)
    assert order == ["first", "second", "third", "idle"]
    assert not pool.busy
    pool.shutdown()


async def test_a_stream_that_is_over_does_not_wait_for_another_job_to_pause() -> None:
    pool, gate, drawn, ring = Workers(1), threading.Event(), list[int](), modulus(15, "gmp")

    def draw(count: int) -> Residues:
        drawn.append(count)
        return ring.load([1] * count)

    stock = ReadyFactors(ring, draw, 3)
    other = asyncio.create_task(node(pool).compute(gate.wait, 10))
    filled = asyncio.create_task(fill(node(pool), stock))
    try:
        await asyncio.sleep(0.05)
        assert len(stock.take(3)) == 3      # all that the stream will ever need
        await asyncio.wait_for(filled, 2)
    finally:
        gate.set()
        await other
        pool.shutdown()
    assert drawn == [3]


async def test_a_step_that_fails_leaves_the_pool_idle_and_so_does_a_closed_pool() -> None:
    pool = Workers(1)

    def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await node(pool).compute(fails)
    found = list[int]()
    await node(pool).when_idle(lambda: found.append(cores.in_use()), lambda: not found)
    assert found == [1]
    pool.shutdown()
    with pytest.raises(RuntimeError):
        await node(pool).compute(fails)
    assert not pool.busy


def test_a_step_ahead_of_its_need_that_fails_is_logged() -> None:
    pool = Workers(1)

    def fails() -> None:
        raise ValueError("no")

    with capture_logs() as logs:
        pool.warm(fails)
        pool.shutdown()
    assert [(line["event"], line["code"]) for line in logs] == [("a step ahead of its need failed", "bug")]
    assert not pool.busy


async def test_one_time_values_are_noted_in_the_store_of_the_node(tmp_path: Path) -> None:
    store, pool = Store(tmp_path / "state.db"), Workers(1)
    me = NodeParty("bank", Rng(bytes(32)), Ledger({}), pool, lambda what, done, total: None,
                   lambda what, index: store.burn("job", what, [index]))
    me.burn("training", 0)
    store.close()
    again = Store(tmp_path / "state.db")
    with pytest.raises(LocalError, match="used before"):
        again.burn("job", "training", [0])
