"""Credentials and channels: both sides always show a certificate, and a dialled channel trusts one CA alone.

Who a caller is, wire.gatekeeper decides on every call. Knows no service.
"""

from __future__ import annotations

import grpc
import grpc.aio

from wire import certificates
from wire.consortium import Consortium
from wire.errors import Unauthenticated

MAX_MESSAGE_BYTES = 4 << 20      # an envelope carries at most 1 MiB of body
KEEPALIVE_MS = 10_000


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


def dial(address: str, party: str, ca_pem: bytes, identity: certificates.TlsIdentity | None) -> grpc.aio.Channel:
    """A channel to `party`, trusting its CA alone; without `identity` only for a doctor listener."""
    if identity is None:
        credentials = grpc.ssl_channel_credentials(ca_pem)
    else:
        check_own(identity)
        credentials = grpc.ssl_channel_credentials(ca_pem, identity.key_pem, identity.certificate_pem)
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
