"""Why a peer cannot be reached. gRPC says "unavailable" for all of it: a process that is down, an expired
certificate on either side, a CA that is not pinned. So: look at the port, at the peer's certificate, and ask its
doctor what it holds against ours. Learns and tells nothing but that.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass

import grpc.aio

from mpc.errors import MpcError
from wire import certificates, tls
from wire.consortium import Member
from wire.errors import PublicError, Unauthenticated, Unreachable, from_wire
from wire.gatekeeper import Gatekeeper
from wire.v1 import doctor_pb2, doctor_pb2_grpc


@dataclass(frozen=True)
class Opinion:
    """What a peer's doctor says: welcome, or why not; and its clock (Unix milliseconds)."""

    refusal: PublicError | None
    clock_ms: int


async def why_unreachable(
    member: Member, keeper: Gatekeeper, identity: certificates.TlsIdentity
) -> MpcError:
    """The error to raise after a failed call to `member`: Unauthenticated if dialling again cannot help."""
    try:
        await check_listening(member)
        await check_certificate(member, keeper)
        opinion = await ask_doctor(member, identity)
    except (Unauthenticated, Unreachable) as error:
        return error
    if opinion.refusal is None:
        return Unreachable(
            f"{member.id} listens and finds our certificate in order, but the connection failed",
            whose=member.id, advice=f"party-node doctor --peer {member.id}", reason="unexplained",
        )
    return refused(member, identity, opinion.refusal)


def refused(member: Member, identity: certificates.TlsIdentity, said: PublicError) -> Unauthenticated:
    """What `member` said against our certificate. If it holds another CA of ours, it is the one that has to act."""
    if said.reason != "certificate-of-another-ca":
        return Unauthenticated(said.what, whose=said.whose or member.id, advice=said.advice, reason=said.reason)
    return Unauthenticated(
        f"{said.what}: {member.id} lacks the CA of {identity.party} with the fingerprint "
        f"{certificates.fingerprint(identity.ca_pem)}",
        whose=member.id, advice=f"on {member.id}: party-node join FILE, with the entry of {identity.party}",
        reason=said.reason,
    )


async def check_listening(member: Member) -> None:
    """Unreachable, by kind, unless something listens at the member's address."""
    host, port = tls.split_address(member.address)
    try:
        async with asyncio.timeout(tls.LOOK_S):
            _, writer = await asyncio.open_connection(host, port)
        writer.close()
    except ConnectionRefusedError:
        raise Unreachable(
            f"{member.id} refused the connection at {member.address}: its process is down",
            whose=member.id, advice=f"on {member.id}: party-node run", reason="connection-refused",
        ) from None
    except TimeoutError:
        raise Unreachable(
            f"{member.id} does not answer at {member.address}: host down, or a firewall drops the packets",
            whose=member.id, advice=f"ask {member.id} to open that port for us", reason="no-answer",
        ) from None
    except socket.gaierror:
        raise Unreachable(
            f"the host name in {member.address} of {member.id} is unknown here",
            advice="correct the consortium file or the name service", reason="unknown-host",
        ) from None
    except OSError as error:
        raise Unreachable(
            f"{member.id} cannot be reached at {member.address}: {error.strerror}",
            whose=member.id, reason="network",
        ) from None


async def check_certificate(member: Member, keeper: Gatekeeper) -> None:
    """Unauthenticated says what is wrong with the certificate that the member's doctor listener shows."""
    try:
        shown = await tls.look(member.doctor, None)
    except (OSError, TimeoutError):
        raise Unreachable(
            f"{member.id} listens at {member.address}, but its doctor at {member.doctor} does not answer",
            whose=member.id, advice=f"on {member.id}: party-node doctor", reason="no-doctor",
        ) from None
    keeper.identify_dialled(shown, member)


async def ask_doctor(member: Member, identity: certificates.TlsIdentity) -> Opinion:
    """What `member` would say to our certificate; Unreachable if it does not say."""
    async with tls.dial(member.doctor, member.id, member.ca_pem, None) as channel:
        doctor = doctor_pb2_grpc.DoctorStub(channel)
        try:
            answer = await doctor.Ask(
                doctor_pb2.Question(certificate_pem=identity.certificate_pem), timeout=tls.LOOK_S
            )
        except grpc.aio.AioRpcError:
            raise Unreachable(f"the doctor of {member.id} does not answer", whose=member.id) from None
    return Opinion(None if answer.welcome else from_wire(answer.error), answer.clock_ms)
