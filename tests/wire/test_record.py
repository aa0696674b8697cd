"""The public record: the nodes' parts side by side, and a refusal where they contradict one another."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from wire.record import LedgerEntry, PartyPart, merge
from wire.spec.columns import CorrelateSpec
from wire.spec.job import JobSpec

SPEC = JobSpec.model_validate({
    "purpose": "credit risk", "nonce": "1" * 64, "valid_from": 0, "valid_until": 1, "protocols": {}, "reveal": [],
    "label": {"column": "bad"},
    "parties": [{"id": name, "role": role, "identity": digit * 64, "dataset": "t", "dataset_digest": "0" * 64,
                 "columns": ["x", "y"], "id_columns": ["id"]}
                for name, role, digit in (("bank", "label_holder", "a"), ("shop", "feature_holder", "b"))],
})


def line(code: str, count: int) -> LedgerEntry:
    return LedgerEntry(code=code, kind="revealed", to="all", what="a sentence", count=count)


def part(name: str, **changes: Any) -> PartyPart:
    peer = "shop" if name == "bank" else "bank"
    values: dict[str, Any] = {
        "party": name, "rows": {"read": 10}, "common": 8, "train_rows": 6, "test_rows": 2,
        "seconds": {"align": 1.0 if name == "bank" else 2.5},
        "bytes": {"align": {f"{peer}/sent": 100 if name == "bank" else 7, f"{peer}/received": 7}},
        "ledger": [line("score.sum", 2)], "audit_head": name * 2, "engine": "gmp",
    }
    return PartyPart.model_validate(values | changes)


def merged(*parts: PartyPart) -> dict[str, Any]:
    return merge(SPEC, "ab" * 32, "2026-01-01", {"bank": b"\x01", "shop": b"\x02"}, {p.party: p for p in parts})


def test_a_record_is_plain_json_and_keeps_every_side() -> None:
    found = merged(part("bank", evaluation={"verdict": {"kind": "none"}}), part("shop"))
    assert json.loads(json.dumps(found)) == found
    assert found["evaluation"] == {"verdict": {"kind": "none"}}
    assert found["parties"][0] == {"id": "bank", "role": "label_holder", "dataset": "t", "columns_count": 2}
    assert found["seconds"] == {"align": 2.5}                                  # the slowest
    assert found["bytes"] == {"align": {"bank->shop": 100, "shop->bank": 7}}   # each link once, by its sender
    assert found["approvals"] == {"bank": "01", "shop": "02"}
    assert found["audit_heads"] == {"bank": "bankbank", "shop": "shopshop"}
    assert found["parameters"]["lambda"] == pytest.approx(1 / 6)              # of six rows that train
    assert (found["parameters"]["noise"], found["parameters"]["noise_deviation"]) == (1.0, 1.0)


def test_figures_of_the_model_come_from_the_label_holder_alone() -> None:
    forged = {"verdict": {"kind": "better"}}
    assert merged(part("bank"), part("shop", evaluation=forged))["evaluation"] is None
    own = {"verdict": {"kind": "none"}}
    assert merge(SPEC, "ab" * 32, "2026-01-01", {}, {  # whoever is named first
        "shop": part("shop", evaluation=forged), "bank": part("bank", evaluation=own),
    })["evaluation"] == own


def test_inflation_that_is_no_rows_names_who_sent_it() -> None:
    spec = SPEC.model_copy(update={"correlate": CorrelateSpec(show="inflation")})
    parts = {name: part(name, correlations={"show": "inflation", "inflation": [5] if name == "shop" else []})
             for name in ("bank", "shop")}
    with pytest.raises(ValueError, match="shop sent"):
        merge(spec, "ab" * 32, "2026-01-01", {}, parts)


def test_correlations_are_what_the_label_holder_was_shown_and_inflation_is_each_partys_own() -> None:
    shown = {"show": "pairs", "pairs": [{"parties": ["bank", "shop"], "columns": ["a", "b"], "r": 0.75}]}
    assert merged(part("bank", correlations=shown), part("shop", correlations={"pairs": []}))["correlations"] == shown
    assert merged(part("bank"), part("shop", correlations=shown))["correlations"] is None
    spec = SPEC.model_copy(update={"correlate": CorrelateSpec(show="inflation")})
    rows = {name: {"party": "bank", "column": "a", "with": "x", "together": 1.5} for name in ("bank", "shop")}
    parts = {name: part(name, correlations={"show": "inflation", "inflation": [row]}) for name, row in rows.items()}
    found = merge(spec, "ab" * 32, "2026-01-01", {}, parts)
    assert [row["party"] for row in found["correlations"]["inflation"]] == ["bank", "shop"]   # each for itself
    assert found["parameters"]["correlations_show"] == "inflation"


def test_a_ledger_line_is_counted_as_often_as_any_side_saw_it() -> None:
    found = merged(part("bank", ledger=[line("score.sum", 2), line("train.weights", 3)]),
                   part("shop", ledger=[line("score.sum", 5)]))
    assert [(entry["code"], entry["count"]) for entry in found["ledger"]] == [("score.sum", 5), ("train.weights", 3)]


@pytest.mark.parametrize("field", ["common", "train_rows", "test_rows"])
def test_nodes_that_contradict_one_another_are_named(field: str) -> None:
    with pytest.raises(ValueError, match="shop and bank report different row counts"):
        merged(part("bank"), part("shop", **{field: 5}))


def test_a_part_under_another_name_is_refused() -> None:
    with pytest.raises(ValueError, match="shop hands over the record of another party"):
        merge(SPEC, "ab" * 32, "2026-01-01", {}, {"bank": part("bank"), "shop": part("bank")})


def test_what_a_node_withholds_is_absent_and_not_invented() -> None:
    found = merged(part("bank", rows={}, seconds={}), part("shop", rows={}, seconds={}))
    assert found["rows"] == {"bank": {}, "shop": {}}
    assert found["seconds"] == {}
    assert found["evaluation"] is None


FOREIGN = {
    "an unknown field": {"weights": [1.0]},
    "a count as text": {"common": "8"},
    "a ledger line without its sentence": {"ledger": [{"code": "a", "kind": "b", "to": "c", "count": 1}]},
    "traffic that is no number": {"bytes": {"align": {"shop/sent": "many"}}},
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_foreign_part_is_checked(case: str) -> None:
    with pytest.raises(ValidationError):
        part("bank", **FOREIGN[case])
