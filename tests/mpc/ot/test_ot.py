"""Oblivious transfer: equals its ideal, refuses what is malformed, repeats nothing, looks uniform on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.errors import PeerError, Reason
from mpc.group.ristretto255 import PointVector
from mpc.kernels.bits import fold_leaves, transpose_bits, weighted_sums
from mpc.ot import extension
from mpc.ot.base import BaseAnswer, BaseOffer, receive_base, send_base
from mpc.ot.extension import Columns, Corrections, OtReceiver, OtSender, TreeSums, start_receiver, start_sender
from mpc.ring import U64, RingVector
from mpc.rng import Rng
from mpc.testing.memory_link import Network, TestParty, party, run_roles


def ideal(choices: np.ndarray, deltas: U64) -> U64:
    """What the two results sum to."""
    return deltas * choices.astype(np.uint64)[:, None]


async def sessions(network: Network, seed: int = 1, threads: bool = False) -> tuple[OtSender, OtReceiver]:
    sender, receiver = party("bank", seed), party("shop", seed)
    sender.threads = receiver.threads = threads
    made = await run_roles({
        "bank": start_sender(sender, network.link("bank", "shop")),
        "shop": start_receiver(receiver, network.link("shop", "bank")),
    })
    return made["bank"], made["shop"]


async def correlate(
    network: Network, pair: tuple[OtSender, OtReceiver], choices: np.ndarray, deltas: U64, threads: bool = False
) -> tuple[U64, U64]:
    sender, receiver = party("bank"), party("shop")
    sender.threads = receiver.threads = threads
    result = await run_roles({
        "bank": pair[0].correlate(sender, network.link("bank", "shop"), deltas),
        "shop": pair[1].correlate(receiver, network.link("shop", "bank"), choices, deltas.shape[1]),
    })
    return result["bank"], result["shop"]


def inputs(count: int, words: int, seed: int = 5) -> tuple[np.ndarray, U64]:
    rng = Rng(seed.to_bytes(32, "big"))
    return rng.ring(count, 1).astype(np.uint8), rng.ring(count * words).reshape(count, words)


# -- base transfers ---------------------------------------------------------------------------------------------


async def test_the_receiver_of_a_base_transfer_gets_the_chosen_key_and_not_the_other() -> None:
    network = Network()
    choices = [0, 1, 1, 0, 1]
    made = await run_roles({
        "bank": send_base(party("bank"), network.link("bank", "shop"), Rng(b"1" * 32), 5),
        "shop": receive_base(party("shop"), network.link("shop", "bank"), Rng(b"2" * 32), choices),
    })
    assert made["bank"].session == made["shop"].session
    for pair, key, choice in zip(made["bank"].pairs, made["shop"].keys, choices, strict=True):
        assert key == pair[choice]
        assert key != pair[1 - choice]
    flat = [key for pair in made["bank"].pairs for key in pair]
    assert len(set(flat)) == 10
    assert repr(made["bank"]).startswith("<mpc.ot.base.SenderKeys")


GOOD = PointVector(bytes.fromhex("e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76"))  # RFC 9496 A.1
NEUTRAL, OFF_GROUP = PointVector(bytes(32)), PointVector(b"\xff" * 32)


def offer(change: Callable[[BaseOffer], object]) -> Callable[[Any], object]:
    return lambda sent: change(sent.message) if isinstance(sent.message, BaseOffer) else sent.message


def answer(change: Callable[[BaseAnswer], object]) -> Callable[[Any], object]:
    return lambda sent: change(sent.message) if isinstance(sent.message, BaseAnswer) else sent.message


def with_point(points: PointVector, point: PointVector) -> PointVector:
    return PointVector(points.data[:-32] + point.data)


class Echo:
    """Answers every transfer with the sender's own point."""

    def __init__(self) -> None:
        self.seen = GOOD

    def __call__(self, sent: Any) -> object:
        if isinstance(sent.message, BaseOffer):
            self.seen = sent.message.point
        if isinstance(sent.message, BaseAnswer):
            return BaseAnswer(sent.message.nonce, with_point(sent.message.points, self.seen))
        return sent.message


HOSTILE_BASE: dict[str, tuple[Callable[[Any], object], str, Reason]] = {
    "a neutral offer": (offer(lambda m: BaseOffer(m.nonce, NEUTRAL)), "bank", Reason.BAD_POINT),
    "an offer off the group": (offer(lambda m: BaseOffer(m.nonce, OFF_GROUP)), "bank", Reason.BAD_POINT),
    "an offer of two points": (
        offer(lambda m: BaseOffer(m.nonce, PointVector(GOOD.data * 2))), "bank", Reason.WRONG_LENGTH),
    "an offer with a short nonce": (offer(lambda m: BaseOffer(b"", m.point)), "bank", Reason.WRONG_LENGTH),
    "a neutral answer": (
        answer(lambda m: BaseAnswer(m.nonce, with_point(m.points, NEUTRAL))), "shop", Reason.BAD_POINT),
    "an answer off the group": (
        answer(lambda m: BaseAnswer(m.nonce, with_point(m.points, OFF_GROUP))), "shop", Reason.BAD_POINT),
    "an answer too few": (answer(lambda m: BaseAnswer(m.nonce, m.points[:2])), "shop", Reason.WRONG_LENGTH),
    "no answers": (answer(lambda m: BaseAnswer(m.nonce, PointVector(b""))), "shop", Reason.WRONG_LENGTH),
    "an answer with a short nonce": (answer(lambda m: BaseAnswer(b"x", m.points)), "shop", Reason.WRONG_LENGTH),
    "the offer reflected as an answer": (Echo(), "shop", Reason.BAD_POINT),
}


@pytest.mark.parametrize("case", HOSTILE_BASE)
async def test_a_malformed_base_transfer_is_blamed_on_its_author(case: str) -> None:
    tamper, culprit, reason = HOSTILE_BASE[case]
    network = Network(tamper=tamper)
    with pytest.raises(PeerError) as caught:
        await run_roles({
            "bank": send_base(party("bank"), network.link("bank", "shop"), Rng(b"1" * 32), 3),
            "shop": receive_base(party("shop"), network.link("shop", "bank"), Rng(b"2" * 32), [0, 1, 0]),
        })
    assert (caught.value.culprit, caught.value.reason) == (culprit, reason)


# -- extension ---------------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 300), st.integers(1, 5), st.integers(0, 2**16))
async def test_the_two_results_add_up_to_choice_times_correlation(count: int, words: int, seed: int) -> None:
    network = Network()
    choices, deltas = inputs(count, words, seed)
    x, y = await correlate(network, await sessions(network, seed), choices, deltas)
    assert np.array_equal(x + y, ideal(choices, deltas))


@pytest.mark.parametrize("threads", [False, True])
async def test_one_session_serves_many_calls_over_many_chunks(threads: bool) -> None:
    network = Network()
    pair = await sessions(network, threads=threads)
    for count, words in ((1, 1), (70_000, 2), (64, 3), (1000, 300), (130_000, 1)):
        choices, deltas = inputs(count, words)
        x, y = await correlate(network, pair, choices, deltas, threads)
        assert np.array_equal(x + y, ideal(choices, deltas))
    sizes = [8 * len(s.message.words) for s in network.transcript if isinstance(s.message, Corrections)]
    assert max(sizes) <= 1 << 20


async def test_an_empty_call_sends_nothing() -> None:
    network = Network()
    pair = await sessions(network)
    before = len(network.transcript)
    x, y = await correlate(network, pair, *inputs(0, 2))
    assert x.shape == y.shape == (0, 2)
    assert len(network.transcript) == before


async def test_the_sender_lacks_exactly_one_leaf_of_each_group_and_the_others_agree() -> None:
    network = Network()
    sender, receiver = await sessions(network)
    delta = sender._selects.reshape(extension.GROUPS, extension.FIELD_BITS) & np.uint64(1)
    probe = bytes(16)
    for group in range(extension.GROUPS):
        nibble = sum(int(bit) << b for b, bit in enumerate(delta[group]))
        theirs = [stream.update(probe) for stream in receiver._streams[group]]
        mine = [None if s is None else s.update(probe) for s in sender._streams[group]]
        assert mine[0] is None
        assert mine[1:] == [theirs[y ^ nibble] for y in range(1, extension.LEAVES)]


async def test_traffic_depends_on_public_sizes_only_and_is_twenty_bytes_an_ot() -> None:
    totals = []
    for seed in (1, 2):
        network = Network()
        pair = await sessions(network, seed)
        start = len(network.transcript)
        await correlate(network, pair, *inputs(65536, 2, seed))
        messages = [s.message for s in network.transcript[start:]]
        totals.append([len(m.rows) if isinstance(m, Columns) else 8 * len(m.words) for m in messages])
    assert totals[0] == totals[1]
    assert sum(totals[0]) == 20 * 65536


async def test_pads_are_the_published_hash_block_by_block() -> None:
    """TMMO with the plain cipher on one block at a time: pi(pi(x) ^ i) ^ pi(x)."""
    sender, _ = await sessions(Network())
    rows = Rng(b"r" * 32).ring(6).reshape(3, 2)
    pads = sender.pads(rows, 1000, 3)
    permutation = sender._permutation
    for i, row in enumerate(rows):
        for word in range(3):
            inner = permutation.update(row.tobytes())
            tweak = np.array([1000 + i, word // 2], np.uint64).tobytes()
            mixed = bytes(a ^ b for a, b in zip(inner, tweak, strict=True))
            out = bytes(a ^ b for a, b in zip(permutation.update(mixed), inner, strict=True))
            assert int.from_bytes(out[8 * (word % 2):][:8], "little") == pads[i, word]
    assert isinstance(permutation, type(Cipher(algorithms.AES(bytes(16)), modes.ECB()).encryptor()))


# -- what an observer or the peer could use ------------------------------------------------------------------------


def spread(data: bytes | U64) -> float:
    """Chi-square of all bytes, 255 degrees of freedom: 400 is beyond 1e-7."""
    counts = np.bincount(np.frombuffer(bytes(data), np.uint8), minlength=256)
    return float(np.sum((counts - counts.mean()) ** 2 / counts.mean()))


async def wire_of(network: Network, pair: tuple[OtSender, OtReceiver], choice: int) -> tuple[bytes, bytes]:
    """Columns and Corrections of 4096 OTs with equal choices and correlation 1."""
    start = len(network.transcript)
    await correlate(network, pair, np.full(4096, choice, np.uint8), np.ones((4096, 2), np.uint64))
    columns, corrections = (s.message for s in network.transcript[start:])
    return columns.rows, corrections.words.values.tobytes()


@pytest.mark.parametrize("choice", [0, 1])
async def test_columns_and_corrections_look_uniform_whatever_the_inputs(choice: int) -> None:
    network = Network()
    columns, corrections = await wire_of(network, await sessions(network), choice)
    assert spread(columns) < 400
    assert spread(corrections) < 400


async def test_planted_fault_corrections_without_pads_are_not_uniform(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network()
    pair = await sessions(network)
    monkeypatch.setattr(pair[0], "pads", lambda rows, first, words: np.zeros((len(rows), words), np.uint64))
    _, corrections = await wire_of(network, pair, 0)
    assert spread(corrections) > 400


async def test_planted_fault_columns_without_their_mask_show_the_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network()
    pair = await sessions(network)
    honest = pair[1].columns

    def unmasked(words: int) -> tuple[U64, U64]:
        sums, totals = honest(words)
        return sums, np.zeros_like(totals)

    monkeypatch.setattr(pair[1], "columns", unmasked)
    columns, _ = await wire_of(network, pair, 1)
    assert spread(columns) > 400


async def test_no_column_and_no_correction_ever_repeats() -> None:
    network = Network()
    pair = await sessions(network)
    first, second = await wire_of(network, pair, 1), await wire_of(network, pair, 1)
    assert not shared_blocks(first, second)


async def test_planted_fault_a_session_that_is_rewound_is_caught_by_the_repeats() -> None:
    """The same OT indices twice: what a restart from a saved state without burnt indices would send."""
    network = Network()
    first = await wire_of(network, await sessions(network, seed=3), 1)
    second = await wire_of(network, await sessions(network, seed=3), 1)
    assert shared_blocks(first, second)


async def test_planted_fault_an_index_that_stands_still_gives_equal_rows_equal_pads() -> None:
    sender, _ = await sessions(Network())
    row = Rng(b"r" * 32).ring(2).reshape(1, 2)
    here, there = sender.pads(row, sender.advance(1), 2), sender.pads(row, sender.advance(1), 2)
    assert not np.array_equal(here, there)
    assert np.array_equal(sender.pads(row, 0, 2), sender.pads(row, 0, 2))


def shared_blocks(first: tuple[bytes, bytes], second: tuple[bytes, bytes]) -> set[bytes]:
    """16-byte pieces that both transcripts contain (2^-100 by chance)."""
    one, two = ({part[i : i + 16] for part in wire for i in range(0, len(part), 16)} for wire in (first, second))
    return one & two


async def test_two_sessions_with_other_randomness_have_nothing_in_common() -> None:
    network = Network()
    one = await wire_of(network, await sessions(network, seed=3), 1)
    two = await wire_of(network, await sessions(network, seed=4), 1)
    assert not shared_blocks(one, two)


def test_sessions_are_never_printed_or_pickled() -> None:
    sender = OtSender(bytes(32), [0] * extension.GROUPS, [[bytes(16)] * extension.LEAVES] * extension.GROUPS)
    assert repr(sender) == "OtSender(...)"
    with pytest.raises(TypeError, match="never pickled"):
        sender.__reduce__()


# -- hostile counterparts --------------------------------------------------------------------------------------------

HOSTILE: dict[str, tuple[type, Callable[[Any], object], str, Reason]] = {
    "tree sums too short": (TreeSums, lambda m: TreeSums(m.sums[:-1]), "shop", Reason.WRONG_LENGTH),
    "no tree sums": (TreeSums, lambda m: TreeSums(b""), "shop", Reason.WRONG_LENGTH),
    "columns too short": (Columns, lambda m: Columns(m.rows[:-8]), "shop", Reason.WRONG_LENGTH),
    "columns too long": (Columns, lambda m: Columns(m.rows + bytes(8)), "shop", Reason.WRONG_LENGTH),
    "corrections too short": (
        Corrections, lambda m: Corrections(RingVector(m.words.values[1:], 64)), "bank", Reason.WRONG_LENGTH),
    "corrections in another ring": (
        Corrections, lambda m: Corrections(RingVector(m.words.values, 63)), "bank", Reason.WRONG_LENGTH),
    "columns where corrections are due": (Corrections, lambda m: Columns(b""), "bank", Reason.WRONG_KIND),
}


@pytest.mark.parametrize("case", HOSTILE)
async def test_a_malformed_message_is_blamed_on_its_sender(case: str) -> None:
    kind, change, culprit, reason = HOSTILE[case]
    network = Network(tamper=lambda s: change(s.message) if isinstance(s.message, kind) else s.message)
    with pytest.raises(PeerError) as caught:
        await correlate(network, await sessions(network), *inputs(100, 2))
    assert (caught.value.culprit, caught.value.reason) == (culprit, reason)


class SlowParty(TestParty):
    """Its computations never end."""

    async def compute(self, step: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        await asyncio.Event().wait()


async def test_corrections_that_come_before_their_columns_are_refused() -> None:
    network = Network()
    _, receiver = await sessions(network)
    me = SlowParty(**vars(party("shop")))
    await network.link("bank", "shop").send(Corrections(RingVector(np.zeros(128, np.uint64), 64)))
    with pytest.raises(PeerError) as caught:
        await receiver.correlate(me, network.link("shop", "bank"), np.zeros(64, np.uint8), 2)
    assert (caught.value.culprit, caught.value.reason) == ("bank", Reason.WRONG_ORDER)


# -- kernels against plain definitions -------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [1, 7, 8, 9, 20])
def test_the_bit_transposition_is_the_plain_one(words: int) -> None:
    columns = Rng(b"c" * 32).ring(128 * words).reshape(128, words)
    rows = np.empty((64 * words, 2), np.uint64)
    transpose_bits(columns, rows)
    bits = np.unpackbits(columns.view(np.uint8), axis=1, bitorder="little")
    assert np.array_equal(np.unpackbits(rows.view(np.uint8), axis=1, bitorder="little"), bits.T)


def test_the_folded_leaves_are_sums_over_index_bits() -> None:
    leaves = Rng(b"l" * 32).ring(3 * 16 * 5).reshape(3, 16, 5)
    sums, totals = np.empty((12, 5), np.uint64), np.empty((3, 5), np.uint64)
    fold_leaves(leaves, sums, totals)
    assert np.array_equal(totals, np.bitwise_xor.reduce(leaves, axis=1))
    for b in range(4):
        chosen = [x for x in range(16) if x >> b & 1]
        assert np.array_equal(sums[b::4], np.bitwise_xor.reduce(leaves[:, chosen], axis=1))


def test_weighted_sums_are_a_matrix_product_in_the_ring() -> None:
    terms, weights = Rng(b"t" * 32).ring(4 * 6 * 2).reshape(4, 6, 2), Rng(b"w" * 32).ring(6)
    slots = np.array([0, 2, 1, 0, 2, 2])
    sums = np.full((4, 3, 2), 7, np.uint64)
    weighted_sums(terms, weights, slots, sums)
    for slot in range(3):
        expected = np.sum(terms[:, slots == slot] * weights[slots == slot][:, None], axis=1, dtype=np.uint64)
        assert np.array_equal(sums[:, slot], expected)
