"""The party directory and `party.toml`: where all of one institution lives, and how strictly it is kept.

Refuses to start from a directory that others on the machine can read. Names paths; knows no key, row or job.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mpc.errors import LocalError
from wire.private_files import write_private
from wire.signing import Identity
from wire.spec.job import PartyName, first_fault

M = TypeVar("M", bound=BaseModel)
ADDRESS = r"^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}$"
Address = Annotated[str, Field(pattern=ADDRESS)]


class ConfigError(LocalError):
    """A configuration that cannot be used: `what` names file and field, `advice` how to mend it."""


class PartyConfig(BaseModel):
    """`party.toml`. Only `party` must be given; every other field has a safe default."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    party: PartyName
    listen: Address = "0.0.0.0:8443"     # port 0: the system picks one, reported through the ready file
    doctor: Address = "0.0.0.0:8444"
    consortium: Annotated[str, Field(min_length=1)] = "consortium.toml"  # relative to the party directory
    approval: Literal["ask", "auto"] = "ask"  # for datasets whose policy does not say
    compute: Literal["local", "ray"] = "local"  # "ray": steps without secrets on the institution's own Ray cluster

    @property
    def listen_port(self) -> int:
        return int(self.listen.rpartition(":")[2])

    @property
    def doctor_port(self) -> int:
        return int(self.doctor.rpartition(":")[2])


@dataclass(frozen=True)
class PartyDirectory:
    """All paths of one institution. Directories are 0700, files 0600."""

    root: Path

    @property
    def config_file(self) -> Path:
        return self.root / "party.toml"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def identity_key(self) -> Path:
        """Ed25519 identity that signs approvals and audit heads, PKCS8 PEM."""
        return self.keys / "identity.pem"

    @property
    def secret(self) -> Path:
        """What keys of lasting purposes are derived from, in the form of `party_node.records.node_secret`."""
        return self.keys / "node.secret"

    @property
    def tls(self) -> Path:
        """CA and certificate, in the form of `wire.certificates`."""
        return self.root / "tls"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def snapshots(self) -> Path:
        """Tables of databases and object stores, as files."""
        return self.root / "snapshots"

    @property
    def alignments(self) -> Path:
        """Rows that jobs found without making a model."""
        return self.root / "alignments"

    @property
    def prepared(self) -> Path:
        """Correlations that jobs made ahead of another one."""
        return self.root / "prepared"

    @property
    def training_sets(self) -> Path:
        """Which rows each job trained on."""
        return self.root / "training_sets"

    @property
    def entry_file(self) -> Path:
        """Our entry for the consortium file: public, to be handed to whoever writes that file."""
        return self.root / "entry.toml"

    @property
    def audit(self) -> Path:
        return self.root / "audit"

    @property
    def audit_log(self) -> Path:
        return self.audit / "audit.jsonl"

    @property
    def state_db(self) -> Path:
        return self.root / "state.db"

    @property
    def lock_file(self) -> Path:
        """Held by the running daemon; a second one on the same directory is refused."""
        return self.root / "node.lock"

    @property
    def log_file(self) -> Path:
        """The local log, with the tracebacks that no user is shown."""
        return self.root / "node.log"

    def create(self) -> None:
        """Make the directories, 0700."""
        for path in (
            self.root, self.keys, self.tls, self.models, self.alignments, self.prepared, self.training_sets,
            self.snapshots, self.audit,
        ):
            path.mkdir(parents=path == self.root, exist_ok=True, mode=0o700)
            path.chmod(0o700)

    def consortium_file(self, config: PartyConfig) -> Path:
        """The consortium file that `config` names."""
        return self.root / config.consortium

    def create_identity(self) -> Identity:
        """Make the signing key; ConfigError if there is one."""
        if self.identity_key.exists():
            raise ConfigError(f"{self.root} already holds an identity key", "choose another directory")
        identity = Identity.generate()
        write_private(self.identity_key, identity.to_pem())
        return identity

    def load_identity(self) -> Identity:
        """The signing key; ConfigError if it is missing or damaged."""
        try:
            return Identity.from_pem(self.identity_key.read_bytes())
        except (OSError, ValueError, TypeError):
            raise ConfigError(f"{self.identity_key} is missing or damaged",
                              "restore it from the backup; a new key must be joined anew by all peers") from None

    def load_config(self) -> PartyConfig:
        """Read `party.toml`; ConfigError says which field is wrong and how to mend it."""
        return load_toml(PartyConfig, self.config_file, f"run: party-node --dir {self.root} init --party NAME")

    def guarded(self) -> Iterator[Path]:
        """Every path whose permissions are checked: the directory and all that is private in it."""
        yield self.root
        for folder in (self.keys, self.tls, self.models, self.alignments, self.prepared, self.training_sets,
                       self.snapshots, self.audit):
            if folder.exists():
                yield folder
                yield from sorted(folder.rglob("*"))
        named = (self.config_file, self.lock_file, self.log_file, self.state_db)
        sidecars = tuple(self.state_db.with_name(self.state_db.name + tail) for tail in ("-wal", "-shm"))
        yield from (path for path in (*named, *sidecars) if path.exists())

    def check_permissions(self) -> None:
        """ConfigError unless everything guarded belongs to us and nobody else on the machine may read it."""
        if not self.root.is_dir():
            raise ConfigError(f"the party directory {self.root} does not exist",
                              f"run: party-node --dir {self.root} init --party NAME")
        for path in self.guarded():
            try:
                found = path.lstat()
            except FileNotFoundError:  # SQLite drops its sidecar files when the last reader leaves
                continue
            mode = stat.S_IMODE(found.st_mode)
            if stat.S_ISLNK(found.st_mode):
                raise ConfigError(f"{path} is a link", "put the file itself there")
            if found.st_uid != os.geteuid():
                raise ConfigError(f"{path} belongs to another user", f"run: chown {os.geteuid()} {path}")
            if mode & 0o077:
                want = "700" if stat.S_ISDIR(found.st_mode) else "600"
                raise ConfigError(f"{path} is open to others (mode {mode:03o})", f"run: chmod {want} {path}")


def load_toml(model: type[M], path: Path, when_missing: str) -> M:
    """Parse a TOML file into `model`; ConfigError names the file, the field and the remedy."""
    try:
        raw: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist", when_missing) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read ({type(error).__name__})",
                          "check that this user may read it and that it is a UTF-8 text file") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}", "mend that line") from None
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        field, sentence = first_fault(error)
        raise ConfigError(f"{path}, field {field or 'file'}: {sentence}",
                          "compare it with the sample in docs/samples") from None
