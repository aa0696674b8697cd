"""Who is on the other end, of a call or of a dial: a name counts only under its own CA, over TLS 1.3, with a
certificate that was not withdrawn.

Pooled CAs would let bank-a's CA vouch for bank-c, so on every call the name in the certificate has to be signed by that
name's CA. Knows no service and no right of a caller (wire.interceptors does).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import grpc.aio

from mpc.link import PartyId
from wire import certificates
from wire.consortium import Consortium, Member
from wire.errors import Unauthenticated

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]   # generic in the stubs only

Role = Literal["coordinator", "peer", "self"]


@dataclass(frozen=True)
class Caller:
    """Who is on the other end, from its certificate."""

    party: PartyId
    role: Role
    serial: str      # of the certificate, hexadecimal


class Gatekeeper:
    """Decides from certificates alone who somebody is."""

    def __init__(self, consortium: Consortium, identity: certificates.TlsIdentity) -> None:
        self._consortium, self._identity = consortium, identity
        self._denied = frozenset(consortium.denied_serials)

    def identify(self, certificate_pem: bytes) -> Caller:
        """The holder of this certificate; Unauthenticated says what is wrong with it."""
        party = certificates.claimed_party(certificate_pem)
        ca_pem = self._consortium.ca_of(party)
        if ca_pem is None:
            raise Unauthenticated(
                f"{party} is not in the consortium file of {self._identity.party}",
                whose=self._identity.party, advice=f"on {self._identity.party}: party-node join FILE",
                reason="party-unknown",
            )
        certificate = certificates.check(certificate_pem, party, ca_pem)
        serial = f"{certificate.serial_number:x}"
        if serial in self._denied:
            raise Unauthenticated(
                f"the certificate {serial} of {party} was withdrawn", whose=party,
                advice=f"on {party}: party-node cert renew", reason="certificate-denied",
            )
        role: Role = "peer"
        if party == self._identity.party:
            role = "self"
        elif party == self._consortium.coordinator.id:
            role = "coordinator"
        return Caller(PartyId(party), role, serial)

    def identify_dialled(self, certificate_pem: bytes, member: Member) -> Caller:
        """The same for a certificate that is shown where `member` listens, which has to be the member's."""
        certificates.check(certificate_pem, member.id, member.ca_pem)
        return self.identify(certificate_pem)

    def identify_call(self, context: Context) -> Caller:
        """Who makes this call; Unauthenticated unless over TLS 1.3 with a certificate that counts."""
        require_tls_1_3(context)
        shown = list(context.auth_context().get("x509_pem_cert", ()))
        if len(shown) != 1:
            raise Unauthenticated("a call came without a certificate", reason="no-certificate")
        return self.identify(shown[0])


def require_tls_1_3(context: Context) -> None:
    """Unauthenticated for anything older: gRPC's Python has no switch for the lowest version, so each call is asked."""
    if list(context.auth_context().get("ssl_tls_version", ())) != [b"TLSv1.3"]:
        raise Unauthenticated("a call came over something older than TLS 1.3", reason="old-tls")
