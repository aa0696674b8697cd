"""Opens a private CSV or Parquet file, read-only, as Arrow columns: all at once, or batch by batch. Knows encodings,
not meanings.

CSV columns all arrive as text: what is a number is decided in `table`, which names a wrong cell by row.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as arrow_parquet

from party_node.table_errors import DataError, column_missing

SEPARATORS = ",;\t|"
HEADER_BYTES = 1 << 20
BLOCK_BYTES = 1 << 20
BATCH_ROWS = 1 << 16
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_STRAY = re.compile("[\udc80-\udcff]")   # how surrogateescape marks a byte that is no UTF-8


@dataclass(frozen=True, repr=False)
class Source:
    """Columns as they stand in the file: `names` stripped and unique, one array each, notes on reading."""

    names: tuple[str, ...]
    columns: tuple[pa.ChunkedArray, ...]
    decimal_comma: bool
    notes: tuple[str, ...]


def file_digest(path: Path) -> bytes:
    """SHA-256 of the file as it lies on disk (32 bytes; equals what `sha256sum` prints). Raises DataError."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise _unreadable(path, error) from None


def require_digest(path: Path, digest: str) -> None:
    """DataError table_changed unless the file still has this SHA-256, in hexadecimal."""
    if file_digest(path).hex() != digest:
        raise DataError("table_changed", f"`{path.name}` changed since it was registered",
                        "run: party-node dataset register FILE, then launch a new job")


def open_source(path: Path, wanted: Sequence[str] | None = None) -> Source:
    """Read `wanted` columns (all when None) of a CSV or Parquet file. Raises DataError."""
    if _is_parquet(path):
        with _ParquetTable(path, wanted) as parquet:
            return Source(parquet.names, parquet.whole(), decimal_comma=False, notes=())
    table = _CsvTable(path, wanted)
    return Source(table.names, table.whole(), table.mark == ";", table.text.notes)


def batches(path: Path, wanted: Sequence[str]) -> Iterator[tuple[pa.Array, ...]]:
    """The `wanted` columns a piece at a time, in the order of the rows, in bounded memory. Raises DataError."""
    if _is_parquet(path):
        with _ParquetTable(path, wanted) as parquet:
            yield from parquet.batches()
    else:
        yield from _CsvTable(path, wanted).batches()


def repaired(raw: bytes) -> tuple[str, int]:
    """Text, and how many bytes of it were no UTF-8.

    Those are taken as Windows-1252 one by one: files that were pasted together from several exports mix both, and so
    the good part stays good.
    """
    return _without_strays(raw.decode("utf-8", errors="surrogateescape"))


def _without_strays(text: str) -> tuple[str, int]:
    return _STRAY.subn(lambda stray: _windows(ord(stray[0]) - 0xDC00), text)


def _windows(byte: int) -> str:
    """One Windows-1252 character; the five bytes that it leaves open are Latin-1 control characters."""
    try:
        return bytes([byte]).decode("cp1252")
    except UnicodeDecodeError:
        return chr(byte)


def _is_parquet(path: Path) -> bool:
    try:
        if path.exists() and not path.is_file():
            raise IsADirectoryError
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise _unreadable(path, error) from None
    if magic in (b"PK\x03\x04", b"\xd0\xcf\x11\xe0"):
        raise DataError("unreadable", f"`{path.name}` is a workbook or an archive", "Save it as CSV.")
    if magic != b"PAR1" and path.suffix.lower() in (".parquet", ".pq"):
        raise DataError("unreadable", f"`{path.name}` is not a Parquet file", "Write it again.")
    return magic == b"PAR1"


def _unreadable(path: Path, error: OSError) -> DataError:
    reason = {
        "FileNotFoundError": "does not exist",
        "IsADirectoryError": "is not a file",
        "PermissionError": "may not be read by this user",
    }.get(type(error).__name__, "cannot be read")
    return DataError("unreadable", f"`{path.name}` {reason}", "Check the path in the dataset file.")


def _names(raw: Sequence[str]) -> list[str]:
    """Header names without surrounding space; nameless columns are numbered; duplicates are refused."""
    names = [name.strip().strip("\ufeff").strip() or f"column_{i + 1}" for i, name in enumerate(raw)]
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DataError("column_repeated", f"two columns are called `{name}`", "Rename one of them.")
        seen.add(name)
    return names


def _places(names: Sequence[str], wanted: Sequence[str] | None) -> list[int]:
    if wanted is None:
        return list(range(len(names)))
    where = {name: i for i, name in enumerate(names)}
    for name in wanted:
        if name not in where:
            raise column_missing(name, names)
    return [where[name] for name in wanted]


# ---------------------------------------------------------------- Parquet


class _ParquetTable:
    """One open file and the columns that are wanted of it."""

    def __init__(self, path: Path, wanted: Sequence[str] | None) -> None:
        self._path = path
        try:
            self._file = arrow_parquet.ParquetFile(path, buffer_size=BLOCK_BYTES)
        except (pa.ArrowException, OSError):
            raise self._damaged() from None
        raw = list(self._file.schema_arrow.names)
        names = _names(raw)
        places = _places(names, wanted)
        self.names = tuple(names[i] for i in places)
        self._raw = [raw[i] for i in places]

    def __enter__(self) -> _ParquetTable:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def _damaged(self) -> DataError:
        # Arrow's own text may quote the file's content: it is not passed on.
        return DataError("unreadable", f"`{self._path.name}` is a damaged Parquet file", "Write it again.")

    def whole(self) -> tuple[pa.ChunkedArray, ...]:
        try:
            table = self._file.read(columns=self._raw)
        except (pa.ArrowException, OSError):
            raise self._damaged() from None
        return tuple(table.column(name) for name in self._raw)

    def batches(self) -> Iterator[tuple[pa.Array, ...]]:
        try:
            for batch in self._file.iter_batches(BATCH_ROWS, columns=self._raw, use_threads=False):
                yield tuple(batch.column(name) for name in self._raw)
        except (pa.ArrowException, OSError):
            raise self._damaged() from None


# ---------------------------------------------------------------- CSV


@dataclass
class _Text:
    """The bytes of a text file as UTF-8, block by block, whatever they are; unpacked where its name says so.

    Not memory-mapped: a file that is rewritten under a mapping kills the process.
    """

    path: Path
    encoding: str = "utf-8"
    strays: int = field(default=0, init=False)    # bytes that are no UTF-8; in the file, not in what was read so far

    def __post_init__(self) -> None:
        blocks = self._raw()
        head = next(blocks, b"")
        self.empty = not head.strip() and not any(block.strip() for block in blocks)
        if head[:2] in _UTF16:
            self.encoding = "utf-16"
        else:
            self.strays = sum(_without_strays(text)[1] for text in self._decoded() if not text.isascii())

    @property
    def notes(self) -> tuple[str, ...]:
        if self.encoding == "utf-16":
            return ("read as UTF-16",)
        return (f"not UTF-8, read as Windows-1252: {self.strays} bytes",) if self.strays else ()

    def open(self) -> Any:  # what Arrow reads from: its own stream, or a Python file
        """A fresh stream of UTF-8."""
        if self.encoding == "utf-8" and not self.strays:
            return self._stream()
        return io.BufferedReader(_Encoded(self._decoded()), BLOCK_BYTES)

    def _stream(self) -> pa.NativeFile:
        try:
            return pa.input_stream(str(self.path), compression="detect")
        except OSError as error:
            raise _unreadable(self.path, error) from None

    def _raw(self) -> Iterator[bytes]:
        with self._stream() as stream:
            try:
                while block := stream.read(BLOCK_BYTES):
                    yield block
            except OSError as error:
                raise _unreadable(self.path, error) from None

    def _decoded(self) -> Iterator[str]:
        """The text, with a mark for every stray byte."""
        errors = "surrogateescape" if self.encoding == "utf-8" else "replace"
        decoder = codecs.getincrementaldecoder(self.encoding)(errors)
        for block in self._raw():
            yield decoder.decode(block)
        yield decoder.decode(b"", final=True)


class _Encoded(io.RawIOBase):
    """Pieces of text as a file of UTF-8."""

    def __init__(self, pieces: Iterator[str]) -> None:
        self._pieces, self._rest = pieces, b""

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:  # any writable buffer
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = _without_strays(piece)[0].encode()
        taken, self._rest = self._rest[:len(target)], self._rest[len(target):]
        target[:len(taken)] = taken
        return len(taken)


class _CsvTable:
    """One text file, its header, and the columns that are wanted of it."""

    def __init__(self, path: Path, wanted: Sequence[str] | None) -> None:
        self._path, self.text = path, _Text(path)
        if self.text.empty:
            raise DataError("empty_table", f"`{path.name}` is empty", "Give a table with a header and rows.")
        with self.text.open() as stream:
            head = stream.read(HEADER_BYTES).decode(errors="replace").lstrip("\ufeff\r\n")
        self.mark = _separator(head)
        try:
            raw = next(csv.reader(io.StringIO(head, newline=""), delimiter=self.mark), [])
        except csv.Error:
            raise self._why([]) from None
        names = _names(raw)
        places = _places(names, wanted)
        self.names = tuple(names[i] for i in places)
        # In a table of one column an empty line is a row without a value; else it is nothing.
        self._one_column = len(raw) == 1
        self._convert = arrow_csv.ConvertOptions(
            column_types={name: pa.string() for name in raw},
            include_columns=[raw[i] for i in places],
            strings_can_be_null=False,
        )

    def whole(self) -> tuple[pa.ChunkedArray, ...]:
        ragged: list[int] = []
        try:
            with self.text.open() as stream:
                table = arrow_csv.read_csv(stream, parse_options=self._parse(ragged), convert_options=self._convert)
        except (pa.ArrowInvalid, pa.ArrowKeyError):
            raise self._why(ragged) from None
        return tuple(table.columns)

    def batches(self) -> Iterator[tuple[pa.Array, ...]]:
        ragged: list[int] = []
        try:
            with self.text.open() as stream, arrow_csv.open_csv(
                stream, parse_options=self._parse(ragged), convert_options=self._convert
            ) as reader:
                for batch in reader:
                    yield tuple(batch.columns)
        except (pa.ArrowInvalid, pa.ArrowKeyError):
            raise self._why(ragged) from None

    def _parse(self, ragged: list[int]) -> arrow_csv.ParseOptions:
        """Options under which a row with another number of cells is an error, noted in `ragged`."""
        def on_ragged(row: arrow_csv.InvalidRow) -> str:
            ragged.append(row.number)
            return "error"

        return arrow_csv.ParseOptions(delimiter=self.mark, newlines_in_values=True, invalid_row_handler=on_ragged,
                                      ignore_empty_lines=not self._one_column)

    def _why(self, ragged: list[int]) -> DataError:
        """Find the first row with another number of cells; only a single-threaded pass knows its number."""
        if not ragged:
            return DataError("unreadable", f"`{self._path.name}` cannot be read as a table",
                             "Give CSV with a header line, or Parquet.")
        found: list[tuple[int, int, int]] = []

        def note(row: arrow_csv.InvalidRow) -> str:
            found.append((row.number, row.expected_columns, row.actual_columns))
            return "skip"

        parse = arrow_csv.ParseOptions(delimiter=self.mark, newlines_in_values=True, invalid_row_handler=note,
                                       ignore_empty_lines=not self._one_column)
        with self.text.open() as stream:
            arrow_csv.read_csv(stream, arrow_csv.ReadOptions(use_threads=False), parse)
        number, expected, actual = found[0]
        return DataError(
            "ragged_row",
            f"row {number - 1} of `{self._path.name}` has {actual} cells where the header has {expected}",
            "Quote cells that hold the separator, or remove the row.",
        )


def _separator(head: str) -> str:
    """The separator that is commonest in the header line, outside quotes."""
    counts = dict.fromkeys(SEPARATORS, 0)
    quoted = False
    for char in head:
        if char == '"':
            quoted = not quoted
        elif not quoted and char in "\r\n":
            break
        elif not quoted and char in counts:
            counts[char] += 1
    return max(SEPARATORS, key=lambda mark: counts[mark])
