"""Attacks on labels and columns gain nothing from an honest run, and succeed where something leaks on purpose."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

import numpy as np
import pytest

from mpc.link import PartyId
from mpc.protocols import score, train
from mpc.ring import U64, RingVector, from_signed
from mpc.rng import Rng
from mpc.sharing import opening
from mpc.sharing.opening import Opening
from mpc.testing.memory_link import Network, party, run_roles
from tests.simulation.attackers.messages import BATCH, column_gain, label_gain, vectors
from tests.simulation.bench import NAMES, SCALE, Bench, blocks_of
from tests.simulation.observer import Opened, Recording

SEEDS = range(8)
GAIN = 0.02


@cache
def honest(seed: int, rows: int, width: int) -> Recording:
    return Bench(seed=seed + 1).run(blocks_of(2, rows, seed, (3, width)))


def show_gradients(recording: Recording, party: str) -> Recording:
    """What an arbiter who decrypts gradients of small batches would have shown to the owner of the columns."""
    shares = zip(*(recording.residuals[p] for p in recording.parties), strict=True)
    matrix = recording.blocks[party].matrix.astype(np.int64).view(np.uint64)
    for parts in shares:
        e: U64 = np.array(parts).sum(axis=0)
        batches = [matrix[k : k + BATCH].T @ e[k : k + BATCH] for k in range(0, len(e), BATCH)]
        recording.openings.append(Opened(party, "leak.gradient", 64, e, np.concatenate(batches)))
    return recording


@pytest.fixture
def partial_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end the feature holder sends the label holder its part of the score of every training row."""
    release = train._release

    async def leaky(state: Any, point: Any) -> Any:
        weights = await release(state, point)
        for link in state.peers.values():
            if state.is_label_holder():
                await link.receive(train.Masked)
            else:
                scores = state.matrix[:, : state.width] / SCALE @ weights
                await link.send(train.Masked(RingVector(from_signed(np.rint(scores * 2.0**40)), 64)))
        return weights

    monkeypatch.setattr(train, "_release", leaky)


def mean_gain(pairs: list[tuple[float, float]]) -> float:
    return float(np.mean([after - before for before, after in pairs]))


def test_a_feature_holder_infers_labels_no_better_than_from_its_own_columns_and_weights() -> None:
    pairs = [label_gain(honest(seed, 400, 3), "shop", seed) for seed in SEEDS]
    assert mean_gain(pairs) <= GAIN, pairs


def test_a_feature_holder_with_many_columns_and_few_rows_infers_labels_no_better() -> None:
    pairs = [label_gain(honest(seed, 120, 40), "shop", seed) for seed in SEEDS]
    assert mean_gain(pairs) <= GAIN, pairs


def test_the_label_holder_recovers_columns_no_better_than_from_its_own() -> None:
    pairs = [column_gain(honest(seed, 400, 3), "bank", "shop", seed) for seed in SEEDS]
    assert mean_gain(pairs) <= GAIN, pairs


def test_the_same_attack_finds_labels_where_plain_gradients_of_batches_are_shown() -> None:
    pairs = []
    for seed in range(3):
        recording = Bench(seed=seed + 1).run(blocks_of(2, 120, seed, (3, 40)))
        assert recording.error is None
        pairs.append(label_gain(show_gradients(recording, "shop"), "shop", seed))
    assert mean_gain(pairs) > 5 * GAIN, pairs


@pytest.mark.usefixtures("partial_scores")
def test_the_same_attack_finds_columns_where_partial_scores_of_training_rows_are_sent() -> None:
    pairs = []
    for seed in range(3):
        recording = Bench(seed=seed + 1).run(blocks_of(2, 400, seed, (3, 3)))
        assert recording.error is None
        pairs.append(column_gain(recording, "bank", "shop", seed))
    assert mean_gain(pairs) > 5 * GAIN, pairs


def test_the_attacks_look_at_all_that_is_as_long_as_the_table() -> None:
    recording = honest(0, 400, 3)
    assert len(vectors(recording, "shop")) > 8 * 10


def test_with_three_parties_what_each_sends_for_the_scores_says_nothing_of_its_part(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, parts = 600, {name: Rng(bytes(32)).child(name).ring(600) >> np.uint64(20) for name in NAMES}

    def closest() -> float:
        """The highest |correlation| of a message to the label holder with its sender's partial scores."""
        network = Network()
        roles = {
            name: score.run(party(name, 4), {PartyId(p): network.link(name, p) for p in NAMES if p != name},
                            parts[name], score.ScoreOptions(PartyId(NAMES[0]), rows, 1))
            for name in NAMES
        }
        asyncio.run(run_roles(roles))
        sent = [s for s in network.transcript if isinstance(s.message, Opening) and s.receiver == NAMES[0]]
        assert len(sent) == 2
        return max(float(abs(np.corrcoef(s.message.share.values.astype(float), parts[s.sender].astype(float))[0, 1]))
                   for s in sent)

    assert closest() < 6 / np.sqrt(rows)

    async def same(me: Any, peers: Any, share: Any) -> Any:
        return share

    monkeypatch.setattr(opening, "refreshed", same)
    assert closest() > 0.99
