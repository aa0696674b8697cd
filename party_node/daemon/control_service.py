"""The control service: what a coordinator may ask of this node. Each handler translates, calls, translates."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING

import grpc.aio

from mpc.kernels.engines.selection import engine_name
from mpc.protocols import PROTOCOLS
from party_node.jobs.events import FeedEvent, FeedState
from party_node.jobs.runner import Jobs
from wire.description import encode_datasets
from wire.errors import to_wire
from wire.interceptors import current_caller
from wire.v1 import control_pb2, control_pb2_grpc

if TYPE_CHECKING:
    from wire.gatekeeper import Context

_STATES = {
    FeedState.RUNNING: control_pb2.Event.RUNNING,
    FeedState.FINISHED: control_pb2.Event.FINISHED,
    FeedState.FAILED: control_pb2.Event.FAILED,
    FeedState.CANCELLED: control_pb2.Event.CANCELLED,
}


def add_control(jobs: Jobs, server: grpc.aio.Server) -> None:
    """Let `server` answer for `jobs`."""
    control_pb2_grpc.add_ControlServicer_to_server(ControlService(jobs), server)


class ControlService(control_pb2_grpc.ControlServicer):
    """Implements wire.v1.Control over the node's jobs."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    async def Describe(
        self, request: control_pb2.DescribeRequest, context: Context
    ) -> control_pb2.Description:
        datasets = self._jobs.describe(current_caller().party)
        return control_pb2.Description(
            party=self._jobs.party,
            software=version("joint-credit-risk"),
            protocols={name: spec.version for name, spec in PROTOCOLS.items()},
            engine=engine_name(),
            datasets_json=encode_datasets(datasets),
            clock_ms=int(time.time() * 1000),
            identity=self._jobs.identity_hex,
        )

    async def Rehearse(self, request: control_pb2.RehearseRequest, context: Context) -> control_pb2.Rehearsal:
        found = await self._jobs.rehearse(request.spec, current_caller().party)
        return control_pb2.Rehearsal(**asdict(found))

    async def Propose(self, request: control_pb2.Proposal, context: Context) -> control_pb2.Decision:
        answer = self._jobs.propose(request.spec, current_caller().party)
        if answer.error is None:
            return control_pb2.Decision(outcome=control_pb2.Decision.APPROVED, signature=answer.signature or b"")
        outcome = control_pb2.Decision.PENDING if answer.pending else control_pb2.Decision.DENIED
        return control_pb2.Decision(outcome=outcome, error=to_wire(answer.error))

    async def Start(self, request: control_pb2.StartRequest, context: Context) -> control_pb2.Started:
        approvals = {approval.party: approval.signature for approval in request.approvals}
        return control_pb2.Started(job=self._jobs.start(request.spec, approvals, current_caller().party))

    async def Watch(
        self, request: control_pb2.WatchRequest, context: Context
    ) -> AsyncIterator[control_pb2.Event]:
        feed = self._jobs.feed(request.job, current_caller().party)
        async with aclosing(feed.follow(request.after_sequence)) as events:
            async for event in events:
                yield _event(event)

    async def Cancel(self, request: control_pb2.CancelRequest, context: Context) -> control_pb2.Cancelled:
        running = self._jobs.cancel(request.job, current_caller().party, request.reason)
        return control_pb2.Cancelled(was_running=running)


def _event(event: FeedEvent) -> control_pb2.Event:
    return control_pb2.Event(
        sequence=event.sequence,
        time_ms=event.time_ms,
        stage=event.stage,
        what=event.what,
        done=event.done,
        total=event.total,
        state=_STATES[event.state],
        error=None if event.error is None else to_wire(event.error),
        public_record_json=event.record,
    )
