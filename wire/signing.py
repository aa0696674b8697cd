"""Ed25519 identities: who approved which bytes, and who speaks on a stream. An approval binds a party to one job id."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mpc.domains import Domain
from wire.spec.job import JobSpec, job_id

SIGNATURE_BYTES = 64


class ApprovalError(ValueError):
    """The approvals do not make this job agreed; the text names the party."""


class Identity:
    """A party's signing key. [RFC 8032]"""

    __slots__ = ("_key",)

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def generate(cls) -> Identity:
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, pem: bytes) -> Identity:
        key = serialization.load_pem_private_key(pem, None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("the identity key is not an Ed25519 key")
        return cls(key)

    def to_pem(self) -> bytes:
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @property
    def public_hex(self) -> str:
        raw = self._key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return raw.hex()

    def sign(self, domain: Domain, message: bytes) -> bytes:
        return self._key.sign(domain.encode() + b"\0" + message)

    def __repr__(self) -> str:
        return "Identity(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an identity key is a secret and is never pickled")


def verify(public_hex: str, domain: Domain, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is by `public_hex` over `message` in `domain`."""
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_hex))
        key.verify(signature, domain.encode() + b"\0" + message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _approval_message(job: str, party: str) -> bytes:
    return f"{job}\0{party}".encode()


def approve(identity: Identity, party: str, spec_bytes: bytes) -> bytes:
    """The signature by which `party` agrees to exactly these bytes."""
    return identity.sign(Domain.JOB_APPROVAL, _approval_message(job_id(spec_bytes), party))


def check_approvals(spec: JobSpec, spec_bytes: bytes, approvals: Mapping[str, bytes]) -> str:
    """Verify all N approvals over the same bytes; returns their digest, which rides in every envelope."""
    names = [party.id for party in spec.parties]
    for stranger in sorted(set(approvals) - set(names)):
        raise ApprovalError(f"{stranger} is not a party of this job but sent an approval")
    job = job_id(spec_bytes)
    digest = hashlib.sha256(job.encode())
    for party in spec.parties:
        if party.id not in approvals:
            raise ApprovalError(f"the approval of {party.id} is missing")
        message = _approval_message(job, party.id)
        if not verify(party.identity, Domain.JOB_APPROVAL, message, approvals[party.id]):
            raise ApprovalError(f"the approval of {party.id} is not its signature over this job")
        digest.update(party.id.encode() + b"\0" + approvals[party.id])
    return digest.hexdigest()


@dataclass(frozen=True)
class StreamEnd:
    """One end of a stream between two nodes: the party, the serial number (hexadecimal) of the certificate that it
    shows there, what its process drew at its start and what it drew for this stream."""

    party: str
    serial: str
    instance: bytes
    nonce: bytes


def prove_stream(identity: Identity, mine: StreamEnd, theirs: StreamEnd) -> bytes:
    """The signature by which the owner of `mine` says that it stands there, and sees `theirs` on the other side."""
    return identity.sign(Domain.PEER_STREAM, _stream_message(mine, theirs))


def stream_proven(public_hex: str, theirs: StreamEnd, mine: StreamEnd, signature: bytes) -> bool:
    """Whether the party with this identity key stands at `theirs` and sees us at `mine`."""
    return verify(public_hex, Domain.PEER_STREAM, _stream_message(theirs, mine), signature)


def open_job(identity: Identity, mine: StreamEnd, theirs: StreamEnd, job: str, approvals: bytes) -> bytes:
    """The signature by which the owner of `mine` opens `job` on this stream; whoever lacks the digest of the approvals
    (32 bytes, over signatures that nobody can guess) neither makes it nor learns the digest from it."""
    return identity.sign(Domain.JOB_OPENING, _stream_message(mine, theirs, job.encode(), approvals))


def job_opened(
    public_hex: str, theirs: StreamEnd, mine: StreamEnd, job: str, approvals: bytes, signature: bytes
) -> bool:
    """Whether the party at `theirs` has opened `job` on this stream under the same approvals as we."""
    message = _stream_message(theirs, mine, job.encode(), approvals)
    return verify(public_hex, Domain.JOB_OPENING, message, signature)


def _stream_message(signer: StreamEnd, other: StreamEnd, *more: bytes) -> bytes:
    """Every part with its length before it, the signer first: no signature serves in the other direction."""
    parts = [part for end in (signer, other)
             for part in (end.party.encode(), end.serial.encode(), end.instance, end.nonce)]
    return b"".join(len(part).to_bytes(4, "little") + part for part in (*parts, *more))
