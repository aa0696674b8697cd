"""Who decides about a job reads what it does, and nothing of what it does not do."""

from __future__ import annotations

from typing import Any

import pytest

from mpc.protocols import PROTOCOLS
from party_node.consent.shown_to_approver import what_leaves
from tests.party_node.jobs.stages.test_stages import spec

PLAIN = ["score.sum", "train.delta", "train.weights"]


def told(me: str, **changes: Any) -> str:
    versions = {name: protocol.version for name, protocol in PROTOCOLS.items()}
    return "\n".join(what_leaves(spec(protocols=versions, **changes), me, PROTOCOLS))


@pytest.mark.parametrize("me", ["bank", "shop"])
def test_who_decides_reads_who_sees_the_counts_of_bins(me: str) -> None:
    text = told(me, binning={}, reveal=sorted([*PLAIN, "bin.counts", "bin.merged"]))
    assert "bins of at least 20; counts of fine bins, of columns without their names, are seen by the label" in text
    assert "each fine bin of an anonymous column holds" in text
    assert "in bin, label holder:" in text
    assert ("the label bad is used; it is never sent but encrypted" in text) == (me == "bank")


def test_who_decides_reads_that_columns_are_correlated_and_who_sees_it() -> None:
    text = told("shop", correlate={"show": "pairs", "to": "label_holder", "minimum_rows": 300},
                reveal=sorted([*PLAIN, "correlate.rounding", "correlate.compared", "correlate.pairs_to_holder"]))
    assert "columns are correlated with those of the others, on at least 300 rows of the development sample" in text
    assert "correlate.pairs_to_holder, to the label holder: which columns of two parties" in text
    assert "in correlate, feature holder:" in text


def test_who_decides_reads_what_a_customer_of_many_rows_may_weigh() -> None:
    def kept(largest: float) -> str:
        plain = spec(label={"column": "bad", "largest_weight": largest}).model_dump(mode="json")
        plain["parties"][0]["duplicates"] = "keep_all"
        return told("shop", parties=plain["parties"], label=plain["label"], reveal=PLAIN)

    assert "a customer weighs by its rows, at most 4 times the mean" in kept(4.0)
    assert "by its rows" not in told("shop", reveal=PLAIN)


def test_a_feature_holder_reads_how_fine_its_scores_are_and_that_another_model_is_another_equation() -> None:
    text = told("shop", reveal=PLAIN, scores={"grid": 0.1, "minimum_columns": 6})
    assert "whole steps of 0.1 log-odds (2.89 points where 20 double the odds)" in text
    assert "At least 6 columns of this party's enter" in text
    assert "each further model is a further equation on the columns of the same customers" in text
    ahead = told("shop", goal="precompute", reveal=[], release=["row_counts"])
    assert "whole steps of 0.03466 log-odds (1 points" in ahead
    assert "one more model scored" not in ahead
    assert "whole steps" not in told("bank", reveal=PLAIN)


def test_a_job_without_bins_does_not_speak_of_them() -> None:
    text = told("bank", reveal=PLAIN)
    assert "the label bad is used; it is never sent\n" in text
    assert "bin" not in text.replace("combination", "")
    assert "correlat" not in text
    assert "in score, label holder:" in text


def test_who_decides_about_one_half_of_a_job_reads_which_and_what_becomes_of_it() -> None:
    first = told("bank", goal="precompute", reveal=["align.members"])
    assert "no model is made: this job works ahead of one that has to be agreed by itself" in first
    assert "in train" not in first
    second = told("bank", prepared="ab" * 32, binning={}, reveal=PLAIN)
    assert f"those of job {'ab' * 6}, which worked ahead of this one" in second
    assert "burnt when training begins" in second
    assert "counts of fine bins" not in second
    assert "the label bad is used; it is never sent\n" in second


@pytest.mark.parametrize("me", ["bank", "shop"])
def test_who_decides_reads_how_far_rows_may_differ_in_weight_and_that_there_is_an_offset(me: str) -> None:
    text = told(me, label={"column": "bad", "weights": "w", "largest_weight": 4.0, "offset": "o",
                           "class_weights": {"bad": 5.0, "good": 1.0}}, reveal=PLAIN)
    assert "(at most 4 times their mean, or that much less; a bad customer 5 and a good one 1)" in text
    assert "adds an offset of its own to the log-odds of every row" in text
    even = told(me, label={"column": "bad", "class_weights": "balanced"}, reveal=PLAIN)
    assert "(both outcomes alike)" in even
    assert "offset" not in even


HELD_OUT: dict[str, tuple[dict[str, Any], str]] = {
    "by a coin": ({"fraction": 0.25}, "a share of 0.25 of the customers in common is held out and judges the model, "
                                      "drawn by a coin that all toss together"),
    "by a seed": ({"fraction": 0.008, "seed": "me-7"}, "a share of 0.008 of the customers in common is held out and "
                                                       "judges the model, drawn by the seed `me-7`"),
    "by a boundary": ({"column": "opened", "since": "2024-01"}, "customers whose opened, at the label holder, is from "
                                                                "2024-01 on judge the model"),
    "the latest": ({"column": "opened", "fraction": 0.2}, "is of the latest 0.2 judge the model"),
    "none": ({"fraction": 0.0}, "no customer is held out: all train, and judge"),
}


@pytest.mark.parametrize("me", ["bank", "shop"])
@pytest.mark.parametrize("case", HELD_OUT)
def test_who_decides_reads_which_customers_judge_and_how_they_are_chosen(case: str, me: str) -> None:
    rules, words = HELD_OUT[case]
    assert words in told(me, hold_out=rules, reveal=PLAIN)


@pytest.mark.parametrize("me", ["bank", "shop"])
def test_who_decides_reads_which_value_is_bad_and_what_the_label_holder_brings(me: str) -> None:
    text = told(me, label={"column": "status", "positive": "deceased"}, reveal=PLAIN)
    assert "a customer is bad where status, at bank, is `deceased`, and good where it is anything else" in text
    assert f"columns of the label holder bank: {', '.join(f'x{n}' for n in range(8))}\n" in text
    bare = spec(reveal=PLAIN).model_dump(mode="json")["parties"]
    bare[0]["columns"] = []
    assert "the label holder bank brings no column" in told(me, parties=bare, reveal=PLAIN)


@pytest.mark.parametrize(("terms", "most"), [({}, 16), ({"binning": {}}, 16), ({"parties": 8}, 416)])
def test_who_decides_reads_how_many_weights_others_may_receive(terms: dict[str, Any], most: int) -> None:
    if "parties" in terms:
        parties = spec(reveal=PLAIN).model_dump(mode="json")["parties"]
        parties[1]["categorical"] = parties[1]["columns"]
        terms = {"parties": parties}
    assert f"become at most {most}, told in steps of 16" in told("bank", reveal=PLAIN, **terms)


def test_who_decides_reads_the_floors_of_the_samples_and_what_bounds_the_figures() -> None:
    text = told("shop", hold_out={"minimum_hold_out": 150, "minimum_outcome": 8}, reveal=PLAIN, release=["metrics"])
    assert "at least 150 customers train and as many judge" in text
    assert "at least 8 good and as many bad ones judge, or no figure is released" in text
    assert "less than half of what there is to know of the outcomes" in text
    assert "half of what there is" not in told("shop", reveal=PLAIN, release=["timings"])


def test_the_noise_is_named_and_so_is_its_absence() -> None:
    assert "1 times the default, so that weights show no single customer's outcome" in told("shop")
    assert "counts as 4 in the budget `models`" in told("shop", training={"noise": 0.5})
    without = told("shop", training={"noise": 0.0})
    assert "noise: none" in without
    assert "from two of its weights each" in without
