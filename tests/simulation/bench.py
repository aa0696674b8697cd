"""Training between parties in memory: quick enough for many seeds, and open enough for twins and planted leaks.

`real` products use Paillier with short fixed keys; ideal ones come from a dealer whose masks can be permuted along
with a party's columns. Correlations are always the ideal dealer's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mpc.correlated_randomness.kinds import TrigPlan, Triples
from mpc.correlated_randomness.stock import Stock
from mpc.link import PartyId
from mpc.products import matrix_vector
from mpc.products.matrix_vector import HolderProduct, OwnerProduct, ProductPlan
from mpc.protocol import LedgerLine
from mpc.protocols import train
from mpc.regression import setup as training
from mpc.regression.preconditioner import Counterparts, PreconditionerPlan, whitened
from mpc.regression.sizes import WIDTH_STEP
from mpc.ring import U64, from_signed, reduce
from mpc.rng import Rng
from mpc.sharing.truncation import TruncationMasks
from mpc.statistics.logistic import fit_logistic
from mpc.testing.dealer import Dealer
from mpc.testing.keys import small_key
from mpc.testing.memory_link import Network, TestParty, party, run_roles
from tests.simulation.observer import Recording, observing

KEY_BITS = 1024
CLIP = 5.0
SCALE = int(32767 // CLIP)
NAMES = ("bank", "shop", "telecom")
Blocks = dict[PartyId, train.Block]
Permutations = Mapping[str, NDArray[np.int64]]


def blocks_of(parties: int, rows: int, seed: int, widths: tuple[int, ...] = (3, 3, 3), rate: float = 0.3) -> Blocks:
    """Features that hang together across parties; the first holds the labels."""
    rng = np.random.default_rng(seed)
    total = sum(widths[:parties])
    raw = rng.normal(size=(rows, total)) + rng.normal(size=(rows, 2)) @ rng.normal(scale=0.6, size=(2, total))
    features = np.clip((raw - raw.mean(0)) / raw.std(0), -CLIP, CLIP)
    z = features @ rng.normal(scale=1.5 / np.sqrt(total), size=total) + np.log(rate / (1 - rate))
    labels = rng.random(rows) < 1 / (1 + np.exp(-z))
    matrix, blocks, first = np.rint(features * SCALE).astype(np.int16), Blocks(), 0
    for name, width in zip(NAMES[:parties], widths, strict=False):
        own, first = matrix[:, first : first + width], first + width
        if name == NAMES[0]:
            own = np.column_stack([np.full(rows, SCALE, np.int16), own])
            start = fit_logistic(own / SCALE, labels, 1e-1, 0).weights
            blocks[PartyId(name)] = train.Block(own, labels, start)
        else:
            blocks[PartyId(name)] = train.Block(own)
    return blocks


def options_for(blocks: Blocks, **changes: Any) -> train.TrainOptions:
    """Short and lax."""
    values: dict[str, Any] = {
        "parties": tuple(sorted(blocks)), "label_holder": PartyId(NAMES[0]), "iterations": 8, "penalty": 1e-1,
        "rows": len(blocks[PartyId(NAMES[0])].matrix), "clip": CLIP, "expected_default_rate": 0.3, "sigmoid": "six",
        "tolerance": 1.0, "key_bits": KEY_BITS,
    }
    return train.TrainOptions(**(values | changes))


@dataclass
class Bench:
    """How to run: which products, whose randomness, what leaks are planted (monkeypatches, before observation)."""

    real: bool = False
    seed: int = 1
    permute: Permutations = field(default_factory=dict)
    ledger: Mapping[str, LedgerLine] = field(default_factory=lambda: {line.code: line for line in train.LEDGER})

    def run(self, blocks: Blocks, **changes: Any) -> Recording:
        """One training; an error of the run is kept in the recording."""
        options = options_for(blocks, **changes)
        recording = Recording(tuple(blocks), NAMES[0])
        network = Network(timeout_s=20.0)
        with pytest.MonkeyPatch.context() as patch:
            if not self.real:
                IdealProducts(self.seed, self.permute).install(patch)
            if self.permute:
                permute_masks(IdealProducts(self.seed, self.permute).order(options.parties), patch)
            with observing(recording):
                try:
                    asyncio.run(self._all(blocks, options, network))
                except Exception as error:
                    recording.error = error
        recording.messages = network.transcript
        return recording

    async def _all(self, blocks: Blocks, options: train.TrainOptions, network: Network) -> None:
        dealers: list[Dealer] = []

        def tools(name: str) -> train.Tools:
            async def source(me: Any, peers: Any, plan: TrigPlan) -> Any:
                if not dealers:
                    dealers.append(Dealer(options.parties, plan, Rng(self.seed.to_bytes(32, "big")).child("dealer")))
                return dealers[0].source(name)

            return train.Tools(lambda rng, bits: small_key(bits, options.parties.index(PartyId(name)) + 1),
                               source)

        roles: dict[str, Coroutine[Any, Any, Any]] = {}
        for name in options.parties:
            me: TestParty = party(name, self.seed, self.ledger)
            peers = {p: network.link(name, p) for p in options.parties if p != name}
            roles[name] = train.run(me, peers, blocks[name], options, tools(name))
        await run_roles(roles)


def permute_masks(order: NDArray[np.int64], patch: pytest.MonkeyPatch) -> None:
    """Whatever masks a vector over all weights (or several of them) follows the permuted columns."""
    take, triples = TruncationMasks.take, Stock.triples

    def moved(values: U64) -> U64:
        if len(values) % len(order):
            return values
        return np.ascontiguousarray(values.reshape(-1, len(order))[:, order]).reshape(-1)

    def taking(self: Any, count: int) -> Any:
        return tuple(moved(part) for part in take(self, count))

    async def multiplying(self: Any, me: Any, count: int) -> Triples:
        found = await triples(self, me, count)
        return Triples(moved(found.a), moved(found.b), moved(found.c))

    patch.setattr(TruncationMasks, "take", taking)
    patch.setattr(Stock, "triples", multiplying)


class Halves(Rng):
    """For a rounding by chance that has to be the same whatever the order of the columns: it rounds to the nearest."""

    def bytes(self, count: int) -> bytes:
        return b"\x00\x80" * (count // 2)


class IdealProducts:
    """Deals masks and shares of A r without a key: all from one seed, permuted for owners with permuted columns."""

    def __init__(self, seed: int, permute: Permutations) -> None:
        self._rng = Rng(seed.to_bytes(32, "big")).child("ideal products")
        self._permute = permute
        self._blocks: dict[PartyId, Any] = {}

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """In place of the real products of training."""
        patch.setattr(training, "exchange_keys", self.exchange_keys)
        patch.setattr(training, "counterparts", self.counterparts)
        patch.setattr(training, "shared_hessian", self.shared_hessian)
        patch.setattr(training, "whitened", lambda *args: whitened(*args[:-1], Halves(bytes(32))))
        patch.setattr(training, "offer", self.offer)
        patch.setattr(training, "serve", self.serve)
        patch.setattr(training, "offer_packed", self.offer_packed)
        patch.setattr(training, "serve_packed", self.serve)

    async def exchange_keys(self, me: Any, peers: Any, key: Any, bits: int) -> dict[PartyId, Any]:
        return dict.fromkeys(peers)

    async def counterparts(self, me: Any, key: Any, keys: Any, expected: int) -> Counterparts:
        return Counterparts(key, keys, dict.fromkeys(keys), None)  # type: ignore[arg-type]

    async def shared_hessian(
        self, me: Any, peers: Any, known: Any, white: Any, empty: Any, slices: Any, plan: PreconditionerPlan
    ) -> Any:
        """Shares of the true K; the same words in the order of the columns, whatever that is."""
        names = sorted([me.id, *peers])
        self._blocks[me.id] = white * ~empty
        while len(self._blocks) < len(names):
            await asyncio.sleep(0)
        whole = np.concatenate([self._blocks[p] for p in names], axis=1).astype(np.int64)
        order = self.order(names) if self._permute else np.arange(whole.shape[1])
        words = from_signed(whole.T @ whole)[np.ix_(np.argsort(order), np.argsort(order))]
        diagonal = np.where(np.diag(words) > 0, np.uint64(round(plan.hessian_unit)), np.uint64(0))
        owners = np.repeat(np.arange(len(names)), [self._blocks[p].shape[1] for p in names])
        words[owners[:, None] == owners] = 0   # of its own block an owner enters the identity
        np.fill_diagonal(words, diagonal)
        shares = {p: self._rng.child(f"hessian/{p}").ring(words.size).reshape(words.shape) for p in names[1:]}
        shares[names[0]] = words - np.sum(list(shares.values()), axis=0, dtype=np.uint64)
        return np.ascontiguousarray(shares[me.id][np.ix_(order, order)]).view(np.int64)

    def order(self, names: Sequence[PartyId]) -> NDArray[np.int64]:
        """Where each place of a vector over all weights goes."""
        parts = [self._permute.get(p, np.arange(WIDTH_STEP)) for p in names]
        return np.concatenate([k * WIDTH_STEP + part for k, part in enumerate(parts)])

    async def offer(self, me: Any, links: Any, key: Any, plans: Any, blinder: Any) -> dict[PartyId, HolderProduct]:
        once = matrix_vector.Once(next(iter(plans.values())).iterations, "mask")
        deals = {owner: self._deal(links[owner]._channel, owner, plan) for owner, plan in plans.items()}
        return {owner: HolderProduct(plans[owner], masks, once, shares) for owner, (masks, shares) in deals.items()}

    async def offer_packed(self, me: Any, link: Any, key: Any, plan: ProductPlan, blinder: Any) -> HolderProduct:
        masks, shares = self._deal(link._channel, link.peer, plan)
        return HolderProduct(plan, masks, matrix_vector.Once(plan.iterations, "mask"), shares)

    async def serve(self, me: Any, link: Any, key: Any, matrix: Any, plan: ProductPlan, blinder: Any) -> OwnerProduct:
        masks, shares = self._deal(link._channel, me.id, plan)
        outputs = masks @ matrix.astype(np.int64).view(np.uint64).T
        return OwnerProduct(plan, matrix, reduce(outputs - shares, plan.ring_bits))

    def _deal(self, channel: str, owner: str, plan: ProductPlan) -> tuple[U64, U64]:
        """The holder's masks (iterations, inputs) and shares (iterations, outputs)."""
        def drawn(label: str, width: int) -> U64:
            return self._rng.child(label).ring(plan.iterations * width, plan.ring_bits).reshape(-1, width)

        to_all = "backward" in channel or "inner" in channel   # one stream of masks for all owners
        masks = drawn(channel if to_all else f"{channel} to {owner}", plan.inputs)
        shares = drawn(f"{channel} to {owner}: shares", plan.outputs)
        order = self._permute.get(owner)
        if "inner" in channel and self._permute:   # vectors of all widths
            order = self.order(sorted([PartyId(name) for name in NAMES[: plan.inputs // WIDTH_STEP]]))
        if order is not None:
            masks = masks if "backward" in channel else masks[:, order]
            shares = shares if "forward" in channel else shares[:, order]
        return np.ascontiguousarray(masks), np.ascontiguousarray(shares)
