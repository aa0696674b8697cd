"""Nodes that answer as they are told, a plan and what the nodes offer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from coordinator.jobs.driver import Answer, JobEvent, NodeView
from coordinator.jobs.forecast import Rehearsed
from coordinator.jobs.plan import JobPlan
from mpc.protocols import PROTOCOLS
from wire.description import DatasetDescription
from wire.errors import PublicError
from wire.record import PartyPart
from wire.signing import Identity, approve

SHAPE = {"digits_only": 0.0, "with_at": 0.0, "hexadecimal": 0.0, "length_5_8": 1.0}
IDENTITIES = {name: Identity.generate() for name in ("bank", "shop", "telecom")}


def dataset(name: str, columns: dict[str, str], **changes: Any) -> DatasetDescription:
    """What a node tells of one dataset; `columns`: name -> kind."""
    return DatasetDescription.model_validate({
        "name": name, "digest": "d" * 64, "rows": 1200, "id_columns": ["customer"],
        "id_profiles": ["plain"], "id_scheme": "written", "id_shapes": [SHAPE], "label_column": None,
        "columns": [{"name": column, "kind": kind} for column, kind in columns.items()], "purposes": ["credit risk"],
    } | changes)


@dataclass
class FakeNode:
    """A node in this process: `refusal`, `pending` and `ends` say what it does."""

    party: str
    datasets: list[DatasetDescription]
    refusal: PublicError | None = None
    pending: int = 0                                      # proposals that wait for a person before the signature
    ends: JobEvent | Exception | None = None              # None: finishes well
    until_cancelled: bool = False                         # its last event comes when it is told to stop
    signs_as: str = ""
    skew_s: float = 0.0
    protocols: dict[str, int] = field(default_factory=lambda: {n: spec.version for n, spec in PROTOCOLS.items()})
    calls: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    async def describe(self) -> NodeView:
        self.calls.append("describe")
        key = IDENTITIES[self.party].public_hex
        return NodeView(self.party, key, "gmp", self.protocols, self.datasets, self.skew_s)

    async def rehearse(self, spec: bytes) -> Rehearsed:
        self.calls.append("rehearse")
        return Rehearsed(fixed_s=1.0, row_s=0.01 if self.party == "bank" else 0.02, id_s=1e-4, function_s=1e-6)

    async def propose(self, spec: bytes) -> Answer:
        self.calls.append("propose")
        if self.refusal is not None:
            return Answer(None, False, self.refusal)
        if self.pending > 0:
            self.pending -= 1
            return Answer(None, True, None)
        return Answer(approve(IDENTITIES[self.signs_as or self.party], self.party, spec), False, None)

    async def start(self, spec: bytes, approvals: Mapping[str, bytes]) -> None:
        self.calls.append("start")

    async def watch(self, job: str, after: int) -> AsyncIterator[JobEvent]:
        self.calls.append("watch")
        yield JobEvent(self.party, 1, "align", "begins", 0, 0, "running")
        await asyncio.sleep(0)
        if self.until_cancelled:
            await self.stopped.wait()
        if isinstance(self.ends, Exception):
            raise self.ends
        yield self.ends or JobEvent(self.party, 2, "finish", "ends", 1, 1, "finished", part=self.part())

    async def cancel(self, job: str, reason: str) -> bool:
        self.calls.append("cancel")
        self.reasons.append(reason)
        self.stopped.set()
        return True

    def part(self, **changes: Any) -> PartyPart:
        return PartyPart.model_validate({"party": self.party, "common": 500, "train_rows": 350, "test_rows": 150}
                                        | changes)

    def failed(self, code: str, what: str = "it broke", whose: str = "") -> JobEvent:
        """The last event of a job that failed here."""
        return JobEvent(self.party, 2, "train", "ends", 0, 0, "failed", PublicError(code, what, whose or self.party))


@pytest.fixture
def nodes() -> dict[str, FakeNode]:
    return {
        "bank": FakeNode("bank", [dataset("loans", {"income": "numeric", "region": "categorical", "bad": "numeric"},
                                          label_column="bad", label_positive=["1"])]),
        "shop": FakeNode("shop", [dataset("orders", {"basket": "numeric", "returns": "numeric"})]),
    }


@pytest.fixture
def plan() -> JobPlan:
    return JobPlan.model_validate({
        "purpose": "credit risk", "label": {"party": "bank", "column": "bad"},
        "party": [{"id": "shop", "dataset": "orders"}, {"id": "bank", "dataset": "loans"}],
    })
