"""Every deviation of trust.md section 4 that concerns an alignment, in both engines: refused, and blamed on its sender.

trust.md's case                                        here, or where else
a vector too short, too long, empty                    `test_a_vector_of_another_length_...`, of every message
a message of another round                             `..._of_another_kind_...`, `..._from_an_earlier_round_...`
one's own message reflected                            DEVIATIONS "our own ..."
a point off the group, the identity, non-canonical     DEVIATIONS, at every message that holds points
a point repeated                                       DEVIATIONS "a point twice", "a value twice"; `..._mask_key_...`
more ids than declared                                 DEVIATIONS "a size ...", lists too long, `..._two_sizes_...`
a value out of range                                   DEVIATIONS: sizes, verdicts, places, tags, copies, widths
a set that differs from an earlier one by a few ids    `test_a_set_near_an_earlier_one_...`
weak parameters: intersection minimum 0                test_align.py: "options out of range are refused"
reveal list beyond policy, as an opening               test_align.py, test_align_outputs.py: "... does not list ..."
places or tags of random filling                       test_align_outputs.py: "... points at filling ..."
a gap; other bytes for a used seq; never reading,      tests/wire/test_hostile_peer.py, tests/wire/test_strangers.py: of
never acknowledging; another party's link; another     every link, whatever runs over it
job; a second instance; approvals, specs, keys
a changed table at resume                              tests/party_node: the digest of the table is pinned

What nobody can notice stands in docs/protocols/align.md: right-sized scrambles of what only the sender knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from mpc.errors import PeerError, Reason, Refused
from mpc.group.ristretto255 import IDENTITY, PointVector
from mpc.link import PartyId
from mpc.ot.base import BaseAnswer, BaseOffer
from mpc.protocols import align, align_terms
from mpc.protocols.align import AlignOptions, Blinded, Indices, Returned, SetSize, Verdict
from mpc.protocols.align_count import Programmed
from mpc.protocols.align_oprf import Tags
from mpc.protocols.align_terms import Copies, SizesHeard
from mpc.ring import RingVector
from mpc.rng import Rng
from mpc.sets.hidden_count import Counted
from mpc.sharing.zero_sharing import MaskKey
from mpc.testing.adversary import Adversary, Change, Stranger, field_set, reflected, resized
from mpc.testing.conformance import Outcome, Role, Trial, play
from mpc.testing.memory_link import Network, Sent, party

NAMES = [PartyId(name) for name in ("bank-a", "platform-b", "telecom-c")]
LEADER = NAMES[0]
SESSION = b"job of hostile peers"
ENGINES = ("ecdh", "oprf")
KINDS = [(engine, parties) for engine in ENGINES for parties in (2, 3)]
IDS, COMMON, MINIMUM, SAMPLE = 100, 60, 2, 12   # of the sample some seven are common: the bound is offered and stands
FAR = 5


def trial(engine: Any, parties: int, near: int | None = None) -> Trial:
    """Align, then share copies; with `near`, under a rule of each party that numbers close to that one are refused."""
    draw, names = Rng(bytes(32)), NAMES[:parties]
    sets = {
        name: [b"customer-%04d" % i if i < COMMON else b"%s-%04d" % (name.encode(), i) for i in draw.permutation(IDS)]
        for name in names
    }
    options = AlignOptions(LEADER, MINIMUM, SESSION, engine, SAMPLE)

    def accept(count: int) -> None:
        if near is not None and 0 < abs(count - near) < FAR:
            raise RuntimeError("too near")

    def settles(lower: int) -> bool:
        return near is None or lower >= near + FAR

    def role(name: PartyId) -> Role:
        async def run(me: Any, peers: Any) -> np.ndarray:
            rows = await align.run(me, peers, sets[name], options, accept, settles)
            copies = np.ones(len(rows), np.int64) if name == LEADER else None
            await align_terms.share_copies(me, peers, LEADER, copies, len(rows))
            return rows

        return run

    def judge(results: Mapping[str, Any]) -> None:
        assert all({sets[name][i] for i in rows} == align.ideal(sets, MINIMUM) for name, rows in results.items())

    return Trial({name: role(name) for name in names}, judge)


@cache
def honest_transcript(engine: str, parties: int) -> tuple[Sent, ...]:
    run = trial(engine, parties)
    outcome = asyncio.run(play(run))
    assert outcome.error is None
    run.judge(outcome.results)
    return tuple(outcome.transcript)


@pytest.fixture(scope="module", autouse=True)
def transcripts():
    """Played outside the tests' event loops."""
    for engine, parties in KINDS:
        honest_transcript(engine, parties)


def places(engine: str, parties: int, kind: type | None = None) -> Iterator[Sent]:
    """One message of every kind, step and direction, of three parties only what two do not have."""
    seen = {_place(sent) for sent in honest_transcript(engine, 2)} if parties == 3 else set()
    for sent in honest_transcript(engine, parties):
        if _place(sent) not in seen and kind in (None, type(sent.message)):
            seen.add(_place(sent))
            yield sent


def _place(sent: Sent) -> tuple[object, ...]:
    """What differs by the names of followers alone is one place."""
    owner = sent.channel.removeprefix("/list/")
    channel = ("list", owner == LEADER, owner == sent.sender) if owner in NAMES else sent.channel
    order = sent.index if isinstance(sent.message, Counted) else 0
    if isinstance(sent.message, Verdict):
        order = sent.message.common
    return type(sent.message), channel, order, sent.sender == LEADER, sent.receiver == LEADER


async def strike(engine: str, parties: int, target: Sent, change: Change) -> tuple[Outcome, bool]:
    adversary = Adversary((target.sender, target.receiver, target.channel, target.index), change)
    outcome = await play(trial(engine, parties), adversary)
    return outcome, adversary.struck


def check(outcome: Outcome, target: Sent, reasons: Sequence[Reason]) -> None:
    where = f"{type(target.message).__name__} {target.sender} -> {target.receiver} {target.channel}#{target.index}"
    assert isinstance(outcome.error, PeerError), f"{where}: {outcome.error!r}"
    assert (outcome.failed, outcome.error.culprit) == (target.receiver, target.sender), f"{where}: {outcome.error}"
    assert outcome.error.reason in reasons, f"{where}: {outcome.error}"


# ---------------------------------------------------------------- every message


def test_the_honest_runs_hold_every_message_of_the_protocol_and_a_bound_that_stands():
    kinds = {type(sent.message) for engine, parties in KINDS for sent in honest_transcript(engine, parties)}
    assert kinds == set(align.PROTOCOL.messages)
    told = [s.message.common for s in honest_transcript("oprf", 2) if isinstance(s.message, Verdict)]
    assert len(told) == 4
    assert MINIMUM <= told[0] == told[1] == told[2] < told[3] == COMMON


@pytest.mark.parametrize(("engine", "parties"), KINDS)
async def test_a_message_of_another_kind_is_blamed_on_its_sender(engine, parties):
    for target in places(engine, parties):
        outcome, struck = await strike(engine, parties, target, lambda sent, before: Stranger())
        assert struck
        check(outcome, target, [Reason.WRONG_KIND])


@pytest.mark.parametrize(("engine", "parties"), KINDS)
async def test_a_message_from_an_earlier_round_is_blamed_on_its_sender(engine, parties):
    def before_this(sent: Sent, before: Sequence[Sent]) -> object:
        earlier = [s.message for s in before if (s.sender, s.receiver, s.channel) == (sent.sender, sent.receiver,
                                                                                      sent.channel)]
        return earlier[-1] if earlier and type(earlier[-1]) is not Verdict else None

    tried = 0
    for target in places(engine, parties):
        outcome, struck = await strike(engine, parties, target, before_this)
        if struck:   # the leader's second list is its first one again: the role finds it where lists are compared
            check(outcome, target, [Reason.WRONG_KIND, Reason.REFLECTED, Reason.REPEATED_VALUE])
            tried += 1
    assert tried >= 2


def nothing_of(vector: Any) -> Any:
    return RingVector(np.empty(0, np.uint64), vector.bits) if isinstance(vector, RingVector) else type(vector)(b"")


LENGTHS = {
    "too short": lambda vector: resized(vector, -1),
    "too long": lambda vector: resized(vector, 1),
    "empty": nothing_of,
}


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize(("engine", "parties"), KINDS)
async def test_a_vector_of_another_length_is_blamed_on_its_sender(engine, parties, length):
    for target in places(engine, parties):
        for field in fields(target.message):
            if not isinstance(getattr(target.message, field.name), int):
                outcome, _ = await strike(engine, parties, target, field_set(**{field.name: LENGTHS[length]}))
                check(outcome, target, [Reason.WRONG_LENGTH])


# ---------------------------------------------------------------- deviations of certain messages


@dataclass(frozen=True)
class Deviation:
    """`kind` with `change`, at every place of `kind` where the change applies."""

    kind: type
    change: Change
    reason: Reason
    where: Callable[[str, int, Sent], bool] = lambda engine, parties, sent: True


def points(field: str, change: Callable[[bytes], bytes]) -> Change:
    return field_set(**{field: lambda old: PointVector(change(old.data))})


def ring(field: str, change: Callable[[np.ndarray], object], bits: int | None = None) -> Change:
    def changed(old: RingVector) -> RingVector:
        values = old.values.copy()
        change(values)
        return RingVector(values, bits or old.bits)

    return field_set(**{field: changed})


def put(index: int, value: int) -> Callable[[np.ndarray], object]:
    return lambda values: values.__setitem__(index, value)


def offered(sent: Sent, before: Sequence[Sent]) -> BaseAnswer:
    """The offer's own point among the answers: one of the two keys would be known to all."""
    offer = next(s.message for s in before if isinstance(s.message, BaseOffer) and s.receiver == sent.sender)
    return replace(sent.message, points=PointVector(offer.point.data + sent.message.points.data[32:]))


def home_as_it_went(sent: Sent, before: Sequence[Sent]) -> Returned:
    out, = (s.message.points for s in before if (s.sender, s.channel) == (sent.receiver, sent.channel))
    return Returned(align.heads_of(out).tobytes())


def tag_twice(sent: Sent, before: Sequence[Sent]) -> Tags:
    columns = [column.values.copy() for column in (sent.message.first, sent.message.second)]
    for values in columns:
        values[0] = values[1]
    return Tags(RingVector(columns[0], 64), RingVector(columns[1], 32))


def high_bit(data: bytes) -> bytes:
    return (int.from_bytes(data[:32], "little") | 1 << 255).to_bytes(32, "little") + data[32:]


BAD_POINTS = {
    "the identity": lambda data: IDENTITY + data[32:],
    "a point off the group": lambda data: b"\x01" + bytes(31) + data[32:],
    "a point that is not canonical": high_bit,
    "a point of only ones": lambda data: b"\xff" * 32 + data[32:],
}
HOLDS_POINTS = {Blinded: "points", Counted: "points", MaskKey: "point", BaseOffer: "point", BaseAnswer: "points"}


def of_count(engine: str, parties: int, sent: Sent) -> bool:
    """What answers or confirms the bound that the leader offered; its offer comes after sizes and what was heard."""
    return engine == "oprf" and sent.message.common < COMMON and (sent.sender != LEADER or sent.index == parties)


DEVIATIONS: dict[str, Deviation] = {
    f"{what} in {kind.__name__}": Deviation(kind, points(field, change), Reason.BAD_POINT)
    for kind, field in HOLDS_POINTS.items() for what, change in BAD_POINTS.items()
} | {
    "the offer's point among the answers": Deviation(BaseAnswer, offered, Reason.BAD_POINT),
    "a point twice in a list": Deviation(Blinded, points("points", lambda d: d[32:64] + d[32:]),
                                         Reason.REPEATED_VALUE),
    "a point twice in a count": Deviation(Counted, points("points", lambda d: d[32:64] + d[32:]),
                                          Reason.REPEATED_VALUE),
    "a value twice in the list that comes home": Deviation(
        Returned, field_set(heads=lambda heads: heads[12:24] + heads[12:]), Reason.REPEATED_VALUE),
    "our own list": Deviation(Blinded, reflected, Reason.REFLECTED),
    "our own list, not multiplied": Deviation(Returned, home_as_it_went, Reason.REFLECTED),
    "our own list of a count": Deviation(Counted, reflected, Reason.REFLECTED),
    "one of our own points in a count": Deviation(
        Counted, lambda sent, before: (ours := reflected(sent, before)) and Counted(PointVector(
            ours.points.data[:32] + sent.message.points.data[32:])), Reason.REFLECTED),
    "our own key of a mask": Deviation(MaskKey, reflected, Reason.REFLECTED),
    "a size below zero": Deviation(SetSize, field_set(count=-1), Reason.OUT_OF_RANGE),
    "a size beyond the bound": Deviation(SetSize, field_set(count=align.MAX_IDS + 1), Reason.OUT_OF_RANGE),
    "sizes heard of another width": Deviation(
        SizesHeard, ring("counts", lambda values: None, 64), Reason.OUT_OF_RANGE),
    "a negative verdict": Deviation(Verdict, field_set(common=-1), Reason.OUT_OF_RANGE),
    "a verdict below the minimum": Deviation(Verdict, field_set(common=MINIMUM - 1), Reason.OUT_OF_RANGE),
    "a verdict beyond the smallest set": Deviation(Verdict, field_set(common=IDS + 1), Reason.OUT_OF_RANGE),
    "a verdict that is neither bound nor nothing": Deviation(
        Verdict, field_set(common=lambda common: common + 1), Reason.OUT_OF_RANGE, of_count),
    "a number below the bound that stood": Deviation(
        Verdict, field_set(common=MINIMUM), Reason.OUT_OF_RANGE,
        lambda engine, parties, sent: engine == "oprf" and sent.message.common == COMMON),
    "a place beyond the list": Deviation(Indices, ring("places", put(0, IDS)), Reason.OUT_OF_RANGE),
    "a place near the end of the ring": Deviation(Indices, ring("places", put(0, 2**32 - 1)), Reason.OUT_OF_RANGE),
    "places of another width": Deviation(Indices, ring("places", lambda values: None, 64), Reason.OUT_OF_RANGE),
    "a place twice": Deviation(Indices, ring("places", lambda v: put(0, int(v[1]))(v)), Reason.REPEATED_VALUE),
    "words of a store of another width": Deviation(
        Programmed, ring("words", lambda values: np.right_shift(values, np.uint64(1), out=values), 63),
        Reason.OUT_OF_RANGE),
    "a tag of no id": Deviation(Tags, ring("first", lambda v: put(0, int(v[0]) ^ 1)(v)), Reason.OUT_OF_RANGE),
    "half a tag of no id": Deviation(Tags, ring("second", lambda v: put(0, int(v[0]) ^ 1)(v)), Reason.OUT_OF_RANGE),
    "tags of another width": Deviation(
        Tags, ring("first", lambda values: np.right_shift(values, np.uint64(1), out=values), 63), Reason.OUT_OF_RANGE),
    "a tag twice": Deviation(Tags, tag_twice, Reason.REPEATED_VALUE),
    "a common customer without a row": Deviation(Copies, ring("counts", put(0, 0)), Reason.OUT_OF_RANGE),
    "more rows than a table has": Deviation(Copies, ring("counts", put(0, align.MAX_IDS)), Reason.OUT_OF_RANGE),
    "copies of another width": Deviation(Copies, ring("counts", lambda values: None, 64), Reason.OUT_OF_RANGE),
}


@pytest.mark.parametrize("sentence", DEVIATIONS)
async def test_a_deviation_is_blamed_on_its_sender(sentence):
    deviation, tried = DEVIATIONS[sentence], 0
    for engine, parties in KINDS:
        for target in places(engine, parties, deviation.kind):
            if deviation.where(engine, parties, target):
                outcome, struck = await strike(engine, parties, target, deviation.change)
                if struck:
                    check(outcome, target, [deviation.reason])
                    tried += 1
    assert tried


# ---------------------------------------------------------------- sizes


async def ends_of(engine: str, tamper: Callable[[Sent], object]) -> dict[str, object]:
    """What each of three parties ends with."""
    network, roles = Network(tamper=tamper, timeout_s=0.5), trial(engine, 3).roles
    ends = await asyncio.gather(*(
        role(party(name), {PartyId(peer): network.link(name, peer) for peer in roles if peer != name})
        for name, role in roles.items()
    ), return_exceptions=True)
    return dict(zip(roles, ends, strict=True))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("announcer", NAMES)
async def test_who_announces_two_sizes_is_blamed_by_both_others_at_once(engine, announcer):
    deceived, other = (name for name in NAMES if name != announcer)
    ends = await ends_of(engine, Adversary((announcer, deceived, "", 0), field_set(count=lambda count: count + 1)))
    for name in (deceived, other):
        assert isinstance(ends[name], PeerError)
        assert (ends[name].culprit, ends[name].reason) == (announcer, Reason.UNEQUAL)


MISREPORTED = {
    "about the one who is told": (lambda names: names.index(NAMES[1]), NAMES[2]),
    "about itself": (lambda names: names.index(NAMES[2]), NAMES[2]),
    "about a third, who seems to have announced two sizes": (lambda names: names.index(NAMES[0]), NAMES[0]),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("what", MISREPORTED)
async def test_who_misreports_a_size_is_blamed_where_that_can_be_known(engine, what):
    place, culprit = MISREPORTED[what]
    change = ring("counts", put(place(sorted(NAMES)), 7))
    ends = await ends_of(engine, Adversary((NAMES[2], NAMES[1], "", 1), change))
    assert isinstance(ends[NAMES[1]], PeerError)
    assert (ends[NAMES[1]].culprit, ends[NAMES[1]].reason) == (culprit, Reason.UNEQUAL)


async def test_one_mask_key_from_two_parties_is_refused_and_one_of_them_is_named():
    """Who copied the other's public key cannot be known: the one whose name comes later is named."""
    first: list[MaskKey] = []

    def same(sent: Sent) -> object:
        if isinstance(sent.message, MaskKey) and sent.receiver == LEADER:
            first.append(sent.message)
            return first[0]
        return sent.message

    outcome = await play(trial("oprf", 3), same)
    assert isinstance(outcome.error, PeerError)
    assert (outcome.failed, outcome.error.culprit, outcome.error.reason) == (LEADER, NAMES[2], Reason.REPEATED_VALUE)


# ---------------------------------------------------------------- rules


@pytest.mark.parametrize(("engine", "parties"), KINDS)
@pytest.mark.parametrize("near", [COMMON - 4, COMMON + 1, COMMON + 4])
async def test_a_set_near_an_earlier_one_is_refused_before_members(engine, parties, near):
    outcome = await play(trial(engine, parties, near))
    assert isinstance(outcome.error, RuntimeError | Refused)   # the leader's own rule, or its 0 at a follower
    assert not any(isinstance(s.message, Indices | Tags) or s.channel == "/members" for s in outcome.transcript)
    assert not any(s.message.common for s in outcome.transcript if isinstance(s.message, Verdict))


@pytest.mark.parametrize(("engine", "parties"), KINDS)
@pytest.mark.parametrize("near", [COMMON - 5, COMMON, COMMON + 5])
async def test_a_set_far_from_an_earlier_one_or_equal_to_it_is_not(engine, parties, near):
    run = trial(engine, parties, near)
    outcome = await play(run)
    assert outcome.error is None
    run.judge(outcome.results)
