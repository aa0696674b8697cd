"""Three institutions, one model: every row accounted for, kept parts that score again alike, logs that hold."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mpc.errors import LocalError
from mpc.statistics.metrics import roc_auc
from party_node.commands.operator import run_command
from party_node.config import PartyDirectory
from party_node.daemon.node import Node
from party_node.data.label import read_label
from party_node.data.sources.table import read_table
from party_node.models.kept_scores import read_scores
from party_node.models.part import load_part
from tests import canaries
from tests.e2e.scene import COMMON_OF_THREE, FAMILY, FLOORS, LABEL, PRESENT, Scene
from wire.spec.scores import ONE_POINT

COUNTS = ("matched", "unmatched", "duplicate", "blank", "refused")


@pytest.fixture(scope="module")
def _record(_three: Scene) -> dict:
    """The public record of one job of three, its hold-out drawn by the joint coin."""
    _three.all_up()
    return _three.run(_three.job(hold_out={"fraction": 0.3, **FLOORS})).data


@pytest.fixture
def record(_record: dict, three: Scene) -> dict:
    return _record


def test_three_parties_train_one_model_and_every_row_is_accounted_for(record: dict, three: Scene) -> None:
    assert record["common"] == COMMON_OF_THREE
    for party, (low, high) in PRESENT.items():
        rows = record["rows"][party]
        assert rows["read"] == high - low == sum(rows[name] for name in COUNTS)
        assert rows["matched"] == COMMON_OF_THREE
    assert record["train_rows"] + record["test_rows"] == COMMON_OF_THREE
    assert set(record["bytes"]) >= {"align", "train", "evaluate"}
    assert set(record["bytes"]["train"]) == {f"{a}->{b}" for a in PRESENT for b in PRESENT if a != b}
    assert {line["code"] for line in record["ledger"]} >= {"align.members", "score.sum", "train.weights"}


def test_the_other_institutions_parts_rank_the_common_customers_better(record: dict, three: Scene) -> None:
    """Over all of them: the hold-out is drawn anew in each run, and 66 customers rank by chance."""
    scores = {}
    for party, columns in FAMILY.items():
        part = load_part(three.directory(party) / "models", record["job_id"])
        table = read_table(three.home.parent / f"{party}.csv", columns=columns, kinds=part.preparation.kinds)
        scores[party] = part.partial_scores(table, part.rows)
        if party == "bank":
            labels = read_label(read_table(three.home.parent / "bank.csv", columns=[LABEL]), LABEL, canaries.POSITIVE)
            outcome = labels.positive[part.rows]
    assert len(outcome) == COMMON_OF_THREE
    alone, together = roc_auc(outcome, scores["bank"]), roc_auc(outcome, sum(scores.values()))
    assert together > alone + 0.02, "two other institutions hold most of the signal"


def test_kept_parts_score_the_tables_again_to_the_same_joint_scores(record: dict, three: Scene) -> None:
    total = np.zeros(record["test_rows"])
    for party, columns in FAMILY.items():
        part = load_part(three.directory(party) / "models", record["job_id"])
        assert int(part.test.sum()) == record["test_rows"]
        table = read_table(three.home.parent / f"{party}.csv", columns=columns,
                           kinds=part.preparation.kinds)
        total += part.partial_scores(table, part.rows[part.test])
    kept = read_scores(three.directory("bank") / "models" / record["job_id"] / "scores.npz")
    gap = kept.joint - total
    assert np.abs(gap).max() < 2 * ONE_POINT        # less than a step of the grid for each of the two other parts
    assert abs(gap.mean()) < 0.25 * ONE_POINT       # up and down alike


def test_every_party_keeps_its_own_part_only(record: dict, three: Scene) -> None:
    for party in FAMILY:
        folder = three.directory(party) / "models" / record["job_id"]
        assert three.listed_models(party) >= {record["job_id"]}
        manifest = json.loads((folder / "manifest.json").read_text())
        assert (manifest["job"], manifest["party"]) == (record["job_id"], party)
        assert {output["source"] for output in manifest["preparation"]["outputs"]} == set(FAMILY[party])
        assert (folder / "scores.npz").exists() == (party == "bank")
        made = three.operator(party, "report", record["job_id"][:12]).data
        assert "<script" not in (Path(made["path"]) / "report.html").read_text()
        assert {"weights", "stability", "ledger"} <= set(made["tables"])
    assert three.coordinator("jobs").data["jobs"][0]["state"] == "finished"
    kept = three.directory("coordinator") / "jobs" / record["job_id"]
    assert json.loads((kept / "record.json").read_text()) == record


def test_the_audit_logs_of_all_hold_and_are_countersigned(record: dict, three: Scene) -> None:
    for party in FAMILY:
        found = three.operator(party, "audit", "verify").data
        assert found["countersigned"] >= 2
        assert found["lines"] == len(three.audit_lines(party))


def _edited(lines: list[bytes]) -> list[bytes]:
    return [*lines[:4], lines[4].replace(b'"kind":"', b'"kind":"x'), *lines[5:]]


def _without(lines: list[bytes]) -> list[bytes]:
    return [*lines[:4], *lines[5:]]


def _shortened(lines: list[bytes]) -> list[bytes]:
    return lines[:4]


TAMPERED: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "a line is edited": (_edited, "line 5"),
    "a line is taken out": (_without, "line 5"),
    "the end is cut off": (_shortened, "line 5"),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_a_tampered_log_is_found_at_its_first_bad_line(
    how: str, record: dict, three: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, where = TAMPERED[how]
    copy = tmp_path / "shop"
    shutil.copytree(three.directory("shop"), copy, ignore=shutil.ignore_patterns("process.log"))
    canaries.exempt(copy)
    log = copy / "audit" / "audit.jsonl"
    log.write_bytes(b"".join(change(log.read_bytes().splitlines(keepends=True))))
    code = run_command(["--dir", str(copy), "--json", "audit", "verify"])
    envelope = json.loads(capsys.readouterr().out)
    assert code == 4
    assert where in envelope["error"]["what"]
    assert envelope["error"]["whose"] == "shop"
    node = Node(PartyDirectory(copy))
    with pytest.raises(LocalError, match="audit log"):  # a node does not go on with a history that was changed
        asyncio.run(node.start())
    node._store.close()
