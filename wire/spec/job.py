"""The job spec: the one document that all parties sign. Canonical JSON, signed as bytes, not re-serialised."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from mpc.domains import Domain
from wire.spec.columns import BinningSpec, CorrelateSpec, PreparationSpec, Trends
from wire.spec.hold_out import HoldOutSpec
from wire.spec.label import LabelSpec
from wire.spec.part import ColumnName, Part
from wire.spec.scores import ScoreSpec
from wire.spec.training import TrainingSpec

MAX_SPEC_BYTES = 1 << 20
MAX_FIELD_NAME = 100     # of a foreign field's name that a refusal repeats
MIN_INTERSECTION = 100   # decisions.md: fewer rows than this is a refusal
AHEAD = frozenset({"align", "bin", "correlate", "split"})   # protocols before training, by the codes of the ledger
LEAST_TURNED = 3         # columns whose correlations a random rotation hides

PartyName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{1,31}$")]
Hex32 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
IdProfileName = Literal["plain", "phone", "national_id", "email"]   # how one part of an id is normalised
IdSchemeName = Literal["written", "sha256"]   # ids as normalised text, or the hexadecimal SHA-256 of that
Duplicates = Literal["refuse", "first", "keep_all"]
MAX_ID_PARTS = 8
IdColumns = Annotated[list[ColumnName], Field(min_length=1, max_length=MAX_ID_PARTS)]
IdProfiles = Annotated[list[IdProfileName], Field(min_length=1, max_length=MAX_ID_PARTS)]
Release = Literal["metrics", "curves", "correlations", "row_counts", "timings"]   # what coordinators may be given


class SpecError(ValueError):
    """A spec that nobody should sign; the text says which field and how to mend it."""


class PartySpec(Part):
    """One institution's share of the job."""

    id: PartyName
    role: Literal["label_holder", "feature_holder"]
    identity: Hex32                        # Ed25519 public key
    dataset: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
    dataset_digest: Hex32                  # of the table's bytes at registration
    columns: Annotated[list[ColumnName], Field(max_length=5000)]
    categorical: list[ColumnName] = Field(default=[])     # of `columns`: treated as categories though they look numeric
    trends: dict[ColumnName, Trends] = Field(default={})  # of `columns`: bins run otherwise than `binning.trend`
    id_columns: IdColumns                  # several make one id
    id_scheme: IdSchemeName = "written"    # what they hold
    duplicates: Duplicates = "first"


class AlignTerms(Part):
    """What an alignment tells."""

    output: Literal["all", "label_holder_only", "sizes_only"] = "all"   # who finds out which customers are in common
    padding: Literal["none", "bucket"] = "none"     # bucket: sets look up to a quarter larger than they are


class AlignSpec(AlignTerms):
    """And how the common customers are found; what an id is, alike at all parties: a profile for each of its parts, and
    what of it enters. `sha256` where a party holds nothing but digests: whoever holds ids in writing hashes them then.
    """

    engine: Literal["ecdh", "oprf"] = "ecdh"
    id_profiles: IdProfiles = Field(default=["plain"])
    id_scheme: IdSchemeName = "written"


class ScaleSpec(Part):
    """How log-odds become points of a scorecard, where the job has bins: alike at all parties, so that parts add up."""

    base_score: Annotated[float, Field(ge=-1e6, le=1e6)] = 600.0
    base_odds: Annotated[float, Field(gt=0.0, le=1e6)] = 50.0   # good customers to one bad, at the base score
    pdo: Annotated[float, Field(gt=0.0, le=1e6)] = 20.0         # points to double the odds
    decimals: Annotated[int, Field(ge=0, le=12)] = 0


class CryptoSpec(Part):
    """Key length and engines."""

    key_bits: Literal[2048, 3072, 4096] = 3072
    engine: Literal["own", "phe"] = "own"
    correlations: Literal["ot", "paillier"] = "ot"


def _check_correlated(rules: CorrelateSpec, goal: str, parties: Sequence[PartySpec]) -> None:
    """Repeated rows of a customer would weigh like many; a turned block of one or two columns is hardly hidden."""
    if goal == "alignment":
        raise ValueError("an alignment has no columns to correlate")
    if any(party.duplicates == "keep_all" for party in parties):
        raise ValueError("correlate counts customers: not with duplicates keep_all")
    if rules.show == "inflation" and any(0 < len(party.columns) < LEAST_TURNED for party in parties):
        raise ValueError(f"inflation needs {LEAST_TURNED} columns or more of each party that brings any")


class JobSpec(Part):
    """Everything that the parties agree on."""

    version: Literal[1] = 1
    # alignment: the job ends when the common customers are found; precompute: when all correlations are made
    goal: Literal["model", "alignment", "precompute"] = "model"
    prepared: Hex32 | None = None          # the job whose correlations a model uses (wire.spec.two_jobs)
    purpose: Annotated[str, Field(min_length=1, max_length=500)]
    nonce: Hex32
    valid_from: int                        # Unix seconds
    valid_until: int
    protocols: dict[str, int]              # name -> version
    parties: Annotated[list[PartySpec], Field(min_length=2, max_length=16)]
    label: LabelSpec
    minimum_intersection: Annotated[int, Field(ge=MIN_INTERSECTION)] = MIN_INTERSECTION
    align: AlignSpec = AlignSpec()
    binning: BinningSpec | None = None     # none: columns enter as they are
    preparation: PreparationSpec = PreparationSpec()
    correlate: CorrelateSpec | None = None # none: nobody learns how columns of different parties go together
    training: TrainingSpec = TrainingSpec()
    scores: ScoreSpec = ScoreSpec()
    scale: ScaleSpec = ScaleSpec()
    crypto: CryptoSpec = CryptoSpec()
    hold_out: HoldOutSpec = HoldOutSpec()
    reveal: list[str]                      # codes of the leakage ledger that may be opened
    release: list[Release] = Field(default=["metrics", "curves", "row_counts", "timings"])

    @model_validator(mode="after")
    def _whole(self) -> JobSpec:
        ids = [party.id for party in self.parties]
        if ids != sorted(set(ids)):
            raise ValueError("parties must be listed once each, in the order of their ids")
        if [party.role for party in self.parties].count("label_holder") != 1:
            raise ValueError("exactly one party is the label_holder")
        if len({party.identity for party in self.parties}) != len(ids):
            raise ValueError("two parties share an identity key")
        for party in self.parties:
            _check_columns(party, self)
            _check_id(party, self.align)
        check_goal(self.goal, self.align, {p.id: p.duplicates for p in self.parties}, self.label_holder.id)
        if self.correlate is not None:
            _check_correlated(self.correlate, self.goal, self.parties)
        _check_part(self)
        if not self.valid_from < self.valid_until:
            raise ValueError("valid_until must come after valid_from")
        if self.reveal != sorted(set(self.reveal)):
            raise ValueError("reveal must be sorted and without repeats")
        if "curves" in self.release and "metrics" not in self.release:
            raise ValueError("curves are released together with metrics")
        return self

    @property
    def label_holder(self) -> PartySpec:
        return next(party for party in self.parties if party.role == "label_holder")

    @property
    def keeps_copies(self) -> bool:
        """Whether every row of a customer is an observation, so that customers weigh by their rows."""
        return self.label_holder.duplicates == "keep_all"

    def party(self, party_id: str) -> PartySpec:
        """The part of `party_id`; SpecError if it has none."""
        for party in self.parties:
            if party.id == party_id:
                return party
        raise SpecError(f"{party_id} is not a party of this job")


def _check_part(job: JobSpec) -> None:
    """A job that works ahead of another one finds out nothing of the model (wire.spec.two_jobs)."""
    if job.prepared is not None and job.goal != "model":
        raise ValueError("only a model uses what another job made ahead")
    if job.goal == "precompute" and any(code.partition(".")[0] not in AHEAD for code in job.reveal):
        raise ValueError("a job that works ahead of another one opens nothing of training")
    if job.goal == "alignment" and any(party.columns for party in job.parties):
        raise ValueError("an alignment uses no columns")
    weighed = job.label.extra_columns or job.label.class_weights != "none"
    if weighed and (job.goal != "model" or job.prepared is not None):   # made ahead, angles would carry outcomes
        raise ValueError("weights and an offset are for a model that is made in one piece")


def check_goal(goal: str, align: AlignTerms, duplicates: Mapping[str, str], label_holder: str) -> None:
    """ValueError unless who learns the members, and what repeated ids mean, fit what the job is for."""
    if goal != "alignment" and align.output != "all":
        raise ValueError("a model needs every party to know its rows: align.output is all, or goal is alignment")
    kept = [party for party, policy in duplicates.items() if policy == "keep_all"]
    if kept and (kept != [label_holder] or goal == "alignment"):
        raise ValueError("duplicates keep_all is for the label holder of a model")


def _check_columns(party: PartySpec, job: JobSpec) -> None:
    binning, held = job.binning, [job.label.column, *job.label.extra_columns]
    if job.hold_out.column:
        held.append(job.hold_out.column)
    named = [*party.columns, *party.id_columns, *(held if party.role == "label_holder" else [])]
    if len(set(named)) != len(named):
        raise ValueError(f"columns of {party.id} repeat, or hold the id, the label, weights, the offset or the period "
                         "of the out-of-time sample")
    if job.hold_out.column and party.duplicates == "keep_all":
        raise ValueError("an out-of-time sample counts customers: not with duplicates keep_all")
    if binning is not None and party.duplicates == "keep_all":
        raise ValueError("bins count customers, and their evidence would be of rows: not with duplicates keep_all")
    if (job.label.weights is not None or job.label.class_weights != "none") and party.duplicates == "keep_all":
        raise ValueError("rows that weigh differently are worth so many customers: not with duplicates keep_all")
    if not set(party.categorical) <= set(party.columns):
        raise ValueError(f"categorical columns of {party.id} are not among its columns")
    if not set(party.trends) <= set(party.columns) or (party.trends and binning is None):
        raise ValueError(f"{party.id} has trends of columns that the job does not bin")


def _check_id(party: PartySpec, align: AlignSpec) -> None:
    hashed = party.id_scheme == "sha256"
    if len(party.id_columns) != (1 if hashed else len(align.id_profiles)):
        raise ValueError(f"the id of {party.id} has another number of columns than align.id_profiles has profiles")
    if hashed and align.id_scheme != "sha256":
        raise ValueError(f"{party.id} holds digests of ids, so align.id_scheme must be sha256")


def first_fault(error: ValidationError) -> tuple[str, str]:
    """(field, sentence) of the first fault that pydantic found; "" for the whole. The value is never repeated."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    spoken = {"extra_forbidden": "no such field", "missing": "must be given"}
    sentence = spoken.get(first["type"], first["msg"].removeprefix("Value error, "))
    return ".".join(str(part) for part in first["loc"]), sentence


def canonical(value: Any) -> bytes:
    """Canonical JSON: sorted keys, no blanks, UTF-8, no NaN."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def encode_spec(spec: JobSpec) -> bytes:
    """The bytes that are signed."""
    return canonical(spec.model_dump(mode="json"))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        raise SpecError("a key appears twice in the job spec")
    return dict(pairs)


def _no_constant(name: str) -> Any:
    raise SpecError("NaN and infinities have no place in a job spec")


def decode_spec(data: bytes) -> JobSpec:
    """Parse foreign bytes; SpecError unless they are the canonical form of a whole, valid spec."""
    if len(data) > MAX_SPEC_BYTES:
        raise SpecError("the job spec is larger than 1 MiB")
    try:
        raw = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
        spec = JobSpec.model_validate_json(data)
    except ValidationError as error:
        field, sentence = first_fault(error)
        raise SpecError(f"job spec field {field[:MAX_FIELD_NAME] or 'spec'}: {sentence}") from None
    except SpecError:
        raise
    except (ValueError, RecursionError):   # not UTF-8, not JSON, or a number of thousands of digits
        raise SpecError("the job spec is not JSON") from None
    if canonical(raw) != data or encode_spec(spec) != data:
        raise SpecError("the job spec is not in canonical form (a default left out, a key out of order)")
    return spec


def kept_spec(data: bytes) -> JobSpec | None:
    """A spec that was checked when it was signed, read as far as this release knows it; None where it does not."""
    try:
        return JobSpec.model_validate_json(data)
    except ValidationError:
        return None


def job_id(data: bytes) -> str:
    """SHA-256 of the spec's bytes, hexadecimal."""
    return hashlib.sha256(Domain.JOB_ID.encode() + b"\0" + data).hexdigest()
