"""One institution's own part of the report: an HTML fragment for its own model directory, and a page around it.

It holds the party's own weights and column names, so it stays at the party's own site; nothing of another party
is in it. Every value is escaped. The caller saves it, 0600.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_PAGES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
FLOW = ("read", "matched", "unmatched", "duplicate", "blank", "refused")


def render_fragment(part: Mapping[str, Any]) -> str:  # plain dicts of the party's own making
    """The `<section>` of this party.

    `part`: party, role, job_id; optional rows {read, matched, ...}, common, train_rows, test_rows, preparation
    (PreparationReport.to_json), coefficients [{column, weight, per_unit?}], intercept (label holder), bins [{column,
    information, bins [{holds, good, bad, weight}]}], ledger [{kind, what, count}] of what this party learned, digests
    {name: hex}.
    """
    preparation = part.get("preparation") or {}
    rows = part.get("rows") or {}
    weights = [_coefficient(line) for line in part.get("coefficients") or []]
    largest = max((abs(line["weight"]) for line in weights), default=0.0) or 1.0
    return _PAGES.get_template("party_fragment.html").render(
        party=part["party"],
        role=str(part["role"]).replace("_", " "),
        job_id=part["job_id"],
        flow=[(name, f"{rows[name]:,}") for name in FLOW if name in rows],
        totals=[(word, f"{part[key]:,}") for key, word in
                (("common", "in common"), ("train_rows", "to train"), ("test_rows", "held out")) if key in part],
        used=list(preparation.get("columns_out", ())),
        given=len(preparation.get("columns_in", ())),
        dropped=[(name, reason) for name, reason in preparation.get("dropped", ())],
        merged=sorted((preparation.get("merged") or {}).items()),
        clipped=preparation.get("clipped_cells"),
        warning=preparation.get("warning"),
        shrunk=(preparation.get("leverage") or {}).get("shrunk_rows"),
        coefficients=sorted(
            (line | {"width": 50 * abs(line["weight"]) / largest} for line in weights),
            key=lambda line: -abs(line["weight"]),
        ),
        intercept=_number(part.get("intercept")),
        bins=[_binned(column) for column in part.get("bins") or []],
        ledger=part.get("ledger") or [],
        digests=sorted((part.get("digests") or {}).items()),
    )


def render_page(fragment: str) -> str:
    """A whole page around a fragment made by `render_fragment`, readable without a network."""
    return _PAGES.get_template("party_page.html").render(fragment=Markup(fragment))  # noqa: S704 escaped above


def fragment_of(page: str) -> str:
    """The fragment inside a page made by `render_page`, for a local run that owns all parties' directories."""
    return page.partition("<body>\n")[2].rpartition("\n</body>")[0]


def _coefficient(line: Mapping[str, Any]) -> dict[str, Any]:
    weight = float(line["weight"])
    return {
        "column": line["column"],
        "weight": weight if math.isfinite(weight) else 0.0,
        "shown": _number(weight),
        "per_unit": _number(line.get("per_unit")),
    }


def _binned(column: Mapping[str, Any]) -> dict[str, Any]:
    lines = [
        {"holds": line["holds"], "rows": f"{line['good'] + line['bad']:,}", "bad": f"{line['bad']:,}",
         "rate": f"{100 * line['bad'] / max(1, line['good'] + line['bad']):.2f} %", "weight": _number(line["weight"])}
        for line in column["bins"]
    ]
    return {"column": column["column"], "information": f"{column['information']:.4f}", "lines": lines}


def _number(value: Any) -> str:  # a float of the party's own model, or nothing
    return "" if value is None else f"{value:+.4g}"
