"""A party's own characteristics in its report: bins, weights, points, and whether they have moved.

Every figure comes from what the job kept, or from the party's own table read again. Knows nothing of other parties.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mpc.credit import stability
from mpc.credit.bands import wilson
from mpc.credit.scorecard import Scale
from mpc.credit.weight_of_evidence import information_values
from mpc.statistics.logistic import F64
from party_node.data.binned_column import BinnedColumn, bin_codes, fine_bins
from party_node.models.finished_job import Finished
from party_node.models.scorecard import card_of
from party_node.models.scorecard_json import points_of
from reporting.drawings import RISKIER, SAFER, TINY, Axis, Bar, bars, percent
from reporting.page import Block, Drawing, Section
from reporting.sheets import Cell, Column, Sheet, interval

STABILITY_BINS = 10
# Conventional readings of an information value (Siddiqi 2006, chapter 6)
STRENGTHS = ((0.02, "unpredictive"), (0.1, "weak"), (0.3, "medium"), (0.5, "strong"))
_BIN_COLUMNS = (
    Column("bin", "count"), Column("holds"), Column("customers", "count"), Column("share", "share", minor=True),
    Column("bad", "count"), *interval("bad rate", "share"), Column("weight of evidence", "weight"),
)
_BIN_FILE = (Column("characteristic"), *_BIN_COLUMNS[:4], Column("good", "count"), *_BIN_COLUMNS[4:],
             Column("adds to information", "figure"))
_GOOD = 4  # where the file has a column that a page has no room for, as it has none for the last


class _Bin(NamedTuple):
    """A line of the file's sheet, but for the characteristic's name."""

    place: int
    holds: str
    customers: int
    share: float
    good: int
    bad: int
    rate: float
    low: float
    high: float
    weight: float
    adds: float


def binned(found: Finished) -> list[BinnedColumn]:
    """The columns that entered by their bins."""
    return [one for one in found.model.preparation.encodings if isinstance(one, BinnedColumn)]


def strength(information: float) -> str:
    """An information value in a word."""
    return next((word for limit, word in STRENGTHS if information < limit), "very strong")


def characteristics(found: Finished) -> Section:
    """Bins with counts, bad rates, weights of evidence and information values; what was left out, and why."""
    columns = sorted(binned(found), key=lambda one: -one.information)
    summary = Sheet(
        "characteristics", "Own characteristics, strongest first",
        (Column("characteristic"), Column("bins", "count"), Column("information value", "figure"), Column("strength")),
        tuple((one.name, len(one.good), one.information, strength(one.information)) for one in columns),
    )
    left_out = Sheet("left_out", "Columns that were offered and left out", (Column("column"), Column("reason")),
                     tuple(found.model.preparation.report.dropped))
    lines = {one.name: list(_bin_lines(one)) for one in columns}
    every = Sheet("bins", "Bins of all own characteristics, development sample", _BIN_FILE,
                  tuple((name, *line) for name, rows in lines.items() for line in rows))
    blocks = [Block(sheet=summary)] if columns else [Block(note="The columns entered as they are, without bins.")]
    if left_out.rows:
        blocks.append(Block(sheet=left_out))
    blocks += [_bin_block(one, lines[one.name]) for one in columns]
    files = (summary, every) if columns else ()
    return Section("characteristics", tuple(blocks), (*files, left_out))


def _bin_lines(column: BinnedColumn) -> Iterator[_Bin]:
    words, weights = column.labels(), column.weights
    added, total = information_values(column.good, column.bad), sum(column.good) + sum(column.bad)
    for place, merged in enumerate(column.reading_order, start=1):
        good, bad = column.good[merged], column.bad[merged]
        rate = wilson(bad, good + bad)
        yield _Bin(place, words[merged], good + bad, (good + bad) / total, good, bad, rate.value, rate.low, rate.high,
                   float(weights[merged]), float(added[merged]))


def _bin_block(column: BinnedColumn, lines: Sequence[_Bin]) -> Block:
    title = f"{column.name} · information value {column.information:.4f}, {strength(column.information)}"
    rows = tuple((*line[:_GOOD], *line[_GOOD + 1:-1]) for line in lines)
    sheet = Sheet(f"bins {column.name}", f"Bins of {column.name}", _BIN_COLUMNS, rows)
    rates = [Bar(str(one.place), one.rate, low=one.low, high=one.high) for one in lines]
    weights = [Bar(str(one.place), one.weight, SAFER if one.weight > 0 else RISKIER) for one in lines]
    average = sum(column.bad) / (sum(column.good) + sum(column.bad))
    return Block(title, "", sheet, (
        Drawing("Bad rate", "With 95 % intervals; dashed: all customers.", bars(
            f"Bad rate by bin of {column.name}", Axis("bin"), Axis(words=percent), rates, average, TINY)),
        Drawing("Weight of evidence", "Above 0 safer than all, below riskier.", bars(
            f"Weight of evidence by bin of {column.name}", Axis("bin"), Axis(words=lambda v: f"{v:+.2g}" if v else "0"),
            weights, paper=TINY)),
    ))


def weights(found: Finished) -> Section:
    """The party's own coefficients, and what its preparation did to the rows."""
    model, report = found.model, found.model.preparation.report
    first = int(model.label_holder)
    original, _ = model.preparation.original_units(model.weights[first:])
    order = np.argsort(-np.abs(model.weights[first:]), kind="stable")
    rows: list[tuple[Cell, ...]] = [
        (model.preparation.names[k], float(model.weights[first + k]), float(original[k])) for k in order.tolist()]
    if first:
        rows.append(("(intercept)", float(model.weights[0]), None))
    sheet = Sheet("weights", "Own weights: above 0 raises the risk",
                  (Column("column"), Column("per standard deviation", "weight"), Column("per unit", "weight")),
                  tuple(rows))
    notes = []
    if binned(found):
        notes.append("A unit is one of weight of evidence, so a negative weight is what is expected.")
    if report.clipped_cells:
        notes.append(f"{report.clipped_cells:,} cells were winsorised.")
    if report.leverage is not None and report.leverage.shrunk_rows:
        notes.append(f"{report.leverage.shrunk_rows:,} rows were scaled down so that no one row weighs too much.")
    notes += [f"Rare categories of {name} put together: {count}." for name, count in sorted(report.merged.items())]
    if report.warning:
        notes.append(f"Warning: {report.warning}")
    return Section("model", (Block(note=" ".join(notes), sheet=sheet),), (sheet,))


def points(found: Finished, scale: Scale) -> Section:
    """The party's part of the card."""
    if not has_card(found):
        without = "with an offset" if found.model.offset is not None else "without bins"
        return Section("scorecard", (Block(note=f"A model {without} makes no scorecard."),))
    card = card_of(found.model, scale)
    rows = [*card.lines(), ("base points", "every customer", card.part.base)]
    sheet = Sheet("points", "Own part of the scorecard: a higher score is safer",
                  (Column("characteristic", runs=True), Column("holds"), Column("points", "points")), tuple(rows))
    note = (f"Scale: base score {scale.base_score:g} at base odds of {scale.base_odds:g} good customers to one bad, "
            f"{scale.pdo:g} points to double the odds (PDO). A customer's score is the sum over all institutions' "
            "parts.")
    if card.bounded_rows:
        note += (f" {card.bounded_rows:,} rows of the development sample had their leverage bounded, which a card does "
                 "not follow.")
    if found.table is None:
        return Section("scorecard", (Block(note=note, sheet=sheet),), (sheet,))
    lost = shortfalls(found, scale)
    reasons = Sheet(
        "reasons", "Adverse action reasons that we give: points below the best bin, hold-out sample",
        (Column("characteristic"), Column("customers below", "share"), Column("mean points below", "ratio"),
         Column("most points below", "points")),
        tuple((one.name, float((fallen > 0).mean()), float(fallen.mean()), float(fallen.max()))
              for one, fallen in zip(card.part.characteristics, lost.T, strict=True)))
    return Section("scorecard", (Block(note=note, sheet=sheet), Block(sheet=reasons)), (sheet, reasons))


def has_card(found: Finished) -> bool:
    """Whether every column entered by bins, and nothing but columns did, so that there are points."""
    return found.model.offset is None and 0 < len(binned(found)) == len(found.model.preparation.encodings)


def shortfalls(found: Finished, scale: Scale) -> F64:
    """How far each customer of the hold-out sample lies below the best bin of each own characteristic, in points,
    [n, m]."""
    assert found.table is not None
    part = card_of(found.model, scale).part
    return part.shortfalls(points_of(part, found.table)[found.judged])


def moved(found: Finished) -> Section:
    """The stability index of every own characteristic, development against hold-out sample, and of the own scores."""
    if not found.held_out:
        return Section("stability", (Block(note="There is no hold-out sample, so nothing can have moved."),))
    if found.table is None:
        return Section("stability", (Block(note=f"Left out: {found.changed}."),))
    table, trained, judged = found.table, found.trained, found.judged
    base, now = (found.model.partial_scores(table, rows) for rows in (trained, judged))
    rows = [stability_line("own part of the score", stability.score_stability(base, now))]
    unstable: dict[stability.Shift, list[str]] = {stability.Shift.LARGE: [], stability.Shift.MODERATE: []}
    for encoding in found.model.preparation.encodings:
        column = table.column(encoding.name)
        cut = encoding.merged if isinstance(encoding, BinnedColumn) else fine_bins(
            column, trained, most=STABILITY_BINS, minimum_rows=1, special=())
        before, after = (bin_codes(cut, column, sample) for sample in (trained, judged))
        index = stability.characteristic_stability(before, after, cut.count)
        rows.append(stability_line(encoding.name, index))
        if index.shift in unstable:
            unstable[index.shift].append(encoding.name)
    sheet = stability_sheet("stability", rows)
    note = (f"Population stability index, development against {found.judging_sample}"
            f"{', earlier against later customers' if found.spec.hold_out.column else ''}. Below the limit, chance "
            f"alone explains it (95 of 100 times); above, 0.1 and 0.25 are the trade's marks. {_moved_most(unstable)}")
    return Section("stability", (Block(note=note, sheet=sheet),), (sheet,))


def _moved_most(unstable: Mapping[stability.Shift, Sequence[str]]) -> str:
    """Which columns a committee has to ask about."""
    told = [f"{words}: {', '.join(unstable[shift])}" for shift, words in (
        (stability.Shift.LARGE, "Unstable, 0.25 or more"), (stability.Shift.MODERATE, "To be watched, 0.1 or more"))
        if unstable[shift]]
    return ". ".join([*told, "" if told else "No column reaches 0.1 beyond chance."]).strip()


def stability_sheet(name: str, rows: list[tuple[Cell, ...]]) -> Sheet:
    """One line per index."""
    return Sheet(name, "Stability, development against hold-out sample",
                 (Column("what"), Column("index", "figure"), Column("limit of chance", "figure"), Column("reading"),
                  Column("development", "count"), Column("hold-out", "count")), tuple(rows))


def stability_line(name: str, index: stability.Stability) -> tuple[Cell, ...]:
    """One index in one line."""
    return (name, index.value, index.limit, index.shift.value, index.base_rows, index.rows)
