"""Training with everybody's secret linear term: exact, no message more, nothing on padding or the intercept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mpc.errors import LocalError
from mpc.link import PartyId
from mpc.protocols import train
from mpc.regression import setup
from mpc.regression import sizes as run_sizes
from mpc.regression.precomputed import precompute
from mpc.rng import Rng
from mpc.testing.memory_link import Network, party, run_roles
from tests.protocols.test_train import blocks_of, dealt, options_for, run_all
from tests.protocols.test_train_in_halves import Shelf

ROWS, NOISE = 300, 3.0


@pytest.fixture(autouse=True)
def narrow_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_sizes, "WIDTH_STEP", 4)


def noisy(parties: int, seed: int = 1) -> dict[PartyId, train.Block]:
    blocks = blocks_of(parties, ROWS)
    return {p: replace(block, noise=Rng(bytes([seed, k]) * 16)) for k, (p, block) in enumerate(blocks.items())}


def furthest(one: Any, other: Any) -> float:
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


@pytest.mark.parametrize("parties", [2, 3, 4])
async def test_the_weights_are_those_of_the_perturbed_objective(parties: int) -> None:
    blocks = noisy(parties)
    options = options_for(blocks, iterations=8, tolerance=0.02, noise=NOISE)
    found = await run_all(blocks, options)
    plain = train.ideal({p: replace(block, noise=None) for p, block in blocks.items()}, replace(options, noise=0.0))
    assert furthest(found, train.ideal(blocks, options)) < 4e-3
    assert furthest(found, plain) > 0.02
    again = await run_all(blocks, options)
    assert furthest(found, again) < 4e-3      # the same streams, the same terms


async def test_messages_are_as_many_and_as_long_as_without_a_term() -> None:
    sent: list[list[tuple[Any, ...]]] = []
    for blocks, noise in ((noisy(2), NOISE), (blocks_of(2, ROWS), 0.0)):
        network = Network()
        await run_all(blocks, options_for(blocks, iterations=8, noise=noise), network)
        sent.append(sorted(
            (one.sender, one.channel, type(one.message).__name__, len(getattr(one.message, "values", b"")))
            for one in network.transcript
        ))
    assert sent[0] == sent[1]


async def test_weights_of_padding_stay_zero_and_show_nothing_of_a_term(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three columns in a block of four."""
    opened: list[Any] = []
    real = train.to_signed

    def watched(values: Any) -> Any:
        opened.append(real(values))
        return opened[-1]

    blocks = noisy(2)
    options = options_for(blocks, iterations=8, noise=NOISE)
    monkeypatch.setattr(train, "to_signed", watched)
    await run_all(blocks, options)
    unit = run_sizes.planned(options, dict.fromkeys(options.parties, 4)).plan.weight_unit
    [without_intercept] = [abs(float(values[3])) / unit for values, name in zip(opened, options.parties, strict=True)
                           if blocks[name].matrix.shape[1] == 3]
    assert without_intercept < 1e-3


async def test_residuals_still_add_up_to_nothing_and_a_noised_intercept_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def gap() -> float:
        blocks = noisy(2, seed=3)
        options = options_for(blocks, iterations=12, tolerance=0.02, noise=30.0)
        found = await run_all(blocks, options)
        scale = 32767 // 5
        z = sum(blocks[p].matrix / scale @ found[p] for p in options.parties)
        labels = blocks[options.label_holder].labels
        assert labels is not None
        return float(abs((1 / (1 + np.exp(-z)) - labels).sum()))

    assert await gap() < 1.0

    def faulty(stream: Rng, scale: float, slices: Any, me: PartyId, label_holder: PartyId) -> Any:
        term = real(stream, scale, slices, me, label_holder)
        if me != label_holder:
            term[slices[label_holder].start] = scale
        return term

    real = setup.own_term
    monkeypatch.setattr(setup, "own_term", faulty)
    assert await gap() > 10.0


@pytest.mark.parametrize("drawing", [(0,), (1,), ()])
async def test_a_job_with_terms_does_not_begin_where_a_party_draws_none(drawing: tuple[int, ...]) -> None:
    blocks, plain = noisy(2), blocks_of(2, ROWS)
    mixed = {p: blocks[p] if k in drawing else plain[p] for k, p in enumerate(blocks)}
    with pytest.raises(LocalError, match="linear term"):
        await run_all(mixed, options_for(mixed, iterations=8, noise=NOISE))
    with pytest.raises(LocalError, match="linear term"):
        await run_all(blocks, options_for(blocks, iterations=8))


async def test_a_job_in_two_halves_has_the_same_weights() -> None:
    blocks = noisy(2)
    options = options_for(blocks, iterations=8, tolerance=0.02, noise=NOISE)
    network, shelves, tools = Network(), {p: Shelf() for p in blocks}, dealt(options.parties)

    async def half(name: PartyId) -> None:
        me = party(name, seed=7, ledger={line.code: line for line in train.LEDGER})
        peers = {p: network.link(name, p) for p in blocks if p != name}
        shelf, block = shelves[name], replace(blocks[name], noise=None)
        shelf.widths, shelf.shape = await precompute(me, peers, block, options, tools(name), shelf.put)

    await run_roles({name: half(name) for name in blocks})
    after = Network()

    def rest(name: PartyId) -> Any:
        me = party(name, seed=8, ledger={line.code: line for line in train.LEDGER})
        peers = {p: after.link(name, p) for p in blocks if p != name}
        return train.run(me, peers, blocks[name], options, tools(name), kept=shelves[name])

    found = await run_roles({name: rest(name) for name in blocks})
    assert furthest(found, train.ideal(blocks, options)) < 4e-3
