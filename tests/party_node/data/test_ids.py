"""Identifiers: every row is accounted for, spelling does not matter, and nothing of an id is ever shown."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from party_node.data.errors import DataError
from party_node.data.id_shape import id_shape
from party_node.data.ids import DuplicatePolicy, IdCounts, IdProfile, IdSet, collect_ids, normalise
from party_node.data.table import read_table
from wire.description import id_mismatch

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
PLAIN, PHONE = IdProfile.PLAIN, IdProfile.PHONE
FIRST, REFUSE = DuplicatePolicy.FIRST, DuplicatePolicy.REFUSE


def column(values: Sequence[str | None]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, pa.string())])


def normal(values: Sequence[str | None], profile: IdProfile) -> list[str | None]:
    return list(normalise(column(values), profile).to_pylist())


SAME_PLAIN = {
    "case": ("AB-12c", "ab-12C"),
    "space around": ("  AB-12\t", "ab-12"),
    "a no-break space": ("\u00a0ab-12", "ab-12"),
    "full-width signs": ("ＡＢ－１２", "ab-12"),
    "a ligature": ("oﬃce", "office"),
    "composed and decomposed accents": ("Jos\u00e9", "jose\u0301"),
    "the German sharp s": ("STRASSE", "straße"),
    "an invisible sign": ("ab\u200b-12\ufeff", "ab-12"),
}


@pytest.mark.parametrize("case", SAME_PLAIN)
def test_one_id_stays_one_id_under(case: str) -> None:
    one, other = normal(list(SAME_PLAIN[case]), PLAIN)
    assert one == other != None  # noqa: E711


def test_phones_are_their_digits_whatever_the_punctuation() -> None:
    spellings = ["+47 912-34-567", "0047 91234567", "4791234567", "(47) 912.34.567", "+４７91234567"]
    assert set(normal(spellings, PHONE)) == {"4791234567"}
    assert normal(["  ", "n/a", None, "ring at noon"], PHONE) == [None] * 4


def test_plain_ids_that_say_nothing_are_blank() -> None:
    assert normal(["", " ", "NaN", "null", "None", "N/A", None, "\u200b"], PLAIN) == [None] * 8


def test_leading_zeros_and_inner_space_are_part_of_a_plain_id() -> None:
    assert normal(["007", "7", "a b"], PLAIN) == ["007", "7", "a b"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.none(), st.text(max_size=12)), min_size=1, max_size=8), st.sampled_from(IdProfile))
def test_normalising_twice_changes_nothing(values: list[str | None], profile: IdProfile) -> None:
    once = normal(values, profile)
    assert normal(once, profile) == once


messy_id = st.one_of(
    st.none(),
    st.sampled_from(["", " ", "a1", "A1 ", "b2", "B2", "null", "Å", "å", "x" * 300]),
    st.text(max_size=4),
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_every_row_is_counted_once_and_its_source_row_gives_the_id(data: st.DataObject) -> None:
    values = data.draw(st.lists(messy_id, min_size=1, max_size=30))
    marks = np.array(data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values))))
    try:
        found = collect_ids(column(values), PLAIN, FIRST, marks)
    except DataError as error:
        code = error.code
        assert code == "no_ids"
        return
    counts = found.counts
    assert counts.read == len(values)
    assert counts.unmatched == len(found) == len(set(found.ids)) == len(set(found.rows.tolist()))
    assert counts.blank == sum(value is None for value in normal(values, PLAIN))
    again = normal([values[row] for row in found.rows], PLAIN)
    assert [name.encode() for name in again if name is not None] == found.ids
    assert not marks[found.rows].any()
    # The first usable row of each id is the one that stays.
    assert list(found.rows) == sorted(found.rows)
    for matched in range(len(found) + 1):
        assert found.aligned(matched).matched == matched


def test_a_refused_row_leaves_its_id_to_a_later_row() -> None:
    found = collect_ids(column(["a", "a", "b", "A"]), PLAIN, FIRST, np.array([True, False, False, False]))
    assert found.ids == [b"a", b"b"]
    assert found.rows.tolist() == [1, 2]
    assert found.counts == IdCounts(read=4, matched=0, unmatched=2, duplicate=1, blank=0, refused=1)


def test_repeated_ids_are_an_error_where_the_policy_refuses_them_and_no_id_is_shown() -> None:
    with pytest.raises(DataError) as caught:
        collect_ids(column(["CANARY-ID-1", "x", "canary-id-1 "]), PLAIN, REFUSE)
    assert caught.value.code == "duplicate_ids"
    assert "1 rows repeat" in str(caught.value)
    assert "canary" not in str(caught.value).lower()
    assert collect_ids(column(["a", "b"]), PLAIN, REFUSE).ids == [b"a", b"b"]


def test_phones_too_short_or_too_long_and_endless_ids_are_refused() -> None:
    assert collect_ids(column(["12345", "1" * 16, "4791234567"]), PHONE, FIRST).counts.refused == 2
    assert collect_ids(column(["x" * 257, "x" * 256]), PLAIN, FIRST).counts.refused == 1


def test_a_table_without_usable_ids_is_an_error() -> None:
    with pytest.raises(DataError) as caught:
        collect_ids(column(["", None]), PLAIN, FIRST)
    assert caught.value.code == "no_ids"


def test_counts_that_do_not_add_up_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="add up"):
        IdCounts(read=5, matched=1, unmatched=1, duplicate=1, blank=1, refused=0)
    with pytest.raises(ValueError, match="more ids"):
        collect_ids(column(["a"]), PLAIN, FIRST).aligned(2)


def test_an_id_set_shows_and_pickles_nothing() -> None:
    found = collect_ids(column(["CANARY-ID-1"]), PLAIN, FIRST)
    assert repr(found) == "IdSet(1 ids)"
    with pytest.raises(TypeError):
        pickle.dumps(found)


SHAPES = {
    "phones and e-mail addresses": (["+4791234567"], ["a@b.no"], "e-mail"),
    "plain ids and their digests": (["ab-12"] * 3, ["0123456789abcdef" * 4] * 3, "hashed"),
    "numbers and letters": (["12345678"] * 5, ["abcd1234"] * 5, "digits only"),
    "national ids and phones": (["123456789012345678"], ["91234567890"], "never have the same length"),
}


@pytest.mark.parametrize("case", SHAPES)
def test_formats_that_never_meet_are_seen_beforehand_from_both_sides(case: str) -> None:
    ours, theirs, words = SHAPES[case]
    one, other = (id_shape(column(list(values)), PLAIN) for values in (ours, theirs))
    for here, there in ((one, other), (other, one)):
        sentence = id_mismatch("bank", here, "shop", there)
        assert sentence is not None
        assert words in sentence
        assert not any(value in sentence for value in [*ours, *theirs])


def test_formats_that_may_meet_are_let_pass() -> None:
    plain = id_shape(column(["ab12", "cd34", "ef567"]), PLAIN)
    mixed = id_shape(column(["ab12", "123456789"]), PLAIN)
    for other in (mixed, plain, id_shape(column([None, ""]), PLAIN)):
        assert id_mismatch("bank", plain, "shop", other) is None


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=70), min_size=1, max_size=30))
def test_two_columns_with_a_common_id_never_read_as_strangers_by_length(values: list[str]) -> None:
    one, other = id_shape(column(list(values)), PLAIN), id_shape(column(values[:1] * 40), PLAIN)
    if any(other.values()):
        assert any(one[key] and other[key] for key in one if key.startswith("length_"))
    assert "never have the same length" not in (id_mismatch("bank", one, "shop", other) or "")


def shared_ids(name: str, id_column: str) -> IdSet:
    path = SHARED / name
    if not path.exists():
        pytest.skip("../shared/data is absent")
    table = read_table(path, id_column=id_column)
    assert table.ids is not None
    return collect_ids(table.ids, PLAIN, FIRST)


def test_every_row_of_the_breast_table_with_repeated_ids_is_accounted_for() -> None:
    guest = shared_ids("breast_hetero_guest_repeated_id.csv", "id")
    host = shared_ids("breast_hetero_host_sample_id.csv", "id")
    common = len(set(guest.ids) & set(host.ids))
    counts = guest.aligned(common)
    assert counts.read == 2139
    assert counts.matched == common > 100
    assert counts.duplicate == 2139 - len(guest)
    assert counts.read == counts.matched + counts.unmatched + counts.duplicate + counts.blank + counts.refused
    assert host.aligned(common).read == 299


def test_the_two_halves_of_default_credit_meet_in_every_row() -> None:
    guest = shared_ids("default_credit_hetero_guest.csv", "id")
    host = shared_ids("default_credit_hetero_host.csv", "id")
    assert set(guest.ids) == set(host.ids)
    assert guest.counts.unmatched == 30_000
