"""Training on shares against the exact pooled fit, its refusals, and what it opens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from mpc.correlated_randomness.kinds import TrigPlan
from mpc.errors import LocalError, PeerError, Reason, Refused
from mpc.link import PartyId
from mpc.protocol import Ledger
from mpc.protocols import train
from mpc.regression import sizes as run_sizes
from mpc.statistics.logistic import fit_logistic
from mpc.testing.dealer import Dealer
from mpc.testing.keys import small_key
from mpc.testing.memory_link import Network, Sent, party, run_roles

KEY_BITS = 1024


@pytest.fixture(autouse=True)
def narrow_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    """The work on the preconditioner grows with the cube of all padded widths; who needs real ones says so."""
    monkeypatch.setattr(run_sizes, "WIDTH_STEP", 4)


def blocks_of(parties: int, rows: int, seed: int = 1, rate: float = 0.3) -> dict[PartyId, train.Block]:
    """Correlated features cut into blocks; the first party holds labels and intercept."""
    rng = np.random.default_rng(seed)
    names = [PartyId(f"party-{k}") for k in range(parties)]
    width = 3
    shared = rng.normal(size=(rows, 2))
    features = np.clip(rng.normal(size=(rows, width * parties)) + shared @ rng.normal(size=(2, width * parties)), -5, 5)
    features = np.clip((features - features.mean(0)) / features.std(0), -5, 5)
    z = features @ rng.normal(scale=0.5, size=width * parties) + np.log(rate / (1 - rate))
    labels = rng.random(rows) < 1 / (1 + np.exp(-z))
    scale = 32767 // 5
    matrix = np.rint(features * scale).astype(np.int16)
    blocks = {}
    for k, name in enumerate(names):
        own = matrix[:, k * width : (k + 1) * width]
        if k == 0:
            own = np.column_stack([np.full(rows, scale, np.int16), own])
            start = fit_logistic(own / scale, labels, 1e-2, 0).weights
            blocks[name] = train.Block(own, labels, start)
        else:
            blocks[name] = train.Block(own)
    return blocks


def options_for(blocks: Mapping[PartyId, train.Block], **changes: Any) -> train.TrainOptions:
    names = tuple(sorted(blocks))
    values: dict[str, Any] = {
        "parties": names, "label_holder": names[0], "rows": len(blocks[names[0]].matrix), "iterations": 16,
        "penalty": 1e-2, "clip": 5.0, "expected_default_rate": 0.3, "sigmoid": "eight", "tolerance": 0.05,
        "key_bits": KEY_BITS,
    }
    return train.TrainOptions(**(values | changes))


def dealt(names: tuple[PartyId, ...]) -> Callable[[str], train.Tools]:
    """Tools with one ideal dealer for all parties, and small fixed keys."""
    dealers: list[Dealer] = []

    def tools(name: str) -> train.Tools:
        async def source(me: Any, peers: Any, plan: TrigPlan) -> Any:
            if not dealers:
                dealers.append(Dealer(names, plan))
            return dealers[0].source(name)

        return train.Tools(lambda rng, bits: small_key(bits, names.index(PartyId(name)) + 1), source)

    return tools


async def run_all(
    blocks: Mapping[PartyId, train.Block],
    options: train.TrainOptions,
    network: Network | None = None,
    ledgers: Mapping[str, Ledger] | None = None,
    burnt: Mapping[PartyId, set[tuple[str, int]]] | None = None,
) -> dict[PartyId, Any]:
    network = network or Network()
    tools = dealt(options.parties)

    def role(name: PartyId) -> Any:
        me = party(name, seed=7, ledger={line.code: line for line in train.LEDGER})
        if ledgers is not None:
            me.ledger = ledgers[name]
        if burnt is not None:
            me.burnt = burnt[name]
        peers = {p: network.link(name, p) for p in options.parties if p != name}
        return train.run(me, peers, blocks[name], options, tools(name))

    return await run_roles({name: role(name) for name in options.parties})


@pytest.mark.parametrize("parties", [2, 3, 4])
async def test_the_weights_equal_the_exact_pooled_fit(parties: int) -> None:
    blocks = blocks_of(parties, 300)
    options = options_for(blocks, iterations=8, tolerance=0.02)
    found = await run_all(blocks, options)
    wanted = train.ideal(blocks, options)
    for name in options.parties:
        assert np.abs(found[name] - wanted[name]).max() < 3e-3, name


async def test_iterations_beyond_those_that_are_needed_do_no_harm() -> None:
    """Steps that are noise once taught directions, and whoever asked for more iterations was refused."""
    blocks = blocks_of(2, 300)
    options = options_for(blocks, iterations=36, tolerance=0.02)
    found = await run_all(blocks, options)
    wanted = train.ideal(blocks, options)
    for name in options.parties:
        assert np.abs(found[name] - wanted[name]).max() < 5e-3, name


async def test_a_party_that_forbids_the_widths_of_the_others_stops_before_any_key() -> None:
    blocks, network = blocks_of(2, 200), Network()
    options, (first, second) = options_for(blocks), options_for(blocks).parties
    heard: list[Mapping[PartyId, int]] = []

    def forbid(widths: Mapping[PartyId, int]) -> None:
        heard.append(widths)
        raise LocalError("the budget is used up")

    def role(name: PartyId, other: PartyId, **more: Any) -> Any:
        me = party(name, seed=7, ledger={line.code: line for line in train.LEDGER})
        return train.run(me, {other: network.link(name, other)}, blocks[name], options, dealt(options.parties)(name),
                         **more)

    with pytest.raises(LocalError, match="budget"):
        await run_roles({first: role(first, second, accept_widths=forbid), second: role(second, first)})
    assert heard == [{second: 4}]
    assert {type(sent.message) for sent in network.transcript if sent.sender == first} == {train.Widths}


async def test_a_run_that_has_not_converged_releases_nothing() -> None:
    blocks = blocks_of(2, 300)
    options = options_for(blocks, iterations=8, tolerance=1e-5)
    ledgers = {name: Ledger({line.code: line for line in train.LEDGER}) for name in options.parties}
    with pytest.raises(Refused) as refusal:
        await run_all(blocks, options, ledgers=ledgers)
    assert refusal.value.code == "NOT_CONVERGED"
    for ledger in ledgers.values():
        assert ledger.opened["train.converged"] == 1
        assert "train.weights" not in ledger.opened


@pytest.mark.parametrize("iterations", [9, 10, 11])
async def test_steps_whose_squares_wrap_do_not_pass_for_convergence(iterations: int) -> None:
    """A spec can ask for it: a prior of no defaults, hardly a penalty, the widest clip. Each of these once passed."""
    clip, blocks = 30.0, blocks_of(2, 300)
    narrow, wide = 32767 // 5, int(32767 // clip)
    blocks = {name: train.Block(np.rint(block.matrix / narrow * wide).astype(np.int16), block.labels, block.start)
              for name, block in blocks.items()}
    options = options_for(blocks, iterations=iterations, clip=clip, penalty=1e-4, expected_default_rate=1e-9,
                          tolerance=1.0)
    ledgers = {name: Ledger({line.code: line for line in train.LEDGER}) for name in options.parties}
    with pytest.raises(Refused, match="did not converge"):
        await run_all(blocks, options, ledgers=ledgers)
    assert not [name for name, ledger in ledgers.items() if "train.weights" in ledger.opened]


@pytest.mark.parametrize("last", [0, 2, 8])
async def test_after_a_crash_no_iteration_that_had_begun_runs_again(last: int) -> None:
    """The same job, the same seeds, what survived of the first run is its list of burnt iterations."""
    blocks = blocks_of(2, 200)
    options = options_for(blocks, iterations=8)
    burnt: dict[PartyId, set[tuple[str, int]]] = {name: set() for name in options.parties}

    def crash(sent: Sent) -> object:
        if ("training", last) in burnt[options.parties[0]] and type(sent.message).__name__ in ("Masked", "Opening"):
            raise ConnectionError
        return sent.message

    with pytest.raises(ConnectionError):
        await run_all(blocks, options, Network(tamper=crash), burnt=burnt)
    assert burnt[options.parties[0]] == {("training", t) for t in range(last + 1)}
    network = Network()
    with pytest.raises(LocalError, match="used before"):
        await run_all(blocks, options, network, burnt=burnt)
    assert not [s for s in network.transcript if isinstance(s.message, train.Masked)]


async def test_only_the_lines_of_the_ledger_are_opened_and_they_are_counted() -> None:
    blocks = blocks_of(2, 200)
    options = options_for(blocks)
    ledgers = {name: Ledger({line.code: line for line in train.LEDGER}) for name in options.parties}
    await run_all(blocks, options, ledgers=ledgers)
    for name, ledger in ledgers.items():
        assert ledger.opened["train.delta"] == options.iterations * options.rows
        assert ledger.opened["train.weights"] == 8, name
        assert ledger.opened["train.converged"] >= 1


async def test_a_spec_without_the_convergence_bit_stops_before_any_release() -> None:
    blocks = blocks_of(2, 200)
    options = options_for(blocks)
    lines = {line.code: line for line in train.LEDGER if line.code != "train.converged"}
    with pytest.raises(LocalError, match=r"train\.converged"):
        await run_all(blocks, options, ledgers={name: Ledger(lines) for name in options.parties})


@pytest.mark.parametrize(
    ("case", "change", "reason"),
    [
        ("another number of rows", lambda m: train.Widths(m.rows + 1, m.width), Reason.WRONG_LENGTH),
        ("a width that is not padded", lambda m: train.Widths(m.rows, m.width + 1), Reason.OUT_OF_RANGE),
        ("a width of zero", lambda m: train.Widths(m.rows, 0), Reason.OUT_OF_RANGE),
        ("an enormous width", lambda m: train.Widths(m.rows, 1 << 40), Reason.OUT_OF_RANGE),
    ],
)
async def test_wrong_widths_are_blamed_on_their_sender(
    case: str, change: Callable[[train.Widths], train.Widths], reason: Reason
) -> None:
    def tamper(sent: Sent) -> object:
        if isinstance(sent.message, train.Widths) and sent.sender == "party-1":
            return change(sent.message)
        return sent.message

    blocks = blocks_of(2, 200)
    with pytest.raises(PeerError) as error:
        await run_all(blocks, options_for(blocks), Network(tamper=tamper))
    assert (error.value.culprit, error.value.reason) == ("party-1", reason), case


async def test_labels_at_a_feature_holder_are_refused() -> None:
    blocks = blocks_of(2, 200)
    first, second = sorted(blocks)
    blocks[second] = train.Block(blocks[second].matrix, blocks[first].labels)
    with pytest.raises(LocalError, match="label holder"):
        await run_all(blocks, options_for(blocks))


async def test_messages_have_the_same_number_and_sizes_for_other_secrets() -> None:
    def shape(network: Network) -> list[tuple[str, str, str, str]]:
        return sorted((s.sender, s.channel, type(s.message).__name__, repr(s.message)[:80]) for s in network.transcript)

    networks = [Network(), Network()]
    for seed, network in enumerate(networks):
        blocks = blocks_of(2, 200, seed=seed + 1)
        await run_all(blocks, options_for(blocks, iterations=8, tolerance=1.0), network)
    assert shape(networks[0]) == shape(networks[1])
