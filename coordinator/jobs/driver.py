"""How one job moves: describe, propose, collect approvals, start, watch to the end. No state outside the store.

   describe all -> spec -> propose to all -> (a person decides where a policy asks for one) -> start all -> watch all
A refusal or a failure at one node ends the job at all of them; whose it was is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

from coordinator.jobs.plan import JobPlan, PlanError, build_spec
from coordinator.jobs.store import Store
from wire.awaited import each, together
from wire.description import DatasetDescription
from wire.errors import Denied, Overdue, PublicError, RemoteFailure, to_public
from wire.record import PartyPart, merge
from wire.signing import check_approvals
from wire.spec.job import JobSpec, encode_spec, job_id

ASK_AGAIN_S = 2.0
CLOCK_SKEW_S = 60.0
GRACE_S = 1.0


@dataclass(frozen=True)
class NodeView:
    """What a node says about itself."""

    party: str
    identity: str
    engine: str
    protocols: Mapping[str, int]
    datasets: Sequence[DatasetDescription]
    clock_skew_s: float


@dataclass(frozen=True)
class Answer:
    """A node's decision on a proposal: a signature, or why not (yet)."""

    signature: bytes | None
    pending: bool
    error: PublicError | None


@dataclass(frozen=True)
class JobEvent:
    """One line of progress at one node."""

    party: str
    sequence: int
    stage: str
    what: str
    done: int
    total: int
    state: str                      # running, finished, failed, cancelled
    error: PublicError | None = None
    part: PartyPart | None = None


class Node(Protocol):
    """One node as the coordinator reaches it."""

    party: str

    async def describe(self) -> NodeView: ...
    async def propose(self, spec: bytes) -> Answer: ...
    async def start(self, spec: bytes, approvals: Mapping[str, bytes]) -> None: ...
    def watch(self, job: str, after: int) -> AsyncGenerator[JobEvent, None]: ...
    async def cancel(self, job: str, reason: str) -> bool: ...


class JobFailed(RemoteFailure):
    """The job ended at a node, which says why; nothing was released."""


OnEvent = Callable[[JobEvent], None]


async def survey(nodes: Mapping[str, Node]) -> dict[str, NodeView]:
    """All nodes' descriptions; the first that cannot be reached is raised by name."""
    views = await together(*(node.describe() for node in nodes.values()))
    for view in views:
        if abs(view.clock_skew_s) > CLOCK_SKEW_S:
            raise PlanError(f"the clock of {view.party} differs by {abs(view.clock_skew_s):.0f} s",
                            f"on {view.party}: set the clock (NTP)", view.party)
    return {view.party: view for view in views}


async def prepare(plan: JobPlan, nodes: Mapping[str, Node]) -> tuple[JobSpec, dict[str, NodeView]]:
    """The spec for `plan` from what the nodes offer; nothing cryptographic has happened yet."""
    for planned in plan.party:
        if planned.id not in nodes:
            raise PlanError(f"{planned.id} is not in the consortium file", "join it first, or mend job.toml")
    wanted = {planned.id: nodes[planned.id] for planned in plan.party}
    views = await survey(wanted)
    spec = build_spec(plan, {p: v.datasets for p, v in views.items()}, {p: v.identity for p, v in views.items()})
    for party, view in sorted(views.items()):
        if dict(view.protocols) != spec.protocols:
            raise PlanError(f"{party} runs other protocol versions than this coordinator",
                            "bring all sides to one version", party)
    return spec, views


async def launch(
    spec: JobSpec,
    nodes: Mapping[str, Node],
    store: Store,
    on_event: OnEvent,
    say: Callable[[str], None],
    wait_for_approval_s: float,
) -> dict[str, Any]:
    """Run the job to its end and return its public record. Denied, Overdue, JobFailed or RemoteFailure otherwise."""
    data = encode_spec(spec)
    job = job_id(data)
    created = store.add(job, spec.purpose, data)
    say(f"job {job[:12]} proposed to {', '.join(p.id for p in spec.parties)}")
    members = {p.id: nodes[p.id] for p in spec.parties}
    state = "failed"
    try:
        try:
            approvals = await _approvals(members, data, say, wait_for_approval_s)
        except Denied:
            state = "denied"
            raise
        check_approvals(spec, data, approvals)
        store.move(job, "running", approvals={p: s.hex() for p, s in approvals.items()})
        say("all parties signed; starting")
        await _all(*(node.start(data, approvals) for node in members.values()))
        record = _merged(spec, job, created, approvals, await _watch_all(members, job, on_event))
    except BaseException as error:
        public = to_public(error, "coordinator")
        stopped = isinstance(error, asyncio.CancelledError)
        try:
            await _cancel_all(members, job, "the operator stopped it" if stopped else f"{public.whose}: {public.what}")
        finally:    # stopped once more, it still says how the job ended
            store.move(job, "cancelled" if public.code == "cancelled" else state, error=vars(public))
        raise
    store.move(job, "finished", record=record)
    return record


def _merged(
    spec: JobSpec, job: str, created: str, approvals: Mapping[str, bytes], parts: Mapping[str, PartyPart]
) -> dict[str, Any]:
    try:
        return merge(spec, job, created, approvals, parts)
    except ValueError as error:  # all ended well and contradict one another: one of them did not run our job
        raise JobFailed(PublicError("peer-broke-protocol", str(error), "", "compare the logs of the nodes")) from None


async def _approvals(
    nodes: Mapping[str, Node], spec: bytes, say: Callable[[str], None], wait_s: float
) -> dict[str, bytes]:
    deadline = asyncio.get_running_loop().time() + wait_s
    waited: set[str] = set()

    async def ask(node: Node) -> bytes:
        while True:
            answer = await node.propose(spec)
            if answer.signature is not None:
                return answer.signature
            if not answer.pending:
                error = answer.error or PublicError("denied", f"{node.party} denied the job", node.party)
                raise Denied(error.what, whose=node.party, advice=error.advice, reason=error.reason)
            if node.party not in waited:
                say(f"waiting for a person at {node.party}: party-node approve {job_id(spec)[:12]}")
                waited.add(node.party)
            if asyncio.get_running_loop().time() > deadline:
                raise Overdue(f"nobody at {node.party} approved the job in {wait_s:.0f} s", whose=node.party,
                              advice=f"on {node.party}: party-node approve {job_id(spec)[:12]}, then launch again")
            await asyncio.sleep(ASK_AGAIN_S)

    signatures = await _all(*(ask(node) for node in nodes.values()))
    if waited:   # whoever approved early may have withdrawn it: heard here, it costs nobody a budget
        signatures = await _all(*(ask(node) for node in nodes.values()))
    return dict(zip(nodes, signatures, strict=True))


async def _watch_all(nodes: Mapping[str, Node], job: str, on_event: OnEvent) -> dict[str, PartyPart]:
    async def follow(node: Node) -> PartyPart:
        async with aclosing(node.watch(job, 0)) as events:
            async for event in events:
                on_event(event)
                if event.state == "finished" and event.part is not None:
                    return event.part
                if event.state in ("failed", "cancelled"):
                    raise JobFailed(event.error or PublicError("bug", f"{node.party} gave no reason", node.party))
        raise JobFailed(PublicError("unreachable", f"{node.party} stopped answering", node.party,
                                    f"on {node.party}: party-node doctor"))

    parts = await _all(*(follow(node) for node in nodes.values()))
    return dict(zip(nodes, parts, strict=True))


async def _all(*work: Awaitable[Any]) -> list[Any]:
    """At all nodes; the first failure ends it, and the others have a moment to say what they saw: the root cause is
    often on the other side. A node's own verdict goes before 'it stopped because of X'."""
    return await together(*work, grace_s=GRACE_S, distance=_distance)


def _distance(error: BaseException) -> int:
    """How far from the root cause an error is likely to be."""
    if isinstance(error, JobFailed):
        return {"cancelled": 3, "peer-stopped": 3, "unreachable": 1, "peer-gone": 1}.get(error.public.code, 0)
    return 2 if isinstance(error, RemoteFailure) else 0


async def _cancel_all(nodes: Mapping[str, Node], job: str, reason: str) -> None:
    """Best effort: a node that cannot be reached stops by itself when nobody watches."""
    async def stop(node: Node) -> None:
        async with asyncio.timeout(3.0):
            await node.cancel(job, reason)

    await each(*(stop(node) for node in nodes.values()))
