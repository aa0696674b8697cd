"""The slow cross-check of the source of correlations: the same products by Paillier. It knows sizes, never data.

Of two parties the later one in the line takes; each product of a factor and the values that it multiplies:

   taker: factor f, |f| <= 2^(b-1), a key           giver: values v_1, v_2, ... in Z_2^64
 1 E(f + 2^(b-1))            -- EncryptedMasks -->
 2                           <-- MaskedProducts --  E((f + 2^(b-1)) v_i + u_i), u_i uniform in Z_n
 3 share = plaintext mod 2^64                       share = -u_i - 2^(b-1) v_i mod 2^64

The product has less than 2^129, so with a key of 2048 bits the sum wraps mod n with probability 2^-1900.
Additively homomorphic products of this kind: Gilboa, CRYPTO 1999, section 4.2, there with Benaloh's system.
Messages, keys and the sealing of replies are those of mpc.products.matrix_vector and mpc.paillier.ciphertexts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mpc.correlated_randomness.chain import ChainSource
from mpc.correlated_randomness.kinds import TrigPlan
from mpc.link import Link, PartyId
from mpc.paillier.ciphertexts import CipherVector, PublicKey
from mpc.paillier.keys import PrivateKey
from mpc.paillier.rerandomisation import Rerandomiser
from mpc.products.matrix_vector import (
    EncryptedMasks,
    MaskedProducts,
    exchange_keys,
    joined,
    masked_and_sealed,
    parsed,
    uniform_masks,
)
from mpc.products.plan import MESSAGE_BYTES, chunks
from mpc.protocol import Party
from mpc.ring import I64, U64
from mpc.rng import Rng

_EXPECTED = 1 << 12  # encryptions or replies for which fixed-base tables are laid out


class PaillierSource(ChainSource):
    """`PaillierSource.start` exchanges keys; then see mpc.correlated_randomness.kinds.CorrelationSource."""

    @classmethod
    async def start(
        cls, me: Party, peers: Mapping[PartyId, Link], plan: TrigPlan, key: PrivateKey
    ) -> PaillierSource:
        """With one key of equal length at each party. PeerError for a bad key."""
        rng = Rng(me.rng.bytes(32))
        keys = await exchange_keys(me, peers, key, key.public.bits)
        line = plan.line([me.id, *peers])
        mine = line.index(me.id)
        givers = {p: _PaillierGiver(peers[p], keys[p], rng.child(f"peer/{p}")) for p in line[mine + 1 :]}
        takers = {p: _PaillierTaker(peers[p], key, rng.child(f"peer/{p}")) for p in line[:mine]}
        return cls(plan, rng, givers, takers)


class _PaillierGiver:
    """Implements mpc.correlated_randomness.chain.Giver."""

    def __init__(self, link: Link, key: PublicKey, rng: Rng) -> None:
        self._link, self._key, self._rng = link, key, rng
        self._sealer = Rerandomiser(key, rng, _EXPECTED)
        self._seen: set[int] = set()

    async def share(self, me: Party, values: U64, widths: Sequence[int]) -> U64:
        rows, columns, words = values.shape
        flat = values.reshape(-1, words)
        shares = flat * (np.uint64(0) - np.tile(_offsets(widths), rows))[:, None]
        for part in chunks(len(flat), _size(self._key, words)):
            sealed = (await self._link.receive(EncryptedMasks)).masks                     # 1
            factors = await parsed(me, self._link, self._key, sealed, len(part), self._seen)
            here = slice(part.start, part.stop)
            masks = uniform_masks(self._rng, self._key.n, len(part) * words)
            products = await me.compute(_products, factors, flat[here])
            reply = await me.compute(masked_and_sealed, products, masks, self._sealer)
            await self._link.send(MaskedProducts(reply))                                  # 2
            shares[here] -= _low_words(masks, words)                                      # 3
        return shares.reshape(rows, columns, words)


class _PaillierTaker:
    """Implements mpc.correlated_randomness.chain.Taker."""

    def __init__(self, link: Link, key: PrivateKey, rng: Rng) -> None:
        self._link, self._key = link, key
        self._encryptor = key.encryptor(rng, _EXPECTED)
        self._seen: set[int] = set()

    async def share(self, me: Party, factors: I64, widths: Sequence[int], words: int) -> U64:
        offsets = np.tile(_offsets(widths), len(factors))
        lifted = (factors.reshape(-1).view(np.uint64) + offsets).tolist()
        shares = np.empty((len(lifted), words), np.uint64)
        for part in chunks(len(lifted), _size(self._key.public, words)):
            here = slice(part.start, part.stop)
            await self._link.send(EncryptedMasks(await me.compute(self._encryptor.encrypt, lifted[here])))  # 1
            due = len(part) * words
            reply = (await self._link.receive(MaskedProducts, at_most=due * self._key.public.width)).products  # 2
            vector = await parsed(me, self._link, self._key.public, reply, due, self._seen)
            shares[here] = _low_words(await me.compute(self._key.decrypt, vector), words)  # 3
        return shares.reshape(*factors.shape, words)


def _products(factors: CipherVector, values: U64) -> CipherVector:
    """E(f_r v_rw) for ciphertexts of f (rows) and values (rows, words), row by row."""
    return joined([factors.slice(r, r + 1).rows(row[:, None], 64) for r, row in enumerate(values)])


def _offsets(widths: Sequence[int]) -> U64:
    return np.uint64(1) << (np.array(widths, np.uint64) - np.uint64(1))


def _low_words(numbers: Sequence[int], words: int) -> U64:
    """The lowest 64 bits of each, (rows, words)."""
    low = [number & 0xFFFFFFFFFFFFFFFF for number in numbers]
    return np.array(low, np.uint64).reshape(-1, words)


def _size(key: PublicKey, words: int) -> int:
    """Factors a message, so that their replies fit in one message too."""
    return max(1, MESSAGE_BYTES // (key.width * words))
