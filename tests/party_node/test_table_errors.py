"""What others read of a faulty table: a sentence for every code, and in none a name, a number or a path of ours."""

from __future__ import annotations

import ast
import itertools
from pathlib import Path

import pytest

from party_node.table_errors import TOLD, DataError, column_missing, engine_missing, other_kind

ROOT = Path(__file__).resolve().parents[2] / "party_node"
CANARY = "kundentabelle_q3.csv"


def codes(node: ast.expr) -> set[str]:
    """What the first argument of a DataError can be; f"{what}_values" stands for weights and the offset."""
    if isinstance(node, ast.Constant):
        return {str(node.value)}
    assert isinstance(node, ast.JoinedStr), ast.unparse(node)
    parts = [{str(p.value)} if isinstance(p, ast.Constant) else {"weights", "offset"} for p in node.values]
    return {"".join(pieces) for pieces in itertools.product(*parts)}


def raised() -> set[str]:
    """Every code that the program can raise."""
    found: set[str] = set()
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "DataError":
                found |= codes(node.args[0])
    return found


def test_every_code_has_a_sentence_and_every_sentence_a_code() -> None:
    assert raised() == set(TOLD)


def test_a_code_without_a_sentence_cannot_be_raised() -> None:
    with pytest.raises(ValueError, match="no sentence"):
        DataError("brand_new", CANARY, "")


@pytest.mark.parametrize("code", sorted(TOLD))
def test_others_read_no_name_of_a_file_nor_of_a_column_nor_a_number(code: str) -> None:
    error = DataError(code, f"`{CANARY}` has 4711 faults in `salary`", f"look at {CANARY}")
    for text in error.for_others("bank"):
        assert not [word for word in (CANARY, "4711", "salary") if word in text]
        assert not any(sign in text for sign in "`/\\{}")
        assert not any(letter.isdigit() for letter in text)
    assert CANARY in error.what, "our own operator reads it"


def test_without_the_sentences_file_names_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: a code that falls back on its own text, as it did."""
    monkeypatch.setattr(DataError, "for_others", lambda self, party: (self.what, self.advice))
    told = [DataError(code, f"`{CANARY}` cannot be read", "").for_others("bank")[0] for code in sorted(TOLD)]
    assert all(CANARY in text for text in told)


def test_the_errors_that_are_made_in_one_place_have_codes_of_the_table() -> None:
    for error in (column_missing("a", ["b"]), other_kind("a", "numbers"), engine_missing("duckdb", "duckdb")):
        assert error.code in TOLD
