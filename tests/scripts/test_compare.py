import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from party_node.models.kept_scores import write_scores

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "compare_joint_vs_solo.py"


def run(*arguments):
    done = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    rng = np.random.default_rng(2)
    ours, theirs = rng.normal(size=800), rng.normal(size=800)
    outcome = rng.random(800) < 1 / (1 + np.exp(-(ours + theirs - 2)))
    path = tmp_path_factory.mktemp("kept") / "scores.npz"
    write_scores(path, outcome, ours + theirs - 2, ours - 2)
    return path, outcome, ours + theirs - 2, ours - 2


def test_the_analyst_reads_a_table_and_a_verdict_on_stderr_and_json_on_stdout(kept):
    path, outcome, joint, solo = kept
    money = ["--lgd", "0.6", "--margin", "0.08", "--exposure", "5000"]
    done = run("--scores", path, "--json", "--replicates", "40", *money)
    assert done.returncode == 0
    envelope = json.loads(done.stdout)
    found = envelope["data"]["evaluation"]
    assert found["models"]["joint"]["auc"]["value"] == pytest.approx(roc_auc_score(outcome, joint), abs=1e-6)
    assert found["models"]["solo"]["auc"]["value"] == pytest.approx(roc_auc_score(outcome, solo), abs=1e-6)
    assert found["verdict"]["kind"] == "better"
    for word in ("solo", "joint", "difference", "AUC", "KS", "Verdict: joint ranks better", "profit"):
        assert word in done.stderr
    for line in envelope["data"]["money"]:
        assert line["difference"]["value"] == pytest.approx(line["joint"]["value"] - line["solo"]["value"], abs=20)
        assert line["difference"]["low"] <= line["difference"]["value"] <= line["difference"]["high"]
    half = next(line for line in found["trade_off"] if line["approval_rate"] == 0.5)["bad_rate"]["solo"]["value"]
    told = next(line for line in envelope["data"]["money"] if line["approval_rate"] == 0.5)["solo"]["value"]
    assert told == pytest.approx(500 * 5000 * (0.08 * (1 - half) - 0.6 * half), abs=1)


def test_without_json_stdout_stays_empty(kept):
    done = run("--scores", kept[0], "--replicates", "5")
    assert (done.returncode, done.stdout) == (0, "")
    assert "Verdict" in done.stderr


WRONG = {
    "no such file": ["--scores", "nowhere.npz"],
    "no file named": [],
    "an unknown option": ["--scores", "KEPT", "--fast"],
    "a number that is none": ["--scores", "KEPT", "--approval", "many"],
    "an approval rate above one": ["--scores", "KEPT", "--approval", "80"],
    "money by halves": ["--scores", "KEPT", "--lgd", "0.5"],
    "a loss above the exposure": ["--scores", "KEPT", "--lgd", "60", "--margin", "0.1", "--exposure", "1"],
    "no replicates": ["--scores", "KEPT", "--replicates", "0"],
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_told_with_exit_code_four(name, kept):
    arguments = [str(kept[0]) if word == "KEPT" else word for word in WRONG[name]]
    done = run(*arguments, "--json")
    assert done.returncode == 4
    envelope = json.loads(done.stdout)
    assert envelope["ok"] is False
    assert envelope["error"]["code"] == "wrong-input"
    assert envelope["error"]["what"]
    assert done.stderr.strip()


def test_labels_that_are_all_equal_are_a_clear_error(tmp_path):
    write_scores(tmp_path / "scores.npz", np.zeros(30), np.arange(30.0), np.arange(30.0))
    done = run("--scores", tmp_path / "scores.npz")
    assert done.returncode == 4
    assert "all labels are equal" in done.stderr
