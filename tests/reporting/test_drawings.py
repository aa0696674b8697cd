"""Drawings are well-formed, stay on their paper, and say what was given."""

from __future__ import annotations

import re
from xml.etree import ElementTree as xml

import pytest

from reporting.drawings import HEIGHT, WIDTH, Bar, Curve, bars, curves

CASES = {
    "rates with intervals": [Bar("1", 0.1, low=0.05, high=0.2), Bar("2", 0.3, low=0.2, high=0.42)],
    "weights on both sides": [Bar("1", -1.5), Bar("2", 0.02), Bar("3", 0.9)],
    "all below zero": [Bar("1", -3.0), Bar("2", -1.0)],
    "all alike": [Bar("1", 0.2), Bar("2", 0.2)],
    "nothing but zero": [Bar("1", 0.0)],
    "very small": [Bar("1", 1e-9), Bar("2", 3e-9)],
    "no bars": [],
}


def on_paper(svg: str) -> xml.Element:
    root = xml.fromstring(svg)
    for element in root.iter():
        for name in ("x", "x1", "x2", "y", "y1", "y2"):
            if name in element.attrib:
                place = float(element.attrib[name])
                assert -0.1 <= place <= (WIDTH if name[0] == "x" else HEIGHT) + 0.1, (element.tag, element.attrib)
        for x, y in re.findall(r"(-?[\d.]+),(-?[\d.]+)", element.attrib.get("points", "")):
            assert 0 <= float(x) <= WIDTH
            assert 0 <= float(y) <= HEIGHT
    return root


@pytest.mark.parametrize("case", CASES)
def test_bars_stay_on_the_paper(case: str) -> None:
    root = on_paper(bars("Rates", "bin", CASES[case], lambda v: f"{v:g}", 0.15))
    assert len(root.findall("rect")) == len(CASES[case])
    texts = [text.text for text in root.findall("text")]
    assert all(bar.label in texts for bar in CASES[case])


def test_a_higher_value_has_a_higher_bar() -> None:
    low, high = xml.fromstring(bars("Rates", "bin", [Bar("1", 0.1), Bar("2", 0.3)], str)).findall("rect")
    assert float(high.attrib["height"]) == pytest.approx(3 * float(low.attrib["height"]), rel=0.01)
    assert float(high.attrib["y"]) < float(low.attrib["y"])


@pytest.mark.parametrize("x", [[1.0, 2.0, 3.0], [5.0], [450.0, 460.0]])
def test_curves_and_their_bands_stay_on_the_paper(x: list[float]) -> None:
    y = [place - 2.0 for place in x]
    curve = Curve("profit", "#000000", x, y, [v - 1 for v in y], [v + 1 for v in y])
    root = on_paper(curves("Profit", "points", [curve, Curve("other", "#111111", x, y, dashed=True)], str, str))
    assert len(root.findall("polyline")) == 2
    assert len(root.findall("polygon")) == 1


def test_titles_and_labels_are_escaped() -> None:
    hostile = '"><script>'
    svg = bars(hostile, hostile, [Bar(hostile, 1.0)], str)
    assert "<script" not in svg
    assert on_paper(svg).attrib["aria-label"] == hostile
