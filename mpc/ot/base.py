"""A few oblivious transfers from public-key cryptography, the seed of all others. It knows keys, never data.

Random OT over ristretto255, semi-honest ("the simplest OT", Chou and Orlandi, LATINCRYPT 2015):

   sender: a                                       receiver: b_i, choice c_i
 1 A = a G                 -- BaseOffer -->
 2                         <-- BaseAnswer --       B_i = b_i G + c_i A
 3 k_i^0 = H(a B_i), k_i^1 = H(a (B_i - A))        k_i = H(b_i A)

B_i is uniform whatever c_i, so the choices are hidden unconditionally; the key that was not chosen is a
Diffie-Hellman secret. H binds both parties, both nonces, A, i and B_i.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, TypeVar

from mpc.domains import Domain
from mpc.errors import Reason
from mpc.group.ristretto255 import (
    IDENTITY,
    POINT_BYTES,
    InvalidPoint,
    PointVector,
    Scalar,
    add,
    check,
    multiply,
    multiply_base,
    subtract,
)
from mpc.link import Link, PartyId
from mpc.protocol import Party
from mpc.rng import Rng

KEY_BYTES = 16
_NONCE_BYTES = 32
T = TypeVar("T")


@dataclass(frozen=True)
class BaseOffer:
    """The sender's fresh nonce and its point A."""

    nonce: bytes
    point: PointVector


@dataclass(frozen=True)
class BaseAnswer:
    """The receiver's fresh nonce and one point for each transfer."""

    nonce: bytes
    points: PointVector


@dataclass(frozen=True, repr=False)
class SenderKeys:
    """Both keys of each transfer, and the public name of this run (32 bytes)."""

    session: bytes
    pairs: Sequence[tuple[bytes, bytes]] = field(repr=False)

    def __reduce__(self) -> NoReturn:
        raise TypeError("keys are secrets and are never pickled")


@dataclass(frozen=True, repr=False)
class ReceiverKeys:
    """The chosen key of each transfer, and the public name of this run (32 bytes)."""

    session: bytes
    keys: Sequence[bytes] = field(repr=False)

    def __reduce__(self) -> NoReturn:
        raise TypeError("keys are secrets and are never pickled")


async def send_base(me: Party, link: Link, rng: Rng, count: int) -> SenderKeys:
    """`count` pairs of random keys, one of each known to the peer. PeerError BAD_POINT, WRONG_LENGTH."""
    secret, nonce = Scalar.random(rng), rng.bytes(_NONCE_BYTES)
    offer = BaseOffer(nonce, multiply_base(secret))                                       # 1
    await link.send(offer)
    answer = await link.receive(BaseAnswer)                                               # 2
    link.require(len(answer.nonce) == _NONCE_BYTES, Reason.WRONG_LENGTH)
    link.require(len(answer.points) == count, Reason.WRONG_LENGTH)
    zero, one = await _blaming(me, link, _both_secrets, secret, offer.point, answer.points)
    session = _session(me.id, link.peer, offer, answer)                                   # 3
    return SenderKeys(session, [
        (_key(session, i, point, left), _key(session, i, point, right))
        for i, (point, left, right) in enumerate(
            zip(_split(answer.points), _split(zero), _split(one), strict=True))
    ])


async def receive_base(me: Party, link: Link, rng: Rng, choices: Sequence[int]) -> ReceiverKeys:
    """The random key that each choice (0 or 1) picks. PeerError BAD_POINT, WRONG_LENGTH."""
    offer = await link.receive(BaseOffer)                                                 # 1
    link.require(len(offer.nonce) == _NONCE_BYTES and len(offer.point) == 1, Reason.WRONG_LENGTH)
    scalars = [Scalar.random(rng) for _ in choices]
    points, secrets = await _blaming(me, link, _chosen, scalars, choices, offer.point)
    answer = BaseAnswer(rng.bytes(_NONCE_BYTES), points)
    await link.send(answer)                                                               # 2
    session = _session(link.peer, me.id, offer, answer)
    return ReceiverKeys(session, [                                                        # 3
        _key(session, i, point, secret)
        for i, (point, secret) in enumerate(zip(_split(points), _split(secrets), strict=True))
    ])


async def _blaming(me: Party, link: Link, step: Callable[..., T], *args: object) -> T:
    try:
        return await me.compute(step, *args)
    except InvalidPoint:
        link.require(False, Reason.BAD_POINT)
        raise


def _both_secrets(
    secret: Scalar, own: PointVector, theirs: PointVector
) -> tuple[PointVector, PointVector]:
    """a B_i and a (B_i - A); InvalidPoint if a B_i is no element or neutral, or if B_i = A."""
    zero = multiply(theirs, secret)
    one = subtract(zero, PointVector(multiply(own, secret).data * len(theirs)))
    if IDENTITY in _split(one):
        raise InvalidPoint("a point repeats the offer")
    return zero, one


def _chosen(
    scalars: Sequence[Scalar], choices: Sequence[int], offer: PointVector
) -> tuple[PointVector, PointVector]:
    """B_i and b_i A. Both candidates for B_i are computed, so that time does not depend on the choice."""
    check(offer)
    plain = PointVector.join(multiply_base(scalar) for scalar in scalars)
    candidates = plain, add(plain, PointVector(offer.data * len(scalars)))
    picked = b"".join(_split(candidates[choice])[i] for i, choice in enumerate(choices))
    return PointVector(picked), PointVector.join(multiply(offer, scalar) for scalar in scalars)


def _session(sender: PartyId, receiver: PartyId, offer: BaseOffer, answer: BaseAnswer) -> bytes:
    names = f"{Domain.OT_SESSION}\0{sender}\0{receiver}\0".encode()
    return hashlib.sha256(names + offer.nonce + answer.nonce + offer.point.data).digest()


def _key(session: bytes, index: int, point: bytes, secret: bytes) -> bytes:
    label = Domain.BASE_OT_KEY.encode() + b"\0" + session + index.to_bytes(4, "big")
    return hashlib.sha256(label + point + secret).digest()[:KEY_BYTES]


def _split(points: PointVector) -> list[bytes]:
    return [points.data[i : i + POINT_BYTES] for i in range(0, len(points.data), POINT_BYTES)]
