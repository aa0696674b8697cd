"""One job on a local consortium, from tables to the figures beside the exact fit on all columns in one place."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from joint_risk.local_consortium import RESULT, LocalCluster, LocalParty
from joint_risk.pooled_bins import compare_bins
from joint_risk.pooled_reference import compare
from wire.private_files import write_private
from wire.spec.columns import BinningSpec
from wire.spec.label import LabelSpec


def run_job(
    home: Path, parties: list[LocalParty], job: dict[str, Any], *, ahead: bool = False
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Make the cluster under `home`, run the job (`ahead`: in two halves), compare with the pooled fit: (result, public
    record)."""
    began = time.monotonic()
    cluster = LocalCluster(home, parties)
    cluster.make()
    made = time.monotonic()
    with cluster.running():
        ready = time.monotonic()
        first = cluster.precompute(job, show=True) if ahead else None
        started = time.monotonic()
        record = cluster.launch(job, show=True, prepared=first["job_id"] if first else "")
    ended = time.monotonic()
    label = LabelSpec(**{name: value for name, value in job["label"].items() if name != "party"})
    pooled = compare(home, parties, record["job_id"], record["parameters"]["lambda"], label)
    seconds = {"make": made - began, "start": started - made} | record["seconds"]
    if first is not None:
        seconds |= {f"ahead, {stage}": value for stage, value in first["seconds"].items()}
        seconds |= {"start": ready - made, "ahead": started - ready}
    seconds |= {"job": ended - started, "total": time.monotonic() - began}
    result = {
        "job_id": record["job_id"],
        "rows": record["rows"],
        "common": record["common"],
        "train_rows": record["train_rows"],
        "test_rows": record["test_rows"],
        "auc": pooled.auc,
        "ks": pooled.ks,
        "coefficients": pooled.coefficients,   # the pooled fit has no linear term: their distance is noise most of all
        "noise": record["parameters"]["noise"],
        "seconds": {stage: round(value, 2) for stage, value in seconds.items()},
        "bytes": record["bytes"],
        "ledger": record["ledger"],
        "evaluation": record["evaluation"],
        "correlations": record["correlations"],
        "engines": record["engines"],
    }
    if "binning" in job:
        rules = BinningSpec.model_validate(job["binning"])
        result["bins"] = compare_bins(home, parties, record["job_id"], rules, job["label"]["positive"])
    kept = result | {"coefficients": {"max_abs_error": pooled.coefficients["max_abs_error"]}}  # no column's name
    write_private(home / RESULT, json.dumps(kept, indent=1).encode())
    return result, record
