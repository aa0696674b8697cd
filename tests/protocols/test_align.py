"""Alignment: the right rows in one order, refusals without numbers, nothing to look up in what was sent."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.domains import Domain
from mpc.errors import LocalError, PeerError, Reason, Refused
from mpc.group import ristretto255
from mpc.link import PartyId
from mpc.protocol import Ledger
from mpc.protocols import align, align_terms
from mpc.protocols.align import AlignOptions, Blinded, Indices, Returned, Verdict
from mpc.testing.adversary import Adversary
from mpc.testing.memory_link import Network, party, run_roles
from mpc.testing.transcript import content

NAMES = [PartyId(name) for name in ("bank-a", "platform-b", "telecom-c", "utility-d", "grocer-e", "insurer-f")]
SESSION = b"job 0123456789abcdef"


def ids(*ranges: range) -> list[bytes]:
    return [b"customer-%06d" % i for r in ranges for i in r]


def coroutines(sets: Mapping[PartyId, Sequence[bytes]], options: AlignOptions, network: Network, seed: int = 1):
    people = {name: party(name, seed) for name in sets}
    return people, {
        name: align.run(me, {p: network.link(name, p) for p in sets if p != name}, sets[name], options)
        for name, me in people.items()
    }


async def aligned(sets, minimum=1, session=SESSION, seed=1, leader=0, network=None):
    network = network or Network()
    options = AlignOptions(list(sets)[leader], minimum, session)
    _, roles = coroutines(sets, options, network, seed)
    return await run_roles(roles), network


async def failures(sets, minimum):
    """What every party ends with when all run to their end."""
    network = Network()
    _, roles = coroutines(sets, AlignOptions(next(iter(sets)), minimum, SESSION), network)
    return await asyncio.gather(*roles.values(), return_exceptions=True), network


def rows_of(sets, positions):
    return {name: [sets[name][i] for i in positions[name]] for name in sets}


def named(*lists: list[bytes]) -> dict[PartyId, list[bytes]]:
    return dict(zip(NAMES, lists, strict=False))


COMMON = {
    "identical sets": named(ids(range(20)), ids(range(20))),
    "one customer each, the same": named(ids(range(1)), ids(range(1))),
    "one in common among many": named(ids(range(30)), ids(range(29, 60))),
    "one party inside the other": named(ids(range(40)), ids(range(10, 15))),
    "1000 and 1000 with 500 common": named(ids(range(1000)), ids(range(500, 1500))),
    "three parties": named(ids(range(20)), ids(range(10, 40)), ids(range(5, 15))),
    "three identical sets": named(*[ids(range(12))] * 3),
    "four parties": named(ids(range(20)), ids(range(8, 40)), ids(range(5, 15)), ids(range(13, 9, -1), range(3))),
    "ids with any bytes in them": named([b"\0", b"", b"\xff" * 40], [b"\xff" * 40, b"", b"x"]),
}
TOO_FEW = {
    "an empty set": (named(ids(range(9)), []), 1),
    "two empty sets": (named([], []), 1),
    "disjoint sets": (named(ids(range(9)), ids(range(20, 29))), 1),
    "one less than the minimum": (named(ids(range(20)), ids(range(11, 31))), 10),
    "pairs overlap but all three do not": (
        named(ids(range(20)), ids(range(10, 30)), ids(range(20, 40), range(10))), 1),
    "four parties, one of them apart": (named(*[ids(range(9))] * 3, ids(range(50, 59))), 1),
}


@pytest.mark.parametrize("case", COMMON)
@pytest.mark.parametrize("leader", [0, 1])
async def test_all_find_the_common_customers_in_one_order(case, leader):
    sets = COMMON[case]
    positions, _ = await aligned(sets, leader=leader)
    rows = list(rows_of(sets, positions).values())
    assert all(row == rows[0] for row in rows)
    assert len(rows[0]) == len(set(rows[0]))
    assert set(rows[0]) == align.ideal(sets, 1)
    assert all(p.dtype == np.int64 for p in positions.values())


@given(st.lists(st.sets(st.integers(0, 12), min_size=1), min_size=2, max_size=4), st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_any_sets_give_the_naive_intersection_or_the_refusal(numbers, minimum):
    sets = named(*[ids(range(0)) + [b"id-%d" % i for i in sorted(s)] for s in numbers])
    try:
        expected = align.ideal(sets, minimum)
    except Refused:
        with pytest.raises(Refused):
            asyncio.run(aligned(sets, minimum))
    else:
        positions, _ = asyncio.run(aligned(sets, minimum))
        assert all(set(rows) == expected for rows in rows_of(sets, positions).values())


@pytest.mark.parametrize("case", TOO_FEW)
async def test_too_few_in_common_is_one_refusal_for_all_and_names_no_number(case):
    sets, minimum = TOO_FEW[case]
    with pytest.raises(Refused):
        align.ideal(sets, minimum)
    ends, network = await failures(sets, minimum)
    assert all(isinstance(end, Refused) and end.code == "TOO_FEW_COMMON" for end in ends)
    texts = {str(end) for end in ends}
    assert len(texts) == 1
    assert not any(letter.isdigit() for letter in texts.pop())
    kinds = [sent.message for sent in network.transcript]
    assert not any(isinstance(message, Indices) for message in kinds)
    assert all(message.common == 0 for message in kinds if isinstance(message, Verdict))


async def test_a_set_smaller_than_the_minimum_stops_before_any_point_is_sent():
    ends, network = await failures(named(ids(range(50)), ids(range(9))), 10)
    assert all(isinstance(end, Refused) for end in ends)
    assert not any(isinstance(sent.message, Blinded) for sent in network.transcript)


async def test_exactly_the_minimum_is_enough():
    positions, _ = await aligned(named(ids(range(20)), ids(range(10, 30))), minimum=10)
    assert len(positions[NAMES[0]]) == 10


async def test_the_order_of_the_result_is_nobodys_row_order_and_differs_between_sessions():
    sets = named(ids(range(60)), ids(range(60)))
    one, _ = await aligned(sets, session=b"the first session")
    two, _ = await aligned(sets, session=b"the second session")
    assert sum(one[NAMES[0]] == np.arange(60)) < 10
    assert sum(one[NAMES[0]] == two[NAMES[0]]) < 10


async def test_lists_longer_than_a_message_arrive_whole(monkeypatch):
    monkeypatch.setattr(align, "MESSAGE_POINTS", 8)
    monkeypatch.setattr(align_terms, "MESSAGE_INDICES", 4)
    monkeypatch.setattr(align, "COMPUTE_POINTS", 3)
    sets = named(ids(range(30)), ids(range(11, 44)), ids(range(9, 31)))
    positions, network = await aligned(sets)
    assert all(set(rows) == align.ideal(sets, 1) for rows in rows_of(sets, positions).values())
    assert max(len(s.message.points) for s in network.transcript if isinstance(s.message, Blinded)) == 8


async def test_the_leaders_list_comes_home_as_heads_and_no_other_message_is_shorter_than_a_point():
    _, network = await aligned(named(ids(range(30)), ids(range(10, 40)), ids(range(20, 33))))
    home = [sent for sent in network.transcript if isinstance(sent.message, Returned)]
    assert {(sent.receiver, sent.channel) for sent in home} == {(NAMES[0], f"/list/{NAMES[0]}")}
    assert sum(len(sent.message.heads) for sent in home) == 30 * align.HEAD_BYTES


POOLS = {
    "of honest values": st.binary(min_size=12, max_size=12),
    "that agree in their first eight bytes": st.binary(min_size=4, max_size=4).map(lambda tail: b"the same" + tail),
    "with zeros at the end": st.integers(0, 40).map(lambda n: n.to_bytes(1, "big").ljust(12, b"\0")),
}


@pytest.mark.parametrize("pool", POOLS)
@given(st.data())
@settings(max_examples=60, deadline=None)
def test_repeats_and_values_in_common_are_those_of_plain_sets(pool, data):
    lists = [data.draw(st.lists(POOLS[pool], max_size=12)) for _ in range(3)]
    values, *others = (np.frombuffer(b"".join(one), "S12") for one in lists)
    assert align.has_repeats(values) is (len(set(lists[0])) != len(lists[0]))
    assert align.any_in_common(values, others) is bool(set(lists[0]) & {*lists[1], *lists[2]})


async def test_a_point_repeated_across_two_messages_is_found(monkeypatch):
    monkeypatch.setattr(align, "MESSAGE_POINTS", 8)
    place = (NAMES[1], NAMES[0], f"/list/{NAMES[1]}", 1)

    def repeat(sent, before):
        (earlier,) = [s for s in before if (s.sender, s.channel, s.index) == (*place[::2], 0)]
        return earlier.message

    network = Network(tamper=Adversary(place, repeat))
    with pytest.raises(PeerError) as caught:
        await aligned(named(ids(range(16)), ids(range(16))), network=network)
    assert (caught.value.culprit, caught.value.reason) == (NAMES[1], Reason.REPEATED_VALUE)


async def test_threads_give_the_same_result_and_progress_ends_at_the_total(monkeypatch):
    monkeypatch.setattr(align, "COMPUTE_POINTS", 16)
    sets = named(ids(range(60)), ids(range(20, 90)), ids(range(40)))
    people, roles = coroutines(sets, AlignOptions(NAMES[0], 1, SESSION), Network())
    for me in people.values():
        me.threads = True
    positions = await run_roles(roles)
    assert all(set(rows) == align.ideal(sets, 1) for rows in rows_of(sets, positions).values())
    for me in people.values():
        assert me.steps[-1] == ("align", 1000, 1000)  # thousandths: the sizes stay private
        assert [done for _, done, _ in me.steps] == sorted(done for _, done, _ in me.steps)


BAD_INPUTS = {
    "an id twice": lambda o: ([b"x" * 8, b"x" * 8], o, 1),
    "a leader who takes no part": lambda o: ([b"x"], replace(o, leader=PartyId("nobody")), 1),
    "no second party": lambda o: ([b"x"], o, 0),
}


@pytest.mark.parametrize("case", BAD_INPUTS)
async def test_our_own_wrong_input_is_our_error_and_quotes_no_id(case):
    values, options, peers = BAD_INPUTS[case](AlignOptions(NAMES[0], 1, SESSION))
    network = Network()
    links = {NAMES[1]: network.link(NAMES[0], NAMES[1])} if peers else {}
    with pytest.raises(LocalError) as caught:
        await align.run(party(NAMES[0]), links, values, options)
    assert "xxxxxxxx" not in str(caught.value)
    assert not network.transcript


@pytest.mark.parametrize(("minimum", "session"), [(0, SESSION), (-1, SESSION), (1, b"short"), (1, b"x" * 65)])
def test_options_out_of_range_are_refused(minimum, session):
    with pytest.raises(LocalError):
        AlignOptions(NAMES[0], minimum, session)


@pytest.mark.parametrize("code", ["align.overlaps", "align.members"])
async def test_what_the_signed_ledger_does_not_list_is_not_opened(code):
    allowed = {line.code: line for line in align.PROTOCOL.ledger if line.code != code}
    sets, network = named(ids(range(9)), ids(range(9))), Network()
    people, roles = coroutines(sets, AlignOptions(NAMES[0], 1, SESSION), network)
    people[NAMES[0]].ledger = Ledger(allowed)
    network.timeout_s = 0.3
    ends = dict(zip(roles, await asyncio.gather(*roles.values(), return_exceptions=True), strict=True))
    assert isinstance(ends[NAMES[0]], LocalError)
    assert code in str(ends[NAMES[0]])
    assert not any(isinstance(sent.message, Indices) for sent in network.transcript)
    assert not any(sent.message.common for sent in network.transcript if isinstance(sent.message, Verdict))


class OwnRule(Exception):
    """What a party's own policy raises."""


@pytest.mark.parametrize("who", NAMES[:3])
async def test_a_party_whose_own_rules_forbid_the_number_keeps_the_members_from_all(who):
    sets, network = named(*[ids(range(9))] * 3), Network(timeout_s=0.3)

    def rule(name):
        def accept(common):
            assert common == 9
            if name == who:
                raise OwnRule
        return accept

    options = AlignOptions(NAMES[0], 1, SESSION)
    ends = dict(zip(sets, await asyncio.gather(*(
        align.run(party(name), {p: network.link(name, p) for p in sets if p != name}, values, options, rule(name))
        for name, values in sets.items()), return_exceptions=True), strict=True))
    assert isinstance(ends.pop(who), OwnRule)
    if who == options.leader:  # the number itself stays with the leader
        assert {end.code for end in ends.values()} == {"TOO_FEW_COMMON"}
        assert {s.message.common for s in network.transcript if isinstance(s.message, Verdict)} == {0}
    else:
        assert {end.reason for end in ends.values()} == {Reason.TIMEOUT}


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6])
def test_nobody_but_the_leader_ever_holds_two_lists_under_the_same_secrets(count):
    sizes = dict.fromkeys(NAMES[:count], 1)
    walk = align._Walk(None, {}, AlignOptions(NAMES[1], 1, SESSION), None, sizes, None, None)
    held = defaultdict(list)
    for owner in sizes:
        route = walk.route(owner)
        assert route[0] == owner
        assert route[-1] == NAMES[1]
        assert set(route) == set(sizes)  # so each party can keep the places from coming back
        for stop, name in enumerate(route):
            for secrets in {frozenset(route[:stop]), frozenset(route[:stop + 1])} - {frozenset()}:
                held[name].append((owner, secrets))
    for name in set(sizes) - {NAMES[1]}:
        secrets = [s for _, s in held[name]]
        assert len(secrets) == len(set(secrets))


# ---------------------------------------------------------------- privacy: checks, and faults that they must catch


def lookups(candidates: Sequence[bytes], session: bytes) -> set[bytes]:
    """What somebody who guesses identifiers can compute without a secret."""
    label = Domain.ALIGN_HASH_TO_GROUP.encode() + b"/" + session
    table = set()
    for dst in (label, Domain.ALIGN_HASH_TO_GROUP.encode()):
        table |= {bytes(v).ljust(32, b"\0") for v in ristretto255.hash_to_group(candidates, dst).values()}
    for salt in (b"", session):
        table |= {hashlib.sha256(salt + c).digest() for c in candidates}
        table |= {hashlib.sha256(c + salt).digest() for c in candidates}
    return table


def points_of(network: Network) -> list[bytes]:
    """What each point that was sent begins with."""
    found = []
    for sent in network.transcript:
        if isinstance(sent.message, Blinded | Returned):
            whole = isinstance(sent.message, Blinded)
            data, width = (sent.message.points.data, 32) if whole else (sent.message.heads, align.HEAD_BYTES)
            found += [data[i:i + align.HEAD_BYTES] for i in range(0, len(data), width)]
    return found


async def dictionary_hits(sets) -> int:
    _, network = await aligned(sets)
    everything = content(network.transcript)
    candidates = ids(range(2000))  # all true ones among them
    guesses = {value[:align.HEAD_BYTES] for value in lookups(candidates, SESSION)}
    return len(guesses & set(points_of(network))) + sum(c in everything for c in candidates)


async def shared_values(**differing) -> int:
    """How many points two alignments of the same sets have in common."""
    sets = named(ids(range(30)), ids(range(10, 40)), ids(range(30)))
    seen = []
    for change in ({}, differing):
        _, network = await aligned(sets, **change)
        seen.append(set(points_of(network)))
    return len(seen[0] & seen[1])


async def test_a_dictionary_with_all_true_ids_finds_nothing_in_the_transcript():
    assert await dictionary_hits(named(ids(range(300)), ids(range(200, 500)), ids(range(100, 400)))) == 0


async def test_fault_unblinded_hashes_are_found_by_the_dictionary(monkeypatch):
    monkeypatch.setattr(align, "any_in_common", lambda points, others: False)  # the role itself would notice
    monkeypatch.setattr(ristretto255, "multiply", lambda points, secret: points)
    monkeypatch.setattr(ristretto255, "hash_and_multiply",
                        lambda ids, label, secret: ristretto255.hash_to_group(ids, label))
    assert await dictionary_hits(named(ids(range(30)), ids(range(20, 50)))) >= 50


async def test_two_sessions_share_no_value():
    assert await shared_values(session=b"another session label", seed=2) == 0


async def test_fresh_secrets_alone_make_two_runs_share_no_value():
    assert await shared_values(seed=2) == 0


async def test_the_session_label_alone_makes_two_runs_share_no_value():
    assert await shared_values(session=b"another session label") == 0


async def test_fault_a_reused_secret_is_found(monkeypatch):
    monkeypatch.setattr(align, "any_in_common", lambda points, others: False)  # the role itself would notice
    monkeypatch.setattr(ristretto255.Scalar, "random", classmethod(lambda cls, rng: cls(12345)))
    with pytest.raises(AssertionError):
        assert await shared_values(seed=2) == 0


async def test_fault_two_parties_with_one_secret_are_found_by_the_role_itself(monkeypatch):
    monkeypatch.setattr(ristretto255.Scalar, "random", classmethod(lambda cls, rng: cls(12345)))
    with pytest.raises(PeerError) as caught:
        await aligned(named(ids(range(9)), ids(range(9))))
    assert caught.value.reason == Reason.REFLECTED


async def test_fault_a_hash_without_the_session_is_found(monkeypatch):
    honest = align.blind
    monkeypatch.setattr(align, "blind", lambda values, label, secret: honest(values, b"always the same", secret))
    with pytest.raises(AssertionError):
        assert await shared_values(session=b"another session label") == 0


async def test_one_party_that_aligns_twice_with_one_generator_uses_two_secrets():
    sets, seen = named(ids(range(9)), ids(range(9))), []
    people = {name: party(name) for name in sets}
    for _ in range(2):
        network = Network()
        await run_roles({
            name: align.run(me, {p: network.link(name, p) for p in sets if p != name}, sets[name],
                            AlignOptions(NAMES[0], 1, SESSION))
            for name, me in people.items()
        })
        seen.append(set(points_of(network)))
    assert not seen[0] & seen[1]


async def unshuffled_stops() -> list[tuple[str, str]]:
    """(party, owner) of each list whose places left a stop as they came in: that stop did not shuffle."""
    sets = named(*[ids(range(60))] * 3)
    positions, network = await aligned(sets)
    came = {(s.receiver, s.channel, s.sender): s.message.places.values
            for s in network.transcript if isinstance(s.message, Indices)}
    lazy = []
    for (name, channel, sender), places in came.items():
        owner = channel.removeprefix("/list/")
        left = [p for (_, c, by), p in came.items() if c == channel and by == name != sender]
        left = [positions[name].astype(np.uint64)] if name == owner else left
        for out in left:
            if np.sum(out == places) > 15:  # a random shuffle leaves about one of sixty in its place
                lazy.append((name, owner))
    return lazy


async def test_every_stop_shuffles_every_list():
    assert await unshuffled_stops() == []


class NoShuffle:
    """A generator whose permutations change nothing."""

    def child(self, label):
        return self

    def permutation(self, count):
        return np.arange(count)


@pytest.mark.parametrize("who", NAMES[:3])
async def test_fault_a_skipped_shuffle_is_found_at_its_party(monkeypatch, who):
    honest = align._send_shuffled

    async def lazy(walk, link, owner, points):
        if walk.me.id == who:
            walk.seed = NoShuffle()
        return await honest(walk, link, owner, points)

    monkeypatch.setattr(align, "_send_shuffled", lazy)
    found = await unshuffled_stops()
    assert {name for name, _ in found} == {who}
    assert (who, who) in found


async def test_secrets_and_ids_are_in_no_repr():
    me, options = party("bank-a"), AlignOptions(NAMES[0], 1, SESSION)
    walk = align._Walk(me, {}, options, None, {}, ristretto255.Scalar(77), me.rng)
    assert "77" not in repr(walk).split(" at ")[0]
    assert repr(Blinded(ristretto255.hash_to_group([b"x"], b"y"))) == "Blinded(points=PointVector(1 points))"
