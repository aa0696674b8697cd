import re
from html.parser import HTMLParser

import pytest
from markupsafe import Markup

from coordinator.reports.committee_page import duration, render, size
from coordinator.reports.committee_tables import sheets
from reporting.evaluation_pictures import pictures

PARTIES = ("bank", "shop", "telecom")


def figure(value):
    return {"value": value, "low": value - 0.01, "high": value + 0.01}


def evaluation():
    """A released evaluation, written out by hand."""
    steps = [k / 19 for k in range(20)]

    def curves(power):
        risen = [x**power for x in steps]
        return {
            "roc": {"fpr": steps, "tpr": risen},
            "ks": {"share": steps, "bad": risen, "good": steps},
            "calibration": {"predicted": [0.02, 0.05, 0.2], "observed": [0.03, 0.04, 0.22]},
        }

    names = ("auc", "ks", "gini", "brier", "log_loss", "calibration_slope", "bad_rate", "approval")
    solo = {name: figure(0.30 + 0.05 * k) for k, name in enumerate(names)}
    joint = {name: figure(0.35 + 0.05 * k) for k, name in enumerate(names)}
    return {
        "rows": {"test": 1250, "bad": 99},
        "verdict": {"kind": "better", "text": "joint ranks better: AUC +0.050 (+0.040..+0.060)"},
        "approval_rate": 0.8,
        "models": {"solo": solo, "joint": joint},
        "difference": {name: figure(0.05) for name in names} | {"auc": figure(0.05) | {"p_value": 0.0}},
        "trade_off": [
            {
                "approval_rate": rate,
                "bad_rate": {"solo": figure(0.06), "joint": figure(0.05), "difference": figure(-0.01)},
                "approval_at_equal_bad_rate": {"solo": figure(rate), "joint": figure(0.9), "difference": figure(0.1)},
            }
            for rate in (0.5, 0.8)
        ],
        "groups": {m: [{"group": 1, "bad_rate": 0.2, "lift": 2.5, "gain": 0.5}] for m in ("solo", "joint")},
        "curves": {"solo": curves(0.6), "joint": curves(0.4)},
        "swap_set": {
            "approval_rate": 0.8,
            "cells": {
                "approved_by_both": {"rows": 900, "bad_rate": 0.04},
                "joint_only": {"rows": 100, "bad_rate": 0.05},
                "solo_only": {"rows": 100, "bad_rate": 0.2},
                "declined_by_both": {"rows": 150, "bad_rate": None},
            },
        },
        "withheld": [],
        "limits": {"minimum_cell": 20},
    }


def record():
    rows = {"read": 6210, "matched": 4167, "unmatched": 1890, "duplicate": 91, "blank": 40, "refused": 22}
    return {
        "job_id": "ab" * 32,
        "purpose": "consumer loans",
        "created": "2025-03-14",
        "parties": [{"id": p, "role": "feature_holder", "dataset": "people", "columns_count": 7} for p in PARTIES],
        "rows": {p: dict(rows) for p in PARTIES},
        "common": 4167,
        "train_rows": 2917,
        "test_rows": 1250,
        "evaluation": evaluation(),
        "ledger": [
            {"code": "train.delta", "kind": "masked", "to": "all", "what": "z minus a uniform mask", "count": 58340},
            {"code": "finish.weights", "kind": "revealed", "to": "owner", "what": "own weights", "count": 3},
        ],
        "parameters": {"lambda": 0.001, "iterations": 20, "key_bits": 2048, "clip": 5.0},
        "seconds": {"align": 6.24, "train": 125.0},
        "bytes": {"train": {"bank->shop": 91_234_567, "shop->bank": 1000}},
        "approvals": {p: "cd" * 64 for p in PARTIES},
        "audit_heads": {p: "ef" * 32 for p in PARTIES},
    }


class Outline(HTMLParser):
    """Tags that are opened and closed, and every attribute that could fetch something."""

    VOID = frozenset({"meta", "br", "link", "img", "input", "hr"})

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.fetches, self.tags = [], [], [], set()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            if name in {"src", "href", "xlink:href", "data", "action"} or name.startswith("on"):
                self.fetches.append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()


def outline(page):
    found = Outline()
    found.feed(page)
    assert found.open == []
    return found


@pytest.fixture(scope="module")
def page():
    return render(record())


def test_the_page_stands_alone_and_runs_nothing(page):
    found = outline(page)
    assert all(value.startswith("#") for value in found.fetches)
    assert len(found.ids) == len(set(found.ids))
    assert not found.tags & {"script", "link", "iframe", "object", "img", "form"}
    assert "@import" not in page
    assert all(place.startswith("#") for place in re.findall(r"url\(([^)]*)\)", page))
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert len(page) < 400_000


def test_every_section_tells_what_the_record_holds(page):
    for words in (
        "joint ranks better: AUC +0.050", "consumer loans", "Who learned what", "own weights", "58,340", "6,210",
        "4,167", "telecom", "2 min 05 s", "91.2 MB", "penalty (lambda)", "0.001", "cd" * 64, "ef" * 32, "ab" * 32,
        "p &lt; 0.001", "Bad rate if 80 % are approved", "approved by joint, declined by solo", "Limits", "1,250",
    ):
        assert words in page
    assert page.count("<svg") == 6
    for title in ("ROC", "KS", "Calibration", "Lift", "Joint against solo", "Bad rate by approval rate"):
        assert f'aria-label="{title}"' in page
    assert page.index("own weights") < page.index("z minus a uniform mask")  # what was revealed comes first
    assert "pooled" not in page.lower()


def test_the_local_runner_may_add_the_pooled_fit_and_the_parties_own_parts():
    own = {"shop": {"characteristics": Markup("<p>bins of the shop</p>"), "money": Markup("<p>profit</p>")}}
    page = render(record(), own, {"auc": 0.8123, "ks": 0.4, "max_abs_error": 0.0031})
    outline(page)
    assert page.index('id="characteristics"') < page.index("bins of the shop") < page.index('id="model"')
    assert "profit" in page
    assert 'id="segments"' not in page, "nobody asked for them"
    assert "0.8123" in page
    assert "3.1e-03" in page


def test_what_only_the_institutions_have_is_said_to_be_elsewhere(page):
    assert page.count("party-node report abababababab") == 4
    assert 'id="money"' not in page
    alignment = render(record() | {"goal": "alignment", "evaluation": None})
    assert "party-node report" not in alignment
    assert 'id="scorecard"' not in alignment
    assert 'class="verdict' not in alignment


def test_the_tables_hold_what_the_page_shows(page):
    found = {sheet.name: sheet for sheet in sheets(record())}
    assert set(found) == {"institutions", "population", "solo_joint", "trade_off", "swap_set", "risk_groups", "curves",
                          "ledger", "seconds", "traffic"}
    name, *figures = found["solo_joint"].rows[0]
    assert name == "AUC"
    assert figures == pytest.approx([0.3, 0.29, 0.31, 0.35, 0.34, 0.36, 0.05, 0.04, 0.06, 0])
    assert [row[1:] for row in found["population"].rows] == [(6210, 4167, 1890, 91, 40, 22)] * 3
    assert len(found["curves"].rows) == 2 * (20 + 20 + 3)
    assert sheets({}) == []


def without_figures():
    """Most of a render is drawing, which these cases do not need."""
    return {key: value for key, value in record().items() if key != "evaluation"}


@pytest.mark.parametrize("key", [None, *without_figures()])
def test_a_record_without_an_optional_key_still_renders(key):
    lacking = {} if key is None else {k: v for k, v in without_figures().items() if k != key}
    outline(render(lacking))


@pytest.mark.parametrize("key", list(record()))
@pytest.mark.parametrize("junk", [None, [], {}, "words", 7, [None], {"a": None}, [{"a": []}]])
def test_a_record_of_another_shape_is_never_a_crash(key, junk):
    odd = without_figures() | {key: junk}
    outline(render(odd))
    assert all(sheet.text() for sheet in sheets(odd))


@pytest.mark.parametrize("junk", [None, "words", [float("nan")], {"solo": {"roc": {"fpr": [1, None]}}}])
def test_an_evaluation_of_another_shape_is_never_a_crash(junk):
    whole = evaluation()
    for part in whole:
        few = {key: whole[key] for key in ("models", "difference", "approval_rate")}
        outline(render({"evaluation": few | {part: junk}}))
    outline(render({"evaluation": dict.fromkeys(whole, junk)}))


def test_foreign_text_is_escaped_everywhere():
    hostile = "<script>alert(1)</script>"

    def poisoned(value):
        if isinstance(value, dict):
            return {key + hostile if key in PARTIES else key: poisoned(item) for key, item in value.items()}
        if isinstance(value, list):
            return [poisoned(item) for item in value]
        return hostile if isinstance(value, str) else value

    page = render(poisoned(record()))
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_a_hold_out_by_period_is_told_with_its_boundary():
    page = render(record() | {"parameters": {"hold_out_column": "vintage", "hold_out_since": "2024-01"}})
    assert page.count("customers whose vintage is 2024-01 or later judge, earlier ones trained") == 2
    assert "drawn at random" not in page
    latest = render(record() | {"parameters": {"hold_out_column": "vintage", "hold_out": 0.25}})
    assert "the 25 % of the customers whose vintage is latest judge" in latest
    assert "Out-of-time sample" not in render(record())


def test_correlations_have_a_section_where_the_job_showed_some():
    shown = {"show": "pairs", "to": "all", "pairs": [{"parties": ["bank", "shop"], "columns": ["a", "b"], "r": 0.9}]}
    page = render(record() | {"correlations": shown})
    assert 'id="correlations"' in page
    assert "+0.9000" in page
    assert 'id="correlations"' not in render(record())
    assert [sheet.name for sheet in sheets(record() | {"correlations": shown})].count("correlation_pairs") == 1


def test_no_hold_out_is_said_in_so_many_words():
    page = render(record() | {"train_rows": 4167, "test_rows": 4167, "parameters": {"hold_out": 0.0}})
    assert "There is no hold-out sample" in page
    assert "There is no hold-out sample" not in render(record())


def test_rows_that_do_not_add_up_are_marked():
    wrong = record()
    wrong["rows"]["shop"]["matched"] += 1
    assert render(wrong).count("does not add up") == 1
    assert "does not add up" not in render(record())


def test_pictures_of_nothing_are_left_out():
    assert pictures(None) == []
    assert [title for title, *_ in pictures({"curves": evaluation()["curves"]})] == ["ROC", "KS", "Calibration"]


def test_the_same_record_gives_the_same_page(page):
    assert render(record()) == page


def test_sizes_and_times_are_told_as_people_say_them():
    assert [size(n) for n in (0, 999, 1000, 91_234_567, 5e12, None)] == \
        ["0 B", "999 B", "1.0 kB", "91.2 MB", "5000.0 GB", "–"]
    assert [duration(s) for s in (0.04, 59.9, 59.99, 125, 7260, "x")] == \
        ["0.0 s", "59.9 s", "1 min 00 s", "2 min 05 s", "2 h 01 min", "–"]
