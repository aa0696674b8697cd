"""Certificates: each institution's own CA, the certificate that its node shows, what is wrong with another's.

A party's certificate carries exactly one DNS name (the party id; gRPC's Python refuses to dial a certificate
without one) and exactly one URI, and counts only if the party's *own* CA signed it. Knows no network.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mpc.errors import LocalError
from wire.errors import Unauthenticated
from wire.private_files import write_private

CA_DAYS = 3650
CERTIFICATE_DAYS = 398
CLOCK_SKEW = timedelta(minutes=5)
MAX_CERTIFICATE_BYTES = 16_384
CA_FILE, CA_KEY_FILE, CERTIFICATE_FILE, KEY_FILE = "ca.pem", "ca.key.pem", "party.pem", "party.key.pem"


def party_uri(party: str) -> str:
    """The URI name of a party's certificate."""
    return f"jcr://party/{party}"


@dataclass(frozen=True)
class Issued:
    """A certificate and its private key, both PEM."""

    certificate_pem: bytes
    key_pem: bytes

    def __repr__(self) -> str:
        return "Issued(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a private key is a secret and is never pickled")


@dataclass(frozen=True)
class TlsIdentity(Issued):
    """What a party shows on every connection, and the CA that vouches for it."""

    party: str
    ca_pem: bytes

    __repr__ = Issued.__repr__
    __reduce__ = Issued.__reduce__


def create_authority(party: str, now: datetime | None = None) -> Issued:
    """The CA of one institution, self-signed, for leaves only. P-256: gRPC takes no Ed25519 certificates."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"{party} certificate authority")
    builder = _builder(name, name, key, now, CA_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    return _signed(builder, key, key)


def issue(
    authority: Issued, party: str, *, now: datetime | None = None, days: int = CERTIFICATE_DAYS
) -> Issued:
    """The certificate of `party`, for both ends of a connection."""
    ca = x509.load_pem_x509_certificate(authority.certificate_pem)
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_name(party), ca.subject, key, now, days)
    names = [x509.DNSName(party), x509.UniformResourceIdentifier(party_uri(party))]
    uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    return _signed(builder, key, _private_key(authority.key_pem))


def fingerprint(certificate_pem: bytes) -> str:
    """SHA-256 of the certificate in groups of four, to be read aloud on the telephone."""
    digest = x509.load_pem_x509_certificate(certificate_pem).fingerprint(hashes.SHA256()).hex()
    return readable(digest)


def key_fingerprint(public_hex: str) -> str:
    """The same for an Ed25519 public key (hexadecimal)."""
    return readable(hashlib.sha256(bytes.fromhex(public_hex)).hexdigest())


def readable(digest: str) -> str:
    """Hexadecimal in groups of four."""
    return " ".join(digest[i : i + 4] for i in range(0, len(digest), 4))


def create_directory(directory: Path, party: str) -> TlsIdentity:
    """Make CA and first certificate of `party` under `directory` (0700, files 0600); refuses to overwrite."""
    if (directory / CA_FILE).exists():
        raise LocalError(f"{directory} already holds a certificate authority", "choose another directory")
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority = create_authority(party)
    write_private(directory / CA_KEY_FILE, authority.key_pem)
    write_private(directory / CA_FILE, authority.certificate_pem)
    return _store(directory, authority, party)


def renew(directory: Path, party: str) -> TlsIdentity:
    """A fresh certificate from the same CA: the peers need do nothing."""
    try:
        authority = Issued((directory / CA_FILE).read_bytes(), (directory / CA_KEY_FILE).read_bytes())
    except OSError as error:
        raise LocalError(f"the CA of {party} cannot be read: {error.strerror}") from None
    return _store(directory, authority, party)


def load(directory: Path, party: str) -> TlsIdentity:
    """What `create_directory` or `renew` wrote. `check` says whether a peer would take it."""
    try:
        read = [(directory / name).read_bytes() for name in (CERTIFICATE_FILE, KEY_FILE, CA_FILE)]
    except OSError as error:
        raise Unauthenticated(
            f"the certificate of {party} cannot be read: {error.strerror}",
            whose=party, advice="party-node init makes one", reason="certificate-missing",
        ) from None
    found = _parse(read[0], party)
    if found.public_key() != _private_key(read[1]).public_key():
        _refuse(found, party, "certificate-key", "does not belong to the private key beside it")
    return TlsIdentity(read[0], read[1], party, read[2])


def serial(certificate_pem: bytes) -> str:
    """The serial number in hexadecimal, as `denied_serials` of the consortium file lists it."""
    return f"{_parse(certificate_pem, '').serial_number:x}"


def claimed_party(certificate_pem: bytes) -> str:
    """The one DNS name of a certificate; Unauthenticated unless it has exactly one DNS and one URI name."""
    certificate = _parse(certificate_pem, "")
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        _refuse(certificate, "", "certificate-without-name", "carries its name as CN only")
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        _refuse(certificate, "", "certificate-unreadable", "has an extension that cannot be read")
    dns = names.get_values_for_type(x509.DNSName)
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(dns) != 1 or len(uris) != 1 or len(list(names)) != 2:
        _refuse(certificate, dns[0] if dns else "", "certificate-names", "must have one DNS and one URI name")
    if uris != [party_uri(dns[0])]:
        _refuse(certificate, dns[0], "certificate-names", "names two parties")
    return dns[0]


def check(certificate_pem: bytes, party: str, ca_pem: bytes, now: datetime | None = None) -> x509.Certificate:
    """The certificate, if it is `party`'s, signed by its own CA, in force and meant for connections.

    Raises Unauthenticated with whose, serial, date and the command that mends it.
    """
    now = now or datetime.now(UTC)
    certificate = _parse(certificate_pem, party)
    claimed = claimed_party(certificate_pem)
    if claimed != party:
        _refuse(certificate, party, "certificate-of-another", f"is made out to {claimed}, not to {party}")
    try:
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(ca_pem))
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        _refuse(
            certificate, party, "certificate-of-another-ca",
            f"is not signed by the CA that the consortium file pins for {party}",
            "compare CA fingerprints by telephone, then: party-node join FILE; "
            f"or on {party}: party-node cert renew",
        )
    if now > certificate.not_valid_after_utc:
        end = certificate.not_valid_after_utc
        _refuse(certificate, party, "certificate-expired", f"expired on {end:%Y-%m-%d}")
    if now + CLOCK_SKEW < certificate.not_valid_before_utc:
        start = certificate.not_valid_before_utc
        _refuse(
            certificate, party, "certificate-not-yet-valid", f"is valid only from {start:%Y-%m-%d %H:%M} UTC",
            "compare the clocks of the two machines",
        )
    _check_use(certificate, party)
    return certificate


def _check_use(certificate: x509.Certificate, party: str) -> None:
    try:
        uses = set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
        is_ca = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        uses, is_ca = set(), True
    if is_ca or not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH} <= uses:
        _refuse(certificate, party, "certificate-use", "is not meant for both ends of a connection")


def _parse(certificate_pem: bytes, party: str) -> x509.Certificate:
    try:
        if len(certificate_pem) > MAX_CERTIFICATE_BYTES:
            raise ValueError
        return x509.load_pem_x509_certificate(certificate_pem)
    except (ValueError, x509.InvalidVersion):
        raise Unauthenticated(
            "a certificate cannot be read", whose=party, reason="certificate-unreadable"
        ) from None


def _refuse(certificate: x509.Certificate, party: str, reason: str, what: str, advice: str = "") -> NoReturn:
    serial = f"{certificate.serial_number:x}"
    raise Unauthenticated(
        f"the certificate {serial} of {party or 'an unnamed party'} {what}",
        whose=party, advice=advice or f"on {party or 'its side'}: party-node cert renew", reason=reason,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates, crl_sign=signs_certificates,
        content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime | None, days: int
) -> x509.CertificateBuilder:
    start = now or datetime.now(UTC)
    return (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - CLOCK_SKEW).not_valid_after(start + timedelta(days=days))
    )


def _signed(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey
) -> Issued:
    certificate = builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return Issued(certificate, key.private_bytes(serialization.Encoding.PEM, form, plain))


def _private_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the CA key is not an elliptic-curve key")
    return key


def _store(directory: Path, authority: Issued, party: str) -> TlsIdentity:
    leaf = issue(authority, party)
    write_private(directory / KEY_FILE, leaf.key_pem)
    write_private(directory / CERTIFICATE_FILE, leaf.certificate_pem)
    return load(directory, party)
