"""Vectors that look uniform to everybody and sum to zero over all parties: masks for sums and re-sharing.

   party i                                           party j, for every pair
 1 A = a G                     -- MaskKey -->        B = b G
                               <-- MaskKey --
 2 seed_ij = SHA-256(domain, i, j, A, B, ab G)       the same
 3 mask_i = sum_{j > i} stream(seed_ij) - sum_{j < i} stream(seed_ij)  mod 2^bits

Whoever pools the views of all parties but two or more learns only the sum of theirs. With two parties the one
who receives the sum knows the mask and so the other's vector: no mask can hide what a sum of two gives away.
Knows nothing of what is masked.

Source: pairwise masks of Bonawitz et al., CCS 2017, section 4, without drop-outs; keys by Diffie-Hellman over
ristretto255.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np

from mpc.domains import Domain
from mpc.errors import LocalError, Reason
from mpc.group import ristretto255
from mpc.group.ristretto255 import PointVector, Scalar
from mpc.kernels.blocks import permute, schedule
from mpc.link import Link, PartyId
from mpc.protocol import Party
from mpc.ring import U64, reduce
from mpc.rng import Rng

# ---------------------------------------------------------------- messages


@dataclass(frozen=True)
class MaskKey:
    """A fresh public key, one point."""

    point: PointVector


# ---------------------------------------------------------------- roles


async def agree(me: Party, peers: Mapping[PartyId, Link]) -> ZeroSharing:
    """One fresh seed with every peer. PeerError BAD_POINT, WRONG_LENGTH, REFLECTED or REPEATED_VALUE."""
    secret = Scalar.random(me.rng)
    mine = ristretto255.multiply_base(secret)

    async def exchange(link: Link) -> PointVector:
        await link.send(MaskKey(mine))                                              # 1
        theirs = (await link.receive(MaskKey)).point
        link.require(len(theirs) == 1, Reason.WRONG_LENGTH)
        link.require(theirs != mine, Reason.REFLECTED)
        return theirs

    order = sorted(peers)
    keys = dict(zip(order, await me.together(*(exchange(peers[peer]) for peer in order)), strict=True))
    seeds: dict[PartyId, bytes] = {}
    for index, peer in enumerate(order):
        peers[peer].require(all(keys[peer] != keys[p] for p in order[:index]), Reason.REPEATED_VALUE)
        try:
            shared = ristretto255.multiply(keys[peer], secret)
        except ristretto255.InvalidPoint:
            peers[peer].require(False, Reason.BAD_POINT)
            raise  # not reached: require has raised the error that names the culprit
        seeds[peer] = _pair_seed({me.id: mine, peer: keys[peer]}, shared)           # 2
    return ZeroSharing(me.id, seeds)


# ---------------------------------------------------------------- steps


@dataclass(frozen=True, repr=False)
class ZeroSharing:
    """This party's seeds. Each label gives one mask, once."""

    me: PartyId
    _seeds: Mapping[PartyId, bytes]
    _used: set[str] = field(default_factory=set)

    def mask(self, label: str, count: int, bits: int = 64) -> U64:
        """(count,) elements of Z_2^bits, summing to zero over all parties. LocalError if `label` was used."""
        if label in self._used:
            raise LocalError("a mask was asked for twice")  # a second use would show a difference of secrets
        self._used.add(label)
        total = np.zeros(count, dtype=np.uint64)
        for peer, seed in self._seeds.items():
            stream = Rng(seed).child(label).ring(count, bits)
            total = total + stream if self.me < peer else total - stream            # 3
        return reduce(total, bits)

    def function(self, label: str, points: U64) -> U64:
        """(n,) words, one for each of `points` (n, 2): at every point they XOR to zero over all parties.

        The same label and point always give the same word; to whoever lacks one pair's seed it is pseudo-random
        (AES-128). Kolesnikov, Matania, Pinkas, Rosulek and Trieu, CCS 2017 (ePrint 2017/799), section 4.
        """
        total = np.zeros(len(points), np.uint64)
        for seed in self._seeds.values():
            key = hashlib.sha256(Domain.ZERO_FUNCTION.encode() + b"\0" + seed + label.encode()).digest()[:16]
            total ^= permute(schedule([key]), points)[:, 0]
        return total

    def __repr__(self) -> str:
        return "ZeroSharing(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("mask seeds are secret and are never pickled")


def _pair_seed(keys: Mapping[PartyId, PointVector], shared: PointVector) -> bytes:
    """The same at both ends: names and keys in the order of the names, then the shared point."""
    digest = hashlib.sha256(Domain.ZERO_SHARING.encode())
    for name in sorted(keys):
        digest.update(len(name).to_bytes(2, "big") + name.encode() + keys[name].data)
    digest.update(shared.data)
    return digest.digest()
