"""Columns as weights of evidence: the same bins for any later row, kept to the last bit, chosen by what they say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from mpc.credit.fine_bins import LevelBins, NumericBins
from party_node.data.binned_column import BinnedColumn, bin_codes, fine_bins
from party_node.data.column_selection import inflation, select
from party_node.data.preparation import Preparation, PreparationSpec, fit
from party_node.data.sources.kinds import Kind
from party_node.data.sources.table import Column, NumericColumn, Table, TextColumn
from party_node.table_errors import DataError

NAN = float("nan")
SPEC = PreparationSpec(minimum_support=5, leverage_bound=1.0)


def numeric(name: str, values: object) -> NumericColumn:
    return NumericColumn(name, np.array(values, dtype=np.float64))


def text(name: str, values: Sequence[str | None]) -> TextColumn:
    levels = tuple(sorted({value for value in values if value is not None}))
    return TextColumn(name, np.array([-1 if v is None else levels.index(v) for v in values], np.int32), levels)


def table(*columns: Column) -> Table:
    return Table(len(columns[0].missing), {column.name: column for column in columns}, ())


def every(of: Table) -> NDArray[np.int64]:
    return np.arange(of.rows, dtype=np.int64)


AGE = BinnedColumn("age", NumericBins((30.0, 50.0), ((-1.0, 3),), 4), (0, 1, 1, 2, 0), (60, 90, 30), (30, 20, 10))
PLAN = BinnedColumn("plan", LevelBins((("a",), ("b", "c"), ()), 2, None), (0, 1, 0), (80, 20), (10, 20))


def test_a_cell_weighs_what_its_bin_weighs_and_a_cell_of_no_bin_nothing() -> None:
    data = table(numeric("age", [20, 30, 70, -1, NAN]), text("plan", ["a", "b", "c", "never seen", None]))
    low, high, special = AGE.weights
    assert AGE.values(data.column("age"), every(data)).tolist() == [low, high, high, special, low]
    known, other = PLAN.weights
    assert PLAN.values(data.column("plan"), every(data)).tolist() == [known, other, other, known, 0.0]
    assert low == pytest.approx(np.log(60 / 180) - np.log(30 / 60), abs=1e-15)
    without = replace(AGE, bins=NumericBins((30.0, 50.0), ((-1.0, 3),), None), group=(0, 1, 1, 2))
    assert without.values(data.column("age"), every(data))[4] == 0.0


def test_a_column_that_changed_its_kind_is_named() -> None:
    data = table(text("age", ["old"]), numeric("plan", [1]))
    for column in (AGE, PLAN):
        with pytest.raises(DataError, match=f"column `{column.name}` held") as caught:
            column.values(data.column(column.name), every(data))
        assert caught.value.code == "column_kind"


def test_cuts_come_from_the_training_rows_alone() -> None:
    values = np.concatenate([np.random.default_rng(1).normal(size=400), [1e6, NAN, -1e6]])
    data = table(numeric("x", values))
    train = every(data)[:400]
    bins = fine_bins(data.column("x"), train, most=10, minimum_rows=20, special=())
    codes = bin_codes(bins, data.column("x"))
    assert bins.count == 10
    assert np.bincount(codes[:400]).min() >= 20
    assert codes[400:].tolist() == [9, -1, 0]


def test_bins_are_told_in_words_to_their_owner() -> None:
    assert AGE.labels() == ["under 30; missing", "30 or more", "-1"]
    assert PLAN.labels() == ["a; all others", "b; c"]


def test_a_preparation_with_bins_survives_json_to_the_last_bit() -> None:
    draw = np.random.default_rng(2)
    data = table(numeric("age", draw.uniform(10, 90, 300)), text("plan", list(draw.choice(["a", "b", "c"], 300))))
    prepared = fit(data, every(data)[:200], SPEC, ["age", "plan", "gone"], binned=[AGE, PLAN],
                   left_out=[("gone", "says nothing")])
    again = Preparation.from_json(json.loads(json.dumps(prepared.to_json())))
    np.testing.assert_array_equal(prepared.apply(data), again.apply(data))
    assert again.to_json() == prepared.to_json()
    assert prepared.names == ("age", "plan")
    assert prepared.inputs == ("age", "plan")
    assert prepared.kinds == {"age": Kind.NUMERIC, "plan": Kind.TEXT}
    assert dict(prepared.report.dropped) == {"gone": "says nothing"}
    plain = np.column_stack([column.values(data.column(column.name), every(data)) for column in (AGE, PLAN)])
    train = plain[:200]
    np.testing.assert_allclose(prepared.apply(data), (plain - train.mean(0)) / train.std(0), rtol=0, atol=1e-12)


DAMAGE = {
    "an edge that is no number": lambda entry: entry["bins"]["edges"].__setitem__(0, "x"),
    "edges that fall": lambda entry: entry["bins"]["edges"].reverse(),
    "a group too few": lambda entry: entry["group"].pop(),
    "counts of a group that is not there": lambda entry: entry["good"].append(3),
    "no group at all": lambda entry: entry.pop("group"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_preparation_is_refused(what: str) -> None:
    data = table(numeric("age", np.random.default_rng(2).uniform(10, 90, 300)))
    kept = json.loads(json.dumps(fit(data, every(data), SPEC, ["age"], binned=[AGE]).to_json()))
    DAMAGE[what](kept["encodings"][0])
    with pytest.raises(DataError, match="cannot be read"):
        Preparation.from_json(kept)


# ---------------------------------------------------------------- selection


def columns_of(informations: Sequence[float]) -> list[BinnedColumn]:
    """Two bins each, with about these information values."""
    made = []
    for k, wanted in enumerate(informations):
        gap = min(range(0, 450), key=lambda g: abs(BinnedColumn("", NumericBins((0.0,)), (0, 1), (500 + g, 500 - g),
                                                                (500 - g, 500 + g)).information - wanted))
        made.append(BinnedColumn(f"c{k}", NumericBins((0.0,)), (0, 1), (500 + gap, 500 - gap), (500 - gap, 500 + gap)))
    return made


def test_columns_that_say_too_little_are_left_out_with_the_reason() -> None:
    one = BinnedColumn("flat", NumericBins((0.0,)), (0, 0), (900,), (100,))
    columns = [one, *columns_of([0.5, 0.01])]
    values = np.random.default_rng(3).normal(size=(100, 3))
    assert select(columns, values, minimum_information=0.02) == {
        0: "no bins are worth their information value", 2: "information value below 0.02"}
    assert select([one], values[:, :1], minimum_information=0.0) == {0: "no bins are worth their information value"}


def test_of_two_columns_that_hang_together_the_one_that_says_more_stays() -> None:
    draw = np.random.default_rng(4)
    first, third = draw.normal(size=(2, 500))
    values = np.column_stack([first + 0.1 * draw.normal(size=500), first, third, -first])
    found = select(columns_of([0.2, 0.9, 0.1, 0.05]), values, minimum_information=0.0, maximum_correlation=0.9)
    assert found == {0: "correlation above 0.9 with `c1`", 3: "correlation above 0.9 with `c1`"}
    assert select(columns_of([0.2, 0.9, 0.1, 0.05]), values, minimum_information=0.0) == {}


def test_inflation_is_one_over_what_the_other_columns_leave() -> None:
    draw = np.random.default_rng(5)
    values = draw.normal(size=(400, 4)) @ draw.normal(size=(4, 4))
    due = []
    for j in range(4):
        others = np.column_stack([np.ones(400), np.delete(values, j, axis=1)])
        rest = values[:, j] - others @ np.linalg.lstsq(others, values[:, j], rcond=None)[0]
        due.append(float(values[:, j].var() / rest.var()))
    np.testing.assert_allclose(inflation(np.corrcoef(values, rowvar=False)), due, rtol=1e-8)


def test_columns_that_follow_from_others_go_until_none_is_inflated() -> None:
    draw = np.random.default_rng(6)
    base = draw.normal(size=(300, 3))
    values = np.column_stack([base, base.sum(axis=1)])
    found = select(columns_of([0.4, 0.3, 0.2, 0.1]), values, minimum_information=0.0, maximum_inflation=5.0)
    assert len(found) == 1
    assert set(found.values()) == {"variance inflation above 5"}
    kept = [j for j in range(4) if j not in found]
    assert inflation(np.corrcoef(values[:, kept], rowvar=False)).max() <= 5
