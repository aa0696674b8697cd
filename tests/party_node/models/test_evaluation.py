import json
import os
import pickle
import stat

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mpc.errors import LocalError
from mpc.statistics import metrics
from party_node.models.evaluation import evaluate
from party_node.models.kept_scores import KeptScores, read_scores, write_scores


def hold_out(size=1200, gain=0.9, seed=1, base=-2.0):
    """Labels whose risk has two parts: solo sees the first, joint also `gain` of the second."""
    rng = np.random.default_rng(seed)
    ours, theirs = rng.normal(size=size), rng.normal(size=size)
    outcome = rng.random(size) < 1 / (1 + np.exp(-(base + ours + gain * theirs)))
    return outcome, base + ours + gain * theirs, base + ours


@pytest.fixture(scope="module")
def case():
    outcome, joint, solo = hold_out()
    return outcome, joint, solo, evaluate(outcome, joint, solo, replicates=120)


def test_the_figures_equal_the_plain_metrics_and_lie_in_their_intervals(case):
    outcome, joint, solo, found = case
    for name, scores in (("joint", joint), ("solo", solo)):
        table = found["models"][name]
        assert table["auc"]["value"] == pytest.approx(roc_auc_score(outcome, scores), abs=1e-6)
        assert table["ks"]["value"] == pytest.approx(metrics.ks(outcome, scores), abs=1e-6)
        assert table["gini"]["value"] == pytest.approx(2 * table["auc"]["value"] - 1, abs=2e-6)
        assert table["brier"]["value"] == pytest.approx(metrics.brier(outcome, scores), abs=1e-6)
        assert table["log_loss"]["value"] == pytest.approx(metrics.log_loss(outcome, scores), abs=1e-6)
        assert list(table)[:2] == ["auc", "ks"]
        assert set(table) >= {"calibration_intercept", "calibration_slope", "bad_rate", "approval"}
        for figure in table.values():
            assert figure["low"] <= figure["value"] <= figure["high"]
    assert found["models"]["joint"]["calibration_slope"]["low"] < 1
    assert found["models"]["joint"]["calibration_slope"]["high"] > 1


def test_differences_are_joint_minus_solo(case):
    *_, found = case
    for name, figure in found["difference"].items():
        gap = found["models"]["joint"][name]["value"] - found["models"]["solo"][name]["value"]
        assert figure["value"] == pytest.approx(gap, abs=2e-6)
    assert found["difference"]["auc"]["p_value"] < 0.001
    assert found["difference"]["bad_rate"]["high"] < 0
    assert found["difference"]["approval"]["low"] > 0


def test_no_row_and_no_score_is_in_the_evaluation(case):
    outcome, joint, solo, found = case
    text = json.dumps(found, allow_nan=False)
    assert len(text) < 20_000

    def lists(value):
        if isinstance(value, dict):
            for item in value.values():
                yield from lists(item)
        elif isinstance(value, list):
            yield value
            for item in value:
                yield from lists(item)

    assert max(len(item) for item in lists(found)) <= 20
    for value in np.concatenate([joint, solo]):
        assert repr(float(value)) not in text
    assert min(cell["rows"] for cell in found["swap_set"]["cells"].values()) >= 20
    assert sum(cell["rows"] for cell in found["swap_set"]["cells"].values()) == len(outcome)
    assert found["rows"] == {"test": len(outcome), "bad": int(outcome.sum())}


def test_the_same_rows_give_the_same_figures(case):
    outcome, joint, solo, found = case
    assert evaluate(outcome, joint, solo, replicates=120) == found


def verdict_of(outcome, joint, solo):
    found = evaluate(outcome, joint, solo, replicates=5)
    return found["verdict"]["kind"], found["verdict"]["text"]


def test_the_verdict_says_plainly_what_was_found():
    outcome, joint, solo = hold_out()
    kind, text = verdict_of(outcome, joint, solo)
    assert kind == "better"
    assert text.startswith("joint ranks better: AUC +0.")
    kind, text = verdict_of(outcome, solo, joint)
    assert kind == "none"
    assert text.startswith("no measurable gain: AUC -0.")
    assert "joint even ranks worse (p" in text
    noise = np.random.default_rng(0).normal(size=len(solo)) * 0.05
    kind, text = verdict_of(outcome, solo + noise, solo)
    assert kind == "none"
    assert text.startswith("no measurable gain")
    assert "worse" not in text


def test_a_gain_that_chance_shows_once_in_fifty_is_no_measurable_gain():
    found = [evaluate(*hold_out(1200, gain=0.08, seed=seed), replicates=5) for seed in range(40)]
    between = [one for one in found if 0.01 < one["verdict"]["p_value"] < 0.05]
    assert len(between) >= 5
    for one in between:
        assert one["verdict"]["kind"] == "none"
        assert "tested at 1 %" in one["verdict"]["text"]


def test_a_gain_whose_size_is_unknown_is_worded_so():
    found = [evaluate(*hold_out(400, gain=0.5, seed=seed), replicates=5) for seed in range(12)]
    unsure = [one for one in found if one["verdict"]["kind"] == "better" and one["difference"]["auc"]["low"] <= 0]
    assert unsure
    assert all(one["verdict"]["text"].startswith("joint knows more, too few rows to say how much: AUC +0.")
               for one in unsure)


def test_a_lower_auc_is_no_gain_whatever_was_added():
    outcome, joint, solo = hold_out()
    other = joint - solo + 1.5 * np.random.default_rng(9).normal(size=len(solo))   # the partner's alone, blurred
    found = evaluate(outcome, other, solo, replicates=5)
    assert found["verdict"]["p_value"] < 0.01
    assert found["difference"]["auc"]["value"] < 0
    assert found["verdict"]["kind"] == "none"


def test_few_bad_customers_give_no_verdict():
    outcome, joint, solo = hold_out(150, base=-4.5)
    assert 0 < outcome.sum() < 20
    found = evaluate(outcome, joint, solo, replicates=5)
    assert found["verdict"]["text"].startswith("too few bad customers to tell")
    assert (found["verdict"]["kind"], found["verdict"]["finding"]) == ("unclear", "few_bad")


def test_a_wide_interval_is_not_called_no_gain():
    outcome, *_ = hold_out(110, seed=3, base=-1.0)
    rng = np.random.default_rng(7)
    kind, text = verdict_of(outcome, rng.normal(size=110), rng.normal(size=110))
    assert kind == "unclear"
    assert "AUC" in text


def test_small_quadrants_and_few_customers_are_shown_to_their_owner():
    outcome, joint, _ = hold_out(400, base=-1.0)
    nearly = joint.copy()
    order = np.argsort(joint)
    nearly[order[[319, 320]]] = nearly[order[[320, 319]]]
    assert evaluate(outcome, joint, nearly, replicates=5)["swap_set"]["cells"]["joint_only"]["rows"] == 1
    same = evaluate(outcome, joint, joint, replicates=5)["swap_set"]
    assert same["cells"]["joint_only"] == {"rows": 0, "bad_rate": None}
    few = evaluate(outcome[:8], joint[:8], nearly[:8], replicates=5)
    assert len(few["groups"]["joint"]) == 8


def test_a_score_that_separates_the_labels_leaves_calibration_out():
    outcome, _, solo = hold_out(300, base=0.0)
    found = evaluate(outcome, np.where(outcome, 3.0, -3.0), solo, replicates=5)
    assert found["models"]["joint"]["auc"]["value"] == 1.0
    assert "calibration_slope" not in found["models"]["joint"]
    assert "calibration_slope" in found["models"]["solo"]


WRONG = {
    "all labels equal": ([True] * 4, [0.0, 1, 2, 3], [0.0, 1, 2, 3], "all labels are equal"),
    "scores of another length": ([True, False], [0.0, 1, 2], [0.0, 1], "different lengths"),
    "a score that is not finite": ([True, False], [0.0, 1.0], [float("inf"), 1], "not a finite number"),
}


@pytest.mark.parametrize("name", WRONG)
def test_rows_that_cannot_be_judged_are_a_clear_error(name):
    outcome, joint, solo, message = WRONG[name]
    with pytest.raises(LocalError, match=message):
        evaluate(np.array(outcome), joint, solo, replicates=5)


def test_kept_scores_come_back_as_they_were_and_only_the_owner_may_read_them(tmp_path):
    outcome, joint, solo = hold_out(50)
    path = tmp_path / "scores.npz"
    before = os.umask(0)
    try:
        write_scores(path, outcome, joint, solo)
        write_scores(path, outcome, joint, solo)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["scores.npz"]
    kept = read_scores(path)
    np.testing.assert_array_equal(kept.outcome, outcome)
    np.testing.assert_array_equal(kept.joint, joint)
    np.testing.assert_array_equal(kept.solo, solo)
    assert repr(kept) == "KeptScores(50 rows)"
    with pytest.raises(TypeError):
        pickle.dumps(kept)


def test_a_failed_write_leaves_nothing_behind(tmp_path):
    with pytest.raises(LocalError):
        write_scores(tmp_path / "scores.npz", [True, False], [0.0], [0.0, 1.0])
    assert list(tmp_path.iterdir()) == []


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def pickled(path):
    np.savez(path, y=np.array([Bomb()], dtype=object), joint=np.zeros(1), solo=np.zeros(1))


FILES = {
    "not there": lambda path: None,
    "not an archive": lambda path: path.write_bytes(b"PK\x03\x04 nothing"),
    "empty": lambda path: path.write_bytes(b""),
    "a bare array": lambda path: np.save(path.open("wb"), np.zeros(3)),
    "pickled objects": pickled,
    "a column missing": lambda path: np.savez(path, y=np.zeros(2, bool), joint=np.zeros(2)),
    "labels that are numbers": lambda path: np.savez(path, y=np.zeros(2), joint=np.zeros(2), solo=np.zeros(2)),
    "lengths that differ": lambda path: np.savez(path, y=np.zeros(2, bool), joint=np.zeros(2), solo=np.zeros(3)),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_not_a_keep_file_is_refused_and_never_unpickled(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    FILES[name](tmp_path / "scores.npz")
    with pytest.raises(LocalError):
        read_scores(tmp_path / "scores.npz")
    assert not (tmp_path / "exploded").exists()


def test_kept_scores_are_a_plain_value():
    kept = KeptScores(np.array([True]), np.zeros(1), np.ones(1))
    assert "True" not in repr(kept)
