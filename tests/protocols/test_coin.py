"""The coin: one value for all, fixed by all shares, and no share is shown before all are bound."""

from __future__ import annotations

import numpy as np
import pytest

from mpc.errors import LocalError, PeerError, Reason
from mpc.link import PartyId
from mpc.protocols import coin
from mpc.protocols.coin import CoinShare, Commitment, Seen
from mpc.testing.adversary import Adversary
from mpc.testing.memory_link import Network, party, run_roles

NAMES = [PartyId(name) for name in ("bank-a", "platform-b", "telecom-c", "utility-d")]
SESSION = b"job 0123456789abcdef"


async def thrown(count=2, seed=1, session=SESSION, network=None, instead=None):
    network, names = network or Network(), NAMES[:count]
    run = {name: coin.run for name in names} | (instead or {})
    return await run_roles({
        name: run[name](party(name, seed), {p: network.link(name, p) for p in names if p != name}, session)
        for name in names
    })


@pytest.mark.parametrize("count", [2, 3, 4])
async def test_all_hold_the_one_coin_that_the_shares_determine(count):
    network = Network()
    results = await thrown(count, network=network)
    shares = {s.sender: s.message.share for s in network.transcript if isinstance(s.message, CoinShare)}
    assert set(results.values()) == {coin.ideal(SESSION, shares)}
    assert len(results[NAMES[0]]) == 32


async def test_other_shares_and_other_sessions_give_other_coins():
    coins = [(await thrown(seed=s, session=t))[NAMES[0]] for s in range(1, 9) for t in (SESSION, SESSION + b"2")]
    assert len(set(coins)) == 16


async def test_every_single_share_changes_the_coin():
    shares = {name: bytes([i]) * 32 for i, name in enumerate(NAMES)}
    base = coin.ideal(SESSION, shares)
    for name in NAMES:
        assert coin.ideal(SESSION, {**shares, name: b"\x77" * 32}) != base


async def test_the_bits_of_coins_are_balanced():
    bits = np.unpackbits(np.frombuffer(b"".join(
        [(await thrown(seed=s))[NAMES[0]] for s in range(1, 81)]), np.uint8))
    assert abs(bits.mean() - 0.5) < 5 * 0.5 / np.sqrt(bits.size)


def shown_too_early(network: Network) -> bool:
    """Whether a party opened its share before it had every other party's commitment."""
    held = {name: set() for name in NAMES}
    for sent in network.transcript:
        if isinstance(sent.message, Commitment):
            held[sent.receiver].add(sent.sender)
        elif isinstance(sent.message, CoinShare) and len(held[sent.sender]) < 2:
            return True
    return False


async def test_no_share_is_opened_before_all_are_committed():
    network = Network()
    await thrown(3, network=network)
    assert not shown_too_early(network)


async def test_fault_a_share_that_is_opened_at_once_is_found():
    async def hasty(me, peers, session):
        share = me.rng.bytes(32)
        for link in peers.values():
            await link.send(Commitment(coin.commitment(session, me.id, share)))
            await link.send(CoinShare(share))
        for link in peers.values():
            await link.receive(Commitment)

    network = Network(timeout_s=0.2)
    with pytest.raises(PeerError):
        await thrown(3, network=network, instead={NAMES[0]: hasty})
    assert shown_too_early(network)


async def test_a_copied_commitment_is_refused_at_the_third_party():
    copied = []

    def copy(sent, before):
        copied.extend(s.message for s in before if isinstance(s.message, Commitment) and s.sender == NAMES[0])
        return copied[0]

    network = Network(tamper=Adversary((NAMES[1], NAMES[2], "", 0), copy))
    with pytest.raises(PeerError) as caught:
        await thrown(3, network=network)
    assert (caught.value.culprit, caught.value.reason) == (NAMES[1], Reason.REPEATED_VALUE)


async def test_a_copied_commitment_opens_for_nobody_else():
    share = bytes(32)
    assert coin.commitment(SESSION, NAMES[0], share) != coin.commitment(SESSION, NAMES[1], share)
    assert coin.commitment(SESSION, NAMES[0], share) != coin.commitment(SESSION + b"x", NAMES[0], share)


async def test_a_party_with_two_faces_is_noticed_before_anybody_has_a_coin():
    async def two_faced(me, peers, session):
        shares = {peer: me.rng.bytes(32) for peer in peers}
        for peer, link in peers.items():
            await link.send(Commitment(coin.commitment(session, me.id, shares[peer])))
        for link in peers.values():
            await link.receive(Commitment)
        for peer, link in peers.items():
            await link.send(CoinShare(shares[peer]))
        for link in peers.values():
            await link.receive(CoinShare)
            await link.receive(Seen)

    with pytest.raises(PeerError) as caught:
        await thrown(3, instead={NAMES[0]: two_faced})
    assert caught.value.reason == Reason.BAD_TRANSCRIPT


async def test_a_short_session_and_a_missing_partner_are_our_errors():
    with pytest.raises(LocalError):
        await thrown(2, session=b"short")
    with pytest.raises(LocalError):
        await coin.run(party("bank-a"), {}, SESSION)
