"""A model in two jobs, over real processes: what is made ahead serves one round, and everybody says when it cannot."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from joint_risk.local_consortium import COORDINATOR
from tests.e2e.scene import COMMON_OF_TWO, FLOORS, Ran, Scene

SOON_S = 15.0     # by the clock of a busy machine, starting the command's process included


def kept(scene: Scene, party: str) -> Path:
    """The one file that `party` keeps."""
    (file,) = (scene.directory(party) / "prepared").glob("*")
    return file


def empty(scene: Scene) -> None:
    """What an earlier test made ahead is removed, by command."""
    for party in scene.parties:
        for one in scene.operator(party.id, "prepared", "list").data["prepared"]:
            assert scene.operator(party.id, "prepared", "remove", one["job"][:12]).data["removed"]
        assert not list((scene.directory(party.id) / "prepared").glob("*"))


def refused(ran: Ran, whose: str, code: int, *words: str) -> None:
    assert ran.code == code, ran.text
    assert ran.seconds < SOON_S
    assert ran.error["whose"] == whose, ran.text
    for word in words:
        assert word in ran.error["what"] + ran.error["advice"], ran.text


def listed(scene: Scene, party: str) -> dict[str, str]:
    """What a party keeps: job -> state, as its operator is shown it."""
    return {one["job"]: one["state"] for one in scene.operator(party, "prepared", "list").data["prepared"]}


@pytest.fixture
def ready(two: Scene) -> tuple[Scene, str]:
    """Bank and shop after `coordinator precompute` of the ordinary job; an earlier test's serves if it is unused."""
    for job in listed(two, "bank"):
        if listed(two, "bank") == listed(two, "shop") == {job: "ready"}:
            return two, job
    empty(two)
    return two, str(two.ahead(two.job()).data["job_id"])


def test_a_node_that_lost_or_damaged_its_half_is_named_and_the_others_keep_theirs(ready: tuple[Scene, str]) -> None:
    scene, job = ready
    file = kept(scene, "shop")
    whole = file.read_bytes()
    elsewhere = file.rename(scene.home / "elsewhere.parquet")
    refused(scene.run(scene.job(), "--prepared", job), "shop", 4, "not here any more", "coordinator precompute")
    elsewhere.rename(file)
    for spoilt in (whole[: len(whole) // 2], whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:]):
        file.write_bytes(spoilt)
        refused(scene.run(scene.job(), "--prepared", job), "shop", 4, "damaged")
    file.write_bytes(whole)
    assert listed(scene, "bank") == listed(scene, "shop") == {job: "ready"}       # nothing was burnt


OTHER: dict[str, tuple[dict[str, Any], str]] = {
    "penalty": ({"training": {"penalty": 0.5, "iterations": 12, "expected_default_rate": 0.3}}, "training.penalty"),
    "iterations": ({"training": {"penalty": 1e-2, "iterations": 13, "expected_default_rate": 0.3}},
                   "training.iterations"),
    "hold-out": ({"hold_out": {"fraction": 0.2, "seed": "1", **FLOORS}}, "hold_out.fraction"),
    "columns": ({"party": [{"id": "bank", "dataset": "table"},
                           {"id": "shop", "dataset": "table", "columns": ["basket"]}]}, "parties.shop.columns"),
}


def test_what_does_not_fit_is_told_before_anything_is_proposed(ready: tuple[Scene, str]) -> None:
    scene, job = ready
    for change, field in OTHER.values():
        refused(scene.run(scene.job(**change), "--prepared", job), "coordinator", 4, field, "without --prepared")
    refused(scene.run(scene.job(), "--prepared", "ffff"), "coordinator", 4, "no job")
    shop = next(party for party in scene.parties if party.id == "shop")
    table = Path(shop.table).read_text()
    try:
        Path(shop.table).write_text(table + "x-new,1.0,2\n")
        refused(scene.run(scene.job(), "--prepared", job), "shop", 4, "changed")
        scene.register(shop)
        refused(scene.run(scene.job(), "--prepared", job), "coordinator", 4, "parties.shop.dataset_digest")
    finally:
        Path(shop.table).write_text(table)
        scene.register(shop)
    assert listed(scene, "bank") == listed(scene, "shop") == {job: "ready"}


def test_an_operator_may_remove_what_was_made_ahead_and_jobs_that_name_it_are_refused(ready: tuple[Scene, str]) -> None:
    scene, job = ready
    assert scene.operator("shop", "prepared", "remove", job[:12]).data["removed"]
    assert scene.operator("shop", "prepared", "remove", job[:12]).code == 4
    refused(scene.run(scene.job(), "--prepared", job), "shop", 6, "used before or removed")
    empty(scene)


def test_the_round_takes_what_was_made_ahead_and_nobody_can_use_it_again(ready: tuple[Scene, str]) -> None:
    scene, job = ready
    first = json.loads((scene.directory(COORDINATOR) / "jobs" / job / "record.json").read_text())
    assert (first["goal"], first["common"], first["evaluation"]) == ("precompute", COMMON_OF_TWO, None)
    assert not {line["code"] for line in first["ledger"]} & {"train.weights", "score.sum", "train.delta"}
    assert set(first["seconds"]) == {"align", "split", "bin", "prepare", "correlate", "precompute"}
    assert "Work ahead of a joint model" in (scene.directory(COORDINATOR) / "jobs" / job / "report.html").read_text()
    copies = {party.id: kept(scene, party.id).read_bytes() for party in scene.parties}
    for party in scene.parties:
        file = kept(scene, party.id)
        assert (file.name, stat.S_IMODE(file.stat().st_mode)) == (job, 0o600)
        assert scene.last_job(party.id)["goal"] == "precompute"

    round_ = scene.run(scene.job(), "--prepared", job[:10]).data
    assert round_["prepared"] == job
    assert round_["common"] == COMMON_OF_TWO
    assert round_["test_rows"] == first["test_rows"]
    assert set(round_["seconds"]) == {"take up", "train", "evaluate"}
    assert set(round_["bytes"]) == {"train", "evaluate", "finish"}
    assert job in (scene.directory(COORDINATOR) / "jobs" / round_["job_id"] / "report.html").read_text()
    assert scene.last_job("shop")["prepared"] == job
    assert scene.operator("bank", "report", round_["job_id"][:12]).code == 0

    assert not [file for party in scene.parties for file in (scene.directory(party.id) / "prepared").iterdir()]
    refused(scene.run(scene.job(), "--prepared", job), "bank", 6, "used before", "--prepared")
    for party, copy in copies.items():         # from a backup
        (scene.directory(party) / "prepared" / job).write_bytes(copy)
        (scene.directory(party) / "prepared" / job).chmod(0o600)
    refused(scene.run(scene.job(), "--prepared", job), "bank", 6, "used before", "--prepared")
    assert listed(scene, "shop") == {job: "used"}
    empty(scene)


def test_after_a_kill_in_the_midst_of_the_round_its_half_is_gone_and_said_so(two: Scene) -> None:
    empty(two)
    slow = two.job(training={"penalty": 1e-2, "iterations": 60, "expected_default_rate": 0.3})
    job = two.ahead(slow).data["job_id"]
    launch = two.begin(slow, "--prepared", job)
    launch.iterating()
    two.kill("shop")
    assert launch.wait(40.0).code == 1
    two.start("shop")
    for party in two.parties:
        assert listed(two, party.id) == {}
    refused(two.run(slow, "--prepared", job), "bank", 6, "used before")
