"""One invocation of a party-node command: where the party lives, and its opened directory. Knows no command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from party_node.config import PartyConfig, PartyDirectory
from party_node.records.audit import AuditLog
from party_node.records.store import Store

HOME = Path("party")


@dataclass
class Session:
    """One invocation: where the party lives, and its name once that is known."""

    directory: PartyDirectory = field(default_factory=lambda: PartyDirectory(HOME))
    party: str = "this machine"
    program: str = "party-node"

    @property
    def log_file(self) -> Path:
        return self.directory.log_file


@contextmanager
def opened(session: Session) -> Iterator[tuple[PartyConfig, Store, AuditLog]]:
    """Configuration, state and audit log of a directory whose permissions are in order."""
    session.directory.check_permissions()
    config = session.directory.load_config()
    session.party = config.party
    store = Store(session.directory.state_db)
    try:
        audit = AuditLog(session.directory.audit_log, config.party)
        try:
            yield config, store, audit
        finally:
            audit.close()
    finally:
        store.close()
