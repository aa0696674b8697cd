"""Tables as they come: what the bank reads at registration or at the end of the job, whose table it is, what happens.

REGISTRATION lists what is refused before anything is offered, TRAINS and ENDS what a job makes of a table that was
accepted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from party_node.table_errors import TOLD
from tests import canaries
from tests.e2e.scene import FAMILY, LABEL, PRESENT, Ran, Scene, table, world

SHARED = Path(__file__).resolve().parents[2] / "../shared/data"
COUNTS = ("matched", "unmatched", "duplicate", "blank", "refused")


def rows_of(party: str) -> int:
    low, high = PRESENT[party]
    return high - low


def with_cell(party: str, column: str, row: int, cell: str) -> str:
    """The party's table with one cell replaced."""
    low, high = PRESENT[party]
    values = list(world()[column][low:high])
    values[row] = cell
    return table(party, **{column: values})


# ---------------------------------------------------------------- refused at registration

REGISTRATION: dict[str, tuple[str | bytes, str, dict[str, Any]]] = {
    "a workbook": (b"PK\x03\x04" + bytes(64), "is a workbook or an archive", {}),
    "a row with too few cells": ("customer,basket,visits\n1,2,3\n4\n", "row 2 of", {}),
    "bytes that are no text": (bytes(range(256)) * 8, "", {}),
    "an empty file": (b"", "is empty", {}),
    "a header and no rows": ("customer,basket,visits\n", "has no rows", {}),
    "a cell that is no number": (with_cell("shop", "basket", 7, "twelve"), "first is in row 8", {}),
    "an infinite cell": (with_cell("shop", "basket", 7, "1e999"), "infinite", {}),
    "a column twice": ("customer,basket,basket\n1,2,3\n", "two columns are called `basket`", {}),
    "no id column": (table("shop").replace("customer", "client", 1), "no column `customer`", {}),
    "blank ids only": (table("shop", customer=[" "] * rows_of("shop")), "no row has a usable id", {}),
}


@pytest.mark.parametrize("what", REGISTRATION)
def test_a_table_that_cannot_be_used_is_refused_before_it_is_offered(what: str, two: Scene) -> None:
    content, sentence, change = REGISTRATION[what]
    ran = two.offer("shop", "refused", content, **change)
    assert ran.code == 4, ran.text
    assert sentence in ran.error["what"]
    assert ran.error["whose"] == "shop"
    assert ran.error["advice"]
    assert "refused" not in [d["name"] for d in two.operator("shop", "dataset", "list").data["datasets"]]


def test_a_file_that_is_not_there_or_may_not_be_read_is_named(two: Scene) -> None:
    assert two.offer("shop", "gone", table("shop")).code == 0
    (two.home / "tables" / "shop-gone.csv").unlink()
    ran = two.operator("shop", "dataset", "register", str(two.directory("shop") / "gone.toml"))
    assert ran.code == 4
    assert "`shop-gone.csv` does not exist" in ran.error["what"]
    ran = two.run(two.job({"shop": "gone"}))      # registered, and gone since
    assert (ran.code, ran.error["whose"]) == (4, "shop")
    assert ran.error["what"] == "the table cannot be read"     # others hear no name of a file
    assert "`shop-gone.csv` does not exist" in two.ended("shop")["error"]


# ---------------------------------------------------------------- what a job makes of it


@dataclass(frozen=True)
class Odd:
    """A table of one party and what a job with it ends in. `error`: whose, exit code, words; else the row counts."""

    party: str
    content: str
    error: tuple[str, int, Sequence[str]] | None = None
    told: str = ""                                            # what the party's own operator reads, figures and all
    rows: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)     # column -> why, in the party's own report
    columns: Sequence[str] | None = None
    merged: bool = False                                      # whether rare levels were put together
    duplicates: str = "first"
    training: dict[str, Any] = field(default_factory=dict)


def _constant(party: str, column: str) -> str:
    return table(party, **{column: ["4"] * rows_of(party)})


def _rare_levels() -> str:
    low, high = PRESENT["bank"]
    return table("bank", region=["" if k % 9 == 0 else f"rare-{k}" if k % 31 == 0 else level
                                 for k, level in enumerate(world()["region"][low:high])])


def _all_missing() -> str:
    return table("shop", visits=[""] * rows_of("shop"))


def _half_missing() -> str:
    low, high = PRESENT["shop"]
    return table("shop", visits=[v if k % 2 else "NA" for k, v in enumerate(world()["visits"][low:high])])


def _useless() -> str:
    return table("shop", basket=["1"] * rows_of("shop"), visits=["n/a"] * rows_of("shop"))


def _labels(make: Callable[[int], str]) -> str:
    return table("bank", **{LABEL: [make(k) for k in range(rows_of("bank"))]})


def _separable() -> str:
    low, high = PRESENT["bank"]
    return _labels(lambda k: canaries.POSITIVE if float(world()["age"][low:high][k]) > 0.4 else canaries.NEGATIVE)


def _repeated() -> str:
    ids = [canaries.canary_id(k) for k in range(*PRESENT["shop"])]
    return table("shop", customer=[*ids[:-30], *ids[:30]])


def _blank() -> str:
    ids = [canaries.canary_id(k) for k in range(*PRESENT["shop"])]
    odd = [f"  {name.upper()} " if k % 3 else name for k, name in enumerate(ids)]
    return table("shop", customer=["" if k % 10 == 0 else name for k, name in enumerate(odd)])


def _few() -> str:
    return table("shop", 100, 103)


def _elsewhere() -> str:
    return table("shop", customer=[canaries.canary_id(k) for k in range(5000, 5000 + rows_of("shop"))])


def _unlabelled() -> str:
    low, high = PRESENT["bank"]
    return _labels(lambda k: "" if k % 13 == 0 else world()[LABEL][low:high][k])


ENDS: dict[str, Odd] = {
    "zero common rows": Odd("shop", _elsewhere(), error=("", 6, ["too few customers in common"])),
    "three rows": Odd("shop", _few(), error=("", 6, ["too few customers in common"])),
    "all labels equal, none is the positive value": Odd(
        "bank", _labels(lambda k: canaries.NEGATIVE), error=("bank", 4, [TOLD["label_values"]])),
    "all labels equal, all are the positive value": Odd(
        "bank", _labels(lambda k: canaries.POSITIVE), error=("bank", 4, [TOLD["label_one_sided"]])),
    "a feature holder with useless columns only": Odd(
        "shop", _useless(), error=("shop", 4, [TOLD["no_columns"]]), told="`basket`"),
    "a separable label with hardly a penalty is an honest refusal": Odd(
        "bank", _separable(), error=("", 1, ["nothing was"]), training={"penalty": 1e-4, "iterations": 8}),
    "repeated ids where the job wants none": Odd(
        "shop", _repeated(), error=("shop", 4, ["rows repeat the id"]), told="30 rows repeat the id",
        duplicates="refuse"),
}
# Each job has an odd table at both parties: what is said of one says nothing of the other.
TRAINS: dict[str, tuple[Odd, ...]] = {
    "labels missing: those rows are refused and counted; a column with half its values": (
        Odd("bank", _unlabelled(), rows={"refused": 20}), Odd("shop", _half_missing())),
    "a constant column is dropped and named; blank ids, capitals and spaces": (
        Odd("bank", _constant("bank", "income"), dropped={"income": "constant"}),
        Odd("shop", _blank(), rows={"blank": 26})),
    "a column without a value is dropped and named; a separable label trains, the penalty holds it": (
        Odd("shop", _all_missing(), dropped={"visits": "all values are missing"}), Odd("bank", _separable())),
    "repeated ids, the first row of each counts; rare and missing levels": (
        Odd("shop", _repeated(), rows={"duplicate": 30}), Odd("bank", _rare_levels(), merged=True)),
}


def launched(two: Scene, *odd: Odd) -> Ran:
    """A job on these tables and the usual ones of other parties."""
    names, duplicates, training = {}, {}, {}
    for one in odd:
        assert two.offer(one.party, "odd", one.content, one.columns).code == 0
        names[one.party], duplicates[one.party] = "odd", one.duplicates
        training |= one.training
    parties = [{"id": p.id, "dataset": names.get(p.id, "table"), "duplicates": duplicates.get(p.id, "first")}
               for p in two.parties]
    job = two.job(party=parties)
    return two.run(job | {"training": job["training"] | training})


@pytest.mark.parametrize("what", TRAINS)
def test_a_job_on_odd_tables_counts_every_row_and_names_what_it_dropped(what: str, two: Scene) -> None:
    record = launched(two, *TRAINS[what]).data
    check_rows(record, {odd.party: odd.rows for odd in TRAINS[what]})
    for odd in TRAINS[what]:
        report = report_of(two, odd.party, record["job_id"])
        assert {name: why for name, why in report["dropped"] if name in FAMILY[odd.party]} == odd.dropped
        assert (sum(report["merged"].values()) > 0) == odd.merged


@pytest.mark.parametrize("what", ENDS)
def test_a_job_that_an_odd_table_ends_says_whose_and_why(what: str, two: Scene) -> None:
    odd = ENDS[what]
    ran = launched(two, odd)
    assert odd.error is not None
    whose, code, words = odd.error
    assert ran.code == code, ran.text
    assert whose in ("", ran.error["whose"])
    assert all(word in ran.error["what"] for word in words), ran.error
    assert ran.error["advice"]
    for party in two.parties:
        row = two.ended(party.id)
        assert row["state"] in ("failed", "cancelled")
        own = whose == party.id and words[0] in TOLD.values()   # its own operator reads the figures instead
        assert own or words[0] in row["error"], "the other side reads it too"
        assert odd.told in row["error"] or party.id != odd.party
        assert not odd.told or odd.told not in ran.error["what"]
        assert not [name for name in two.models(party.id) if name.startswith(row["job"])]


def check_rows(record: dict[str, Any], wanted: dict[str, dict[str, int]]) -> None:
    """Every row of every table is in exactly one count."""
    for party, rows in record["rows"].items():
        assert rows["read"] == sum(rows[name] for name in COUNTS), party
        assert rows["matched"] == record["common"]
        assert rows == rows | wanted.get(party, {}), party


def report_of(scene: Scene, party: str, job: str) -> dict[str, Any]:
    """What the preparation of `party` says of its own columns."""
    manifest = json.loads((scene.directory(party) / "models" / job / "manifest.json").read_text())
    return dict(manifest["preparation"]["report"])


def test_a_table_that_changed_since_it_was_registered_is_not_read(two: Scene) -> None:
    assert two.offer("shop", "moving", table("shop")).code == 0
    (two.home / "tables" / "shop-moving.csv").write_text(_half_missing())
    ran = two.run(two.job({"shop": "moving"}))
    assert (ran.code, ran.error["whose"]) == (4, "shop")
    assert "changed since it was registered" in ran.error["what"]
    assert "dataset register" in ran.error["advice"]
    job = two.last_job("shop")["job"]
    assert "messages" not in [line["kind"] for line in two.audit_lines("shop") if line.get("job") == job]
    assert "changed since it was registered" in two.ended("bank")["error"]


# ---------------------------------------------------------------- breast, ids repeated, overlap partial

BREAST = {
    "guest with ids repeated, host with half the patients": ("breast_hetero_guest_repeated_id.csv", "id", "id", 299),
    "ids of a sample, host with half the patients": ("breast_hetero_guest_sample_id.csv", "id", "id", 299),
    "ids that never meet": ("breast_hetero_guest_sample_id.csv", "mock_id", "sample_id", None),
}


@pytest.mark.skipif(not (SHARED / "breast_hetero_host_sample_id.csv").exists(), reason="needs ../shared/data")
@pytest.mark.parametrize("what", BREAST)
def test_breast_with_repeated_ids_and_partial_overlap_accounts_for_every_row(what: str, two: Scene) -> None:
    guest, guest_id, host_id, common = BREAST[what]
    content = (SHARED / guest).read_text()
    features = [f"x{k}" for k in range(10)]
    assert two.offer("bank", "guest", content, features, id_column=guest_id, label="y", positive="1").code == 0
    content = (SHARED / "breast_hetero_host_sample_id.csv").read_text()
    assert two.offer("shop", "host", content, [f"x{k}" for k in range(20)], id_column=host_id).code == 0
    ran = two.run(two.job(
        {"bank": "guest", "shop": "host"}, label={"party": "bank", "column": "y", "positive": "1"},
        training={"penalty": 0.1, "iterations": 20, "expected_default_rate": 0.4}, hold_out={"fraction": 0.0},
    ))
    if common is None:
        assert ran.code == 6, ran.text
        assert "too few customers in common" in ran.error["what"]
        return
    record = ran.data
    assert record["common"] == common
    check_rows(record, {
        "bank": {"read": 2139, "matched": 299, "unmatched": 270, "duplicate": 1570, "blank": 0, "refused": 0},
        "shop": {"read": 299, "matched": 299, "unmatched": 0, "duplicate": 0, "blank": 0, "refused": 0},
    })
    assert record["evaluation"]["models"]["joint"]["auc"]["value"] > 0.98
