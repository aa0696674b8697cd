"""The coordinator's directory: its certificate, the consortium file, its store of public records."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

from mpc.errors import LocalError
from wire.certificates import TlsIdentity, create_directory, fingerprint, load, renew
from wire.consortium import Consortium, load_consortium
from wire.errors import Unauthenticated
from wire.private_files import write_private
from wire.signing import Identity
from wire.tls import check_own


@dataclass(frozen=True)
class CoordinatorDirectory:
    """All paths of one coordinator. Directories are 0700, files 0600."""

    root: Path

    @property
    def identity_key(self) -> Path:
        return self.root / "keys" / "identity.pem"

    @property
    def tls(self) -> Path:
        """CA and certificate, in the form of `wire.certificates`."""
        return self.root / "tls"

    @property
    def name_file(self) -> Path:
        return self.root / "name"

    @property
    def consortium_file(self) -> Path:
        return self.root / "consortium.toml"

    @property
    def entry_file(self) -> Path:
        """What the consortium file says of this coordinator; public."""
        return self.root / "entry.toml"

    @property
    def state_db(self) -> Path:
        return self.root / "state.db"

    @property
    def log_file(self) -> Path:
        return self.root / "coordinator.log"

    def job(self, job: str) -> Path:
        """Where the public record and report of a job are kept."""
        return self.root / "jobs" / job

    def name(self) -> str:
        """The coordinator's id; LocalError before `init`."""
        try:
            return self.name_file.read_text().strip()
        except FileNotFoundError:
            raise LocalError(f"{self.root} is not a coordinator directory",
                             f"run: coordinator --dir {self.root} init") from None

    def create(self, name: str) -> tuple[str, str]:
        """Make keys and certificate; returns (CA fingerprint, identity public key)."""
        if self.name_file.exists():
            raise LocalError(f"{self.root} already holds the coordinator {self.name()}", "use another --dir")
        for path in (self.root, self.root / "keys", self.root / "jobs"):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.chmod(0o700)
        tls = create_directory(self.tls, name)
        identity = Identity.generate()
        write_private(self.identity_key, identity.to_pem())
        write_private(self.name_file, name.encode() + b"\n")
        ca = fingerprint(tls.ca_pem)
        write_private(self.entry_file, (
            f'[coordinator]\nid = "{name}"\nca_fingerprint = "{ca}"\nidentity = "{identity.public_hex}"\n'
            f'ca = """\n{tls.ca_pem.decode()}"""\n'
        ).encode())
        return ca, identity.public_hex

    def load(self) -> tuple[str, Consortium, TlsIdentity]:
        """Name, consortium and certificate, checked; LocalError says what is missing."""
        name = self.name()
        mode = stat.S_IMODE(self.root.stat().st_mode)
        if mode & 0o077:
            raise LocalError(f"{self.root} is open to others (mode {mode:03o})", f"run: chmod 700 {self.root}")
        consortium = load_consortium(self.consortium_file)
        if consortium.coordinator.id != name:
            raise LocalError(f"the consortium file names {consortium.coordinator.id} as coordinator, not {name}",
                             "ask for the file that names you")
        identity = load(self.tls, name)
        try:
            check_own(identity)
        except Unauthenticated as error:
            raise Unauthenticated(error.what, whose=name, advice="run: coordinator cert renew",
                                  reason=error.reason) from None
        return name, consortium, identity

    def renew(self) -> TlsIdentity:
        """A fresh certificate from our own CA; the nodes need do nothing."""
        return renew(self.tls, self.name())
