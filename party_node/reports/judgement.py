"""What the label holder alone can say of a finished model, for its own report: cut-offs, bands, segments, money.

Computed from the kept scores of the hold-out sample, for its own eyes and at full detail; what leaves its site is
made by party_node/models/released_figures.py and by nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from mpc.credit import money as worth
from mpc.credit.bands import by_segment, calibration_bands
from mpc.credit.cut_offs import CutOffTable
from mpc.credit.money import Terms
from mpc.credit.scorecard import Scale
from mpc.domains import Domain
from mpc.rng import Rng
from mpc.statistics.intervals import Interval
from party_node.data.binned_column import bin_codes, fine_bins, words
from party_node.data.sources.table import NumericColumn, Table, TextColumn
from party_node.models.finished_job import Finished, Rows
from party_node.models.kept_scores import KeptScores
from party_node.models.scorecard import cut_offs
from party_node.reports.money_at_equal_approval import APPLICANTS, Money, profit, terms_of
from reporting.comparison_table import entry, measures, number
from reporting.drawings import PLAIN, RISKIER, SAFER, Axis, Bar, Curve, bars, curves, percent
from reporting.page import Block, Drawing, Section
from reporting.sheets import Cell, Column, Sheet, interval

_FIGURE: tuple[Literal["value", "low", "high"], ...] = ("value", "low", "high")
SEGMENT_BINS = 5        # of a segment column of numbers
SEGMENT_LEVELS = 12     # a column with no more distinct numbers is one of codes


@dataclass(frozen=True)
class Asked:
    """What the analyst wants the report to show beyond the job itself."""

    scale: Scale
    terms: Terms | None = None
    exposure: float = 1.0              # lent to one customer
    segments: tuple[str, ...] = ()     # columns of the label holder's table


def asked(scale: Scale, money: tuple[float | None, float | None, float | None], segments: Sequence[str]) -> Asked:
    """What the options say; `money`: loss given default, margin, exposure. LocalError where they do not fit."""
    given = terms_of(*money)
    terms, exposure = (None, 1.0) if given is None else given
    return Asked(scale, terms, exposure, tuple(dict.fromkeys(segments)))


@dataclass(frozen=True, repr=False)
class Judgement:
    """The kept scores with the points and the cut-offs that all tables here share."""

    found: Finished
    scores: KeptScores
    asked: Asked

    @cached_property
    def cuts(self) -> CutOffTable:
        return cut_offs(self.scores, self.asked.scale)

    def sections(self) -> list[Section]:
        """Everything that can be said."""
        if self.scores.outcome.all() or not self.scores.outcome.any():
            return [Section("validation", (Block(note=f"No figure can be made: {self.found.held_back}."),))]
        said = [self._cut_offs(), self._figures(), self._validation()]
        if self.asked.segments:
            said.append(self._segments())
        if self.asked.terms is not None:
            said.append(self._money(self.asked.terms))
        return said

    def _cut_offs(self) -> Section:
        table = self.cuts
        columns = (table.cuts, table.approved, table.approval_rate, table.bad_rate, table.bad_declined,
                   table.good_declined)
        sheet = Sheet(
            "cut_offs", "What each cut-off would have approved of the hold-out sample",
            (Column("cut-off", "points"), Column("approved", "count", minor=True), Column("approval rate", "share"),
             Column("bad among them", "share"), Column("bad declined", "share"), Column("good declined", "share")),
            tuple(zip(*(column.tolist() for column in columns), strict=True)))
        drawn = curves("What each cut-off declines", Axis("cut-off, points"), Axis(words=percent), [
            Curve("bad declined", RISKIER, table.cuts.tolist(), table.bad_declined.tolist()),
            Curve("good declined", SAFER, table.cuts.tolist(), table.good_declined.tolist(), dashed=True),
        ])
        drawing = Drawing("Cut-offs", "Far apart is good: bad customers declined, good ones kept.", drawn)
        return Section("scorecard", (Block("Cut-offs", "", sheet, (drawing,)),), (sheet,))

    def _figures(self) -> Section:
        """Joint against solo as nobody else sees it, and what was held back of it."""
        rows = []
        for measure in measures(self.found.figures):
            columns = [entry(self.found.figures, *path, measure.key)
                       for path in (("models", "solo"), ("models", "joint"), ("difference",))]
            cells = [number(entry(figure, end)) for figure in columns for end in _FIGURE]
            if any(cell is not None for cell in cells):
                rows.append((measure.label, *cells))
        note = f"Released more coarsely; {self.found.held_back}." if self.found.held_back else "Released more coarsely."
        if not rows:
            return Section("validation", (Block(note=note),) if self.found.held_back else ())
        sheet = Sheet("own_figures", "Joint against solo at full precision, hold-out sample",
                      (Column("measure"), *interval("solo", "figure"), *interval("joint", "figure"),
                       *interval("difference", "weight")), tuple(rows))
        return Section("validation", (Block(note=note, sheet=sheet),), (sheet,))

    def _validation(self) -> Section:
        scale = self.asked.scale
        bands = calibration_bands(self.scores.outcome, self.scores.joint, scale.log_odds(self.cuts.cuts))
        rows: list[tuple[Cell, ...]] = []
        drawn = []
        for band in reversed(bands):       # from the riskiest up, as the points go
            low, high = (_points(scale, end) for end in (band.high, band.low))
            holds = f"under {high:g}" if low is None else f"{low:g} or more" if high is None else f"{low:g} to {high:g}"
            rows.append((holds, band.rows, band.bad, band.predicted, band.observed.value, band.observed.low,
                         band.observed.high, "yes" if band.fits else "no"))
            if band.rows:
                drawn.append(Bar(f"{high if low is None else low:g}", band.observed.value,
                                 PLAIN if band.fits else RISKIER, band.observed.low, band.observed.high))
        sheet = Sheet(
            "calibration_bands", "Calibration by band of the score, hold-out sample",
            (Column("points"), Column("customers", "count"), Column("bad", "count"), Column("predicted", "share"),
             *interval("observed", "share"), Column("in interval")), tuple(rows))
        picture = Drawing("Observed bad rate by band", "With 95 % intervals; orange: the prediction lies outside.",
                          bars("Observed bad rate by band of the score", Axis("points from"), Axis(words=percent),
                               drawn))
        return Section("validation", (Block("Calibration by band", "", sheet, (picture,)),), (sheet,))

    def _segments(self) -> Section:
        if self.found.table is None:
            return Section("segments", (Block(note=f"Left out: {self.found.changed}."),))
        rows: list[tuple[Cell, ...]] = []
        for name in self.asked.segments:
            codes, names = _segments_of(self.found.table, name, self.found)
            both = (by_segment(self.scores.outcome, scores, codes, names)
                    for scores in (self.scores.joint, self.scores.solo))
            rows += [(name, joint.name, joint.rows, joint.bad, joint.bad / joint.rows, *_ends(joint.auc),
                      *_ends(solo.auc), joint.ks) for joint, solo in zip(*both, strict=True) if joint.rows]
        sheet = Sheet(
            "segments", "The joint model within segments of the hold-out sample",
            (Column("column", runs=True), Column("segment"), Column("customers", "count"), Column("bad", "count"),
             Column("bad rate", "share"), *interval("AUC, joint", "figure"), *interval("AUC, solo", "figure"),
             Column("KS, joint", "figure")), tuple(rows))
        note = "Chosen by the analyst from the label holder's own columns. A dash: too few good or bad ones to rank."
        return Section("segments", (Block(note=note, sheet=sheet),), (sheet,))

    def _money(self, terms: Terms) -> Section:
        asked, scale = self.asked, self.asked.scale
        seed = Rng(hashlib.sha256(Domain.BOOTSTRAP.encode()).digest())
        found = worth.money_at(self.scores.outcome, self.scores.joint, scale.log_odds(self.cuts.cuts), terms, seed)
        unit = APPLICANTS * asked.exposure
        lines = [(_points(scale, one.cut), one) for one in reversed(found)]
        rows = [(cut, *_ends(one.approval_rate), *_ends(one.expected_loss, unit), *_ends(one.loss, unit),
                 *_ends(one.profit, unit)) for cut, one in lines]
        sheet = Sheet(
            "money_by_cut_off", f"Money at each cut-off, per {APPLICANTS:,} applicants",
            (Column("cut-off", "points"), *interval("approval rate", "share"), *interval("expected loss", "money"),
             *interval("loss", "money"), *interval("profit", "money")), tuple(rows))
        at = [cut for cut, _ in lines if cut is not None]
        value, low, high = ([unit * end for end in ends] for ends in zip(
            *((one.profit.value, one.profit.low, one.profit.high) for _, one in lines), strict=True))
        drawn = curves("Profit by cut-off", Axis("cut-off, points"), Axis(words=_thousands),
                       [Curve("profit", SAFER, at, value, low, high)])
        note = (f"Inputs, not estimates: a bad customer loses {terms.loss_given_default:.0%} of an exposure of "
                f"{asked.exposure:,.10g}, a good one earns {terms.margin:.1%} of it. Intervals are of the customers, "
                "not of these inputs; a cut-off chosen as the best here is flattered by the same rows.")
        blocks = [Block(note=note, sheet=sheet, drawings=(
            Drawing("Profit by cut-off", f"Per {APPLICANTS:,} applicants, with 95 % intervals.", drawn),))]
        own = (self.found.figures or {}).get("trade_off", [])
        gain = _gain([profit(line, terms, asked.exposure) for line in own])
        if gain.rows:
            blocks.append(Block("Solo against joint at equal approval", "", gain))
        return Section("money", tuple(blocks), (sheet, gain) if gain.rows else (sheet,))


def _gain(rows: Sequence[Money]) -> Sheet:
    return Sheet(
        "money_solo_joint", f"Profit per {APPLICANTS:,} applicants",
        (Column("approved", "share"), *interval("solo", "money"), *interval("joint", "money"),
         *interval("difference", "money")),
        tuple((row["approval_rate"],
               *(figure[end] for figure in (row["solo"], row["joint"], row["difference"]) for end in _FIGURE))
              for row in rows))


def _segments_of(table: Table, name: str, found: Finished) -> tuple[Rows, list[str]]:
    """The segment of each row of the hold-out sample, and the names of the segments."""
    column = table.column(name)
    if isinstance(column, NumericColumn):
        distinct = np.unique(column.values[~column.missing])
        if len(distinct) <= SEGMENT_LEVELS:
            codes = np.where(column.missing, -1, np.searchsorted(distinct, column.values)).astype(np.int32)
            column = TextColumn(name, codes, tuple(f"{value:g}" for value in distinct))
    if isinstance(column, TextColumn) and len(column.levels) <= SEGMENT_LEVELS:
        chosen = column.codes[found.judged].astype(np.int64)
        return np.where(chosen < 0, len(column.levels), chosen), [*column.levels, "missing"]
    most = SEGMENT_LEVELS if isinstance(column, TextColumn) else SEGMENT_BINS
    cut = fine_bins(column, found.trained, most=most, minimum_rows=1, special=())
    return bin_codes(cut, column, found.judged), words(cut, range(cut.count))


def _ends(found: Interval | None, unit: float = 1.0) -> tuple[Cell, Cell, Cell]:
    if found is None:
        return None, None, None
    return unit * found.value, unit * found.low, unit * found.high


def _points(scale: Scale, log_odds: float) -> float | None:
    """The score at log-odds; None at their ends, where bands are open."""
    return round(float(scale.score(np.array([log_odds]))[0]), 6) if np.isfinite(log_odds) else None


def _thousands(value: float) -> str:
    return f"{value / 1000:,.4g}k" if abs(value) >= 10_000 else f"{value:,.4g}"
