"""Weights of rows and an offset in training: against the exact weighted fit, over every source, and who sees what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mpc.correlated_randomness import chain
from mpc.correlated_randomness.kinds import F64, TrigPlan, ideal_trig, scaled_circle
from mpc.correlated_randomness.two_way import TwoWaySource
from mpc.errors import LocalError
from mpc.link import PartyId
from mpc.protocols import train
from mpc.regression import setup as training
from mpc.regression import sizes as run_sizes
from mpc.regression.precision import SAFE_BITS, plan_precision
from mpc.regression.preconditioner import GROWTH_BITS
from mpc.regression.weighting import Weighting, balanced, weighted_rate, weighting
from mpc.ring import RingVector
from mpc.rng import Rng
from mpc.statistics.logistic import fit_logistic
from mpc.testing import dealer as dealers
from mpc.testing.keys import small_key
from mpc.testing.memory_link import Network, party, run_roles
from tests.mpc.correlated_randomness.test_sources import NAMES, SOURCES, total
from tests.protocols.test_train import blocks_of, dealt, options_for

SCALE = 32767 // 5
HOLDER = PartyId("party-0")


@pytest.fixture(autouse=True)
def narrow_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_sizes, "WIDTH_STEP", 4)


def with_terms(
    blocks: Mapping[PartyId, train.Block], holder: PartyId = HOLDER, weights: F64 | None = None,
    offset: F64 | None = None,
) -> dict[PartyId, train.Block]:
    """The same blocks; the label holder, whoever that is, has weights and an offset, and starts from its own fit."""
    first = blocks[HOLDER]
    assert first.labels is not None
    moved = dict(blocks)
    if holder != HOLDER:     # the outcome and the column of ones move to another party
        moved[HOLDER] = train.Block(first.matrix[:, 1:])
        own = np.column_stack([first.matrix[:, 0], blocks[holder].matrix])
    else:
        own = first.matrix
    weights = None if weights is None else weights / weights.mean()
    start = fit_logistic(own / SCALE, first.labels, 1e-2, 0, sample_weights=weights, offset=offset).weights
    return moved | {holder: train.Block(own, first.labels, start, weights, offset)}


def made_up(case: str, rows: int, labels: Any) -> tuple[F64 | None, F64 | None]:
    rng = np.random.default_rng(5)
    bad, good = balanced(float(np.mean(labels)))
    return {
        "classes": (np.where(labels, bad, good), None),
        "rows": (rng.uniform(0.0, 2.0, rows) * (rng.random(rows) > 0.1), None),
        "offset": (None, rng.normal(scale=1.0, size=rows)),
        "all of it": (np.where(labels, bad, good) * rng.uniform(0.2, 2.0, rows), rng.normal(scale=0.7, size=rows)),
    }[case]


def agreed(blocks: Mapping[PartyId, train.Block], holder: PartyId, weighed: bool, **changes: Any) -> train.TrainOptions:
    terms: dict[str, Any] = {"label_holder": holder, "iterations": 8, "tolerance": 0.02,
                             "has_offset": blocks[holder].offset is not None}
    if weighed:
        terms |= {"weighting": Weighting(holder, 8.0, 1.5), "expected_default_rate": 0.5}
    return options_for(blocks, **(terms | changes))


async def run_all(
    blocks: Mapping[PartyId, train.Block], options: train.TrainOptions,
    tools: Callable[[str], train.Tools] | None = None, network: Network | None = None,
) -> dict[PartyId, Any]:
    network, tools = network or Network(), tools or dealt(options.parties)

    def role(name: PartyId) -> Any:
        me = party(name, seed=7, ledger={line.code: line for line in train.LEDGER})
        peers = {p: network.link(name, p) for p in options.parties if p != name}
        return train.run(me, peers, blocks[name], options, tools(name))

    return await run_roles({name: role(name) for name in options.parties})


def over_transfers(names: tuple[PartyId, ...]) -> Callable[[str], train.Tools]:
    """What institutions use."""
    return lambda name: train.Tools(
        lambda rng, bits: small_key(bits, names.index(PartyId(name)) + 1), TwoWaySource.start)


@pytest.mark.parametrize("case", ["classes", "rows", "offset", "all of it"])
@pytest.mark.parametrize("parties", [2, 3])
async def test_the_weights_equal_the_exact_weighted_fit(parties: int, case: str) -> None:
    plain = blocks_of(parties, 400)
    weights, offset = made_up(case, 400, plain[HOLDER].labels)
    blocks = with_terms(plain, weights=weights, offset=offset)
    options = agreed(blocks, HOLDER, weights is not None)
    found, wanted = await run_all(blocks, options), train.ideal(blocks, options)
    for name in options.parties:
        assert np.abs(found[name] - wanted[name]).max() < 5e-3, name
    without = train.ideal(plain, replace(options, weighting=None))
    assert max(np.abs(wanted[name] - without[name]).max() for name in options.parties) > 0.03   # it matters


@pytest.mark.parametrize("holder", ["party-0", "party-1", "party-2"])
async def test_wherever_the_label_holder_stands_its_weights_reach_the_right_rows(holder: str) -> None:
    """Over oblivious transfers, two lines of parties, angles made in parts and partly during the iterations."""
    plain = blocks_of(3, 330)
    weights, offset = made_up("all of it", 330, plain[HOLDER].labels)
    blocks = with_terms(plain, PartyId(holder), weights, offset)
    options = agreed(blocks, PartyId(holder), True)
    found = await run_all(blocks, options, over_transfers(options.parties))
    wanted = train.ideal(blocks, options)
    for name in options.parties:
        assert np.abs(found[name] - wanted[name]).max() < 5e-3, name


def test_the_ideal_with_weights_is_what_scikit_learn_fits() -> None:
    plain = blocks_of(2, 500)
    rng = np.random.default_rng(3)
    own = rng.uniform(0.2, 3.0, 500)
    labels = plain[HOLDER].labels
    assert labels is not None
    total = own.sum()
    classes = np.where(labels, total / (2 * own[labels].sum()), total / (2 * own[~labels].sum()))
    blocks = with_terms(plain, weights=own * classes)
    options = agreed(blocks, HOLDER, True)
    pooled = np.concatenate([blocks[p].matrix for p in options.parties], axis=1)[:, 1:] / SCALE
    model = LogisticRegression(C=1 / (total * options.penalty), solver="newton-cholesky", tol=1e-10, max_iter=1000)
    model.fit(pooled, labels, sample_weight=own * classes)
    wanted = train.ideal(blocks, options)
    assert wanted[HOLDER][0] == pytest.approx(model.intercept_[0], abs=1e-6)
    assert np.concatenate([wanted[HOLDER][1:], wanted[PartyId("party-1")]]) == pytest.approx(model.coef_[0], abs=1e-6)


# -- planted faults: each makes the fit another one ----------------------------------------------------------------


async def off_by(monkeypatch: pytest.MonkeyPatch, fault: Callable[[pytest.MonkeyPatch], None]) -> float:
    """By how much the weights miss the exact fit with the fault in place, or infinity where the run is refused."""
    plain = blocks_of(2, 400)
    weights, offset = made_up("all of it", 400, plain[HOLDER].labels)
    blocks = with_terms(plain, weights=weights, offset=offset)
    options = agreed(blocks, HOLDER, True, tolerance=1.0)
    wanted = train.ideal(blocks, options)
    fault(monkeypatch)
    found = await run_all(blocks, options, over_transfers(options.parties))
    return max(float(np.abs(found[name] - wanted[name]).max()) for name in options.parties)


def labels_unscaled(patch: pytest.MonkeyPatch) -> None:
    honest = training.own_residuals
    patch.setattr(training, "own_residuals", lambda block, plan: honest(replace(block, weights=None), plan))


def sines_unscaled(patch: pytest.MonkeyPatch) -> None:
    honest = chain.scaled_circle
    patch.setattr(chain, "scaled_circle", lambda plan, rho, scales, rng: honest(plan, rho, np.ones_like(scales), rng))


def weights_of_other_rows(patch: pytest.MonkeyPatch) -> None:
    honest = training.Stock
    patch.setattr(training, "Stock", lambda source, scales: honest(source, None if scales is None else scales[::-1]))


def offset_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(training, "own_log_odds", lambda block, plan: None)


@pytest.mark.parametrize("fault", [labels_unscaled, sines_unscaled, weights_of_other_rows, offset_forgotten])
async def test_planted_fault_a_term_in_the_wrong_place_is_another_model(
    fault: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await off_by(monkeypatch, fault) > 0.03


@pytest.mark.parametrize("scale", [0.0, 1e-4, 0.3, 1.0, 7.5])
def test_scaled_points_are_right_on_average_however_small_the_factor(scale: float) -> None:
    count, plan = 40_000, TrigPlan(2, (4, 3), 4, scaled_by=HOLDER)
    rho = np.full(count, 123_456_789_012, np.uint64) & np.uint64(2**37 - 1)
    cosines, sines = scaled_circle(plan, rho, np.full(count, scale), Rng(b"c" * 32))
    for index, harmonic in enumerate(plan.harmonics):
        angle = 2 * np.pi * (int(rho[0]) * harmonic % 2**37) / 2**37
        for found, exact in ((cosines[index], np.cos(angle)), (sines[index], np.sin(angle))):
            assert found.mean() == pytest.approx(plan.quantiser(index, lead=True).amplitude * scale * exact, abs=0.02)


# -- who may, and what the others see ------------------------------------------------------------------------------


async def test_with_other_weights_and_offsets_the_messages_are_alike_in_number_and_size() -> None:
    """All that a party without the label gets and sends: kinds, channels, sizes."""

    def shape(network: Network) -> list[tuple[str, str, str, str]]:
        return sorted((s.sender, s.channel, type(s.message).__name__, repr(s.message)[:80]) for s in network.transcript)

    plain, networks = blocks_of(2, 200), [Network(), Network()]
    tools = over_transfers(tuple(sorted(plain)))
    for seed, network in enumerate(networks):
        rng = np.random.default_rng(seed)
        blocks = with_terms(plain, weights=rng.uniform(seed, 2.0, 200), offset=rng.normal(size=200) * seed)
        await run_all(blocks, agreed(blocks, HOLDER, True, tolerance=1.0), tools, network)
    assert shape(networks[0]) == shape(networks[1])


async def test_what_a_feature_holder_receives_is_uniform_whatever_the_rows_weigh() -> None:
    """Weights that could not differ more: the highest and the lowest byte of every masked word that reaches the other
    party, of transfers, of masked vectors, and of the openings of log-odds."""
    plain, rows = blocks_of(2, 300), 300
    heavy = np.where(np.arange(rows) % 10 == 0, 8.0, 2 / 9)
    for weights in (np.ones(rows), heavy):
        network = Network()
        blocks = with_terms(plain, weights=weights)
        tools = over_transfers(tuple(sorted(plain)))
        await run_all(blocks, agreed(blocks, HOLDER, True, tolerance=1.0), tools, network)
        heard: dict[tuple[str, int], list[Any]] = {}
        for sent in network.transcript:
            for vector in vars(sent.message).values():
                if sent.receiver == "party-1" and isinstance(vector, RingVector) and vector.bits in (37, 64):
                    heard.setdefault((type(sent.message).__name__, vector.bits), []).append(vector.values)
        assert set(heard) >= {("Corrections", 64), ("Masked", 37), ("Masked", 64), ("Opening", 37)}
        for (kind, bits), vectors in heard.items():
            words = np.concatenate(vectors)
            for shift in (0, bits - 8):
                counts = np.bincount((words >> np.uint64(shift)).astype(np.uint8), minlength=256)
                chi = float(np.sum((counts - counts.mean()) ** 2 / counts.mean()))
                assert chi < 400, (kind, bits, shift)      # 255 degrees of freedom: 400 is 1e-8


@pytest.mark.parametrize(("case", "who", "terms", "told"), [
    ("weights that the job does not have", HOLDER, {"weights": np.ones(200)}, "weights belong"),
    ("weights at a feature holder", "party-1", {"weights": np.ones(200)}, "weights belong"),
    ("an offset at a feature holder", "party-1", {"offset": np.zeros(200)}, "offset belongs"),
    ("an offset that the job does not have", HOLDER, {"offset": np.zeros(200)}, "offset belongs"),
    ("an offset beyond the sigmoid's range", HOLDER, {"offset": np.full(200, 17.0)}, "range"),
    ("an offset that is no number", HOLDER, {"offset": np.full(200, np.nan)}, "range"),
])
async def test_terms_that_were_not_agreed_stop_before_anything_is_sent(
    case: str, who: str, terms: Mapping[str, F64], told: str
) -> None:
    blocks, network = blocks_of(2, 200), Network()
    blocks[PartyId(who)] = replace(blocks[PartyId(who)], **terms)
    with pytest.raises(LocalError, match=told):
        await run_all(blocks, agreed(blocks, HOLDER, False, has_offset=told == "range"), network=network)
    assert not [s for s in network.transcript if s.sender == who], case


async def test_a_label_holder_that_forgets_the_agreed_offset_stops_before_anything_is_sent() -> None:
    blocks, network = blocks_of(2, 200), Network()
    with pytest.raises(LocalError, match="offset belongs"):
        await run_all(blocks, agreed(blocks, HOLDER, False, has_offset=True), network=network)
    assert not [s for s in network.transcript if s.sender == HOLDER]


@pytest.mark.parametrize(("case", "weights"), [
    ("none", None), ("heavier than agreed", np.r_[np.full(199, 191 / 199), 9.0]),
    ("negative", np.r_[np.full(199, 201 / 199), -1.0]),
    ("of another mean", np.full(200, 2.0)), ("not a number", np.full(200, np.nan)), ("too few", np.ones(199)),
])
async def test_weights_that_are_not_those_agreed_are_refused_by_their_owner(case: str, weights: F64 | None) -> None:
    blocks, network = blocks_of(2, 200), Network()
    blocks[HOLDER] = replace(blocks[HOLDER], weights=weights)
    with pytest.raises(LocalError, match="weights"):
        await run_all(blocks, agreed(blocks, HOLDER, True), network=network)
    assert not [s for s in network.transcript if s.sender == HOLDER], case


# -- sources, and the plan -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["oblivious transfer", "both ways", "Paillier", "ideal dealer"])
@pytest.mark.parametrize("who", ["bank", "telecom"])
async def test_every_source_gives_points_as_the_party_scaled_them(
    kind: str, who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, count = NAMES[:3], 32
    made: list[tuple[Any, Any]] = []

    def kept(*given: Any) -> Any:
        made.append(scaled_circle(*given))
        return made[-1]

    monkeypatch.setattr(chain, "scaled_circle", kept)
    monkeypatch.setattr(dealers, "scaled_circle", kept)
    plan = TrigPlan(3, (4, 2, 1), 6, scaled_by=PartyId(who))
    sources = await SOURCES[kind](Network(), names, plan)
    scales = np.random.default_rng(1).uniform(0, 5, count)
    trigs = await run_roles({n: s.trig(party(n, 5), count, scales if n == who else None) for n, s in sources.items()})
    rhos = [trigs[n].rho for n in plan.line([PartyId(n) for n in names])]
    cosines, sines = ideal_trig(plan, rhos, made[-1])
    assert np.array_equal(total([trigs[n].cosines for n in names]), cosines)
    assert np.array_equal(total([trigs[n].sines for n in names]), sines)
    with pytest.raises(LocalError, match="factors"):
        await run_roles({n: s.trig(party(n, 5), count, scales) for n, s in sources.items()})


def test_who_weighs_leads_both_lines_and_the_others_keep_their_order() -> None:
    names = [PartyId(n) for n in ("a", "b", "c", "d")]
    plan = TrigPlan(4, scaled_by=PartyId("c"))
    assert plan.line(names) == ["c", "a", "b", "d"]
    assert plan.line(names, against_ids=True) == ["c", "d", "b", "a"]
    assert TrigPlan(4).line(names, against_ids=True) == ["d", "c", "b", "a"]


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2, 0.5, 0.9])
def test_the_bound_on_balanced_weights_holds_where_an_outcome_is_ten_times_rarer(rate: float) -> None:
    plan = weighting(HOLDER, rate, balanced, None)
    for true in (rate / 10, rate / 2, rate, (1 + rate) / 2, 1 - (1 - rate) / 10):
        assert max(balanced(true)) <= plan.largest * (1 + 1e-12)
    assert plan.mean_square == pytest.approx(1 / (4 * rate * (1 - rate)))
    assert weighted_rate(rate, balanced) == pytest.approx(0.5)
    both = weighting(HOLDER, rate, balanced, 10.0)
    assert both.largest == pytest.approx(10 * plan.largest)


def test_weights_cost_bits_by_their_mean_square_and_room_by_their_largest() -> None:
    plain = plan_precision(2, 14_000, 5.0, 1e-3, 0.2, "eight")
    even = plan_precision(2, 14_000, 5.0, 1e-3, 0.2, "eight", Weighting(HOLDER, 1.0, 1.0))
    uneven = plan_precision(2, 14_000, 5.0, 1e-3, 0.2, "eight", Weighting(HOLDER, 16.0, 4.0))
    assert sum(plain.trig.bits) == sum(even.trig.bits)
    assert len(plain.trig.bits) // 2 <= sum(uneven.trig.bits) - sum(even.trig.bits) <= len(plain.trig.bits) + 2
    assert uneven.row_weight * uneven.residual_noise <= plain.residual_noise * 1.5
    assert 14_000 * uneven.coarse_scale * uneven.residual_scale * 1.75 * 4.0 < 2**SAFE_BITS


def test_an_offset_takes_the_room_that_its_longer_weights_need() -> None:
    """The penalty's gradient counts where the penalty is high: weights may then be as long as sqrt(2 (log 2 + 16))."""
    plain, longer = (plan_precision(2, 14_000, 5.0, 1.0, 0.2, "eight", None, offset) for offset in (False, True))
    most = 14_000 * longer.coarse_scale * longer.residual_scale * (1.75 * 1.1 + 2 * np.sqrt(2 * (np.log(2) + 16)))
    assert most < 2**SAFE_BITS * 1.01
    assert longer.residual_scale < plain.residual_scale


@pytest.mark.parametrize("rate", [0.01, 0.2])
@pytest.mark.parametrize(("parties", "rows"), [(2, 700), (2, 14_000), (2, 700_000), (4, 14_000)])
def test_the_preconditioner_has_room_for_the_largest_weights_and_unweighted_plans_are_as_before(
    parties: int, rows: int, rate: float
) -> None:
    names = tuple(PartyId(f"party-{k}") for k in range(parties))
    plain = train.TrainOptions(names, names[0], rows, 8, 1e-3, 5.0, rate, "auto", 0.03, 2048)
    for largest in (None, 10.0):
        agreed_on = weighting(HOLDER, rate, balanced, largest)
        sizes = run_sizes.planned(replace(plain, weighting=agreed_on, expected_default_rate=0.5),
                                  dict.fromkeys(names, 16))
        plan = sizes.preconditioner
        assert plan.residual == pytest.approx(np.sqrt(agreed_on.largest))
        longest = plan.vector_unit * plan.residual / np.sqrt(plan.curvature) * 2**GROWTH_BITS
        for a, _, k in plan.coefficients:
            assert max(a * longest, k * longest * plan.hessian_unit) < 2**62
    assert run_sizes.planned(plain, dict.fromkeys(names, 16)).preconditioner.residual == 1.0
