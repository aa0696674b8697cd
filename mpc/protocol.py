"""What a role is given (`Party`) and how a protocol describes itself (`ProtocolSpec`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from mpc.errors import LocalError
from mpc.link import PartyId
from mpc.rng import Rng

T = TypeVar("T")


@dataclass(frozen=True)
class LedgerLine:
    """One thing that a party finds out: a masked value (uniform, says nothing) or a revealed one."""

    code: str          # e.g. "train.delta"
    kind: str          # "masked" | "revealed"
    to: str            # "all" | "label_holder" | "owner" | "coordinator"
    what: str          # the sentence that the report prints


@dataclass
class Ledger:
    """Counts what was opened, and refuses what the signed spec does not list."""

    allowed: Mapping[str, LedgerLine]
    opened: dict[str, int] = field(default_factory=dict)

    def record(self, code: str, count: int = 1, *, common: bool | None = None) -> None:
        """Note `count` values opened under `code`; LocalError if the spec has no such line.

        `common` says who is about to see them, all parties or one: LocalError if the line says otherwise.
        """
        if code not in self.allowed:
            raise LocalError(f"opening {code!r} is not in the reveal list that all parties signed")
        line = self.allowed.get(code)
        if line is not None and common is not None and common != (line.to == "all"):
            raise LocalError(f"opening {code!r} to {'all parties' if common else 'one party'} is not what was signed: "
                             f"it is for {line.to}")
        self.opened[code] = self.opened.get(code, 0) + count


class Party(Protocol):
    """One institution inside one protocol run."""

    @property
    def id(self) -> PartyId: ...

    @property
    def rng(self) -> Rng: ...

    @property
    def ledger(self) -> Ledger: ...

    def burn(self, what: str, index: int) -> None:
        """Note for good that the one-time values `index` of `what` are used, before anything made with them leaves;
        LocalError if they were used before, by an earlier process too."""
        ...

    async def compute(self, step: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """Run a pure step off the event loop (thread pool over kernels that release the GIL, or a cluster)."""
        ...

    async def when_idle(self, step: Callable[[], None], wanted: Callable[[], object], /) -> None:
        """`compute` the step as long as it is `wanted`, but never before every other step is done: for short work that
        may as well be done later, or not at all. Returns as soon as it is not wanted."""
        ...

    async def together(self, *conversations: Awaitable[Any]) -> list[Any]:
        """Run conversations side by side; the first failure cancels the others and is raised."""
        ...

    def progress(self, what: str, done: int, total: int) -> None:
        """Report `done` of `total` units of the step `what` (public sizes only)."""
        ...


@dataclass(frozen=True)
class ProtocolSpec:
    """A protocol's face: what its roles are, what it computes, and what each role learns (README, policy, ledger)."""

    name: str
    version: int
    messages: tuple[type, ...]
    roles: Mapping[str, Callable[..., Awaitable[Any]]]
    ideal: Callable[..., Any]
    learns: Mapping[str, str]
    ledger: tuple[LedgerLine, ...] = ()
