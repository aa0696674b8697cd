"""The public record of a job as tables: what the committee's page shows and its CSV and XLSX files hold.

Reads the record defensively: what is missing or of another kind is an empty cell, never an error. Computes nothing
that the nodes did not release.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reporting import correlation_tables
from reporting.comparison_table import Json, entry, items, measures, number, pairs, text
from reporting.sheets import Cell, Column, Sheet, interval

# (key, word, meaning): read = the sum of the others
FLOW = (
    ("matched", "matched", "customers that all parties have"),
    ("unmatched", "unmatched", "customers that some other party does not have"),
    ("duplicate", "duplicate", "further rows of an id that was read before"),
    ("blank", "blank", "rows without an id"),
    ("refused", "refused", "rows whose id or label could not be used"),
)
SWAP_WORDS = (
    ("joint_only", "approved by joint, declined by solo"),
    ("solo_only", "declined by joint, approved by solo"),
    ("approved_by_both", "approved by both"),
    ("declined_by_both", "declined by both"),
)
MODELS = ("solo", "joint")
_ENDS = ("value", "low", "high")


def sheets(record: Mapping[str, Any]) -> list[Sheet]:
    """Every table of the record that has a row."""
    evaluation = entry(record, "evaluation")
    made = [
        institutions(record), population(record), comparison(evaluation), trade_off(evaluation), swap_set(evaluation),
        risk_groups(evaluation), _curves(evaluation),
        *correlation_tables.sheets(entry(record, "correlations")), ledger(record), _seconds(record), traffic(record),
    ]
    return [sheet for sheet in made if sheet.rows]


def institutions(record: Json) -> Sheet:
    """Who took part."""
    roles = {"label_holder": "label holder (has the outcome)", "feature_holder": "feature holder"}
    rows = []
    for party in items(entry(record, "parties")):
        role = text(entry(party, "role"))
        rows.append((text(entry(party, "id")), roles.get(role or "", role), text(entry(party, "dataset")),
                     number(entry(party, "columns_count"))))
    return Sheet("institutions", "Who took part", (Column("institution"), Column("role"), Column("dataset"),
                                                   Column("columns offered to the job", "count")), tuple(rows))


def population(record: Json) -> Sheet:
    """Where every row of every party went."""
    words = ["read", *(word for _, word, _ in FLOW)]
    rows = tuple((party, *(number(entry(counts, word)) for word in words))
                 for party, counts in pairs(entry(record, "rows")))
    return Sheet("population", "Rows of every institution: read is the sum of the others",
                 (Column("institution"), *(Column(word, "count") for word in words)), rows)


def comparison(evaluation: Json) -> Sheet:
    """Solo, joint and their difference."""
    rows = []
    for measure in measures(evaluation):
        cells = [figure for model in MODELS for figure in _figure(evaluation, "models", model, measure.key)]
        if any(cell is not None for cell in cells):
            gap = entry(evaluation, "difference", measure.key)
            rows.append((measure.label, *cells, *_figure(gap), number(entry(gap, "p_value"))))
    return Sheet("solo_joint", "What the joint model is worth, hold-out sample",
                 (Column("measure"), *interval("solo", "figure"), *interval("joint", "figure"),
                  *interval("difference", "weight"), Column("p", "figure")), tuple(rows))


def trade_off(evaluation: Json) -> Sheet:
    """Bad rate at equal approval and approval at equal bad rate."""
    rows = []
    for line in items(entry(evaluation, "trade_off")):
        bad, most = entry(line, "bad_rate"), entry(line, "approval_at_equal_bad_rate")
        rows.append((number(entry(line, "approval_rate")), *_figure(bad, "solo"), *_figure(bad, "joint"),
                     *_figure(bad, "difference"), *_figure(most, "solo"), *_figure(most, "joint")))
    return Sheet(
        "trade_off", "How many of the approved turn out bad, and how many could be approved with no more bad than solo",
        (Column("approved", "share"), *interval("bad, solo", "share"), *interval("bad, joint", "share"),
         *interval("difference", "change"), *interval("most approved, solo", "share"),
         *interval("most approved, joint", "share")), tuple(rows))


def swap_set(evaluation: Json) -> Sheet:
    """Who changes places."""
    swap = entry(evaluation, "swap_set")
    rate = number(entry(swap, "approval_rate"))
    cells = () if rate is None else tuple(
        (words, number(entry(swap, "cells", key, "rows")), number(entry(swap, "cells", key, "bad_rate")))
        for key, words in SWAP_WORDS)
    return Sheet("swap_set", f"Who changes places when both models approve {100 * (rate or 0):g} %",
                 (Column("customers"), Column("how many", "count"), Column("bad among them", "share")), cells)


def risk_groups(evaluation: Json) -> Sheet:
    """Bad rate, lift and gain of equal groups, riskiest first."""
    found = {model: items(entry(evaluation, "groups", model)) for model in MODELS}
    rows = []
    for place in range(max(map(len, found.values()))):
        figures = [number(entry(lines[place], key)) if place < len(lines) else None
                   for key in ("bad_rate", "lift", "gain") for lines in found.values()]
        rows.append((place + 1, *figures))
    return Sheet("risk_groups", "Groups of customers, riskiest first; gain: share of all bad customers so far",
                 (Column("group", "count"), Column("bad, solo", "share"), Column("bad, joint", "share"),
                  Column("lift, solo", "ratio"), Column("lift, joint", "ratio"), Column("gain, solo", "share"),
                  Column("gain, joint", "share")), tuple(rows))


def _curves(evaluation: Json) -> Sheet:
    """The points of every curve that a picture shows."""
    axes = {"roc": ("fpr", "tpr"), "ks": ("share", "bad"), "calibration": ("predicted", "observed")}
    rows = [(name, model, number(x), number(y))
            for name, (across, up) in axes.items() for model in MODELS
            for x, y in zip(items(entry(evaluation, "curves", model, name, across)),
                            items(entry(evaluation, "curves", model, name, up)), strict=False)]
    return Sheet("curves", "Points of the curves", (Column("curve"), Column("model"), Column("across", "figure"),
                                                    Column("up", "figure")), tuple(rows))


def ledger(record: Json) -> Sheet:
    """What was opened, revealed lines first: these are what somebody found out."""
    lines = sorted(items(entry(record, "ledger")), key=lambda line: text(entry(line, "kind")) == "masked")
    return Sheet("ledger", "Everything that was opened in this job",
                 (Column("code"), Column("kind"), Column("seen by"), Column("what"), Column("values", "count")),
                 tuple((text(entry(line, "code")), text(entry(line, "kind")),
                        (text(entry(line, "to")) or "").replace("_", " ") or None, text(entry(line, "what")),
                        number(entry(line, "count"))) for line in lines))


def _seconds(record: Json) -> Sheet:
    rows = tuple((stage, number(value)) for stage, value in pairs(entry(record, "seconds")))
    return Sheet("seconds", "Time of each stage", (Column("stage"), Column("seconds", "points")), rows)


def traffic(record: Json) -> Sheet:
    """Bytes of every link in every stage."""
    rows = tuple((stage, link, number(amount)) for stage, links in pairs(entry(record, "bytes"))
                 for link, amount in pairs(links))
    return Sheet("traffic", "Bytes between the nodes",
                 (Column("stage"), Column("link"), Column("bytes", "count")), rows)


def _figure(tree: Json, *keys: str) -> Iterator[Cell]:
    yield from (number(entry(tree, *keys, end)) for end in _ENDS)
