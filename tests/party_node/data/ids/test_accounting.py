"""Identifiers: every row is accounted for, spelling does not matter, and nothing of an id is ever shown."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.group.id_column import IdColumn
from party_node.data.ids.accounting import (
    MOST_PARTS,
    DuplicatePolicy,
    IdCollector,
    IdCounts,
    IdRules,
    IdScheme,
    IdSet,
    read_ids,
)
from party_node.data.ids.normalisation import IdProfile, normalise
from party_node.data.ids.shape import ShapeCounter
from party_node.table_errors import DataError
from wire.description import shape_mismatch
from wire.spec.job import MAX_ID_PARTS, IdProfileName, IdSchemeName

SHARED = Path(__file__).resolve().parents[5] / "shared" / "data"
PLAIN, PHONE, NATIONAL, EMAIL = IdProfile.PLAIN, IdProfile.PHONE, IdProfile.NATIONAL_ID, IdProfile.EMAIL
FIRST, REFUSE = DuplicatePolicy.FIRST, DuplicatePolicy.REFUSE
WRITTEN, SHA256 = IdScheme.WRITTEN, IdScheme.SHA256

Cells = Sequence[str | None]


def column(values: Cells) -> pa.StringArray:
    return pa.array(values, pa.string())


def normal(values: Cells, profile: IdProfile) -> list[str | None]:
    return [value or None for value in normalise(column(values), profile)[0].to_pylist()]


def collected(
    *columns: Cells, rules: IdRules | None = None, duplicates: DuplicatePolicy = FIRST,
    refused: np.ndarray | None = None, batch: int = 1 << 20,
) -> IdSet:
    """The ids of a table given as columns, read `batch` rows at a time."""
    found = IdCollector(rules or IdRules((PLAIN,) * len(columns)))
    for start in range(0, max(1, len(columns[0])), batch):
        found.add([column(values[start:start + batch]) for values in columns])
    return found.finish(duplicates, refused)


# ---------------------------------------------------------------- normalisation

SAME = {
    PLAIN: {
        "case": ("AB-12c", "ab-12C"),
        "space around": ("  AB-12\t", "ab-12"),
        "a no-break space": ("\u00a0ab-12", "ab-12"),
        "a control character for space": ("ab-12\x1f", "ab-12"),
        "full-width signs": ("ＡＢ－１２", "ab-12"),
        "a ligature": ("oﬃce", "office"),
        "composed and decomposed accents": ("Jos\u00e9", "jose\u0301"),
        "the German sharp s": ("STRASSE", "straße"),
        "an invisible sign": ("ab\u200b-12\ufeff", "ab-12"),
        "a whole number that passed through floats": ("4711.0", "4711"),
        "the same in full-width digits": ("４７１１.０", "4711"),
        "a decimal of a database": ("4711.00", "4711"),
    },
    PHONE: {
        "a plus and spaces": ("+47 912-34-567", "4791234567"),
        "two zeros": ("0047 91234567", "4791234567"),
        "brackets and points": ("(47) 912.34.567", "4791234567"),
        "full-width digits": ("+４７91234567", "4791234567"),
        "Arabic digits": ("٤٧91234567", "4791234567"),
        "a phone that passed through floats": ("4791234567.0", "4791234567"),
    },
    NATIONAL: {
        "points and dashes": ("123.456.789-09", "12345678909"),
        "spaces and slashes": ("12 345/678", "12345678"),
        "a small x at the end": ("11010519491231002x", "11010519491231002X"),
        "full-width with a dash beyond ASCII": ("１２３４\u20135６", "123456"),
        "letters beyond ASCII": ("\u0410\u0411-1234", "\u0430\u0431 1234"),
    },
    EMAIL: {
        "case and space": (" Ann@Example.ORG ", "ann@example.org"),
        "full-width at sign": ("ann＠example.org", "ann@example.org"),
    },
}


@pytest.mark.parametrize(("profile", "case"), [(profile, case) for profile, cases in SAME.items() for case in cases])
def test_one_id_stays_one_id_under(profile: IdProfile, case: str) -> None:
    one, other = normal(list(SAME[profile][case]), profile)
    assert one == other != None  # noqa: E711


def test_dots_and_tags_of_an_address_are_part_of_the_name() -> None:
    assert len(set(normal(["a.b@x.org", "ab@x.org", "ab+1@x.org"], EMAIL))) == 3


@pytest.mark.parametrize("profile", IdProfile)
def test_ids_that_say_nothing_are_blank(profile: IdProfile) -> None:
    assert normal(["", " ", "NaN", "null", "None", "N/A", None, "\u200b"], profile) == [None] * 8
    assert normal(["ring at noon"], PHONE) == normal(["n-an"], NATIONAL) == [None]


def test_leading_zeros_and_inner_space_are_part_of_a_plain_id() -> None:
    assert normal(["007", "7", "a b"], PLAIN) == ["007", "7", "a b"]


cell = st.one_of(st.none(), st.text(max_size=12), st.text("0123456789.+-()xXnNaA/ \u0661\uff10\u00e9", max_size=12))


@settings(max_examples=300, deadline=None)
@given(st.lists(cell, min_size=1, max_size=8), st.sampled_from(IdProfile))
def test_normalising_twice_changes_nothing_and_neighbours_do_not_matter(values: Cells, profile: IdProfile) -> None:
    once = normal(values, profile)
    assert normal(once, profile) == once
    assert [normal([value], profile)[0] for value in values] == once


def test_cells_of_two_encodings_are_repaired_and_counted() -> None:
    raw = pa.array(["jürgen".encode(), "jürgen".encode("cp1252"), b"plain"], pa.binary())
    broken = pa.StringArray.from_buffers(3, *raw.buffers()[1:])
    found = IdCollector(IdRules())
    found.add([broken])
    assert found.finish(FIRST).mixed == 1
    found = IdCollector(IdRules())
    found.add([broken])
    assert found.finish(FIRST).counts.duplicate == 1


# ---------------------------------------------------------------- accounting

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
        found = collected(values, refused=marks, batch=data.draw(st.integers(1, 30)))
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


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=20), max_size=40), st.data())
def test_a_column_of_ids_joins_takes_and_finds_repeats_like_a_list(ids: list[bytes], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(ids)))
    whole = IdColumn.join([IdColumn.of(ids)[:cut], IdColumn.of(ids)[cut:]])
    assert whole == ids
    assert whole.firsts().tolist() == [ids.index(one) for one in ids]
    rows = data.draw(st.lists(st.integers(0, max(0, len(ids) - 1)), max_size=10)) if ids else []
    assert whole.take(np.array(rows, np.int64)) == [ids[row] for row in rows]


def test_ids_with_one_fingerprint_are_still_two_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IdColumn, "_fingerprints", lambda self: np.zeros(len(self), np.uint64))
    assert IdColumn.of([b"a", b"b", b"a", b"c"]).firsts().tolist() == [0, 1, 0, 3]


def test_a_refused_row_leaves_its_id_to_a_later_row() -> None:
    found = collected(["a", "a", "b", "A"], refused=np.array([True, False, False, False]))
    assert found.ids == [b"a", b"b"]
    assert found.rows.tolist() == [1, 2]
    assert found.counts == IdCounts(read=4, matched=0, unmatched=2, duplicate=1, blank=0, refused=1)


def test_repeated_ids_are_an_error_where_the_policy_refuses_them_and_no_id_is_shown() -> None:
    with pytest.raises(DataError) as caught:
        collected(["CANARY-ID-1", "x", "canary-id-1 "], duplicates=REFUSE)
    assert caught.value.code == "duplicate_ids"
    assert "1 rows repeat" in str(caught.value)
    assert "canary" not in str(caught.value).lower()
    assert collected(["a", "b"], duplicates=REFUSE).ids == [b"a", b"b"]


IMPLAUSIBLE = {
    PLAIN: (["x" * 257, "é" * 129], ["x" * 256, "é" * 128]),
    PHONE: (["12345", "1" * 16], ["123456", "1" * 15]),
    NATIONAL: (["123", "1" * 33], ["1234", "a" * 32]),
    EMAIL: (["nobody", "a@b", "a@b@c.org", "@x.org", "a@.", "x" * 250 + "@x.org"], ["a@b.no"]),
}


@pytest.mark.parametrize("profile", IdProfile)
def test_cells_that_cannot_be_such_an_id_are_refused_and_counted(profile: IdProfile) -> None:
    bad, good = IMPLAUSIBLE[profile]
    found = collected([*bad, *good], rules=IdRules((profile,)))
    assert found.counts.refused == len(bad)
    assert len(found) == len(good)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c", "d", "", "x" * 300]), min_size=1, max_size=20), st.data())
def test_where_all_rows_are_kept_every_id_leads_to_all_of_its_rows(values: list[str], data: st.DataObject) -> None:
    usable = [value for value in values if value in "abcd" and value]
    if not usable:
        return
    found = collected(values, duplicates=DuplicatePolicy.KEEP_ALL)
    assert found.counts.unmatched == len(usable)
    assert (found.counts.duplicate, found.counts.blank) == (0, values.count(""))
    assert dict(zip(found.ids, found.copies.tolist(), strict=True)) == {
        value.encode(): usable.count(value) for value in usable}
    places = np.array(data.draw(st.permutations(range(len(found))))[:data.draw(st.integers(1, len(found)))])
    rows = found.all_rows(places)
    ids = [found.ids[place].decode() for place in places]
    assert [values[row] for row in rows] == [one for one in ids for _ in range(usable.count(one))]
    assert all(np.all(np.diff(rows[[values[row] == one for row in rows]]) > 0) for one in ids)
    assert found.aligned(len(rows)).matched == len(rows)


def test_a_table_without_usable_ids_is_an_error() -> None:
    for values, code in ((["", None], "no_ids"), ([], "empty_table")):
        with pytest.raises(DataError) as caught:
            collected(values)
        assert caught.value.code == code


def test_counts_that_do_not_add_up_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="add up"):
        IdCounts(read=5, matched=1, unmatched=1, duplicate=1, blank=1, refused=0)
    with pytest.raises(ValueError, match="more rows"):
        collected(["a"]).aligned(2)


def test_an_id_set_shows_and_pickles_nothing() -> None:
    found = collected(["CANARY-ID-1"])
    assert repr(found) == "IdSet(1 ids)"
    with pytest.raises(TypeError):
        pickle.dumps(found)


# ---------------------------------------------------------------- composite and hashed ids


def test_parts_of_an_id_never_run_into_one_another() -> None:
    found = collected(["a,b", "a", "", "ab", "a"], ["c", "b,c", "abc", "c", "b,c "])
    assert len(found) == 3
    assert found.counts == IdCounts(read=5, matched=0, unmatched=3, duplicate=1, blank=1, refused=0)
    assert found.ids[0] == b"\0\3a,b\0\1c"


ascii_text = st.text(st.characters(codec="ascii"), min_size=1, max_size=6)
part = ascii_text.filter(lambda text: normal([text], PLAIN) == [text])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(part, part), min_size=1, max_size=12))
def test_two_composite_ids_are_equal_only_if_their_parts_are(pairs: list[tuple[str, str]]) -> None:
    found = collected(*zip(*pairs, strict=True))
    assert len(found) == len(set(pairs))


def test_every_part_has_a_profile_of_its_own_and_may_refuse_the_row() -> None:
    rules = IdRules((NATIONAL, PHONE))
    found = collected(["12-34", "1234", "12 34", "123"], ["+47 1234567", "00471234567", "12", "471234567"], rules=rules)
    assert found.ids == [b"\0\x041234\0\x09471234567"]
    assert (found.counts.duplicate, found.counts.refused) == (1, 2)


def test_one_sides_digests_meet_the_other_sides_ids_in_writing() -> None:
    """As docs/protocols/align.md says: hexadecimal SHA-256 of the normalised id, or of its parts with lengths."""
    phones = ["+47 912 34 567", "0047 99887766"]
    digests = [hashlib.sha256(text).hexdigest() for text in (b"4791234567", b"4799887766")]
    ours = collected(phones, rules=IdRules((PHONE,), WRITTEN, SHA256))
    theirs = collected([digests[1].upper(), digests[0] + " "], rules=IdRules((PHONE,), SHA256, SHA256))
    assert sorted(ours.ids) == sorted(theirs.ids) == sorted(digest.encode() for digest in digests)
    pair = hashlib.sha256(b"\0\x02ab\0\x01c").hexdigest()
    ours = collected(["AB"], ["c "], rules=IdRules((PLAIN, PLAIN), WRITTEN, SHA256))
    assert ours.ids == collected([pair], rules=IdRules((PLAIN, PLAIN), SHA256, SHA256)).ids == [pair.encode()]


def test_the_page_of_the_protocol_states_the_digest_that_the_code_makes_and_every_profile() -> None:
    page = (Path(__file__).resolve().parents[4] / "docs" / "protocols" / "align.md").read_text(encoding="utf-8")
    (digest,) = collected(["+47 912 34 567"], rules=IdRules((PHONE,), WRITTEN, SHA256)).ids
    assert f"`+47 912 34 567` is `4791234567`, whose digest is `{digest.decode()}`" in page
    assert set(get_args(IdProfileName)) == set(IdProfile)
    assert set(get_args(IdSchemeName)) == set(IdScheme)
    assert all(f"| `{profile}` |" in page for profile in IdProfile)
    assert MOST_PARTS == MAX_ID_PARTS


def test_what_is_no_digest_is_refused_where_digests_are_declared() -> None:
    good = hashlib.sha256(b"x").hexdigest()
    found = collected([good, good[:-1], good[:-1] + "g", "n/a"], rules=IdRules((PLAIN,), SHA256, SHA256))
    assert found.counts == IdCounts(read=4, matched=0, unmatched=1, duplicate=0, blank=1, refused=2)


def test_rules_that_contradict_themselves_cannot_be_made() -> None:
    for rules in (((), WRITTEN, WRITTEN), ((PLAIN,) * 9, WRITTEN, WRITTEN), ((PLAIN,), SHA256, WRITTEN)):
        with pytest.raises(ValueError, match="an id has 1 to 8 parts"):
            IdRules(*rules)


# ---------------------------------------------------------------- shapes

SHAPES = {
    "phones and e-mail addresses": (["+4791234567"], ["a@b.no"], "e-mail"),
    "plain ids and their digests": (["ab-12"] * 3, ["0123456789abcdef" * 4] * 3, "hashed"),
    "numbers and letters": (["12345678"] * 5, ["abcd1234"] * 5, "digits only"),
    "national ids and phones": (["123456789012345678"], ["91234567890"], "never have the same length"),
    "with dashes and without": (["12-345678"], ["AB1234567"], "signs in between"),
    "a leading zero on one side": (["0123456", "0222333"], ["123456", "222333"], "leading zero"),
}


def shaped(values: Cells) -> dict[str, float]:
    counter = ShapeCounter()
    for start in range(0, len(values), 7):
        counter.add(normalise(column(values[start:start + 7]), PLAIN)[0])
    return counter.shape()


@pytest.mark.parametrize("case", SHAPES)
def test_formats_that_never_meet_are_seen_beforehand_from_both_sides(case: str) -> None:
    ours, theirs, words = SHAPES[case]
    one, other = shaped(ours), shaped(theirs)
    for here, there in ((one, other), (other, one)):
        found = shape_mismatch("bank", here, "shop", there)
        assert found is not None
        assert words in found.what
        assert not any(value in found.what + found.advice for value in [*ours, *theirs])


def test_formats_that_may_meet_are_let_pass() -> None:
    plain = shaped(["ab12", "cd34", "ef567"])
    for other in (shaped(["ab12", "123456789"]), plain, shaped([None, ""])):
        assert shape_mismatch("bank", plain, "shop", other) is None


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=70), min_size=1, max_size=30))
def test_two_columns_with_a_common_id_never_read_as_strangers_by_length(values: list[str]) -> None:
    one, other = shaped(values), shaped(values[:1] * 40)
    if any(other.values()):
        assert any(one[key] and other[key] for key in one if key.startswith("length_"))
    found = shape_mismatch("bank", one, "shop", other)
    assert "never have the same length" not in (found.what if found else "")


# ---------------------------------------------------------------- public tables


def shared_ids(name: str, id_column: str) -> IdSet:
    path = SHARED / name
    if not path.exists():
        pytest.skip("../shared/data is absent")
    return read_ids(path, [id_column], IdRules(), FIRST)


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
