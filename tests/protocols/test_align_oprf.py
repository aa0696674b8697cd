"""Alignment by oblivious functions: results as by blinding, a number before the members, nothing to look up."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.errors import LocalError, Refused
from mpc.group.ristretto255 import hash_to_group
from mpc.link import PartyId
from mpc.protocol import Ledger
from mpc.protocols import align, align_oprf
from mpc.protocols.align import AlignOptions, Verdict
from mpc.protocols.align_count import Programmed, Sample, samples
from mpc.protocols.align_oprf import Tags
from mpc.sets import hidden_count, okvs, oprf
from mpc.sets.hidden_count import Counted
from mpc.sets.oprf import Codes, Offsets
from mpc.sharing.zero_sharing import ZeroSharing
from mpc.testing.conformance import check_blame, check_canaries, check_ideal, check_shape
from mpc.testing.memory_link import Network, party, run_roles
from mpc.testing.subjects import ALIGN_OPRF
from mpc.testing.transcript import content, shape

NAMES = [PartyId(name) for name in ("bank-a", "platform-b", "telecom-c", "utility-d", "broker-e")]
SESSION = b"job 0123456789abcdef"


def ids(*ranges: range) -> list[bytes]:
    return [b"customer-%06d" % i for r in ranges for i in r]


def named(*lists: list[bytes]) -> dict[PartyId, list[bytes]]:
    return dict(zip(NAMES, lists, strict=False))


class Play:
    """One run; `ends` holds each party's result or error."""

    def __init__(self, sets, minimum=1, *, sample=0, seed=1, session=SESSION, leader=0, rules=None, ledger=None,
                 settles=None, timeout_s=120.0):
        self.sets, self.network = sets, Network(timeout_s=timeout_s)
        options = AlignOptions(list(sets)[leader], minimum, session, "oprf", sample)
        people = {name: party(name, seed) for name in sets}
        if ledger is not None:
            people[options.leader].ledger = Ledger(ledger)
        self.asked = Counter()

        def content_with(name):
            def answer(lower):
                self.asked[name] += 1
                return settles is None or settles(name, lower)
            return answer

        self.roles = {
            name: align.run(me, {p: self.network.link(name, p) for p in sets if p != name}, sets[name], options,
                            (rules or {}).get(name, lambda count: None), content_with(name))
            for name, me in people.items()
        }

    async def positions(self):
        return await run_roles(self.roles)

    async def rows(self):
        found = await self.positions()
        return {name: [self.sets[name][i] for i in found[name]] for name in self.sets}

    async def ends(self):
        ends = await asyncio.gather(*self.roles.values(), return_exceptions=True)
        return dict(zip(self.roles, ends, strict=True))

    def sent(self, kind, sender=None):
        return [s.message for s in self.network.transcript
                if isinstance(s.message, kind) and sender in (None, s.sender)]


COMMON = {
    "identical sets": named(ids(range(20)), ids(range(20))),
    "one customer each, the same": named(ids(range(1)), ids(range(1))),
    "one in common among many": named(ids(range(30)), ids(range(29, 60))),
    "one party inside the other": named(ids(range(40)), ids(range(10, 15))),
    "1000 and 1000 with 500 common": named(ids(range(1000)), ids(range(500, 1500))),
    "ten against a thousand": named(ids(range(10)), ids(range(1000))),
    "three parties": named(ids(range(20)), ids(range(10, 40)), ids(range(5, 15))),
    "four parties": named(ids(range(20)), ids(range(8, 40)), ids(range(5, 15)), ids(range(13, 9, -1), range(3))),
    "five parties": named(ids(range(40)), *[ids(range(p, 40 - p), range(50 * p, 50 * p + 9)) for p in range(1, 5)]),
    "ids with any bytes in them": named([b"\0", b"", b"\xff" * 40], [b"\xff" * 40, b"", b"x"]),
}
TOO_FEW = {
    "an empty set": (named(ids(range(9)), []), 1),
    "disjoint sets": (named(ids(range(9)), ids(range(20, 29))), 1),
    "one less than the minimum": (named(ids(range(20)), ids(range(11, 31))), 10),
    "pairs overlap but all three do not": (
        named(ids(range(20)), ids(range(10, 30)), ids(range(20, 40), range(10))), 1),
}


@pytest.mark.parametrize("case", COMMON)
@pytest.mark.parametrize("leader", [0, 1])
async def test_all_find_the_common_customers_in_one_order(case, leader):
    rows = list((await Play(COMMON[case], leader=leader).rows()).values())
    assert all(row == rows[0] for row in rows)
    assert len(rows[0]) == len(set(rows[0]))
    assert set(rows[0]) == align.ideal(COMMON[case], 1)


@given(st.lists(st.sets(st.integers(0, 12), min_size=1), min_size=2, max_size=3), st.integers(1, 5), st.integers(0, 2))
@settings(max_examples=12, deadline=None)
def test_any_sets_give_the_naive_intersection_or_the_refusal(numbers, minimum, sample):
    sets = named(*[[b"id-%d" % i for i in sorted(s)] for s in numbers])
    try:
        expected = align.ideal(sets, minimum)
    except Refused:
        with pytest.raises(Refused):
            asyncio.run(Play(sets, minimum, sample=sample).positions())
    else:
        rows = asyncio.run(Play(sets, minimum, sample=sample).rows())
        assert all(set(r) == expected for r in rows.values())


@pytest.mark.parametrize("case", TOO_FEW)
async def test_too_few_in_common_is_one_refusal_and_no_store_of_members_is_sent(case):
    sets, minimum = TOO_FEW[case]
    play = Play(sets, minimum)
    ends = await play.ends()
    assert all(isinstance(end, Refused) and end.code == "TOO_FEW_COMMON" for end in ends.values())
    assert len({str(end) for end in ends.values()}) == 1
    assert not [s for s in play.network.transcript if s.channel in ("/members", "/rows")]
    assert not any(message.common for message in play.sent(Verdict))


async def test_many_ids_in_common_are_proven_on_a_small_sample():
    play = Play(named(ids(range(3000)), ids(range(1000, 4000))), 10)
    rows = await play.rows()
    assert set(rows[NAMES[0]]) == set(ids(range(1000, 3000)))
    assert sum(len(m.points) for m in play.sent(Counted)) < 600
    bound = next(m.common for m in play.sent(Verdict) if m.common)
    assert 10 <= bound <= 100


@pytest.mark.parametrize("parties", [2, 3])
async def test_a_sample_that_shows_too_little_is_followed_by_a_larger_one_up_to_everything(parties):
    sets = named(*[ids(range(12), range(1000 * (p + 1), 1000 * (p + 1) + 600)) for p in range(parties)])
    play = Play(sets, 12, sample=8)
    assert set((await play.rows())[NAMES[0]]) == set(ids(range(12)))
    channels = {s.channel for s in play.network.transcript if isinstance(s.message, Counted)}
    assert channels == {f"/count/{number}" for number in range(3)}


@pytest.mark.parametrize("who", NAMES[:3])
async def test_a_party_that_needs_the_exact_number_gets_it_before_any_member(who):
    sets, seen = named(*[ids(range(400))] * 3), []
    play = Play(sets, 2, sample=8, rules={who: seen.append}, settles=lambda name, lower: name != who)
    await play.positions()
    assert seen == [400]
    kinds = [(s.channel, type(s.message)) for s in play.network.transcript]
    exact = max(i for i, (channel, kind) in enumerate(kinds) if kind is Counted)
    assert kinds[exact][0] == "/count/1"
    assert min(i for i, (channel, _) in enumerate(kinds) if channel == "/members") > exact


class OwnRule(Exception):
    """What a party's own policy raises."""


@pytest.mark.parametrize("who", NAMES[:3])
async def test_a_party_whose_own_rules_forbid_the_exact_number_keeps_the_members_from_all(who):
    def forbid(count):
        raise OwnRule

    play = Play(named(*[ids(range(30))] * 3), rules={who: forbid}, timeout_s=0.4)
    ends = await play.ends()
    assert isinstance(ends.pop(who), OwnRule)
    assert all(isinstance(end, Exception) for end in ends.values())
    assert not [s for s in play.network.transcript if s.channel == "/rows"]
    assert not [s for s in play.network.transcript if s.channel == "/members" and s.sender == who]


@pytest.mark.parametrize("code", ["align.overlaps", "align.members"])
async def test_what_the_signed_ledger_does_not_list_is_not_opened(code):
    allowed = {line.code: line for line in align.PROTOCOL.ledger if line.code != code}
    play = Play(named(ids(range(9)), ids(range(9))), ledger=allowed, timeout_s=0.4)
    ends = await play.ends()
    assert isinstance(ends[NAMES[0]], LocalError)
    assert code in str(ends[NAMES[0]])
    assert not play.sent(Tags)


async def test_an_id_twice_is_our_error_even_in_a_column():
    column = align.IdColumn.of([b"xxxxxxxx", b"y", b"xxxxxxxx"])
    play = Play(named(column, ids(range(3))), timeout_s=0.3)
    end = (await play.ends())[NAMES[0]]
    assert isinstance(end, LocalError)
    assert "xxxxxxxx" not in str(end)


async def test_lists_longer_than_a_message_or_a_bin_arrive_whole(monkeypatch):
    monkeypatch.setattr(align_oprf, "MESSAGE_TAGS", 4)
    monkeypatch.setattr(hidden_count, "MESSAGE_POINTS", 7)
    monkeypatch.setattr(hidden_count, "COMPUTE_POINTS", 3)
    monkeypatch.setattr(oprf, "CHUNK_KEYS", 16)
    monkeypatch.setattr(okvs, "BIN_KEYS", 16)
    sets = named(ids(range(90)), ids(range(11, 124)), ids(range(9, 51)))
    rows = await Play(sets).rows()
    assert all(set(r) == align.ideal(sets, 1) for r in rows.values())
    assert len(set(map(tuple, rows.values()))) == 1


async def test_the_order_of_the_result_is_nobodys_row_order_and_differs_between_runs():
    sets = named(ids(range(60)), ids(range(60)))
    one, two = await Play(sets).positions(), await Play(sets, seed=2).positions()
    assert np.sum(one[NAMES[0]] == np.arange(60)) < 10
    assert np.sum(one[NAMES[0]] == two[NAMES[0]]) < 10


# ---------------------------------------------------------------- samples


def test_samples_grow_from_four_times_the_minimum_to_everything():
    sizes = {NAMES[0]: 1 << 20, NAMES[1]: 1 << 21}
    found = samples(sizes, AlignOptions(NAMES[0], 100, SESSION, "oprf"))
    assert [s.rate * (1 << 20) for s in found] == [400, 3200, 25600, 1 << 20]
    assert [s.rate for s in samples({NAMES[0]: 500, NAMES[1]: 10**6}, AlignOptions(NAMES[0], 100, SESSION))] == [1]


def test_a_sample_almost_never_outgrows_its_capacity_and_is_cut_where_it_does():
    sample = Sample(0, Fraction(1, 64))
    draw = np.random.default_rng(1)
    for _ in range(200):
        drawn = draw.integers(0, 1 << 64, 6400, dtype=np.uint64)
        assert len(sample.rows(drawn)) == np.sum(drawn < np.uint64(1 << 58)) < sample.capacity(6400)
    assert len(sample.rows(np.zeros(6400, np.uint64))) == sample.capacity(6400)
    assert len(Sample(0, Fraction(1)).rows(drawn)) == 6400


# ---------------------------------------------------------------- the common suite


@pytest.mark.parametrize("parties", [2, 3])
async def test_the_conformance_suite_passes(parties):
    await check_ideal(ALIGN_OPRF, parties)
    await check_shape(ALIGN_OPRF, parties)
    await check_canaries(ALIGN_OPRF, parties)


async def test_a_deviation_is_blamed_on_its_author_at_its_step():
    assert await check_blame(ALIGN_OPRF, 2) >= 35


# ---------------------------------------------------------------- privacy: checks, and faults that they must catch


def words_of(play) -> set[bytes]:
    """Every aligned 8-byte word that any party receives."""
    found = set()
    for sent in play.network.transcript:
        message = sent.message
        if isinstance(message, Offsets):
            data = message.rows
        elif isinstance(message, Programmed):
            data = message.words.values.tobytes() if message.words.bits == 64 else b""
        elif isinstance(message, Counted):
            data = message.points.data
        else:
            continue
        found |= {data[i:i + 8] for i in range(0, len(data), 8)}
    return found


def lookups(candidates: list[bytes]) -> set[bytes]:
    """What somebody who guesses identifiers computes without a secret: digests, codes, points."""
    key = hashlib.sha256(b"jcr/v1/align/digest\0" + SESSION).digest()
    digests = align.IdColumn.of(candidates).digests(key)
    codes, table = Codes(SESSION), set()
    for words in (digests, codes.code(digests), codes.words(digests)):
        table |= {row.tobytes()[i:i + 8] for row in words for i in range(0, row.nbytes, 8)}
    label = b"jcr/v1/align/count/" + SESSION
    strings = [*candidates, *(row.tobytes() for row in digests), *(row.tobytes() + bytes(8) for row in digests)]
    table |= {point[:8].ljust(8, b"\0") for point in map(bytes, hash_to_group(strings, label).values())}
    return table


@pytest.mark.parametrize("parties", [2, 3])
async def test_a_dictionary_with_all_true_ids_finds_nothing_in_the_transcript(parties):
    play = Play(named(*[ids(range(100 * p, 100 * p + 400)) for p in range(parties)]))
    await play.positions()
    candidates = ids(range(2000))
    everything = content(play.network.transcript)
    assert not lookups(candidates) & words_of(play)
    assert not any(candidate in everything for candidate in candidates)


async def test_fault_unblinded_points_are_found_by_the_dictionary(monkeypatch):
    monkeypatch.setattr(hidden_count.ristretto255, "multiply", lambda points, secret: points)
    monkeypatch.setattr(hidden_count.ristretto255, "hash_and_multiply",
                        lambda ids, label, secret: hash_to_group(ids, label))
    monkeypatch.setattr(ZeroSharing, "function", lambda self, label, points: np.zeros(len(points), np.uint64))
    play = Play(named(ids(range(60)), ids(range(30, 90))), 10, timeout_s=0.5)
    await play.ends()
    assert len(lookups(ids(range(100))) & words_of(play)) >= 60


async def leader_opens(play) -> list[np.ndarray]:
    """What the leader's outputs open in each store of members: the words under F, at all its own ids."""
    captured, honest = [], align_oprf._common

    def spy(run, seen):
        captured.extend(found.copy() for found in seen.values())
        return honest(run, seen)

    align_oprf._common = spy
    try:
        await play.positions()
    finally:
        align_oprf._common = honest
    return captured


def overlap_visible(stores) -> int:
    """How many words a leader could tell from noise by themselves: zero, equal to another one, or half of them small,
    as a handle was that once lay beside s."""
    small, found = np.uint64(1 << 16), 0
    for column in stores:
        low, high = column & np.uint64(0xFFFFFFFF), column >> np.uint64(32)
        found += int(np.sum(column == 0)) + len(column) - len(np.unique(column))
        found += int(np.sum(low < small) + np.sum(high < small))
    return found


PAIRS = {
    # Pairs overlap a lot, all together little.
    3: named(ids(range(200)), ids(range(150), range(500, 550)), ids(range(140, 200), range(600, 700))),
    4: named(ids(range(200)), ids(range(150), range(500, 550)), ids(range(140, 200), range(600, 700)),
             ids(range(130, 200))),
    5: named(ids(range(200)), ids(range(150)), ids(range(140, 200)), ids(range(130, 200)), ids(range(145, 200))),
}


@pytest.mark.parametrize("parties", PAIRS)
async def test_with_three_parties_or_more_the_leader_cannot_tell_who_else_has_its_customers(parties):
    """What it opens at pairs looks like what it opens at strangers."""
    stores = await leader_opens(Play(PAIRS[parties]))
    assert len(stores) == parties - 1
    assert overlap_visible(stores) <= 2   # of some thousand halves, each small with probability 2^-16
    both = np.bitwise_xor.reduce(stores)
    assert len(np.unique(both)) == 200


@pytest.mark.parametrize("parties", PAIRS)
async def test_fault_stores_without_zero_sharing_show_pairs_to_the_leader(monkeypatch, parties):
    monkeypatch.setattr(ZeroSharing, "function", lambda self, label, points: np.zeros(len(points), np.uint64))
    assert overlap_visible(await leader_opens(Play(PAIRS[parties]))) > 200


@pytest.mark.parametrize("parties", PAIRS)
async def test_fault_half_a_word_that_opens_by_itself_shows_pairs_to_the_leader(monkeypatch, parties):
    honest = ZeroSharing.function
    monkeypatch.setattr(
        ZeroSharing, "function", lambda self, label, points: honest(self, label, points) & np.uint64(0xFFFFFFFF))
    assert overlap_visible(await leader_opens(Play(PAIRS[parties]))) > 200


async def shared_words(**differing) -> int:
    sets = named(ids(range(50)), ids(range(20, 70)), ids(range(10, 50)))
    seen = []
    for change in ({}, differing):
        play = Play(sets, **change)
        await play.positions()
        seen.append(words_of(play))
    return len(seen[0] & seen[1])


async def test_two_runs_over_the_same_sets_share_no_value():
    assert await shared_words(seed=2, session=b"another session label") == 0
    assert await shared_words(seed=2) == 0


async def test_fault_generators_that_repeat_are_found():
    assert await shared_words(seed=1) > 0


async def pairwise_shape(overlap: int, seed: int):
    """The shape of a run where leader and follower share `overlap` of 40 ids that the third lacks."""
    sets = named(ids(range(60)), ids(range(overlap), range(40, 60), range(100, 140 - overlap)),
                 ids(range(40, 60), range(200, 240)))
    play = Play(sets, seed=seed)
    await play.positions()
    return shape(play.network.transcript)


async def test_pairwise_overlaps_leave_the_shape_of_the_conversation_alone():
    shapes = [await pairwise_shape(overlap, seed) for overlap, seed in ((0, 1), (20, 2), (40, 3))]
    assert shapes[0] == shapes[1] == shapes[2]
