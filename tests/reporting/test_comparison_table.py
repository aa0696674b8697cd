import io

import pytest
from rich.console import Console

from reporting.comparison_table import comparison_rows, number, p_text, print_comparison


def released():
    def table(auc, bad_rate):
        return {
            "auc": {"value": auc, "low": auc - 0.02, "high": auc + 0.02},
            "brier": {"value": 0.1, "low": 0.09, "high": 0.11},
            "bad_rate": {"value": bad_rate, "low": bad_rate - 0.01, "high": bad_rate + 0.01},
        }

    return {
        "approval_rate": 0.8,
        "rows": {"test": 1250, "bad": 99},
        "verdict": {"kind": "better", "text": "joint ranks better: AUC +0.050 (+0.040..+0.060)"},
        "models": {"solo": table(0.70, 0.0625), "joint": table(0.75, 0.05)},
        "difference": {
            "auc": {"value": 0.05, "low": 0.04, "high": 0.06, "p_value": 0.0},
            "brier": {"value": 0.002, "low": 0.001, "high": 0.003},
            "bad_rate": {"value": -0.0125, "low": -0.03, "high": 0.0001},
        },
    }


def printed(evaluation, width=80, pooled=None, markup=True):
    out = io.StringIO()
    print_comparison(evaluation, Console(file=out, width=width, markup=markup), pooled)
    return out.getvalue()


def test_a_console_that_takes_no_markup_shows_the_same_table():
    assert printed(released(), markup=False) == printed(released())
    assert "[/]" not in printed(released())


def test_lines_carry_figures_intervals_and_which_way_is_better():
    auc, brier, bad_rate = comparison_rows(released())
    assert (auc.label, auc.solo.text, auc.joint.text, auc.difference.text) == ("AUC", "0.7000", "0.7500", "+0.0500")
    assert (auc.solo.interval, auc.difference.interval) == ("0.6800..0.7200", "+0.0400..+0.0600")
    assert (auc.sign, auc.p_value) == (1, "p < 0.001")
    assert brier.sign == -1  # a higher Brier score is worse
    assert bad_rate.sign == 0  # the interval holds zero
    assert (bad_rate.label, bad_rate.solo.text) == ("Bad rate if 80 % are approved", "6.2 %")
    assert bad_rate.difference.interval == "-3.0..+0.0 pt"


def test_the_terminal_shows_the_table_and_the_verdict_in_eighty_columns():
    text = printed(released(), pooled={"auc": 0.7512})
    for words in ("solo", "joint", "difference", "pooled", "0.7512", "+0.0500", "0.6800..0.7200",
                  "sample of 1,250 rows"):
        assert words in text
    assert "Verdict: joint ranks better: AUC +0.050 (+0.040..+0.060)" in text
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "pooled" not in printed(released())


@pytest.mark.parametrize("junk", [None, {}, [], "words", {"models": 3}, {"models": {"solo": {"auc": {"value": "x"}}}}])
def test_an_evaluation_of_another_shape_becomes_dashes_never_a_crash(junk):
    assert comparison_rows(junk) == []
    assert "no verdict" in printed(junk)


def test_foreign_text_is_no_markup_of_the_terminal():
    text = printed(released() | {"verdict": {"text": "[red]gone[/red] [link=x]y[/link]"}}, width=200)
    assert "[red]gone[/red] [link=x]y[/link]" in text


def test_only_finite_numbers_are_numbers():
    assert [number(v) for v in (1, 0.5, True, "1", None, float("nan"), float("inf"))] == [1, 0.5] + [None] * 5
    assert [p_text(p) for p in (0.0, 0.0009, 0.0204, 1.0)] == ["p < 0.001", "p < 0.001", "p = 0.020", "p = 1.000"]


def test_a_verdict_from_another_node_cannot_steer_the_terminal():
    words = "joint\x1b[2J\x1b]0;owned\x07 ranks\nbetter" + "x" * 10**5
    evil = released() | {"verdict": {"kind": "better", "text": words}}
    text = printed(evil)
    assert not any(ord(c) < 32 and c != "\n" for c in text)
    assert len(text) < len(printed(released())) + 600
