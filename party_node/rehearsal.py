"""A job in miniature, both sides inside this node, on made-up rows: what `coordinator plan` takes its times from.

Reads no table, keeps nothing, and tells four numbers. Knows the protocols only as something that takes time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from mpc import group, oprf
from mpc.domains import Domain
from mpc.errors import LocalError, PeerError, Reason
from mpc.link import PartyId
from mpc.okvs import BIN_KEYS
from mpc.protocol import Ledger
from mpc.protocols import PROTOCOLS
from mpc.protocols.train import Tools
from mpc.ring import I64
from mpc.rng import Rng
from mpc.run_sizes import TrainOptions
from mpc.training import Block, prepare
from party_node.runtime import NodeParty
from party_node.workers import Workers
from wire.spec import JobSpec

M = TypeVar("M")
SIDES = PartyId("this node"), PartyId("the other side")
FEW_ROWS, MOST_ROWS = 256, 4096
BUDGET_S = 4.0           # what the longer of the two runs is cut for
IDS = 2048
GIVEN_UP_S = 50.0


@dataclass(frozen=True)
class Rehearsed:
    """Seconds of one party with one counterpart: `fixed_s` + `row_s` a training row; to align, `id_s` an identifier
    and list by ecdh, `function_s` an identifier of one side by oprf."""

    fixed_s: float
    row_s: float
    id_s: float
    function_s: float


@dataclass
class _End:
    """Implements mpc.link.Link between the two sides."""

    peer: PartyId
    name: str
    queues: dict[tuple[PartyId, str], asyncio.Queue[Any]] = field(repr=False)

    def _queue(self, receiver: PartyId) -> asyncio.Queue[Any]:
        return self.queues.setdefault((receiver, self.name), asyncio.Queue())

    async def send(self, message: object) -> None:
        self._queue(self.peer).put_nowait(message)
        await asyncio.sleep(0)

    async def receive(self, kind: type[M]) -> M:
        message = await self._queue(SIDES[SIDES[0] == self.peer]).get()
        self.require(type(message) is kind, Reason.WRONG_KIND)
        return message  # type: ignore[no-any-return]

    def require(self, ok: bool, reason: Reason) -> None:
        if not ok:
            raise PeerError(self.peer, self.name, reason)

    def channel(self, name: str) -> _End:
        return _End(self.peer, f"{self.name}/{name}", self.queues)


async def rehearse(spec: JobSpec, party: str, tools: Tools, pool: Workers) -> Rehearsed:
    """About ten seconds of all cores. LocalError if `party` takes no part or the job is too slow to be rehearsed."""
    if party not in {member.id for member in spec.parties}:
        raise LocalError(f"{party} is not a party of this job")
    own = len(spec.party(party).columns) + 1
    other = max(len(member.columns) + 1 for member in spec.parties if member.id != party)
    try:
        async with asyncio.timeout(GIVEN_UP_S):
            await _train(FEW_ROWS, (own, other), spec, tools, pool)      # compiles what is not compiled yet
            few = await _train(FEW_ROWS, (own, other), spec, tools, pool)
            rows = int(min(MOST_ROWS, max(2.0, BUDGET_S / few) * FEW_ROWS))
            many = await _train(rows, (own, other), spec, tools, pool)
            point = await asyncio.get_running_loop().run_in_executor(pool, _points)
            function = await asyncio.get_running_loop().run_in_executor(pool, _functions)
    except TimeoutError:
        raise LocalError(f"{party} needs more than {GIVEN_UP_S:.0f} s to rehearse this job",
                         "plan with --no-rehearsal") from None
    row = max(0.0, many - few) / (rows - FEW_ROWS) / 2                   # both sides were here
    return Rehearsed(max(0.0, few / 2 - FEW_ROWS * row), row, point, function)


async def _train(rows: int, widths: tuple[int, int], spec: JobSpec, tools: Tools, pool: Workers) -> float:
    """Seconds of all that precedes the first iteration, which is nearly all of training."""
    queues: dict[tuple[PartyId, str], asyncio.Queue[Any]] = {}
    options = TrainOptions(
        parties=tuple(sorted(SIDES)), label_holder=SIDES[0], rows=rows, iterations=spec.training.iterations,
        penalty=spec.training.penalty, clip=spec.preparation.clip,
        expected_default_rate=spec.training.expected_default_rate, sigmoid=spec.training.sigmoid,
        tolerance=spec.training.tolerance, key_bits=spec.crypto.key_bits,
    )
    rng = Rng.from_system()
    everything = Ledger({line.code: line for protocol in PROTOCOLS.values() for line in protocol.ledger})

    nodes = [NodeParty(side, rng.child(side), everything, pool, _silent) for side in SIDES]

    async def act(number: int) -> None:
        node, peer, width = nodes[number], SIDES[1 - number], widths[number]
        entries: I64 = (node.rng.ring(rows * width, 12).astype(np.int64) - (1 << 11)).reshape(rows, width)
        block = Block(entries.astype(np.int16), node.rng.ring(rows, 4) == 0 if number == 0 else None)
        await prepare(node, {peer: _End(peer, "train", queues)}, block, options, tools)

    began = time.monotonic()
    await nodes[0].together(act(0), act(1))
    return time.monotonic() - began


def _silent(what: str, done: int, total: int) -> None:
    """Nobody watches a rehearsal."""


def _timed(step: Callable[[], object]) -> float:
    began = time.monotonic()
    step()
    return time.monotonic() - began


def _points() -> float:
    """Seconds to blind one identifier."""
    group.warm()
    rng = Rng.from_system()
    ids, secret = [rng.bytes(16) for _ in range(IDS)], group.Scalar.random(rng)
    return _timed(lambda: group.hash_and_multiply(ids, Domain.ALIGN_HASH_TO_GROUP.encode(), secret)) / IDS


def _functions() -> float:
    """Seconds for an identifier of one side in the engine oprf; messages and the reading of ids are not in it."""
    oprf.warm()
    return _timed(lambda: oprf.rehearse(BIN_KEYS)) / (2 * BIN_KEYS)
