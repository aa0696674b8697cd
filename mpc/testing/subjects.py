"""The protocols as the conformance suite sees them: small runs with known results, and their own deviations."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np

from mpc.errors import Reason
from mpc.group.ristretto255 import IDENTITY, PointVector
from mpc.link import Link, PartyId
from mpc.protocol import Party
from mpc.protocols import align, coin, finish, score, split
from mpc.protocols.align_count import Programmed
from mpc.protocols.align_oprf import Tags
from mpc.ring import RingVector, from_signed
from mpc.rng import Rng
from mpc.sets.hidden_count import Counted
from mpc.testing.adversary import Change, Corruption, field_set, reflected
from mpc.testing.bin_subject import BIN
from mpc.testing.conformance import Role, Subject, Trial
from mpc.testing.correlate_subject import CORRELATE
from mpc.testing.memory_link import Sent

NAMES = ("bank-a", "platform-b", "telecom-c", "utility-d")
SESSION = b"conformance session label"
ALIGN_COMMON, ALIGN_OWN = 8, 4


def _inputs(parties: int) -> Sequence[PartyId]:
    return [PartyId(name) for name in NAMES[:parties]]


# ---------------------------------------------------------------- align


def _align_trial(parties: int, secrets: int, engine: Literal["ecdh", "oprf"] = "ecdh", sample: int = 0) -> Trial:
    names = _inputs(parties)
    draw = Rng(secrets.to_bytes(32, "big"))

    def fresh() -> bytes:
        return draw.bytes(12).hex().encode()

    shared = [fresh() for _ in range(ALIGN_COMMON)]
    sets: dict[PartyId, list[bytes]] = {}
    for name in names:
        mixed = shared + [fresh() for _ in range(ALIGN_OWN)]
        sets[name] = [mixed[i] for i in draw.permutation(len(mixed))]
    options = align.AlignOptions(leader=names[-1], minimum=5, session=SESSION, engine=engine, sample=sample)

    def role(name: PartyId) -> Role:
        return lambda me, peers: align.run(me, peers, sets[name], options)

    def judge(results: Mapping[str, Any]) -> None:
        rows = {name: [sets[name][i] for i in results[name]] for name in names}
        assert all(row == rows[names[0]] for row in rows.values()), "the parties order customers differently"
        assert len(set(rows[names[0]])) == len(rows[names[0]]), "a customer occurs twice"
        assert set(rows[names[0]]) == align.ideal(sets, options.minimum), "not the intersection"

    everyone = sorted({i for ids in sets.values() for i in ids})
    return Trial({name: role(name) for name in names}, judge, everyone, (SESSION,))


def _points(change: Callable[[bytes], bytes]) -> Change:
    return field_set(points=lambda points: PointVector(change(points.data)))


def _returned_as_sent(sent: Sent, before: Sequence[Sent]) -> align.Returned:
    """The heads of the points that the receiver had sent out."""
    (out,) = (m for m in before if m.sender == sent.receiver and m.channel == sent.channel
              and isinstance(m.message, align.Blinded))
    return align.Returned(align.heads_of(out.message.points).tobytes())


def _places(change: Callable[[np.ndarray[Any, Any]], None]) -> Change:
    def changed(places: RingVector) -> RingVector:
        values = places.values.copy()
        change(values)
        return RingVector(values, places.bits)

    return field_set(places=changed)


def _set(index: int, value: int) -> Callable[[np.ndarray[Any, Any]], None]:
    return lambda values: values.__setitem__(index, value)


def _other_first(words: RingVector, value: int) -> RingVector:
    values = words.values.copy()
    values[0] = value
    return RingVector(values, words.bits)


def _twice(sent: Sent, before: Sequence[Sent]) -> Tags:
    first, second = sent.message.first, sent.message.second
    return Tags(_other_first(first, first.values[1]), _other_first(second, second.values[1]))


_ALIGN = (
    Corruption("a size below zero", align.SetSize, field_set(count=-1), (Reason.OUT_OF_RANGE,)),
    Corruption("a size beyond the bound", align.SetSize, field_set(count=align.MAX_IDS + 1),
               (Reason.OUT_OF_RANGE,)),
    Corruption("the identity among the points", align.Blinded, _points(lambda d: IDENTITY + d[32:]),
               (Reason.BAD_POINT,)),
    Corruption("a point off the group", align.Blinded, _points(lambda d: b"\x01" + bytes(31) + d[32:]),
               (Reason.BAD_POINT,)),
    Corruption("a point whose encoding is not canonical", align.Blinded,
               _points(lambda d: (int.from_bytes(d[:32], "little") | 1 << 255).to_bytes(32, "little") + d[32:]),
               (Reason.BAD_POINT,)),
    Corruption("a point twice", align.Blinded, _points(lambda d: d[32:64] + d[32:]), (Reason.REPEATED_VALUE,)),
    Corruption("our own list", align.Blinded, reflected, (Reason.REFLECTED,)),
    Corruption("a value twice", align.Returned, field_set(heads=lambda heads: heads[12:24] + heads[12:]),
               (Reason.REPEATED_VALUE,)),
    Corruption("our own list, not multiplied", align.Returned, _returned_as_sent, (Reason.REFLECTED,)),
    Corruption("more in common than anybody has", align.Verdict,
               field_set(common=ALIGN_COMMON + ALIGN_OWN + 1), (Reason.OUT_OF_RANGE,)),
    Corruption("fewer in common than the minimum", align.Verdict, field_set(common=4), (Reason.OUT_OF_RANGE,)),
    Corruption("a negative number in common", align.Verdict, field_set(common=-1), (Reason.OUT_OF_RANGE,)),
    Corruption("a place beyond the list", align.Indices, _places(_set(0, ALIGN_COMMON + ALIGN_OWN)),
               (Reason.OUT_OF_RANGE,)),
    Corruption("a place near the end of the ring", align.Indices, _places(_set(0, 2**64 - 1)),
               (Reason.OUT_OF_RANGE,)),
    Corruption("a place twice", align.Indices, _places(lambda values: values.__setitem__(0, values[1])),
               (Reason.REPEATED_VALUE,)),
    Corruption("places of another width", align.Indices,
               field_set(places=lambda places: RingVector(places.values, 64)), (Reason.OUT_OF_RANGE,)),
)

_ALIGN_OPRF = (
    *(c for c in _ALIGN if c.kind in (align.SetSize, align.Verdict)),
    Corruption("a tag of no id", Tags, field_set(first=lambda first: _other_first(first, first.values[0] ^ 1)),
               (Reason.OUT_OF_RANGE,)),
    Corruption("a tag twice", Tags, _twice, (Reason.REPEATED_VALUE,)),
    Corruption("tags of another width", Tags, field_set(first=lambda first: RingVector(first.values >> 1, 63)),
               (Reason.OUT_OF_RANGE,)),
    Corruption("the identity among the points", Counted, _points(lambda d: IDENTITY + d[32:]), (Reason.BAD_POINT,)),
    Corruption("a point off the group", Counted, _points(lambda d: b"\x01" + bytes(31) + d[32:]),
               (Reason.BAD_POINT,)),
    Corruption("a point twice", Counted, _points(lambda d: d[32:64] + d[32:]), (Reason.REPEATED_VALUE,)),
    Corruption("words of another width", Programmed,
               field_set(words=lambda words: RingVector(words.values % np.uint64(1 << 16), 16)),
               (Reason.OUT_OF_RANGE,)),
)
ALIGN_OPRF = Subject(align.PROTOCOL, partial(_align_trial, engine="oprf"), (2, 3), _ALIGN_OPRF, first_of_kind_only=True)

# ---------------------------------------------------------------- coin


def _coin_trial(parties: int, secrets: int) -> Trial:
    names = _inputs(parties)

    def role(name: PartyId) -> Role:
        return lambda me, peers: coin.run(me, peers, SESSION)

    def judge(results: Mapping[str, Any]) -> None:
        assert len(set(results.values())) == 1, "the parties hold different coins"
        assert len(results[names[0]]) == 32, "a coin has 32 bytes"

    return Trial({name: role(name) for name in names}, judge)


def _flip(value: bytes) -> bytes:
    return bytes([value[0] ^ 1]) + value[1:]


_COIN = (
    Corruption("our own commitment", coin.Commitment, reflected, (Reason.REFLECTED,)),
    Corruption("an opening of something else", coin.CoinShare, field_set(share=_flip), (Reason.BAD_COMMITMENT,)),
    Corruption("our own opening", coin.CoinShare, reflected, (Reason.BAD_COMMITMENT,)),
    Corruption("other commitments than ours", coin.Seen, field_set(digest=_flip), (Reason.BAD_TRANSCRIPT,)),
)

# ---------------------------------------------------------------- score


def _score_trial(parties: int, secrets: int, rows: int = 16) -> Trial:
    names = _inputs(parties)
    draw = Rng(secrets.to_bytes(32, "big"))
    partials = {name: draw.ring(rows) for name in names}
    partials[names[0]][:4] = from_signed(np.array([0, -1, 2**63 - 1, -(2**63)]))
    options = score.ScoreOptions(label_holder=names[0], rows=rows, step=1)

    def role(name: PartyId) -> Role:
        return lambda me, peers: score.run(me, peers, partials[name], options)

    def judge(results: Mapping[str, Any]) -> None:
        assert np.array_equal(results[names[0]], score.ideal(list(partials.values()))), "not the sum"
        assert all(results[name] is None for name in names[1:]), "a feature holder was given scores"

    canaries = [values.tobytes()[8 * i:8 * i + 8] for values in partials.values() for i in range(4, rows)]
    return Trial({name: role(name) for name in names}, judge, canaries)


# ---------------------------------------------------------------- finish


def _finish_trial(parties: int, secrets: int) -> Trial:
    names = _inputs(parties)
    kept: dict[PartyId, dict[PartyId, bytes]] = {name: {} for name in names}

    def sign(signer: PartyId, head: bytes) -> bytes:
        return hashlib.sha512(f"{signer} {secrets}".encode() + head).digest()  # as long as an Ed25519 signature

    def role(name: PartyId) -> Role:
        async def run(me: Party, peers: Mapping[PartyId, Link]) -> None:
            await finish.verdict(me, peers, names[0], True if name == names[0] else None)
            head = hashlib.sha256(f"{name} {secrets}".encode()).digest()
            mine = finish.AuditHead(secrets, head, sign(name, head))
            await finish.close(me, peers, mine, lambda peer, theirs: sign(name, theirs.head), kept[name].__setitem__)

        return run

    def judge(results: Mapping[str, Any]) -> None:
        for name in names:
            head = hashlib.sha256(f"{name} {secrets}".encode()).digest()
            due = {peer: sign(peer, head) for peer in names if peer != name}
            assert kept[name] == due, "a party misses a signature over its log"

    return Trial({name: role(name) for name in names}, judge)


SPLIT_ROWS, SPLIT_LEAST = 21, 4


def _split_trial(parties: int, secrets: int) -> Trial:
    names = _inputs(parties)
    later = np.arange(SPLIT_ROWS) % (2 + secrets) == 0
    options = split.SplitOptions(names[0], SPLIT_ROWS, SPLIT_LEAST, SESSION)

    def role(name: PartyId) -> Role:
        return lambda me, peers: split.run(me, peers, later if name == names[0] else None, options)

    def judge(results: Mapping[str, Any]) -> None:
        expected = split.ideal(later, SPLIT_LEAST)
        assert expected is not None
        for name in names:
            assert results[name].tolist() == expected.tolist(), "a party has another split"

    return Trial({name: role(name) for name in names}, judge)


_SPLIT = (
    Corruption("a customer beyond the last", split.LaterRows, field_set(bits=lambda bits: bits[:-1] + b"\x81"),
               (Reason.OUT_OF_RANGE,)),
    Corruption("all customers on one side", split.LaterRows, field_set(bits=lambda bits: bytes(len(bits))),
               (Reason.SMALL_SIDE,)),
    Corruption("a handful on one side", split.LaterRows, field_set(bits=lambda bits: b"\x13" + bytes(len(bits) - 1)),
               (Reason.SMALL_SIDE,)),
    Corruption("another split", split.SplitHeard, field_set(digest=_flip), (Reason.UNEQUAL,)),
)

_FINISH = (
    Corruption("a verdict that is neither yes nor no", finish.Accepted, field_set(accepted=2), (Reason.OUT_OF_RANGE,)),
    Corruption("a negative verdict", finish.Accepted, field_set(accepted=-1), (Reason.OUT_OF_RANGE,)),
)

SUBJECTS: Mapping[str, Subject] = {
    "align": Subject(align.PROTOCOL, _align_trial, (2, 3, 4), _ALIGN),
    "bin": BIN,
    "coin": Subject(coin.PROTOCOL, _coin_trial, (2, 3, 4), _COIN),
    "correlate": CORRELATE,
    "finish": Subject(finish.PROTOCOL, _finish_trial, (2, 3, 4), _FINISH),
    "score": Subject(score.PROTOCOL, _score_trial, (2, 3, 4)),
    "split": Subject(split.PROTOCOL, _split_trial, (2, 3, 4), _SPLIT),
}
