"""Weights and offsets of the label holder's rows: what they come to, and what is refused without telling a value."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from mpc.link import PartyId
from mpc.regression.weighting import balanced, weighting
from party_node.data.row_terms import Limits, read_offset, read_weights
from party_node.data.sources.table import NumericColumn, Table, TextColumn
from party_node.table_errors import TOLD, DataError
from wire.spec.label import LabelSpec

ROWS = 400
EVERY = np.arange(ROWS)
CANARY = 7.654321
ANY = Limits(math.inf, 0.0)


def table(**columns: np.ndarray) -> Table:
    return Table(ROWS, {name: NumericColumn(name, values) for name, values in columns.items()}, ())


def outcomes() -> np.ndarray:
    return np.random.default_rng(1).random(ROWS) < 0.2


def test_balanced_weights_are_those_of_scikit_learn_with_and_without_weights_of_rows() -> None:
    bad, own = outcomes(), np.random.default_rng(2).uniform(0.2, 3.0, ROWS)
    for label, base in ((LabelSpec(column="y", class_weights="balanced"), np.ones(ROWS)),
                        (LabelSpec(column="y", class_weights="balanced", weights="w"), own)):
        found, shift = read_weights(table(w=own), EVERY, bad, label, ANY)
        good_weight, bad_weight = compute_class_weight("balanced", classes=np.array([0, 1]), y=bad.astype(int),
                                                       sample_weight=base)
        wanted = base * np.where(bad, bad_weight, good_weight)
        assert found == pytest.approx(wanted / wanted.mean(), rel=1e-12)
        assert shift == pytest.approx(math.log(bad_weight / good_weight))
        assert found[bad].sum() == pytest.approx(found[~bad].sum())


def test_named_class_weights_multiply_those_of_the_rows_and_the_mean_is_one() -> None:
    bad, own = outcomes(), np.random.default_rng(3).uniform(0.2, 2.0, ROWS)
    label = LabelSpec.model_validate({"column": "y", "weights": "w", "class_weights": {"bad": 6.0, "good": 2.0}})
    found, shift = read_weights(table(w=own), EVERY, bad, label, ANY)
    assert found.mean() == pytest.approx(1.0)
    assert found / found[0] == pytest.approx(own * np.where(bad, 3.0, 1.0) / (own[0] * (3.0 if bad[0] else 1.0)))
    assert shift == pytest.approx(math.log(3.0))


def test_only_the_rows_that_are_asked_for_count() -> None:
    own = np.ones(ROWS)
    own[:100] = np.nan
    label = LabelSpec(column="y", weights="w")
    found, shift = read_weights(table(w=own), EVERY[100:], outcomes()[100:], label, ANY)
    assert (found == 1.0).all()
    assert shift == 0.0
    assert (read_offset(table(o=own), EVERY[100:], "o", 16.0) == 1.0).all()


def spoilt(place: int, value: float) -> np.ndarray:
    values = np.full(ROWS, CANARY)
    values[place] = value
    return values


WRONG_WEIGHTS = {
    "a missing weight": (spoilt(3, math.nan), "weights_values", "no value in 1 of the rows"),
    "a negative weight": (spoilt(3, -CANARY), "weights_values", "no weight above 0 in 1 rows of the development"),
    "a weight of nothing": (spoilt(3, 0.0), "weights_values", "no weight above 0 in 1 rows of the development"),
    "a weight far above the others": (spoilt(3, 20 * CANARY), "weights_uneven", "more than 10 times as large"),
    "a weight far below the others": (spoilt(3, CANARY / 20), "weights_uneven", "or as small as their mean"),
    "no weight on any bad customer": (np.where(outcomes(), 0.0, CANARY), "weights_values", "no weight above 0"),
    "no weight at all": (np.zeros(ROWS), "weights_values", "no weight above 0"),
}


@pytest.mark.parametrize("case", WRONG_WEIGHTS)
def test_a_column_of_weights_that_does_not_do_is_named_and_no_value_of_it(case: str) -> None:
    values, code, words = WRONG_WEIGHTS[case]
    with pytest.raises(DataError, match=words) as caught:
        read_weights(table(w=values), EVERY, outcomes(), LabelSpec(column="y", weights="w"), ANY)
    told = str(caught.value)
    assert caught.value.code == code
    assert "`w`" in told
    assert "7.65" not in told
    for sentence in caught.value.for_others("bank"):      # no count, no name of a column, no number
        assert "`w`" not in sentence
        assert not any(digit in sentence for digit in "0123456789")
    assert code in TOLD


def test_rows_have_to_be_worth_the_agreed_number_of_rows_of_even_weight() -> None:
    """Kish's measure: a tenth of the rows at 9 times what each of the others weighs are worth 0.36 of all."""
    own = np.where(np.arange(ROWS) % 10 == 0, 9.0, 1.0)
    worth, label = own.sum() ** 2 / (own**2).sum(), LabelSpec(column="y", weights="w")
    assert worth / ROWS == pytest.approx(0.36)
    read_weights(table(w=own), EVERY, outcomes(), label, Limits(10.0, worth))
    with pytest.raises(DataError, match="worth fewer rows") as caught:
        read_weights(table(w=own), EVERY, outcomes(), label, Limits(10.0, worth + 1))
    assert caught.value.code == "weights_uneven"
    read_weights(table(w=np.full(ROWS, CANARY)), EVERY, outcomes(), label, Limits(1.0, ROWS))   # even ones: all count


def test_balanced_classes_are_worth_what_the_rarer_outcome_is() -> None:
    bad, label = np.arange(ROWS) < ROWS // 20, LabelSpec(column="y", class_weights="balanced")
    worth = 4 * 0.05 * 0.95 * ROWS
    read_weights(table(), EVERY, bad, label, Limits(math.inf, worth))
    with pytest.raises(DataError, match="worth fewer rows"):
        read_weights(table(), EVERY, bad, label, Limits(math.inf, worth + 1))


def test_an_outcome_far_rarer_than_expected_is_refused_with_the_way_out_and_without_the_rate() -> None:
    bad, label = np.arange(ROWS) < 8, LabelSpec(column="y", class_weights="balanced")      # 2 %
    read_weights(table(), EVERY, bad, label, Limits(weighting(PartyId("bank"), 0.2, balanced, None).largest, 1.0))
    with pytest.raises(DataError, match="expected_default_rate nearer") as caught:
        read_weights(table(), EVERY, bad, label, Limits(weighting(PartyId("bank"), 0.25, balanced, None).largest, 1.0))
    assert caught.value.code == "weights_uneven"
    assert not any(digit in str(caught.value) for digit in "0123456789")


@pytest.mark.parametrize(("case", "values", "code"), [
    ("a missing offset", spoilt(3, math.nan), "offset_values"),
    ("one beyond the range", spoilt(3, 16.5), "offset_range"),
    ("one below it", spoilt(3, -16.5), "offset_range"),
])
def test_an_offset_that_does_not_do_is_named_and_no_value_of_it(case: str, values: np.ndarray, code: str) -> None:
    with pytest.raises(DataError) as caught:
        read_offset(table(o=values), EVERY, "o", 16.0)
    assert caught.value.code == code, case
    assert "`o`" in str(caught.value)
    assert not {"7.65", "16.5"} & set(str(caught.value).split())
    assert caught.value.code in TOLD


def test_weights_of_text_are_refused() -> None:
    text = Table(2, {"w": TextColumn("w", np.zeros(2, np.int32), ("heavy",))}, ())
    with pytest.raises(DataError, match="holds text"):
        read_weights(text, np.arange(2), np.array([True, False]), LabelSpec(column="y", weights="w"), ANY)
