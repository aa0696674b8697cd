"""Datasets that a bank offers, and on which terms: the dataset TOML, its registration, what outsiders may see.

Registration reads the table on this machine and keeps counts, kinds and the SHA-256 of the file; no cell is kept.
Default deny: an empty list in the policy allows nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from mpc.errors import LocalError
from party_node.config import PartyConfig, load_toml
from party_node.data.ids.accounting import DuplicatePolicy, IdCollector, IdRules, IdScheme, IdSet, id_batches
from party_node.data.ids.normalisation import IdProfile
from party_node.data.ids.shape import ShapeCounter
from party_node.data.mock_table import MockSchema
from party_node.data.period import read_period
from party_node.data.sources import snapshot
from party_node.data.sources.duckdb_files import DuckSource
from party_node.data.sources.files import file_digest, require_digest
from party_node.data.sources.objects import ObjectSource
from party_node.data.sources.postgres import PostgresSource
from party_node.data.sources.table import ColumnProfile, Kind, Table, TextColumn, read_table
from party_node.records.budgets import Budget
from party_node.records.store import Store
from party_node.table_errors import DataError
from wire.description import ColumnDescription, DatasetDescription
from wire.spec.job import (
    MIN_INTERSECTION,
    ColumnName,
    Hex32,
    IdColumns,
    IdProfileName,
    IdProfiles,
    IdSchemeName,
    PartyName,
    Release,
)

ROWS_PER_EQUATION = 10   # protocol.md 2.4: the sum of d_i over all jobs stays far below the number of rows
MAX_LEVELS = 50          # a text column with more levels is an identifier rather than a category


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Budgets(_Part):
    """How often the dataset may be used, over all jobs together."""

    alignments: Annotated[int, Field(ge=0)] = 10
    alignments_per_partner: Annotated[int, Field(ge=0)] = 5
    training_rounds: Annotated[int, Field(ge=0)] = 400
    score_calls: Annotated[int, Field(ge=0)] = 10
    period_splits: Annotated[int, Field(ge=0)] = 4
    feature_equations: Annotated[int, Field(ge=0)] | None = None  # none given: a tenth of the rows

    def limit(self, budget: Budget, rows: int) -> int:
        """The limit of `budget` for a table of `rows` rows."""
        if budget is Budget.FEATURE_EQUATIONS and self.feature_equations is None:
            return rows // ROWS_PER_EQUATION
        return int(getattr(self, budget.value))


class DatasetPolicy(_Part):
    """Who may do what with the dataset. What is not named is refused."""

    purposes: list[str] = []
    partners: list[PartyName] = []
    coordinators: list[PartyName] = []
    columns: list[ColumnName] | None = None      # none given: all offered columns
    use_label: bool = False
    minimum_rows: Annotated[int, Field(ge=1)] = 1000
    minimum_intersection: Annotated[int, Field(ge=MIN_INTERSECTION)] = MIN_INTERSECTION
    minimum_support: Annotated[int, Field(ge=1)] = 20
    minimum_cell: Annotated[int, Field(ge=1)] = 20        # customers in a bin whose good and bad ones are counted
    minimum_outcome: Annotated[int, Field(ge=1)] = 5      # good, and bad, customers in a bin that its owner hears of
    minimum_difference: Annotated[int, Field(ge=0)] = 20  # two sets in common differ by none or at least so many
    maximum_leverage: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    largest_weight: Annotated[float, Field(ge=1.0)] = 1.0     # of one row, in multiples of the mean; 1: all alike
    balanced_classes: bool = True                             # both outcomes may weigh the same
    correlation_bits: Annotated[int, Field(ge=0, le=16)] = 0  # finer than the rows support only up to here
    key_bits: Annotated[int, Field(ge=2048)] = 3072
    reveal: list[str] = []
    release: list[Release] = []
    approval: Literal["ask", "auto"] | None = None        # none given: party.toml decides
    budgets: Budgets = Budgets()


def _source_kind(value: Any) -> str:  # whatever TOML holds there
    if isinstance(value, str):
        return "file"
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return str(kind)


SourceName = Annotated[
    Annotated[str, Field(min_length=1), Tag("file")]
    | Annotated[PostgresSource, Tag("postgresql")]
    | Annotated[DuckSource, Tag("duckdb")]
    | Annotated[ObjectSource, Tag("s3")],
    Discriminator(_source_kind),
]


class DatasetFile(_Part):
    """One dataset's TOML file."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
    source: SourceName                                    # CSV or Parquet, relative to this file; or a [source] table
    id: ColumnName | IdColumns                            # several columns make one id
    id_profile: IdProfileName | IdProfiles = "plain"      # one for each part of the id, if they differ
    id_scheme: IdSchemeName = "written"                   # sha256: the column holds digests of normalised ids
    label: ColumnName | None = None
    period: ColumnName | None = None                      # when a row was: the one column that may say who judges
    offered: Annotated[list[ColumnName], Field(max_length=5000)]  # others do not exist for outsiders
    categorical: list[ColumnName] = []                    # codes that look numeric
    policy: DatasetPolicy = DatasetPolicy()

    @model_validator(mode="after")
    def _whole(self) -> DatasetFile:
        named = [*self.offered, *self.id_columns, *(name for name in (self.label, self.period) if name is not None)]
        if len(set(named)) != len(named):
            raise ValueError("offered columns repeat, or hold the id, the label or the period")
        if self.id_scheme == "sha256" and len(self.id_columns) != 1:
            raise ValueError("id names several columns, and digests of ids stand in one")
        if self.id_scheme == "written" and len(self.id_columns) != len(self.id_profiles):
            raise ValueError("id_profile has another number of entries than id has columns")
        for what, names in (("categorical", self.categorical), ("policy.columns", self.policy.columns or [])):
            missing = [name for name in names if name not in self.offered]
            if missing:
                raise ValueError(f"{what} names `{missing[0]}`, which is not offered")
        if self.policy.use_label and self.label is None:
            raise ValueError("policy.use_label is true, but no label column is named")
        return self

    @property
    def id_columns(self) -> list[str]:
        """The columns that make an id, in order."""
        return [self.id] if isinstance(self.id, str) else self.id

    @property
    def id_profiles(self) -> list[IdProfileName]:
        """The profile of each part of an id; one that is given alone counts for every column."""
        if not isinstance(self.id_profile, str):
            return self.id_profile
        return [self.id_profile] * len(self.id_columns)


class RegisteredDataset(_Part):
    """A dataset as `state.db` keeps it: the file's content, and what registration found."""

    file: DatasetFile
    path: str                       # absolute path of the table
    digest: Hex32                   # SHA-256 of the table's bytes
    rows: int
    usable_ids: int
    kinds: dict[str, Literal["numeric", "text"]]   # of the offered columns
    id_shapes: list[dict[str, float]]              # of each column of the id
    approval: Literal["ask", "auto"]

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def policy(self) -> DatasetPolicy:
        return self.file.policy

    @property
    def allowed_columns(self) -> list[str]:
        """Columns that a job may name, in the order in which they are offered."""
        allowed = self.policy.columns
        return [name for name in self.file.offered if allowed is None or name in allowed]

    def mock_schema(self) -> MockSchema:
        """What outsiders may see of it, for a made-up table."""
        file = self.file
        return MockSchema(
            dataset=self.name, id_columns=file.id_columns, id_profiles=[IdProfile(name) for name in file.id_profiles],
            id_scheme=file.id_scheme, label=file.label if self.policy.use_label else None, period=file.period,
            numeric={name: self.kinds[name] == "numeric" for name in self.allowed_columns},
        )

    def limit(self, budget: Budget) -> int:
        """The policy's limit of `budget`."""
        return self.policy.budgets.limit(budget, self.usable_ids)

    def kinds_for_reading(self) -> dict[str, Kind]:
        """Declared kinds for `read_table`: the offered columns as found at registration, the label as text."""
        declared = {name: Kind(kind) for name, kind in self.kinds.items()}
        return declared | ({self.file.label: Kind.TEXT} if self.file.label else {})


class Registration(BaseModel):
    """What the operator sees after `dataset register`. For this screen only: it is not kept and not sent."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    dataset: RegisteredDataset
    counts: dict[str, int]                 # read, matched, unmatched, duplicate, blank, refused
    columns: tuple[ColumnProfile, ...]
    notes: tuple[str, ...]


def load_dataset_file(path: Path) -> DatasetFile:
    """Parse a dataset TOML; ConfigError names the field."""
    return load_toml(DatasetFile, path, "give the path of a dataset file; a sample is docs/samples/loans.toml")


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


def find(store: Store, name: str) -> RegisteredDataset | None:
    """The registered dataset, or None."""
    record = store.dataset(name)
    try:
        return RegisteredDataset.model_validate(record) if record is not None else None
    except ValidationError:
        raise LocalError(f"dataset {name} was registered by another release",
                         "run: party-node dataset register FILE") from None


def registered(store: Store) -> list[RegisteredDataset]:
    """All registered datasets by name."""
    return [found for name in store.dataset_names() if (found := find(store, name)) is not None]


def check_unchanged(dataset: RegisteredDataset) -> None:
    """DataError unless the table still has the bytes that were registered: call it before a job reads a row."""
    require_digest(Path(dataset.path), dataset.digest)


def describe(datasets: Sequence[RegisteredDataset], coordinator: str) -> list[DatasetDescription]:
    """What `coordinator` may know: datasets whose policy names it, and of these the allowed columns only."""
    return [
        DatasetDescription(
            name=dataset.name,
            digest=dataset.digest,
            rows=_two_digits(dataset.rows),
            id_columns=dataset.file.id_columns,
            id_profiles=dataset.file.id_profiles,
            id_scheme=dataset.file.id_scheme,
            id_shapes=dataset.id_shapes,
            label_column=dataset.file.label if dataset.policy.use_label else None,
            period_column=dataset.file.period,
            columns=[
                ColumnDescription(name=name, kind="numeric" if dataset.kinds[name] == "numeric" else "categorical")
                for name in dataset.allowed_columns
            ],
            purposes=dataset.policy.purposes,
        )
        for dataset in datasets
        if coordinator in dataset.policy.coordinators
    ]


def _two_digits(rows: int) -> int:
    """`rows` rounded down to two significant digits."""
    unit: int = 10 ** max(0, len(str(rows)) - 2)
    return rows // unit * unit


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
    if parsed.period is not None:
        try:
            read_period(table, parsed.period, None)
        except DataError as error:
            notes.append(f"no job can take `{parsed.period}` as its period: {error.what}")
    if table.rows < parsed.policy.minimum_rows:
        notes.append(f"the table has {table.rows} rows, fewer than its own policy.minimum_rows: every job is denied")
    for name in ("purposes", "partners", "coordinators", "reveal"):
        if not getattr(parsed.policy, name):
            notes.append(f"policy.{name} is empty: every job is denied")
    return notes
