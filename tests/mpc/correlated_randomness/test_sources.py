"""One contract for every source of correlations, N = 2, 3, 4: consistent, uniform, equal to the ideal."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.correlated_randomness import chain
from mpc.correlated_randomness.kinds import (
    Bits,
    CorrelationSource,
    Trig,
    TrigPlan,
    Triples,
    ideal_trig,
    quantised_circle,
)
from mpc.correlated_randomness.ot_source import OtSource
from mpc.correlated_randomness.paillier_source import PaillierSource
from mpc.correlated_randomness.two_way import TwoWaySource
from mpc.errors import LocalError, PeerError, Reason
from mpc.link import Link, PartyId
from mpc.ot.extension import Columns, Corrections
from mpc.paillier.ciphertexts import SealedVector
from mpc.products.matrix_vector import MaskedProducts
from mpc.ring import U64, to_signed
from mpc.rng import Rng
from mpc.sharing.comparison import is_below
from mpc.sharing.truncation import prepare_truncation, truncate
from mpc.testing.dealer import Dealer
from mpc.testing.keys import small_key
from mpc.testing.memory_link import Network, party, run_roles
from mpc.testing.transcript import content

NAMES = ("bank", "shop", "telecom", "utility")
Sources = Mapping[str, CorrelationSource]


def peers_of(network: Network, me: str, names: Sequence[str]) -> dict[PartyId, Link]:
    return {PartyId(p): network.link(me, p) for p in names if p != me}


async def from_ot(network: Network, names: Sequence[str], plan: TrigPlan, seed: int = 1) -> Sources:
    return await run_roles({n: OtSource.start(party(n, seed), peers_of(network, n, names), plan) for n in names})


async def from_two_ways(network: Network, names: Sequence[str], plan: TrigPlan) -> Sources:
    return await run_roles({n: TwoWaySource.start(party(n), peers_of(network, n, names), plan) for n in names})


async def from_paillier(network: Network, names: Sequence[str], plan: TrigPlan) -> Sources:
    return await run_roles({
        n: PaillierSource.start(party(n), peers_of(network, n, names), plan, small_key(256, seed))
        for seed, n in enumerate(names, 1)
    })


async def from_dealer(network: Network, names: Sequence[str], plan: TrigPlan) -> Sources:
    dealer = Dealer(names, plan, Rng(b"d" * 32))
    return {n: dealer.source(n) for n in names}


SOURCES: dict[str, Callable[[Network, Sequence[str], TrigPlan], Awaitable[Sources]]] = {
    "oblivious transfer": from_ot,
    "both ways": from_two_ways,
    "Paillier": from_paillier,
    "ideal dealer": from_dealer,
}
SMALLER = {"Paillier": 16}  # by how much the slow cross-check divides the counts of the larger tests
CASES = [(kind, parties) for kind in SOURCES for parties in (2, 3, 4)]


async def make(kind: str, parties: int, bits: tuple[int, ...] = (9, 8, 7, 2, 1, 1)) -> Sources:
    return await SOURCES[kind](Network(), NAMES[:parties], TrigPlan(parties, bits))


async def all_parties(sources: Sources, what: str, count: int) -> dict[str, Any]:
    """Every party calls method `what` with `count`."""
    return await run_roles({n: getattr(source, what)(party(n, 77), count) for n, source in sources.items()})


def total(parts: Sequence[U64]) -> U64:
    return np.sum(list(parts), axis=0, dtype=np.uint64)


def chi_square_of_top_bits(words: U64, bits: int = 64) -> float:
    """15 degrees of freedom: 60 is beyond 1e-6."""
    counts = np.bincount((words.reshape(-1) >> np.uint64(bits - 4)).astype(np.int64), minlength=16)
    return float(np.sum((counts - counts.mean()) ** 2 / counts.mean()))


# -- the contract ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "parties"), CASES)
async def test_masked_angles_come_with_the_product_of_all_quantised_points(kind: str, parties: int) -> None:
    sources = await make(kind, parties)
    plan = sources["bank"].plan
    trigs: list[Trig] = list((await all_parties(sources, "trig", 512 // SMALLER.get(kind, 1))).values())
    cosines, sines = ideal_trig(plan, [t.rho for t in trigs])
    assert np.array_equal(total([t.cosines for t in trigs]), cosines)
    assert np.array_equal(total([t.sines for t in trigs]), sines)
    rho = total([t.rho for t in trigs]) & np.uint64(2**plan.period_bits - 1)
    for index, harmonic in enumerate(plan.harmonics):
        angle = 2 * math.pi * harmonic * rho.astype(float) / 2**plan.period_bits
        lead, other = (plan.quantiser(index, lead=lead) for lead in (True, False))
        scale = lead.amplitude * other.amplitude ** (plan.parties - 1)
        off = 1.0 if other.bits == 1 else math.sqrt(0.5)  # from the circle to the nearest corner, or by rounding
        slack = (lead.amplitude + math.sqrt(0.5)) * (other.amplitude + off) ** (plan.parties - 1) / scale - 1
        assert np.abs(to_signed(cosines[index]) / scale - np.cos(angle)).max() <= slack
        assert np.abs(to_signed(sines[index]) / scale - np.sin(angle)).max() <= slack
        assert np.abs(to_signed(cosines[index])).max() <= plan.bound(index)


@pytest.mark.parametrize(("kind", "parties"), CASES)
async def test_masks_and_shares_are_uniform_at_every_party(kind: str, parties: int) -> None:
    sources = await make(kind, parties, (5, 4))
    trigs = await all_parties(sources, "trig", 4096 // SMALLER.get(kind, 1))
    for trig in trigs.values():
        assert chi_square_of_top_bits(trig.rho, 37) < 60
        for shares in (*trig.cosines, *trig.sines):
            assert chi_square_of_top_bits(shares) < 60
            assert chi_square_of_top_bits(shares & np.uint64(15), 4) < 60


@pytest.mark.parametrize(("kind", "parties"), CASES)
async def test_shared_bits_are_fair_bits_in_uniform_shares(kind: str, parties: int) -> None:
    count = 4096 // SMALLER.get(kind, 1)
    shares: list[Bits] = list((await all_parties(await make(kind, parties), "bits", count)).values())
    bits = total([share.sums for share in shares])
    assert set(bits.tolist()) == {0, 1}
    assert np.array_equal(np.bitwise_xor.reduce([share.flips for share in shares]), bits)
    assert abs(int(bits.sum()) - count / 2) < 3 * math.sqrt(count)  # six standard deviations
    for share in shares:
        assert chi_square_of_top_bits(share.sums) < 60
        for low in (share.sums & np.uint64(1), share.flips):
            assert abs(int(low.sum()) - count / 2) < 3 * math.sqrt(count)


@pytest.mark.parametrize(("kind", "parties"), CASES)
async def test_triples_are_products_of_uniform_numbers(kind: str, parties: int) -> None:
    count = 1024 // SMALLER.get(kind, 1)
    triples: list[Triples] = list((await all_parties(await make(kind, parties), "triples", count)).values())
    a, b, c = (total([getattr(t, name) for t in triples]) for name in "abc")
    assert np.array_equal(a * b, c)
    for words in (a, b, *(t.c for t in triples)):
        assert chi_square_of_top_bits(words) < 60


@pytest.mark.parametrize(("kind", "parties"), CASES)
async def test_triples_of_bits_are_products_of_fair_bits(kind: str, parties: int) -> None:
    count = 4096 // SMALLER.get(kind, 1)
    triples: list[Triples] = list((await all_parties(await make(kind, parties), "ands", count)).values())
    a, b, c = (np.bitwise_xor.reduce([getattr(t, name) for t in triples]) for name in "abc")
    assert np.array_equal(a & b, c)
    for bits in (a, b, *(getattr(t, name) for t in triples for name in "abc")):
        assert set(bits.tolist()) == {0, 1}
        assert abs(int(bits.sum()) - count / 2) < 3 * math.sqrt(count)


@pytest.mark.parametrize("kind", SOURCES)
async def test_calls_of_all_kinds_may_follow_each_other_and_never_repeat(kind: str) -> None:
    sources = await make(kind, 3, (6, 4))
    people = {n: party(n, 5) for n in sources}
    seen = []
    for _ in range(2):
        trigs = await run_roles({n: s.trig(people[n], 64) for n, s in sources.items()})
        await run_roles({n: s.bits(people[n], 64) for n, s in sources.items()})
        await run_roles({n: s.triples(people[n], 8) for n, s in sources.items()})
        await run_roles({n: s.ands(people[n], 8) for n, s in sources.items()})
        seen.append(trigs)
    for name in sources:
        assert not np.any(seen[0][name].rho == seen[1][name].rho)
        assert not np.any(seen[0][name].cosines == seen[1][name].cosines)


@pytest.mark.parametrize("kind", SOURCES)
async def test_an_empty_request_is_answered_with_empty_vectors(kind: str) -> None:
    sources = await make(kind, 2)
    trigs = await all_parties(sources, "trig", 0)
    assert trigs["bank"].cosines.shape == (6, 0)
    assert len((await all_parties(sources, "bits", 0))["shop"]) == 0


def test_shares_are_never_printed_or_pickled() -> None:
    values = np.arange(3, dtype=np.uint64)
    assert repr(Trig(values, values[None], values[None])) == "Trig(1 harmonics x 3)"
    assert repr(Triples(values, values, values)) == "Triples(3)"
    assert repr(Bits(values, values)) == "Bits(3)"
    for secret in (Trig(values, values[None], values[None]), Bits(values, values), Triples(values, values, values)):
        with pytest.raises(TypeError, match="never pickled"):
            secret.__reduce__()


# -- the plan ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 9, 12])
@pytest.mark.parametrize("parties", [2, 3])
def test_the_gain_is_the_product_of_the_first_fourier_coefficients_of_the_quantised_cosines(
    bits: int, parties: int
) -> None:
    plan = TrigPlan(parties, (bits,), 5)
    angles = (np.arange(1 << 18) + 0.5) * (2 * math.pi / (1 << 18))
    lead, other = (
        2 * np.mean(plan.quantiser(0, lead=lead)(np.cos(angles)) * np.cos(angles)) for lead in (True, False)
    )
    assert plan.gain(0) == pytest.approx(lead * other ** (parties - 1), rel=1e-4)


@pytest.mark.parametrize("bits", [1, 2, 3, 5, 8])
def test_the_noise_of_a_quantiser_is_what_it_leaves_of_a_cosine(bits: int) -> None:
    plan = TrigPlan(2, (bits,))
    angles = (np.arange(1 << 18) + 0.5) * (2 * math.pi / (1 << 18))
    rounded = plan.quantiser(0, lead=False)
    left = rounded(np.cos(angles)) / rounded.gain - np.cos(angles)
    assert rounded.noise == pytest.approx(left.std(), rel=1e-3)


@pytest.mark.parametrize("bits", [1, 4])
def test_divided_by_the_gain_the_opened_series_has_no_bias(bits: int) -> None:
    """sin(m (z - rho)) C + cos(m (z - rho)) S, averaged over rho, is sin(m z): with the amplitude alone it is not."""
    plan = TrigPlan(2, (bits,), 4)
    count, z = 400_000, 0.7
    rhos = [Rng(bytes([k]) * 32).ring(count, 37) for k in range(2)]
    cosines, sines = (to_signed(part[0]) for part in ideal_trig(plan, rhos))
    delta = z - 2 * math.pi * total(rhos).astype(float) / 2**37
    opened = np.sin(delta) * cosines + np.cos(delta) * sines
    noise = opened.std() / plan.gain(0)
    assert noise == pytest.approx(plan.noise(0), rel=0.1)
    error = noise / math.sqrt(count)
    assert abs(opened.mean() / plan.gain(0) - math.sin(z)) < 5 * error
    amplitude = plan.quantiser(0, lead=True).amplitude * plan.quantiser(0, lead=False).amplitude
    assert abs(opened.mean() / amplitude - math.sin(z)) > 5 * error


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 2**37 - 1), min_size=1, max_size=20))
def test_the_quantised_circle_is_within_half_a_unit_and_its_amplitude(rho: list[int]) -> None:
    plan = TrigPlan(2, (9, 5))
    cosines, sines = quantised_circle(plan, np.array(rho, np.uint64), lead=False)
    for index, harmonic in enumerate((1, 3)):
        top = plan.quantiser(index, lead=False).amplitude
        angles = [2 * math.pi * (harmonic * r % 2**37) / 2**37 for r in rho]
        assert np.abs(cosines[index] - [top * math.cos(t) for t in angles]).max() <= 0.5 + 1e-9
        assert np.abs(sines[index] - [top * math.sin(t) for t in angles]).max() <= 0.5 + 1e-9


@pytest.mark.parametrize(("parties", "bits", "period"), [(1, (9,), 37), (2, (), 37), (2, (0,), 37), (2, (9,), 60)])
def test_a_plan_that_cannot_work_is_refused(parties: int, bits: tuple[int, ...], period: int) -> None:
    with pytest.raises(ValueError, match=r"has|needs"):
        TrigPlan(parties, bits, period_bits=period)


@pytest.mark.parametrize("lead", [1, 17])
def test_a_plan_whose_first_party_has_too_few_or_too_many_bits_is_refused(lead: int) -> None:
    with pytest.raises(ValueError, match="first party"):
        TrigPlan(2, (9,), lead)


async def test_a_source_for_another_number_of_parties_is_refused() -> None:
    with pytest.raises(LocalError, match="another number of parties"):
        await from_ot(Network(), NAMES[:2], TrigPlan(3))
    with pytest.raises(ValueError, match="another number of parties"):
        Dealer(NAMES[:2], TrigPlan(3))


# -- the chain over oblivious transfer -------------------------------------------------------------------------------


async def test_two_calls_at_once_are_refused_because_they_would_share_indices() -> None:
    sources = await make("oblivious transfer", 2)
    me = party("bank")
    with pytest.raises(LocalError, match="one call at a time"):
        await me.together(sources["bank"].bits(me, 8), sources["bank"].bits(me, 8))


async def test_messages_number_and_size_do_not_depend_on_secrets_and_fit_the_wire() -> None:
    shapes = []
    for seed in (1, 2):
        network = Network()
        sources = await from_ot(network, NAMES[:3], TrigPlan(3), seed)
        start = len(network.transcript)
        await run_roles({n: s.trig(party(n, seed), 1000) for n, s in sources.items()})
        sizes: dict[tuple[str, str], list[int]] = {}
        for sent in network.transcript[start:]:
            message = sent.message
            size = len(message.rows) if isinstance(message, Columns) else 8 * len(message.words)
            sizes.setdefault((sent.sender, sent.receiver), []).append(size)
        shapes.append(sizes)
    assert shapes[0] == shapes[1]
    assert max(max(sizes) for sizes in shapes[0].values()) <= 1 << 20
    # 78 OTs a row and pair, 4 bytes of columns and 16 of corrections each; a chunk is padded to 64 OTs
    assert sum(map(sum, shapes[0].values())) == pytest.approx(1000 * 78 * 3 * 20, rel=0.01)


async def test_equal_seeds_send_equal_bytes_whatever_the_timing() -> None:
    """Deterministic replay: no draw may depend on which peer answers first."""
    transcripts = []
    for threads in (False, True):
        network, people = Network(), {n: party(n, 3) for n in NAMES[:3]}
        for person in people.values():
            person.threads = threads
        sources = await run_roles({
            n: OtSource.start(me, peers_of(network, n, NAMES[:3]), TrigPlan(3, (4, 3))) for n, me in people.items()})
        await run_roles({n: s.trig(people[n], 100) for n, s in sources.items()})
        await run_roles({n: s.triples(people[n], 10) for n, s in sources.items()})
        sent: dict[tuple[str, str], bytes] = {}
        for record in network.transcript:
            pair = record.sender, record.receiver
            sent[pair] = sent.get(pair, b"") + content([record])
        transcripts.append(sent)
    assert transcripts[0] == transcripts[1]


async def test_planted_fault_a_giver_that_skips_its_pads_is_seen_on_the_wire(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def corrections(skip: bool) -> U64:
        network = Network()
        sources = await from_ot(network, NAMES[:2], TrigPlan(2, (4,)))
        if skip:
            session = sources["bank"]._givers[0]._session  # type: ignore[attr-defined]
            monkeypatch.setattr(session, "pads", lambda rows, _, words: np.zeros((len(rows), words), np.uint64))
        await all_parties(sources, "trig", 2000)
        return np.concatenate([
            s.message.words.values for s in network.transcript if isinstance(s.message, Corrections)])

    assert chi_square_of_top_bits(await corrections(skip=False)) < 60
    assert chi_square_of_top_bits(await corrections(skip=True)) > 60


async def test_planted_fault_a_turn_with_the_wrong_sign_breaks_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "_turned", lambda p: (p[:, :1, 0] + p[:, 1:, 1], p[:, 1:, 0] + p[:, :1, 1]))
    sources = await from_ot(Network(), NAMES[:2], TrigPlan(2, (6,)))
    trigs = list((await all_parties(sources, "trig", 100)).values())
    cosines, _ = ideal_trig(sources["bank"].plan, [t.rho for t in trigs])
    assert not np.array_equal(total([t.cosines for t in trigs]), cosines)


async def test_a_peer_that_shortens_its_corrections_is_blamed() -> None:
    network = Network()
    sources = await from_ot(network, NAMES[:3], TrigPlan(3, (4,)))

    def tamper(sent: Any) -> object:
        cut = isinstance(sent.message, Columns) and (sent.sender, sent.receiver) == ("telecom", "shop")
        return Columns(sent.message.rows[:-1]) if cut else sent.message

    network.tamper = tamper
    with pytest.raises(PeerError) as caught:
        await run_roles({n: s.bits(party(n), 100) for n, s in sources.items()})
    assert (caught.value.culprit, caught.value.reason) == ("telecom", Reason.WRONG_LENGTH)


HOSTILE_REPLIES: dict[str, tuple[Callable[[bytes], bytes], Reason]] = {
    "a ciphertext that is zero": (lambda data: bytes(64) + data[64:], Reason.CIPHERTEXT_ZERO),
    "a ciphertext beyond n squared": (lambda data: b"\xff" * 64 + data[64:], Reason.CIPHERTEXT_OUT_OF_RANGE),
    "a ciphertext that is not blinded": (lambda data: b"\1" + bytes(63) + data[64:], Reason.CIPHERTEXT_NOT_BLINDED),
    "a repeated ciphertext": (lambda data: data[:64] * 2 + data[128:], Reason.CIPHERTEXT_REPEATED),
    "a reply too few": (lambda data: data[64:], Reason.WRONG_LENGTH),
}


@pytest.mark.parametrize("case", HOSTILE_REPLIES)
async def test_a_bad_ciphertext_in_a_reply_is_blamed_on_the_giver(case: str) -> None:
    change, reason = HOSTILE_REPLIES[case]
    network = Network()
    sources = await from_paillier(network, NAMES[:2], TrigPlan(2, (3,)))

    def tamper(sent: Any) -> object:
        if not isinstance(sent.message, MaskedProducts):
            return sent.message
        data = change(sent.message.products.data)
        return MaskedProducts(SealedVector.received(data, len(data) // 64, 64))

    network.tamper = tamper
    with pytest.raises(PeerError) as caught:
        await all_parties(sources, "bits", 4)
    assert (caught.value.culprit, caught.value.reason) == ("bank", reason)


async def test_truncation_and_comparison_run_on_real_correlations() -> None:
    network, names = Network(), NAMES[:3]
    sources = await from_ot(network, names, TrigPlan(3, (4,)))
    value = -123_456_789

    async def role(position: int, name: str) -> tuple[U64, bool]:
        me, source = party(name, 9), sources[name]
        peers = {peer: link.channel("train") for peer, link in peers_of(network, name, names).items()}
        share = Rng(name.ljust(32).encode()).ring(1)
        if position == 0:
            others = [Rng(n.ljust(32).encode()).ring(1) for n in names[1:]]
            share = np.array([value % 2**64], np.uint64) - total(others)
        masks = await prepare_truncation(me, source, 1, 10)
        return (
            await truncate(me, peers, share, masks, "t.cut"),
            await is_below(me, peers, share, source, "t.sign"),
        )

    results = await run_roles({n: role(i, n) for i, n in enumerate(names)})
    assert to_signed(total([cut for cut, _ in results.values()]))[0] - (value >> 10) in (0, 1)
    assert all(negative for _, negative in results.values())


async def test_two_ways_share_the_load_and_may_be_used_at_once() -> None:
    """Two calls side by side, by all three parties: both exact, and each direction of a link carries about half."""
    network, names, plan = Network(), NAMES[:3], TrigPlan(3, (4, 3))
    sources = await from_two_ways(network, names, plan)
    people = {n: party(n, 9) for n in names}
    found = await run_roles({
        n: people[n].together(source.trig(people[n], 2048), source.trig(people[n], 2048))
        for n, source in sources.items()
    })
    for turn in (0, 1):
        trigs = [found[n][turn] for n in (names if turn == 0 else names[::-1])]  # each way has its own first party
        cosines, _ = ideal_trig(plan, [t.rho for t in trigs])
        assert np.array_equal(total([t.cosines for t in trigs]), cosines)
    sent = {
        (a, b): len(content(s for s in network.transcript if (s.sender, s.receiver) == (a, b)))
        for a in names for b in names if a != b
    }
    for a, b in sent:
        assert sent[a, b] / sent[b, a] < 1.2
