"""Training in two halves: the same model, one-time values that serve once, and what a second use would show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from mpc.errors import LocalError, PeerError, Reason
from mpc.link import PartyId
from mpc.products.one_time_shares import HolderProduct, Once
from mpc.products.plan import ProductPlan
from mpc.protocols import train
from mpc.regression import sizes as run_sizes
from mpc.regression.precomputed import precompute
from mpc.rng import Rng
from mpc.sharing.opening import Opening
from mpc.sharing.truncation import TruncationMasks
from mpc.sharing.zero_sharing import MaskKey
from mpc.testing.memory_link import Network, Sent, party, run_roles
from tests.protocols.test_train import blocks_of, dealt, options_for
from tests.simulation.checks import masks_serve_once
from tests.simulation.observer import Recording, observing

ROWS = 200


@pytest.fixture(autouse=True)
def narrow_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_sizes, "WIDTH_STEP", 4)


class Shelf:
    """Keeps arrays as a node's file does, and as strictly. `forgetful`: the planted fault of one that burns nothing."""

    def __init__(self, *, forgetful: bool = False) -> None:
        self.arrays: dict[str, Any] = {}
        self.widths: Mapping[PartyId, int] = {}
        self.shape = ""
        self.log: list[str] = []
        self._forgetful, self._burnt = forgetful, False

    def put(self, name: str, array: Any) -> None:
        assert name not in self.arrays
        self.arrays[name] = array.copy()

    def begin(self) -> None:
        self.log.append("begin")
        if self._burnt and not self._forgetful:
            raise LocalError("they were used before")
        self._burnt, self._left = True, dict(self.arrays)

    def take(self, name: str) -> Any:
        self.log.append(name)
        if not self._burnt:
            raise LocalError("nothing was burnt")
        return self._left.pop(name)


MADE: dict[tuple[int, int], dict[str, Shelf]] = {}


async def ahead(blocks: Mapping[PartyId, train.Block], options: train.TrainOptions, **kind: Any) -> dict[str, Shelf]:
    """The first half; made once for all tests of one shape, and each gets shelves of its own."""
    shape = len(options.parties), options.rows
    if shape not in MADE:
        network, tools, made = Network(), dealt(options.parties), {name: Shelf() for name in options.parties}

        async def role(name: PartyId) -> None:
            peers = {p: network.link(name, p) for p in options.parties if p != name}
            made[name].widths, made[name].shape = await precompute(
                party(name, seed=7), peers, blocks[name], options, tools(name), made[name].put)

        await run_roles({name: role(name) for name in options.parties})
        MADE[shape] = made
    shelves = {name: Shelf(**kind) for name in options.parties}
    for name, shelf in shelves.items():
        made_ = MADE[shape][name]
        shelf.arrays, shelf.widths, shelf.shape = dict(made_.arrays), made_.widths, made_.shape
    return shelves


async def online(
    blocks: Mapping[PartyId, train.Block], options: train.TrainOptions, shelves: Mapping[str, Shelf],
    network: Network | None = None,
) -> dict[PartyId, Any]:
    """The second half."""
    network = network or Network()

    def role(name: PartyId) -> Any:
        me = party(name, seed=8, ledger={line.code: line for line in train.LEDGER})
        peers = {p: network.link(name, p) for p in options.parties if p != name}
        return train.run(me, peers, blocks[name], options, NO_TOOLS, kept=shelves[name])

    return await run_roles({name: role(name) for name in options.parties})


def _never(*_: Any) -> Any:
    raise AssertionError("the second half made a key or a correlation")


NO_TOOLS = train.Tools(_never, _never)


@pytest.mark.parametrize("parties", [2, 3])
async def test_the_weights_equal_the_exact_pooled_fit(parties: int) -> None:
    blocks = blocks_of(parties, 300)
    options = options_for(blocks, iterations=8, tolerance=0.02)
    found = await online(blocks, options, await ahead(blocks, options))
    wanted = train.ideal(blocks, options)
    for name in options.parties:
        assert np.abs(found[name] - wanted[name]).max() < 3e-3, name


async def test_the_second_half_sends_uniform_words_and_keys_of_zero_sharings_only_and_uses_everything() -> None:
    blocks = blocks_of(2, ROWS)
    options, network = options_for(blocks, iterations=8), Network()
    shelves = await ahead(blocks, options)
    await online(blocks, options, shelves, network)
    assert {type(sent.message) for sent in network.transcript} == {train.Widths, train.Masked, Opening, MaskKey}
    for shelf in shelves.values():
        assert not shelf._left, "values were made ahead that nobody needs"


async def test_nothing_is_taken_before_all_have_said_that_they_hold_their_half_and_it_is_burnt() -> None:
    blocks = blocks_of(3, ROWS)
    options = options_for(blocks, iterations=8)
    shelves, heard = await ahead(blocks, options), []

    def watch(sent: Sent) -> object:
        if isinstance(sent.message, train.Widths):
            heard.append({name: list(shelf.log) for name, shelf in shelves.items()}[sent.sender])
        return sent.message

    await online(blocks, options, shelves, Network(tamper=watch))
    assert heard == [[]] * 6
    assert {shelf.log[0] for shelf in shelves.values()} == {"begin"}


async def test_a_second_job_on_the_same_half_is_refused_before_anything_leaves() -> None:
    blocks = blocks_of(2, ROWS)
    options = options_for(blocks, iterations=8)
    shelves = await ahead(blocks, options)
    await online(blocks, options, shelves)
    network = Network()
    with pytest.raises(LocalError, match="used before"):
        await online(blocks, options, shelves, network)
    assert {type(sent.message) for sent in network.transcript} == {train.Widths}


@pytest.mark.parametrize("forgetful", [False, True])
async def test_masks_of_a_half_that_serves_twice_would_be_found(forgetful: bool) -> None:
    """The planted fault: nobody burns. Then two jobs show the difference of what they mask."""
    blocks = blocks_of(2, ROWS)
    options, recording = options_for(blocks, iterations=8), Recording(("party-0", "party-1"), "party-0")
    shelves = await ahead(blocks, options, forgetful=forgetful)
    with observing(recording):
        await online(blocks, options, shelves)
        if forgetful:
            changed = {name: train.Block(block.matrix, block.labels, None if block.start is None else block.start * 0)
                       for name, block in blocks.items()}
            await online(changed, options, shelves)
    assert bool(masks_serve_once(recording)) == forgetful


@pytest.mark.parametrize(("change", "reason"), [
    (lambda m: train.Widths(m.rows, m.width + 4), Reason.UNEQUAL),
    (lambda m: train.Widths(m.rows + 1, m.width), Reason.WRONG_LENGTH),
])
async def test_a_peer_that_holds_another_half_is_blamed_and_ours_is_not_burnt(change: Any, reason: Reason) -> None:
    blocks = blocks_of(2, ROWS)
    options = options_for(blocks, iterations=8)
    shelves = await ahead(blocks, options)

    def tamper(sent: Sent) -> object:
        wrong = isinstance(sent.message, train.Widths) and sent.sender == "party-1"
        return change(sent.message) if wrong else sent.message

    with pytest.raises(PeerError) as error:
        await online(blocks, options, shelves, Network(tamper=tamper))
    assert (error.value.culprit, error.value.reason) == ("party-1", reason)
    assert shelves["party-0"].log == []


async def test_a_block_of_other_rows_or_width_does_not_get_as_far_as_a_message() -> None:
    blocks = blocks_of(2, ROWS)
    options = options_for(blocks, iterations=8)
    shelves, network = await ahead(blocks, options), Network()
    wide = np.tile(blocks["party-1"].matrix, (1, 2))
    with pytest.raises(LocalError):
        await online(blocks | {PartyId("party-1"): train.Block(wide)}, options, shelves, network)
    assert not [sent for sent in network.transcript if sent.sender == "party-1"]


async def test_a_release_that_would_shift_otherwise_does_not_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = blocks_of(2, ROWS)
    options, network = options_for(blocks, iterations=8), Network()
    shelves = await ahead(blocks, options)
    monkeypatch.setattr("mpc.regression.precision.GRADIENT_BITS", 24)
    with pytest.raises(LocalError, match="other sizes"):
        await online(blocks, options, shelves, network)
    assert network.transcript == []
    assert all(shelf.log == [] for shelf in shelves.values())


async def test_a_half_that_lacks_angles_ends_the_run_by_a_sentence() -> None:
    blocks = blocks_of(2, ROWS)
    options = options_for(blocks, iterations=8)
    shelves = await ahead(blocks, options)
    for shelf in shelves.values():
        shelf.arrays["angles/0/rho"] = shelf.arrays["angles/0/rho"][:-1]
        shelf.arrays["angles/0/cosines"] = shelf.arrays["angles/0/cosines"][:, :-1]
    with pytest.raises(LocalError, match="other sizes"):
        await online(blocks, options, shelves)


async def test_values_that_were_used_once_are_not_handed_over() -> None:
    blocks = blocks_of(2, ROWS)
    options = options_for(blocks, iterations=8)
    shelf = (await ahead(blocks, options))["party-0"]
    shelf.begin()
    masks = train_masks(shelf)
    masks.take(1)
    with pytest.raises(LocalError, match="used before"):
        masks.handed_over()


def train_masks(shelf: Shelf) -> Any:
    return TruncationMasks(3, *(shelf.take(f"truncation/gradient/{name}") for name in ("mask", "high", "top")))


async def test_a_product_is_handed_over_whole_or_not_at_all() -> None:
    plan, rng = ProductPlan(4, 3, 16, 64, 2, 1024), Rng(bytes(32))
    once, masks, shares = Once(2, "mask"), rng.ring(8).reshape(2, 4), rng.ring(6).reshape(2, 3)
    first, second = HolderProduct(plan, masks, once, shares), HolderProduct(plan, masks, once, shares)
    assert first.handed_over()[0] is masks
    assert second.handed_over()[1] is shares
    with pytest.raises(LocalError, match="used before"):
        first.mask(0, rng.ring(4))
    used = HolderProduct(plan, masks, Once(2, "mask"), shares)
    used.mask(0, rng.ring(4))
    with pytest.raises(LocalError, match="used before"):
        used.handed_over()
