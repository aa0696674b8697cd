"""A node's two listeners: the service behind mutual TLS, and the doctor that tells a refused caller why.

Refuses to start with a certificate that peers would refuse. Knows no handler: the daemon registers its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from mpc.errors import LocalError
from wire.certificates import TlsIdentity
from wire.consortium import Consortium
from wire.errors import Unauthenticated, to_public, to_wire
from wire.gatekeeper import Gatekeeper, require_tls_1_3
from wire.interceptors import MAX_CALLS, Gate
from wire.tls import COMMON_OPTIONS, LISTENER_OPTIONS, check_own, doctor_credentials, server_credentials
from wire.v1 import doctor_pb2, doctor_pb2_grpc

if TYPE_CHECKING:
    from wire.gatekeeper import Context

MAX_DOCTOR_BYTES = 32_768
MAX_DOCTOR_CALLS = 16
GRACE_S = 5.0


class DoctorService(doctor_pb2_grpc.DoctorServicer):
    """Looks at a certificate and says what this node would say to its holder."""

    def __init__(self, keeper: Gatekeeper, me: str) -> None:
        self._keeper, self._me = keeper, me

    async def Ask(
        self, request: doctor_pb2.Question, context: Context
    ) -> doctor_pb2.Answer:
        answer = doctor_pb2.Answer(clock_ms=int(time.time() * 1000))
        try:
            require_tls_1_3(context)
            self._keeper.identify(request.certificate_pem)
            answer.welcome = True
        except Unauthenticated as error:
            answer.error.CopyFrom(to_wire(to_public(error, self._me)))
        return answer


@dataclass(frozen=True)
class Listeners:
    """Both servers, started, and the ports they got."""

    main: grpc.aio.Server
    doctor: grpc.aio.Server
    port: int
    doctor_port: int
    health: Any   # an aio HealthServicer, of an untyped package

    async def stop(self, grace_s: float = GRACE_S) -> None:
        """Answer no new call, let running ones end within `grace_s`, then cut them off."""
        await self.health.enter_graceful_shutdown()
        await self.doctor.stop(0)
        await self.main.stop(grace_s)


async def serve(
    consortium: Consortium,
    identity: TlsIdentity,
    listen: str,
    doctor_listen: str,
    register: Callable[[grpc.aio.Server], None],
) -> Listeners:
    """Start both listeners on `host:port` each (port 0: any). `register` adds the daemon's services.

    Raises Unauthenticated if our own certificate is not in order, LocalError if a port cannot be had.
    """
    check_own(identity)
    keeper = Gatekeeper(consortium, identity)
    keeper.identify(identity.certificate_pem)
    main = grpc.aio.server(
        interceptors=[Gate(keeper, identity.party)], options=[*COMMON_OPTIONS, *LISTENER_OPTIONS],
        maximum_concurrent_rpcs=MAX_CALLS,
    )
    healthy = health.aio.HealthServicer()  # type: ignore[attr-defined]  # re-exported
    health_pb2_grpc.add_HealthServicer_to_server(healthy, main)
    register(main)
    doctor = grpc.aio.server(
        options=[*LISTENER_OPTIONS, ("grpc.max_receive_message_length", MAX_DOCTOR_BYTES)],
        maximum_concurrent_rpcs=MAX_DOCTOR_CALLS,
    )
    doctor_pb2_grpc.add_DoctorServicer_to_server(DoctorService(keeper, identity.party), doctor)
    port = _bind(main, listen, server_credentials(consortium, identity))
    doctor_port = _bind(doctor, doctor_listen, doctor_credentials(identity))
    await main.start()
    await doctor.start()
    await healthy.set("", health_pb2.HealthCheckResponse.SERVING)
    return Listeners(main, doctor, port, doctor_port, healthy)


def _bind(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials) -> int:
    try:
        port = server.add_secure_port(address, credentials)
    except RuntimeError:
        port = 0
    if port == 0:
        raise LocalError(f"cannot listen on {address}", "stop the process that has the port, or choose another")
    return port
