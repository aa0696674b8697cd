"""Registering a dataset: its table is read on this machine, and counts, kinds and the file's SHA-256 are kept.

No cell is kept. Everything that will make a job fail or a column useless is said here, before any job.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from mpc.errors import LocalError
from party_node.config import PartyConfig
from party_node.consent.datasets import DatasetFile, RegisteredDataset, load_dataset_file
from party_node.data.ids.accounting import DuplicatePolicy, IdCollector, IdRules, IdScheme, IdSet, id_batches
from party_node.data.ids.normalisation import IdProfile
from party_node.data.ids.shape import ShapeCounter
from party_node.data.label import read_label
from party_node.data.mock_table import MockSchema
from party_node.data.period import read_period
from party_node.data.sources import snapshot
from party_node.data.sources.files import file_digest, require_digest
from party_node.data.sources.kinds import Kind
from party_node.data.sources.table import ColumnProfile, Table, TextColumn, read_table
from party_node.records.store import Store
from party_node.table_errors import DataError

MAX_LEVELS = 50          # a text column with more levels is an identifier rather than a category


class Registration(BaseModel):
    """What the operator sees after `dataset register`. For this screen only: it is not kept and not sent."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    dataset: RegisteredDataset
    counts: dict[str, int]                 # read, matched, unmatched, duplicate, blank, refused
    columns: tuple[ColumnProfile, ...]
    notes: tuple[str, ...]


def prepare(file: Path, config: PartyConfig, snapshots: Path) -> Registration:
    """Read and profile the table that a dataset file names. DataError or ConfigError; nothing leaves this machine.

    The rows of a database or an object store become a file in `snapshots` first, which is what jobs read.
    """
    parsed = load_dataset_file(file)
    if isinstance(parsed.source, str):
        return examine(parsed, (file.parent / parsed.source).resolve(), config.approval)
    path, fresh = snapshot.take(parsed.source, snapshots.resolve(), parsed.name, file.parent)
    try:
        return examine(parsed, path, config.approval)
    except LocalError:
        if fresh:  # else an earlier registration lives on it
            path.unlink(missing_ok=True)
        raise


def changes(before: RegisteredDataset, now: RegisteredDataset) -> list[str]:
    """What a new registration finds otherwise than the one before: columns of another kind, fewer rows by half."""
    found = [f"column `{name}` held {before.kinds[name]} cells and holds {kind} ones now"
             for name, kind in now.kinds.items() if before.kinds.get(name, kind) != kind]
    if 2 * now.rows < before.rows:
        found.append(f"the table had {before.rows} rows and has {now.rows} now")
    return found


def keep(dataset: RegisteredDataset, store: Store) -> None:
    """Remember a dataset; the budgets of one that is registered again stay as spent, older snapshots of it go."""
    store.put_dataset(dataset.name, dataset.model_dump(mode="json"))
    if not isinstance(dataset.file.source, str):
        snapshot.drop_others(Path(dataset.path), dataset.name)


def examine(parsed: DatasetFile, path: Path, approval: Literal["ask", "auto"]) -> Registration:
    """What `register` finds in the table at `path`. DataError names the column or row that is wrong."""
    digest = file_digest(path).hex()
    declared = dict.fromkeys(parsed.categorical, Kind.TEXT)
    apart = [name for name in (parsed.label, parsed.period) if name is not None]
    declared |= dict.fromkeys(apart, Kind.TEXT)
    seen = [*parsed.offered, *apart]
    ids, shapes = _examine_ids(parsed, path)
    table = read_table(path, columns=seen, kinds=declared) if seen else Table(ids.counts.read, {}, ())
    if file_digest(path).hex() != digest:
        raise DataError("table_changed", "the table changed while it was read", "register it again")
    dataset = RegisteredDataset(
        file=parsed, path=str(path), digest=digest, rows=table.rows, usable_ids=len(ids),
        kinds={name: table.kinds[name].value for name in parsed.offered},
        id_shapes=shapes,
        approval=parsed.policy.approval or approval,
    )
    return Registration(dataset=dataset, counts=ids.counts.to_json(), columns=table.profile(),
                        notes=(*table.notes, *_warnings(parsed, table, ids)))


def _examine_ids(parsed: DatasetFile, path: Path) -> tuple[IdSet, list[dict[str, float]]]:
    """All ids, and the shape of each column of them."""
    scheme = IdScheme(parsed.id_scheme)
    collector = IdCollector(IdRules(tuple(map(IdProfile, parsed.id_profiles)), scheme, scheme))
    shapes = [ShapeCounter() for _ in parsed.id_columns]
    for cells in id_batches(path, parsed.id_columns):
        for shape, texts in zip(shapes, collector.add(cells), strict=True):
            shape.add(texts)
    return collector.finish(DuplicatePolicy.FIRST), [shape.shape() for shape in shapes]


def check_unchanged(dataset: RegisteredDataset) -> None:
    """DataError unless the table still has the bytes that were registered: call it before a job reads a row."""
    require_digest(Path(dataset.path), dataset.digest)


def mock_schema(dataset: RegisteredDataset) -> MockSchema:
    """What outsiders may see of it, for a made-up table."""
    file = dataset.file
    return MockSchema(
        dataset=dataset.name, id_columns=file.id_columns, id_profiles=[IdProfile(name) for name in file.id_profiles],
        id_scheme=file.id_scheme, label=file.label if dataset.policy.use_label else None, positive=file.label_positive,
        period=file.period,
        numeric={name: dataset.kinds[name] == "numeric" for name in dataset.allowed_columns},
    )


def twice(dataset: RegisteredDataset, others: Iterable[RegisteredDataset]) -> list[str]:
    """A note where the same table is offered under another name: budgets count what is asked of a name."""
    same = sorted(one.name for one in others if one.digest == dataset.digest and one.name != dataset.name)
    return [f"the same table is registered as {name}: each has budgets of its own, and both together tell of the same "
            "customers" for name in same]


def _apart_warnings(parsed: DatasetFile, table: Table) -> list[str]:
    """What speaks against the declared values of the label, and against the period; it is told here alone."""
    notes = []
    if parsed.label is not None and parsed.policy.use_label and not parsed.label_positive:
        notes.append("label_positive is empty: every job that uses the label is denied")
    for value in parsed.label_positive:
        try:
            read_label(table, str(parsed.label), value)
        except DataError as error:
            notes.append(f"no job can take `{value}` of `{parsed.label}` for bad: {error.what}")
    if parsed.period is not None:
        try:
            read_period(table, parsed.period, None)
        except DataError as error:
            notes.append(f"no job can take `{parsed.period}` as its period: {error.what}")
    return notes


def _warnings(parsed: DatasetFile, table: Table, ids: IdSet) -> list[str]:
    """What will make a job fail or a column useless, said before any job."""
    notes = []
    if ids.mixed:
        notes.append(f"{ids.mixed} ids hold bytes that are no UTF-8, and were read as Windows-1252")
    for name in parsed.offered:
        column = table.column(name)
        if isinstance(column, TextColumn) and len(column.levels) > MAX_LEVELS:
            notes.append(f"column `{name}` has {len(column.levels)} different texts: as a category it says little; "
                         "is it an identifier?")
        if bool(column.missing.all()):
            notes.append(f"column `{name}` is empty and will be dropped")
    notes += _apart_warnings(parsed, table)
    if table.rows < parsed.policy.minimum_rows:
        notes.append(f"the table has {table.rows} rows, fewer than its own policy.minimum_rows: every job is denied")
    for name in ("purposes", "partners", "coordinators", "reveal"):
        if not getattr(parsed.policy, name):
            notes.append(f"policy.{name} is empty: every job is denied")
    return notes
