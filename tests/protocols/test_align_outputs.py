"""Who finds out what of an alignment, in both engines: everybody, the label holder alone, nobody but a number; sets
filled up to a bucket; how many rows of the label holder each common customer has."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc.errors import LocalError, PeerError, Reason, Refused
from mpc.group.id_column import IdColumn
from mpc.link import PartyId
from mpc.protocol import Ledger
from mpc.protocols import align, align_terms
from mpc.protocols.align import AlignOptions, Copies, Indices, SetSize, Verdict
from mpc.protocols.align_oprf import Programmed
from mpc.protocols.align_terms import SMALLEST_BUCKET, TOLD, bucket, padded
from mpc.ring import RingVector
from mpc.rng import Rng
from mpc.testing.adversary import Adversary, field_set
from mpc.testing.memory_link import Network, party, run_roles
from mpc.testing.transcript import shape

NAMES = [PartyId(name) for name in ("bank-a", "platform-b", "telecom-c")]
LEADER = NAMES[0]
SESSION = b"job 0123456789abcdef"
ENGINES = ("ecdh", "oprf")
Sets = Mapping[PartyId, Sequence[bytes]]


def ids(*ranges: range) -> list[bytes]:
    return [b"customer-%06d" % i for r in ranges for i in r]


def three(common: int = 20) -> Sets:
    return {
        NAMES[0]: ids(range(100), range(200, 220)), NAMES[1]: ids(range(100 - common, 180)),
        NAMES[2]: ids(range(100 - common, 100), range(300, 330)),
    }


class Play:
    """One run; `ends` holds each party's positions or error, `numbers` what each was asked to accept."""

    def __init__(self, sets: Sets, tamper: Adversary | None = None, seed: int = 1, forbid: str = "", **options):
        self.sets = sets
        self.network = Network(tamper=tamper, timeout_s=60.0 if not (tamper or forbid) else 1.0)
        self.numbers: dict[str, int] = {}
        self.people = {name: party(name, seed) for name in sets}
        agreed = AlignOptions(LEADER, options.pop("minimum", 10), SESSION, **options)

        def accept(name: str, count: int) -> None:
            self.numbers[name] = count
            if name == forbid:
                raise RuntimeError("own rule")

        self.roles = {
            name: align.run(me, {p: self.network.link(name, p) for p in sets if p != name}, sets[name], agreed,
                            partial(accept, name), lambda lower: True)
            for name, me in self.people.items()
        }

    async def positions(self) -> dict[str, np.ndarray]:
        return await run_roles(self.roles)

    async def ends(self) -> dict[str, object]:
        return dict(zip(self.roles, await asyncio.gather(*self.roles.values(), return_exceptions=True), strict=True))

    def opened(self) -> dict[str, set[str]]:
        """What each party's ledger says that it found out, the counts before the members aside."""
        return {name: set(me.ledger.opened) - {"align.overlaps"} for name, me in self.people.items()}

    def sent(self, *kinds: type) -> list[object]:
        return [s.message for s in self.network.transcript if isinstance(s.message, kinds)]


# ---------------------------------------------------------------- outputs


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("parties", [2, 3])
async def test_the_label_holder_alone_finds_its_rows_and_all_the_number(engine: str, parties: int) -> None:
    sets = dict(list(three().items())[:parties])
    play = Play(sets, engine=engine, output="label_holder_only")
    found = await play.positions()
    assert {sets[LEADER][i] for i in found.pop(LEADER)} == align.ideal(sets, 10)
    assert [len(rows) for rows in found.values()] == [0] * (parties - 1)
    assert set(play.numbers.values()) == {len(align.ideal(sets, 10))}
    assert play.opened() == {name: {"align.members.label_holder" if name == LEADER else "align.size"} for name in sets}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("parties", [2, 3])
async def test_a_job_for_sizes_ends_with_the_number(engine: str, parties: int) -> None:
    sets = dict(list(three().items())[:parties])
    play = Play(sets, engine=engine, output="sizes_only")
    assert [len(rows) for rows in (await play.positions()).values()] == [0] * parties
    assert set(play.numbers.values()) == {len(align.ideal(sets, 10))}
    assert play.opened() == {name: {"align.size"} for name in sets}
    assert not play.sent(Indices)
    assert not [s for s in play.network.transcript if s.channel == "/members"], "no store of members is sent"


@pytest.mark.parametrize("engine", ENGINES)
async def test_no_places_reach_the_feature_holders_but_in_lists_that_the_leader_shuffled(engine: str) -> None:
    """What a feature holder relays are places in a list of the leader's, and none in its own."""
    play = Play(three(), engine=engine, output="label_holder_only")
    await play.positions()
    channels = {s.channel for s in play.network.transcript if isinstance(s.message, Indices)}
    assert channels == ({f"/list/{LEADER}"} if engine == "ecdh" else set())


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("output", ["label_holder_only", "sizes_only"])
async def test_too_few_in_common_is_one_refusal_whatever_was_asked_for(engine: str, output: str) -> None:
    play = Play(three(5), engine=engine, output=output)
    ends = await play.ends()
    assert all(isinstance(end, Refused) for end in ends.values())
    assert not any(message.common for message in play.sent(Verdict))
    assert not any(play.opened().values())


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_feature_holder_whose_rules_forbid_the_number_keeps_the_members_from_the_label_holder(engine) -> None:
    play = Play(three(), forbid=NAMES[2], engine=engine, output="label_holder_only", sample=200)
    ends = await play.ends()
    assert isinstance(ends[NAMES[2]], RuntimeError)
    assert isinstance(ends[LEADER], Exception)
    assert not play.people[LEADER].ledger.opened.get("align.members.label_holder") or engine == "ecdh"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("output", list(TOLD))
async def test_what_the_signed_ledger_does_not_list_is_not_found_out(engine: str, output: str) -> None:
    play = Play(three(), engine=engine, output=output)
    play.network.timeout_s = 1.0
    code = TOLD[output][0]
    play.people[LEADER].ledger = Ledger({line.code: line for line in align.PROTOCOL.ledger if line.code != code})
    ends = await play.ends()
    assert isinstance(ends[LEADER], LocalError)
    assert code in str(ends[LEADER])
    assert not play.sent(Indices)
    assert not [s for s in play.network.transcript if s.channel == "/members" and output == "sizes_only"]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("output", list(TOLD))
async def test_sizes_of_messages_depend_on_public_sizes_alone(engine: str, output: str) -> None:
    one, other = three(), {name: [value[::-1] for value in values][::-1] for name, values in three().items()}
    shapes = []
    for seed, sets in enumerate((one, other)):
        play = Play(sets, seed=seed, engine=engine, output=output)
        await play.positions()
        shapes.append(shape(play.network.transcript))
    assert shapes[0] == shapes[1]


# ---------------------------------------------------------------- padding


@given(st.integers(0, 1 << 24))
def test_a_bucket_is_at_most_a_quarter_larger_and_one_of_four_in_an_octave(count: int) -> None:
    size = bucket(count)
    assert max(count, SMALLEST_BUCKET) <= size <= max(SMALLEST_BUCKET, count * 5 / 4 + 1)
    assert bucket(size) == size
    assert size >> (size.bit_length() - 3) << (size.bit_length() - 3) == size
    assert size <= align_terms.MAX_IDS


def test_filling_differs_from_run_to_run_and_follows_the_ids() -> None:
    own = IdColumn.of(ids(range(30)))
    one, two = (padded(own, Rng(bytes([k]) * 32)) for k in (1, 2))
    assert len(one) == SMALLEST_BUCKET
    assert list(one)[:30] == list(own)
    assert len(set(one) | set(two)) == 30 + 2 * (SMALLEST_BUCKET - 30)


@pytest.mark.parametrize("engine", ENGINES)
async def test_padded_sets_give_the_same_customers_and_tell_a_bucket(engine: str, monkeypatch) -> None:
    monkeypatch.setattr(align_terms, "SMALLEST_BUCKET", 64)
    sets = three()
    play = Play(sets, engine=engine, padded=True)
    found = await play.positions()
    rows = [[sets[name][i] for i in found[name]] for name in sets]
    assert rows[0] == rows[1] == rows[2]
    assert set(rows[0]) == align.ideal(sets, 10)
    assert {message.count for message in play.sent(SetSize)} == {128, 112, 64}
    assert set(play.numbers.values()) <= {20}


@pytest.mark.parametrize("engine", ENGINES)
async def test_two_sets_of_one_bucket_cannot_be_told_apart_by_size(engine: str, monkeypatch) -> None:
    monkeypatch.setattr(align_terms, "SMALLEST_BUCKET", 64)
    shapes = []
    for extra in (0, 7):
        sets = three() | {NAMES[2]: [*three()[NAMES[2]], *ids(range(400, 400 + extra))]}
        play = Play(sets, engine=engine, padded=True)
        await play.positions()
        shapes.append(shape(play.network.transcript))
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_size_that_is_no_bucket_is_refused_where_sets_are_padded(engine: str) -> None:
    tamper = Adversary((NAMES[1], LEADER, "", 0), field_set(count=SMALLEST_BUCKET + 1))
    with pytest.raises(PeerError) as caught:
        await Play(three(), tamper, engine=engine, padded=True).positions()
    assert (caught.value.culprit, caught.value.reason) == (NAMES[1], Reason.OUT_OF_RANGE)


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_leader_that_points_at_filling_is_found(engine: str, monkeypatch) -> None:
    """A store's or list's handle that nobody else can have in common."""
    monkeypatch.setattr(align_terms, "SMALLEST_BUCKET", 64)
    sets, honest = {name: values for name, values in three().items() if name != NAMES[2]}, align_terms.padded
    stolen: list[IdColumn] = []

    def same_filling(own: IdColumn, rng: Rng) -> IdColumn:   # as if both had drawn it alike
        stolen.append(honest(own, Rng(bytes(32))))
        return stolen[-1]

    monkeypatch.setattr(align, "padded", same_filling)
    ends = await Play(sets, engine=engine, padded=True).ends()
    assert all(isinstance(end, PeerError) and end.reason == Reason.OUT_OF_RANGE for end in ends.values())


# ---------------------------------------------------------------- copies


async def copies_at_all(counts: Sequence[int], tamper: Adversary | None = None, common: int | None = None):
    network = Network(tamper=tamper, timeout_s=1.0)
    people = {name: party(name) for name in NAMES}
    roles = {
        name: align_terms.share_copies(me, {p: network.link(name, p) for p in NAMES if p != name}, LEADER,
                                 np.array(counts) if name == LEADER else None, common or len(counts))
        for name, me in people.items()
    }
    return await run_roles(roles), people


async def test_all_hear_how_many_rows_each_common_customer_has() -> None:
    found, people = await copies_at_all([1, 3, 1, 2])
    assert all(values.tolist() == [1, 3, 1, 2] for values in found.values())
    assert all(me.ledger.opened == {"align.copies": 4} for me in people.values())


def counts_of(change) -> Adversary:
    def changed(counts: RingVector) -> RingVector:
        return change(counts.values.copy(), counts.bits)

    return Adversary((LEADER, NAMES[1], "", 0), field_set(counts=changed))


COUNTS = {
    "a customer without a row": (lambda v, bits: RingVector(np.append(v[1:], np.uint64(0)), bits), Reason.OUT_OF_RANGE),
    "more rows than a table has": (
        lambda v, bits: RingVector(np.append(v[1:], np.uint64(align.MAX_IDS)), bits), Reason.OUT_OF_RANGE),
    "counts of another width": (lambda v, bits: RingVector(v, 64), Reason.OUT_OF_RANGE),
    "a count too few": (lambda v, bits: RingVector(v[1:], bits), Reason.WRONG_LENGTH),
    "a count too many": (lambda v, bits: RingVector(np.append(v, v[:1]), bits), Reason.WRONG_LENGTH),
}


@pytest.mark.parametrize("case", COUNTS)
async def test_copies_that_cannot_be_are_blamed_on_the_label_holder(case: str) -> None:
    change, reason = COUNTS[case]
    with pytest.raises(PeerError) as caught:
        await copies_at_all([1, 3, 2], counts_of(change))
    assert (caught.value.culprit, caught.value.reason) == (LEADER, reason)


async def test_messages_of_copies_and_stores_show_no_values() -> None:
    assert "3" not in repr(Copies(RingVector(np.array([333], np.uint64), 32))).replace("32", "")
    assert "333" not in repr(Programmed(RingVector(np.array([333], np.uint64), 32)))
