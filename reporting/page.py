"""Pages and files of a report: one look, one way to show a sheet, one list of sections for all who write one.

What a template gets is escaped; the pages run no script and fetch nothing. Knows neither jobs nor figures.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reporting.sheets import Column, Sheet, workbook

_SHARED = Path(__file__).parent / "templates"

# (name, title): the order in which a committee reads
SECTIONS: Mapping[str, str] = {
    "purpose": "Purpose and result",
    "data": "Data",
    "population": "Population flow",
    "characteristics": "Characteristics and bins",
    "correlations": "Correlations across institutions",
    "model": "Model",
    "scorecard": "Scorecard",
    "validation": "Validation",
    "stability": "Stability",
    "segments": "Segments",
    "money": "Money",
    "challenger": "Challenger: the label holder alone, or jointly",
    "limits": "Limits",
    "ledger": "Who learned what",
    "record": "Signatures, digests, parameters",
}


@dataclass(frozen=True)
class Drawing:
    """`svg` was drawn on this machine, its texts escaped."""

    title: str
    caption: str
    svg: Markup


@dataclass(frozen=True)
class Block:
    """A piece of a section: words, a table, drawings; a table stands beside its drawings where there is room."""

    title: str = ""
    note: str = ""
    sheet: Sheet | None = None
    drawings: tuple[Drawing, ...] = ()


@dataclass(frozen=True)
class Section:
    """What one owner has to say under one of `SECTIONS`. `sheets`: the tables that are written as files too."""

    name: str
    blocks: tuple[Block, ...]
    sheets: tuple[Sheet, ...] = ()

    def html(self) -> Markup:
        """The blocks as they stand in a page; every text is escaped."""
        return Markup(environment(_SHARED).get_template("blocks.html").render(blocks=self.blocks))  # noqa: S704


@cache
def environment(templates: Path) -> Environment:
    """A program's own templates, and those that all share."""
    return Environment(
        loader=FileSystemLoader([templates, _SHARED]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def write_report(folder: Path, page: str, sheets: Sequence[Sheet], write: Callable[[Path, bytes], None]) -> None:
    """`report.html`, `tables.xlsx` and `tables/NAME.csv`, each file by `write`; earlier ones are replaced, and
    those that an earlier report made and this one does not have are removed: `tables/contents.csv` lists them."""
    tables = folder / "tables"
    for made in (folder, tables):
        made.mkdir(mode=0o700, parents=True, exist_ok=True)
    contents = Sheet("contents", "Tables of the report", (Column("table"), Column("title")),
                     tuple((sheet.name, sheet.title) for sheet in sheets))
    for name in _listed(tables / "contents.csv") - {sheet.name for sheet in sheets}:
        (tables / f"{name}.csv").unlink(missing_ok=True)
    write(tables / "contents.csv", contents.text().encode())
    write(folder / "report.html", page.encode())
    write(folder / "tables.xlsx", workbook(sheets))
    for sheet in sheets:
        write(tables / f"{sheet.name}.csv", sheet.text().encode())


def _listed(contents: Path) -> set[str]:
    """Names of the tables that an earlier report lists; nothing that could be a path."""
    if not contents.exists():
        return set()
    names = {row[0] for row in csv.reader(contents.read_text(encoding="utf-8").splitlines()) if row}
    return {name for name in names if name == Path(name).name}
