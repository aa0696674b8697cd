"""Champion and challenger: the same people or none, a gain that is there is found, and one's own rows judge nobody."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mpc.errors import LocalError
from party_node.models.evaluation import evaluate
from party_node.models.kept_scores import KeptScores
from party_node.reports.champion_challenger import Kept, caveat, compare
from tests.party_node.reports.test_own_part import spec

ROWS = 4000


def one(seed: int, gain: float, rows: Any = None) -> Kept:
    """A job over one table whose score knows `gain` of a second risk; `rows` of the table judged it."""
    draw = np.random.default_rng(5)
    first, second = draw.normal(size=(2, ROWS))
    bad = draw.random(ROWS) < 1 / (1 + np.exp(-(first + second - 1.5)))
    judged = np.random.default_rng(seed).permutation(ROWS)[:2000] if rows is None else rows
    joint = (first + gain * second - 1.5)[judged]
    return Kept(f"{seed:064x}", spec(), judged, KeptScores(bad[judged], joint, joint))


def test_a_better_model_wins_on_the_customers_that_judged_both() -> None:
    champion, challenger = one(1, 0.0), one(2, 1.0)
    found = compare(champion, challenger, 0.8)
    both = np.intersect1d(champion.rows, challenger.rows)
    assert found["rows"]["test"] == len(both)
    assert found["verdict"]["kind"] == "better"
    assert found["verdict"]["text"].startswith("challenger ranks better")
    assert "joint" not in found["verdict"]["text"]
    place = {row: k for k, row in enumerate(champion.rows)}
    other = {row: k for k, row in enumerate(challenger.rows)}
    direct = evaluate([champion.scores.outcome[place[row]] for row in both],
                      [challenger.scores.joint[other[row]] for row in both],
                      [champion.scores.joint[place[row]] for row in both])
    assert found["difference"] == direct["difference"]
    assert f"{len(both):,} of 2,000" in caveat(champion, challenger, found)


def test_the_same_model_brings_no_gain_and_all_judge_where_the_split_is_one() -> None:
    champion = one(1, 0.5)
    found = compare(champion, replace(champion, job="f" * 64), 0.8)
    assert found["verdict"]["kind"] == "none"
    assert found["rows"]["test"] == 2000
    assert "one seed" not in caveat(champion, champion, found)


def test_other_people_are_not_compared() -> None:
    champion = one(1, 0.0, np.arange(1000))
    with pytest.raises(LocalError, match="no customer judged both"):
        compare(champion, one(2, 1.0, np.arange(1000, 2000)), 0.8)
    label = champion.spec.model_copy(update={"label": champion.spec.label.model_copy(update={"positive": "2"})})
    with pytest.raises(LocalError, match="another table or another label"):
        compare(champion, replace(champion, spec=label), 0.8)
    turned = replace(champion, scores=replace(champion.scores, outcome=~champion.scores.outcome))
    with pytest.raises(LocalError, match="other outcomes"):
        compare(champion, turned, 0.8)
