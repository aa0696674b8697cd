"""Preparation: fitted on training rows alone, the same to the last bit when applied again, and safe at the edges."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from party_node.data.encoding import Missing
from party_node.data.preparation import Preparation, PreparationSpec, fit
from party_node.data.sources.kinds import Kind
from party_node.data.sources.table import Column, NumericColumn, Table, TextColumn, read_table
from party_node.table_errors import DataError

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
NAN = float("nan")


def numeric(name: str, values: object) -> NumericColumn:
    return NumericColumn(name, np.array(values, dtype=np.float64))


def text(name: str, values: Sequence[str | None]) -> TextColumn:
    levels = tuple(sorted({value for value in values if value is not None}))
    codes = [-1 if value is None else levels.index(value) for value in values]
    return TextColumn(name, np.array(codes, dtype=np.int32), levels)


def table(*columns: Column) -> Table:
    return Table(len(columns[0].missing), {column.name: column for column in columns}, ())


def every(of: Table) -> NDArray[np.int64]:
    return np.arange(of.rows, dtype=np.int64)


def dropped(preparation: Preparation) -> dict[str, str]:
    return dict(preparation.report.dropped)


def normal(rows: int, seed: int = 1) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=rows)


SPEC = PreparationSpec(minimum_support=5)
UNBOUND = PreparationSpec(minimum_support=5, leverage_bound=1.0)


def test_columns_are_standardised_by_training_rows_and_clipped_without_standardising_again() -> None:
    values = np.concatenate([normal(500), [200.0], [3.0]])
    data = table(numeric("x", values))
    preparation = fit(data, every(data)[:501], UNBOUND)
    train = values[:501]
    expected = np.clip((values - train.mean()) / train.std(), -5, 5)
    np.testing.assert_allclose(preparation.apply(data)[:, 0], expected, rtol=0, atol=1e-12)
    assert preparation.apply(data)[500, 0] == 5.0
    assert preparation.report.clipped_cells == 1
    assert preparation.report.rows == 501


def test_rows_outside_the_training_set_change_nothing_of_the_fit() -> None:
    values = normal(200)
    one = table(numeric("x", np.append(values, [1e6, NAN])), text("c", [*["a", "b"] * 100, "new", None]))
    other = table(numeric("x", np.append(values, [0.0, 0.0])), text("c", ["a", "b"] * 101))
    rows = every(one)[:200]
    first, second = fit(one, rows, SPEC), fit(other, rows, SPEC)
    assert first.to_json() == second.to_json()


def test_a_missing_number_is_the_mean_with_an_indicator_where_enough_are_missing() -> None:
    values = normal(100)
    often, rarely = values.copy(), values[::-1].copy()
    often[:10] = NAN
    rarely[:4] = NAN
    data = table(numeric("often", often), numeric("rarely", rarely))
    preparation = fit(data, every(data), UNBOUND)
    assert preparation.names == ("often", "often__missing", "rarely")
    block = preparation.apply(data)
    np.testing.assert_allclose(block[:10, 0], 0, atol=1e-12)
    assert len(set(block[:10, 1])) == 1
    assert block[0, 1] > 0 > block[50, 1]
    np.testing.assert_allclose(block[:4, 2], 0, atol=1e-12)


def test_a_missing_number_is_the_constant_of_the_spec_where_the_spec_says_so() -> None:
    values = normal(100)
    values[:10] = NAN
    data = table(numeric("x", values))
    preparation = fit(data, every(data), PreparationSpec(missing=Missing.CONSTANT, constant=2.0))
    filled = np.where(np.isnan(values), 2.0, values)
    np.testing.assert_allclose(preparation.apply(data)[:, 0], (filled - filled.mean()) / filled.std())
    assert preparation.names == ("x",)


def test_rare_levels_are_merged_and_unseen_ones_join_them() -> None:
    values: list[str | None] = ["a"] * 30 + ["b"] * 30 + [f"r{i}" for i in range(6)] + [None] * 2
    data = table(text("c", values), numeric("x", normal(68)))
    preparation = fit(data, every(data), SPEC)
    assert preparation.names == ("c=a", "c=b", "c=__other__", "x")
    assert preparation.report.merged == {"c": 6}
    later = table(text("c", ["a", "never seen", None, "r0"]), numeric("x", [0.0] * 4))
    block = preparation.apply(later)
    assert block[0, 0] > 0 > block[0, 2]
    for row in (1, 2, 3):
        assert block[row, 2] > 0 > max(block[row, 0], block[row, 1])


def test_merged_levels_that_are_still_too_rare_have_no_column_and_read_as_zeros() -> None:
    values = ["a"] * 30 + ["b"] * 30 + ["r1", "r2"]
    data = table(text("c", values), text("d", ["u", "v"] * 31))
    preparation = fit(data, every(data), SPEC)
    # a and b are opposites in all but two rows: those two rows would show in the sum of the two weights.
    assert preparation.names == ("c=a", "d=u", "d=v")
    assert "c=b" in dropped(preparation)
    rare = preparation.apply(table(text("c", ["r1", "b", "new"]), text("d", ["u"] * 3)))
    assert rare[0].tolist() == rare[1].tolist() == rare[2].tolist()


def test_a_missing_category_is_a_level_of_its_own_where_common() -> None:
    values: list[str | None] = ["a"] * 30 + ["b"] * 20 + [None] * 10
    data = table(text("c", values))
    preparation = fit(data, every(data), SPEC)
    assert preparation.names == ("c=a", "c=b", "c__missing")
    assert preparation.apply(data)[59, 2] > 0


def test_only_the_commonest_levels_get_a_column() -> None:
    values = [f"l{i:02d}" for i in range(20) for _ in range(10 + i)]
    data = table(text("c", values))
    preparation = fit(data, every(data), PreparationSpec(minimum_support=5, most_levels=3))
    assert preparation.names == ("c=l17", "c=l18", "c=l19", "c=__other__")
    assert preparation.report.merged == {"c": 17}


def test_columns_that_tell_nothing_or_single_out_a_few_rows_are_dropped_and_named() -> None:
    x = normal(100)
    nearly = x.copy()
    nearly[7] += 1.0
    few = np.zeros(100)
    few[:4] = 1.0
    flags = (x > 0).astype(float)
    one_off = 1.0 - flags
    one_off[3] = 1.0 - one_off[3]
    data = table(
        numeric("x", x),
        numeric("constant", [7.0] * 100),
        numeric("absent", [NAN] * 100),
        numeric("nearly x", nearly),
        numeric("x in cents", 100 * x),
        numeric("few", few),
        numeric("flag", flags),
        numeric("almost the opposite flag", one_off),
        numeric("the opposite flag", 1.0 - flags),
        text("free text", [f"row {i}" for i in range(100)]),
        text("one level", ["same"] * 100),
        text("no text", [None] * 100),
        text("two free", [f"row {i // 4}" for i in range(100)]),
    )
    preparation = fit(data, every(data), SPEC)
    reasons = dropped(preparation)
    assert preparation.names == ("x", "flag", "the opposite flag")
    assert reasons["constant"] == "constant"
    assert reasons["absent"] == reasons["no text"] == "all values are missing"
    assert "`x`" in reasons["nearly x"]
    assert "`x`" in reasons["x in cents"]
    assert "but fewer than 5 customers" in reasons["few"]
    assert "`flag`" in reasons["almost the opposite flag"]
    assert reasons["free text=__other__"] == "constant"
    assert reasons["one level=same"] == "constant"
    assert preparation.inputs == ("x", "flag", "the opposite flag")
    assert preparation.report.columns_in == data.names


def test_applying_to_some_rows_equals_the_same_rows_of_applying_to_all_to_the_last_bit() -> None:
    rng = np.random.default_rng(3)
    data = table(*(numeric(f"x{j}", rng.standard_t(2, 9000)) for j in range(12)))
    preparation = fit(data, every(data)[:300], PreparationSpec(leverage_bound=0.05))
    assert preparation.report.leverage is not None
    assert preparation.report.leverage.shrunk_rows > 0
    whole = preparation.apply(data)
    for rows in ([8999], [5, 4, 3], list(range(17, 8500, 3))):
        some = preparation.apply(data, np.array(rows, dtype=np.int64))
        assert np.array_equal(some, whole[rows])


def test_a_block_with_too_many_columns_for_its_rows_carries_a_warning() -> None:
    rng = np.random.default_rng(4)
    data = table(*(numeric(f"x{j}", rng.normal(size=60)) for j in range(8)))
    crowded, roomy = fit(data, every(data), PreparationSpec()), fit(data, every(data), PreparationSpec(), ["x0"])
    assert "of 60 rows of the development sample" in (crowded.report.warning or "")
    assert roomy.report.warning is None


cells = st.one_of(st.none(), st.sampled_from(["a", "b", "c", "dd", "__other__", "é"]))
reals = st.one_of(st.just(NAN), st.floats(-1e90, 1e90), st.integers(-3, 3).map(float))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_table_fits_or_is_refused_and_survives_json_bit_for_bit(data: st.DataObject) -> None:
    rows = data.draw(st.integers(2, 30))
    made = table(
        text("c", data.draw(st.lists(cells, min_size=rows, max_size=rows))),
        text("c=a", data.draw(st.lists(cells, min_size=rows, max_size=rows))),
        numeric("x", data.draw(st.lists(reals, min_size=rows, max_size=rows))),
        numeric("y", data.draw(st.lists(reals, min_size=rows, max_size=rows))),
    )
    train = np.array(data.draw(st.lists(st.integers(0, rows - 1), min_size=2, unique=True)), dtype=np.int64)
    spec = PreparationSpec(
        minimum_support=data.draw(st.integers(1, 4)),
        missing=data.draw(st.sampled_from(Missing)),
        penalty=data.draw(st.sampled_from([1e-4, 1e-1])),
    )
    try:
        preparation = fit(made, train, spec)
    except DataError as error:
        code = error.code
        assert code in ("too_few_rows", "no_columns")
        return
    block = preparation.apply(made)
    assert block.shape == (rows, len(preparation.names))
    assert np.abs(block).max() <= spec.clip
    assert len(set(preparation.names)) == len(preparation.names)
    again = Preparation.from_json(json.loads(json.dumps(preparation.to_json(), allow_nan=False)))
    assert np.array_equal(again.apply(made), block)
    assert again.to_json() == preparation.to_json()
    assert np.array_equal(fit(made, train, spec).apply(made), block)
    assert again.kinds.keys() == set(again.inputs)


def test_a_row_is_high_in_the_column_of_its_own_level_and_in_no_other() -> None:
    values: list[str | None] = ["a", "b", "c", None, "rare"] * 20 + ["rarer", "rarest"] * 2
    data = table(text("c", values))
    preparation = fit(data, every(data), SPEC)
    assert preparation.names == ("c=a", "c=b", "c=c", "c=rare", "c__missing")
    high = preparation.apply(data) > 0
    column = {"a": 0, "b": 1, "c": 2, "rare": 3, None: 4}
    for row, value in enumerate(values):
        assert np.flatnonzero(high[row]).tolist() == ([column[value]] if value in column else [])


REFUSALS = {
    "three rows": (table(numeric("x", [1.0, 2.0, 3.0])), PreparationSpec(), "too_few_rows",
                   "3 rows in the development sample"),
    "nothing but constants": (
        table(numeric("k", [1.0] * 30), text("t", ["CANARY-LEVEL"] * 30), numeric("m", [NAN] * 30)),
        PreparationSpec(),
        "no_columns",
        "`k` (constant), `t` (constant), `m` (all values are missing)",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_block_that_cannot_be_trained_on_is_refused_for(case: str) -> None:
    data, spec, code, words = REFUSALS[case]
    with pytest.raises(DataError) as caught:
        fit(data, every(data), spec)
    assert caught.value.code == code
    assert words in str(caught.value)
    assert "CANARY" not in str(caught.value)


def test_the_label_holder_may_go_on_without_columns() -> None:
    data = table(numeric("k", [1.0] * 30))
    preparation = fit(data, every(data), PreparationSpec(), may_be_empty=True)
    assert preparation.apply(data).shape == (30, 0)
    assert Preparation.from_json(json.loads(json.dumps(preparation.to_json()))).apply(data).shape == (30, 0)


def test_a_missing_feature_is_named_with_the_nearest() -> None:
    data = table(numeric("income", normal(30)))
    with pytest.raises(DataError, match="did you mean `income`"):
        fit(data, every(data), PreparationSpec(), ["incme"])


def test_a_later_table_of_another_kind_is_refused_and_the_kept_kinds_mend_it(tmp_path: Path) -> None:
    lines = "".join(f"{i},{'AB'[i % 2]},{i % 7}.5\n" for i in range(60))
    (tmp_path / "train.csv").write_text("id,grade,x\n" + lines)
    (tmp_path / "later.csv").write_text("id,grade,x\n1,1,2\n2,2,3\n")
    data = read_table(tmp_path / "train.csv", leave_out=["id"])
    preparation = fit(data, every(data), PreparationSpec())
    assert preparation.kinds == {"grade": Kind.TEXT, "x": Kind.NUMERIC}
    with pytest.raises(DataError) as caught:
        preparation.apply(read_table(tmp_path / "later.csv", leave_out=["id"]))
    assert caught.value.code == "column_kind"
    later = read_table(tmp_path / "later.csv", leave_out=["id"], kinds=preparation.kinds)
    assert preparation.apply(later).shape == (2, 3)


def test_weights_in_original_units_give_the_same_scores() -> None:
    rng = np.random.default_rng(8)
    data = table(numeric("a", 5 + 3 * rng.normal(size=200)), numeric("b", rng.uniform(0, 1e4, 200)))
    preparation = fit(data, every(data), PreparationSpec())
    weights = np.array([0.7, -1.3])
    raw, shift = preparation.original_units(weights)
    a, b = (column.values for column in data.columns.values() if isinstance(column, NumericColumn))
    np.testing.assert_allclose(preparation.apply(data) @ weights, raw[0] * a + raw[1] * b + shift, atol=1e-9)


def change(value: dict[str, object], key: str, new: object) -> dict[str, object]:
    return value | {key: new}


@pytest.mark.parametrize("key", ["version", "spec", "encodings", "outputs", "leverage", "report"])
def test_a_damaged_preparation_is_refused(key: str) -> None:
    data = table(numeric("x", normal(30)))
    good = fit(data, every(data), PreparationSpec()).to_json()
    for bad in ({name: entry for name, entry in good.items() if name != key}, change(good, key, [1])):
        with pytest.raises(DataError) as caught:
            Preparation.from_json(bad)
        assert caught.value.code == "damaged_preparation"


@pytest.mark.parametrize(
    "bad", [{"clip": 0.5}, {"minimum_support": 0}, {"leverage_bound": 0.0}, {"penalty": 0.0}, {"constant": NAN}]
)
def test_a_spec_out_of_range_cannot_be_made(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        PreparationSpec(**bad)  # type: ignore[arg-type]


def test_the_real_credit_tables_keep_every_column_and_shrink_few_rows() -> None:
    for name, id_column, label in (
        ("default_credit_hetero_guest.csv", "id", "y"),
        ("UCI_Credit_Card.csv", "ID", "default.payment.next.month"),
    ):
        if not (SHARED / name).exists():
            pytest.skip("../shared/data is absent")
        data = read_table(SHARED / name, leave_out=[id_column])
        features = [column for column in data.names if column != label]
        preparation = fit(data, every(data)[:21_000], PreparationSpec(), features)
        assert preparation.names == tuple(features)
        assert preparation.report.leverage is not None
        assert preparation.report.leverage.shrunk_rows < 50
        block = preparation.apply(data)
        assert np.abs(block).max() <= 5.0
