"""Datasets that a bank offers, and on which terms: the dataset TOML, and what outsiders may see. Reads no table.

Default deny: an empty list in the policy allows nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from mpc.errors import LocalError
from party_node.config import load_toml
from party_node.data.sources.duckdb_files import DuckSource
from party_node.data.sources.kinds import Kind
from party_node.data.sources.objects import ObjectSource
from party_node.data.sources.postgres import PostgresSource
from party_node.records.budgets import Budget
from party_node.records.store import Store
from wire.description import ColumnDescription, DatasetDescription
from wire.spec.hold_out import LEAST_OUTCOME, LEAST_ROWS
from wire.spec.job import (
    MIN_INTERSECTION,
    Hex32,
    IdColumns,
    IdProfileName,
    IdProfiles,
    IdSchemeName,
    PartyName,
    Release,
)
from wire.spec.label import MAX_LABEL_VALUES, LabelValue
from wire.spec.part import ColumnName
from wire.spec.scores import MINIMUM_COLUMNS, ONE_POINT, ColumnFloor, Grid

ROWS_PER_EQUATION = 10   # two equations without noise are one customer: a tenth of the rows, a twentieth of them


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Budgets(_Part):
    """How often the dataset may be used, over all jobs together."""

    alignments: Annotated[int, Field(ge=0)] = 10
    alignments_per_partner: Annotated[int, Field(ge=0)] = 5
    training_rounds: Annotated[int, Field(ge=0)] = 400
    score_calls: Annotated[int, Field(ge=0)] = 10
    scored_models: Annotated[int, Field(ge=0)] = 1        # whose scores others receive, as a feature holder
    period_splits: Annotated[int, Field(ge=0)] = 4
    feature_equations: Annotated[int, Field(ge=0)] | None = None  # none given: a tenth of the rows
    models: Annotated[int, Field(ge=0)] = 6   # of the default noise: together they leave .87 of a residual (train.md)

    def limit(self, budget: Budget, rows: int) -> int:
        """The limit of `budget` for a table of `rows` rows, of which it tells two digits."""
        if budget is Budget.FEATURE_EQUATIONS and self.feature_equations is None:
            return _two_digits(rows) // ROWS_PER_EQUATION
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
    # good, and bad, customers in a bin that its owner hears of, on either side of a hold-out, in a slice of figures
    minimum_outcome: Annotated[int, Field(ge=1)] = LEAST_OUTCOME
    minimum_hold_out: Annotated[int, Field(ge=1)] = LEAST_ROWS    # customers on either side of a hold-out
    # columns of ours that enter the model, where we hold the label; with none, every partner knows every score
    label_holder_columns: Annotated[int, Field(ge=0)] = 1
    finest_score_grid: Grid = ONE_POINT                   # log-odds; a part of a score leaves as whole steps
    minimum_columns: ColumnFloor = MINIMUM_COLUMNS        # of this dataset, in a part of a score
    minimum_difference: Annotated[int, Field(ge=0)] = 20  # two sets in common differ by none or at least so many
    maximum_leverage: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    largest_weight: Annotated[float, Field(ge=1.0)] = 1.0     # of a row or customer, in means; 1: all alike
    balanced_classes: bool = True                             # both outcomes may weigh the same
    correlation_bits: Annotated[int, Field(ge=0, le=16)] = 0  # finer than the rows support only up to here
    minimum_noise: Annotated[float, Field(ge=0.0)] = 1.0      # of the linear terms, in multiples of the default
    key_bits: Annotated[int, Field(ge=2048)] = 3072
    reveal: list[str] = []
    release: list[Release] = []
    approval: Literal["ask", "auto"] | None = None        # none given: party.toml decides
    budgets: Budgets = Budgets()


def _as_texts(value: Any) -> Any:   # in TOML a value may be a number, and one alone
    values = value if isinstance(value, list) else [value]
    return [str(one) if type(one) in (int, float) else one for one in values]


LabelValues = Annotated[list[LabelValue], Field(max_length=MAX_LABEL_VALUES), BeforeValidator(_as_texts)]


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
    label_positive: LabelValues = []                      # the value that means bad, or those of which a job takes one
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
        if self.label_positive and self.label is None:
            raise ValueError("label_positive says which value means bad, but no label column is named")
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

    def limit(self, budget: Budget) -> int:
        """The policy's limit of `budget`."""
        return self.policy.budgets.limit(budget, self.usable_ids)

    def kinds_for_reading(self) -> dict[str, Kind]:
        """Declared kinds for `read_table`: the offered columns as found at registration, the label as text."""
        declared = {name: Kind(kind) for name, kind in self.kinds.items()}
        return declared | ({self.file.label: Kind.TEXT} if self.file.label else {})


def load_dataset_file(path: Path) -> DatasetFile:
    """Parse a dataset TOML; ConfigError names the field."""
    return load_toml(DatasetFile, path, "give the path of a dataset file; a sample is docs/samples/loans.toml")


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
            label_positive=dataset.file.label_positive if dataset.policy.use_label else [],
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
