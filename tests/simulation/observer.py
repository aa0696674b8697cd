"""What the tests write down of a run: messages as they arrive, and what only an auditor with all secrets could see.

Wraps production functions for the length of one run. Wrapped last, so that a planted leak is observed like the rest.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mpc.credit.fine_bins import NumericBins
from mpc.paillier.keys import PrivateKey
from mpc.products import matrix_vector
from mpc.protocols import align, bin, score, train
from mpc.regression import preconditioner
from mpc.regression import setup as training
from mpc.ring import U64
from mpc.sharing import opening
from mpc.testing.memory_link import Sent
from party_node.jobs.stages import bin as bin_task


@dataclass(frozen=True)
class Opened:
    """One call of the opening function at one party: its share, and the total where the party came to know it."""

    party: str
    code: str
    bits: int
    share: U64 = field(repr=False)
    total: U64 | None = field(repr=False)


@dataclass(frozen=True)
class MaskUse:
    """One vector that went out under a mask: the share before and after."""

    bits: int
    share: U64 = field(repr=False)
    sent: U64 = field(repr=False)


@dataclass(frozen=True)
class Powers:
    """Secret exponents to which one party raised another's ciphertexts on a channel, and how replies use them."""

    key_owner: str
    secret_owner: str
    channel: str
    exponents: U64 = field(repr=False)     # one row per output, or (packed) per iteration
    plan: matrix_vector.ProductPlan
    packed: bool

    def of_reply(self, number: int, inputs: int) -> tuple[NDArray[np.int64], U64]:
        """Which of the `inputs` ciphertexts went into a reply, and the exponents of these."""
        if not self.packed:
            return np.arange(inputs), self.exponents[number]
        blocks = inputs // self.plan.inputs
        iteration, block = divmod(number, blocks)
        return np.arange(self.plan.inputs) * blocks + block, self.exponents[iteration]


@dataclass(frozen=True)
class Summed:
    """What one feature holder summed labels over: its columns as they were shown."""

    columns: list[bin.Column] = field(repr=False)
    options: bin.BinOptions


@dataclass
class Recording:
    """Everything of one run."""

    parties: tuple[str, ...]
    label_holder: str
    messages: list[Sent] = field(default_factory=list, repr=False)
    sizes: list[tuple[str, str, str, int, str, int]] = field(default_factory=list)
    coordinator: list[tuple[str, str, bytes]] = field(default_factory=list, repr=False)    # method, party, bytes
    events: list[Any] = field(default_factory=list, repr=False)
    left_behind: dict[str, bytes] = field(default_factory=dict, repr=False)                # logs, audit, databases
    # what no single party has
    keys: dict[str, PrivateKey] = field(default_factory=dict, repr=False)
    openings: list[Opened] = field(default_factory=list, repr=False)
    masks: list[MaskUse] = field(default_factory=list, repr=False)
    powers: list[Powers] = field(default_factory=list, repr=False)
    blocks: dict[str, train.Block] = field(default_factory=dict, repr=False)
    weights: dict[str, NDArray[np.float64]] = field(default_factory=dict, repr=False)
    residuals: dict[str, list[U64]] = field(default_factory=dict, repr=False)   # own shares of e, per iteration
    partials: dict[str, U64] = field(default_factory=dict, repr=False)
    summed: dict[str, Summed] = field(default_factory=dict, repr=False)
    columns: dict[str, list[bin.Column]] = field(default_factory=dict, repr=False)   # as their owner has cut them
    edges: dict[str, list[float]] = field(default_factory=dict, repr=False)
    own_rows: dict[str, NDArray[np.int64]] = field(default_factory=dict, repr=False)
    sessions: set[bytes] = field(default_factory=set)
    ids: dict[str, list[bytes]] = field(default_factory=dict, repr=False)
    error: BaseException | None = None

    def seen_by(self, party: str) -> list[Sent]:
        """What `party` received from its peers."""
        return [sent for sent in self.messages if sent.receiver == party]

    def opened(self, code: str, party: str | None = None) -> list[Opened]:
        """The openings under one ledger line, at one party or at all."""
        return [o for o in self.openings if o.code == code and (party is None or o.party == party)]


@contextmanager
def observing(recording: Recording) -> Iterator[None]:
    """Wrap what an auditor looks at; unwrapped at the end."""
    with pytest.MonkeyPatch.context() as patch:
        _observe_openings(recording, patch)
        _observe_products(recording, patch)
        _observe_roles(recording, patch)
        _observe_bins(recording, patch)
        yield


def _observe_openings(recording: Recording, patch: pytest.MonkeyPatch) -> None:
    def wrapped(original: Any, code_place: int) -> Any:
        async def observed(me: Any, peers: Any, share: Any, *rest: Any) -> Any:
            total = await original(me, peers, share, *rest)
            recording.openings.append(Opened(me.id, rest[code_place], share.bits, share.values.copy(), total))
            return total

        return observed

    places = ((opening.open_masked, 0), (opening.open_to, 1))
    for name, module in list(sys.modules.items()):
        for function, code_place in places:
            if name.startswith("mpc.") and getattr(module, function.__name__, None) is function:
                patch.setattr(module, function.__name__, wrapped(function, code_place))


def _observe_products(recording: Recording, patch: pytest.MonkeyPatch) -> None:
    setup: Any = training   # its imports too
    mask, serve, offer_packed = matrix_vector.HolderProduct.mask, setup.serve, setup.offer_packed
    serve_known = preconditioner.serve_known
    exchange, backward = setup.exchange_keys, train._backward

    def masking(self: Any, t: int, share: U64) -> Any:
        sent = mask(self, t, share)
        recording.masks.append(MaskUse(sent.bits, share.copy(), sent.values.copy()))
        return sent

    async def serving(me: Any, link: Any, key: Any, matrix: Any, plan: Any, blinder: Any) -> Any:
        if plan.passes == 1:   # the checks read products of one pass
            exponents = matrix_vector.offset_binary(matrix, plan)
            recording.powers.append(Powers(link.peer, me.id, link._channel, exponents, plan, packed=False))
        return await serve(me, link, key, matrix, plan, blinder)

    async def offering(me: Any, link: Any, key: Any, plan: Any, blinder: Any) -> Any:
        held = await offer_packed(me, link, key, plan, blinder)
        recording.powers.append(Powers(link.peer, me.id, link._channel, held._masks, plan, packed=True))
        return held

    async def going_back(state: Any, t: int, e: U64) -> Any:
        recording.residuals.setdefault(state.me.id, []).append(e.copy())
        return await backward(state, t, e)

    async def exchanging(me: Any, peers: Any, key: PrivateKey, bits: int) -> Any:
        recording.keys[me.id] = key
        return await exchange(me, peers, key, bits)

    async def serving_known(me: Any, link: Any, key: Any, matrix: Any, plan: Any, blinder: Any) -> Any:
        if plan.passes == 1:
            exponents = matrix_vector.offset_binary(matrix, plan)
            recording.powers.append(Powers(link.peer, me.id, link._channel, exponents, plan, packed=False))
        return await serve_known(me, link, key, matrix, plan, blinder)

    patch.setattr(preconditioner, "serve_known", serving_known)
    patch.setattr(matrix_vector.HolderProduct, "mask", masking)
    patch.setattr(training, "serve", serving)
    patch.setattr(training, "offer_packed", offering)
    patch.setattr(training, "exchange_keys", exchanging)
    patch.setattr(train, "_backward", going_back)


def _observe_roles(recording: Recording, patch: pytest.MonkeyPatch) -> None:
    run_align, run_train, run_score = align.run, train.run, score.run

    async def aligning(me: Any, peers: Any, ids: Any, options: Any, *rest: Any) -> Any:
        recording.sessions.add(options.session)
        recording.ids[me.id] = list(ids)
        rows = recording.own_rows[me.id] = await run_align(me, peers, ids, options, *rest)
        return rows

    async def fitting(me: Any, peers: Any, block: Any, options: Any, tools: Any, *rest: Any, **more: Any) -> Any:
        recording.blocks[me.id] = block
        weights = recording.weights[me.id] = await run_train(me, peers, block, options, tools, *rest, **more)
        return weights

    async def scoring(me: Any, peers: Any, partial: U64, options: Any) -> Any:
        recording.partials[me.id] = partial.copy()
        return await run_score(me, peers, partial, options)

    patch.setattr(align, "run", aligning)
    patch.setattr(train, "run", fitting)
    patch.setattr(score, "run", scoring)


def _observe_bins(recording: Recording, patch: pytest.MonkeyPatch) -> None:
    hold_labels, hold_features, sum_up, cut = bin.run_label_holder, bin.run_feature_holder, bin._summed, bin_task._cuts

    async def labelling(me: Any, peers: Any, labels: Any, options: Any, key: PrivateKey) -> Any:
        recording.keys[me.id] = key
        return await hold_labels(me, peers, labels, options, key)

    async def counting(me: Any, link: Any, columns: Any, options: Any) -> Any:
        recording.columns[me.id] = list(columns)
        return await hold_features(me, link, columns, options)

    async def summing(me: Any, link: Any, key: Any, columns: Any, options: Any) -> Any:
        recording.summed[me.id] = Summed(list(columns), options)
        return await sum_up(me, link, key, columns, options)

    def cutting(context: Any, rules: Any) -> Any:
        found, left_out = cut(context, rules)
        numeric = [one.bins for one in found if isinstance(one.bins, NumericBins)]
        recording.edges[context.me.id] = [edge for bins in numeric for edge in bins.edges]
        return found, left_out

    patch.setattr(bin, "run_label_holder", labelling)
    patch.setattr(bin, "run_feature_holder", counting)
    patch.setattr(bin, "_summed", summing)
    patch.setattr(bin_task, "_cuts", cutting)
