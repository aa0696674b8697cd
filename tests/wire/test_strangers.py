"""Strangers against every call: refused, logged, nothing changed. Real sockets, real TLS."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace

import grpc
import pytest
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from tests.wire.conftest import World, authority, identity
from tests.wire.forgery import dns, forged, in_a_week, long_ago, uri
from wire import certificates
from wire.errors import RemoteFailure, Unauthenticated, from_rpc
from wire.gatekeeper import Gatekeeper
from wire.interceptors import ACCESS, Rule
from wire.tls import COMMON_OPTIONS
from wire.v1 import control_pb2, control_pb2_grpc

STRANGERS = {
    "no certificate": lambda: None,
    "self-signed": lambda: forged(None, [dns("bank-a"), uri("bank-a")], cn="bank-a"),
    "other CA": lambda: certificates.issue(certificates.create_authority("nobody"), "bank-a"),
    "expired": lambda: certificates.issue(authority("bank-a"), "bank-a", now=long_ago()),
    "not yet valid": lambda: certificates.issue(authority("bank-a"), "bank-a", now=in_a_week()),
    "two SANs": lambda: forged("bank-a", [dns("bank-a"), dns("conductor"), uri("bank-a")]),
    "CN only": lambda: forged("bank-a", [], cn="conductor"),
    "another party's name under one's own CA": lambda: certificates.issue(authority("bank-a"), "conductor"),
    "a name that nobody knows": lambda: certificates.issue(authority("bank-a"), "bank-z"),
}
AT_THE_HANDSHAKE = {"no certificate", "self-signed", "other CA", "expired", "not yet valid"}
METHODS = [*ACCESS, "/wire.v1.Control/Erase", "/no.such.Service/Call"]


class Untouchable(control_pb2_grpc.ControlServicer):
    """Counts who gets through."""

    def __init__(self) -> None:
        self.reached = 0

    async def Describe(self, request, context):
        self.reached += 1
        return control_pb2.Description(party="bank-b")

    async def Propose(self, request, context):
        self.reached += 1
        raise ZeroDivisionError("CANARY-77aa")

    async def Watch(self, request, context):
        self.reached += 1
        yield control_pb2.Event(sequence=1)

    Rehearse = Start = Cancel = Describe


def channel(world, leaf: certificates.Issued | None, party: str = "bank-b") -> grpc.aio.Channel:
    """As a stranger would dial: with whatever it has, unchecked."""
    ca = authority(party).certificate_pem
    credentials = (
        grpc.ssl_channel_credentials(ca) if leaf is None
        else grpc.ssl_channel_credentials(ca, leaf.key_pem, leaf.certificate_pem)
    )
    options = [*COMMON_OPTIONS, ("grpc.ssl_target_name_override", party)]
    return grpc.aio.secure_channel(world.addresses[party][0], credentials, options=options)


async def knock(through: grpc.aio.Channel, method: str) -> grpc.StatusCode:
    """Any call at all; the status that comes back."""
    try:
        if method.endswith(("Converse", "Watch")):
            call = through.stream_stream(method)()
            with contextlib.suppress(asyncio.InvalidStateError):   # it may be refused before its first word has left
                await call.write(b"")
                await call.read()
            return await call.code()
        await through.unary_unary(method)(b"", timeout=5)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


@pytest.mark.parametrize("stranger", STRANGERS)
async def test_twenty_strangers_at_once_are_refused_at_every_call_and_change_nothing(make_world, stranger, capfd):
    world, service = make_world(), Untouchable()
    hub = await world.start("bank-b", services=lambda s: control_pb2_grpc.add_ControlServicer_to_server(service, s))
    through = [channel(world, STRANGERS[stranger]()) for _ in range(20)]
    with capture_logs() as logs:
        statuses = await asyncio.gather(
            *(knock(through[i], METHODS[i % len(METHODS)]) for i in range(20)),
        )
    for one in through:
        await one.close()
    expected = grpc.StatusCode.UNAVAILABLE if stranger in AT_THE_HANDSHAKE else grpc.StatusCode.UNAUTHENTICATED
    assert set(statuses) == {expected}
    assert service.reached == 0
    assert not hub._streams
    assert not hub._early
    if stranger in AT_THE_HANDSHAKE:
        assert capfd.readouterr().err.count("Handshake failed") >= 20
    else:
        assert len([line for line in logs if line["event"] == "call refused"]) == 20


async def test_the_handshake_alone_would_let_one_institution_s_ca_name_another(make_world, monkeypatch):
    """A planted fault: without the check of every call the table above would go red."""
    world, service = make_world(), Untouchable()
    await world.start("bank-b", services=lambda s: control_pb2_grpc.add_ControlServicer_to_server(service, s))
    monkeypatch.setattr("wire.certificates.check", lambda pem, party, ca, now=None: x509.load_pem_x509_certificate(pem))
    async with channel(world, STRANGERS["another party's name under one's own CA"]()) as through:
        assert await knock(through, "/wire.v1.Control/Describe") == grpc.StatusCode.OK
    assert service.reached == 1


WRONG_ROLES = [
    (party, method) for method, rule in ACCESS.items() for party, role in
    (("bank-a", "peer"), ("bank-b", "self"), ("conductor", "coordinator")) if role not in rule.roles
]


async def test_known_callers_are_refused_where_their_role_has_no_right(make_world):
    world, service = make_world(), Untouchable()
    await world.start("bank-b", services=lambda s: control_pb2_grpc.add_ControlServicer_to_server(service, s))
    assert len(WRONG_ROLES) >= 12
    for party, method in WRONG_ROLES:
        async with channel(world, identity(party)) as through:
            assert await knock(through, method) == grpc.StatusCode.PERMISSION_DENIED, (party, method)
    assert service.reached == 0


async def test_a_stream_is_closed_when_its_caller_leaves(make_world):
    world, closed = make_world(), []

    class Endless(Untouchable):
        async def Watch(self, request, context):
            try:
                for sequence in range(10**6):
                    yield control_pb2.Event(sequence=sequence)
                    await asyncio.sleep(0)
            finally:
                closed.append(sequence)

    await world.start("bank-b", services=lambda s: control_pb2_grpc.add_ControlServicer_to_server(Endless(), s))
    async with channel(world, identity("conductor")) as through:
        call = control_pb2_grpc.ControlStub(through).Watch(control_pb2.WatchRequest())
        assert (await call.read()).sequence == 0
        call.cancel()
    async with asyncio.timeout(3):
        while not closed:
            await asyncio.sleep(0.01)


async def test_the_coordinator_is_let_in_and_a_bug_shows_no_text(make_world):
    world, service = make_world(), Untouchable()
    await world.start("bank-b", services=lambda s: control_pb2_grpc.add_ControlServicer_to_server(service, s))
    async with channel(world, identity("conductor")) as through:
        stub = control_pb2_grpc.ControlStub(through)
        assert (await stub.Describe(control_pb2.DescribeRequest())).party == "bank-b"
        assert [event.sequence async for event in stub.Watch(control_pb2.WatchRequest())] == [1]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Propose(control_pb2.Proposal())
    failure = from_rpc(caught.value, "bank-b")
    assert isinstance(failure, RemoteFailure)
    assert failure.public.code == "bug"
    assert "CANARY" not in str(failure) + str(caught.value)


async def test_a_message_beyond_the_bound_is_refused_unread(make_world):
    world, service = make_world(), Untouchable()
    await world.start("bank-b", services=lambda s: control_pb2_grpc.add_ControlServicer_to_server(service, s))
    options = [("grpc.ssl_target_name_override", "bank-b"), ("grpc.max_send_message_length", -1)]
    leaf = identity("conductor")
    credentials = grpc.ssl_channel_credentials(
        authority("bank-b").certificate_pem, leaf.key_pem, leaf.certificate_pem
    )
    async with grpc.aio.secure_channel(world.addresses["bank-b"][0], credentials, options=options) as through:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await control_pb2_grpc.ControlStub(through).Propose(control_pb2.Proposal(spec=bytes(5 << 20)))
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert service.reached == 0


async def test_health_is_told_to_members_only(make_world):
    world = make_world()
    await world.start("bank-b")
    for party in ("bank-a", "bank-b", "conductor"):
        async with channel(world, identity(party)) as through:
            answer = await health_pb2_grpc.HealthStub(through).Check(health_pb2.HealthCheckRequest())
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.1", None])
def test_a_call_over_anything_older_than_tls_1_3_is_refused(version):
    leaf = identity("bank-a")
    properties = {"x509_pem_cert": [leaf.certificate_pem]}
    if version:
        properties["ssl_tls_version"] = [version.encode()]
    keeper = Gatekeeper(World(("bank-a", "bank-b")).consortium, identity("bank-b"))
    with pytest.raises(Unauthenticated) as caught:
        keeper.identify_call(SimpleNamespace(auth_context=lambda: properties))
    assert caught.value.reason == "old-tls"
    properties["ssl_tls_version"] = [b"TLSv1.3"]
    assert keeper.identify_call(SimpleNamespace(auth_context=lambda: properties)).party == "bank-a"


async def test_plaintext_gets_no_answer(make_world):
    world = make_world()
    await world.start("bank-b")
    async with grpc.aio.insecure_channel(world.addresses["bank-b"][0]) as through:
        with pytest.raises(grpc.aio.AioRpcError):
            await through.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=2)


async def test_a_handler_that_takes_too_long_is_cut_off(make_world, monkeypatch):
    class Slow(Untouchable):
        async def Start(self, request, context):
            await asyncio.sleep(30)

    world, method = make_world(), "/wire.v1.Control/Start"
    monkeypatch.setitem(ACCESS, method, Rule(ACCESS[method].roles, 0.1, 8))
    await world.start("bank-b", services=lambda s: control_pb2_grpc.add_ControlServicer_to_server(Slow(), s))
    async with channel(world, identity("conductor")) as through:
        assert await knock(through, method) == grpc.StatusCode.DEADLINE_EXCEEDED
