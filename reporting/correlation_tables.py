"""Correlations across institutions as a section of a report: pairs, matrices, inflation, and columns left out for them.

Takes what a job showed as decoded JSON, from this site or a foreign one: whatever is missing or of another kind becomes
a dash or nothing, never an error. Knows neither rows nor how the figures were made.
"""

from __future__ import annotations

from reporting.comparison_table import Json, entry, items, number, text
from reporting.page import Block, Section
from reporting.sheets import Cell, Column, Sheet

MOST_ACROSS, MOST_DOWN = 12, 60   # columns of a matrix that a page still shows; its file has them all
_TWO = (Column("institution"), Column("column"), Column("other institution"), Column("its column"))


def section(found: Json, own: str | None = None) -> Section | None:
    """What the job showed; of `own`, what its columns are in. None where nothing was shown."""
    if text(entry(found, "show")) is None:
        return None
    tables = [_pairs(found, own), _inflation(found, own), _dropped(found, own), _long(found, own)]
    blocks = [Block(note=_note(found)), *(Block(sheet=sheet) for sheet in tables[:3] if sheet.rows)]
    blocks += _matrices(found, own)
    return Section("correlations", tuple(blocks), tuple(sheet for sheet in tables if sheet.rows))


def sheets(found: Json) -> list[Sheet]:
    """The tables alone."""
    made = section(found)
    return list(made.sheets) if made is not None else []


def _note(found: Json) -> str:
    rows, step, least = (number(entry(found, key)) for key in ("rows", "step", "threshold"))
    show, to = text(entry(found, "show")), (text(entry(found, "to")) or "").replace("_", " ")
    said = "Columns as they entered the model (with bins, their weights of evidence)"
    if rows is not None and step is not None:
        said += f", on {rows:,.0f} rows of the development sample, rounded to steps of {step:.2g}"
    what = {"pairs": f"pairs of {least:g} or more" if least is not None else "pairs",
            "matrix": "every pair", "inflation": "how much of its columns another institution's explain"}
    said += f". Shown to {to or 'all'}: {what.get(show or '', 'nothing')}; found on shares, without showing rows."
    if show != "inflation" and not items(entry(found, "pairs")):
        said += " No pair of columns of different institutions reaches the threshold."
    return said


def _pairs(found: Json, own: str | None) -> Sheet:
    rows: list[tuple[Cell, ...]] = []
    for pair in items(entry(found, "pairs")):
        parties, columns = (_both(entry(pair, key)) for key in ("parties", "columns"))
        if own in (None, *parties):
            rows.append((parties[0], columns[0], parties[1], columns[1], number(entry(pair, "r"))))
    return Sheet("correlation_pairs", "Columns of different institutions that go together, strongest first",
                 (*_TWO, Column("correlation", "weight")), tuple(rows))


def _inflation(found: Json, own: str | None) -> Sheet:
    rows = [(text(entry(one, "party")), text(entry(one, "column")), text(entry(one, "with")),
             *(number(entry(one, key)) for key in ("alone", "together", "explained")))
            for one in items(entry(found, "inflation")) if own in (None, entry(one, "party"))]
    return Sheet("correlation_inflation", "Variance inflation of each column: beside its owner's others, and beside "
                 "those of another institution too",
                 (Column("institution", runs=True), Column("column"), Column("beside"), Column("alone", "ratio"),
                  Column("together", "ratio"), Column("explained by the other's", "share")), tuple(rows))


def _dropped(found: Json, own: str | None) -> Sheet:
    rows = [(text(entry(one, "party")), text(entry(one, "column")), *_both(entry(one, "with")))
            for one in items(entry(found, "dropped")) if own in (None, entry(one, "party"))]
    return Sheet("correlation_dropped", "Left out: columns that go with one that an earlier institution keeps",
                 _TWO, tuple(rows))


def _long(found: Json, own: str | None) -> Sheet:
    """Every entry of the matrices, a line each."""
    rows = [(parties[0], across, parties[1], down, value)
            for parties, names, values in _blocks(found, own)
            for across, line in zip(names[0], values, strict=False)
            for down, value in zip(names[1], line, strict=False)]
    return Sheet("correlations", "Correlations of columns of different institutions",
                 (*_TWO, Column("correlation", "weight")), tuple(rows))


def _matrices(found: Json, own: str | None) -> list[Block]:
    made = []
    for (first, second), (down, across), values in _blocks(found, own):
        title = f"{first} (down) and {second} (across)"
        if len(across) > MOST_ACROSS or len(down) > MOST_DOWN:
            made.append(Block(note=f"{title}: {len(down)} times {len(across)} columns, in the file of correlations."))
            continue
        columns = (Column("column"), *(Column(name or "–", "weight") for name in across))
        rows = tuple((name, *line, *[None] * (len(across) - len(line)))
                     for name, line in zip(down, values, strict=False))
        made.append(Block(sheet=Sheet("matrix", f"Correlations of columns: {title}", columns, rows)))
    return made


def _blocks(
    found: Json, own: str | None
) -> list[tuple[tuple[str | None, str | None], tuple[list[str | None], list[str | None]], list[list[float | None]]]]:
    """Of each two institutions their names, their columns, and a line of correlations for each of the first's."""
    made = []
    for block in items(entry(found, "matrices")):
        parties, columns = _both(entry(block, "parties")), items(entry(block, "columns"))
        if own not in (None, *parties) or len(columns) != 2:
            continue
        down, across = ([text(name) for name in items(names)] for names in columns)
        values = [[number(value) for value in items(line)][: len(across)] for line in items(entry(block, "r"))]
        made.append((parties, (down, across), values))
    return made


def _both(value: Json) -> tuple[str | None, str | None]:
    """Two texts of a list of two."""
    found = [text(one) for one in items(value)][:2]
    return (found[0], found[1]) if len(found) == 2 else (None, None)
