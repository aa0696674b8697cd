"""Datasets that a bank offers, and on which terms: the dataset TOML, its registration, what outsiders may see.

Registration reads the table on this machine and keeps counts, kinds and the SHA-256 of the file; no cell is kept.
Default deny: an empty list in the policy allows nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from party_node.config import PartyConfig, load_toml
from party_node.data.errors import DataError, column_missing
from party_node.data.id_shape import id_shape
from party_node.data.ids import DuplicatePolicy, IdProfile, collect_ids
from party_node.data.source import file_digest
from party_node.data.table import ColumnProfile, Kind, Table, TextColumn, read_table
from party_node.store import Budget, Store
from wire.description import ColumnDescription, DatasetDescription
from wire.spec import MIN_INTERSECTION, ColumnName, Hex32, PartyName

ROWS_PER_EQUATION = 10   # protocol.md 2.4: the sum of d_i over all jobs stays far below the number of rows
MAX_LEVELS = 50          # a text column with more levels is an identifier rather than a category
Release = Literal["metrics", "curves", "row_counts", "timings"]
RELEASES: tuple[Release, ...] = ("metrics", "curves", "row_counts", "timings")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Budgets(_Part):
    """How often the dataset may be used, over all jobs together."""

    alignments: Annotated[int, Field(ge=0)] = 10
    training_rounds: Annotated[int, Field(ge=0)] = 400
    score_calls: Annotated[int, Field(ge=0)] = 10
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
    minimum_difference: Annotated[int, Field(ge=0)] = 20  # two sets in common differ by none or at least so many
    maximum_leverage: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    key_bits: Annotated[int, Field(ge=2048)] = 3072
    reveal: list[str] = []
    release: list[Release] = []
    approval: Literal["ask", "auto"] | None = None        # none given: party.toml decides
    budgets: Budgets = Budgets()


class DatasetFile(_Part):
    """One dataset's TOML file."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
    source: Annotated[str, Field(min_length=1)]           # CSV or Parquet; relative to this file
    id: ColumnName
    id_profile: Literal["plain", "phone"] = "plain"
    label: ColumnName | None = None
    offered: Annotated[list[ColumnName], Field(max_length=5000)]  # others do not exist for outsiders
    categorical: list[ColumnName] = []                    # codes that look numeric
    policy: DatasetPolicy = DatasetPolicy()

    @model_validator(mode="after")
    def _whole(self) -> DatasetFile:
        taken = {self.id, self.label}
        if len(set(self.offered)) != len(self.offered) or taken & set(self.offered):
            raise ValueError("offered columns repeat, or hold the id or the label")
        for what, names in (("categorical", self.categorical), ("policy.columns", self.policy.columns or [])):
            missing = [name for name in names if name not in self.offered]
            if missing:
                raise ValueError(f"{what} names `{missing[0]}`, which is not offered")
        if self.policy.use_label and self.label is None:
            raise ValueError("policy.use_label is true, but no label column is named")
        return self


class RegisteredDataset(_Part):
    """A dataset as `state.db` keeps it: the file's content, and what registration found."""

    file: DatasetFile
    path: str                       # absolute path of the table
    digest: Hex32                   # SHA-256 of the table's bytes
    rows: int
    usable_ids: int
    kinds: dict[str, Literal["numeric", "text"]]   # of the offered columns
    id_shape: dict[str, float]
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


def prepare(file: Path, config: PartyConfig) -> Registration:
    """Read and profile the table that a dataset file names. DataError or ConfigError; nothing leaves or is kept."""
    parsed = load_dataset_file(file)
    return examine(parsed, (file.parent / parsed.source).resolve(), config.approval)


def keep(dataset: RegisteredDataset, store: Store) -> None:
    """Remember a dataset; the budgets of one that is registered again stay as spent."""
    store.put_dataset(dataset.name, dataset.model_dump(mode="json"))


def examine(parsed: DatasetFile, path: Path, approval: Literal["ask", "auto"]) -> Registration:
    """What `register` finds in the table at `path`. DataError names the column or row that is wrong."""
    digest = file_digest(path).hex()
    declared = dict.fromkeys(parsed.categorical, Kind.TEXT)
    if parsed.label is not None:
        declared[parsed.label] = Kind.TEXT
    table = read_table(path, id_column=parsed.id, kinds=declared)
    for name in [*parsed.offered, *([parsed.label] if parsed.label else [])]:
        if name not in table.columns:
            raise column_missing(name, table.names)
    assert table.ids is not None  # an id column was asked for
    ids = collect_ids(table.ids, IdProfile(parsed.id_profile), DuplicatePolicy.FIRST)
    if file_digest(path).hex() != digest:
        raise DataError("table_changed", "the table changed while it was read", "register it again")
    dataset = RegisteredDataset(
        file=parsed, path=str(path), digest=digest, rows=table.rows, usable_ids=len(ids),
        kinds={name: table.kinds[name].value for name in parsed.offered},
        id_shape=id_shape(table.ids, IdProfile(parsed.id_profile)),
        approval=parsed.policy.approval or approval,
    )
    seen = (*parsed.offered, *([parsed.label] if parsed.label else []))
    profiles = tuple(profile for profile in table.profile() if profile.name in seen)
    return Registration(dataset=dataset, counts=ids.counts.to_json(), columns=profiles,
                        notes=(*table.notes, *_warnings(parsed, table)))


def find(store: Store, name: str) -> RegisteredDataset | None:
    """The registered dataset, or None."""
    record = store.dataset(name)
    return RegisteredDataset.model_validate(record) if record is not None else None


def registered(store: Store) -> list[RegisteredDataset]:
    """All registered datasets by name."""
    return [found for name in store.dataset_names() if (found := find(store, name)) is not None]


def check_unchanged(dataset: RegisteredDataset) -> None:
    """DataError unless the table still has the bytes that were registered: call it before a job reads a row."""
    if file_digest(Path(dataset.path)).hex() != dataset.digest:
        raise DataError("table_changed", f"the table of dataset {dataset.name} changed since it was registered",
                        "run: party-node dataset register FILE, then launch a new job")


def describe(datasets: Sequence[RegisteredDataset], coordinator: str) -> list[DatasetDescription]:
    """What `coordinator` may know: datasets whose policy names it, and of these the allowed columns only."""
    return [
        DatasetDescription(
            name=dataset.name,
            digest=dataset.digest,
            rows=_two_digits(dataset.rows),
            id_column=dataset.file.id,
            id_profile=dataset.file.id_profile,
            id_shape=dataset.id_shape,
            label_column=dataset.file.label if dataset.policy.use_label else None,
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


def _warnings(parsed: DatasetFile, table: Table) -> list[str]:
    """What will make a job fail or a column useless, said before any job."""
    notes = []
    for name in parsed.offered:
        column = table.column(name)
        if isinstance(column, TextColumn) and len(column.levels) > MAX_LEVELS:
            notes.append(f"column `{name}` has {len(column.levels)} different texts: as a category it says little; "
                         "is it an identifier?")
        if bool(column.missing.all()):
            notes.append(f"column `{name}` is empty and will be dropped")
    if table.rows < parsed.policy.minimum_rows:
        notes.append(f"the table has {table.rows} rows, fewer than its own policy.minimum_rows: every job is denied")
    for name in ("purposes", "partners", "coordinators", "reveal"):
        if not getattr(parsed.policy, name):
            notes.append(f"policy.{name} is empty: every job is denied")
    return notes
