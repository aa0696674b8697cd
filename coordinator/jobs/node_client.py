"""One node as the coordinator reaches it: the control service behind mutual TLS, errors in the shared vocabulary."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Mapping
from dataclasses import fields
from typing import TypeVar

import grpc
import grpc.aio
from pydantic import ValidationError

from coordinator.jobs.driver import Answer, JobEvent, NodeView
from coordinator.jobs.forecast import Rehearsed
from wire.certificates import TlsIdentity
from wire.consortium import Consortium, Member
from wire.description import decode_datasets
from wire.diagnosis import why_unreachable
from wire.errors import PublicError, RemoteFailure, WireError, from_rpc, from_wire, printable, to_public
from wire.gatekeeper import Gatekeeper
from wire.record import PartyPart
from wire.tls import reach
from wire.v1 import control_pb2, control_pb2_grpc

T = TypeVar("T")
CALL_S = 30.0
REHEARSE_S = 60.0
RETRIES = 3
RETRY_S = 0.5
_STATES = {
    control_pb2.Event.RUNNING: "running",
    control_pb2.Event.FINISHED: "finished",
    control_pb2.Event.FAILED: "failed",
    control_pb2.Event.CANCELLED: "cancelled",
}


class NodeClient:
    """Implements coordinator.jobs.driver.Node."""

    def __init__(self, member: Member, keeper: Gatekeeper, identity: TlsIdentity) -> None:
        self.party = member.id
        self._member, self._keeper, self._identity = member, keeper, identity
        self._channel: grpc.aio.Channel | None = None
        self._given_up: list[grpc.aio.Channel] = []     # closed at the end: another call may still be on one
        self._reaching = asyncio.Lock()

    async def close(self) -> None:
        for channel in (self._channel, *self._given_up):
            if channel is not None:
                await channel.close(None)

    async def describe(self) -> NodeView:
        stub = await self._stub()
        answer = await self._call(stub.Describe(control_pb2.DescribeRequest(), timeout=CALL_S))
        if answer.party != self.party:
            raise RemoteFailure(PublicError("wrong-input", f"{self.party} calls itself by another name", self.party))
        try:
            datasets = decode_datasets(answer.datasets_json)
        except ValidationError:
            raise RemoteFailure(PublicError("wrong-input", f"{self.party} describes its datasets in a form that is "
                                            "not understood", self.party, "compare the versions")) from None
        return NodeView(
            party=answer.party,
            identity=answer.identity,
            engine=answer.engine,
            protocols=dict(answer.protocols),
            datasets=datasets,
            clock_skew_s=answer.clock_ms / 1000 - time.time(),
        )

    async def rehearse(self, spec: bytes) -> Rehearsed:
        stub = await self._stub()
        answer = await self._call(stub.Rehearse(control_pb2.RehearseRequest(spec=spec), timeout=REHEARSE_S))
        return Rehearsed(**{part.name: max(0.0, getattr(answer, part.name)) for part in fields(Rehearsed)})

    async def propose(self, spec: bytes) -> Answer:
        stub = await self._stub()
        decision = await self._call(stub.Propose(control_pb2.Proposal(spec=spec), timeout=CALL_S))
        if decision.outcome == control_pb2.Decision.APPROVED:
            return Answer(decision.signature, False, None)
        error = from_wire(decision.error) if decision.HasField("error") else None
        return Answer(None, decision.outcome == control_pb2.Decision.PENDING, error)

    async def start(self, spec: bytes, approvals: Mapping[str, bytes]) -> None:
        signed = [control_pb2.Approval(party=party, signature=s) for party, s in sorted(approvals.items())]
        request = control_pb2.StartRequest(spec=spec, approvals=signed)
        stub = await self._stub()
        await self._call(stub.Start(request, timeout=CALL_S))

    async def watch(self, job: str, after: int) -> AsyncGenerator[JobEvent, None]:
        """Events until the last; a broken stream is taken up again where it stopped, a few times."""
        failures = 0
        while True:
            stream = (await self._stub()).Watch(control_pb2.WatchRequest(job=job, after_sequence=after))
            try:
                async for event in stream:
                    failures, after = 0, event.sequence
                    yield self._event(event)
                    if event.state != control_pb2.Event.RUNNING:
                        return
                return
            except grpc.aio.AioRpcError as error:
                failures += 1
                if error.code() != grpc.StatusCode.UNAVAILABLE or failures > RETRIES:
                    raise await self._explained(error) from None
                await asyncio.sleep(RETRY_S)
            finally:
                stream.cancel()     # whoever leaves before the last event leaves no call behind

    async def cancel(self, job: str, reason: str) -> bool:
        request = control_pb2.CancelRequest(job=job, reason=reason)
        stub = await self._stub()
        return bool((await self._call(stub.Cancel(request, timeout=CALL_S))).was_running)

    async def _stub(self) -> control_pb2_grpc.ControlAsyncStub:
        """The node's calls, once its certificate was looked at; RemoteFailure if it is not in order."""
        async with self._reaching:
            if self._channel is None:
                try:
                    self._channel = (await reach(self._member, self._keeper, self._identity)).channel
                except WireError as error:
                    raise RemoteFailure(to_public(error, self.party)) from None
                except OSError:
                    raise await self._unreachable() from None
            return control_pb2_grpc.ControlStub(self._channel)

    async def _call(self, call: Awaitable[T]) -> T:
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise await self._explained(error) from None

    async def _explained(self, error: grpc.aio.AioRpcError) -> RemoteFailure:
        """A refused handshake and a dead process look alike to gRPC: a closer look tells them apart."""
        if error.code() != grpc.StatusCode.UNAVAILABLE:
            return from_rpc(error, self.party)
        if self._channel is not None:    # the node may come back with another certificate: it is looked at again
            self._given_up.append(self._channel)
            self._channel = None
        return await self._unreachable()

    async def _unreachable(self) -> RemoteFailure:
        return RemoteFailure(to_public(await why_unreachable(self._member, self._keeper, self._identity), self.party))

    def _event(self, event: control_pb2.Event) -> JobEvent:
        part = None
        if event.state == control_pb2.Event.FINISHED:
            try:
                part = PartyPart.model_validate_json(event.public_record_json)
            except ValidationError:
                raise RemoteFailure(PublicError("wrong-input", f"{self.party} hands over a record in a form that is "
                                                "not understood", self.party, "compare the versions")) from None
        return JobEvent(
            party=self.party,
            sequence=event.sequence,
            stage=printable(event.stage),
            what=printable(event.what),
            done=event.done,
            total=event.total,
            state=_STATES.get(event.state, "failed"),
            error=from_wire(event.error) if event.HasField("error") else None,
            part=part,
        )


def connect(consortium: Consortium, identity: TlsIdentity) -> dict[str, NodeClient]:
    """A client for every institution; nothing is dialled before the first call."""
    keeper = Gatekeeper(consortium, identity)
    return {member.id: NodeClient(member, keeper, identity) for member in consortium.party}
