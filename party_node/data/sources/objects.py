"""One object of an S3-style store, copied as it is. Knows no dataset, no format.

Credentials come from where such stores keep them (environment, shared credentials file, role of the machine), never
from a dataset file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, Field

from party_node.table_errors import DataError

BLOCK_BYTES = 1 << 22
CONNECT_SECONDS, REQUEST_SECONDS = 10.0, 60.0


class ObjectSource(BaseModel):
    """A `[source]` table of a dataset file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: Literal["s3"]
    path: Annotated[str, Field(pattern=r"^s3://[^/\s?#]+/[^\s?#]*[^/\s?#]$")]
    region: str | None = None
    endpoint: Annotated[str, Field(pattern=r"^https?://[^/\s]+$")] | None = None     # of a store that is not Amazon's
    anonymous: bool = False

    @property
    def suffix(self) -> str:
        """Of the file that is written: what the object's name ends with, as readers go by it."""
        found = re.search(r"(\.[A-Za-z0-9]{1,8}){1,2}$", self.path)
        return found[0] if found else ""

    def write(self, file: BinaryIO, beside: Path) -> None:
        """Copy the object. Raises DataError."""
        import pyarrow as pa
        from pyarrow import fs  # starts the store's client: only who needs one pays

        scheme, _, address = (self.endpoint or "https://").partition("://")
        given = {"region": self.region, "endpoint_override": address or None, "scheme": scheme}
        try:
            store = fs.S3FileSystem(
                anonymous=self.anonymous, connect_timeout=CONNECT_SECONDS, request_timeout=REQUEST_SECONDS,
                **{name: value for name, value in given.items() if value is not None},
            )
            with store.open_input_stream(self.path.removeprefix("s3://"), buffer_size=BLOCK_BYTES) as stream:
                while block := stream.read(BLOCK_BYTES):
                    file.write(block)
        except FileNotFoundError:
            raise DataError("unreadable", f"there is no object `{self.path}`", "Check the [source] table.") from None
        except PermissionError:
            raise self._refused() from None
        except (OSError, pa.ArrowException) as error:
            if "ACCESS_DENIED" in str(error) or "403" in str(error):
                raise self._refused() from None
            raise DataError("source_unreachable", f"`{self.path}` could not be copied from its store",
                            "Check endpoint, region and the network; nothing was registered.") from None

    def _refused(self) -> DataError:
        return DataError("source_unreachable", f"the store refuses `{self.path}`",
                         "Check the credentials of the node's user, and its right to read this object.")
