"""The model committee's document: one self-contained HTML page made from a job's public record.

Uses what the nodes released and nothing else; whatever the record lacks is left out, whatever it holds is
escaped. The page runs no script and fetches nothing. Parties' own parts (`fragments`) and the pooled fit exist
only where one machine owns all directories: a coordinator never has them. Knows no row, label, score or weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from coordinator.plots import pictures
from wire.comparison_table import DASH, PERCENT, POINTS, Json, comparison_rows, entry, number, verdict_text

_PAGES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)

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
TITLES = {"model": "Joint credit-risk model", "alignment": "Customers in common"}
PARAMETER_WORDS = {
    "lambda": "penalty (lambda)",
    "iterations": "iterations",
    "key_bits": "Paillier key, bits",
    "engine": "arithmetic engine",
    "correlations": "source of the sigmoid's correlations",
    "clip": "winsorised at, standard deviations",
    "missing": "missing values become",
    "minimum_support": "fewest rows of a category",
    "hold_out": "share of rows held out",
    "minimum_intersection": "fewest customers in common",
    "align_engine": "engine of the alignment",
    "align_output": "who learns the customers in common",
    "align_padding": "sizes of the id sets padded",
    "id_profiles": "ids normalised as",
    "id_scheme": "ids enter",
    "expected_default_rate": "expected default rate (public)",
    "sigmoid": "harmonics of the sigmoid",
    "bins_counts_at": "counts of fine bins are seen by",
    "bins_trend": "trend of the bad rate over a column's bins",
    "fine_bins": "fine bins of a column, at most",
    "maximum_bins": "joined bins of a column, at most",
    "minimum_cell": "fewest customers in a fine bin",
    "minimum_outcome": "fewest good, and fewest bad, customers in a joined bin",
    "minimum_share": "smallest share of customers in a joined bin",
    "minimum_information": "least information value of a column",
}


def render(
    record: Mapping[str, Any],  # decoded JSON, read defensively
    fragments: Mapping[str, str] | None = None,
    pooled: Mapping[str, Any] | None = None,
) -> str:
    """The page. `record`: the job's public record; `fragments`: party id -> its own HTML, made by its node;
    `pooled`: auc, ks and optionally max_abs_error of the fit on all columns together."""
    evaluation = entry(record, "evaluation")
    return _PAGES.get_template("report.html").render(
        job_id=text(entry(record, "job_id")),
        title=TITLES.get(text(entry(record, "goal")), TITLES["model"]),
        makes_model=entry(record, "goal") != "alignment",
        purpose=text(entry(record, "purpose")),
        created=text(entry(record, "created")),
        verdict=verdict_text(evaluation),
        verdict_kind=_one_of(entry(evaluation, "verdict", "kind"), ("better", "none", "worse", "unclear")),
        headline=_headline(record),
        parties=[_party(party) for party in _items(entry(record, "parties"))],
        comparison=comparison_rows(evaluation, pooled),
        has_pooled=bool(pooled),
        coefficient_gap=_scientific(entry(pooled, "max_abs_error")),
        rows_test=count(entry(evaluation, "rows", "test")),
        rows_bad=count(entry(evaluation, "rows", "bad")),
        pictures=[(title, caption, Markup(svg)) for title, caption, svg in pictures(evaluation)],  # noqa: S704 drawn here
        trade_off=[_trade_off(line) for line in _items(entry(evaluation, "trade_off"))],
        swap=_swap(entry(evaluation, "swap_set")),
        withheld=[text(line) for line in _items(entry(evaluation, "withheld"))],
        flow=_flow(entry(record, "rows")),
        flow_words=FLOW,
        totals=[(word, count(entry(record, key))) for key, word in
                (("common", "in common"), ("train_rows", "to train"), ("test_rows", "held out to judge"))],
        judged_on_training=_judged_on_training(record),
        ledger=_ledger(entry(record, "ledger")),
        stages=_stages(entry(record, "seconds")),
        traffic=_traffic(entry(record, "bytes")),
        parameters=_parameters(entry(record, "parameters")),
        approvals=_texts(entry(record, "approvals")),
        audit_heads=_texts(entry(record, "audit_heads")),
        fragments={name: Markup(html) for name, html in (fragments or {}).items()},  # noqa: S704 escaped by its node
        minimum_cell=count(entry(evaluation, "limits", "minimum_cell")),
    )


def text(value: Json) -> str:
    """A short piece of foreign text, or a dash."""
    if value is None or isinstance(value, Mapping | list):
        return DASH
    return str(value)[:500] or DASH


def count(value: Json) -> str:
    """A whole number with its thousands set apart, or a dash."""
    number_ = number(value)
    return DASH if number_ is None else f"{number_:,.0f}"


def duration(value: Json) -> str:
    """Seconds as people say them."""
    seconds = number(value)
    if seconds is None:
        return DASH
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def size(value: Json) -> str:
    """Bytes in decimal units."""
    amount = number(value)
    if amount is None:
        return DASH
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    raise AssertionError("the last unit takes all")


def _items(value: Json) -> list[Any]:  # decoded JSON
    return value if isinstance(value, list) else []


def _pairs(value: Json) -> list[tuple[str, Any]]:  # decoded JSON
    return [(str(key), item) for key, item in value.items()] if isinstance(value, Mapping) else []


def _texts(value: Json) -> list[tuple[str, str]]:
    return [(key, text(item)) for key, item in _pairs(value)]


def _one_of(value: Json, allowed: tuple[str, ...]) -> str:
    return value if isinstance(value, str) and value in allowed else "unclear"


def _scientific(value: Json) -> str:
    amount = number(value)
    return "" if amount is None else f"{amount:.1e}"


def _headline(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    evaluation = record.get("evaluation")
    solo, joint = (number(entry(evaluation, "models", m, "auc", "value")) for m in ("solo", "joint"))
    auc = DASH if solo is None or joint is None else f"{solo:.3f} → {joint:.3f}"
    seconds = [number(value) for _, value in _pairs(record.get("seconds"))]
    total = number(entry(record, "seconds", "total"))
    spent = sum(value for value in seconds if value is not None) if total is None else total
    sent = [number(v) for _, links in _pairs(record.get("bytes")) for _, v in _pairs(links)]
    worth = [("AUC, solo → joint", auc)] if record.get("goal") != "alignment" else []
    return [
        *worth,
        ("customers in common", count(record.get("common"))),
        ("institutions", str(len(_items(record.get("parties"))) or DASH)),
        ("time", duration(spent) if seconds else DASH),
        ("traffic", size(sum(v for v in sent if v is not None)) if sent else DASH),
    ]


def _party(party: Json) -> dict[str, str]:
    role = text(entry(party, "role"))
    return {
        "id": text(entry(party, "id")),
        "role": {"label_holder": "label holder (has the outcome)", "feature_holder": "feature holder"}.get(role, role),
        "dataset": text(entry(party, "dataset")),
        "columns": count(entry(party, "columns_count")),
    }


def _trade_off(line: Json) -> dict[str, str]:
    def shown(key: str, column: str) -> str:
        value = number(entry(line, key, column, "value"))
        return DASH if value is None else PERCENT.one(value)

    def gap(key: str) -> tuple[str, str]:
        parts = [number(entry(line, key, "difference", end)) for end in ("value", "low", "high")]
        value, low, high = parts
        if value is None or low is None or high is None:
            return DASH, ""
        return POINTS.one(value, "+"), POINTS.ends(low, high, "+")

    rate = number(entry(line, "approval_rate"))
    bad, bad_interval = gap("bad_rate")
    return {
        "approval": DASH if rate is None else f"{100 * rate:g} %",
        "solo": shown("bad_rate", "solo"),
        "joint": shown("bad_rate", "joint"),
        "gap": bad,
        "gap_interval": bad_interval,
        "solo_approval": shown("approval_at_equal_bad_rate", "solo"),
        "joint_approval": shown("approval_at_equal_bad_rate", "joint"),
    }


def _swap(swap: Json) -> dict[str, Any] | None:  # handed to the template
    rate = number(entry(swap, "approval_rate"))
    if rate is None:
        return None
    cells = []
    for key, words in SWAP_WORDS:
        bad = number(entry(swap, "cells", key, "bad_rate"))
        rows = count(entry(swap, "cells", key, "rows"))
        cells.append((words, rows, DASH if bad is None else PERCENT.one(bad)))
    return {"approval": f"{100 * rate:g} %", "cells": cells}


def _flow(rows: Json) -> list[dict[str, Any]]:  # handed to the template
    found = []
    for party, counts in _pairs(rows):
        read = number(entry(counts, "read")) or 0.0
        parts = [(key, word, number(entry(counts, key)) or 0.0) for key, word, _ in FLOW]
        widths = [(key, 100 * value / read) for key, _, value in parts if read > 0 and value > 0]
        adds_up = read == sum(value for *_, value in parts)
        found.append(
            {"party": party, "read": count(read), "counts": [count(v) for *_, v in parts], "widths": widths,
             "adds_up": adds_up}
        )
    return found


def _judged_on_training(record: Mapping[str, Any]) -> bool:
    """Whether the same rows trained and judged the model (hold-out share 0)."""
    train, test = (number(record.get(key)) for key in ("train_rows", "test_rows"))
    return train is not None and train == test and number(entry(record, "parameters", "hold_out")) == 0


def _ledger(lines: Json) -> list[dict[str, str]]:
    """Revealed lines first: these are what somebody found out."""
    found = [
        {key: text(entry(line, key)).replace("_", " ") if key == "to" else text(entry(line, key))
         for key in ("code", "kind", "to", "what")} | {"count": count(entry(line, "count"))}
        for line in _items(lines)
    ]
    return sorted(found, key=lambda line: line["kind"] == "masked")


def _stages(seconds: Json) -> list[dict[str, Any]]:  # handed to the template
    pairs = [(name, number(value) or 0.0) for name, value in _pairs(seconds) if name != "total"]
    longest = max((value for _, value in pairs), default=0.0) or 1.0
    return [{"name": name, "time": duration(value), "width": 100 * value / longest} for name, value in pairs]


def _traffic(stages: Json) -> dict[str, Any]:  # handed to the template
    """A table: one row per stage, one column per link, and the sum."""
    table = _pairs(stages)
    links = sorted({link for _, amounts in table for link, _ in _pairs(amounts)})
    rows = []
    for stage, amounts in table:
        total = sum(number(v) or 0.0 for _, v in _pairs(amounts))
        rows.append((stage, [size(entry(amounts, link)) for link in links], size(total)))
    return {"links": [link.replace("->", " → ") for link in links], "rows": rows}


def _parameters(parameters: Json) -> list[tuple[str, str]]:
    shown = []
    for name, value in _pairs(parameters):
        spoken = {True: "yes", False: "no"}[value] if isinstance(value, bool) else text(value)
        shown.append((PARAMETER_WORDS.get(name, name.replace("_", " ")), spoken))
    return shown
