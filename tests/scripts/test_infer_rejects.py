"""Reject inference by a command: what is assumed is said to be, every time; the guess decides, so several are shown."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpc.credit.reject_inference import CAVEATS, Method
from party_node.models.kept_scores import write_scores
from scripts.infer_rejects import arguments, run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Accepted customers' scores and outcomes, and a table of riskier applicants who were declined."""
    draw = np.random.default_rng(3)
    accepted, declined = draw.normal(-2, 1, 2000), draw.normal(-1, 1, 500)
    write_scores(tmp_path / "scores.npz", draw.random(2000) < 1 / (1 + np.exp(-accepted)), accepted, accepted / 2)
    lines = [f"{k},{value:.6f}" for k, value in enumerate(declined)]
    (tmp_path / "declined.csv").write_text("\n".join(["applicant,log_odds", *lines]) + "\n")
    return tmp_path / "scores.npz", tmp_path / "declined.csv"


def found(files: tuple[Path, Path], *words: str) -> dict[str, Any]:
    return run(arguments(["--scores", str(files[0]), "--declined", str(files[1]), "--column", "log_odds", *words]))


def test_worse_guesses_give_worse_portfolios_and_the_caveats_stand_beside_them(files: tuple[Path, Path]) -> None:
    told = found(files)
    rates = list(told["bad_rate_of_all_applicants"].values())
    assert list(told["bad_rate_of_all_applicants"]) == ["factor 1", "factor 1.5", "factor 2", "factor 3"]
    assert rates == sorted(rates)
    assert rates[0] > told["bad_rate_of_accepted"]       # the declined are riskier by their score alone
    assert told["caveats"] == list(CAVEATS[Method.PARCELLING])
    assert (told["accepted"], told["declined"]) == (2000, 500)
    assert found(files, "--solo")["assumed_bad_rate_of_declined"] != told["assumed_bad_rate_of_declined"]


def test_assumed_outcomes_are_for_their_owner_alone_and_repeat(files: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "assumed.csv"
    told = found(files, "--bad-rate", "0.3", "--out", str(out))
    lines = out.read_text().splitlines()
    assert lines[0] == "assumed_bad,assumed_share"
    assert sum(line.startswith("1,") for line in lines) == 150
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert told["bad_rate_of_all_applicants"] == {
        "riskiest 0.3 bad": pytest.approx((2000 * told["bad_rate_of_accepted"] + 150) / 2500)}
    assert told["caveats"] == list(CAVEATS[Method.SIMPLE_AUGMENTATION])
    parcels = [found(files, "--factor", "2", "--out", str(out)) and out.read_text() for _ in range(2)]
    assert parcels[0] == parcels[1]


def test_every_caveat_is_printed_and_wrong_input_ends_with_four(files: tuple[Path, Path], tmp_path: Path) -> None:
    def command(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "scripts/infer_rejects.py", "--json", *words], cwd=ROOT, check=False,
                              capture_output=True, text=True, timeout=60)

    usual = ["--scores", str(files[0]), "--declined", str(files[1]), "--column", "log_odds"]
    done = command(*usual)
    assert done.returncode == 0, done.stderr
    for line in CAVEATS[Method.PARCELLING]:
        assert f"Caveat: {line}" in done.stderr
    holes = tmp_path / "holes.csv"
    holes.write_text("applicant,log_odds\n1,0.5\n2,\n")
    for words in ([*usual[:3], str(holes), *usual[4:]], [*usual, "--factor", "-1"], [*usual, "--bad-rate", "2"],
                  [*usual[:5], "nothing"]):
        wrong = command(*words)
        assert wrong.returncode == 4, words
        assert json.loads(wrong.stdout)["error"]["what"]
