"""The committee's whole report of a local cluster's job: the public record and every institution's own part in one.

Only who owns all directories can put the parts side by side; in a real
deployment each institution reads its own (party-node report JOB) beside the coordinator's (coordinator report JOB).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from coordinator.reports import committee_tables
from coordinator.reports.committee_page import render
from joint_risk.local_consortium import COORDINATOR, RESULT
from mpc.credit.scorecard import Scale, reasons
from mpc.credit.stability import score_stability
from mpc.errors import LocalError
from party_node.config import PartyDirectory
from party_node.models.finished_job import Finished, agreed, load
from party_node.models.scorecard import card_of
from party_node.models.scorecard_pmml import MOST_REASONS
from party_node.records.store import Store
from party_node.reports.characteristics import has_card, shortfalls, stability_line, stability_sheet
from party_node.reports.judgement import Asked
from party_node.reports.own_part import named_for, own_part
from reporting.drawings import RISKIER, SAFER, Axis, Curve, curves, percent
from reporting.page import Block, Drawing, Section, write_report
from reporting.sheets import Column, Sheet
from wire.private_files import write_private
from wire.spec.job import JobSpec

TOGETHER = "all institutions together, which only a machine that owns every directory can know"
SCORE_BARS = 24
PUBLIC = ("population", "correlations", "ledger", "record")   # what the public record says of all parties in one table


def make_report(home: Path, job: str, wanted: Asked, out: Path) -> list[str]:
    """Write page and tables of the job to `out`; the names of the tables. LocalError: no such job."""
    record = _record(home, job)
    found = {party["id"]: _finished(home / party["id"], party["id"], record["job_id"], wanted, party["role"])
             for party in record["parties"]}
    parts, sheets = {}, committee_tables.sheets(record)
    for party, one in found.items():
        part = own_part(one, wanted if one.scores is not None else Asked(wanted.scale))
        parts[party] = {name: html for name, html in part.fragments().items() if name not in PUBLIC}
        sheets += named_for(party, [sheet for section in part.sections if section.name not in PUBLIC
                                    for sheet in section.sheets])
    together = [section for section in (joint_stability(list(found.values()), wanted.scale),
                                        joint_reasons(found, wanted.scale)) if section is not None]
    parts[TOGETHER] = {section.name: section.html() for section in together}
    sheets += [sheet for section in together for sheet in section.sheets]
    write_report(out, render(record, parts, _pooled(home)), sheets, write_private)
    return [sheet.name for sheet in sheets]


def joint_stability(found: Sequence[Finished], scale: Scale) -> Section | None:
    """Has the joint score moved between development and hold-out sample? None where it cannot be told."""
    if not found[0].held_out or any(one.table is None for one in found):
        return None
    test = found[0].model.test
    joint = np.sum([one.model.partial_scores(one.table, one.model.rows) for one in found if one.table], axis=0)
    index = score_stability(joint[~test], joint[test])
    sheet = stability_sheet("joint_stability", [stability_line("joint score", index)])
    points = scale.score(joint)
    low, high = np.quantile(points, [0.001, 0.999])
    edges = np.linspace(low, high, SCORE_BARS + 1)
    middle = ((edges[1:] + edges[:-1]) / 2).tolist()
    shares = [(np.histogram(points[rows], edges)[0] / rows.sum()).tolist() for rows in (~test, test)]
    drawn = curves("Distribution of the joint score", Axis("points"), Axis(words=percent), [
        Curve("development", SAFER, middle, shares[0]), Curve("hold-out", RISKIER, middle, shares[1], dashed=True),
    ])
    drawing = Drawing("Joint score", "Share of the customers by score.", drawn)
    return Section("stability", (Block("", "", sheet, (drawing,)),), (sheet,))


def joint_reasons(found: Mapping[str, Finished], scale: Scale) -> Section | None:
    """How often each characteristic is among a customer's main adverse action reasons, in the hold-out sample, over all
    parties' cards; a reason is explained by its owner. None where a party has no card or no table."""
    if any(one.table is None or not has_card(one) for one in found.values()):
        return None
    names = [(party, one.name) for party, mine in found.items()
             for one in card_of(mine.model, scale).part.characteristics]
    chosen = reasons(np.column_stack([shortfalls(one, scale) for one in found.values()]), MOST_REASONS)
    rows = sorted(((party, name, float((chosen[:, 0] == k).mean()), float((chosen == k).any(axis=1).mean()))
                   for k, (party, name) in enumerate(names)), key=lambda row: -row[3])
    sheet = Sheet("joint_reasons",
                  f"Adverse action reasons: the {MOST_REASONS} characteristics that cost a customer most points",
                  (Column("institution"), Column("characteristic"), Column("first reason", "share"),
                   Column("among the reasons", "share")), tuple(rows))
    return Section("scorecard", (Block(sheet=sheet),), (sheet,))


def _record(home: Path, job: str) -> dict[str, Any]:
    kept = sorted((home / COORDINATOR / "jobs").glob(f"{job}*/record.json"), key=lambda path: path.stat().st_mtime)
    if not kept:
        raise LocalError(f"{home} holds no finished job{f' that begins with {job}' if job else ''}",
                         "give the --out of scripts/run_local_cluster.py")
    return dict(json.loads(kept[-1].read_bytes()))


def _finished(folder: Path, party: str, job: str, wanted: Asked, role: str) -> Finished:
    directory = PartyDirectory(folder)
    store = Store(directory.state_db)
    try:
        return load(directory, party, store, job, wanted.segments if role == "label_holder" else ())
    finally:
        store.close()


def signed_terms(home: Path, job: str) -> JobSpec:
    """What all parties signed, as the first of them kept it."""
    record = _record(home, job)
    store = Store(PartyDirectory(home / record["parties"][0]["id"]).state_db)
    try:
        return agreed(store, record["job_id"])
    finally:
        store.close()


def _pooled(home: Path) -> Mapping[str, Any] | None:
    """The exact fit on all columns together, where the local run left its figures."""
    path = home / RESULT
    if not path.exists():
        return None
    result = json.loads(path.read_bytes())
    return {"auc": result["auc"]["pooled"], "ks": result["ks"]["pooled"],
            "max_abs_error": result["coefficients"]["max_abs_error"]}
