"""How many values two lists have in common: a number for one side, the counter, and nothing for the other.

   counter: X, secret a                            helper: Y, secret b
 1 shuffle{ a H(x) }             -- Counted -->
                                 <-- Counted --    shuffle{ b H(y) }
 2                               <-- Counted --    shuffle{ b (a H(x)) }, a fresh shuffle
 3 | { b a H(x) } n { a b H(y) } |, or, where X is the shorter list,  | { (1/a) b a H(x) } n { b H(y) } |

The counter cannot tell which of its values were counted: its own list comes back shuffled. Both lists are padded to
lengths agreed before, with random values. Semi-honest; under decisional Diffie-Hellman points look random.

Source: De Cristofaro, Gasti and Tsudik, CANS 2012 (ePrint 2011/141), in its commutative form.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from mpc.errors import Reason
from mpc.group import ristretto255
from mpc.group.ristretto255 import PointVector, Scalar
from mpc.link import Link
from mpc.protocol import Party
from mpc.rng import Rng

MESSAGE_POINTS = 1 << 15   # 1 MiB
COMPUTE_POINTS = 1 << 8    # 10 ms of one core
LONG_LIST, COMPUTE_POINTS_OF_LONG = 1 << 12, 1 << 11   # long lists repay the lanes of mpc/group/ristretto255.py

T = TypeVar("T")
Tell = Callable[[int, int], None]

# ---------------------------------------------------------------- messages


@dataclass(frozen=True)
class Counted:
    """Part of a list of blinded values, shuffled."""

    points: PointVector


# ---------------------------------------------------------------- roles


async def run_counter(
    me: Party, helper: Link, values: Sequence[bytes], label: bytes, lengths: tuple[int, int], rng: Rng,
    tell: Tell = lambda done, total: None,
) -> int:
    """The number in common. `lengths`: ours and the helper's, padding included; surplus values are left out.
    `rng` is used for nothing else; `tell` hears how many points of how many are done.

    PeerError WRONG_LENGTH, BAD_POINT, REPEATED_VALUE, REFLECTED.
    """
    secret, work = Scalar.random(rng.child("secret")), _Work(me, lengths[0] + min(lengths), tell)
    mine = await _blinded(work, values, label, lengths[0], secret, rng)
    _, theirs = await me.together(_send(helper, mine), _receive(me, helper, lengths[1], mine))      # 1
    if lengths[0] <= lengths[1]:
        await blaming(helper, me.compute(ristretto255.check, theirs))
        back = await _receive(me, helper, lengths[0], mine)                                            # 2
        one, other = await _multiplied(work, helper, back, secret.inverse()), theirs
    else:
        other, back = await me.together(
            _multiplied(work, helper, theirs, secret), _receive(me, helper, lengths[0], mine)          # 2
        )
        await blaming(helper, me.compute(ristretto255.check, back))
        one = back
    helper.require(await me.compute(_in_both, back, theirs) == 0, Reason.REFLECTED)
    return await me.compute(_in_both, one, other)                                                      # 3


async def run_helper(
    me: Party, counter: Link, values: Sequence[bytes], label: bytes, lengths: tuple[int, int], rng: Rng,
    tell: Tell = lambda done, total: None,
) -> None:
    """The other side; `lengths`: the counter's and ours. PeerError as for the counter."""
    secret, work = Scalar.random(rng.child("secret")), _Work(me, sum(lengths), tell)
    mine = await _blinded(work, values, label, lengths[1], secret, rng)
    _, theirs = await me.together(_send(counter, mine), _receive(me, counter, lengths[0], mine))    # 1
    doubled = await _multiplied(work, counter, theirs, secret)
    await _send(counter, doubled.take(rng.child("order").permutation(len(doubled))))                 # 2


# ---------------------------------------------------------------- steps


@dataclass
class _Work:
    """Points that one side has to compute, in pieces side by side."""

    me: Party
    total: int
    tell: Tell
    done: int = 0

    async def through(self, step: Callable[[slice], PointVector], length: int) -> PointVector:
        size = COMPUTE_POINTS if length < LONG_LIST else COMPUTE_POINTS_OF_LONG

        async def one(start: int) -> PointVector:
            part = await self.me.compute(step, slice(start, min(start + size, length)))
            self.done += len(part)
            self.tell(self.done, self.total)
            return part

        return PointVector.join(await self.me.together(*map(one, range(0, length, size))))


async def _blinded(
    work: _Work, values: Sequence[bytes], label: bytes, length: int, secret: Scalar, rng: Rng
) -> PointVector:
    chosen = list(values[:length])
    padding = rng.child("padding")
    chosen += [padding.bytes(32) for _ in range(length - len(chosen))]
    order = rng.child("own order").permutation(length)

    def blind(part: slice) -> PointVector:
        return ristretto255.hash_and_multiply([chosen[i] for i in order[part]], label, secret)

    return await work.through(blind, length)


async def _multiplied(work: _Work, link: Link, points: PointVector, secret: Scalar) -> PointVector:
    return await blaming(link, work.through(lambda part: ristretto255.multiply(points[part], secret), len(points)))


async def _send(link: Link, points: PointVector) -> None:
    for start in range(0, len(points), MESSAGE_POINTS):
        await link.send(Counted(points[start:start + MESSAGE_POINTS]))


async def _receive(me: Party, link: Link, length: int, mine: PointVector) -> PointVector:
    parts = []
    for start in range(0, length, MESSAGE_POINTS):
        part = (await link.receive(Counted)).points
        link.require(len(part) == min(MESSAGE_POINTS, length - start), Reason.WRONG_LENGTH)
        parts.append(part)
    points = PointVector.join(parts)
    link.require(await me.compute(_in_both, points, mine) == 0, Reason.REFLECTED)
    link.require(await me.compute(_different, points) == len(points), Reason.REPEATED_VALUE)
    return points


def _in_both(points: PointVector, others: PointVector) -> int:
    """How many of `points` are among `others`; encodings are canonical, so bytes tell."""
    return int(np.isin(points.values(), others.values()).sum())


def _different(points: PointVector) -> int:
    return len(np.unique(points.values()))


async def blaming(link: Link, work: Awaitable[T]) -> T:
    """`work` on points that came over `link`: a bad one is blamed on its peer."""
    try:
        return await work
    except ristretto255.InvalidPoint:
        link.require(False, Reason.BAD_POINT)
        raise  # not reached: require has raised the error that names the culprit
