"""The model committee's document: one self-contained HTML page made from a job's public record, and its tables.

Uses what the nodes released and nothing else; whatever the record lacks is left out, whatever it holds is
escaped. The page runs no script and fetches nothing. Parties' own parts (`parts`) and the pooled fit exist
only where one machine owns all directories: a coordinator never has them. Knows no row, label, score or weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from coordinator.reports import committee_tables
from reporting import comparison_table, correlation_tables
from reporting.comparison_table import DASH, Json, comparison_rows, entry, items, number, pairs, verdict_text
from reporting.evaluation_pictures import pictures
from reporting.page import SECTIONS, environment

TITLES = {"model": "Joint credit-risk model", "alignment": "Customers in common",
          "precompute": "Work ahead of a joint model"}
PARAMETER_WORDS = {
    "lambda": "penalty (lambda)",
    "noise": "secret terms in the objective, times the default",
    "noise_deviation": "their standard deviation at each party, in residuals",
    "iterations": "iterations",
    "key_bits": "Paillier key, bits",
    "engine": "arithmetic engine",
    "correlations": "source of the sigmoid's correlations",
    "clip": "winsorised at, standard deviations",
    "missing": "missing values become",
    "minimum_support": "fewest rows of a category",
    "score_grid": "steps in which a partner's part of a score is told, log-odds",
    "minimum_columns": "fewest columns of a partner in a score",
    "hold_out": "hold-out sample, share of rows",
    "hold_out_column": "out-of-time sample by period, column of the label holder",
    "hold_out_since": "out-of-time sample from",
    "minimum_intersection": "fewest customers in common",
    "align_engine": "engine of the alignment",
    "align_output": "who learns the customers in common",
    "align_padding": "sizes of the id sets padded",
    "id_profiles": "ids normalised as",
    "id_scheme": "ids enter",
    "expected_default_rate": "expected default rate (public)",
    "sigmoid": "harmonics of the sigmoid",
    "row_weights": "rows weighed by a column of the label holder",
    "copies": "every row of a customer counts, and weighs",
    "largest_weight": "largest weight of a row, or of a customer by its rows, in multiples of the mean",
    "class_weights": "weights of bad and good customers in the fit",
    "offset": "an offset of the label holder in every score",
    "bins_trend": "trend of the bad rate over a column's bins",
    "fine_bins": "fine bins of a column, at most",
    "maximum_bins": "merged bins of a column, at most",
    "minimum_cell": "fewest customers in a fine bin",
    "minimum_outcome": "fewest good, and fewest bad, customers in a merged bin",
    "minimum_share": "smallest share of customers in a merged bin",
    "minimum_information": "least information value of a column",
    "base_odds": "base odds, good customers to one bad",
    "pdo": "points to double the odds (PDO)",
}


# What the coordinator has nothing to say of: it is in the parties' own parts
OWN_SECTIONS = ("characteristics", "model", "scorecard", "stability", "segments", "money")
OPTIONAL = ("correlations", "segments", "money")   # only where the job, or an analyst, asked for them
NO_MODEL = ("alignment", "precompute")
OF_ALIGNMENTS = ("purpose", "data", "population", "limits", "ledger", "record")
RANKING = ("ROC", "KS", "Calibration", "Lift")   # pictures that stand in `validation`; the others compare


def render(
    record: Mapping[str, Any],  # decoded JSON, read defensively
    parts: Mapping[str, Mapping[str, Markup]] | None = None,
    pooled: Mapping[str, Any] | None = None,
) -> str:
    """The page. `record`: the job's public record; `parts`: party id -> section -> its own HTML, made by its node;
    `pooled`: auc, ks and optionally max_abs_error of the fit on all columns together."""
    evaluation = entry(record, "evaluation")
    makes_model = entry(record, "goal") not in NO_MODEL
    own = parts or {}
    correlations = correlation_tables.section(entry(record, "correlations"))
    said = {name for sections in own.values() for name in sections} | ({"correlations"} if correlations else set())
    shown = [name for name in SECTIONS if (makes_model or name in OF_ALIGNMENTS) and
             (name not in OPTIONAL or name in said)]
    drawn = pictures(evaluation)
    return environment(Path(__file__).parent / "templates").get_template("report.html").render(
        sections=[(name, SECTIONS[name]) for name in shown],
        own=own,
        own_sections=OWN_SECTIONS,
        job_id=text(entry(record, "job_id")),
        title=TITLES.get(text(entry(record, "goal")), TITLES["model"]),
        makes_model=makes_model,
        goal=text(entry(record, "goal")),
        prepared=comparison_table.text(entry(record, "prepared")) or "",
        purpose=text(entry(record, "purpose")),
        created=text(entry(record, "created")),
        verdict=verdict_text(evaluation),
        verdict_kind=_one_of(entry(evaluation, "verdict", "kind"), ("better", "none", "unclear")),
        headline=_headline(record),
        institutions=committee_tables.institutions(record),
        comparison=comparison_rows(evaluation, pooled),
        has_pooled=bool(pooled),
        correlations=correlations.html() if correlations else "",
        coefficient_gap=_scientific(entry(pooled, "max_abs_error")),
        rows_test=count(entry(evaluation, "rows", "test")),
        rows_bad=count(entry(evaluation, "rows", "bad")),
        ranking=[picture for picture in drawn if picture[0] in RANKING],
        against=[picture for picture in drawn if picture[0] not in RANKING],
        groups=committee_tables.risk_groups(evaluation),
        trade_off=committee_tables.trade_off(evaluation),
        swap=committee_tables.swap_set(evaluation),
        withheld=[text(line) for line in items(entry(evaluation, "withheld"))],
        flow=_flow(entry(record, "rows")),
        flow_words=committee_tables.FLOW,
        totals=_totals(record),
        judged_on_training=_judged_on_training(record),
        judging_sample=_judging_sample(record),
        out_of_time=_out_of_time(entry(record, "parameters")),
        weighed=_weighed(entry(record, "parameters")),
        ledger=committee_tables.ledger(record),
        stages=_stages(entry(record, "seconds")),
        traffic=_traffic(entry(record, "bytes")),
        parameters=_parameters(entry(record, "parameters")),
        approvals=_texts(entry(record, "approvals")),
        audit_heads=_texts(entry(record, "audit_heads")),
        minimum_cell=count(entry(evaluation, "limits", "minimum_cell")),
    )


def text(value: Json) -> str:
    """A short piece of foreign text, or a dash."""
    return comparison_table.text(value) or DASH


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


def _texts(value: Json) -> list[tuple[str, str]]:
    return [(key, text(item)) for key, item in pairs(value)]


def _one_of(value: Json, allowed: tuple[str, ...]) -> str:
    return value if isinstance(value, str) and value in allowed else "unclear"


def _scientific(value: Json) -> str:
    amount = number(value)
    return "" if amount is None else f"{amount:.1e}"


def _headline(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    evaluation = record.get("evaluation")
    solo, joint = (number(entry(evaluation, "models", m, "auc", "value")) for m in ("solo", "joint"))
    auc = DASH if solo is None or joint is None else f"{solo:.3f} → {joint:.3f}"
    seconds = [number(value) for _, value in pairs(record.get("seconds"))]
    total = number(entry(record, "seconds", "total"))
    spent = sum(value for value in seconds if value is not None) if total is None else total
    sent = [number(v) for _, links in pairs(record.get("bytes")) for _, v in pairs(links)]
    worth = [("AUC, solo → joint", auc)] if record.get("goal") not in NO_MODEL else []
    return [
        *worth,
        ("customers in common", count(record.get("common"))),
        ("institutions", str(len(items(record.get("parties"))) or DASH)),
        ("time", duration(spent) if seconds else DASH),
        ("traffic", size(sum(v for v in sent if v is not None)) if sent else DASH),
    ]


def _flow(rows: Json) -> list[dict[str, Any]]:  # handed to the template
    found = []
    for party, counts in pairs(rows):
        read = number(entry(counts, "read")) or 0.0
        parts = [(key, word, number(entry(counts, key)) or 0.0) for key, word, _ in committee_tables.FLOW]
        widths = [(key, 100 * value / read) for key, _, value in parts if read > 0 and value > 0]
        adds_up = read == sum(value for *_, value in parts)
        found.append(
            {"party": party, "read": count(read), "counts": [count(v) for *_, v in parts], "widths": widths,
             "adds_up": adds_up}
        )
    return found


def _judged_on_training(record: Mapping[str, Any]) -> bool:
    """Whether the development sample judged the model too (hold-out share 0)."""
    train, test = (number(record.get(key)) for key in ("train_rows", "test_rows"))
    return train is not None and train == test and number(entry(record, "parameters", "hold_out")) == 0


def _judging_sample(record: Mapping[str, Any]) -> str:
    """The sample that judged the model, by its name."""
    if _judged_on_training(record):
        return "development sample"
    return "out-of-time sample" if _out_of_time(entry(record, "parameters")) else "hold-out sample"


def _totals(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How many customers are in common, and in each sample."""
    words = {"common": "in common", "train_rows": "in the development sample"}
    if not _judged_on_training(record):
        words["test_rows"] = f"in the {_judging_sample(record)}"
    return [(word, count(entry(record, key))) for key, word in words.items()]


def _out_of_time(parameters: Json) -> str:
    """Which customers judge, where a period says so; "" where they were drawn."""
    column, since = (comparison_table.text(entry(parameters, f"hold_out_{name}")) for name in ("column", "since"))
    if column is None:
        return ""
    if since is not None:
        return f"customers whose {column} is {since} or later judge, earlier ones trained"
    share = number(entry(parameters, "hold_out")) or 0.0
    return f"the {100 * share:g} % of the customers whose {column} is latest judge, earlier ones trained"


def _weighed(parameters: Json) -> list[str]:
    """What it means for the figures that rows were weighed or had an offset."""
    said = []
    if entry(parameters, "row_weights") or entry(parameters, "class_weights"):
        said.append("Rows were weighed when both models were fitted; every figure here counts each customer once.")
    if entry(parameters, "class_weights"):
        said.append("Bad and good customers weighed differently, which moves the odds that a fit tells. The intercepts "
                    "were corrected by the logarithm of the two weights, so probabilities are near those of the "
                    "customers as they are, and yet not calibrated to them.")
    if entry(parameters, "offset"):
        said.append("Both models add an offset that the label holder alone knows, in training and in every score; what "
                    "the joint model is worth is worth beside it.")
    return said


def _stages(seconds: Json) -> list[dict[str, Any]]:  # handed to the template
    spent = [(name, number(value) or 0.0) for name, value in pairs(seconds) if name != "total"]
    longest = max((value for _, value in spent), default=0.0) or 1.0
    return [{"name": name, "time": duration(value), "width": 100 * value / longest} for name, value in spent]


def _traffic(stages: Json) -> dict[str, Any]:  # handed to the template
    """A table: one row per stage, one column per link, and the sum."""
    table = pairs(stages)
    links = sorted({link for _, amounts in table for link, _ in pairs(amounts)})
    rows = []
    for stage, amounts in table:
        total = sum(number(v) or 0.0 for _, v in pairs(amounts))
        rows.append((stage, [size(entry(amounts, link)) for link in links], size(total)))
    return {"links": [link.replace("->", " → ") for link in links], "rows": rows}


def _parameters(parameters: Json) -> list[tuple[str, str]]:
    shown = []
    for name, value in pairs(parameters):
        spoken = {True: "yes", False: "no"}[value] if isinstance(value, bool) else text(value)
        shown.append((PARAMETER_WORDS.get(name, name.replace("_", " ")), spoken))
    return shown
