"""Private fixed matrix times shared vector for matrices with many rows, packed over rows. Two parties, semi-honest.

   owner: A, fixed integers (m x c), a Paillier key          holder: v_t for t = 1..T
   offline, once; s rows of A side by side in the slots of one ciphertext:
 1 ct_bl = E(sum_q A'_ql 2^(qL)), A' = A + 2^(e-1)   -- EncryptedRows -->   r_t uniform in Z_2^k^c
 2              <-- MaskedRows --            E(sum_l (..) r_t[l] + u_bt), u uniform in Z_n, re-randomised
 3 share = digits                            share = -digits of u - 2^(e-1) sum_l r_t[l]
   online as in mpc.products.matrix_vector: the holder sends v_t - r_t, the owner adds A (v_t - r_t) to its share

matrix_vector packs over iterations and needs a reply per row and pass; here it is a reply per s rows and iteration:
fewer whenever T < s, which is the rule. The carry between slots, the burning of masks and the classes that hold the
shares are those of matrix_vector. Source: docs/protocols/private-products.md; [Pai99], [DJN10] as in mpc.paillier;
the product of powers to common exponents is Straus' method (Menezes, van Oorschot, Vanstone, algorithm 14.88).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mpc.errors import LocalError
from mpc.link import Link
from mpc.paillier.blinding import fill
from mpc.paillier.ciphertexts import CipherVector, PublicKey, SealedVector
from mpc.paillier.encryption import Blinder, Encryptor
from mpc.paillier.keys import PrivateKey
from mpc.paillier.rerandomisation import Rerandomiser
from mpc.products.matrix_vector import (
    HolderProduct,
    Matrix,
    Once,
    OwnerProduct,
    check_matrix,
    joined,
    masked_and_sealed,
    offset_binary,
    offset_corrections,
    opened,
    parsed,
    uniform_masks,
    unpacked,
)
from mpc.products.plan import ProductPlan, chunks
from mpc.protocol import Party
from mpc.ring import U64, reduce
from mpc.rng import Rng

WINDOW = 4               # bits of an exponent per table look-up
INPUTS_AT_ONCE = 32      # whose tables are in memory together


# -- messages ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EncryptedRows:
    """Step 1: inputs of the next blocks of rows, input by input, under the owner's key."""

    rows: SealedVector


@dataclass(frozen=True)
class MaskedRows:
    """Step 2: products of the next blocks, iteration by iteration, under the owner's key, re-randomised."""

    products: SealedVector


# -- roles -------------------------------------------------------------------------------------------------------


async def offer_packed(
    me: Party, link: Link, owner_key: PublicKey, plan: ProductPlan, blinder: Blinder | None = None
) -> HolderProduct:
    """The holder's role; `blinder`: tables of `owner_key` to be shared. Blames the owner for bad ciphertexts."""
    if owner_key.bits != plan.key_bits:
        raise LocalError("the plan was made for keys of another length")
    rng = Rng(me.rng.bytes(32))
    masks = rng.ring(plan.iterations * plan.inputs, plan.ring_bits).reshape(plan.iterations, plan.inputs)
    blocks = chunks(plan.outputs, plan.slots)
    sealer = await me.compute(Rerandomiser, owner_key, rng, len(blocks) * plan.iterations, blinder)
    corrections = offset_corrections(masks, plan)
    shares = np.empty((plan.iterations, plan.outputs), np.uint64)
    seen: set[int] = set()

    async def reply() -> None:
        for group in chunks(len(blocks), _group(plan)):
            me.progress("masked rows", group.start, len(blocks))
            parts = [
                await parsed(me, link, owner_key, (await link.receive(EncryptedRows)).rows, len(part), seen)  # 1
                for part in chunks(len(group) * plan.inputs, plan.chunk)
            ]
            products = await me.compute(powers_product, joined(parts), len(group), masks, plan.ring_bits)
            additive = uniform_masks(rng, owner_key.n, len(products))
            for part in chunks(len(products), plan.chunk):
                cut = products.slice(part.start, part.stop)
                sealed = await me.compute(masked_and_sealed, cut, additive[part.start : part.stop], sealer)
                await link.send(MaskedRows(sealed))                                                           # 2
            digits = await me.compute(unpacked, additive, plan.slots, plan)
            rows = slice(blocks[group[0]].start, blocks[group[-1]].stop)
            negative = np.uint64(0) - by_rows(digits, plan.iterations) - corrections[:, None]                 # 3
            shares[:, rows] = reduce(negative[:, : rows.stop - rows.start], plan.ring_bits)

    await me.together(reply(), fill(me, sealer.ready))
    me.progress("masked rows", len(blocks), len(blocks))
    return HolderProduct(plan, masks, Once(plan.iterations, "mask"), shares)


async def serve_packed(
    me: Party, link: Link, key: PrivateKey, matrix: Matrix, plan: ProductPlan, blinder: Blinder | None = None
) -> OwnerProduct:
    """The owner's role: `matrix` (outputs x inputs), |entries| < 2^(entry_bits - 1); `blinder`: tables of `key` to be
    shared. Blames the holder for bad replies. The matrix is read again online: it must not change."""
    check_matrix(matrix, plan)
    if key.public.bits != plan.key_bits:
        raise LocalError("the plan was made for keys of another length")
    blocks = chunks(plan.outputs, plan.slots)
    rng = Rng(me.rng.bytes(32))
    encryptor = await me.compute(key.encryptor, rng, len(blocks) * plan.inputs, blinder)
    shares = np.empty((plan.iterations, plan.outputs), np.uint64)
    groups = chunks(len(blocks), _group(plan))

    async def send() -> None:
        for group in groups:
            rows = slice(blocks[group[0]].start, blocks[group[-1]].stop)
            values = await me.compute(packed_rows, matrix[rows], len(group), plan)
            for part in chunks(len(values), plan.chunk):
                me.progress("encrypted rows", group.start, len(blocks))
                sealed = await me.compute(_encrypt, encryptor, values[part.start : part.stop])
                await link.send(EncryptedRows(sealed))                                                        # 1

    async def collect() -> None:
        seen: set[int] = set()
        for group in groups:
            digits = []
            for part in chunks(len(group) * plan.iterations, plan.chunk):
                reply = (await link.receive(MaskedRows)).products
                vector = await parsed(me, link, key.public, reply, len(part), seen)                           # 2
                digits.append(await me.compute(opened, key, vector, plan.slots, plan))                        # 3
            rows = slice(blocks[group[0]].start, blocks[group[-1]].stop)
            own = by_rows(np.concatenate(digits, axis=1), plan.iterations)
            shares[:, rows] = own[:, : rows.stop - rows.start]

    await me.together(send(), collect(), fill(me, encryptor.ready))
    me.progress("encrypted rows", len(blocks), len(blocks))
    return OwnerProduct(plan, matrix, shares)


def _group(plan: ProductPlan) -> int:
    """Blocks that are worked on together: about a message's worth, but enough to fill the arithmetic's lanes."""
    return max(64, plan.chunk // max(plan.inputs, plan.iterations))


# -- steps -------------------------------------------------------------------------------------------------------


def _encrypt(encryptor: Encryptor, values: Sequence[int]) -> SealedVector:
    return encryptor.encrypt(values)


def packed_rows(rows: Matrix, blocks: int, plan: ProductPlan) -> list[int]:
    """Step 1, plaintexts: for each input, for each block, `slots` offset entries side by side."""
    offset = offset_binary(rows, plan)
    padded = np.zeros((blocks * plan.slots, plan.inputs), np.uint64)
    padded[: len(offset)] = offset
    cells = padded.reshape(blocks, plan.slots, plan.inputs).transpose(1, 2, 0).reshape(plan.slots, -1)
    values = [0] * (plan.inputs * blocks)
    for row in reversed(cells.tolist()):
        values = [value << plan.slot_bits | int(entry) for value, entry in zip(values, row, strict=True)]
    return values


def powers_product(cells: CipherVector, blocks: int, masks: U64, bits: int) -> CipherVector:
    """Step 2: prod_l ct_bl^r_t[l] for every iteration t (rows of `masks`) and block b, iteration by iteration.

    All blocks share the exponents, so each step is one vector operation; every digit costs one product, zero too.
    """
    ring, inputs = cells.key.ring, masks.shape[1]
    ones = ring.load([1] * blocks)
    results = [ones] * len(masks)
    shifts = list(range((bits - 1) // WINDOW * WINDOW, -1, -WINDOW))
    for some in chunks(inputs, INPUTS_AT_ONCE):
        tables = []
        for index in some:
            base = ring.slice(cells.residues, index * blocks, (index + 1) * blocks)
            table = [ones, base]
            while len(table) < 1 << WINDOW:
                table.append(ring.mul(base, table[-1]))
            tables.append(table)
        for t, row in enumerate(masks[:, some.start : some.stop].tolist()):
            total = ones
            for shift in shifts:
                for _ in range(WINDOW):
                    total = ring.mul(total, total)
                for table, exponent in zip(tables, row, strict=True):
                    total = ring.mul(total, table[exponent >> shift & ((1 << WINDOW) - 1)])
            results[t] = ring.mul(results[t], total)
    return CipherVector(cells.key, ring.concat(results))


def by_rows(digits: U64, iterations: int) -> U64:
    """(slots, iterations * blocks) of digits -> (iterations, blocks * slots) in the order of the rows."""
    slots = len(digits)
    return digits.reshape(slots, iterations, -1).transpose(1, 2, 0).reshape(iterations, -1)
