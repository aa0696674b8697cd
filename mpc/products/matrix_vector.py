"""Private fixed matrix times shared vector: the building block of training. Two parties, semi-honest.

   holder: a Paillier key, v_t for t = 1..T         owner: A, fixed integers (m x c)
   offline, once, for T iterations, s of them side by side in the slots of one ciphertext:
 1 r_t uniform in Z_2^k^c      -- EncryptedMasks -->     ct_l = E(sum_t r_t[l] 2^(tL))
 2                             <-- MaskedProducts --     prod_l ct_l^A'_ql E(u_q), A' = A + 2^(e-1), u_q in Z_n
 3 share = its digits - 2^(e-1) sum_l r_t[l]             share = -(digits of u)
   online, in iteration t, in a message of the caller:
 4 v_t - r_t                   -- RingVector -->         A (v_t - r_t) + share

The two shares add up to A v_t mod 2^k, or to one more: a carry between slots. Sources, proofs and figures:
docs/protocols/private-products.md. A mask hides one vector, once: it is burnt before it is handed out. The
masks of one `offer` serve all its owners, so all of them are sent the same v_t - r_t. This module knows no
features and no rows, and cannot tell what the vectors mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mpc.errors import LocalError
from mpc.link import Link, PartyId
from mpc.paillier.blinding import fill
from mpc.paillier.ciphertexts import BadCiphertext, BadKey, CipherVector, PublicKey, PublicKeyMessage, SealedVector
from mpc.paillier.encryption import Blinder, Encryptor
from mpc.paillier.keys import PrivateKey
from mpc.paillier.rerandomisation import Rerandomiser
from mpc.products.one_time_shares import HolderProduct, Matrix, Once, OwnerProduct
from mpc.products.plan import ProductPlan, chunks
from mpc.protocol import Party
from mpc.ring import U64, reduce
from mpc.rng import Rng

__all__ = [
    "EncryptedMasks",
    "HolderProduct",
    "MaskedProducts",
    "Matrix",
    "Once",
    "OwnerProduct",
    "ProductPlan",
    "exchange_keys",
    "offer",
    "serve",
]

BLOCK = 8192  # bases or rows per multi-exponentiation: tables and buckets pay, memory stays bounded


# -- messages ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EncryptedMasks:
    """Step 1: the next inputs of one pass, under the holder's key."""

    masks: SealedVector


@dataclass(frozen=True)
class MaskedProducts:
    """Step 2: the next outputs of one pass, under the holder's key, re-randomised."""

    products: SealedVector


# -- roles -------------------------------------------------------------------------------------------------------


async def exchange_keys(
    me: Party, peers: Mapping[PartyId, Link], key: PrivateKey, key_bits: int
) -> dict[PartyId, PublicKey]:
    """Everybody's checked public key, once per job. `key` must itself have `key_bits`.

    Two foreign keys that share a factor are blamed on the later id of the two.
    """
    if key.public.bits != key_bits:
        raise LocalError(f"our own key has {key.public.bits} bits where {key_bits} were agreed")
    message = await me.compute(key.message)

    async def talk(link: Link) -> PublicKeyMessage:
        await link.send(message)
        return await link.receive(PublicKeyMessage)

    links = {party: peers[party].channel("keys") for party in sorted(peers)}
    received = await me.together(*(talk(link) for link in links.values()))
    keys: dict[PartyId, PublicKey] = {}
    for (party, link), theirs in zip(links.items(), received, strict=True):
        known = [key.public.n, *(other.n for other in keys.values())]
        keys[party] = await checked_key(me, link, theirs, key_bits, known, key.public.engine)
    return keys


async def checked_key(
    me: Party, link: Link, message: PublicKeyMessage, key_bits: int, known: Sequence[int], engine: str
) -> PublicKey:
    """The gate for a received key; blames the peer of `link`. `known`: moduli with which it may share no factor."""
    try:
        return await me.compute(PublicKey.received, message, key_bits, known, engine)
    except BadKey as refusal:
        link.require(False, refusal.reason)
        raise


async def offer(
    me: Party, links: Mapping[PartyId, Link], key: PrivateKey, plans: Mapping[PartyId, ProductPlan],
    blinder: Blinder | None = None,
) -> dict[PartyId, HolderProduct]:
    """The holder's role towards one or several owners: one stream of encrypted masks, sent to all of them. `plans` may
    differ in `outputs` only; `blinder`: tables of `key` to be shared. Blames an owner for a bad reply;
    LocalError for plans that do not agree."""
    first = _common(plans, key)
    rng = Rng(me.rng.bytes(32))  # one draw on the event loop; the rest may happen in a pool
    masks = rng.ring(first.iterations * first.inputs, first.ring_bits).reshape(first.iterations, first.inputs)
    once = Once(first.iterations, "mask")
    shares = await offer_known(me, links, key, plans, masks, blinder)
    return {owner: HolderProduct(plans[owner], masks, once, shares[owner]) for owner in links}


async def offer_known(
    me: Party, links: Mapping[PartyId, Link], key: PrivateKey, plans: Mapping[PartyId, ProductPlan], vectors: U64,
    blinder: Blinder | None = None,
) -> dict[PartyId, U64]:
    """Steps 1 to 3 with vectors (iterations, inputs) that the holder has already: its shares of A v_t, (iterations,
    outputs), by owner. No online step: the vectors themselves are encrypted. As `offer` else."""
    first = _common(plans, key)
    encryptor = await me.compute(key.encryptor, Rng(me.rng.bytes(32)), first.encryptions, blinder)
    shares = {owner: np.empty((plan.iterations, plan.outputs), np.uint64) for owner, plan in plans.items()}
    seen: dict[PartyId, set[int]] = {owner: set() for owner in links}

    async def collect(owner: PartyId, iterations: range) -> None:
        link, plan = links[owner], plans[owner]
        corrections = await me.compute(offset_corrections, vectors[iterations.start : iterations.stop], plan)
        for part in chunks(plan.outputs, plan.chunk):
            reply = (await link.receive(MaskedProducts)).products
            vector = await parsed(me, link, key.public, reply, len(part), seen[owner])
            digits = await me.compute(opened, key, vector, len(iterations), plan)                           # 3
            block = reduce(digits - corrections[:, None], plan.ring_bits)
            shares[owner][iterations.start : iterations.stop, part.start : part.stop] = block

    async def talk() -> None:
        for number, iterations in enumerate(first.passes_of_iterations()):
            for part in chunks(first.inputs, first.chunk):
                me.progress("encrypted masks", number * first.inputs + part.start, first.encryptions)
                cells = vectors[iterations.start : iterations.stop, part.start : part.stop]
                message = EncryptedMasks(await me.compute(encrypted, encryptor, cells, first.slot_bits))
                await me.together(*(link.send(message) for link in links.values()))                         # 1
            await me.together(*(collect(owner, iterations) for owner in links))

    await me.together(talk(), fill(me, encryptor.ready))
    me.progress("encrypted masks", first.encryptions, first.encryptions)
    return shares


async def serve(
    me: Party, link: Link, peer_key: PublicKey, matrix: Matrix, plan: ProductPlan, blinder: Blinder | None = None
) -> OwnerProduct:
    """The owner's role: `matrix` (outputs x inputs) of integers of `entry_bits` signed bits; `blinder`: tables of
    `peer_key` to be shared.

    The matrix is read again online: it must not change. Blames the holder for bad ciphertexts.
    """
    return OwnerProduct(plan, matrix, await serve_known(me, link, peer_key, matrix, plan, blinder))


async def serve_known(
    me: Party, link: Link, peer_key: PublicKey, matrix: Matrix, plan: ProductPlan, blinder: Blinder | None = None
) -> U64:
    """As `serve`, only the shares (iterations, outputs): of A r_t for `serve`, of A v_t opposite `offer_known`."""
    check_matrix(matrix, plan)
    if peer_key.bits != plan.key_bits:
        raise LocalError("the plan was made for keys of another length")
    rng = Rng(me.rng.bytes(32))
    sealer = await me.compute(Rerandomiser, peer_key, rng, plan.replies, blinder)
    shares = np.empty((plan.iterations, plan.outputs), np.uint64)
    seen: set[int] = set()

    async def talk() -> None:
        for number, iterations in enumerate(plan.passes_of_iterations()):
            me.progress("masked products", number, plan.passes)
            work = _Wide(matrix, plan)
            for part in chunks(plan.inputs, plan.chunk):
                sealed = (await link.receive(EncryptedMasks)).masks                                         # 1
                await me.compute(work.take, await parsed(me, link, peer_key, sealed, len(part), seen))
            for part in chunks(plan.outputs, plan.chunk):
                products = await me.compute(work.give, part)
                additive = uniform_masks(rng, peer_key.n, len(part))
                reply = await me.compute(masked_and_sealed, products, additive, sealer)
                await link.send(MaskedProducts(reply))                                                      # 2
                digits = await me.compute(unpacked, additive, len(iterations), plan)
                block = reduce(np.uint64(0) - digits, plan.ring_bits)                                       # 3
                shares[iterations.start : iterations.stop, part.start : part.stop] = block

    await me.together(talk(), fill(me, sealer.ready))
    me.progress("masked products", plan.passes, plan.passes)
    return shares


async def parsed(
    me: Party, link: Link, key: PublicKey, sealed: SealedVector, count: int, seen: set[int]
) -> CipherVector:
    """The gate for a received vector; blames the peer of `link`."""
    try:
        return await me.compute(key.parse, sealed, count, seen)
    except BadCiphertext as refusal:
        link.require(False, refusal.reason)
        raise


def _common(plans: Mapping[PartyId, ProductPlan], key: PrivateKey) -> ProductPlan:
    if not plans:
        raise LocalError("an offer needs at least one owner")
    first, *others = plans.values()
    for plan in others:
        if (plan.inputs, plan.slot_bits, plan.ring_bits, plan.entry_bits, plan.iterations) != (
            first.inputs, first.slot_bits, first.ring_bits, first.entry_bits, first.iterations
        ):
            raise LocalError("the plans of one offer may differ in their outputs only")
    if any(plan.key_bits != key.public.bits for plan in plans.values()):
        raise LocalError("the plan was made for keys of another length")
    return first


def check_matrix(matrix: Matrix, plan: ProductPlan) -> None:
    """LocalError unless the matrix has the plan's shape and bits."""
    if matrix.shape != (plan.outputs, plan.inputs) or not np.issubdtype(matrix.dtype, np.integer):
        raise LocalError(f"an integer matrix of {plan.outputs} x {plan.inputs} was agreed")
    bound = 1 << (plan.entry_bits - 1)
    if int(matrix.max()) >= bound or int(matrix.min()) < -bound:
        raise LocalError(f"a matrix entry does not fit {plan.entry_bits} signed bits", "scale the matrix down")


# -- steps -------------------------------------------------------------------------------------------------------


def encrypted(encryptor: Encryptor, masks: U64, slot_bits: int) -> SealedVector:
    """Step 1: masks (iterations, inputs) packed over iterations, one ciphertext per input."""
    values = [0] * masks.shape[1]
    for row in reversed(masks.tolist()):
        values = [value << slot_bits | int(mask) for value, mask in zip(values, row, strict=True)]
    return encryptor.encrypt(values)


def uniform_masks(rng: Rng, n: int, count: int) -> list[int]:
    """u uniform in Z_n: hides any plaintext, also one that a holder made too long."""
    return [rng.below(n) for _ in range(count)]


def masked_and_sealed(products: CipherVector, additive: Sequence[int], sealer: Rerandomiser) -> SealedVector:
    """Step 2: u hides the plaintext, the re-randomisation hides what the randomness would tell."""
    return sealer.seal(products.add_plain(additive))


def unpacked(values: Sequence[int], iterations: int, plan: ProductPlan) -> U64:
    """The lowest ring_bits of the slots: (iterations, len(values))."""
    mask = (1 << plan.ring_bits) - 1
    shifts = [slot * plan.slot_bits for slot in range(iterations)]
    return np.array([[value >> shift & mask for value in values] for shift in shifts], dtype=np.uint64)


def opened(key: PrivateKey, replies: CipherVector, iterations: int, plan: ProductPlan) -> U64:
    """Step 3 at the holder: the slots of the decrypted replies, (iterations, len(replies))."""
    return unpacked(key.decrypt(replies), iterations, plan)


def offset_corrections(masks: U64, plan: ProductPlan) -> U64:
    """2^(entry_bits - 1) sum_l r_t[l] per iteration, mod 2^64: what the offset binary form added."""
    sums: U64 = masks.sum(axis=1, dtype=np.uint64)
    return sums * np.uint64(1 << (plan.entry_bits - 1))


def offset_binary(matrix: Matrix, plan: ProductPlan) -> U64:
    """A + 2^(entry_bits - 1) >= 0: exponents without negatives."""
    return matrix.astype(np.int64).view(np.uint64) + np.uint64(1 << (plan.entry_bits - 1))


class _Wide:
    """One pass: multiplies the inputs into the outputs block by block, and forgets them."""

    def __init__(self, matrix: Matrix, plan: ProductPlan) -> None:
        self._matrix, self._plan = matrix, plan
        self._waiting: list[CipherVector] = []
        self._done = 0  # inputs already multiplied in
        self._outputs: CipherVector | None = None

    def take(self, inputs: CipherVector) -> None:
        """The next inputs."""
        self._waiting.append(inputs)
        count = sum(len(part) for part in self._waiting)
        if count >= BLOCK or self._done + count == self._plan.inputs:
            self._multiply(count)

    def _multiply(self, count: int) -> None:
        weights = offset_binary(self._matrix[:, self._done : self._done + count].T, self._plan)
        outputs = joined(self._waiting).columns(weights, self._plan.entry_bits)
        self._outputs = outputs if self._outputs is None else self._outputs.add(outputs)
        self._done, self._waiting = self._done + count, []

    def give(self, rows: range) -> CipherVector:
        """Outputs `rows`, after all inputs."""
        assert self._outputs is not None
        assert self._done == self._plan.inputs
        return self._outputs.slice(rows.start, rows.stop)


def joined(parts: Sequence[CipherVector]) -> CipherVector:
    """Vectors under one key, one after the other."""
    key = parts[0].key
    return CipherVector(key, key.ring.concat([part.residues for part in parts]))
