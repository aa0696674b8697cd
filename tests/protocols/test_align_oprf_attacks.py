"""What an attacker gains from views of the engine oprf: nothing beyond the result; what each parameter holds back."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score

from mpc.group.id_column import IdColumn
from mpc.group.ristretto255 import hash_to_group
from mpc.link import PartyId
from mpc.ot.extension import LEAVES
from mpc.protocols import align_oprf
from mpc.protocols.align import AlignOptions, run
from mpc.protocols.align_count import Programmed
from mpc.rng import Rng
from mpc.sets import oprf
from mpc.sets.hidden_count import Counted
from mpc.sets.okvs import Layout
from mpc.sets.oprf import GROUPS, Codes, Offsets, Outputs, Streams
from mpc.sharing.zero_sharing import ZeroSharing
from mpc.testing.memory_link import Network, party, run_roles

SESSION = b"job 0123456789abcdef"
BANK, SHOP, PHONE = (PartyId(name) for name in ("bank-a", "shop-b", "telecom-c"))


def ids(*ranges: range) -> list[bytes]:
    return [b"customer-%07d" % i for r in ranges for i in r]


class View:
    """One run, and what happened inside each party: its rows of the correlation, Delta, its store, what it opened."""

    def __init__(self, sets: dict[PartyId, list[bytes]], monkeypatch: pytest.MonkeyPatch, seed: int = 1) -> None:
        self.sets, self.network, self.seed = sets, Network(), seed
        self.weighted: list[NDArray[np.uint64]] = []      # in the order of use: the leader's come first
        self.codes_stored: list[NDArray[np.uint64]] = []
        self.deltas: list[list[int]] = []
        self.outputs: list[Outputs] = []
        self.seen: dict[PartyId, NDArray[np.uint64]] = {}
        self.zero: list[ZeroSharing] = []
        self._spy(monkeypatch)

    def _spy(self, patch: pytest.MonkeyPatch) -> None:
        rows, store, multiples, common = Streams.rows, oprf.store_codes, oprf.multiples, align_oprf._common
        outputs = Outputs.__init__

        def spied_rows(streams, number, slots):
            found = rows(streams, number, slots)
            self.weighted.append(found[0].copy())
            return found

        def spied_store(*args):
            found = store(*args)
            self.codes_stored.append(found[1].copy())
            return found

        def spied_multiples(delta):
            self.deltas.append(list(delta))
            return multiples(delta)

        def spied_common(of, seen):
            self.seen.update({name: found.copy() for name, found in seen.items()})
            self.zero.append(of.zero)
            return common(of, seen)

        def spied_outputs(own, *args):
            outputs(own, *args)
            self.outputs.append(own)

        patch.setattr(Streams, "rows", spied_rows)
        patch.setattr(oprf, "store_codes", spied_store)
        patch.setattr(oprf, "multiples", spied_multiples)
        patch.setattr(align_oprf, "_common", spied_common)
        patch.setattr(Outputs, "__init__", spied_outputs)

    async def run(self, minimum: int = 1) -> dict[PartyId, NDArray[np.int64]]:
        options = AlignOptions(next(iter(self.sets)), minimum, SESSION, "oprf")
        return await run_roles({
            name: run(party(name, self.seed), {p: self.network.link(name, p) for p in self.sets if p != name},
                      own, options)
            for name, own in self.sets.items()
        })

    def store_of(self, follower: PartyId) -> NDArray[np.uint64]:
        """The follower's store as it travelled, of one bin."""
        column, = [s.message.words.values for s in self.network.transcript
                   if isinstance(s.message, Programmed) and s.sender == follower and s.channel == "/members"]
        return column[:, None]


def digests(candidates: list[bytes]) -> NDArray[np.uint64]:
    return IdColumn.of(candidates).digests(hashlib.sha256(b"jcr/v1/align/digest\0" + SESSION).digest())


@pytest.fixture(scope="module")
def million() -> NDArray[np.uint64]:
    return digests(ids(range(1_000_000)))


# ---------------------------------------------------------------- dictionaries


def words_of(network: Network) -> NDArray[np.uint64]:
    """Every aligned word that any party receives."""
    found = []
    for sent in network.transcript:
        message = sent.message
        if isinstance(message, Offsets):
            found.append(np.frombuffer(message.rows, np.uint64))
        elif isinstance(message, Programmed):
            found.append(message.words.values)
        elif isinstance(message, Counted):
            found.append(np.frombuffer(message.points.data, np.uint64))
    return np.unique(np.concatenate(found))


async def test_a_million_guesses_against_the_whole_transcript_find_nothing(monkeypatch, million):
    sets = {BANK: ids(range(3000)), SHOP: ids(range(2000, 5000)), PHONE: ids(range(2500, 6000))}
    view = View(sets, monkeypatch)
    await view.run(10)
    words, codes = words_of(view.network), Codes(SESSION)
    for table in (million, codes.code(million), codes.words(million)):
        assert not occur(table, words)
    label = b"jcr/v1/align/count/" + SESSION
    guesses = [row.tobytes() + bytes(8) for row in million[:3000]] + ids(range(3000))
    assert not occur(np.frombuffer(hash_to_group(guesses, label).data, np.uint64), words)
    assert occur(words[5:6], words)


def occur(table: NDArray[np.uint64], words: NDArray[np.uint64]) -> bool:
    """Whether a word of the table is among `words`, which are sorted."""
    column = np.ascontiguousarray(table).reshape(-1)
    return bool((words[np.minimum(np.searchsorted(words, column), len(words) - 1)] == column).any())


def opened_with_guessed_function(view: View, follower: PartyId, candidates) -> NDArray[np.int64]:
    """Which candidates the leader would take for the follower's: it tries what it has, T instead of Q + C Delta.

    With two parties s is known to the leader, so a right guess shows the check word.
    """
    codes, leader = Codes(SESSION), len(view.sets[BANK])
    tried = codes.binned(candidates)
    layout, theirs = Layout(leader), Layout(len(view.sets[follower]))
    guess = view.outputs[0]
    guess._states = np.empty((len(tried), 2), np.uint64)
    guess.put(slice(0, len(tried)), codes.read(tried, layout, [view.weighted[0]]))
    found = codes.read(tried, theirs, [view.store_of(follower)])[:, 0] ^ guess.words(align_oprf.MEMBERS)[:, 0]
    checks = found ^ view.zero[0].function("members", tried.digests)
    return tried.order[np.flatnonzero(checks == 0)]


async def test_a_leader_that_tries_a_million_ids_on_a_followers_store_finds_its_own_common_ones_only(
    monkeypatch, million
):
    view = View({BANK: ids(range(3000)), SHOP: ids(range(2000, 9000))}, monkeypatch)
    await view.run(10)
    assert set(opened_with_guessed_function(view, SHOP, million).tolist()) == set(range(2000, 3000))


async def test_fault_a_delta_of_zero_opens_the_whole_store_to_guesses(monkeypatch, million):
    below = Rng.below
    monkeypatch.setattr(Rng, "below", lambda self, bound: 0 if bound == LEAVES else below(self, bound))
    view = View({BANK: ids(range(300)), SHOP: ids(range(200, 900))}, monkeypatch)
    await view.run(10)
    assert set(opened_with_guessed_function(view, SHOP, million[:2000]).tolist()) == set(range(200, 900))


# ---------------------------------------------------------------- what Delta hides


def elements(rows: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """(n, 64) elements of F_16."""
    octets = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), -1)
    return np.stack([octets & 15, octets >> 4], axis=2).reshape(len(rows), -1)


async def outside(monkeypatch, count: int):
    """A run of one bin, and for `count` strangers' digests: T + P Delta at them, and P + C."""
    view = View({BANK: ids(range(1500)), SHOP: ids(range(1000, 2500))}, monkeypatch)
    await view.run(10)
    codes, layout = Codes(SESSION), Layout(1500)
    strangers = codes.binned(digests(ids(range(10_000, 10_000 + count))))
    known = codes.read(strangers, layout, [view.weighted[0]])
    differ = codes.read(strangers, layout, [view.codes_stored[0]]) ^ codes.code(strangers.digests)
    return view, known, differ


async def test_outside_the_leaders_set_at_least_32_of_64_elements_of_delta_are_needed(monkeypatch):
    _, _, differ = await outside(monkeypatch, 20_000)
    zeros = (elements(differ) == 0).sum(axis=1)
    assert zeros.max() < 25                        # a binomial of 64 and 1/16: 33 have probability 2^-74
    assert abs(zeros.mean() - GROUPS / LEAVES) < 6 * np.sqrt(GROUPS / LEAVES / 20_000)


async def test_fault_codes_of_a_quarter_of_the_length_are_noticed(monkeypatch):
    whole = Codes.code

    def short(self, own):
        code = whole(self, own)
        code[:, 1:] = 0
        return code

    monkeypatch.setattr(Codes, "code", short)
    ring = Rng.ring
    monkeypatch.setattr(Rng, "ring", lambda self, count, bits=64: ring(self, count, bits) & np.tile(
        np.array([2**64 - 1, 0, 0, 0], np.uint64), count // 4) if count == 4 * Layout(1500).bin_slots
        else ring(self, count, bits))
    _, _, differ = await outside(monkeypatch, 500)
    assert (elements(differ) == 0).sum(axis=1).min() >= 48


async def test_an_element_that_differs_hides_the_function_behind_sixteen_guesses_and_one_that_is_equal_behind_none(
    monkeypatch
):
    """All of Delta but one element is given away: F(y) is among 16 candidates, or known if that element is equal."""
    view, known, differ = await outside(monkeypatch, 40)
    delta, states = view.deltas[0], set()
    for y in range(40):
        for group in (0, 21, 63):
            candidates = set()
            for guess in range(LEAVES):
                row = known[y:y + 1].copy()
                factors = oprf.multiples([*delta[:group], guess, *delta[group + 1:]])
                oprf.set_intersection.add_products(differ[y:y + 1], factors, row)
                outputs = Outputs(b"any", 1)
                outputs.put(slice(0, 1), row)
                candidates.add(outputs.words(1).tobytes())
            states.add(len(candidates))
            assert len(candidates) == (1 if elements(differ[y:y + 1])[0, group] == 0 else LEAVES)
    assert states == {1, LEAVES}


# ---------------------------------------------------------------- check words


async def test_shorter_check_words_would_take_strangers_for_common_customers_as_often_as_their_length_says(monkeypatch):
    view = View({BANK: ids(range(4000)), SHOP: ids(range(3000, 7000))}, monkeypatch)
    rows = await view.run(10)
    checks = view.seen[SHOP] ^ view.zero[0].function(
        "members", Codes(SESSION).binned(digests(view.sets[BANK])).digests)
    wrong = {bits: int(np.sum(checks << np.uint64(64 - bits) == 0)) - 1000 for bits in (4, 6, 8, 64)}
    assert len(rows[BANK]) == 1000
    assert wrong[64] == 0
    for bits in (4, 6, 8):
        expected = 3000 / 2**bits
        assert abs(wrong[bits] - expected) < 5 * np.sqrt(expected)


# ---------------------------------------------------------------- pairwise intersections


def dealt_trees(seed: int) -> tuple[object, object]:
    """The trees of the correlation without their transfers, which depend on no input: most of a small run's time."""
    rng = Rng(seed.to_bytes(32, "big"))

    async def send(me, link, groups):
        session, leaves = rng.child(me.id + link.peer).bytes(32), _leaves(rng.child(link.peer), groups)
        return session, leaves

    async def receive(me, link, groups):
        session, leaves = rng.child(link.peer + me.id).bytes(32), _leaves(rng.child(me.id), groups)
        delta = [rng.child(f"delta {me.id}").below(LEAVES) for _ in range(groups)]
        hidden = [[group[y ^ own] for y in range(LEAVES)] for group, own in zip(leaves, delta, strict=True)]
        return session, delta, [[None, *group[1:]] for group in hidden]

    return send, receive


def _leaves(rng: Rng, groups: int) -> list[list[bytes]]:
    data = rng.bytes(16 * LEAVES * groups)
    seeds = [data[i:i + 16] for i in range(0, len(data), 16)]
    return [seeds[LEAVES * group:LEAVES * (group + 1)] for group in range(groups)]


def features(view: View) -> list[float]:
    """What a leader can look at: coincidences in what it opened at two followers, and between them; what it got."""
    one, two = view.seen[SHOP], view.seen[PHONE]
    columns = (one, two, one ^ two)
    words = words_of(view.network)
    found = [float(len(np.unique(column))) for column in columns]
    found += [float(np.bitwise_count(column).mean()) for column in columns]
    found += [float(np.bitwise_count(column & np.uint64(0xFFFFFFFF)).std()) for column in columns]
    found += [float(np.sort(column)[k] / 2.0**64) for column in columns for k in (0, 10, 25)]
    found += [float(np.bitwise_count(column ^ np.roll(column, 1)).min()) for column in columns]
    sent = [s for s in view.network.transcript if s.receiver == BANK]
    return [*found, float(len(sent)), float(len(words)), float(np.bitwise_count(words).mean())]


async def views(overlap: int, runs: int, monkeypatch, **faults) -> NDArray[np.float64]:
    """Features of the leader's views of runs in which it shares `overlap` of 40 ids with the shop alone."""
    rows = []
    for seed in range(runs):
        with monkeypatch.context() as patch:
            for name, fault in faults.items():
                patch.setattr(ZeroSharing, name, fault)
            send, receive = dealt_trees(1000 * overlap + seed)
            patch.setattr(oprf, "send_trees", send)
            patch.setattr(oprf, "receive_trees", receive)
            view = View({
                BANK: ids(range(50)),
                SHOP: ids(range(overlap), range(40, 50), range(100, 140 - overlap)),
                PHONE: ids(range(40, 50), range(200, 240)),
            }, patch, seed=1_000_000 * (overlap + 1) + seed)
            await view.run(5)
            rows.append(features(view))
    return np.array(rows)


def area(none: NDArray[np.float64], half: NDArray[np.float64]) -> float:
    """How well a classifier that was trained on one half of the runs tells the other half apart."""
    cut = len(none) // 2
    model = RandomForestClassifier(200, min_samples_leaf=2, random_state=1)
    model.fit(np.concatenate([none[:cut], half[:cut]]), np.repeat([0, 1], cut))
    rest = np.concatenate([none[cut:], half[cut:]])
    return float(roc_auc_score(np.repeat([0, 1], len(none) - cut), model.predict_proba(rest)[:, 1]))


async def test_pairwise_overlaps_of_0_and_50_percent_give_a_leader_views_that_no_classifier_tells_apart(monkeypatch):
    none, half = [await views(overlap, 60, monkeypatch) for overlap in (0, 20)]
    assert abs(area(none, half) - 0.5) < 0.2


async def test_fault_values_with_any_redundancy_in_a_store_tell_them_apart(monkeypatch):
    """As a small handle beside s_i once did: it opens at each pair's customers, common to all or not."""
    whole = ZeroSharing.function

    def half(self, label, points):
        return whole(self, label, points) & np.uint64(0xFFFFFFFF)

    none, many = [await views(overlap, 30, monkeypatch, function=half) for overlap in (0, 20)]
    assert area(none, many) > 0.95


async def test_fault_without_zero_sharing_the_classifier_tells_them_apart(monkeypatch):
    def nothing(self, label, points):
        return np.zeros(len(points), np.uint64)

    none, half = [await views(overlap, 30, monkeypatch, function=nothing) for overlap in (0, 20)]
    assert area(none, half) > 0.95
