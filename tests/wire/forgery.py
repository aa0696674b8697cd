"""Certificates as no tool of ours would make them."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.wire.conftest import authority
from wire import certificates


def forged(
    signer: str | None, names: list[x509.GeneralName], *, cn: str = "bank-b", uses: bool = True
) -> certificates.Issued:
    """A certificate as no tool of ours would make it, signed by the real CA of `signer` or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer, ca_key = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, cn)]), key
    if signer is not None:
        issuer = x509.load_pem_x509_certificate(authority(signer).certificate_pem).subject
        ca_key = serialization.load_pem_private_key(authority(signer).key_pem, None)
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, cn)]))
        .issuer_name(issuer)
        .public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if uses:
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(both), critical=False)
    pem = builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    plain = serialization.NoEncryption()
    return certificates.Issued(
        pem, key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    )


def spoiled(issued: certificates.Issued, old: bytes, new: bytes) -> certificates.Issued:
    """The certificate with one run of bytes replaced; the signature no longer fits, which is looked at last."""
    der = x509.load_pem_x509_certificate(issued.certificate_pem).public_bytes(serialization.Encoding.DER)
    assert old in der
    assert len(old) == len(new)
    return certificates.Issued(ssl.DER_cert_to_PEM_cert(der.replace(old, new, 1)).encode(), issued.key_pem)


def dns(name: str) -> x509.DNSName:
    return x509.DNSName(name)


def uri(name: str) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(f"jcr://party/{name}")


def long_ago() -> datetime:
    return datetime.now(UTC) - timedelta(days=500)


def in_a_week() -> datetime:
    return datetime.now(UTC) + timedelta(days=7)
