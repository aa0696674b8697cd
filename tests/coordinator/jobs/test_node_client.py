"""The coordinator looks at the certificate of every node that it dials, by its own list of withdrawn ones."""

from __future__ import annotations

import pytest

from coordinator.jobs.node_client import connect
from tests.wire.conftest import World, identity
from tests.wire.test_strangers import Untouchable
from wire import certificates
from wire.errors import RemoteFailure
from wire.gatekeeper import Gatekeeper
from wire.v1 import control_pb2, control_pb2_grpc


class Node(Untouchable):
    """Describes itself, and remembers what it was shown."""

    async def Propose(self, request: control_pb2.Proposal, context: object) -> control_pb2.Decision:
        self.reached += 1
        return control_pb2.Decision(outcome=control_pb2.Decision.PENDING)


async def asked(world: World, service: Node) -> None:
    """The coordinator proposes a job to bank-b."""
    nodes = connect(world.consortium, identity("conductor"))
    try:
        await nodes["bank-b"].propose(b"a job spec")
    finally:
        await nodes["bank-b"].close()


@pytest.mark.parametrize("defended", [True, False], ids=["defended", "control"])
async def test_a_withdrawn_certificate_is_shown_no_job(monkeypatch: pytest.MonkeyPatch, defended: bool) -> None:
    world, service, stolen = World(("bank-a", "bank-b")), Node(), identity("bank-b")
    await world.start("bank-b", tls=stolen,
                      services=lambda server: control_pb2_grpc.add_ControlServicer_to_server(service, server))
    world.denied_serials = (certificates.serial(stolen.certificate_pem),)
    try:
        if not defended:
            monkeypatch.setattr(Gatekeeper, "identify_dialled", lambda self, pem, member: self.identify(
                identity("bank-a").certificate_pem))
            await asked(world, service)
        else:
            with pytest.raises(RemoteFailure, match="was withdrawn") as caught:
                await asked(world, service)
            assert (caught.value.public.code, caught.value.public.whose) == ("unauthenticated", "bank-b")
        assert service.reached == (0 if defended else 1)
    finally:
        await world.stop()


async def test_a_node_that_comes_back_with_another_certificate_is_reached_again() -> None:
    world, service = World(("bank-a", "bank-b")), Node()

    def register(server: object) -> None:
        control_pb2_grpc.add_ControlServicer_to_server(service, server)

    await world.start("bank-b", services=register)
    port = world.listeners["bank-b"].port
    nodes = connect(world.consortium, identity("conductor"))
    try:
        await nodes["bank-b"].propose(b"a job spec")
        await world.stop()
        with pytest.raises(RemoteFailure, match="its process is down"):
            await nodes["bank-b"].propose(b"a job spec")
        await world.start("bank-b", services=register, port=port)
        await nodes["bank-b"].propose(b"a job spec")
        assert service.reached == 2
    finally:
        await nodes["bank-b"].close()
        await world.stop()
