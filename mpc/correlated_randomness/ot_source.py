"""The source of correlations that institutions use: products by oblivious transfer.

It knows sizes, never data.

Gilboa, CRYPTO 1999, section 4.1: the bits of a factor are the choices, the value is the correlation of each
OT, and the shares of a product are the sums of the OTs' shares by the weights of the bits: 1, 2, 4, ..., and
minus the last power, since factors are in two's complement. Of two parties the earlier one in the line gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mpc.correlated_randomness.chain import ChainSource
from mpc.correlated_randomness.kinds import TrigPlan
from mpc.kernels.bits import weighted_sums
from mpc.link import Link, PartyId
from mpc.ot.extension import OtReceiver, OtSender, start_receiver, start_sender
from mpc.protocol import Party
from mpc.ring import I64, U64
from mpc.rng import Rng


class OtSource(ChainSource):
    """`OtSource.start` opens one OT session with each peer; then see kinds.CorrelationSource."""

    @classmethod
    async def start(
        cls, me: Party, peers: Mapping[PartyId, Link], plan: TrigPlan, *, against_ids: bool = False
    ) -> OtSource:
        """All sessions side by side (about 30 ms each). The links serve this source only. `against_ids`: the highest
        id stands first in the line, unless the plan has somebody stand first.

        PeerError BAD_POINT, ...
        """
        rng = Rng(me.rng.bytes(32))
        line = plan.line([me.id, *peers], against_ids=against_ids)
        mine = line.index(me.id)
        earlier, later = line[:mine], line[mine + 1 :]
        sessions = await me.together(
            *(start_sender(me, peers[peer]) for peer in later),
            *(start_receiver(me, peers[peer]) for peer in earlier),
        )
        givers = {p: _OtGiver(s, peers[p]) for p, s in zip(later, sessions[: len(later)], strict=True)}
        takers = {p: _OtTaker(s, peers[p]) for p, s in zip(earlier, sessions[len(later) :], strict=True)}
        return cls(plan, rng, givers, takers)


class _OtGiver:
    """Implements mpc.correlated_randomness.chain.Giver."""

    def __init__(self, session: OtSender, link: Link) -> None:
        self._session, self._link = session, link

    async def share(self, me: Party, values: U64, widths: Sequence[int]) -> U64:
        column, _, _ = _layout(widths)
        deltas = np.take(values, column, axis=1).reshape(-1, values.shape[2])
        shares = await self._session.correlate(me, self._link, deltas)
        return await me.compute(_summed, shares, widths)


class _OtTaker:
    """Implements mpc.correlated_randomness.chain.Taker."""

    def __init__(self, session: OtReceiver, link: Link) -> None:
        self._session, self._link = session, link

    async def share(self, me: Party, factors: I64, widths: Sequence[int], words: int) -> U64:
        column, shift, _ = _layout(widths)
        choices = (np.take(factors, column, axis=1) >> shift).astype(np.uint8) & np.uint8(1)
        shares = await self._session.correlate(me, self._link, choices.reshape(-1), words)
        return await me.compute(_summed, shares, widths)


def _layout(widths: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64], U64]:
    """For each OT of a row: its column, its bit, and the weight of that bit mod 2^64."""
    column = np.repeat(np.arange(len(widths), dtype=np.int64), widths)
    shift = np.concatenate([np.arange(width, dtype=np.int64) for width in widths])
    weight = np.uint64(1) << shift.astype(np.uint64)
    last = np.cumsum(widths) - 1
    weight[last] = np.uint64(0) - weight[last]
    return column, shift, weight


def _summed(shares: U64, widths: Sequence[int]) -> U64:
    column, _, weight = _layout(widths)
    terms = shares.reshape(-1, len(column), shares.shape[1])
    sums = np.empty((len(terms), len(widths), shares.shape[1]), np.uint64)
    weighted_sums(terms, weight, column, sums)
    return sums
