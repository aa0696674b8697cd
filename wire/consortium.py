"""consortium.toml: one file for all, naming every institution, where it listens, its CA and its identity key.

People compare its fingerprints by telephone; after that the file is the only root of trust.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from cryptography import x509
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mpc.errors import LocalError
from mpc.link import PartyId
from wire.certificates import fingerprint
from wire.spec.job import Hex32, PartyName, first_fault

MAX_FILE_BYTES = 1 << 20
Address = Annotated[str, Field(pattern=r"^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}$")]

Serial = Annotated[str, Field(pattern=r"^[1-9a-f][0-9a-f]{0,39}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Pinned(_Part):
    """An identity with the CA that may vouch for it, in PEM, and the fingerprint that was read aloud."""

    id: PartyName
    ca: Annotated[str, Field(min_length=1, max_length=16_384)]
    ca_fingerprint: Annotated[str, Field(max_length=200)]
    identity: Hex32        # Ed25519 public key: as short as its fingerprint would be

    @property
    def party(self) -> PartyId:
        return PartyId(self.id)

    @property
    def ca_pem(self) -> bytes:
        return self.ca.encode()

    @model_validator(mode="after")
    def _pin(self) -> _Pinned:
        x509.load_pem_x509_certificate(self.ca_pem)
        if _bare(self.ca_fingerprint) != _bare(fingerprint(self.ca_pem)):
            raise ValueError(f"the CA of {self.id} does not have the fingerprint that the file states")
        return self


class Coordinator(_Pinned):
    """The conduct of jobs. It dials the nodes; nobody dials it."""


class Member(_Pinned):
    """One institution and where its node listens."""

    address: Address       # gRPC, mutual TLS
    doctor: Address        # tells a refused caller why


class Consortium(_Part):
    """Everybody who may speak to anybody."""

    version: Literal[1] = 1
    coordinator: Coordinator
    party: Annotated[list[Member], Field(min_length=1, max_length=16)]
    # Certificates that count no more though they are in force: serial numbers in hexadecimal.
    denied_serials: Annotated[list[Serial], Field(max_length=1000)] = []

    @model_validator(mode="after")
    def _distinct(self) -> Consortium:
        everybody: list[_Pinned] = [self.coordinator, *self.party]
        if len({pinned.id for pinned in everybody}) != len(everybody):
            raise ValueError("two entries have one id")
        if len({pinned.identity for pinned in everybody}) != len(everybody):
            raise ValueError("two entries have one identity key")
        if len({_bare(pinned.ca_fingerprint) for pinned in everybody}) != len(everybody):
            raise ValueError("two entries have one CA")
        return self

    def member(self, party: str) -> Member:
        """The entry of an institution; LocalError if it has none."""
        for member in self.party:
            if member.id == party:
                return member
        raise LocalError(f"{party} is not in the consortium file", "party-node join FILE with its entry")

    def pinned(self) -> Iterator[_Pinned]:
        """The coordinator, then the institutions."""
        yield self.coordinator
        yield from self.party

    def ca_of(self, party: str) -> bytes | None:
        """The pinned CA of a party or of the coordinator."""
        return next((pinned.ca_pem for pinned in self.pinned() if pinned.id == party), None)


def load_consortium(path: Path) -> Consortium:
    """Read the file; LocalError says which entry is wrong."""
    try:
        data = path.read_bytes()
        if len(data) > MAX_FILE_BYTES:
            raise LocalError("the consortium file is larger than 1 MiB")
        return Consortium.model_validate(tomllib.loads(data.decode()))
    except OSError as error:
        raise LocalError(f"the consortium file cannot be read: {error.strerror}") from None
    except ValidationError as error:
        field, sentence = first_fault(error)
        raise LocalError(f"consortium file, {field or 'file'}: {sentence}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LocalError(f"the consortium file is not TOML: {error}") from None


def _bare(text: str) -> str:
    return re.sub(r"^sha-?256|[^0-9a-f]", "", text.lower())
