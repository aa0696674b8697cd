"""What a node tells before a job: coarse shapes are compared by party id, and foreign ones are checked."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from wire.description import (
    ColumnDescription,
    DatasetDescription,
    decode_datasets,
    encode_datasets,
    ids_mismatch,
    shape_mismatch,
)

PHONES = {"digits_only": 1.0, "with_at": 0.0, "hexadecimal": 0.0, "length_11_11": 1.0}
ADDRESSES = {"digits_only": 0.0, "with_at": 1.0, "hexadecimal": 0.0, "length_16_17": 1.0}
DIGESTS = {"digits_only": 0.0, "with_at": 0.0, "hexadecimal": 1.0, "length_64_64": 1.0}
SIGNS = {"with_sign": 1.0, "length_9_10": 1.0}
ZEROS = {"digits_only": 1.0, "leading_zero": 1.0, "length_9_10": 1.0}
NUMBERS = {"digits_only": 1.0, "length_5_8": 0.5, "length_9_10": 0.5}
LETTERS = {"digits_only": 0.0, "with_at": 0.0, "hexadecimal": 0.0, "length_5_8": 0.6, "length_9_10": 0.4}
LONG_LETTERS = {"digits_only": 0.1, "with_at": 0.0, "hexadecimal": 0.0, "length_18_18": 1.0}
EMPTY = {"digits_only": 0.0, "with_at": 0.0, "hexadecimal": 0.0, "length_11_11": 0.0}

MISMATCHES = {
    "phones and addresses": (
        PHONES, ADDRESSES, "telecom's ids are e-mail addresses, bank's ids are not", "agree on one"),
    "digests and letters": (DIGESTS, LETTERS, "bank's ids are hashed values, telecom's ids are not", "id_scheme"),
    "phones and letters": (PHONES, LETTERS, "bank's ids are digits only, telecom's ids are not", "agree on one"),
    "written with signs and without": (
        SIGNS, LETTERS, "bank's ids are written with signs in between, telecom's ids are not", "national_id"),
    "zeros that a spreadsheet took away": (
        NUMBERS, ZEROS, "telecom's ids are written with a leading zero, bank's ids are not", "as text"),
    "short and long": (
        LETTERS, LONG_LETTERS, "the ids of bank and telecom never have the same length "
                               "(mostly 5 to 8 characters at bank, mostly 18 at telecom)", "agree on one"),
}


@pytest.mark.parametrize("case", MISMATCHES)
def test_ids_that_never_meet_are_told_apart_by_party_with_advice(case: str) -> None:
    ours, theirs, sentence, advice = MISMATCHES[case]
    found = shape_mismatch("bank", ours, "telecom", theirs)
    assert found is not None
    assert found.what == sentence
    assert advice in found.advice


@pytest.mark.parametrize("other", [LETTERS, EMPTY, {}], ids=["alike", "all blank", "nothing told"])
def test_ids_that_may_meet_pass(other: dict[str, float]) -> None:
    assert shape_mismatch("bank", LETTERS, "telecom", other) is None
    assert shape_mismatch("telecom", other, "bank", LETTERS) is None


HASHED = {"id_scheme": "sha256", "id_shapes": [DIGESTS]}
CONTRACTS: dict[str, tuple[dict[str, Any], dict[str, Any], str | None, str]] = {
    "two profiles": ({}, {"id_profiles": ["phone"]}, "bank matches ids as plain, telecom as phone", "same id_profile"),
    "another number of parts": (
        {}, {"id_profiles": ["plain", "plain"], "id_columns": ["a", "b"], "id_shapes": [PHONES, PHONES]},
        "bank matches ids as plain, telecom as plain, plain", "same id_profile"),
    "a second part of another form": (
        {"id_profiles": ["plain", "plain"], "id_columns": ["a", "b"], "id_shapes": [PHONES, LETTERS]},
        {"id_profiles": ["plain", "plain"], "id_columns": ["c", "d"], "id_shapes": [PHONES, ADDRESSES]},
        "telecom's ids are e-mail addresses, bank's ids are not", "agree on one"),
    "digests on one side, ids in writing on the other": ({}, HASHED, None, ""),
    "digests on both sides": (HASHED, HASHED, None, ""),
    "digests that are none": ({}, HASHED | {"id_shapes": [LETTERS]},
                              "telecom says that its ids are SHA-256 digests, and they are not 64 hexadecimal digits",
                              "on telecom"),
    "digests that would be hashed again": (
        {"id_shapes": [DIGESTS]}, HASHED,
        "bank's ids are digests already, and would be hashed again to match those of telecom", "on bank"),
}


@pytest.mark.parametrize("case", CONTRACTS)
def test_what_two_datasets_say_of_their_ids_is_compared_from_both_sides(case: str) -> None:
    ours, theirs, sentence, advice = CONTRACTS[case]
    one, other = (DatasetDescription.model_validate(description(**change)) for change in (ours, theirs))
    found = ids_mismatch("bank", one, "telecom", other)
    assert (found.what if found else None) == sentence
    assert advice in (found.advice if found else "")
    assert (ids_mismatch("telecom", other, "bank", one) is None) == (sentence is None)


def description(**changes: Any) -> dict[str, Any]:
    return {
        "name": "loans", "digest": "0" * 64, "rows": 1200, "id_columns": ["id"],
        "id_profiles": ["plain"], "id_scheme": "written", "id_shapes": [PHONES], "label_column": None,
        "columns": [{"name": "income", "kind": "numeric"}], "purposes": ["credit risk"],
    } | changes


def test_descriptions_survive_the_wire() -> None:
    told = [DatasetDescription.model_validate(description()),
            DatasetDescription.model_validate(description(name="more", label_column="bad", columns=[]))]
    assert decode_datasets(encode_datasets(told)) == told
    assert told[0].columns == [ColumnDescription(name="income", kind="numeric")]


FOREIGN = {
    "a share above one": {"id_shapes": [{"digits_only": 1.5}]},
    "a negative share": {"id_shapes": [{"with_at": -0.1}]},
    "a share that is no number": {"id_shapes": [{"digits_only": float("nan")}]},
    "a name that is no share": {"id_shapes": [{"customer 4711": 1.0}]},
    "a flood of shares": {"id_shapes": [{f"length_{n}_{n}": 0.0 for n in range(1, 40)}]},
    "an unknown field": {"rows_exact": 1234},
    "another profile": {"id_profiles": ["anything"]},
    "another scheme": {"id_scheme": "md5"},
    "more parts than an id has": {"id_columns": [f"part {n}" for n in range(9)]},
    "a digest of another length": {"digest": "00"},
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_foreign_description_is_checked(case: str) -> None:
    with pytest.raises(ValidationError):
        DatasetDescription.model_validate(description(**FOREIGN[case]))


def test_bytes_that_are_no_list_of_descriptions_raise_a_value_error() -> None:
    with pytest.raises(ValueError, match="JSON"):
        decode_datasets(b"not json")
