"""A party's part of a finished model as its part of a scorecard, where the job had bins. Private to this party.

The model's prepared value of a bin (standardised, clipped) times its weight becomes points; what every customer gets,
standardisation and intercept, goes into the base points. So the parts' points add up to the joint score of every row
whose leverage was not bounded; how many training rows were is told, since a card cannot do that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table as Grid

from mpc.credit.cut_offs import CutOffTable, cut_off_table
from mpc.credit.scorecard import Characteristic, Scale, ScorecardPart
from mpc.errors import LocalError
from mpc.statistics.logistic import F64
from party_node.data.binned_column import BinnedColumn
from party_node.data.preparation import Output
from party_node.models.kept_scores import FILE_NAME, KeptScores, read_scores
from party_node.models.part import ModelPart, load_part
from party_node.models.scorecard_json import ScorecardFile
from party_node.models.scorecard_pmml import to_pmml
from party_node.records.audit import AuditLog
from wire.command import console, plain
from wire.private_files import write_private
from wire.spec.job import JobSpec

MOST_CUTS = 20


@dataclass(frozen=True, repr=False)
class Card:
    """The part, what each bin of each characteristic holds in words, and how many training rows it cannot follow."""

    part: ScorecardPart
    words: tuple[tuple[str, ...], ...]
    bounded_rows: int

    def lines(self) -> Iterator[tuple[str, str, float]]:
        """(characteristic, bin, points), for its owner's eyes."""
        for entry, words in zip(self.part.characteristics, self.words, strict=True):
            yield from ((entry.name, word, points) for word, points in zip(words, entry.points, strict=True))


def scale_of(
    spec: JobSpec, base_score: float | None, base_odds: float | None, pdo: float | None, decimals: int | None
) -> Scale:
    """The scale that the parties agreed on, with what is asked for otherwise (None: as agreed)."""
    agreed = spec.scale
    return Scale(
        agreed.base_score if base_score is None else base_score,
        agreed.base_odds if base_odds is None else base_odds,
        agreed.pdo if pdo is None else pdo,
        agreed.decimals if decimals is None else decimals,
    )


def card_of(model: ModelPart, scale: Scale) -> Card:
    """The card of one party. LocalError: the model's columns entered as they are, without bins, or it has an offset."""
    if model.offset is not None:
        raise LocalError(f"this model adds the offset `{model.offset}` to log-odds, and no card of bins holds that",
                         "Score with the kept model, or launch a job without an offset.")
    prepared = model.preparation
    columns = [one for one in prepared.encodings if isinstance(one, BinnedColumn)]
    if len(columns) < len(prepared.encodings):
        raise LocalError("this model has no bins, so it makes no scorecard", "Launch a job with a [binning] table.")
    first = int(model.label_holder)
    common = 1.0 if prepared.leverage is None else prepared.leverage.common
    places = {output.source: place for place, output in enumerate(prepared.outputs)}
    base = float(model.weights[0]) if first else 0.0
    entries, words = [], []
    for column in columns:
        place = places[column.name]
        weight = common * float(model.weights[first + place])
        order = column.order
        evidence = np.append(column.weights[order], 0.0)        # the last is of a cell in no bin
        value = weight * _prepared(evidence, prepared.outputs[place], prepared.spec.clip)
        points = scale.rounded(-scale.factor * (value[:-1] - value[-1]))
        entries.append(Characteristic(column.name, column.merged, tuple(points.tolist())))
        labels = column.labels()
        words.append(tuple(labels[one] for one in order))
        base += float(value[-1])
    start = scale.offset if first else 0.0
    part = ScorecardPart(scale, float(scale.rounded(np.array([start - scale.factor * base]))[0]), tuple(entries))
    leverage = prepared.report.leverage
    return Card(part, tuple(words), leverage.shrunk_rows if leverage else 0)


def _prepared(evidence: F64, output: Output, clip: float) -> F64:
    scaled: F64 = np.clip((evidence - output.mean) / output.sd, -clip, clip)
    return scaled


def export(card: Card, job: str, party: str, path: Path) -> None:
    """Write the part as JSON or PMML, by the name's ending, 0600. LocalError: it is there, or ends otherwise."""
    forms = {
        ".json": lambda: ScorecardFile.of(card.part, job, party).text(),
        ".pmml": lambda: to_pmml(card.part, job, party),
    }
    if path.suffix not in forms:
        raise LocalError(f"{path.name} ends with neither .json nor .pmml", "Give one of the two.")
    if path.exists():
        raise LocalError(f"{path} is there already", "Give another name; nothing was written.")
    text = forms[path.suffix]()
    try:
        write_private(path, text.encode())
    except OSError:
        raise LocalError(f"{path} cannot be written", "Check the directory.") from None


def cut_offs(scores: KeptScores, scale: Scale) -> CutOffTable:
    """What cut-offs on the joint score would have approved of the hold-out sample; for the label holder's eyes."""
    points = scale.score(scores.joint)
    low, high = np.quantile(points, [0.02, 0.98])
    step = scale.pdo / 2
    while (high - low) / step > MOST_CUTS:
        step *= 2
    cuts = np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step
    return cut_off_table(scores.outcome, points, cuts if cuts.size else [low])


def show(
    models: Path, party: str, audit: AuditLog, job: str, scale: Scale, out: Path | None
) -> dict[str, Any]:  # what the command gives as JSON
    """Print the card of `job`, at the label holder the cut-offs too; write the part to `out` and note that it was."""
    model = load_part(models, job)
    card = card_of(model, scale)
    if out is not None:
        export(card, model.job, party, out)
        audit.event("scorecard", model.job, form=out.suffix)
    grid = Grid("characteristic", "bin", "points")
    for name, words, points in card.lines():
        grid.add_row(plain(name), plain(words), f"{points:g}")
    printed = console()
    printed.print(grid)
    printed.print(f"base points {card.part.base:g}")
    if card.bounded_rows:
        printed.print(f"{card.bounded_rows} rows of the development sample had their leverage bounded, "
                      "which a card does not follow")
    kept = models / model.job / FILE_NAME
    if kept.exists():
        printed.print(_grid(cut_offs(read_scores(kept), scale)))
    if out is not None:
        printed.print(f"our part is in {out}; it is private")
    return {"job": model.job, "base_points": card.part.base, "characteristics": len(card.part.characteristics),
            "bounded_rows": card.bounded_rows, "path": str(out) if out else None}


def _grid(table: CutOffTable) -> Grid:
    grid = Grid("cut-off", "approved", "bad among them", "bad declined", "good declined")
    columns = (table.cuts, table.approval_rate, table.bad_rate, table.bad_declined, table.good_declined)
    for cut, *shares in zip(*(column.tolist() for column in columns), strict=True):
        grid.add_row(f"{cut:g}", *("" if math.isnan(share) else f"{share:.1%}" for share in shares))
    return grid
