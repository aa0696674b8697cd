"""`scripts/run_local_cluster.py` on tables that do not do: one JSON object, the exit code of the case, no traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from joint_risk.local_consortium import ROOT
from mpc.credit.scorecard import Scale, combined
from party_node.data.sources.table import read_table
from party_node.models.kept_scores import read_scores
from party_node.models.part import load_part
from party_node.models.scorecard import card_of
from party_node.models.scorecard_json import points_of
from tests import canaries
from tests.e2e.scene import ALARMS, LABEL, table

FINE = "1e-6"    # log-odds: figures are compared with the pooled fit's, and a hold-out of these tables is small


def run(tmp_path: Path, bank: str | None, shop: str | None, *more: str, noise: str = "0") -> tuple[int, dict, str]:
    """(exit code, JSON object, stderr). Without noise, so that weights are those of the exact fit."""
    for name, content in (("bank", bank), ("shop", shop)):
        if content is not None:
            (tmp_path / f"{name}.csv").write_text(content)
    done = subprocess.run(
        [sys.executable, "scripts/run_local_cluster.py", "--table", f"bank={tmp_path / 'bank.csv'}",
         "--table", f"shop={tmp_path / 'shop.csv'}", "--id", "customer", "--label", f"bank:{LABEL}",
         "--positive", canaries.POSITIVE, "--key-bits", "2048", "--iterations", "12", "--lambda", "0.01",
         "--minimum-columns", "1", "--score-grid", FINE,
         "--minimum-hold-out", "40",
         "--noise", noise, "--out", str(tmp_path / "out"), "--json", *more],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )
    assert not [alarm for alarm in ALARMS if alarm in done.stderr], done.stderr
    return done.returncode, json.loads(done.stdout), done.stderr


def test_two_tables_become_one_object_with_everything_that_was_asked_for(tmp_path: Path) -> None:
    code, found, text = run(tmp_path, table("bank", 0, 330), table("shop", 0, 330), "--correlations", "matrix")
    assert code == 0, text
    assert "Verdict" in text
    assert "AUC" in text
    assert "[/]" not in text, "marks for colours are for terminals"
    assert set(found) >= {"rows", "common", "auc", "ks", "coefficients", "seconds", "bytes", "ledger"}
    assert set(found["auc"]) >= {"joint", "solo", "pooled"}
    assert found["coefficients"]["max_abs_error"] <= 2e-2
    assert abs(found["auc"]["joint"] - found["auc"]["pooled"]) <= 5e-3
    correlations_are_those_of_the_pooled_table(tmp_path, found)


def test_with_the_default_noise_weights_are_near_those_of_the_pooled_fit_and_not_them(tmp_path: Path) -> None:
    code, found, text = run(tmp_path, table("bank", 0, 330), table("shop", 0, 330), noise="1")
    assert code == 0, text
    assert found["noise"] == 1.0
    assert 2e-2 < found["coefficients"]["max_abs_error"] < 1.5      # at 231 rows; n lambda is 2.3 and s 1.07
    (public,) = (tmp_path / "out" / "coordinator" / "jobs").glob("*/record.json")
    said = json.loads(public.read_text())["parameters"]
    assert said["noise"] == 1.0
    assert said["noise_deviation"] == pytest.approx(max(1.0, np.sqrt(0.01 * found["train_rows"] / 2)))


def test_weights_and_an_offset_make_the_weighted_fit_and_stay_at_their_owner(tmp_path: Path) -> None:
    rng, rows = np.random.default_rng(4), len(table("bank").splitlines()) - 1
    heavy = [f"{weight:.3f}" for weight in rng.uniform(0.2, 2.0, rows)]
    known = [f"{weight:.3f}" for weight in rng.normal(size=rows)]
    code, found, text = run(tmp_path, table("bank", w=heavy, known=known), table("shop"), "--weights", "w",
                            "--class-weights", "balanced", "--offset", "known", "--lambda", "0.05")
    assert code == 0, text
    assert found["coefficients"]["max_abs_error"] <= 2e-2
    assert abs(found["auc"]["joint"] - found["auc"]["pooled"]) <= 5e-3
    assert not [name for name in found["coefficients"]["joint"] if name in ("bank:w", "bank:known")]
    (public,) = (tmp_path / "out" / "coordinator" / "jobs").glob("*/record.json")
    said = json.loads(public.read_text())["parameters"]
    assert (said["row_weights"], said["class_weights"], said["offset"]) == (True, "balanced", True)
    page = next(public.parent.glob("report.html")).read_text()
    assert "weights of bad and good customers in the fit" in page
    assert "every figure here counts each customer once" in page
    assert "add an offset" in page
    parts = {party: load_part(tmp_path / "out" / party / "models", found["job_id"]) for party in ("bank", "shop")}
    assert (parts["bank"].offset, parts["shop"].offset) == ("known", None)
    whole = read_table(tmp_path / "bank.csv", columns=[*parts["bank"].preparation.inputs, "known"],
                       kinds=parts["bank"].preparation.kinds)
    other = read_table(tmp_path / "shop.csv", columns=parts["shop"].preparation.inputs,
                       kinds=parts["shop"].preparation.kinds)
    again = sum(parts[p].partial_scores(t, parts[p].rows)[parts[p].test] for p, t in (("bank", whole), ("shop", other)))
    kept = read_scores(tmp_path / "out" / "bank" / "models" / found["job_id"] / "scores.npz").joint
    assert np.abs(again - kept).max() < 2e-6      # the offset is added where the kept part scores a table


def test_a_job_with_bins_has_those_of_the_pooled_table(tmp_path: Path) -> None:
    code, found, text = run(tmp_path, table("bank"), table("shop"), "--bins")
    assert code == 0, text
    assert found["bins"]["columns"] >= 3
    assert found["bins"]["other_bins"] == 0
    assert max(found["bins"]["weight_error"], found["bins"]["information_error"]) <= 1e-9
    assert {line["code"] for line in found["ledger"] if line["code"].startswith("bin.")} == {"bin.counts", "bin.merged"}
    assert found["seconds"]["bin"] > 0
    assert abs(found["auc"]["joint"] - found["auc"]["pooled"]) <= 5e-3
    (public,) = (tmp_path / "out" / "coordinator" / "jobs").glob("*/record.json")
    assert "fine_bins" in json.loads(public.read_text())["parameters"]
    card_adds_up(tmp_path, public.parent.name)


def correlations_are_those_of_the_pooled_table(tmp_path: Path, found: dict[str, Any]) -> None:
    """Of the prepared training rows, which here lie in two folders of one machine."""
    shown = found["correlations"]
    (matrix,) = shown["matrices"]
    assert matrix["parties"] == ["bank", "shop"]
    blocks = []
    for party, names in zip(matrix["parties"], matrix["columns"], strict=True):
        part = load_part(tmp_path / "out" / party / "models", found["job_id"])
        kept = read_table(tmp_path / f"{party}.csv", columns=part.preparation.inputs, kinds=part.preparation.kinds)
        block = part.preparation.apply(kept, part.rows)[~part.test]
        own = {one.source: block[:, k] for k, one in enumerate(part.preparation.outputs) if one.what == "value"}
        blocks.append([own.get(name) for name in names])
    compared = 0
    for i, one in enumerate(blocks[0]):
        for j, other in enumerate(blocks[1]):
            due = 0.0 if one is None or other is None else float(np.corrcoef(one, other)[0, 1])
            assert abs(matrix["r"][i][j] - due) <= shown["step"] + 1e-6
            compared += one is not None and other is not None
    assert compared >= 4
    assert shown["step"] <= 2 / np.sqrt(shown["rows"])
    codes = {line["code"] for line in found["ledger"] if line["code"].startswith("correlate.")}
    assert codes == {"correlate.matrix", "correlate.rounding"}
    assert found["seconds"]["correlate"] > 0


def card_adds_up(tmp_path: Path, job: str) -> None:
    """The points of both parties' cards, in one order of customers, are the joint score of the hold-out rows."""
    scale, totals, characteristics = Scale(), [], 0
    for party in ("bank", "shop"):
        part = load_part(tmp_path / "out" / party / "models", job)
        card = card_of(part, scale)
        table = read_table(tmp_path / f"{party}.csv", columns=part.preparation.inputs, kinds=part.preparation.kinds)
        totals.append(card.part.total(points_of(card.part, table))[part.rows][part.test])
        characteristics += len(card.part.characteristics)
        assert card.bounded_rows == 0
    joint = read_scores(tmp_path / "out" / "bank" / "models" / job / "scores.npz").joint
    gap = np.abs(combined(totals) - scale.score(joint)).max()
    step = scale.factor * float(FINE)                      # the partner's part is opened on the grid
    assert 0 < gap <= scale.rounding(characteristics, 2) + step



WRONG = {
    "a file that is not there": (None, table("shop"), [], "does not exist"),
    "a label that is not there": (table("bank"), table("shop"), ["--label", "bank:dpd90"], f"did you mean `{LABEL}`?"),
    "a party that is not there": (table("bank"), table("shop"), ["--drop", "bnk:age"], "does not name a party"),
    "labels that are all equal": (
        table("bank", **{LABEL: [canaries.NEGATIVE] * 260}), table("shop"), [], "positive value"),
    "an id column that is not there": (table("bank"), table("shop"), ["--id", "shop:client"], "no column `client`"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_input_ends_with_4_and_a_sentence(what: str, tmp_path: Path) -> None:
    bank, shop, more, sentence = WRONG[what]
    code, found, text = run(tmp_path, bank, shop, *more)
    assert code == 4, text
    assert sentence in text
    assert found["ok"] is False
    assert sentence in json.dumps(found["error"], ensure_ascii=False)
