"""Who decides about a job reads what it does, and nothing of what it does not do."""

from __future__ import annotations

from typing import Any

import pytest

from mpc.protocols import PROTOCOLS
from party_node.consent.shown_to_approver import what_leaves
from tests.party_node.jobs.stages.test_stages import spec

PLAIN = ["score.sum", "train.delta", "train.weights"]
WAYS = {
    "label_holder": (["bin.counts", "bin.merged"], "each fine bin of an anonymous column holds"),
    "feature_holder": (["bin.fine", "bin.masked"], "each fine bin of its own columns holds"),
}


def told(me: str, **changes: Any) -> str:
    versions = {name: protocol.version for name, protocol in PROTOCOLS.items()}
    return "\n".join(what_leaves(spec(protocols=versions, **changes), me, PROTOCOLS))


@pytest.mark.parametrize("counts_at", WAYS)
@pytest.mark.parametrize("me", ["bank", "shop"])
def test_who_decides_reads_who_sees_the_counts_of_bins(counts_at: str, me: str) -> None:
    codes, seen = WAYS[counts_at]
    (other,) = (words for way, (_, words) in WAYS.items() if way != counts_at)
    text = told(me, binning={"counts_at": counts_at}, reveal=sorted([*PLAIN, *codes]))
    assert f"bins of at least 20; counts of fine bins are seen by the {counts_at.replace('_', ' ')}" in text
    assert seen in text
    assert other not in text
    assert "in bin, label holder:" in text
    assert ("the label bad is used; it is never sent but encrypted" in text) == (me == "bank")


def test_who_decides_reads_that_columns_are_correlated_and_who_sees_it() -> None:
    text = told("shop", correlate={"show": "pairs", "to": "label_holder", "minimum_rows": 300},
                reveal=sorted([*PLAIN, "correlate.rounding", "correlate.compared", "correlate.pairs_to_holder"]))
    assert "columns are correlated with those of the others, on at least 300 rows of the development sample" in text
    assert "correlate.pairs_to_holder, to the label holder: which columns of two parties" in text
    assert "in correlate, feature holder:" in text


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


def test_the_noise_is_named_and_so_is_its_absence() -> None:
    assert "1 times the default, so that weights show no single customer's outcome" in told("shop")
    assert "counts as 4 in the budget `models`" in told("shop", training={"noise": 0.5})
    without = told("shop", training={"noise": 0.0})
    assert "noise: none" in without
    assert "from two of its weights each" in without
