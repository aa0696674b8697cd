"""Private products against big-integer arithmetic, hostile peers, and planted faults."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mpc.products.matrix_vector
from mpc.errors import LocalError, PeerError, Reason
from mpc.link import Link, PartyId
from mpc.paillier.ciphertexts import PublicKey, PublicKeyMessage, SealedVector
from mpc.products.matrix_vector import (
    EncryptedMasks,
    HolderProduct,
    MaskedProducts,
    OwnerProduct,
    ProductPlan,
    exchange_keys,
    offer,
    serve,
)
from mpc.ring import U64, RingVector, mask_of
from mpc.rng import Rng
from mpc.testing.keys import small_key
from mpc.testing.memory_link import Network, Sent, Tamper, party, run_roles

BITS = 512
KEY = small_key(BITS, 1)
HOLDER, OWNER, THIRD = PartyId("holder"), PartyId("owner"), PartyId("third")


def ideal(matrix: np.ndarray[Any, Any], vector: U64, bits: int) -> list[int]:
    """A v mod 2^bits in Python integers."""
    rows, values = matrix.tolist(), vector.tolist()
    return [sum(a * v for a, v in zip(row, values, strict=True)) % (1 << bits) for row in rows]


def plan(inputs: int, outputs: int, **changed: int) -> ProductPlan:
    shape = {"entry_bits": 16, "ring_bits": 64, "iterations": 3, "key_bits": BITS, **changed}
    return ProductPlan(inputs, outputs, **shape)


def extreme(shape: ProductPlan, rng: Rng) -> np.ndarray[Any, Any]:
    top = (1 << (shape.entry_bits - 1)) - 1
    cells = [rng.choice([top, -top, 0, 1, -1, top // 3]) for _ in range(shape.outputs * shape.inputs)]
    return np.array(cells, dtype=np.int64).reshape(shape.outputs, shape.inputs)


async def make(
    shape: ProductPlan, matrix: np.ndarray[Any, Any], network: Network | None = None, seed: int = 1,
    engine: str = "auto",
) -> tuple[HolderProduct, OwnerProduct]:
    network = network or Network()
    key = small_key(shape.key_bits, 1, engine)
    results = await run_roles({
        "holder": offer(party("holder", seed), {OWNER: network.link("holder", "owner")}, key, {OWNER: shape}),
        "owner": serve(party("owner", seed), network.link("owner", "holder"), key.public, matrix, shape),
    })
    return results["holder"][OWNER], results["owner"]


def carries(
    held: HolderProduct, owned: OwnerProduct, matrix: np.ndarray[Any, Any], vectors: Mapping[int, U64]
) -> set[int]:
    bits = held.plan.ring_bits
    found: set[int] = set()
    for t, vector in vectors.items():
        total = owned.apply(t, held.mask(t, vector)) + held.share(t)
        expected = ideal(matrix, vector, bits)
        found |= {(s - e) % (1 << bits) for s, e in zip(total.tolist(), expected, strict=True)}
    return found


SHAPES = {
    "tall, forward ring": plan(3, 40, ring_bits=37),
    "wide, full ring": plan(40, 3),
    "square, long entries": plan(5, 5, entry_bits=28),
    "one by one": plan(1, 1, iterations=1),
    "several passes": plan(4, 4, iterations=11),
    "one-bit ring": plan(2, 3, ring_bits=1),
}


@pytest.mark.parametrize("case", SHAPES)
async def test_the_shares_add_up_to_the_ideal_up_to_a_carry_of_one(case: str) -> None:
    shape, rng = SHAPES[case], Rng(bytes(32)).child(case)
    matrix = extreme(shape, rng)
    held, owned = await make(shape, matrix)
    vectors = {t: rng.ring(shape.inputs, shape.ring_bits) for t in range(shape.iterations)}
    assert carries(held, owned, matrix, vectors) <= {0, 1}


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("case", ["tall, forward ring", "wide, full ring", "square, long entries"])
async def test_all_maximum_inputs_stay_exact(case: str, sign: int, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = SHAPES[case]
    top = (1 << (shape.entry_bits - 1)) - 1
    matrix = np.full((shape.outputs, shape.inputs), sign * top, dtype=np.int64)
    full = mask_of(shape.ring_bits)

    def all_ones(self: Rng, count: int, bits: int = 64) -> U64:
        return np.full(count, mask_of(bits), dtype=np.uint64)

    monkeypatch.setattr(Rng, "ring", all_ones)  # the largest masks: every slot is as full as it can be
    held, owned = await make(shape, matrix)
    vectors = {t: np.full(shape.inputs, full, dtype=np.uint64) for t in range(shape.iterations)}
    assert carries(held, owned, matrix, vectors) <= {0, 1}


@settings(max_examples=12, deadline=None)
@given(
    inputs=st.integers(1, 6), outputs=st.integers(1, 6), entry_bits=st.integers(2, 30),
    ring_bits=st.integers(1, 64), iterations=st.integers(1, 9), seed=st.integers(1, 1 << 30),
)
async def test_any_shape_is_computed_right(
    inputs: int, outputs: int, entry_bits: int, ring_bits: int, iterations: int, seed: int
) -> None:
    shape = ProductPlan(inputs, outputs, entry_bits, ring_bits, iterations, 256)
    rng = Rng(seed.to_bytes(32, "big"))
    matrix = extreme(shape, rng)
    held, owned = await make(shape, matrix, seed=seed)
    vectors = {t: rng.ring(inputs, ring_bits) for t in range(iterations)}
    assert carries(held, owned, matrix, vectors) <= {0, 1}


@pytest.mark.parametrize("shape", [plan(2, 6, key_bits=256), plan(6, 2, key_bits=256)])
async def test_the_phe_engine_gives_the_same_shares(shape: ProductPlan) -> None:
    matrix = extreme(shape, Rng(bytes(32)))
    fast_held, fast_owned = await make(shape, matrix, engine="gmp")
    slow_held, slow_owned = await make(shape, matrix, engine="phe")
    vector = Rng(bytes(32)).ring(shape.inputs)
    for held, owned in ((fast_held, fast_owned), (slow_held, slow_owned)):
        assert carries(held, owned, matrix, {0: vector}) <= {0, 1}


async def test_streams_of_several_messages_and_blocks_are_computed_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mpc.products.plan.MESSAGE_BYTES", 7 * BITS // 4)
    monkeypatch.setattr("mpc.products.matrix_vector.BLOCK", 16)
    for shape in (plan(3, 50, ring_bits=37), plan(50, 3), plan(20, 20)):
        network, matrix = Network(), extreme(shape, Rng(bytes(32)))
        held, owned = await make(shape, matrix, network)
        vectors = {t: Rng(bytes(32)).ring(shape.inputs, shape.ring_bits) for t in range(shape.iterations)}
        assert carries(held, owned, matrix, vectors) <= {0, 1}
        sent = [s.message for s in network.transcript]
        assert sum(isinstance(m, EncryptedMasks) for m in sent) == math.ceil(shape.inputs / 7)
        assert sum(isinstance(m, MaskedProducts) for m in sent) == math.ceil(shape.outputs / 7)


async def test_one_stream_of_masks_serves_several_owners() -> None:
    network, rng = Network(), Rng(bytes(32))
    plans = {OWNER: plan(12, 2), THIRD: plan(12, 5)}
    matrices = {p: extreme(shape, rng) for p, shape in plans.items()}
    links = {p: network.link("holder", p) for p in plans}
    results = await run_roles({
        "holder": offer(party("holder"), links, KEY, plans),
        **{p: serve(party(p), network.link(p, "holder"), KEY.public, matrices[p], plans[p]) for p in plans},
    })
    to_each = [[s.message for s in network.transcript if s.receiver == p] for p in plans]
    assert to_each[0] == to_each[1]
    vector = rng.ring(12)
    held = results["holder"]
    masked = held[OWNER].mask(1, vector)
    with pytest.raises(LocalError, match="used before"):
        held[THIRD].mask(1, vector)
    for p in plans:
        total = results[p].apply(1, masked) + held[p].share(1)
        expected = ideal(matrices[p], vector, 64)
        assert {(s - e) % (1 << 64) for s, e in zip(total.tolist(), expected, strict=True)} <= {0, 1}


async def test_a_mask_and_a_share_serve_once() -> None:
    shape = plan(2, 2)
    held, owned = await make(shape, np.ones((2, 2), dtype=np.int16))
    vector = np.array([5, 6], dtype=np.uint64)
    masked = held.mask(0, vector)
    with pytest.raises(LocalError, match="mask of iteration 0"):
        held.mask(0, vector)
    owned.apply(0, masked)
    with pytest.raises(LocalError, match="share of iteration 0"):
        owned.apply(0, masked)
    with pytest.raises(LocalError, match="does not exist"):
        held.mask(3, vector)


async def test_masks_of_two_products_of_one_party_differ() -> None:
    shape, network, me = plan(4, 4), Network(), party("holder")
    matrix = np.ones((4, 4), dtype=np.int16)
    drawn = []
    for name in ("first", "second"):
        link, back = network.link("holder", "owner", name), network.link("owner", "holder", name)
        results = await run_roles({
            "holder": offer(me, {OWNER: link}, KEY, {OWNER: shape}),
            "owner": serve(party("owner"), back, KEY.public, matrix, shape),
        })
        drawn.append(results["holder"][OWNER].mask(0, np.zeros(4, dtype=np.uint64)).values.tolist())
    assert drawn[0] != drawn[1]


async def test_masked_vectors_are_uniform_whatever_the_value() -> None:
    shape = plan(400, 1, ring_bits=37)
    held, _ = await make(shape, np.ones((1, 400), dtype=np.int16))
    nibbles = held.mask(0, np.zeros(400, dtype=np.uint64)).values & np.uint64(15)
    counts = np.bincount(nibbles.astype(np.int64), minlength=16)
    assert float(((counts - 25.0) ** 2 / 25.0).sum()) < 50  # 15 degrees of freedom: once in 10^5


async def test_messages_have_sizes_that_depend_on_public_shapes_only() -> None:
    def sizes(network: Network) -> list[tuple[str, type, int]]:
        def size(message: Any) -> int:
            field = message.masks if isinstance(message, EncryptedMasks) else message.products
            return len(field.data)

        return [(s.sender, type(s.message), size(s.message)) for s in network.transcript]

    shape, first, second = plan(5, 9), Network(), Network()
    await make(shape, np.zeros((9, 5), dtype=np.int16), first, seed=3)
    await make(shape, extreme(shape, Rng(bytes(32))), second, seed=4)
    assert sizes(first) == sizes(second)


async def test_predicted_bytes_are_the_bytes_that_travel() -> None:
    shape, network = plan(5, 9, iterations=11), Network()
    held, _ = await make(shape, np.zeros((9, 5), dtype=np.int16), network)
    sent = {"holder": 0, "owner": 0}
    for s in network.transcript:
        vector = s.message.masks if s.sender == "holder" else s.message.products
        sent[s.sender] += len(vector.data)
    online = sum(8 * len(held.mask(t, np.zeros(5, dtype=np.uint64))) for t in range(11))
    assert sent["holder"] + online == shape.bytes_sent_by_holder
    assert sent["owner"] == shape.bytes_sent_by_owner
    assert shape.replies == shape.passes * 9
    assert shape.encryptions == shape.passes * 5


# -- plans and matrices ------------------------------------------------------------------------------------------


def test_slots_follow_from_the_bit_budget() -> None:
    assert ProductPlan(24, 21000, 16, 37, 20, 2048).slots == 34
    assert ProductPlan(24, 21000, 16, 37, 20, 3072).slots == 52
    assert ProductPlan(21000, 24, 16, 64, 20, 2048).slots == 21
    assert ProductPlan(21000, 24, 16, 64, 20, 3072).slots == 31
    assert ProductPlan(21000, 24, 16, 64, 30, 2048).passes == 2


@given(inputs=st.integers(1, 10**7), entry_bits=st.integers(2, 40), ring_bits=st.integers(1, 64))
def test_a_full_slot_never_overflows_and_forty_bits_stay_free(
    inputs: int, entry_bits: int, ring_bits: int
) -> None:
    shape = ProductPlan(inputs, 1, entry_bits, ring_bits, 1, 2048)
    largest = inputs * ((1 << entry_bits) - 1) * ((1 << ring_bits) - 1)
    assert largest < 1 << shape.slot_bits
    assert 1 << (shape.slots * shape.slot_bits) <= 1 << (2047 - 40)


@pytest.mark.parametrize("changed", [
    {"key_bits": 100}, {"iterations": 0}, {"entry_bits": 1}, {"entry_bits": 65}, {"ring_bits": 65},
    {"ring_bits": 0},
])  # fmt: skip
def test_a_plan_that_does_not_fit_is_refused(changed: dict[str, int]) -> None:
    with pytest.raises(LocalError):
        plan(4, 4, **changed)
    with pytest.raises(LocalError):
        plan(0, 4)


MATRICES: dict[str, np.ndarray[Any, Any]] = {
    "too large": np.full((2, 2), 1 << 15),
    "too small": np.full((2, 2), -(1 << 15) - 1),
    "another shape": np.zeros((2, 3), dtype=np.int16),
    "not integers": np.zeros((2, 2)),
}


@pytest.mark.parametrize("case", MATRICES)
async def test_a_matrix_that_does_not_fit_the_plan_is_refused_before_anything_is_sent(case: str) -> None:
    network = Network()
    with pytest.raises(LocalError):
        await serve(party("owner"), network.link("owner", "holder"), KEY.public, MATRICES[case], plan(2, 2))
    assert not network.transcript


async def test_plans_that_do_not_agree_are_refused() -> None:
    links: dict[PartyId, Link] = {p: Network().link("holder", p) for p in (OWNER, THIRD)}
    me = party("holder")
    for other in (plan(3, 2), plan(2, 2, ring_bits=37), plan(2, 2, iterations=4), plan(2, 2, entry_bits=17)):
        with pytest.raises(LocalError, match="outputs only"):
            await offer(me, links, KEY, {OWNER: plan(2, 2), THIRD: other})
    with pytest.raises(LocalError, match="another length"):
        await offer(me, links, KEY, {OWNER: plan(2, 2, key_bits=1024)})
    with pytest.raises(LocalError, match="another length"):
        await serve(me, links[OWNER], KEY.public, np.ones((2, 2), np.int16), plan(2, 2, key_bits=1024))
    with pytest.raises(LocalError, match="at least one owner"):
        await offer(me, {}, KEY, {})


async def test_vectors_of_another_shape_are_refused() -> None:
    held, owned = await make(plan(2, 3), np.ones((3, 2), dtype=np.int16))
    with pytest.raises(LocalError, match="2 elements"):
        held.mask(0, np.zeros(3, dtype=np.uint64))
    for wrong in (RingVector(np.zeros(3, np.uint64), 64), RingVector(np.zeros(2, np.uint64), 37)):
        assert not owned.fits(wrong)
        with pytest.raises(LocalError, match="another length"):
            owned.apply(0, wrong)
    assert owned.fits(held.mask(0, np.zeros(2, dtype=np.uint64)))


async def test_products_show_nothing_and_are_never_copied() -> None:
    for product in await make(plan(2, 2), np.ones((2, 2), dtype=np.int16)):
        assert repr(product) == f"{type(product).__name__}(...)"
        for copier in (pickle.dumps, copy.copy):
            with pytest.raises(TypeError, match="secret"):
                copier(product)


# -- hostile peers -----------------------------------------------------------------------------------------------


def first_replaced(value: int) -> Callable[[SealedVector], SealedVector]:
    def change(sealed: SealedVector) -> SealedVector:
        data = value.to_bytes(sealed.width, "little") + sealed.data[sealed.width :]
        return SealedVector.received(data, sealed.count, sealed.width)

    return change


def repeated(sealed: SealedVector) -> SealedVector:
    return SealedVector.received(sealed.data[: sealed.width] * sealed.count, sealed.count, sealed.width)


def shortened(sealed: SealedVector) -> SealedVector:
    return SealedVector.received(sealed.data[: -sealed.width], sealed.count - 1, sealed.width)


HOSTILE: dict[str, tuple[Callable[[SealedVector], SealedVector], Reason]] = {
    "zero": (first_replaced(0), Reason.CIPHERTEXT_ZERO),
    "beyond n squared": (first_replaced(KEY.public.n_squared), Reason.CIPHERTEXT_OUT_OF_RANGE),
    "not a unit": (first_replaced(KEY.primes[0]), Reason.CIPHERTEXT_NOT_A_UNIT),
    "not blinded": (first_replaced(1 + 7 * KEY.public.n), Reason.CIPHERTEXT_NOT_BLINDED),
    "all the same": (repeated, Reason.CIPHERTEXT_REPEATED),
    "one too few": (shortened, Reason.WRONG_LENGTH),
}


@pytest.mark.parametrize("culprit", ["holder", "owner"])
@pytest.mark.parametrize("case", HOSTILE)
async def test_a_hostile_vector_is_blamed_on_its_sender_with_its_own_reason(case: str, culprit: str) -> None:
    change, reason = HOSTILE[case]

    def tamper(sent: Sent) -> object:
        if sent.sender != culprit:
            return sent.message
        name = "masks" if culprit == "holder" else "products"
        return replace(sent.message, **{name: change(getattr(sent.message, name))})

    with pytest.raises(PeerError) as caught:
        await make(plan(3, 3), np.ones((3, 3), dtype=np.int16), Network(tamper=tamper))
    assert (caught.value.culprit, caught.value.reason) == (culprit, reason)


async def test_a_message_of_another_kind_is_blamed_on_its_sender() -> None:
    def tamper(sent: Sent) -> object:
        return MaskedProducts(sent.message.masks) if sent.sender == "holder" else sent.message

    with pytest.raises(PeerError) as caught:
        await make(plan(3, 3), np.ones((3, 3), dtype=np.int16), Network(tamper=tamper))
    assert (caught.value.culprit, caught.value.reason) == ("holder", Reason.WRONG_KIND)


async def exchanged(
    keys: Mapping[PartyId, int], tamper: Tamper | None = None
) -> dict[str, dict[PartyId, PublicKey]]:
    network = Network(tamper=tamper)
    return await run_roles({
        me: exchange_keys(
            party(me), {p: network.link(me, p) for p in keys if p != me}, small_key(384, seed), 384
        )
        for me, seed in keys.items()
    })


async def test_three_parties_exchange_their_keys_once() -> None:
    keys = {HOLDER: 1, OWNER: 2, THIRD: 3}
    results = await exchanged(keys)
    for me in keys:
        assert results[me] == {p: small_key(384, seed).public for p, seed in keys.items() if p != me}


async def test_a_party_that_shows_anothers_key_is_blamed() -> None:
    with pytest.raises(PeerError) as caught:
        await exchanged({HOLDER: 1, OWNER: 1})
    assert caught.value.reason is Reason.KEY_SHARED_FACTOR
    with pytest.raises(PeerError) as caught:
        await exchanged({HOLDER: 1, OWNER: 2, THIRD: 2})
    assert caught.value.reason is Reason.KEY_SHARED_FACTOR


KEY_MESSAGES: dict[str, tuple[Callable[[PublicKeyMessage], PublicKeyMessage], Reason]] = {
    "too short": (lambda m: replace(m, modulus=m.modulus[:-1]), Reason.KEY_WRONG_LENGTH),
    "even": (lambda m: replace(m, modulus=bytes([m.modulus[0] & 0xFE]) + m.modulus[1:]), Reason.KEY_EVEN),
    "a false proof": (lambda m: replace(m, proof=bytes(len(m.proof))), Reason.BAD_KEY_PROOF),
}


@pytest.mark.parametrize("case", KEY_MESSAGES)
async def test_a_bad_key_is_blamed_on_its_sender(case: str) -> None:
    change, reason = KEY_MESSAGES[case]

    def tamper(sent: Sent) -> object:
        return change(sent.message) if sent.sender == "owner" else sent.message

    with pytest.raises(PeerError) as caught:
        await exchanged({HOLDER: 1, OWNER: 2}, tamper)
    assert (caught.value.culprit, caught.value.reason) == ("owner", reason)


async def test_our_own_key_of_another_length_is_our_own_mistake() -> None:
    with pytest.raises(LocalError, match="our own key"):
        await exchange_keys(party("holder"), {}, KEY, 2048)


# -- planted faults ----------------------------------------------------------------------------------------------


async def replies_of(network: Network, shape: ProductPlan, matrix: np.ndarray[Any, Any], seed: int) -> list[int]:
    await make(shape, matrix, network, seed)
    sent = [s.message.products for s in network.transcript if isinstance(s.message, MaskedProducts)]
    pieces = [v.data[i : i + v.width] for v in sent for i in range(0, len(v.data), v.width)]
    return [int.from_bytes(piece, "little") for piece in pieces]


def randomness_explains_reply(network: Network, replies: Sequence[int], matrix: np.ndarray[Any, Any]) -> bool:
    """Whether who guesses the matrix can confirm it from the wire, without any key."""
    n = KEY.public.n
    sent = next(s.message.masks for s in network.transcript if isinstance(s.message, EncryptedMasks))
    inputs = [int.from_bytes(sent.data[i : i + sent.width], "little") for i in range(0, len(sent.data), sent.width)]
    guess = math.prod(pow(c, int(a) + (1 << 15), n) for c, a in zip(inputs, matrix[0], strict=True)) % n
    return replies[0] % n == guess


async def test_a_spy_who_guesses_the_matrix_cannot_confirm_it_unless_rerandomisation_is_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    matrix, shape = np.array([[3, -4]], dtype=np.int16), plan(2, 1)
    network = Network()
    assert not randomness_explains_reply(network, await replies_of(network, shape, matrix, 1), matrix)

    def skipped(products: Any, additive: Sequence[int], sealer: Any) -> SealedVector:
        from mpc.paillier.ciphertexts import seal

        return seal(products.key, products.add_plain(additive).residues)

    monkeypatch.setattr(mpc.products.matrix_vector, "masked_and_sealed", skipped)
    network = Network()
    assert randomness_explains_reply(network, await replies_of(network, shape, matrix, 1), matrix)


async def test_a_bounded_mask_would_show_a_hostile_holder_the_matrix_and_a_uniform_one_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secret, shape, n = 1234, plan(1, 1, iterations=1), KEY.public.n
    high = BITS - 30

    async def top_digits() -> set[int]:
        """What a holder reads that encrypts 2^high, beyond every slot, in place of a mask."""
        found = set()
        for seed in range(1, 4):
            network = Network()
            me, link = party("owner", seed), network.link("owner", "holder")
            message = EncryptedMasks(KEY.encryptor(Rng(bytes([seed]) * 32), 1).encrypt([1 << high]))
            network.queue("holder", "owner", "").put_nowait(message)
            await serve(me, link, KEY.public, np.array([[secret]], dtype=np.int16), shape)
            reply = network.transcript[-1].message.products
            found.add(KEY.decrypt(KEY.public.parse(reply, 1))[0] >> high)
        return found

    known = ((secret + (1 << 15)) << high) % n >> high
    assert known not in await top_digits()
    monkeypatch.setattr(mpc.products.matrix_vector, "uniform_masks",
                        lambda rng, n, count: [rng.bits(200) for _ in range(count)])
    assert await top_digits() == {known}


async def test_a_reused_mask_would_show_the_difference_of_two_vectors() -> None:
    held, _ = await make(plan(2, 2), np.ones((2, 2), dtype=np.int16))
    first, second = np.array([5, 9], dtype=np.uint64), np.array([7, 4], dtype=np.uint64)
    seen = held.mask(0, first).values
    held._once._left.add(0)  # the planted fault: the burnt mask comes back
    assert (held.mask(0, second).values - seen).tolist() == (second - first).tolist()
    assert (held.mask(1, second).values - seen).tolist() != (second - first).tolist()
