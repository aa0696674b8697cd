"""Credentials and channels: both sides always show a certificate, and a dialled channel trusts one certificate alone.

Who a caller is, wire.gatekeeper decides on every call, and who is dialled, before the first. Knows no service.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from dataclasses import dataclass

import grpc
import grpc.aio

from wire import certificates
from wire.consortium import Consortium, Member
from wire.errors import Unauthenticated
from wire.gatekeeper import Gatekeeper

MAX_MESSAGE_BYTES = 4 << 20      # a job spec; an envelope has less (wire.codec)
KEEPALIVE_MS = 10_000
HANDSHAKE_MS = 4_000             # gRPC's own patience with a stranger is two minutes
STREAMS_PER_CONNECTION = 128     # calls beyond wait at their caller
IDLE_MS = 30_000                 # a member's connection without a call: it dials again when it has one
LOOK_S = 3.0


def check_own(identity: certificates.TlsIdentity) -> None:
    """Unauthenticated if our own certificate would be refused; asked first, so that nothing is dialled."""
    try:
        certificates.check(identity.certificate_pem, identity.party, identity.ca_pem)
    except Unauthenticated as error:
        raise Unauthenticated(
            f"not dialled: {error.what}", whose=identity.party, advice=error.advice, reason=error.reason
        ) from None


def server_credentials(consortium: Consortium, identity: certificates.TlsIdentity) -> grpc.ServerCredentials:
    """Mutual TLS: whoever has no certificate of a pinned CA does not get past the handshake."""
    pooled = b"\n".join(pinned.ca_pem for pinned in consortium.pinned())
    pair = (identity.key_pem, identity.certificate_pem)
    return grpc.ssl_server_credentials([pair], root_certificates=pooled, require_client_auth=True)


def doctor_credentials(identity: certificates.TlsIdentity) -> grpc.ServerCredentials:
    """Only the server shows a certificate: for the listener that tells a refused caller why."""
    return grpc.ssl_server_credentials([(identity.key_pem, identity.certificate_pem)])


@dataclass(frozen=True)
class Reached:
    """A channel to a node, and the serial number of the only certificate that it trusts."""

    channel: grpc.aio.Channel
    serial: str


async def reach(member: Member, keeper: Gatekeeper, identity: certificates.TlsIdentity) -> Reached:
    """A channel to the node of `member`, once `keeper` has passed the certificate that is shown there.

    gRPC's Python does not tell a dialler whom it reached. So the certificate is looked at on a connection of its own,
    and the channel trusts that one certificate: another, though of the same CA, does not get past its handshake.
    Raises Unauthenticated; OSError or TimeoutError where nobody shows a certificate.
    """
    check_own(identity)
    shown = await look(member.address, identity)
    serial = keeper.identify_dialled(shown, member).serial
    return Reached(dial(member.address, member.id, shown, identity), serial)


async def look(address: str, identity: certificates.TlsIdentity | None) -> bytes:
    """The certificate (PEM) that is shown at `address` to the holder of `identity`; nothing of it is believed yet.

    Raises OSError or TimeoutError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE   # certificates.check verifies, and can say what is wrong
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    if identity is not None:
        _show(context, identity)
    host, port = split_address(address)
    async with asyncio.timeout(LOOK_S):
        _, writer = await asyncio.open_connection(host, port, ssl=context)
    shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return ssl.DER_cert_to_PEM_cert(shown).encode()


def _show(context: ssl.SSLContext, identity: certificates.TlsIdentity) -> None:
    """Python's TLS takes a key from a file only: this one lies in memory and is gone when it is closed."""
    with os.fdopen(os.memfd_create("certificate", os.MFD_CLOEXEC), "wb") as file:
        file.write(identity.certificate_pem + identity.key_pem)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")


def split_address(address: str) -> tuple[str, int]:
    """`host:port`, with or without brackets around an IPv6 host."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def dial(address: str, party: str, trusted_pem: bytes, identity: certificates.TlsIdentity | None) -> grpc.aio.Channel:
    """A channel to `party`, trusting this certificate, or the certificates of this CA, alone; without `identity` only
    for a doctor listener."""
    if identity is None:
        credentials = grpc.ssl_channel_credentials(trusted_pem)
    else:
        check_own(identity)
        credentials = grpc.ssl_channel_credentials(trusted_pem, identity.key_pem, identity.certificate_pem)
    options = [*COMMON_OPTIONS, ("grpc.ssl_target_name_override", party)]
    return grpc.aio.secure_channel(address, credentials, options=options)


COMMON_OPTIONS: list[tuple[str, int | str]] = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_MS),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_MS // 2),
    ("grpc.enable_retries", 0),               # delivery is ours to decide, not the transport's
    ("grpc.enable_http_proxy", 0),            # an http_proxy variable must not carry this elsewhere
    ("grpc.use_local_subchannel_pool", 1),    # no channel shares a connection with other credentials
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 4000),   # in truth what one attempt may take, TLS handshake included
    ("grpc.max_reconnect_backoff_ms", 1000),
]
# Of both listeners: a connection that has not shown a certificate by then is closed, and so is one without use.
LISTENER_OPTIONS: list[tuple[str, int | str]] = [
    ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
    ("grpc.max_connection_idle_ms", IDLE_MS),
    ("grpc.max_concurrent_streams", STREAMS_PER_CONNECTION),
]
