"""Opening and truncation of shared values, N = 2..5, against plain integer shifts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.correlated_randomness.kinds import TrigPlan
from mpc.errors import LocalError, PeerError, Reason
from mpc.group.ristretto255 import IDENTITY, PointVector
from mpc.link import PartyId
from mpc.protocol import LedgerLine
from mpc.ring import U64, RingVector, from_signed, to_signed
from mpc.rng import Rng
from mpc.sharing.opening import Opening, open_masked, open_to, refreshed
from mpc.sharing.truncation import TruncationMasks, prepare_truncation, truncate
from mpc.sharing.zero_sharing import MaskKey
from mpc.testing.dealer import Dealer
from mpc.testing.memory_link import Network, Sent, TestParty, party, run_roles

NAMES = ("bank", "shop", "telecom", "utility", "wallet")


def shares_of(values: U64, parties: int, rng: Rng) -> list[U64]:
    rest = [rng.ring(len(values)) for _ in range(parties - 1)]
    return [values - np.sum(rest, axis=0, dtype=np.uint64), *rest]


def links(network: Network, me: str, parties: Sequence[str]) -> dict[PartyId, object]:
    return {PartyId(p): network.link(me, p) for p in parties if p != me}


async def run_truncation(
    values: np.ndarray, parties: int, shift: int, network: Network | None = None
) -> np.ndarray:
    names, network = NAMES[:parties], network or Network()
    dealer = Dealer(names, TrigPlan(parties), Rng(b"d" * 32))
    shares = shares_of(from_signed(values), parties, Rng(b"s" * 32))

    async def role(position: int) -> U64:
        me = party(names[position])
        masks = await prepare_truncation(me, dealer.source(me.id), len(values), shift)
        return await truncate(me, links(network, me.id, names), shares[position], masks, "test.c")

    results = await run_roles({name: role(i) for i, name in enumerate(names)})
    return to_signed(np.sum(list(results.values()), axis=0, dtype=np.uint64))


@pytest.mark.parametrize("parties", [2, 3, 4, 5])
@pytest.mark.parametrize("shift", [1, 3, 20, 47, 62])
async def test_truncation_is_the_floor_or_one_more_for_two_to_five(parties: int, shift: int) -> None:
    edge = 2**62 - 1
    special = np.array([0, 1, -1, 2**40, -(2**40), edge, -edge, edge - 1, 2**shift - 1, -(2**shift) + 1])
    values = np.concatenate([special, to_signed(Rng(b"v" * 32).ring(500, 63)) - 2**62])
    error = await run_truncation(values, parties, shift) - (values >> shift)
    assert set(np.unique(error)) <= {0, 1}
    assert 0 < error[len(special):].mean() < 1 if shift > 1 else True


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-(2**62) + 1, 2**62 - 1), min_size=1, max_size=8), st.integers(1, 62))
async def test_truncation_is_exact_at_any_value_and_shift(values: list[int], shift: int) -> None:
    x = np.array(values, np.int64)
    error = await run_truncation(x, 3, shift) - (x >> shift)
    assert set(np.unique(error)) <= {0, 1}


def test_planted_fault_share_local_truncation_fails_for_three_parties() -> None:
    """The control: what the protocol replaces is wrong often enough for the tests above to catch it."""
    values = np.arange(-1000, 1000, dtype=np.int64) << 30
    shares = shares_of(from_signed(values), 3, Rng(b"s" * 32))
    local = (shares[0] >> np.uint64(20)) + sum(-((-s) >> np.uint64(20)) for s in shares[1:])
    assert np.mean(np.abs(to_signed(local) - (values >> 20)) > 3) > 0.2


async def test_opened_values_are_uniform_whatever_the_secret() -> None:
    network = Network()
    await run_truncation(np.full(4096, 12345), 3, 20, network)
    first = [s.message.share.values for s in network.transcript if isinstance(s.message, Opening)]
    opened = np.sum([first[0], first[2], first[4]], axis=0, dtype=np.uint64)
    for vector in (opened, *first):
        assert chi_square_of_top_byte(vector) < 400
        assert chi_square_of_top_byte(vector << np.uint64(56)) < 400


async def test_planted_fault_a_dropped_mask_is_seen_by_the_uniformity_test() -> None:
    opened = from_signed(np.full(4096, 12345)) + np.uint64(1 << 62)
    assert chi_square_of_top_byte(opened) > 400


def chi_square_of_top_byte(vector: U64) -> float:
    """255 degrees of freedom: 400 is beyond 1e-7."""
    counts = np.bincount((vector >> np.uint64(56)).astype(np.int64), minlength=256)
    expected = len(vector) / 256
    return float(np.sum((counts - expected) ** 2 / expected))


async def test_a_mask_is_taken_once_and_an_empty_store_refuses() -> None:
    masks = TruncationMasks(8, *(Rng(b"m" * 32).ring(10) for _ in range(3)))
    first, second = masks.take(4)[0], masks.take(6)[0]
    assert set(first.tolist()).isdisjoint(second.tolist())
    with pytest.raises(LocalError, match="0 are left"):
        masks.take(1)
    assert repr(masks) == "TruncationMasks(shift=8, left=0)"


async def test_an_opening_that_the_spec_does_not_list_is_refused_before_anything_is_sent() -> None:
    network = Network()
    me = party("bank", ledger={"train.delta": LedgerLine("train.delta", "masked", "all", "z - rho")})
    share = RingVector(np.zeros(3, np.uint64), 37)
    for opening in (
        open_masked(me, links(network, "bank", NAMES[:2]), share, "train.weights"),
        open_to(me, links(network, "bank", NAMES[:2]), share, PartyId("shop"), "train.weights"),
    ):
        with pytest.raises(LocalError, match="reveal list"):
            await opening
    assert network.transcript == []
    assert me.ledger.opened == {}


@pytest.mark.parametrize("bits", [1, 37, 64])
async def test_opening_sums_all_shares_and_counts_the_ledger_line(bits: int) -> None:
    network, names = Network(), NAMES[:3]
    parties = {name: party(name) for name in names}
    shares = {name: Rng(name.ljust(32).encode()).ring(150_000, bits) for name in names}

    async def role(name: str) -> U64:
        share = RingVector(shares[name], bits)
        return await open_masked(parties[name], links(network, name, names), share, "t.v")

    results = await run_roles({name: role(name) for name in names})
    expected = sum(shares.values()) & np.uint64(2**bits - 1)
    assert all(np.array_equal(r, expected) for r in results.values())
    assert all(p.ledger.opened == {"t.v": 150_000} for p in parties.values())
    assert max(len(s.message.share) for s in network.transcript) * 8 <= 1 << 20


async def test_opening_to_one_party_tells_only_that_party_and_only_the_sum() -> None:
    network, names = Network(), NAMES[:3]
    shares = {name: Rng(name.ljust(32).encode()).ring(50) for name in names}

    async def role(name: str) -> U64 | None:
        share = RingVector(shares[name], 64)
        return await open_to(party(name), links(network, name, names), share, PartyId("shop"), "t.w")

    results = await run_roles({name: role(name) for name in names})
    assert results["bank"] is None
    assert results["telecom"] is None
    assert np.array_equal(results["shop"], sum(shares.values()))
    sent = [s for s in network.transcript if isinstance(s.message, Opening)]
    assert {s.receiver for s in sent} == {"shop"}
    for s in sent:
        assert not np.isin(s.message.share.values, shares[s.sender]).any(), "the share itself was sent"


async def test_refreshed_shares_have_the_same_sum_and_nothing_else_in_common() -> None:
    network, names = Network(), NAMES[:4]
    before = {name: Rng(name.ljust(32).encode()).ring(64, 37) for name in names}
    after = await run_roles(
        {n: refreshed(party(n), links(network, n, names), RingVector(before[n], 37)) for n in names}
    )
    assert np.array_equal(sum(before.values()) & np.uint64(2**37 - 1),
                          sum(v.values for v in after.values()) & np.uint64(2**37 - 1))
    assert all(not np.any(before[n] == after[n].values) for n in names)


HOSTILE_OPENINGS = {
    "a share that is too short": (RingVector(np.zeros(2, np.uint64), 37), Reason.WRONG_LENGTH),
    "a share that is too long": (RingVector(np.zeros(4, np.uint64), 37), Reason.WRONG_LENGTH),
    "an empty share": (RingVector(np.zeros(0, np.uint64), 37), Reason.WRONG_LENGTH),
    "a share in another ring": (RingVector(np.zeros(3, np.uint64), 64), Reason.WRONG_LENGTH),
    "a value beyond the ring": (RingVector(np.full(3, 2**37, np.uint64), 37), Reason.OUT_OF_RANGE),
}


@pytest.mark.parametrize("case", HOSTILE_OPENINGS)
async def test_a_malformed_share_is_blamed_on_its_sender(case: str) -> None:
    bad, reason = HOSTILE_OPENINGS[case]
    network = Network(tamper=lambda sent: Opening(bad) if sent.sender == "shop" else sent.message)
    share = RingVector(np.zeros(3, np.uint64), 37)

    async def role(me: TestParty) -> U64:
        return await open_masked(me, links(network, me.id, NAMES[:2]), share, "t.v")

    with pytest.raises(PeerError) as caught:
        await run_roles({name: role(party(name)) for name in NAMES[:2]})
    assert (caught.value.culprit, caught.value.reason) == ("shop", reason)


async def test_a_false_key_of_the_zero_sharing_is_blamed_on_its_sender() -> None:
    def tamper(sent: Sent) -> object:
        false = sent.sender == "bank" and isinstance(sent.message, MaskKey)
        return MaskKey(PointVector(IDENTITY)) if false else sent.message

    share = RingVector(np.zeros(3, np.uint64), 37)
    network = Network(tamper=tamper)
    with pytest.raises(PeerError) as caught:
        await run_roles({n: refreshed(party(n), links(network, n, NAMES[:2]), share) for n in NAMES[:2]})
    assert (caught.value.culprit, caught.value.reason) == ("bank", Reason.BAD_POINT)
