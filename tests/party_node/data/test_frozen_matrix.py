"""The frozen matrix, the label and the hold-out: exact, pinned by digest, and refused at the edges."""

from __future__ import annotations

import hmac

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mpc.domains import Domain
from party_node.data.frozen_matrix import dequantise, matrix_digest, quantise, scale_of
from party_node.data.hold_out import hold_out
from party_node.data.label import MissingLabel, read_label, require_both
from party_node.data.sources.table import Column, NumericColumn, Table, TextColumn
from party_node.table_errors import DataError


@settings(max_examples=80, deadline=None)
@given(st.data(), st.sampled_from([1.0, 3.0, 5.0, 7.5, 100.0]))
def test_a_value_comes_back_within_half_a_unit_and_the_ends_fit(data: st.DataObject, clip: float) -> None:
    shape = (data.draw(st.integers(0, 8)), data.draw(st.integers(0, 5)))
    block = data.draw(arrays.arrays(np.float64, shape, elements=st.floats(-clip, clip)))
    matrix = quantise(block, clip, intercept=True)
    assert matrix.dtype == np.int16
    assert matrix.shape == (shape[0], shape[1] + 1)
    back = dequantise(matrix, clip)
    assert (back[:, 0] == 1.0).all()
    assert np.abs(back[:, 1:] - block).max(initial=0.0) <= 0.5 / scale_of(clip) * (1 + 1e-9)


def test_the_scale_is_public_and_the_largest_value_fits() -> None:
    assert scale_of(5.0) == 6553
    assert quantise(np.array([[5.0, -5.0]]), 5.0).tolist() == [[32765, -32765]]
    assert quantise(np.array([[1.0, -1.0]]), 1.0).tolist() == [[32767, -32767]]


@pytest.mark.parametrize("bad", [5.1, float("nan"), float("inf"), -6.0])
def test_a_value_beyond_the_clip_is_refused_rather_than_wrapped(bad: float) -> None:
    with pytest.raises(ValueError, match="beyond the clip"):
        quantise(np.array([[0.0, bad]]), 5.0)


def test_one_changed_last_bit_another_shape_or_another_scale_changes_the_digest() -> None:
    matrix = np.arange(6, dtype=np.int16).reshape(2, 3)
    changed = matrix.copy()
    changed[1, 2] ^= 1
    digests = {
        matrix_digest(matrix, 5.0),
        matrix_digest(changed, 5.0),
        matrix_digest(matrix.reshape(3, 2), 5.0),
        matrix_digest(matrix, 4.0),
    }
    assert len(digests) == 4
    assert matrix_digest(np.asfortranarray(matrix), 5.0) == matrix_digest(matrix, 5.0)


def one_column(column: Column) -> Table:
    return Table(len(column.missing), {column.name: column}, ())


def texts(values: list[str | None]) -> Table:
    levels = tuple(sorted({value for value in values if value is not None}))
    codes = [-1 if value is None else levels.index(value) for value in values]
    return one_column(TextColumn("dpd90_12m", np.array(codes, dtype=np.int32), levels))


def numbers(values: list[float]) -> Table:
    return one_column(NumericColumn("dpd90_12m", np.array(values)))


READABLE = {
    "0 and 1 as numbers": (numbers([0, 1, 1]), None),
    "0 and 1 as text": (texts(["0", "1", "1"]), None),
    "yes and no in any case": (texts(["No", "YES", "yes"]), None),
    "true and false": (texts(["false", "true", "TRUE"]), None),
    "a named number": (numbers([3, 7, 7]), "7.0"),
    "a number written another way": (texts(["0", "2", "2.0"]), "2"),
    "a named word among three": (texts(["good", "Bad", "bad "]), "BAD"),
}


@pytest.mark.parametrize("case", READABLE)
def test_the_label_is_read_from(case: str) -> None:
    table, positive = READABLE[case]
    label = read_label(table, "dpd90_12m", positive)
    assert label.positive.tolist() == [False, True, True]
    assert not label.refused.any()
    assert repr(label) == "Label(3 rows)"


def test_rows_without_an_outcome_are_refused_rows_or_an_error_as_the_spec_says() -> None:
    for table in (numbers([0, float("nan"), 1]), texts(["0", None, "1"])):
        label = read_label(table, "dpd90_12m")
        assert label.refused.tolist() == [False, True, False]
        assert label.positive.tolist() == [False, False, True]
        with pytest.raises(DataError, match="first is row 2"):
            read_label(table, "dpd90_12m", missing=MissingLabel.ERROR)


UNREADABLE = {
    "another column": (numbers([0, 1]), "dpd90", None, "column_missing", "did you mean `dpd90_12m`"),
    "all equal": (numbers([0, 0, 0]), "dpd90_12m", None, "label_one_sided", "all 3 outcomes"),
    "all positive": (texts(["CANARY-BAD"] * 2), "dpd90_12m", "canary-bad", "label_one_sided", "all 2 outcomes"),
    "nothing but missing": (numbers([float("nan")] * 2), "dpd90_12m", None, "label_one_sided", "no outcome"),
    "three values": (numbers([0, 1, 2]), "dpd90_12m", None, "label_values", "3 distinct values"),
    "two unknown words": (texts(["CANARY-A", "CANARY-B"]), "dpd90_12m", None, "label_values", "2 distinct"),
    "a positive value that is not there": (texts(["CANARY-A"]), "dpd90_12m", "yes", "label_values", "no row"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_an_unusable_label_is_refused_without_quoting_it(case: str) -> None:
    table, column, positive, code, words = UNREADABLE[case]
    with pytest.raises(DataError) as caught:
        read_label(table, column, positive)
    assert caught.value.code == code
    assert words in str(caught.value)
    assert "CANARY" not in str(caught.value)


def test_training_rows_of_one_outcome_are_refused_too() -> None:
    with pytest.raises(DataError, match="the development sample"):
        require_both(np.array([True, True]), "the development sample")
    require_both(np.array([True, False]), "the development sample")


SALT = bytes(range(32))


def test_the_hold_out_is_the_keyed_function_row_by_row() -> None:
    chosen = hold_out(SALT, 11, 0.4)
    for row in range(11):
        block = hmac.digest(SALT, Domain.HOLD_OUT.encode() + b"\0" + (row // 4).to_bytes(8, "big"), "sha256")
        word = int.from_bytes(block[8 * (row % 4) : 8 * (row % 4) + 8], "big")
        assert chosen[row] == (word < int(0.4 * 2**64))


def test_the_hold_out_has_its_share_repeats_and_extends() -> None:
    chosen = hold_out(SALT, 40_000, 0.3)
    assert abs(chosen.mean() - 0.3) < 0.01
    assert np.array_equal(hold_out(SALT, 999, 0.3), chosen[:999])
    assert not np.array_equal(hold_out(SALT[::-1], 40_000, 0.3), chosen)
    # A larger share keeps the rows of the smaller one.
    assert not (chosen & ~hold_out(SALT, 40_000, 0.5)).any()


def test_no_fraction_means_no_test_rows_and_wrong_arguments_are_refused() -> None:
    assert not hold_out(SALT, 1000, 0.0).any()
    assert len(hold_out(SALT, 0, 0.3)) == 0
    for salt, rows, fraction in ((b"short", 5, 0.3), (SALT, 5, 1.0), (SALT, 5, -0.1), (SALT, -1, 0.3)):
        with pytest.raises(ValueError, match=r"salt|fraction"):
            hold_out(salt, rows, fraction)
