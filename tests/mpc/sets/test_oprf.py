"""The oblivious function: both sides agree where they should, nowhere else, and the transcript shows neither side."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from mpc.errors import PeerError, Reason
from mpc.link import PartyId
from mpc.ot.extension import LEAVES
from mpc.rng import Rng
from mpc.sets import hidden_count, okvs, oprf
from mpc.sets.hidden_count import Counted
from mpc.sets.oprf import GROUPS, Codes, Offsets, Streams, multiples
from mpc.testing.adversary import Adversary
from mpc.testing.memory_link import Network, party, run_roles

A, B = PartyId("bank-a"), PartyId("bank-b")


def digests(count: int, label: str):
    return Rng(hashlib.sha256(label.encode()).digest()).ring(2 * count).reshape(count, 2)


async def evaluated(mine, theirs, session=b"session", seed=1, network=None):
    """Outputs at the receiver for `mine` and at the sender for `theirs`."""
    network = network or Network()

    codes = Codes(session)
    a, b = codes.binned(mine), codes.binned(theirs)

    async def receive(me, link):
        return await oprf.run_receiver(me, [link], codes, a, me.rng.child("store"))

    ends = await run_roles({A: receive(party(A, seed), network.link(A, B)),
                            B: oprf.run_sender(party(B, seed), network.link(B, A), codes, len(mine), b)})
    return InTheirOrder(ends[A][0], a), InTheirOrder(ends[B], b), network


class InTheirOrder:
    """Outputs in the order in which the digests were given."""

    def __init__(self, outputs, mine):
        self.outputs, self.place = outputs, np.argsort(mine.order)

    def words(self, purpose, rows=slice(None)):
        return self.outputs.words(purpose, self.place[rows])


async def test_both_sides_get_the_same_where_the_receiver_has_the_digest_and_nowhere_else():
    mine = digests(500, "mine")
    theirs = np.concatenate([mine[:200], digests(300, "theirs")])
    a, b, _ = await evaluated(mine, theirs)
    for purpose in (0, 1, 7):
        mine_out, their_out = a.words(purpose), b.words(purpose)
        assert np.array_equal(mine_out[:200], their_out[:200])
        assert not np.isin(their_out[200:, 0], mine_out[:, 0]).any()


async def test_a_purpose_gives_other_outputs_and_rows_select():
    a, _, _ = await evaluated(digests(64, "mine"), digests(1, "theirs"))
    assert not np.isin(a.words(1), a.words(2)).any()
    assert np.array_equal(a.words(1, np.array([3, 5])), a.words(1)[[3, 5]])


async def test_sets_of_many_bins(monkeypatch):
    monkeypatch.setattr(okvs, "BIN_KEYS", 32)
    monkeypatch.setattr(oprf, "CHUNK_KEYS", 50)
    mine, theirs = digests(333, "mine"), digests(700, "theirs")
    theirs[100:200] = mine[:100]
    a, b, network = await evaluated(mine, theirs)
    assert np.array_equal(a.words(1)[:100], b.words(1)[100:200])
    assert not np.isin(b.words(1)[200:, 0], a.words(1)[:, 0]).any()
    sizes = [len(s.message.rows) for s in network.transcript if isinstance(s.message, Offsets)]
    assert sizes == [32 * okvs.Layout(333).bin_slots] * 16


async def test_one_store_of_codes_serves_several_senders():
    mine, codes, network = digests(80, "mine"), Codes(b"session"), Network()
    own = codes.binned(mine)
    senders = [PartyId("bank-b"), PartyId("bank-c")]
    me = party(A)
    roles = {A: oprf.run_receiver(me, [network.link(A, p) for p in senders], codes, own, me.rng.child("store"))}
    roles |= {p: oprf.run_sender(party(p), network.link(p, A), codes, 80, own) for p in senders}
    ends = await run_roles(roles)
    for known, sender in zip(ends[A], senders, strict=True):
        assert np.array_equal(known.words(1), ends[sender].words(1))
    assert not np.isin(ends[A][0].words(1), ends[A][1].words(1)).any()


@pytest.mark.parametrize(("a", "b"), [(0, 5), (1, 1), (5, 0)])
async def test_hardly_any_digests(a, b):
    out_a, out_b, _ = await evaluated(digests(a, "x"), digests(b, "x"))
    both = min(a, b)
    assert np.array_equal(out_a.words(1)[:both], out_b.words(1)[:both])


async def test_two_runs_over_the_same_sets_share_no_output_and_no_message():
    mine = digests(100, "mine")
    seen = []
    for seed in (1, 2):
        a, _, network = await evaluated(mine, mine, seed=seed)
        rows = b"".join(s.message.rows for s in network.transcript if isinstance(s.message, Offsets))
        seen.append((set(a.words(1)[:, 0].tolist()), {rows[i:i + 8] for i in range(0, len(rows), 8)}))
    assert not seen[0][0] & seen[1][0]
    assert not seen[0][1] & seen[1][1]


async def offsets_of(mine) -> bytes:
    _, _, network = await evaluated(mine, mine[:1])
    return b"".join(s.message.rows for s in network.transcript if isinstance(s.message, Offsets))


def code_hits(mine, rows: bytes) -> int:
    """How many codes of the receiver's digests are recognised in what it sent as it stands."""
    table = np.frombuffer(rows, np.uint64).reshape(-1, oprf.WORDS)
    codes = Codes(b"session")
    own = codes.binned(mine)
    return int((codes.read(own, oprf.Layout(len(mine)), [table]) == codes.code(own.digests)).all(axis=1).sum())


async def test_the_sender_cannot_look_up_digests_in_what_it_receives():
    mine = digests(200, "mine")
    assert code_hits(mine, await offsets_of(mine)) == 0


async def test_fault_offsets_without_the_streams_are_found(monkeypatch):
    monkeypatch.setattr(oprf, "masked", lambda totals, table: table.tobytes())
    mine = digests(200, "mine")
    assert code_hits(mine, await offsets_of(mine)) == 200


async def test_fault_a_delta_that_is_mostly_zero_makes_outputs_guessable(monkeypatch):
    """With Delta = 0 the function no longer depends on the code: F(y) is what the receiver's store gives at any y."""
    mine, other = digests(50, "mine"), digests(50, "other")
    captured, honest = [], Streams.rows

    def spy(self, number, slots):
        found = honest(self, number, slots)
        captured.append(found[0].copy())
        return found

    monkeypatch.setattr(Streams, "rows", spy)
    found = []
    for planted in (False, True):
        if planted:
            monkeypatch.setattr(Rng, "below", lambda self, bound: 0 if bound == LEAVES else int(self.bits(20)) % bound)
        captured.clear()
        a, theirs, _ = await evaluated(mine, other)
        codes = Codes(b"session")
        strangers = codes.binned(other)
        guessed = a.outputs   # the receiver's hash of what its own rows give at digests that it does not have
        guessed.put(slice(0, 50), codes.read(strangers, oprf.Layout(50), captured[:1]))
        found.append(int((InTheirOrder(guessed, strangers).words(1) == theirs.words(1)).all(axis=1).sum()))
    assert found == [0, 50]


def test_products_in_the_field_of_sixteen():
    def times(x, y):
        product = 0
        for bit in range(4):
            product ^= (x << bit) * (y >> bit & 1)
        for bit in (6, 5, 4):
            product ^= (0b10011 << bit - 4) * (product >> bit & 1)
        return product

    delta = [(3 * g + 1) % 16 for g in range(GROUPS)]
    rows = np.frombuffer(bytes(range(256)), np.uint64).reshape(-1, oprf.WORDS)
    sums = np.zeros_like(rows)
    oprf.set_intersection.add_products(rows, multiples(delta), sums)
    for row, found in zip(rows, sums, strict=True):
        nibbles = [(byte >> shift) & 15 for byte in row.tobytes() for shift in (0, 4)]
        wanted = [times(x, d) for x, d in zip(nibbles, delta, strict=True)]
        assert wanted == [(byte >> shift) & 15 for byte in found.tobytes() for shift in (0, 4)]


@pytest.mark.parametrize("change", [lambda rows: rows[:-1], lambda rows: rows + b"\0", lambda rows: b""])
async def test_offsets_of_another_length_are_blamed_on_the_receiver(change):
    network = Network(tamper=Adversary((A, B, "", 2), lambda sent, before: Offsets(change(sent.message.rows))))
    with pytest.raises(PeerError) as caught:
        await evaluated(digests(9, "mine"), digests(9, "mine"), network=network)
    assert (caught.value.culprit, caught.value.reason) == (A, Reason.WRONG_LENGTH)


def test_what_is_secret_has_a_blank_repr_and_is_never_pickled():
    import pickle

    for secret in (oprf.Outputs(b"s", 2), Streams(b"s", [[bytes(16)] * LEAVES] * GROUPS)):
        assert len(repr(secret)) < 20
        with pytest.raises(TypeError):
            pickle.dumps(secret)


# ---------------------------------------------------------------- the hidden count


def stream(name, seed):
    return party(name, seed).rng.child("count")


async def counted(mine, theirs, lengths=None, network=None, seed=1, tell=lambda done, total: None):
    network = network or Network()
    lengths = lengths or (len(mine), len(theirs))
    ends = await run_roles({
        A: hidden_count.run_counter(party(A, seed), network.link(A, B), mine, b"label", lengths, stream(A, seed),
                                    tell),
        B: hidden_count.run_helper(party(B, seed), network.link(B, A), theirs, b"label", lengths, stream(B, seed)),
    })
    return ends[A], network


def values(*numbers: int) -> list[bytes]:
    return [b"value %d" % n for n in numbers]


@pytest.mark.parametrize(("mine", "theirs", "common"), [
    ((), (), 0), ((1,), (1,), 1), ((1, 2, 3), (4, 5), 0), ((1, 2, 3), (3, 2, 9, 1), 3), ((7,), (), 0),
])
async def test_the_number_in_common_with_and_without_padding(mine, theirs, common):
    assert (await counted(values(*mine), values(*theirs)))[0] == common
    for lengths in ((6, 9), (9, 6), (7, 7)):   # unblinded where ours is no longer than theirs, else blinded twice
        assert (await counted(values(*mine), values(*theirs), lengths))[0] == common


async def test_long_lists_are_cut_into_longer_pieces(monkeypatch):
    monkeypatch.setattr(hidden_count, "LONG_LIST", 20)
    monkeypatch.setattr(hidden_count, "COMPUTE_POINTS_OF_LONG", 7)
    told = []
    number, _ = await counted(values(*range(30)), values(*range(10, 50)), tell=lambda done, total: told.append(done))
    assert number == 20
    assert told[:3] == [7, 14, 21]
    assert told[-1] == 60


async def test_surplus_values_are_left_out_and_lengths_are_those_agreed():
    number, network = await counted(values(*range(20)), values(*range(20)), (5, 20))
    assert number == 5
    assert [len(s.message.points) for s in network.transcript] == [5, 20, 5]


async def test_the_counters_list_does_not_come_back_in_its_order():
    """With the helper's secret known, each place can be followed: a shuffle leaves about one in its place."""
    _, network = await counted(values(*range(60)), values(*range(60)))
    sent, back = network.transcript[0].message.points, network.transcript[2].message.points
    helper = hidden_count.Scalar.random(stream(B, 1).child("secret"))
    doubled = hidden_count.ristretto255.multiply(sent, helper)
    assert set(doubled.values()) == set(back.values())
    assert int((doubled.values() == back.values()).sum()) < 10


CORRUPTIONS = {
    "our own list comes back as theirs": (0, lambda s, b: Counted(b[0].message.points), Reason.REFLECTED),
    "our own list comes back as doubled": (1, lambda s, b: Counted(b[0].message.points), Reason.REFLECTED),
    "their own list comes back as doubled": (
        1, lambda s, b: Counted(b[1].message.points), Reason.REFLECTED),
    "a point twice": (1, lambda s, b: Counted(hidden_count.PointVector(
        s.message.points.data[:32] * 2 + s.message.points.data[64:])), Reason.REPEATED_VALUE),
    "a neutral point among theirs": (0, lambda s, b: Counted(hidden_count.PointVector(
        bytes(32) + s.message.points.data[32:])), Reason.BAD_POINT),
    "a neutral point": (1, lambda s, b: Counted(hidden_count.PointVector(
        bytes(32) + s.message.points.data[32:])), Reason.BAD_POINT),
    "too few": (1, lambda s, b: Counted(s.message.points[1:]), Reason.WRONG_LENGTH),
}


@pytest.mark.parametrize(("case", "ours"), [
    (case, ours) for case in CORRUPTIONS for ours in (7, 8, 9)   # whole lists of another length come back as too short
    if ours == 8 or CORRUPTIONS[case][2] is not Reason.REFLECTED
])
async def test_the_helper_is_blamed_for_what_it_sends(case, ours):
    index, change, reason = CORRUPTIONS[case]
    network = Network(tamper=Adversary((B, A, "", index), change), timeout_s=5.0)
    with pytest.raises(PeerError) as caught:
        await counted(values(*range(8)), values(*range(8)), (ours, 8), network=network)
    assert (caught.value.culprit, caught.value.reason) == (B, reason)
