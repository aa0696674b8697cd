"""Products packed over rows: exact but for a carry, every mask once, bad peers blamed, sizes public."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mpc.errors import LocalError, PeerError, Reason
from mpc.paillier.ciphertexts import SealedVector
from mpc.products import packed_over_rows
from mpc.products.packed_over_rows import EncryptedRows, MaskedRows, offer_packed, serve_packed
from mpc.products.plan import ProductPlan
from mpc.ring import reduce, to_signed
from mpc.testing.keys import small_key
from mpc.testing.memory_link import Network, Sent, party, run_roles

BITS = 512
KEY = small_key(BITS, 1, "gmp")


def plan(inputs: int, outputs: int, iterations: int = 3, ring_bits: int = 37, entry_bits: int = 16) -> ProductPlan:
    return ProductPlan(inputs, outputs, entry_bits, ring_bits, iterations, BITS)


async def both(shape: ProductPlan, matrix: np.ndarray[Any, Any], network: Network | None = None, seed: int = 1) -> Any:
    network = network or Network()
    found = await run_roles({
        "holder": offer_packed(party("holder", seed), network.link("holder", "owner"), KEY.public, shape),
        "owner": serve_packed(party("owner", seed), network.link("owner", "holder"), KEY, matrix, shape),
    })
    return found["holder"], found["owner"]


def random_matrix(shape: ProductPlan, seed: int = 1) -> np.ndarray[Any, Any]:
    bound = 1 << (shape.entry_bits - 1)
    return np.random.default_rng(seed).integers(-bound + 1, bound, (shape.outputs, shape.inputs))


SHAPES = {
    "the forward ring": plan(3, 40),
    "one row": plan(4, 1),
    "one input": plan(1, 20),
    "rows that fill their blocks exactly": plan(3, plan(3, 1).slots * 5),
    "more inputs than tables are held for at once": plan(35, 12, iterations=2),
    "the whole ring": plan(3, 17, ring_bits=64),
    "long entries": plan(3, 9, ring_bits=64, entry_bits=28),
    "several groups of blocks": plan(2, plan(2, 1).slots * 130, iterations=2),
}


@pytest.mark.parametrize("case", SHAPES)
async def test_the_shares_add_up_to_the_product_or_one_more(case: str) -> None:
    shape = SHAPES[case]
    matrix = random_matrix(shape)
    holder, owner = await both(shape, matrix)
    rng = np.random.default_rng(2)
    for t in range(shape.iterations):
        vector = reduce(rng.integers(0, 1 << 63, shape.inputs, dtype=np.uint64) * np.uint64(2), shape.ring_bits)
        total = owner.apply(t, holder.mask(t, vector)) + holder.share(t)
        ideal = matrix.astype(np.int64).view(np.uint64) @ vector
        carries = to_signed(reduce(total - ideal, shape.ring_bits), shape.ring_bits)
        assert set(carries.tolist()) <= {0, 1, -1}, case


async def test_the_largest_entries_and_masks_do_not_spill_into_the_next_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = plan(4, 30, ring_bits=37)
    def all_ones(rng: object, count: int, bits: int) -> np.ndarray[Any, Any]:
        return np.full(count, (1 << bits) - 1, np.uint64)

    monkeypatch.setattr(packed_over_rows.Rng, "ring", all_ones)
    for entry in (32767, -32767):
        matrix = np.full((shape.outputs, shape.inputs), entry)
        holder, owner = await both(shape, matrix)
        vector = np.full(shape.inputs, 5, np.uint64)
        total = owner.apply(0, holder.mask(0, vector)) + holder.share(0)
        ideal = np.full(shape.outputs, entry * 5 * shape.inputs).astype(np.int64).view(np.uint64)
        assert set(to_signed(reduce(total - ideal, 37), 37).tolist()) <= {0, 1, -1}


async def test_a_mask_hides_one_vector_once() -> None:
    shape = plan(3, 5)
    holder, owner = await both(shape, random_matrix(shape))
    vector = np.arange(3, dtype=np.uint64)
    masked = holder.mask(1, vector)
    with pytest.raises(LocalError, match="used before"):
        holder.mask(1, vector)
    owner.apply(1, masked)
    with pytest.raises(LocalError, match="used before"):
        owner.apply(1, masked)


async def test_sizes_depend_on_the_shape_only() -> None:
    networks = [Network(), Network()]
    shape = plan(3, 40)
    for seed, network in enumerate(networks, 1):
        await both(shape, random_matrix(shape, seed), network, seed)
    shapes = [[(s.sender, repr(s.message)) for s in network.transcript] for network in networks]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    ("kind", "field", "culprit", "bad"),
    [(EncryptedRows, "rows", "owner", "zero"), (MaskedRows, "products", "holder", "zero"),
     (EncryptedRows, "rows", "owner", "short"), (MaskedRows, "products", "holder", "short"),
     (EncryptedRows, "rows", "owner", "nude"), (MaskedRows, "products", "holder", "nude")],
)
async def test_a_bad_ciphertext_is_blamed_on_its_sender(kind: Any, field: str, culprit: str, bad: str) -> None:
    reasons = {"zero": Reason.CIPHERTEXT_ZERO, "short": Reason.WRONG_LENGTH, "nude": Reason.CIPHERTEXT_NOT_BLINDED}

    def tamper(sent: Sent) -> object:
        if type(sent.message) is not kind or sent.index:
            return sent.message
        sealed = getattr(sent.message, field)
        width = sealed.width
        if bad == "short":
            return kind(SealedVector.received(sealed.data[:-width], sealed.count - 1, width))
        first = (0 if bad == "zero" else 1 + 7 * KEY.public.n).to_bytes(width, "little")
        return kind(SealedVector.received(first + sealed.data[width:], sealed.count, width))

    shape = plan(3, 10)
    with pytest.raises(PeerError) as error:
        await both(shape, random_matrix(shape), Network(tamper=tamper))
    assert (error.value.culprit, error.value.reason) == (culprit, reasons[bad])


async def test_replies_show_neither_the_masks_nor_their_parity() -> None:
    """The Jacobi symbols of honest replies are fair coins; without re-randomisation the randomness of a reply is the
    product that the masks make of the inputs' randomness, and the owner would recognise it."""
    import gmpy2

    shape = plan(2, shape_rows := plan(2, 1).slots * 64, iterations=3)
    network = Network()
    await both(shape, random_matrix(shape), network)
    n = KEY.public.n
    residues = [
        int.from_bytes(s.message.products.data[k : k + KEY.public.width], "little") % n
        for s in network.transcript if isinstance(s.message, MaskedRows)
        for k in range(0, len(s.message.products.data), KEY.public.width)
    ]
    assert len(residues) == 64 * 3
    assert shape_rows == shape.outputs
    positive = sum(gmpy2.jacobi(value, n) == 1 for value in residues)
    assert abs(positive - len(residues) / 2) < 4 * (len(residues) / 4) ** 0.5
    assert len(set(residues)) == len(residues)


async def test_a_matrix_that_does_not_fit_is_refused() -> None:
    shape = plan(2, 3)
    with pytest.raises(LocalError, match="signed bits"):
        await both(shape, np.full((3, 2), 1 << 15))
    with pytest.raises(LocalError, match="integer matrix"):
        await both(shape, np.zeros((2, 2), np.int64))
