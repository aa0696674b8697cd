"""The pictures show what was released, tell solo from joint without colours, and leave out what has no figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

import pytest

from reporting.evaluation_pictures import JOINT, SOLO, pictures
from tests.chromium import Show, collisions, smallest_words_px

TITLES = ["Joint against solo", "Bad rate by approval rate", "ROC", "KS", "Calibration", "Lift"]
SHARES = [k / 19 for k in range(20)]


def figure(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.02, "high": value + 0.03}


def released() -> dict[str, Any]:
    """An evaluation of ordinary figures."""
    curves = {model: {
        "roc": {"fpr": SHARES, "tpr": [share**power for share in SHARES]},
        "ks": {"share": SHARES, "bad": [share**power for share in SHARES], "good": SHARES},
        "calibration": {"predicted": [0.01, 0.06, 0.2], "observed": [0.02, 0.05, 0.22]},
    } for model, power in (("solo", 0.6), ("joint", 0.4))}
    return {
        "models": {model: {name: figure(value + shift) for name, value in (("auc", 0.74), ("ks", 0.36), ("gini", 0.48))}
                   for model, shift in (("solo", 0.0), ("joint", 0.06))},
        "curves": curves,
        "groups": {model: [{"lift": 3.1 / group} for group in range(1, 11)] for model in ("solo", "joint")},
        "trade_off": [{"approval_rate": rate, "bad_rate": {"solo": figure(0.06), "joint": figure(0.05)}}
                      for rate in (0.5, 0.7, 0.9)],
    }


def drawn(evaluation: object) -> dict[str, xml.Element]:
    return {title: xml.fromstring(svg) for title, _, svg in pictures(evaluation)}


def test_every_picture_is_drawn_and_named_by_its_title() -> None:
    found = drawn(released())
    assert list(found) == TITLES
    assert [root.attrib["aria-label"] for root in found.values()] == TITLES


def test_solo_is_dashed_and_joint_is_not() -> None:
    for title, root in drawn(released()).items():
        shapes = [shape for name in ("polyline", "rect") for shape in root.findall(name)]
        for colour, dashed in ((SOLO, True), (JOINT, False)):
            of_model = [shape for shape in shapes if colour in (shape.get("stroke"), shape.get("fill"))]
            assert of_model or title == "Calibration"
            assert all(("stroke-dasharray" in shape.attrib) == dashed for shape in of_model), title
        marks = {colour: root.findall(f"{tag}[@{paint}='{colour}']")
                 for colour, tag, paint in ((SOLO, "path", "stroke"), (JOINT, "circle", "fill"))}
        if title == "Calibration":
            assert [len(found) for found in marks.values()] == [3, 3]


def test_intervals_are_shown_where_there_are_some() -> None:
    found = drawn(released())
    assert len(found["Bad rate by approval rate"].findall("polygon")) == 2
    assert len(found["Joint against solo"].findall("polyline")) == 6


def test_figures_stand_in_words_beside_their_lines() -> None:
    found = {title: {text.text for text in root.iter("text")} for title, root in drawn(released()).items()}
    assert {"solo, AUC 0.740", "joint, AUC 0.800", "0 %", "100 %"} <= found["ROC"]
    assert {"solo, KS 0.360", "joint, KS 0.420"} <= found["KS"]
    assert {"AUC", "0.740", "0.800", "KS", "0.360", "0.420", "Gini", "0.480", "0.540"} <= found["Joint against solo"]
    assert {str(group) for group in range(1, 11)} <= found["Lift"]


@pytest.mark.parametrize(("missing", "left"), [
    ("models", [title for title in TITLES if title != "Joint against solo"]),
    ("trade_off", [title for title in TITLES if title != "Bad rate by approval rate"]),
    ("curves", ["Joint against solo", "Bad rate by approval rate", "Lift"]),
    ("groups", [title for title in TITLES if title != "Lift"]),
])
def test_a_picture_without_figures_is_left_out(missing: str, left: list[str]) -> None:
    assert list(drawn({key: value for key, value in released().items() if key != missing})) == left


def test_one_model_alone_is_drawn_where_a_picture_needs_no_other() -> None:
    alone = released()
    for key in ("models", "curves", "groups"):
        del alone[key]["solo"]
    assert list(drawn(alone)) == TITLES
    alone["trade_off"] = [{"approval_rate": 0.5, "bad_rate": {"joint": figure(0.05)}}]
    assert "Bad rate by approval rate" not in drawn(alone)


@pytest.mark.parametrize("odd", [1e308, -1e308, 1e-320, 0.0, -0.5, float("inf"), float("nan"), True, "0.5", None, []])
def test_a_figure_of_another_kind_or_size_is_never_a_crash(odd: object) -> None:
    def replaced(tree: Any) -> Any:
        if isinstance(tree, dict):
            return {key: replaced(value) for key, value in tree.items()}
        return [replaced(tree[0]), *tree[1:]] if isinstance(tree, list) else odd

    def everywhere(tree: Any) -> Any:
        if isinstance(tree, dict):
            return {key: everywhere(value) for key, value in tree.items()}
        return [everywhere(value) for value in tree] if isinstance(tree, list) else odd

    assert len(drawn(replaced(released()))) <= len(TITLES)
    assert len(drawn(everywhere(released()))) <= len(TITLES)


HARD = {
    "ordinary figures": released(),
    "figures that are alike": released() | {"models": {model: {name: figure(0.5) for name in ("auc", "ks", "gini")}
                                                       for model in ("solo", "joint")}},
    "rates of a rare outcome": released() | {"trade_off": [
        {"approval_rate": rate, "bad_rate": {model: figure(1e-4) for model in ("solo", "joint")}}
        for rate in (0.805, 0.8125, 0.815)]},
    "wide intervals": released() | {"models": {model: {"auc": {"value": 0.5, "low": -2.0, "high": 1.0}}
                                               for model in ("solo", "joint")}},
    "many groups": released() | {"groups": {model: [{"lift": 1234.5 - group} for group in range(100)]
                                            for model in ("solo", "joint")}},
}


@pytest.mark.parametrize("case", HARD)
@pytest.mark.parametrize("width", [1280, 390])
def test_no_words_of_a_picture_stand_on_each_other(case: str, width: int, show: Show, tmp_path: Path) -> None:
    page = tmp_path / "pictures.html"
    drawn = "".join(f"<figure style='margin:0'>{svg}</figure>" for _, _, svg in pictures(HARD[case]))
    page.write_text("<meta name=viewport content='width=device-width'><main style='display: grid; "
                    f"grid-template-columns: repeat(auto-fit, minmax(330px, 1fr))'>{drawn}</main>")
    seen = show(page, width)
    assert seen.complaints == []
    assert collisions(seen) == []
    assert smallest_words_px(seen) >= 9


def test_words_on_each_other_are_noticed(show: Show, tmp_path: Path) -> None:
    """The control."""
    page = tmp_path / "bad.html"
    page.write_text("<svg aria-label=bad viewBox='0 0 100 50' width=100 height=50 font-size=6>"
                    "<text x=10 y=20>one</text><text x=12 y=21>two</text><text x=95 y=40>three</text></svg>")
    seen = show(page, 390)
    assert collisions(seen) == ["bad: two on one", "bad: three leaves the paper"]
    assert smallest_words_px(seen) == pytest.approx(6, abs=0.1)
