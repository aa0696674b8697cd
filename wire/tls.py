"""Credentials: TLS 1.3 only, both sides always show a certificate, and a name counts only under its own CA.

Pooled CAs would let bank-a's CA vouch for bank-c, so a dialled channel trusts one CA alone, and a server
checks on every call that the name in the certificate was signed by that name's CA. Knows no service.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import grpc
import grpc.aio

from mpc.link import PartyId
from wire import certificates as pki
from wire.consortium import Consortium
from wire.errors import Unauthenticated

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]   # generic in the stubs only

Role = Literal["coordinator", "peer", "self"]
MAX_MESSAGE_BYTES = 4 << 20      # an envelope carries at most 1 MiB of body
KEEPALIVE_MS = 10_000


@dataclass(frozen=True)
class Caller:
    """Who is on the other end, from its certificate."""

    party: PartyId
    role: Role


class Gatekeeper:
    """Decides from certificates alone who somebody is."""

    def __init__(self, consortium: Consortium, identity: pki.TlsIdentity) -> None:
        self._consortium, self._identity = consortium, identity
        self._denied = frozenset(consortium.denied_serials)

    def identify(self, certificate_pem: bytes) -> Caller:
        """The holder of this certificate; Unauthenticated says what is wrong with it."""
        party = pki.claimed_party(certificate_pem)
        ca_pem = self._consortium.ca_of(party)
        if ca_pem is None:
            raise Unauthenticated(
                f"{party} is not in the consortium file of {self._identity.party}",
                whose=self._identity.party, advice=f"on {self._identity.party}: party-node join FILE",
                reason="party-unknown",
            )
        certificate = pki.check(certificate_pem, party, ca_pem)
        if f"{certificate.serial_number:x}" in self._denied:
            raise Unauthenticated(
                f"the certificate {certificate.serial_number:x} of {party} was withdrawn", whose=party,
                advice=f"on {party}: party-node cert renew", reason="certificate-denied",
            )
        role: Role = "peer"
        if party == self._identity.party:
            role = "self"
        elif party == self._consortium.coordinator.id:
            role = "coordinator"
        return Caller(PartyId(party), role)

    def identify_call(self, context: Context) -> Caller:
        """Who makes this call; Unauthenticated unless over TLS 1.3 with a certificate that counts."""
        require_tls_1_3(context)
        certificates = list(context.auth_context().get("x509_pem_cert", ()))
        if len(certificates) != 1:
            raise Unauthenticated("a call came without a certificate", reason="no-certificate")
        return self.identify(certificates[0])


def require_tls_1_3(context: Context) -> None:
    """Unauthenticated for anything older: gRPC's Python has no switch for the lowest version, so each call is asked."""
    if list(context.auth_context().get("ssl_tls_version", ())) != [b"TLSv1.3"]:
        raise Unauthenticated("a call came over something older than TLS 1.3", reason="old-tls")


def check_own(identity: pki.TlsIdentity) -> None:
    """Unauthenticated if our own certificate would be refused; asked first, so that nothing is dialled."""
    try:
        pki.check(identity.certificate_pem, identity.party, identity.ca_pem)
    except Unauthenticated as error:
        raise Unauthenticated(
            f"not dialled: {error.what}", whose=identity.party, advice=error.advice, reason=error.reason
        ) from None


def server_credentials(consortium: Consortium, identity: pki.TlsIdentity) -> grpc.ServerCredentials:
    """Mutual TLS: whoever has no certificate of a pinned CA does not get past the handshake."""
    pooled = b"\n".join(pinned.ca_pem for pinned in consortium.pinned())
    pair = (identity.key_pem, identity.certificate_pem)
    return grpc.ssl_server_credentials([pair], root_certificates=pooled, require_client_auth=True)


def doctor_credentials(identity: pki.TlsIdentity) -> grpc.ServerCredentials:
    """Only the server shows a certificate: for the listener that tells a refused caller why."""
    return grpc.ssl_server_credentials([(identity.key_pem, identity.certificate_pem)])


def dial(address: str, party: str, ca_pem: bytes, identity: pki.TlsIdentity | None) -> grpc.aio.Channel:
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
