"""Out of time: all parties hold the label holder's split, or nobody holds one; a handful on one side is never told."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.errors import LocalError, PeerError, Reason, Refused
from mpc.link import PartyId
from mpc.protocols import split
from mpc.protocols.split import LaterRows, SplitOptions
from mpc.testing.adversary import field_set
from mpc.testing.memory_link import Network, Sent, party, run_roles

NAMES = [PartyId(name) for name in ("bank-a", "platform-b", "telecom-c")]
SESSION = b"a job of its own"


async def told(later: Any, parties: int = 3, network: Network | None = None, people: Any = None) -> Any:
    network, names = network or Network(), NAMES[:parties]
    options, people = SplitOptions(names[0], len(later), 3, SESSION), people or {name: party(name) for name in names}
    return await run_roles({
        name: split.run(people[name], {p: network.link(name, p) for p in names if p != name},
                        later if name == names[0] else None, options)
        for name in names
    })


@given(st.lists(st.booleans(), min_size=6, max_size=40), st.integers(2, 3))
@settings(max_examples=40, deadline=None)
def test_every_party_holds_the_split_or_none_does(bits: list[bool], parties: int) -> None:
    later, network = np.array(bits), Network()
    if min(later.sum(), (~later).sum()) < 3:
        with pytest.raises(Refused) as refused:
            asyncio.run(told(later, parties, network=network))
        assert refused.value.code == "SMALL_SIDE"
        assert not network.transcript, "something was sent of a split that names a handful"
        return
    results = asyncio.run(told(later, parties, network=network))
    assert all(found.tolist() == bits for found in results.values())
    assert len(network.transcript) == (parties - 1) + parties * (parties - 1)


async def test_a_party_that_is_told_another_split_is_noticed_by_the_others() -> None:
    def swapped(sent: Sent) -> object:
        if isinstance(sent.message, LaterRows) and sent.receiver == NAMES[2]:   # two customers change sides
            return field_set(bits=lambda bits: bytes([bits[0] ^ 0b11000000]) + bits[1:])(sent, [])
        return sent.message

    with pytest.raises(PeerError) as error:
        await told(np.arange(20) % 2 == 0, network=Network(tamper=swapped))
    assert error.value.reason is Reason.UNEQUAL


async def test_nothing_is_told_that_the_spec_does_not_list() -> None:
    network = Network()
    with pytest.raises(LocalError, match=r"split\.period"):
        await told(np.arange(20) % 2 == 0, 2, network, {NAMES[0]: party(NAMES[0], 1, {}), NAMES[1]: party(NAMES[1])})
    assert not network.transcript


async def test_the_ledger_counts_one_bit_a_customer() -> None:
    people = {name: party(name, 1, {line.code: line for line in split.PROTOCOL.ledger}) for name in NAMES}
    await told(np.arange(20) % 2 == 0, people=people)
    assert [one.ledger.opened for one in people.values()] == [{"split.period": 20}] * 3


@pytest.mark.parametrize("later", [np.zeros(5, np.bool_), np.zeros(6, np.int64)])
async def test_periods_of_another_form_are_our_own_fault(later: Any) -> None:
    network, options = Network(), SplitOptions(NAMES[0], 6, 1, SESSION)
    with pytest.raises(LocalError):
        await split.run(party(NAMES[0]), {NAMES[1]: network.link(NAMES[0], NAMES[1])}, later, options)
    with pytest.raises(LocalError):   # a feature holder has no periods to give
        await split.run(party(NAMES[1]), {NAMES[0]: network.link(NAMES[1], NAMES[0])}, np.zeros(6, np.bool_), options)
