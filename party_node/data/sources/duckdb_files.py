"""Rows of a query over a DuckDB file as Parquet: opened read-only, with no way out to other files or the network.

Knows no dataset, no column's meaning.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from party_node.table_errors import DataError, engine_missing, one_statement

BATCH_ROWS = 1 << 16


class DuckSource(BaseModel):
    """A `[source]` table of a dataset file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: Literal["duckdb"]
    file: Annotated[str, Field(min_length=1)]            # relative to the dataset file
    query: Annotated[str, Field(min_length=1, max_length=100_000)]

    _one_statement = field_validator("query")(one_statement)

    @property
    def suffix(self) -> str:
        """Of the file that is written."""
        return ".parquet"

    def write(self, file: BinaryIO, beside: Path) -> None:
        """Run the query and write its rows. `beside` is the folder of the dataset file. Raises DataError."""
        try:
            import duckdb
            import pyarrow.parquet as arrow_parquet
        except ImportError:
            raise engine_missing("duckdb", "duckdb") from None
        path = beside / self.file
        if not path.is_file():
            raise DataError("unreadable", f"`{path.name}` does not exist or is not a file", "Check the [source] table.")
        closed: dict[str, str | bool | int | float | list[str]] = {
            "enable_external_access": "false", "autoload_known_extensions": "false",
            "autoinstall_known_extensions": "false", "lock_configuration": "true",
        }
        try:
            with duckdb.connect(str(path), read_only=True, config=closed) as connection:
                relation = connection.sql(self.query)
                if relation is None:
                    raise DataError("query_failed", "the query gives no rows", "Give a SELECT.")
                rows = relation.to_arrow_reader(BATCH_ROWS)
                with arrow_parquet.ParquetWriter(file, rows.schema) as writer:
                    for batch in rows:
                        writer.write_batch(batch)
        except (duckdb.CatalogException, duckdb.BinderException, duckdb.ParserException, duckdb.PermissionException,
                duckdb.InvalidInputException) as error:
            words = (str(error).strip().splitlines() or [""])[0][:300]
            raise DataError("query_failed", f"the query is refused: {words}", "Mend the query.") from None
        except duckdb.IOException:
            raise DataError("unreadable", f"`{path.name}` is no DuckDB file of a known version, or is being written",
                            "Check the [source] table; close writers, or export the file.") from None
        except duckdb.Error as error:
            # Its text may quote a cell.
            raise DataError("query_failed", f"the query failed ({type(error).__name__})",
                            "Run it in duckdb to see why.") from None
