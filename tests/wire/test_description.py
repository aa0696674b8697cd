"""What a node tells before a job: coarse shapes are compared by party id, and foreign ones are checked."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from wire.description import ColumnDescription, DatasetDescription, decode_datasets, encode_datasets, id_mismatch

PHONES = {"digits_only": 1.0, "with_at": 0.0, "hexadecimal": 0.0, "length_11_11": 1.0}
ADDRESSES = {"digits_only": 0.0, "with_at": 1.0, "hexadecimal": 0.0, "length_16_17": 1.0}
DIGESTS = {"digits_only": 0.0, "with_at": 0.0, "hexadecimal": 1.0, "length_64_0": 1.0}
LETTERS = {"digits_only": 0.0, "with_at": 0.0, "hexadecimal": 0.0, "length_5_8": 0.6, "length_9_10": 0.4}
LONG_LETTERS = {"digits_only": 0.1, "with_at": 0.0, "hexadecimal": 0.0, "length_18_18": 1.0}
EMPTY = {"digits_only": 0.0, "with_at": 0.0, "hexadecimal": 0.0, "length_11_11": 0.0}

MISMATCHES = {
    "phones and addresses": (PHONES, ADDRESSES, "telecom's ids are e-mail addresses, bank's ids are not"),
    "digests and letters": (DIGESTS, LETTERS, "bank's ids are hashed values, telecom's ids are not"),
    "phones and letters": (PHONES, LETTERS, "bank's ids are digits only, telecom's ids are not"),
    "short and long": (LETTERS, LONG_LETTERS, "the ids of bank and telecom never have the same length "
                                              "(mostly 5 to 8 characters at bank, mostly 18 at telecom)"),
}


@pytest.mark.parametrize("case", MISMATCHES)
def test_ids_that_never_meet_are_told_apart_by_party(case: str) -> None:
    ours, theirs, sentence = MISMATCHES[case]
    assert id_mismatch("bank", ours, "telecom", theirs) == sentence


@pytest.mark.parametrize("other", [LETTERS, EMPTY, {}], ids=["alike", "all blank", "nothing told"])
def test_ids_that_may_meet_pass(other: dict[str, float]) -> None:
    assert id_mismatch("bank", LETTERS, "telecom", other) is None
    assert id_mismatch("telecom", other, "bank", LETTERS) is None


def description(**changes: Any) -> dict[str, Any]:
    return {
        "name": "loans", "digest": "0" * 64, "rows": 1200, "id_column": "id", "id_profile": "plain",
        "id_shape": PHONES, "label_column": None, "columns": [{"name": "income", "kind": "numeric"}],
        "purposes": ["credit risk"],
    } | changes


def test_descriptions_survive_the_wire() -> None:
    told = [DatasetDescription.model_validate(description()),
            DatasetDescription.model_validate(description(name="more", label_column="bad", columns=[]))]
    assert decode_datasets(encode_datasets(told)) == told
    assert told[0].columns == [ColumnDescription(name="income", kind="numeric")]


FOREIGN = {
    "a share above one": {"id_shape": {"digits_only": 1.5}},
    "a negative share": {"id_shape": {"with_at": -0.1}},
    "a share that is no number": {"id_shape": {"digits_only": float("nan")}},
    "a name that is no share": {"id_shape": {"customer 4711": 1.0}},
    "a flood of shares": {"id_shape": {f"length_{n}_{n}": 0.0 for n in range(1, 40)}},
    "an unknown field": {"rows_exact": 1234},
    "another profile": {"id_profile": "anything"},
    "a digest of another length": {"digest": "00"},
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_foreign_description_is_checked(case: str) -> None:
    with pytest.raises(ValidationError):
        DatasetDescription.model_validate(description(**FOREIGN[case]))


def test_bytes_that_are_no_list_of_descriptions_raise_a_value_error() -> None:
    with pytest.raises(ValueError, match="JSON"):
        decode_datasets(b"not json")
