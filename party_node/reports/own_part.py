"""One institution's own part of the report, made from what it kept of a finished job: a page, and tables as files.

It holds the party's own columns, bins and weights, at the label holder figures at full detail too: it stays at the
party's own site, and nothing of another party is in it. The same files and options give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup

from mpc.errors import LocalError
from party_node.data.period import read_period
from party_node.data.sources.table import TextColumn
from party_node.models.finished_job import Finished, Rows
from party_node.reports import characteristics
from party_node.reports.judgement import Asked, Judgement
from reporting import correlation_tables
from reporting.page import SECTIONS, Block, Section, environment, write_report
from reporting.sheets import Cell, Column, Sheet
from wire.private_files import write_private

FLOW = ("read", "blank", "refused", "duplicate", "unmatched", "matched")
FOLDER = "report"   # in the model's directory, unless the analyst names another


@dataclass(frozen=True, repr=False)
class OwnPart:
    """What one party has to say about one job."""

    found: Finished
    sections: tuple[Section, ...]

    def fragments(self) -> dict[str, Markup]:
        """The HTML under each section's name, for a page of one's own or a local run that owns all directories."""
        found: dict[str, Markup] = {}
        for section in self.sections:
            found[section.name] = found.get(section.name, Markup()) + section.html()
        return found

    def sheets(self) -> list[Sheet]:
        """Every table, as files have it."""
        return [sheet for section in self.sections for sheet in section.sheets]

    def page(self) -> str:
        """The whole page, readable without a network."""
        fragments, found = self.fragments(), self.found
        return environment(Path(__file__).parent / "templates").get_template("party_page.html").render(
            party=found.party, role=found.spec.party(found.party).role.replace("_", " "), job_id=found.model.job,
            purpose=found.spec.purpose,
            sections=[(name, title, fragments[name]) for name, title in SECTIONS.items() if name in fragments],
        )


def own_part(found: Finished, asked: Asked) -> OwnPart:
    """Everything that this party can say. LocalError: the analyst asks a feature holder for what needs the label."""
    if found.scores is None and (asked.segments or asked.terms is not None):
        raise LocalError("segments and money need the outcomes, which the label holder has",
                         "leave out --segment, --lgd, --margin and --exposure")
    said = [
        _data(found), _population(found), characteristics.characteristics(found), characteristics.weights(found),
        characteristics.points(found, asked.scale), characteristics.moved(found), _learned(found), _record(found),
    ]
    correlations = correlation_tables.section(found.public.correlations, found.party)
    said += [correlations] if correlations is not None else []
    if found.scores is not None:
        said += Judgement(found, found.scores, asked).sections()
    return OwnPart(found, tuple(said))


def write(folder: Path, part: OwnPart) -> None:
    """Write page and tables, readable by their owner only."""
    write_report(folder, part.page(), part.sheets(), write_private)


def _data(found: Finished) -> Section:
    """The columns that the job named, and at the label holder the outcomes."""
    if found.table is None:
        return Section("data", (Block(note=f"Left out: {found.changed}."),))
    used = set(found.model.preparation.inputs)
    profile = [one for one in found.table.profile() if one.name in used]
    columns = Sheet(
        "columns", "Own columns in the model", (Column("column"), Column("kind"), Column("missing", "share"),
                                                Column("levels", "count")),
        tuple((one.name, one.kind.value, one.missing_rate, one.levels) for one in profile))
    blocks, files = [Block(sheet=columns)], [columns]
    outcome = found.outcome()
    if outcome is not None:
        samples = {"development sample": found.trained} | (
            {found.judging_sample: found.judged} if found.held_out else {})
        counted = {name: (len(rows), int(outcome[rows].sum())) for name, rows in samples.items()}
        sample = Sheet("outcomes", "Outcomes of the customers in common",
                       (Column("sample"), Column("customers", "count"), Column("bad", "count"),
                        Column("bad rate", "share")),
                       tuple((name, rows, bad, bad / rows) for name, (rows, bad) in counted.items()))
        periods = _periods(found, samples)
        blocks[:0] = [Block(sheet=sample), *(Block(sheet=one) for one in periods)]
        files[:0] = [sample, *periods]
    return Section("data", tuple(blocks), tuple(files))


def _periods(found: Finished, samples: Mapping[str, Rows]) -> list[Sheet]:
    """From when to when the samples reach, where a period split them."""
    rules = found.spec.hold_out
    if rules.column is None or found.table is None:
        return []
    cells = found.table.column(rules.column)
    assert isinstance(cells, TextColumn)
    starts = read_period(found.table, rules.column, rules.since).starts
    rows = []
    for name, members in samples.items():
        order = members[np.argsort(starts[members], kind="stable")]
        rows.append((name, len(members), *(cells.levels[cells.codes[row]] for row in (order[0], order[-1]))))
    title = f"Periods of the development and the out-of-time sample, by {rules.column}"
    return [Sheet("periods", title, (Column("sample"), Column("customers", "count"), Column("first"), Column("last")),
                  tuple(rows))]


def _population(found: Finished) -> Section:
    public = found.public
    rows: list[tuple[Cell, ...]] = [(name, public.rows[name]) for name in FLOW if name in public.rows]
    rows += [("in common", public.common), ("development sample", public.train_rows)]
    if found.held_out:
        rows.append((found.judging_sample, public.test_rows))
    sheet = Sheet("population", "Own rows: what was read is the sum of the five that follow",
                  (Column("rows"), Column("number", "count")), tuple(rows))
    return Section("population", (Block(sheet=sheet),), (sheet,))


def _learned(found: Finished) -> Section:
    lines = sorted(found.public.ledger, key=lambda line: (line.kind == "masked", line.code))
    sheet = Sheet("ledger", "What was opened here",
                  (Column("code"), Column("kind"), Column("seen by"), Column("what"), Column("values", "count")),
                  tuple((line.code, line.kind, line.to.replace("_", " "), line.what, line.count) for line in lines))
    return Section("ledger", (Block(sheet=sheet),), (sheet,))


def _record(found: Finished) -> Section:
    mine = found.spec.party(found.party)
    rows: Mapping[str, str] = {
        "job": found.model.job, "dataset": mine.dataset, "table, SHA-256": mine.dataset_digest,
        "identity key": mine.identity, "audit head": found.public.audit_head,
    }
    sheet = Sheet("digests", "Digests", (Column("what"), Column("value")), tuple(rows.items()))
    note = ("Every number here is made again from the kept files by: "
            f"party-node --dir DIRECTORY report {found.model.job[:12]} (with the options that were given).")
    return Section("record", (Block(note=note, sheet=sheet),), (sheet,))


def named_for(party: str, sheets: Sequence[Sheet]) -> list[Sheet]:
    """The sheets under names that say whose they are, for a local run that puts all parties' side by side."""
    return [Sheet(f"{party}_{one.name}", f"{party}: {one.title}", one.columns, one.rows) for one in sheets]
