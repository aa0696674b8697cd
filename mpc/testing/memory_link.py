"""Links inside one process, with a recording of every message and a hook for an adversary."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field, fields
from inspect import CORO_CREATED, getcoroutinestate
from typing import Any, TypeVar

from mpc.errors import LocalError, PeerError, Reason
from mpc.group.ristretto255 import PointVector
from mpc.link import PartyId
from mpc.paillier.ciphertexts import SealedVector
from mpc.protocol import Ledger, LedgerLine
from mpc.ring import RingVector
from mpc.rng import Rng

T = TypeVar("T")
Tamper = Callable[["Sent"], object]
"""Gets each message before delivery and returns what is delivered instead (the same object: honest)."""


@dataclass(frozen=True)
class Sent:
    """One message as it was sent."""

    sender: str
    receiver: str
    channel: str
    index: int
    message: Any


@dataclass
class Network:
    """All queues between all parties, and the transcript."""

    tamper: Tamper | None = None
    transcript: list[Sent] = field(default_factory=list)
    queues: dict[tuple[str, str, str], asyncio.Queue[Any]] = field(default_factory=dict)
    timeout_s: float = 120.0

    def queue(self, sender: str, receiver: str, channel: str) -> asyncio.Queue[Any]:
        return self.queues.setdefault((sender, receiver, channel), asyncio.Queue())

    def link(self, me: str, peer: str, channel: str = "") -> MemoryLink:
        return MemoryLink(self, PartyId(me), PartyId(peer), channel)


class MemoryLink:
    """Implements mpc.link.Link."""

    def __init__(self, network: Network, me: PartyId, peer: PartyId, channel: str) -> None:
        self._network, self._me, self._peer, self._channel = network, me, peer, channel
        self._sent = self._received = 0

    @property
    def peer(self) -> PartyId:
        return self._peer

    def channel(self, name: str) -> MemoryLink:
        return MemoryLink(self._network, self._me, self._peer, f"{self._channel}/{name}")

    async def send(self, message: object) -> None:
        sent = Sent(self._me, self._peer, self._channel, self._sent, message)
        self._sent += 1
        if self._network.tamper is not None:
            message = self._network.tamper(sent)
            sent = Sent(sent.sender, sent.receiver, sent.channel, sent.index, message)
        self._network.transcript.append(sent)
        self._network.queue(self._me, self._peer, self._channel).put_nowait(message)
        await asyncio.sleep(0)

    async def receive(self, kind: type[T], at_most: int | None = None) -> T:
        queue = self._network.queue(self._peer, self._me, self._channel)
        try:
            async with asyncio.timeout(self._network.timeout_s):   # wait_for of Python 3.11 may swallow a cancellation
                message = await queue.get()
        except TimeoutError:
            raise PeerError(self._peer, self._step(), Reason.TIMEOUT) from None
        self._received += 1
        self.require(type(message) is kind, Reason.WRONG_KIND)
        self.require(at_most is None or payload(message) <= at_most, Reason.WRONG_LENGTH)
        return message  # type: ignore[no-any-return]

    def require(self, ok: bool, reason: Reason) -> None:
        if not ok:
            raise PeerError(self._peer, self._step(), reason)

    def _step(self) -> str:
        return f"{self._channel or 'main'}#{self._received}"


def payload(message: Any) -> int:
    """Bytes of a message's vectors and strings of bytes, as they travel."""
    total = 0
    for name in (one.name for one in fields(message)):
        value = getattr(message, name)
        if isinstance(value, RingVector):
            total += len(value) * ((value.bits + 7) // 8)
        elif isinstance(value, PointVector | SealedVector):
            total += len(value.data)
        elif isinstance(value, bytes):
            total += len(value)
    return total


class AnyLedger(dict[str, LedgerLine]):
    """Allows every line (tests of protocols that are not about the ledger)."""

    def __contains__(self, key: object) -> bool:
        return True


@dataclass
class TestParty:
    """Implements mpc.protocol.Party inside a test."""

    __test__ = False

    id: PartyId
    rng: Rng
    ledger: Ledger
    steps: list[tuple[str, int, int]] = field(default_factory=list)
    threads: bool = False
    burnt: set[tuple[str, int]] = field(default_factory=set)   # give another party the same set: a restart

    def burn(self, what: str, index: int) -> None:
        if (what, index) in self.burnt:
            raise LocalError(f"a mask of {what} was used before")
        self.burnt.add((what, index))

    async def compute(self, step: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        if self.threads:
            return await asyncio.to_thread(step, *args, **kwargs)
        return step(*args, **kwargs)

    async def when_idle(self, step: Callable[[], None], wanted: Callable[[], object], /) -> None:
        while wanted():
            await asyncio.sleep(0)
            await self.compute(step)

    async def together(self, *conversations: Awaitable[Any]) -> list[Any]:
        return await together(*conversations)

    def progress(self, what: str, done: int, total: int) -> None:
        self.steps.append((what, done, total))


async def together(*conversations: Awaitable[Any]) -> list[Any]:
    """Side by side; the first failure cancels the rest and is raised as itself."""

    async def as_coroutine(conversation: Awaitable[Any]) -> Any:
        return await conversation

    tasks = [asyncio.ensure_future(as_coroutine(c)) for c in conversations]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            for conversation in conversations:
                if isinstance(conversation, Coroutine) and getcoroutinestate(conversation) == CORO_CREATED:
                    conversation.close()  # one that was cancelled before it began


def party(name: str, seed: int = 1, ledger: Mapping[str, LedgerLine] | None = None) -> TestParty:
    """A party with deterministic randomness and, by default, a ledger that allows everything."""
    rng = Rng(seed.to_bytes(32, "big")).child(name)
    return TestParty(PartyId(name), rng, Ledger(AnyLedger() if ledger is None else ledger))


async def run_roles(roles: Mapping[str, Coroutine[Any, Any, Any]]) -> dict[str, Any]:
    """Run one coroutine per party; the first failure wins."""
    names = list(roles)
    return dict(zip(names, await together(*roles.values()), strict=True))
