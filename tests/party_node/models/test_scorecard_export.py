"""A part of a scorecard as JSON and PMML scores as the part itself does; both files keep their form."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.credit.fine_bins import LevelBins, NumericBins
from mpc.credit.scorecard import Characteristic, Scale, ScorecardPart, reasons
from mpc.errors import LocalError
from party_node.data.sources.table import NumericColumn, Table, TextColumn, read_table
from party_node.models.scorecard_json import ScorecardFile, points_of
from party_node.models.scorecard_pmml import to_pmml
from party_node.table_errors import DataError
from scripts.generate_schemas import SCHEMAS, text
from tests.party_node.models.pmml_interpreter import evaluate, problems

ROOT = Path(__file__).resolve().parents[3]
JOB = "5f" * 32
LEVELS = ["owns", "rents", "with parents", 'says "no"', "<b> & co", "日本", "C:\\dir x", "new since"]
finite = st.floats(-1e12, 1e12)


@st.composite
def numeric(draw, name):
    edges = tuple(sorted(draw(st.sets(st.one_of(finite, st.integers(-3, 3).map(float)), max_size=6))))
    regular = len(edges) + 1
    special = draw(st.lists(st.sampled_from([-999.0, 0.0, 1.5]), unique=True, max_size=2))
    homes = [draw(st.integers(0, regular)) for _ in special]
    if len([home for home in homes if home == regular]) == 2:
        homes = [regular, regular + 1]
    apart = len({home for home in homes if home >= regular})
    missing = draw(st.one_of(st.none(), st.integers(0, regular + apart)))
    bins = NumericBins(edges, tuple(zip(special, homes, strict=True)), missing)
    return Characteristic(name, bins, tuple(draw(st.lists(finite, min_size=bins.count, max_size=bins.count))))


@st.composite
def levels(draw, name):
    known = draw(st.permutations(LEVELS[:-1]))
    cuts = sorted(draw(st.sets(st.integers(1, 6), max_size=3)))
    groups = tuple(tuple(known[a:b]) for a, b in zip([0, *cuts], [*cuts, 7], strict=True))
    if draw(st.booleans()):
        groups = (*groups[:-1], ())
        other = len(groups) - 1
    else:
        other = draw(st.one_of(st.none(), st.integers(0, len(groups))))
    apart = other == len(groups)
    missing = draw(st.one_of(st.none(), st.integers(0, len(groups) + apart)))
    bins = LevelBins(groups, other, missing)
    return Characteristic(name, bins, tuple(draw(st.lists(finite, min_size=bins.count, max_size=bins.count))))


@st.composite
def parts(draw):
    kinds = draw(st.lists(st.sampled_from([numeric, levels]), min_size=1, max_size=4))
    entries = tuple(draw(kind(f"column <{k}> & more")) for k, kind in enumerate(kinds))
    return ScorecardPart(Scale(decimals=draw(st.sampled_from([None, 0, 2]))), draw(finite), entries)


def table_for(part, seed, rows=25):
    """Random rows; numeric cells fall on edges, beside them, on special values and nowhere."""
    rng = np.random.default_rng(seed)
    columns = {}
    for entry in part.characteristics:
        if isinstance(entry.bins, NumericBins):
            at = [value for edge in entry.bins.edges for value in (edge, np.nextafter(edge, -np.inf), edge + 1)]
            pool = [math.nan, -999.0, 0.0, -0.0, 1.5, 7.0, -1e13, 1e13, *at]
            columns[entry.name] = NumericColumn(entry.name, rng.choice(pool, rows))
        else:
            columns[entry.name] = TextColumn(entry.name, rng.integers(-1, 8, rows).astype(np.int32), tuple(LEVELS))
    return Table(rows, columns, ())


def records(table):
    """The rows as an engine gets them: numbers, texts, None for missing."""
    for row in range(table.rows):
        yield {
            name: (None if column.missing[row] else float(column.values[row]))
            if isinstance(column, NumericColumn)
            else (None if column.codes[row] < 0 else column.levels[column.codes[row]])
            for name, column in table.columns.items()
        }


def by_hand(file, record):
    """Scores one record from the JSON by its documentation alone."""
    total = file["base_points"]
    for entry in file["characteristics"]:
        cell = record[entry["name"]]
        if cell is None:
            place = entry["missing"]
        elif entry["kind"] == "numeric":
            special = [one["bin"] for one in entry["special"] if one["value"] == cell]
            place = special[0] if special else sum(edge <= cell for edge in entry["edges"])
        else:
            named = [k for k, group in enumerate(entry["groups"]) if cell in group]
            place = named[0] if named else entry["other"]
        total += 0.0 if place is None else entry["points"][place]
    return total


@settings(max_examples=60, deadline=None)
@given(parts(), st.integers(0, 10**6))
def test_json_and_pmml_score_every_row_as_the_part_does(part, seed):
    table = table_for(part, seed)
    points = points_of(part, table)
    totals, falls = part.total(points), part.shortfalls(points)
    file = ScorecardFile.of(part, JOB, "bank-a")
    back = ScorecardFile.parse(file.text()).part()
    np.testing.assert_array_equal(back.total(points_of(back, table)), totals)
    pmml = to_pmml(part, JOB, "bank-a")
    assert problems(pmml) == []
    chosen = reasons(falls, 4)
    for row, record in enumerate(records(table)):
        within = 1e-9 * max(1.0, np.abs(points[row]).max(), abs(part.base))  # points are below 1e3 on real cards
        assert by_hand(json.loads(file.text()), record) == pytest.approx(totals[row], abs=within, rel=0)
        predicted, codes = evaluate(pmml, record)
        assert predicted == pytest.approx(totals[row], abs=within, rel=0)
        assert codes == [part.characteristics[k].name for k in chosen[row] if k >= 0]


PART = ScorecardPart(
    Scale(), 512.0,
    (
        Characteristic("income", NumericBins((1000.0, 2500.5), ((-1.0, 3),), 4), (-21.0, -2.0, 14.0, -6.0, -9.0)),
        Characteristic("housing", LevelBins((("owns", "mortgage"), ("rents",), ()), 2), (11.0, -8.0, -1.0)),
    ),
)


def test_the_sample_in_the_documents_is_what_is_written():
    assert (ROOT / "docs" / "samples" / "scorecard-part.json").read_text() == ScorecardFile.of(PART, JOB, "bank").text()
    assert (ROOT / "docs" / "samples" / "scorecard-part.pmml").read_text() == to_pmml(PART, JOB, "bank")


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schema_in_the_documents_is_that_of_the_code(name):
    assert (ROOT / "docs" / "schemas" / name).read_text() == text(name), "run: python scripts/generate_schemas.py"


def test_a_table_of_csv_is_scored_by_the_kept_kinds(tmp_path):
    (tmp_path / "new.csv").write_text("housing,income\nowns,-1\n,\nboat,2500.5\nrents,999.9\n")
    file = ScorecardFile.of(PART, JOB, "bank")
    table = read_table(tmp_path / "new.csv", columns=list(file.kinds), kinds=file.kinds)
    points = points_of(file.part(), table)
    assert points.tolist() == [[-6.0, 11.0], [-9.0, 0.0], [14.0, -1.0], [-21.0, -8.0]]


def test_a_column_of_another_kind_is_named(tmp_path):
    (tmp_path / "new.csv").write_text("housing,income\n1,2\n")
    with pytest.raises(DataError, match="`housing` held categories"):
        points_of(PART, read_table(tmp_path / "new.csv"))
    (tmp_path / "new.csv").write_text("income\n1\n")
    with pytest.raises(DataError, match="no column `housing`"):
        points_of(PART, read_table(tmp_path / "new.csv"))


def spoil(**change):
    return json.dumps(json.loads(ScorecardFile.of(PART, JOB, "bank").text()) | change)


SPOILT = {
    "no JSON": "{",
    "another format": spoil(format="card"),
    "another version": spoil(version=2),
    "an unknown field": spoil(more=1),
    "no points": spoil(characteristics=[{"kind": "numeric", "name": "x", "edges": [], "special": [], "missing": None}]),
    "points that do not fit": spoil(characteristics=[
        {"kind": "numeric", "name": "x", "edges": [1.0], "special": [], "missing": None, "points": [1.0]}]),
    "edges that fall": spoil(characteristics=[
        {"kind": "numeric", "name": "x", "edges": [2.0, 1.0], "special": [], "missing": None, "points": [1.0] * 3}]),
    "a bin that is not there": spoil(characteristics=[
        {"kind": "numeric", "name": "x", "edges": [], "special": [], "missing": 7, "points": [1.0]}]),
    "an endless number": spoil(base_points=1e999),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_file_that_is_none_is_refused_without_quoting_it(name):
    with pytest.raises(LocalError) as caught:
        ScorecardFile.parse(SPOILT[name])
    assert "2500.5" not in str(caught.value)
    assert "mortgage" not in str(caught.value)


def test_a_part_without_characteristics_has_no_pmml_but_json():
    part = ScorecardPart(Scale(), 512.0, ())
    with pytest.raises(LocalError, match="without characteristics"):
        to_pmml(part, JOB, "bank")
    assert ScorecardFile.parse(ScorecardFile.of(part, JOB, "bank").text()).part().base == 512.0


@pytest.mark.parametrize("level", ["a\nb", "a\tb", "a\x00", "ends\\", 'a\\"b', "\ud800"])
def test_what_xml_cannot_hold_is_refused(level):
    part = ScorecardPart(Scale(), 0.0, (Characteristic("housing", LevelBins(((level,),)), (1.0,)),))
    with pytest.raises(LocalError, match="PMML cannot hold"):
        to_pmml(part, JOB, "bank")


PLANTED = {
    "an attribute of Attribute": (r'partialScore="-8.0"', 'points="-8.0"'),
    "a number that is none": (r'partialScore="-8.0"', 'partialScore="many"'),
    "a field that nobody declared": (r'field="income" operator="isMissing"', 'field="age" operator="isMissing"'),
    "an operator that is none": (r'operator="lessThan"', 'operator="below"'),
    "a comparison with nothing": (r'operator="equal" value="-1.0"', 'operator="equal"'),
    "an array that is shorter than it says": (r'n="2"', 'n="3"'),
    "characteristics before the schema": (r"<MiningSchema>(.|\n)*</MiningSchema>", ""),
    "another namespace": (r"PMML-4_4", "PMML-4_2"),
    "a characteristic without a reason": (r' reasonCode="income"', ""),
    "an attribute without a predicate": (r"<True />", ""),
}


@pytest.mark.parametrize("name", PLANTED)
def test_the_structural_check_sees_what_is_wrong(name):
    good = to_pmml(PART, JOB, "bank")
    assert problems(good) == []
    bad = re.sub(*PLANTED[name], good)
    assert bad != good
    assert problems(bad) != []
