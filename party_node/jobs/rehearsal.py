"""A job in miniature, both sides inside this node, on made-up rows: what `coordinator plan` takes its times from.

Reads no table, keeps nothing, and tells eight numbers. Knows the protocols only as something that takes time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import cycle
from typing import Any, TypeVar

import numpy as np

from mpc.domains import Domain
from mpc.errors import LocalError, PeerError, Reason
from mpc.group import ristretto255
from mpc.link import PartyId
from mpc.protocol import Ledger
from mpc.protocols import PROTOCOLS, bin, correlate
from mpc.protocols.train import Tools
from mpc.regression.setup import Block, prepare
from mpc.ring import I64
from mpc.rng import Rng
from mpc.sets import oprf
from mpc.sets.okvs import BIN_KEYS
from party_node.jobs.runtime import NodeParty
from party_node.jobs.stages.bin import limits_of
from party_node.jobs.workers import Workers
from wire.spec.job import JobSpec
from wire.spec.training_terms import train_options

M = TypeVar("M")
SIDES = PartyId("this node"), PartyId("the other side")
FEW_ROWS, MOST_ROWS = 256, 4096
BUDGET_S = 4.0           # what the longer of the two runs of training is cut for
SHORT_S = 1.5            # and those of bins and of correlations
IDS = 2048
GIVEN_UP_S = 50.0


@dataclass(frozen=True)
class Rehearsed:
    """Seconds of one party with one counterpart: `fixed_s` + `row_s` a training row; to align, `id_s` an identifier
    and list by ecdh, `function_s` an identifier of one side by oprf; to count bins (both sides, as they take turns) and
    to correlate, where the job does, likewise fixed and a training row."""

    fixed_s: float
    row_s: float
    id_s: float
    function_s: float
    bin_fixed_s: float = 0.0
    bin_row_s: float = 0.0
    correlate_fixed_s: float = 0.0
    correlate_row_s: float = 0.0


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

    async def receive(self, kind: type[M], at_most: int | None = None) -> M:
        message = await self._queue(SIDES[SIDES[0] == self.peer]).get()
        self.require(type(message) is kind, Reason.WRONG_KIND)
        return message  # type: ignore[no-any-return]

    def require(self, ok: bool, reason: Reason) -> None:
        if not ok:
            raise PeerError(self.peer, self.name, reason)

    def channel(self, name: str) -> _End:
        return _End(self.peer, f"{self.name}/{name}", self.queues)


async def rehearse(spec: JobSpec, party: str, tools: Tools, pool: Workers) -> Rehearsed:
    """About ten seconds of all cores, more where the job has bins or correlations. LocalError if `party` takes no part
    or the job is too slow to be rehearsed."""
    if party not in {member.id for member in spec.parties}:
        raise LocalError(f"{party} is not a party of this job")
    own = len(spec.party(party).columns)
    other = max(len(member.columns) for member in spec.parties if member.id != party)
    try:
        async with asyncio.timeout(GIVEN_UP_S):
            training = partial(_train, widths=(own + 1, other + 1), spec=spec, tools=tools, pool=pool)
            fixed, row = await _line(training, FEW_ROWS, BUDGET_S)
            binned = await _bins(spec, party, tools, pool)
            correlated = await _correlations(spec, own, other, tools, pool)
            point = await asyncio.get_running_loop().run_in_executor(pool, _points)
            function = await asyncio.get_running_loop().run_in_executor(pool, _functions)
    except TimeoutError:
        raise LocalError(f"{party} needs more than {GIVEN_UP_S:.0f} s to rehearse this job",
                         "plan with --no-rehearsal") from None
    # Where both sides work at once, each has its own machine in the job.
    return Rehearsed(fixed / 2, row / 2, point, function, *binned, *(second / 2 for second in correlated))


async def _line(run: Callable[[int], Awaitable[float]], few: int, budget_s: float) -> tuple[float, float]:
    """Seconds whatever the rows, and for each row: from `few` rows and from as many as the budget allows. A run before
    them compiles what is not compiled yet."""
    await run(few)
    first = await run(few)
    rows = max(2 * few, int(min(MOST_ROWS, budget_s / first * few)))
    row = max(0.0, await run(rows) - first) / (rows - few)
    return max(0.0, first - few * row), row


async def _both(role: Callable[[NodeParty, _End, int], Awaitable[object]], pool: Workers) -> float:
    """Seconds of one conversation, both sides here."""
    queues: dict[tuple[PartyId, str], asyncio.Queue[Any]] = {}
    rng = Rng.from_system()
    everything = Ledger({line.code: line for protocol in PROTOCOLS.values() for line in protocol.ledger})
    nodes = [NodeParty(side, rng.child(side), everything, pool, _silent) for side in SIDES]
    began = time.monotonic()
    await nodes[0].together(*(role(nodes[k], _End(SIDES[1 - k], "rehearsal", queues), k) for k in (0, 1)))
    return time.monotonic() - began


async def _train(rows: int, widths: tuple[int, int], spec: JobSpec, tools: Tools, pool: Workers) -> float:
    """Seconds of all that precedes the first iteration, which is nearly all of training."""
    options = replace(train_options(spec, rows), parties=tuple(sorted(SIDES)), label_holder=SIDES[0])
    if options.weighting is not None:
        options = replace(options, weighting=replace(options.weighting, by=SIDES[0]))

    async def act(node: NodeParty, link: _End, number: int) -> None:
        width = widths[number]
        entries: I64 = (node.rng.ring(rows * width, 12).astype(np.int64) - (1 << 11)).reshape(rows, width)
        block = Block(entries.astype(np.int16))
        if number == 0:
            weights = None if options.weighting is None else np.ones(rows)
            offset = np.zeros(rows) if options.has_offset else None
            block = replace(block, labels=node.rng.ring(rows, 4) == 0, weights=weights, offset=offset)
        await prepare(node, {link.peer: link}, block, options, tools)

    return await _both(act, pool)


async def _keys(spec: JobSpec, tools: Tools, pool: Workers) -> tuple[Tools, float]:
    """Tools with two keys that are drawn beforehand, as the luck of the draw says nothing of the job; seconds a key."""
    rng, loop = Rng.from_system(), asyncio.get_running_loop()
    began = time.monotonic()
    keys = cycle([await loop.run_in_executor(pool, tools.make_key, rng.child(side), spec.crypto.key_bits)
                  for side in SIDES])
    return replace(tools, make_key=lambda rng, bits: next(keys)), (time.monotonic() - began) / 2


async def _bins(spec: JobSpec, party: str, tools: Tools, pool: Workers) -> tuple[float, float]:
    """The columns of this feature holder, or at the label holder of the widest, counted; (0, 0) without bins."""
    holders = [p for p in spec.parties if p.role == "feature_holder" and party in (p.id, spec.label_holder.id)]
    columns, rules = max(len(holder.columns) for holder in holders), spec.binning
    if rules is None or columns == 0:
        return 0.0, 0.0
    drawn, key_s = await _keys(spec, tools, pool)
    key = drawn.make_key(Rng.from_system(), spec.crypto.key_bits)

    async def run(rows: int) -> float:
        options = bin.BinOptions(
            SIDES[0], rows, {SIDES[1]: columns}, rules.slots, limits_of(rules), rules.minimum_information,
            spec.crypto.key_bits, "phe" if spec.crypto.engine == "phe" else "auto")
        count = max(1, min(rules.fine_bins, rows // rules.minimum_cell))

        async def act(node: NodeParty, link: _End, number: int) -> None:
            if number == 0:
                labels = np.arange(rows) % 4 == 0
                await bin.run_label_holder(node, {link.peer: link}, labels, options, key)
            else:
                codes = (np.arange(rows) % count).astype(np.uint8)
                await bin.run_feature_holder(node, link, [bin.Column(codes, count, count)] * columns, options)

        return await _both(act, pool)

    fixed, row = await _line(run, max(FEW_ROWS, 2 * rules.minimum_cell), SHORT_S)
    return fixed + key_s, row


async def _correlations(spec: JobSpec, own: int, other: int, tools: Tools, pool: Workers) -> tuple[float, float]:
    """Columns of both sides correlated; (0, 0) where the job does not, or a side has none."""
    rules = spec.correlate
    if rules is None or not own or not other:
        return 0.0, 0.0
    drawn, key_s = await _keys(spec, tools, pool)
    widths = dict(zip(SIDES, (own, other), strict=True))
    role = correlate.run_inflation if rules.show == "inflation" else correlate.run

    async def run(rows: int) -> float:
        options = correlate.CorrelateOptions(
            SIDES[0], rows, widths, rules.show, rules.to, rules.threshold, 1, rules.bits, spec.crypto.key_bits)

        async def act(node: NodeParty, link: _End, number: int) -> None:
            columns = node.rng.ring(rows * widths[node.id], 12).astype(np.float64).reshape(rows, -1)
            await role(node, {link.peer: link}, columns, options, drawn)

        return await _both(act, pool)

    fixed, row = await _line(run, max(FEW_ROWS, correlate.ROWS_PER_COLUMN * (own + other)), SHORT_S)
    return fixed + key_s, row


def _silent(what: str, done: int, total: int) -> None:
    """Nobody watches a rehearsal."""


def _timed(step: Callable[[], object]) -> float:
    began = time.monotonic()
    step()
    return time.monotonic() - began


def _points() -> float:
    """Seconds to blind one identifier."""
    ristretto255.warm()
    rng = Rng.from_system()
    ids, secret = [rng.bytes(16) for _ in range(IDS)], ristretto255.Scalar.random(rng)
    return _timed(lambda: ristretto255.hash_and_multiply(ids, Domain.ALIGN_HASH_TO_GROUP.encode(), secret)) / IDS


def _functions() -> float:
    """Seconds for an identifier of one side in the engine oprf; messages and the reading of ids are not in it."""
    oprf.warm()
    return _timed(lambda: oprf.rehearse(BIN_KEYS)) / (2 * BIN_KEYS)
