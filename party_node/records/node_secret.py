"""The node's one lasting secret, 0600 beside its identity key, from which every key of a lasting purpose is derived.

What is drawn from such a key is the same whenever it is asked for again: the same noise for the same job, the same
rounding of the same customer. Averages over repeated jobs then say no more than one of them. Whoever has the secret
can take all of that off again, so it leaves the node in no form.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import NoReturn

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mpc.domains import Domain
from mpc.errors import LocalError

SECRET_BYTES = 32
KEY_BYTES = 32


class NodeSecret:
    """Gives keys, never itself."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_BYTES:
            raise ValueError(f"a node's secret has {SECRET_BYTES} bytes")
        self._secret = secret

    @classmethod
    def at(cls, path: Path) -> NodeSecret:
        """The secret that `path` holds; made at the first time. LocalError if the file is damaged.

        Two processes or threads of a node may come first together: one file is linked into place whole, the other goes.
        """
        if not path.exists():
            fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
            try:
                with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    file.write(secrets.token_bytes(SECRET_BYTES))
                    file.flush()
                    os.fsync(file.fileno())
                os.link(fresh, path)
            except FileExistsError:
                pass
            finally:
                fresh.unlink(missing_ok=True)
        try:
            return cls(path.read_bytes())
        except (OSError, ValueError):
            raise LocalError("the secret of this node cannot be read or is damaged",
                             "restore keys/node.secret from the backup: under a new one, the noise of earlier jobs is "
                             "drawn once more when they are repeated") from None

    def key(self, purpose: Domain, *context: bytes) -> bytes:
        """32 bytes for one `purpose` and all that they shall depend on. HKDF with SHA-256, RFC 5869: the purpose and
        the context, each with its length before it, are `info`."""
        parts = (purpose.encode(), *context)
        info = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
        return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(self._secret)

    def __repr__(self) -> str:
        return "NodeSecret(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a node's secret is never pickled")
