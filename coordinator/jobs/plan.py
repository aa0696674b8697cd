"""`job.toml`: what an operator asks for, and how it becomes the spec that all parties sign."""

from __future__ import annotations

import difflib
import secrets
import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from coordinator.jobs.align_engine import quicker
from mpc.errors import LocalError
from mpc.protocols import PROTOCOLS, correlate
from mpc.protocols.align_terms import TOLD
from mpc.regression.sizes import enough_iterations
from wire.description import DatasetDescription, ids_mismatch
from wire.line import Line
from wire.spec.columns import BinningSpec, CorrelateSpec, PreparationSpec, Trends
from wire.spec.hold_out import HoldOutSpec
from wire.spec.job import (
    MIN_INTERSECTION,
    AlignSpec,
    AlignTerms,
    CryptoSpec,
    Duplicates,
    JobSpec,
    PartyName,
    PartySpec,
    Release,
    ScaleSpec,
    check_goal,
    first_fault,
)
from wire.spec.label import LabelSpec
from wire.spec.scores import ScoreSpec
from wire.spec.training import Iterations, TrainingSpec, TrainingTerms

VALID_S = 24 * 3600


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PlannedParty(_Part):
    """One institution: which dataset, which of its offered columns (none named: all of them)."""

    id: PartyName
    dataset: str
    columns: list[str] = []
    categorical: list[str] = []
    trends: dict[str, Trends] = {}
    duplicates: Duplicates = "first"


class PlannedLabel(LabelSpec):
    """The label and who holds it."""

    party: PartyName


class PlannedAlign(AlignTerms):
    """How the common customers are found: by the engine that is named, or by the one that is quicker (auto)."""

    engine: Literal["auto", "ecdh", "oprf"] = "auto"


class PlannedTraining(TrainingTerms):
    """How the model is fitted, in so many iterations or in as many as tables with such a default rate need (auto)."""

    iterations: Literal["auto"] | Iterations = "auto"

    def settled(self) -> TrainingSpec:
        """As it stands in the spec."""
        terms, asked = self.model_dump(exclude={"iterations"}), self.iterations
        return TrainingSpec(
            **terms, iterations=enough_iterations(self.expected_default_rate) if asked == "auto" else asked
        )


class JobPlan(_Part):
    """The file as a whole; everything but parties, label and purpose has a default."""

    purpose: Annotated[str, Field(min_length=1, max_length=500)]
    goal: Literal["model", "alignment"] = "model"
    party: Annotated[list[PlannedParty], Field(min_length=2, max_length=16)]
    label: PlannedLabel
    minimum_intersection: Annotated[int, Field(ge=MIN_INTERSECTION)] = MIN_INTERSECTION
    line: str = ""   # between the institutions, such as 20mbps/20ms; "": never in the way
    align: PlannedAlign = PlannedAlign()
    binning: BinningSpec | None = None
    preparation: PreparationSpec = PreparationSpec()
    correlate: CorrelateSpec | None = None
    training: PlannedTraining = PlannedTraining()
    scores: ScoreSpec = ScoreSpec()
    scale: ScaleSpec = ScaleSpec()
    crypto: CryptoSpec = CryptoSpec()
    hold_out: HoldOutSpec = HoldOutSpec()

    @property
    def between(self) -> Line | None:
        """The line between the institutions, where one was named."""
        return Line.parse(self.line) if self.line else None

    @field_validator("line")
    @classmethod
    def _is_a_line(cls, text: str) -> str:
        if text:
            Line.parse(text)
        return text

    @model_validator(mode="after")
    def _label_party(self) -> JobPlan:
        if self.label.party not in [party.id for party in self.party]:
            raise ValueError(f"the label's party {self.label.party} is not among the parties")
        if self.goal == "alignment" and any(party.columns or party.categorical for party in self.party):
            raise ValueError("an alignment uses no columns: leave them out, or set goal to model")
        check_goal(self.goal, self.align, {party.id: party.duplicates for party in self.party}, self.label.party)
        return self


class PlanError(LocalError):
    """A plan that cannot become a job; `whose` names the side that has to act."""

    def __init__(self, what: str, advice: str, whose: str = "coordinator") -> None:
        super().__init__(what, advice)
        self.whose = whose


def load_plan(path: Path) -> JobPlan:
    """Read job.toml; PlanError names the field."""
    try:
        return JobPlan.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise PlanError(f"{path.name} cannot be read: {error.strerror}", "check the path") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise PlanError(f"{path.name} is not TOML", "compare it with docs/samples/job.toml") from None
    except ValidationError as error:
        field, sentence = first_fault(error)
        raise PlanError(f"{path.name}, field {field or 'file'}: {sentence}",
                        "compare it with docs/samples/job.toml") from None


def build_spec(
    plan: JobPlan,
    datasets: Mapping[str, Sequence[DatasetDescription]],
    identities: Mapping[str, str],
    now: datetime | None = None,
) -> JobSpec:
    """The spec for `plan`, given what each node offers; PlanError when the contract does not hold."""
    found = {p.id: _dataset(p, datasets[p.id]) for p in plan.party}
    columns = {p.id: _columns(plan, p, found[p.id]) for p in plan.party}
    parties = [
        PartySpec(
            id=p.id,
            role="label_holder" if p.id == plan.label.party else "feature_holder",
            identity=identities[p.id],
            dataset=p.dataset,
            dataset_digest=found[p.id].digest,
            columns=columns[p.id],
            categorical=_categorical(p, found[p.id], columns[p.id]) if plan.goal == "model" else [],
            trends=_trends(p, plan),
            id_columns=found[p.id].id_columns,
            id_scheme=found[p.id].id_scheme,
            duplicates=p.duplicates,
        )
        for p in sorted(plan.party, key=lambda p: p.id)
    ]
    _check_label(plan, found[plan.label.party])
    _check_period(plan, found[plan.label.party])
    _check_extra(plan, found[plan.label.party])
    _check_ids(found, plan.label.party)
    start = int((now or datetime.now(UTC)).timestamp())
    try:
        return JobSpec(
            goal=plan.goal,
            purpose=plan.purpose,
            nonce=secrets.token_hex(32),
            valid_from=start - 60,
            valid_until=start + VALID_S,
            protocols={name: spec.version for name, spec in sorted(PROTOCOLS.items())},
            parties=parties,
            label=LabelSpec(**plan.label.model_dump(exclude={"party"})),
            minimum_intersection=plan.minimum_intersection,
            align=_align(plan, found),
            binning=plan.binning,
            preparation=plan.preparation,
            correlate=plan.correlate,
            training=plan.training.settled(),
            scores=plan.scores,
            scale=plan.scale,
            crypto=plan.crypto,
            hold_out=plan.hold_out,
            reveal=_reveal(plan),
            release=_release(plan),
        )
    except ValidationError as error:
        raise PlanError(f"the parties cannot agree on this job: {first_fault(error)[1]}",
                        "change the job's file") from None


def _reveal(plan: JobPlan) -> list[str]:
    """The lines of the ledger that the job may come to, no more."""
    codes = {"align.overlaps", *TOLD[plan.align.output]}
    sometimes = ("align", "bin", "correlate", "split")
    if any(party.duplicates == "keep_all" for party in plan.party):
        codes.add("align.copies")
    if plan.goal == "model":
        always = (spec for name, spec in PROTOCOLS.items() if name not in sometimes)
        codes |= {line.code for spec in always for line in spec.ledger}
    if plan.hold_out.column is not None and plan.goal == "model":
        codes.add("split.period")
    if plan.binning is not None:
        codes |= {line.code for line in PROTOCOLS["bin"].ledger}
    if plan.correlate is not None:
        codes |= set(correlate.codes(plan.correlate.show, plan.correlate.to))
    return sorted(codes)


def _release(plan: JobPlan) -> list[Release]:
    """What the coordinator is given."""
    if plan.goal == "alignment":
        return ["row_counts", "timings"]
    more: list[Release] = ["correlations"] if plan.correlate is not None else []
    return ["metrics", "curves", *more, "row_counts", "timings"]


def _did_you_mean(name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, names, 1)
    return f"did you mean `{close[0]}`?" if close else "offered: " + ", ".join(sorted(names)[:20])


def _dataset(party: PlannedParty, offered: Sequence[DatasetDescription]) -> DatasetDescription:
    for dataset in offered:
        if dataset.name == party.dataset:
            return dataset
    names = [dataset.name for dataset in offered]
    advice = _did_you_mean(party.dataset, names) if names else (
        f"on {party.id}: party-node dataset register FILE, with this coordinator in its policy"
    )
    raise PlanError(f"{party.id} offers no dataset `{party.dataset}`", advice, party.id)


def _columns(plan: JobPlan, party: PlannedParty, dataset: DatasetDescription) -> list[str]:
    if plan.goal == "alignment":
        return []
    extra = plan.label.extra_columns if party.id == plan.label.party else []
    apart = {plan.label.column, *extra} if party.id == plan.label.party else set()
    names = [column.name for column in dataset.columns if column.name not in apart]
    for name in party.columns:
        if name in extra:
            raise PlanError(f"`{name}` of {party.id} holds the weights or the offset, and so is no feature",
                            "leave it out of the columns", party.id)
        if name not in names:
            raise PlanError(f"{party.id} offers no column `{name}`", _did_you_mean(name, names), party.id)
    chosen = list(party.columns) or names
    if not chosen:
        raise PlanError(f"{party.id} offers no columns", "name columns in its dataset's policy", party.id)
    for name in party.trends:
        if name not in chosen:
            raise PlanError(f"a trend is named for `{name}`, which is no column of {party.id} in this job",
                            _did_you_mean(name, chosen), party.id)
    return chosen


def _categorical(party: PlannedParty, dataset: DatasetDescription, chosen: Sequence[str]) -> list[str]:
    kinds = {column.name: column.kind for column in dataset.columns}
    return sorted({c for c in chosen if kinds.get(c) == "categorical"} | set(party.categorical))


def _trends(party: PlannedParty, plan: JobPlan) -> dict[str, Trends]:
    if party.trends and plan.binning is None:
        raise PlanError(f"trends are named for columns of {party.id}, but the job has no bins",
                        "add [binning] to the job, or leave the trends out")
    return dict(sorted(party.trends.items()))


def _check_label(plan: JobPlan, dataset: DatasetDescription) -> None:
    if dataset.label_column is None:
        raise PlanError(f"{plan.label.party} offers no label in `{dataset.name}`",
                        "name the label column in its dataset's policy", plan.label.party)
    if dataset.label_column != plan.label.column:
        raise PlanError(f"{plan.label.party} has no label column `{plan.label.column}`",
                        f"did you mean `{dataset.label_column}`?", plan.label.party)
    if plan.label.positive not in dataset.label_positive:
        named = ", ".join(f"`{value}`" for value in dataset.label_positive[:20])
        raise PlanError(f"{plan.label.party} declares no value `{plan.label.positive}` of its label to mean bad",
                        f"label.positive is one of {named}" if named else
                        "its bank writes label_positive into the dataset file, and registers it again",
                        plan.label.party)


def _check_period(plan: JobPlan, dataset: DatasetDescription) -> None:
    """The one column that the label holder declares to say when a row was; no feature."""
    holder, wanted = plan.label.party, plan.hold_out.column
    if wanted is None or wanted == dataset.period_column:
        return
    if dataset.period_column is None:
        raise PlanError(f"{holder} declares no period in `{dataset.name}`, and hold_out.column names `{wanted}`",
                        f'its bank may write period = "{wanted}" into the dataset file, and register it again', holder)
    raise PlanError(f"{holder} has no period `{wanted}`, which hold_out.column names",
                    f"did you mean `{dataset.period_column}`?", holder)


def _check_extra(plan: JobPlan, dataset: DatasetDescription) -> None:
    """Weights and the offset are columns that the label holder offers, of numbers."""
    kinds, holder = {column.name: column.kind for column in dataset.columns}, plan.label.party
    for name in plan.label.extra_columns:
        if name not in kinds:
            raise PlanError(f"{holder} offers no column `{name}` for weights or an offset",
                            _did_you_mean(name, list(kinds)), holder)
        if kinds[name] != "numeric":
            raise PlanError(f"`{name}` of {holder} holds categories, and weights and offsets are numbers",
                            "name a column of numbers", holder)


def _align(plan: JobPlan, found: Mapping[str, DatasetDescription]) -> AlignSpec:
    """Digests enter where a party holds nothing else; the engine is settled here."""
    hashed = any(dataset.id_scheme == "sha256" for dataset in found.values())
    rows, engine = {party: dataset.rows for party, dataset in found.items()}, plan.align.engine
    if engine == "auto":
        engine = quicker(plan.label.party, rows, plan.between)
    return AlignSpec(**plan.align.model_dump() | {"engine": engine}, id_profiles=found[plan.label.party].id_profiles,
                     id_scheme="sha256" if hashed else "written")


def _check_ids(found: Mapping[str, DatasetDescription], holder: str) -> None:
    for party, dataset in sorted(found.items()):
        mismatch = ids_mismatch(holder, found[holder], party, dataset) if party != holder else None
        if mismatch is not None:
            raise PlanError(
                f"the ids of {holder} and {party} have different formats: {mismatch.what}. Nothing was sent",
                mismatch.advice, party,
            )
