"""The public record of a job: what each node may release, put side by side by the coordinator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from wire.spec.columns import BinningSpec, CorrelateSpec
from wire.spec.hold_out import HoldOutSpec
from wire.spec.job import JobSpec, ScaleSpec
from wire.spec.label import ClassWeights, LabelSpec
from wire.spec.training_terms import noise_of, penalty_of


class LedgerEntry(BaseModel):
    """One line of the leakage ledger with how often it was used."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    code: str
    kind: str
    to: str
    what: str
    count: int


class PartyPart(BaseModel):
    """What one node hands to the coordinator at the end of a job."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    party: str
    rows: dict[str, int] = Field(default_factory=dict)
    common: int
    train_rows: int
    test_rows: int
    seconds: dict[str, float] = Field(default_factory=dict)            # stage -> seconds
    bytes: dict[str, dict[str, int]] = Field(default_factory=dict)     # stage -> "peer/direction" -> bytes
    ledger: list[LedgerEntry] = Field(default_factory=list)
    evaluation: dict[str, Any] | None = None                           # label holder only
    correlations: dict[str, Any] | None = None                         # of columns of different parties, if shown here
    audit_head: str = ""
    engine: str = ""


def merge(
    spec: JobSpec, job: str, created: str, approvals: Mapping[str, bytes], parts: Mapping[str, PartyPart]
) -> dict[str, Any]:
    """One record of plain JSON values; ValueError when the nodes disagree on what must be equal."""
    first = next(iter(parts.values()))
    for name, part in parts.items():
        if part.party != name:
            raise ValueError(f"{name} hands over the record of another party")
        if (part.common, part.train_rows, part.test_rows) != (first.common, first.train_rows, first.test_rows):
            raise ValueError(f"{part.party} and {first.party} report different row counts for one job")
    stages = {stage for part in parts.values() for stage in part.seconds}
    ledger: dict[str, dict[str, Any]] = {}
    for part in parts.values():
        for line in part.ledger:
            entry = ledger.setdefault(line.code, line.model_dump() | {"count": 0})
            entry["count"] = max(entry["count"], line.count)
    links: dict[str, dict[str, int]] = {}
    for part in parts.values():
        for stage, counts in part.bytes.items():
            for end, count in counts.items():
                peer, _, direction = end.partition("/")
                if direction == "sent":
                    links.setdefault(stage, {})[f"{part.party}->{peer}"] = count
    return {
        "job_id": job,
        "purpose": spec.purpose,
        "created": created,
        "parties": [
            {"id": p.id, "role": p.role, "dataset": p.dataset, "columns_count": len(p.columns)}
            for p in spec.parties
        ],
        "rows": {name: part.rows for name, part in parts.items()},
        "common": first.common,
        "train_rows": first.train_rows,
        "test_rows": first.test_rows,
        "evaluation": parts[spec.label_holder.id].evaluation,   # nobody else can measure, so nobody else is heard
        "correlations": _correlations(spec, parts),
        "ledger": [ledger[code] for code in sorted(ledger)],
        "goal": spec.goal,
        "prepared": spec.prepared,
        "parameters": _parameters(spec, max(1, first.train_rows)),
        "seconds": {
            stage: max(part.seconds.get(stage, 0.0) for part in parts.values()) for stage in sorted(stages)
        },
        "bytes": links,
        "approvals": {name: approvals[name].hex() for name in sorted(approvals)},
        "audit_heads": {name: part.audit_head for name, part in parts.items()},
        "engines": {name: part.engine for name, part in parts.items()},
    }


def _correlations(spec: JobSpec, parts: Mapping[str, PartyPart]) -> dict[str, Any] | None:
    """What the label holder was shown; of inflation each party's own rows, under its own name."""
    shown = parts[spec.label_holder.id].correlations
    if shown is None or spec.correlate is None or spec.correlate.show != "inflation":
        return shown
    told = {name: (part.correlations or {}).get("inflation", []) for name, part in sorted(parts.items())}
    for name, rows in told.items():
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError(f"{name} sent inflation that is no list of rows")
    return shown | {"inflation": [{**row, "party": name} for name, rows in told.items() for row in rows]}


def _parameters(spec: JobSpec, rows: int) -> dict[str, Any]:
    if spec.goal == "alignment":
        return _of_alignment(spec)
    return {
        "lambda": penalty_of(spec, rows),
        "noise": spec.training.noise,
        "noise_deviation": noise_of(spec, rows),
        "iterations": spec.training.iterations,
        "sigmoid": spec.training.sigmoid,
        "expected_default_rate": spec.training.expected_default_rate,
        "key_bits": spec.crypto.key_bits,
        "engine": spec.crypto.engine,
        "correlations": spec.crypto.correlations,
        "clip": spec.preparation.clip,
        "missing": spec.preparation.missing,
        "minimum_support": spec.preparation.minimum_support,
        "score_grid": spec.scores.grid,
        "minimum_columns": spec.scores.minimum_columns,
        **_hold_out(spec.hold_out),
        **_of_alignment(spec),
        **_of_rows(spec.label, spec.keeps_copies),
        **(_bins(spec.binning, spec.scale) if spec.binning else {}),
        **(_of_correlations(spec.correlate) if spec.correlate else {}),
    }


def _hold_out(rules: HoldOutSpec) -> dict[str, Any]:
    split = {"hold_out": rules.fraction} if rules.since is None else {"hold_out_since": rules.since}
    return split | ({"hold_out_column": rules.column} if rules.column else {})


def _of_rows(label: LabelSpec, copies: bool) -> dict[str, Any]:
    """That rows are weighed or have an offset; which columns of the label holder say so is not told."""
    weights = label.class_weights
    said = f"bad {weights.bad:g}, good {weights.good:g}" if isinstance(weights, ClassWeights) else weights
    return {
        **({"row_weights": True} if label.weights is not None else {}),
        **({"copies": True} if copies else {}),
        **({"largest_weight": label.largest_weight} if copies or label.weights is not None else {}),
        **({"class_weights": said} if weights != "none" else {}),
        **({"offset": True} if label.offset is not None else {}),
    }


def _of_correlations(rules: CorrelateSpec) -> dict[str, Any]:
    return {
        "correlations_show": rules.show,
        "correlations_to": rules.to,
        "correlations_threshold": rules.threshold,
        "correlations_drop": rules.drop,
    }


def _bins(rules: BinningSpec, scale: ScaleSpec) -> dict[str, Any]:
    return {
        "bins_trend": rules.trend,
        "fine_bins": rules.fine_bins,
        "maximum_bins": rules.maximum_bins,
        "minimum_cell": rules.minimum_cell,
        "minimum_outcome": rules.minimum_outcome,
        "minimum_share": rules.minimum_share,
        "minimum_information": rules.minimum_information,
        "base_score": scale.base_score,
        "base_odds": scale.base_odds,
        "pdo": scale.pdo,
    }


def _of_alignment(spec: JobSpec) -> dict[str, Any]:
    return {
        "minimum_intersection": spec.minimum_intersection,
        "align_engine": spec.align.engine,
        "align_output": spec.align.output,
        "align_padding": spec.align.padding,
        "id_profiles": ", ".join(spec.align.id_profiles),
        "id_scheme": spec.align.id_scheme,
    }
