"""What leaves is coarse, counted and bounded: a number that was not counted cannot get into it."""

from __future__ import annotations

import itertools
import json
import os
import pickle
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpc.statistics.counted_choices import Counting, Repeating
from mpc.statistics.metrics import Ranking
from party_node.data.hold_out import Side, count
from party_node.data.ids.customers import Customers
from party_node.models import counted_release
from party_node.models.counted_release import MINIMUM_CELL, SECTIONS, Own, Public, Terms, build, cumulate
from party_node.models.evaluation import evaluate
from party_node.models.kept_evaluation import FILE_NAME, read_evaluation, write_evaluation
from party_node.models.released_figures import Judged, half_of, judge
from tests.party_node.models.test_evaluation import hold_out

TERMS = Terms(minimum_outcome=5, replicates=60)
SIZES = {  # customers, intercept -> sections that are released at least and at most
    "a hundred": (100, -2.0, 0, 2), "a few bad ones": (400, -4.5, 0, 1), "two hundred, half bad": (200, 0.0, 1, 4),
    "a thousand": (1200, -2.0, 4, 7), "many": (6000, -2.0, 8, 8),
}


def side(outcome: Any) -> Side:
    return count(Customers.one_row_each(len(outcome)), outcome)


def judged(size: int, base: float, seed: int = 1, terms: Terms = TERMS) -> tuple[Any, Judged]:
    found = hold_out(size, seed=seed, base=base)
    return found, judge(*found, side(found[0]), terms)


@pytest.mark.parametrize("case", SIZES)
def test_all_that_leaves_says_less_than_half_of_what_there_is_to_know(case: str) -> None:
    size, base, least, most = SIZES[case]
    for seed in range(4):
        (outcome, joint, solo), found = judged(size, base, seed)
        assert found.own is not None
        private = own(found.own, outcome, joint, solo)
        fits = [told for told in range(1, len(SECTIONS) + 1) if _bits(private, size, told) < half_of(side(outcome))]
        told = max(fits, default=0)
        assert least <= told <= most
        assert (found.released is not None) == bool(told)
        if found.released is not None:
            assert found.released["limits"]["bits"] < half_of(side(outcome)) + 1
            assert bool(found.why) == bool(found.released["withheld"]) == (told < len(SECTIONS))


def own(figures: Any, outcome: Any, joint: Any, solo: Any) -> Own:
    public = Public(len(outcome), TERMS)
    models = {"solo": solo, "joint": joint}
    return Own(figures, {name: cumulate(outcome, scores, public) for name, scores in models.items()})


def _bits(private: Own, size: int, told: int) -> float:
    counted = Counting()
    build(counted, private, Public(size, TERMS), told)
    return counted.bits


def _numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [number for item in value.values() for number in _numbers(item)]
    if isinstance(value, list):
        return [number for item in value for number in _numbers(item)]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []


def test_every_number_follows_from_choices_that_were_counted() -> None:
    (outcome, joint, solo), found = judged(6000, -2.0)
    assert found.released is not None
    assert len(_numbers(found.released)) > 200
    private = own(evaluate(outcome, joint, solo, replicates=60), outcome, joint, solo)
    counted = Counting()
    build(counted, private, Public(6000, TERMS), len(SECTIONS))
    assert build(Repeating(counted.answers), None, Public(6000, TERMS), None) == found.released


UNCOUNTED = {
    "a figure as it is": lambda self: self._models["joint"].update(brier=self._own["models"]["joint"]["brier"]),
    "a count": lambda self: self._withheld.append(f"{self._own['rows']['bad']} bad"),
    "an edge": lambda self: self._withheld.append(str(self._cumulated("joint").bad[1])),
    "a quadrant": lambda self: self._withheld.append(str(self._cells["joint_only"]["bad_rate"])),
}


@pytest.mark.parametrize("case", UNCOUNTED)
def test_a_number_that_was_not_counted_ends_the_release(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = [*SECTIONS]
    planted[4] = ("planted", UNCOUNTED[case])
    for module in (counted_release, judge.__globals__):
        if isinstance(module, dict):
            monkeypatch.setitem(module, "SECTIONS", tuple(planted))
        else:
            monkeypatch.setattr(module, "SECTIONS", tuple(planted))
    with pytest.raises(AssertionError, match="only what is counted"):
        judged(6000, -2.0)


def test_steps_are_at_least_half_a_standard_error_and_intervals_hold_the_exact_ones() -> None:
    for seed in range(6):
        _, found = judged(3000, -2.0, seed)
        assert found.own is not None
        assert found.released is not None
        for column in ("solo", "joint", "difference"):
            exact = found.own["difference"] if column == "difference" else found.own["models"][column]
            told = found.released["difference"] if column == "difference" else found.released["models"][column]
            assert set(told) == set(exact)
            for name in set(told) - {"gini"}:
                spread = counted_release._spread(exact[name])
                reach = told[name]["high"] - told[name]["value"]
                assert reach >= spread / 2 - 1e-6      # of one to five steps
                assert told[name]["low"] <= exact[name]["low"] + 1e-6
                assert told[name]["high"] >= exact[name]["high"] - 1e-6
                assert abs(told[name]["value"] - exact[name]["value"]) <= 3 * spread
                steps_told = [step for step in Public(3000, TERMS).ladder
                              if abs(told[name]["value"] / step - round(told[name]["value"] / step)) < 1e-6]
                assert max(steps_told) >= spread / 2 * (1 - 1e-6)
        assert found.released["difference"]["auc"]["p_value"] in counted_release.P_BANDS
        assert found.released["verdict"]["p_value"] in counted_release.P_BANDS


def test_every_slice_and_quadrant_holds_enough_good_and_bad_customers() -> None:
    for seed, size, base in ((1, 1200, -2.0), (2, 3000, -3.0), (3, 6000, -4.0)):
        (outcome, joint, solo), found = judged(size, base, seed, Terms(12, replicates=20))
        assert found.released is not None
        for name, scores in (("solo", solo), ("joint", joint)):
            if name not in found.released["curves"]:
                continue
            ranked = Ranking.of(outcome, scores).sorted_outcome
            shares = [0.0, *found.released["curves"][name]["ks"]["share"]]
            for low, high in itertools.pairwise(shares):
                inside = ranked[round(low * size) : round(high * size)]
                assert len(inside) >= MINIMUM_CELL
                assert min(inside.sum(), len(inside) - inside.sum()) >= 12
        swap = found.released["swap_set"]
        assert swap is None or sum(cell["rows"] for cell in swap["cells"].values()) == size


def test_a_small_quadrant_takes_the_whole_swap_set_with_it() -> None:
    outcome, joint, _ = hold_out(6000, base=-2.0)
    nearly, order = joint.copy(), np.argsort(joint)
    nearly[order[[4790, 4810]]] = nearly[order[[4810, 4790]]]
    found = judge(outcome, joint, nearly, side(outcome), TERMS)
    assert found.released is not None
    assert found.released["swap_set"] is None
    assert any("quadrant" in line for line in found.released["withheld"])
    same = judge(outcome, joint, joint, side(outcome), TERMS)
    assert same.released is not None
    assert same.released["swap_set"]["cells"]["joint_only"] == {"rows": 0, "bad_rate": None}


FEW = {"nobody is bad": 0, "everybody is": 1000, "four are bad": 4, "four are good": 996}


@pytest.mark.parametrize("case", FEW)
def test_too_few_of_one_outcome_release_nothing_and_only_the_label_holder_reads_why(case: str, tmp_path: Path) -> None:
    _, joint, solo = hold_out(1000)
    outcome = np.arange(1000) < FEW[case]
    found = judge(outcome, joint, solo, side(outcome), TERMS)
    assert found.released is None
    assert (found.own is None) == (FEW[case] in (0, 1000))
    assert "fewer than 5" in found.why
    before = os.umask(0)
    try:
        write_evaluation(tmp_path / FILE_NAME, found)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600
    kept, why = read_evaluation(tmp_path / FILE_NAME)
    assert (kept, why) == (json.loads(json.dumps(found.own)), found.why)
    assert repr(found) == "Judged()"
    with pytest.raises(TypeError):
        pickle.dumps(found)


def test_copies_of_a_customer_add_nothing_to_what_there_is_to_know() -> None:
    outcome = np.array([True, True, False, False, True])
    assert count(Customers(np.array([2, 1, 2])), outcome) == Side(3, bad=2, good=2)
    assert count(Customers(np.array([2, 1])), outcome[:3]) == Side(2, bad=1, good=1)


def test_curves_are_left_out_where_the_spec_releases_none() -> None:
    _, found = judged(6000, -2.0, terms=Terms(5, with_curves=False, replicates=20))
    assert found.released is not None
    assert found.released["curves"] == {}
    assert found.released["groups"]["joint"]
