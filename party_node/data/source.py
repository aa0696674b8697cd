"""Opens a private CSV or Parquet file, read-only, as Arrow columns. Knows encodings, not meanings.

CSV columns all arrive as text: what is a number is decided in `table`, which names a wrong cell by row.
"""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as arrow_parquet

from party_node.data.errors import DataError, column_missing

SEPARATORS = ",;\t|"
HEADER_BYTES = 1 << 16
DECODE_BYTES = 1 << 20
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


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


def open_source(path: Path, wanted: Sequence[str] | None = None) -> Source:
    """Read `wanted` columns (all when None) of a CSV or Parquet file. Raises DataError."""
    try:
        if path.exists() and not path.is_file():
            raise IsADirectoryError
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise _unreadable(path, error) from None
    if magic == b"PAR1":
        return _parquet(path, wanted)
    if magic in (b"PK\x03\x04", b"\xd0\xcf\x11\xe0"):
        raise DataError("unreadable", f"`{path.name}` is a workbook or an archive", "Save it as CSV.")
    if path.suffix.lower() in (".parquet", ".pq"):
        raise DataError("unreadable", f"`{path.name}` is not a Parquet file", "Write it again.")
    return _csv(path, wanted)


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


def _parquet(path: Path, wanted: Sequence[str] | None) -> Source:
    try:
        with arrow_parquet.ParquetFile(path) as file:
            raw = list(file.schema_arrow.names)
            names = _names(raw)
            places = _places(names, wanted)
            table = file.read(columns=[raw[i] for i in places])
    except (pa.ArrowException, OSError):
        # Arrow's own text may quote the file's content: it is not passed on.
        raise DataError("unreadable", f"`{path.name}` is a damaged Parquet file", "Write it again.") from None
    columns = tuple(table.column(raw[i]) for i in places)
    return Source(tuple(names[i] for i in places), columns, decimal_comma=False, notes=())


def _csv(path: Path, wanted: Sequence[str] | None) -> Source:
    raw = _all_bytes(path)
    if not raw.strip():
        raise DataError("empty_table", f"`{path.name}` is empty", "Give a table with a header and rows.")
    notes: tuple[str, ...] = ()
    if not _is_utf8(raw):
        raw, notes = _as_utf8(raw)
    try:
        return _parse(pa.py_buffer(raw), path, wanted, notes)
    except pa.ArrowInvalid:
        raise DataError(
            "unreadable",
            f"`{path.name}` cannot be read as a table",
            "Give CSV with a header line, or Parquet.",
        ) from None


def _all_bytes(path: Path) -> bytes:
    """The file's bytes, unpacked where its name says .gz, .bz2 or .zst. Not memory-mapped: a file that is
    rewritten under a mapping kills the process."""
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            data: bytes = stream.read()
    except OSError as error:
        raise _unreadable(path, error) from None
    return data


def _is_utf8(raw: bytes) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    view = memoryview(raw)
    try:
        for start in range(0, len(raw), DECODE_BYTES):
            decoder.decode(view[start : start + DECODE_BYTES])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _as_utf8(raw: bytes) -> tuple[bytes, tuple[str, ...]]:
    """UTF-8 bytes of a file that is not clean UTF-8, and a note on how it was read.

    UTF-16 is known by its mark. Else stray bytes are taken as Windows-1252 one by one: files that were pasted
    together from several exports mix both, and so the good part stays good.
    """
    if raw[:2] in _UTF16:
        return raw.decode("utf-16", errors="replace").encode("utf-8"), ("read as UTF-16",)
    repaired = 0

    def as_windows(error: UnicodeError) -> tuple[str, int]:
        nonlocal repaired
        if not isinstance(error, UnicodeDecodeError):
            raise error
        repaired += error.end - error.start
        return "".join(_windows(byte) for byte in error.object[error.start : error.end]), error.end

    codecs.register_error("party-node-windows", as_windows)
    text = raw.decode("utf-8-sig", errors="party-node-windows")
    return text.encode("utf-8"), (f"not UTF-8, read as Windows-1252: {repaired} bytes",)


def _windows(byte: int) -> str:
    """One Windows-1252 character; the five bytes that it leaves open are Latin-1 control characters."""
    try:
        return bytes([byte]).decode("cp1252")
    except UnicodeDecodeError:
        return chr(byte)


def _separator(head: bytes) -> str:
    """The separator that is commonest in the header line, outside quotes."""
    text = head.decode("utf-8", errors="replace").lstrip("\ufeff\r\n")
    counts = dict.fromkeys(SEPARATORS, 0)
    quoted = False
    for char in text:
        if char == '"':
            quoted = not quoted
        elif not quoted and char in "\r\n":
            break
        elif not quoted and char in counts:
            counts[char] += 1
    return max(SEPARATORS, key=lambda mark: counts[mark])


def _parse(data: pa.Buffer, path: Path, wanted: Sequence[str] | None, notes: tuple[str, ...]) -> Source:
    """Parse UTF-8 bytes as CSV. Raises DataError for ragged rows and missing columns, ArrowInvalid else."""
    ragged: list[int] = []

    def on_ragged(row: arrow_csv.InvalidRow) -> str:
        ragged.append(row.number)
        return "error"

    mark = _separator(data.slice(0, min(HEADER_BYTES, data.size)).to_pybytes())
    parse = arrow_csv.ParseOptions(delimiter=mark, newlines_in_values=True, invalid_row_handler=on_ragged)
    raw = _header(data, mark)
    names = _names(raw)
    places = _places(names, wanted)
    convert = arrow_csv.ConvertOptions(
        column_types={name: pa.string() for name in raw},
        include_columns=[raw[i] for i in places],
        strings_can_be_null=False,
    )
    try:
        table = arrow_csv.read_csv(pa.BufferReader(data), parse_options=parse, convert_options=convert)
    except pa.ArrowInvalid:
        if not ragged:
            raise
        raise _ragged_row(data, mark, path) from None
    columns = tuple(table.column(i) for i in range(len(places)))
    return Source(tuple(names[i] for i in places), columns, mark == ";", notes)


def _header(data: pa.Buffer, mark: str) -> list[str]:
    """The header cells; only the first block is looked at, ragged rows in it are left for later."""
    parse = arrow_csv.ParseOptions(delimiter=mark, newlines_in_values=True, invalid_row_handler=lambda row: "skip")
    with arrow_csv.open_csv(pa.BufferReader(data), parse_options=parse) as reader:
        return list(reader.schema.names)


def _ragged_row(data: pa.Buffer, mark: str, path: Path) -> DataError:
    """Find the first row with another number of cells; only a single-threaded pass knows its number."""
    found: list[tuple[int, int, int]] = []

    def note(row: arrow_csv.InvalidRow) -> str:
        found.append((row.number, row.expected_columns, row.actual_columns))
        return "skip"

    parse = arrow_csv.ParseOptions(delimiter=mark, newlines_in_values=True, invalid_row_handler=note)
    arrow_csv.read_csv(pa.BufferReader(data), arrow_csv.ReadOptions(use_threads=False), parse)
    number, expected, actual = found[0]
    return DataError(
        "ragged_row",
        f"row {number - 1} of `{path.name}` has {actual} cells where the header has {expected}",
        "Quote cells that hold the separator, or remove the row.",
    )
