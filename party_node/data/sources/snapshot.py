"""A table in a database or an object store becomes a file of this party first: the bytes that a job signs.

Written under a passing name, 0600, and named after its digest once it is whole; a failure leaves nothing behind.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import BinaryIO, Protocol

from party_node.data.sources.files import file_digest
from party_node.table_errors import DataError

PASSING = ".part"


class Origin(Protocol):
    """Where rows come from."""

    @property
    def suffix(self) -> str: ...

    def write(self, file: BinaryIO, beside: Path) -> None: ...


def take(origin: Origin, folder: Path, name: str, beside: Path) -> tuple[Path, bool]:
    """Copy the rows of `origin` into `folder`: the file, and whether these bytes are new there. Raises DataError."""
    passing = folder / f"{name}-{uuid.uuid4().hex}{origin.suffix}{PASSING}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        with os.fdopen(os.open(passing, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            origin.write(file, beside)
            file.flush()
            os.fsync(file.fileno())
        lasting = folder / f"{name}-{file_digest(passing).hex()[:32]}{origin.suffix}"
        fresh = not lasting.exists()
        return passing.rename(lasting), fresh
    except OSError as error:
        raise DataError("snapshot", f"the table could not be written to {folder} ({error.strerror or 'unknown'})",
                        "Check the disk; nothing was registered.") from None
    finally:
        passing.unlink(missing_ok=True)


def drop_others(kept: Path, name: str) -> None:
    """Remove older snapshots of dataset `name`, and what a stopped process left."""
    for path in kept.parent.glob(f"{name}-*"):
        digest = path.name.removeprefix(f"{name}-").partition(".")[0]
        if path != kept and len(digest) == 32 and set(digest) <= set("0123456789abcdef"):
            path.unlink(missing_ok=True)
