"""Products of shared values and the sign of a shared value, N = 2..4, against plain integers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.correlated_randomness.kinds import CorrelationSource, TrigPlan, Triples
from mpc.errors import LocalError
from mpc.link import Link, PartyId
from mpc.protocol import Party
from mpc.ring import U64, from_signed, mask_of, to_signed
from mpc.rng import Rng
from mpc.sharing.comparison import COMPARISON_ANDS, as_sums, comparison_lines, is_below, multiply
from mpc.sharing.opening import Opening
from mpc.testing.dealer import Dealer
from mpc.testing.memory_link import Network, TestParty, party, run_roles

NAMES = ("bank", "shop", "telecom", "utility")
Spoil = Callable[[CorrelationSource], CorrelationSource]


def shares_of(values: U64, parties: int, rng: Rng) -> list[U64]:
    rest = [rng.ring(len(values)) for _ in range(parties - 1)]
    return [values - np.sum(rest, axis=0, dtype=np.uint64), *rest]


def peers_of(network: Network, me: str, parties: int) -> Mapping[PartyId, Link]:
    return {PartyId(p): network.link(me, p) for p in NAMES[:parties] if p != me}


async def sign_of(
    value: int | list[int], parties: int = 3, seed: int = 1, network: Network | None = None,
    people: Mapping[str, TestParty] | None = None,
) -> bool:
    network, names = network or Network(), NAMES[:parties]
    rng = Rng(seed.to_bytes(32, "big"))
    dealer = Dealer(names, TrigPlan(parties), rng.child("dealer"))
    values = value if isinstance(value, list) else [value]
    shares = shares_of(np.array([v % 2**64 for v in values], np.uint64), parties, rng.child("shares"))
    people = people or {name: party(name, seed) for name in names}
    results = await run_roles({
        n: is_below(people[n], peers_of(network, n, parties), shares[i], dealer.source(n), "t.sign")
        for i, n in enumerate(names)
    })
    assert len(set(results.values())) == 1
    return bool(results[names[0]])


EDGES = (0, 1, -1, 2, -2, 2**31, -(2**31), 2**62, -(2**62), 2**63 - 1, -(2**63), 2**63 - 2, -(2**63) + 1)


@pytest.mark.parametrize("parties", [2, 3, 4])
async def test_the_bit_says_whether_the_value_is_negative_at_every_edge(parties: int) -> None:
    for value in EDGES:
        for seed in range(3):
            assert await sign_of(value, parties, seed) is (value < 0), value


@pytest.mark.parametrize("values", [[-1, -2], [-1, 2], [1, -2], [1, 2], [-(2**63), -1, -7], [-1, 5, -7]])
async def test_of_several_values_the_bit_says_whether_all_are_negative(values: list[int]) -> None:
    for parties in (2, 3):
        assert await sign_of(values, parties) is all(value < 0 for value in values)


@settings(max_examples=25, deadline=None)
@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**20))
async def test_the_bit_is_right_for_any_value_and_any_mask(value: int, seed: int) -> None:
    assert await sign_of(value, 2, seed) is (value < 0)


async def test_a_comparison_opens_one_bit_and_otherwise_only_masked_words() -> None:
    lines = {line.code: line for line in comparison_lines("t.sign", "one bit: negative")}
    assert {code: line.kind for code, line in lines.items()} == {"t.sign": "revealed", "t.sign.masked": "masked"}
    people = {name: party(name, ledger=lines) for name in NAMES[:3]}
    await sign_of(-5, 3, people=people)
    for person in people.values():
        assert person.ledger.opened == {"t.sign": 1, "t.sign.masked": 1 + 2 * COMPARISON_ANDS}


async def test_a_comparison_without_its_ledger_line_sends_no_result() -> None:
    masked_only = {"t.sign.masked": comparison_lines("t.sign", "")[1]}
    with pytest.raises(LocalError, match="reveal list"):
        await sign_of(3, 2, people={name: party(name, ledger=masked_only) for name in NAMES[:2]})


async def opened_words(value: int, runs: int) -> dict[int, U64]:
    """What all parties see before the result in many comparisons of one value, words and bits: sums of the masked
    openings."""
    seen: dict[int, list[U64]] = {64: [], 1: []}
    for seed in range(runs):
        network = Network()
        await sign_of(value, 2, seed, network)
        sent = [s for s in network.transcript if isinstance(s.message, Opening)]
        mine, theirs = ([s.message.share for s in sent if s.sender == n][:-1] for n in NAMES[:2])
        for a, b in zip(mine, theirs, strict=True):
            seen[a.bits].append(a.values + b.values & mask_of(a.bits))
    return {bits: np.concatenate(words) for bits, words in seen.items()}


def unfairness(seen: Mapping[int, U64]) -> float:
    """In standard deviations: how far from a half the share of ones is, in the bits and in every place of the words."""
    columns = [seen[1], *(seen[64] >> np.uint64(place) & np.uint64(1) for place in range(64))]
    return max(abs(float(c.mean()) - 0.5) * 2 * len(c) ** 0.5 for c in columns)


async def test_what_is_opened_on_the_way_is_uniform() -> None:
    for value in (0, -1, 10**9):
        assert unfairness(await opened_words(value, 24)) < 5


async def test_planted_fault_products_without_masks_are_not_uniform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Dealer, "ands", lambda self, count: [
        Triples(*(np.zeros(count, np.uint64),) * 3) for _ in range(2)])
    assert unfairness(await opened_words(0, 24)) > 5


async def test_the_shares_of_the_result_are_fresh_and_only_their_sum_is_the_bit() -> None:
    last = []
    for seed in range(64):
        network = Network()
        await sign_of(7, 3, seed, network)
        sent = [s.message.share for s in network.transcript if isinstance(s.message, Opening)]
        last += [int(share.values[0]) for share in sent[-6::2]]
    assert abs(sum(last) - 96) < 5 * 192**0.5 / 2


@pytest.mark.parametrize("parties", [2, 3])
async def test_bits_shared_as_xors_become_sums(parties: int) -> None:
    names, network, rng = NAMES[:parties], Network(), Rng(b"x" * 32)
    dealer, bits = Dealer(names, TrigPlan(parties)), rng.ring(100, 1)
    shares = [rng.ring(100, 1) for _ in names[1:]]
    shares.append(np.bitwise_xor.reduce([bits, *shares]))
    results = await run_roles({
        n: as_sums(party(n), peers_of(network, n, parties), shares[i], dealer.source(n), "t.bits")
        for i, n in enumerate(names)
    })
    assert np.array_equal(np.sum(list(results.values()), axis=0, dtype=np.uint64), bits)


@pytest.mark.parametrize("parties", [2, 3, 4])
async def test_shared_times_shared_is_the_product_in_the_ring(parties: int) -> None:
    names, network = NAMES[:parties], Network()
    a, b = Rng(b"a" * 32).ring(200), from_signed(np.arange(-100, 100))
    dealer = Dealer(names, TrigPlan(parties))
    left, right = (shares_of(v, parties, Rng(bytes([k]) * 32)) for k, v in enumerate((a, b)))

    async def role(me: Party, position: int) -> U64:
        peers = peers_of(network, me.id, parties)
        return await multiply(me, peers, left[position], right[position], dealer.source(me.id), "t.product")

    results = await run_roles({n: role(party(n), i) for i, n in enumerate(names)})
    assert np.array_equal(np.sum(list(results.values()), axis=0, dtype=np.uint64), a * b)


async def test_squares_of_signed_values_come_out_as_a_plain_sum() -> None:
    names, network = NAMES[:2], Network()
    values = np.array([-3, 4, -12, 0], np.int64)
    dealer = Dealer(names, TrigPlan(2))
    shares = shares_of(from_signed(values), 2, Rng(b"s" * 32))
    results = await run_roles({
        n: multiply(party(n), peers_of(network, n, 2), shares[i], shares[i], dealer.source(n), "t.square")
        for i, n in enumerate(names)
    })
    assert to_signed(np.sum(list(results.values()), axis=0, dtype=np.uint64)).sum() == 169
