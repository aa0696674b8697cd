"""Jobs between real processes that end with the alignment, and what identifiers may look like on two sides."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

from party_node.config import PartyDirectory
from party_node.models.kept_rows import PASSING, read_rows
from party_node.models.part import load_part
from tests import canaries
from tests.e2e.scene import COMMON_OF_THREE, COMMON_OF_TWO, FAMILY, LABEL, PRESENT, Scene, csv, table, world
from tests.e2e.test_odd_tables import check_rows

OUTPUTS = {
    "all": ({"bank", "shop"}, {"align.overlaps", "align.members"}),
    "label_holder_only": ({"bank"}, {"align.overlaps", "align.members.label_holder", "align.size"}),
    "sizes_only": (set(), {"align.overlaps", "align.size"}),
}


def kept_ids(scene: Scene, party: str, job: str) -> list[str]:
    """The customers of the rows that a party kept, in their order."""
    kept = read_rows(PartyDirectory(scene.directory(party)).alignments, job)
    low, _ = PRESENT[party]
    return [canaries.canary_id(low + row) for row in kept.rows]


@pytest.mark.parametrize("engine", ["ecdh", "oprf"])
@pytest.mark.parametrize("output", OUTPUTS)
def test_an_alignment_ends_with_what_its_output_says_and_no_model(output: str, engine: str, two: Scene) -> None:
    knowing, codes = OUTPUTS[output]
    before = {party.id: two.models(party.id) for party in two.parties}
    ran = two.run(two.job(goal="alignment", align={"output": output, "engine": engine}))
    record = ran.data
    assert record["common"] == COMMON_OF_TWO
    assert (record["evaluation"], record["train_rows"], record["test_rows"]) == (None, 0, 0)
    assert {line["code"] for line in record["ledger"]} == codes
    assert set(record["seconds"]) == {"align"}
    check_rows(record, {"bank": {"matched": COMMON_OF_TWO}})
    folders = {party.id: PartyDirectory(two.directory(party.id)).alignments for party in two.parties}
    assert {party for party, folder in folders.items() if (folder / f"{record['job_id']}.npz").exists()} == knowing
    assert not [path for folder in folders.values() for path in folder.glob(f"*{PASSING}")]
    lists = [kept_ids(two, party, record["job_id"]) for party in sorted(knowing)]
    assert all(ids == lists[0] and len(set(ids)) == COMMON_OF_TWO for ids in lists)
    assert {party.id: two.models(party.id) for party in two.parties} == before
    assert two.ended("shop")["state"] == "done"


def test_three_parties_count_in_buckets(three: Scene) -> None:
    record = three.run(three.job(goal="alignment", align={
        "output": "sizes_only", "engine": "oprf", "padding": "bucket"})).data
    assert record["common"] == COMMON_OF_THREE
    assert record["parameters"]["align_padding"] == "bucket"
    check_rows(record, {})


def test_a_plan_for_an_alignment_says_what_is_learned_and_no_more(two: Scene) -> None:
    plan = two.job(goal="alignment", align={"output": "sizes_only"})
    arguments = two.launch_arguments(plan)
    ran = two.coordinator("plan", arguments[1])
    assert "how many customers all institutions have in common, no members" in ran.text
    assert "which of its own customers" not in ran.text
    assert "joint score" not in ran.text
    assert set(ran.data["forecast"]["megabytes_by_stage"]) == {"align"}


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "a model whose members only the label holder knows": (
        {"align": {"output": "label_holder_only"}}, "every party to know its rows"),
    "columns in an alignment": (
        {"goal": "alignment", "party": [{"id": "bank", "dataset": "table", "columns": ["age"]},
                                        {"id": "shop", "dataset": "table"}]}, "an alignment uses no columns"),
    "all rows of a feature holder": (
        {"party": [{"id": "bank", "dataset": "table"},
                   {"id": "shop", "dataset": "table", "duplicates": "keep_all"}]}, "keep_all is for the label holder"),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_plan_that_contradicts_itself_is_mended_before_anybody_is_asked(what: str, two: Scene) -> None:
    change, words = MISTAKES[what]
    ran = two.run(two.job(**change))
    assert ran.code == 4
    assert words in ran.error["what"]


# ---------------------------------------------------------------- repeated ids that are kept


def test_every_row_of_the_label_holder_is_an_observation_where_all_are_kept(two: Scene) -> None:
    low, high = PRESENT["bank"]
    known, again = world(), range(100, 130)
    rows = [*range(low, high), *again, *again]
    cells = {name: [known[name][row] for row in rows] for name in ["customer", *FAMILY["bank"], LABEL]}
    assert two.offer("bank", "loans", csv(cells)).code == 0
    record = two.run(two.job(party=[
        {"id": "bank", "dataset": "loans", "duplicates": "keep_all"}, {"id": "shop", "dataset": "table"}])).data
    observations = COMMON_OF_TWO + 2 * len(again)
    assert record["common"] == COMMON_OF_TWO
    assert (record["parameters"]["copies"], record["parameters"]["largest_weight"]) == (True, 10.0)
    assert record["train_rows"] + record["test_rows"] == observations
    assert record["rows"]["bank"] == {
        "read": 320, "matched": observations, "unmatched": 40, "duplicate": 0, "blank": 0, "refused": 0}
    assert record["rows"]["shop"]["matched"] == COMMON_OF_TWO
    assert {"align.copies", "align.members"} <= {line["code"] for line in record["ledger"]}
    parts = {party: load_part(two.directory(party) / "models", record["job_id"]) for party in ("bank", "shop")}
    ours = [rows[row] for row in parts["bank"].rows]
    theirs = [PRESENT["shop"][0] + row for row in parts["shop"].rows]
    assert ours == theirs
    assert len(ours) == observations
    train, test = ({ours[i] for i in np.flatnonzero(parts["bank"].test == held)} for held in (False, True))
    assert not train & test, "a customer is on both sides of the hold-out"


def test_a_customer_of_350_rows_trains_no_model_however_it_is_asked_for(two: Scene) -> None:
    """Both policies have their default: nobody weighs more than others."""
    low, high = PRESENT["bank"]
    known, heavy = world(), 350 * [110]
    cells = {name: [known[name][row] for row in [*range(low, high), *heavy]]
             for name in ["customer", *FAMILY["bank"], LABEL]}
    even = {"minimum_difference": 0, "largest_weight": 1.0}
    assert two.offer("bank", "heavy", csv(cells), policy=even).code == 0
    assert two.offer("shop", "even", table("shop"), policy=even).code == 0
    job = two.job(party=[
        {"id": "bank", "dataset": "heavy", "duplicates": "keep_all"}, {"id": "shop", "dataset": "even"}])
    denied = two.run(job)
    assert denied.code == 6
    assert "policy.largest_weight" in denied.text
    ended = two.run(job | {"label": job["label"] | {"largest_weight": 1.0}})
    assert ended.code == 1, ended.text
    assert "a customer has more rows than the largest weight allows that was agreed" in ended.text
    binned = two.run(job | {"binning": {}})
    assert "not with duplicates keep_all" in binned.error["what"]


# ---------------------------------------------------------------- identifiers of several columns, and digests


def split_table(party: str) -> str:
    """The party's table with its id cut in two columns."""
    low, high = PRESENT[party]
    known = world()
    ids = known["customer"][low:high]
    names = [*FAMILY[party], *([LABEL] if party == "bank" else [])]
    return csv({"branch": [one[:9] for one in ids], "account": [one[9:] for one in ids]}
               | {name: known[name][low:high] for name in names})


def test_ids_of_two_columns_meet_part_by_part(two: Scene) -> None:
    for party in ("bank", "shop"):
        assert two.offer(party, "parts", split_table(party), id_column=["branch", "account"]).code == 0
    assert two.run(two.job({"bank": "parts", "shop": "parts"}, goal="alignment")).data["common"] == COMMON_OF_TWO
    ran = two.run(two.job({"bank": "parts"}, goal="alignment"))
    assert (ran.code, ran.error["whose"]) == (4, "shop")
    assert "bank matches ids as plain, plain, shop as plain" in ran.error["what"]


def test_ids_in_writing_meet_the_other_sides_digests(two: Scene) -> None:
    low, high = PRESENT["shop"]
    digests = [hashlib.sha256(canaries.canary_id(k).casefold().encode()).hexdigest().upper() for k in range(low, high)]
    assert two.offer("shop", "digests", table("shop", customer=digests), id_scheme="sha256").code == 0
    record = two.run(two.job({"shop": "digests"}, goal="alignment")).data
    assert record["common"] == COMMON_OF_TWO
    assert record["parameters"]["id_scheme"] == "sha256"
    assert two.offer("shop", "undeclared", table("shop", customer=digests)).code == 0
    ran = two.run(two.job({"shop": "undeclared"}, goal="alignment"))
    assert (ran.code, ran.error["whose"]) == (4, "shop")
    assert "shop's ids are hashed values, bank's ids are not" in ran.error["what"]
    assert "id_scheme" in ran.error["advice"]
    assert "Nothing was sent" in ran.error["what"]
