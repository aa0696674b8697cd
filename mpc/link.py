"""One ordered conversation with one counterpart. The link, not the role, binds job, session, step and transcript."""

from __future__ import annotations

from typing import NewType, Protocol, TypeVar

from mpc.errors import Reason

PartyId = NewType("PartyId", str)
M = TypeVar("M")


class Link(Protocol):
    """What a role talks through: a memory link in tests, a gRPC link in daemons; the role cannot tell.

    A message is a frozen dataclass of `int`, `bytes`, `RingVector`, `PointVector` and `SealedVector` fields.
    Messages of one link arrive whole, once and in order. `send` may wait for the receiver's credit, so two sides
    that both send much before they receive must do it side by side (`Party.together`).
    """

    @property
    def peer(self) -> PartyId:
        """The counterpart."""
        ...

    async def send(self, message: object) -> None:
        """Queue one message; returns when the window has room for more."""
        ...

    async def receive(self, kind: type[M], at_most: int | None = None) -> M:
        """The next message, which must be of `kind` (else PeerError WRONG_KIND blames the peer).

        `at_most`: the bytes that its vectors and strings of bytes may have in all (else WRONG_LENGTH), which a receiver
        says where the length depends on the job; None: what this kind may have in any. What has more is refused before
        it is put together.
        """
        ...

    def require(self, ok: bool, reason: Reason) -> None:
        """Raise PeerError(peer, current step, reason) unless `ok`."""
        ...

    def channel(self, name: str) -> Link:
        """An independent conversation with the same peer, named by both sides alike: own order, own transcript."""
        ...
