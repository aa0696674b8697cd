"""Drawings are well-formed, stay on their paper, and say what was given."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree as xml

import pytest

from reporting.drawings import LARGE, TINY, Axis, Bar, Curve, Estimate, bars, curves, forest, grouped_bars, percent

CASES = {
    "rates with intervals": [Bar("1", 0.1, low=0.05, high=0.2), Bar("2", 0.3, low=0.2, high=0.42)],
    "weights on both sides": [Bar("1", -1.5), Bar("2", 0.02), Bar("3", 0.9)],
    "all below zero": [Bar("1", -3.0), Bar("2", -1.0)],
    "all alike": [Bar("1", 0.2), Bar("2", 0.2)],
    "nothing but zero": [Bar("1", 0.0)],
    "very small": [Bar("1", 1e-9), Bar("2", 3e-9)],
    "no bars": [],
    "more than there is room for labels": [Bar(f"{400 + 12.5 * place:g}", 0.1) for place in range(40)],
}
COLOURS = ("#000000", "#111111")


def on_paper(svg: str) -> xml.Element:
    """The drawing, of which nothing but the samples of its legend is moved by a transformation."""
    root = xml.fromstring(svg)
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    samples = {inside for moved in root.findall("g") for inside in moved.iter()}
    for element in (element for element in root.iter() if element not in samples):
        for name in ("x", "x1", "x2", "cx", "y", "y1", "y2", "cy"):
            if name in element.attrib:
                place = float(element.attrib[name])
                assert -0.1 <= place <= (width if "x" in name else height) + 0.1, (element.tag, element.attrib)
        for x, y in re.findall(r"(-?[\d.]+),(-?[\d.]+)", element.attrib.get("points", "")):
            assert 0 <= float(x) <= width
            assert 0 <= float(y) <= height
    return root


def words(root: xml.Element) -> list[str]:
    return [text.text or "" for text in root.iter("text")]


@pytest.mark.parametrize("case", CASES)
def test_bars_stay_on_the_paper(case: str) -> None:
    root = on_paper(bars("Rates", Axis("bin"), Axis(words=percent), CASES[case], 0.15))
    assert len(root.findall("rect")) == len(CASES[case])
    labels = [bar.label for bar in CASES[case]]
    assert [word for word in words(root) if word in labels] == (labels if len(labels) < 40 else labels[::9])


def test_bars_of_two_names_stand_beside_each_other() -> None:
    found = {"solo": [Bar("1", 2.0, dashed=True), Bar("2", 1.0, dashed=True)], "joint": [Bar("1", 3.0), Bar("2", 0.5)]}
    root = on_paper(grouped_bars("Lift", Axis("group"), Axis("times"), found, 1.0, LARGE))
    drawn = root.findall("rect")
    places = [(float(bar.attrib["x"]), float(bar.attrib["width"])) for bar in (drawn[k] for k in (0, 2, 1, 3))]
    assert all(x + width <= after for (x, width), (after, _) in pairwise(places))
    assert ["stroke-dasharray" in bar.attrib for bar in drawn] == [True, True, False, False]
    assert [word for word in words(root) if word in {"solo", "joint", "1", "2"}][:2] == ["solo", "joint"]


def test_a_higher_value_has_a_higher_bar() -> None:
    svg = bars("Rates", Axis("bin"), Axis(), [Bar("1", 0.1), Bar("2", 0.3)], paper=TINY)
    low, high = xml.fromstring(svg).findall("rect")
    assert float(high.attrib["height"]) == pytest.approx(3 * float(low.attrib["height"]), rel=0.01)
    assert float(high.attrib["y"]) < float(low.attrib["y"])


@pytest.mark.parametrize("x", [[1.0, 2.0, 3.0], [5.0], [450.0, 460.0]])
def test_curves_and_their_bands_stay_on_the_paper(x: list[float]) -> None:
    y = [place - 2.0 for place in x]
    curve = Curve("profit", COLOURS[0], x, y, [v - 1 for v in y], [v + 1 for v in y])
    other = Curve("other", COLOURS[1], x, y, dashed=True, marks=True)
    root = on_paper(curves("Profit", Axis("points"), Axis("money"), [curve, other]))
    assert len(root.findall("polyline")) == 2
    assert len(root.findall("polygon")) == 1
    assert len(root.findall("path")) == len(x)
    assert {"profit", "other", "points", "money"} <= set(words(root))


@pytest.mark.parametrize("y", [[1e9, 1e9 + 1e-7], [5e-324, 0.0], [-1.0, -1.0], [0.0, 0.0], [-1e-300, 1e300]])
def test_an_axis_has_a_few_round_values_whatever_it_measures(y: list[float]) -> None:
    root = on_paper(curves("Odd", Axis(), Axis(), [Curve("", COLOURS[0], [0.0, 1.0], y)]))
    assert 2 <= len(words(root)) <= 16


def test_an_axis_ends_where_it_is_told_to_unless_a_value_lies_beyond() -> None:
    def ends(*y: float) -> tuple[float, float]:
        root = on_paper(curves("ROC", Axis("", percent, 0.0, 1.0), Axis("", percent, 0.0, 1.0),
                               [Curve("", COLOURS[0], [0.0, 1.0], y)], LARGE))
        line = root.findall("polyline")[0].attrib["points"].split()
        return float(line[0].split(",")[1]), float(line[1].split(",")[1])

    bottom, top = ends(0.0, 1.0)
    assert top < 10
    assert ends(0.0, 0.5)[1] == pytest.approx((bottom + top) / 2, abs=0.1)
    assert ends(0.0, 1.2)[1] > top


def test_a_curve_of_marks_alone_has_no_line() -> None:
    dots = Curve("observed", COLOURS[0], [0.1, 0.2], [0.1, 0.3], marks=True, thickness=0)
    root = on_paper(curves("Calibration", Axis(), Axis(), [dots]))
    assert len(root.findall("circle")) == 2
    assert root.findall("polyline") == []


def test_intervals_stand_below_each_other_each_with_its_words() -> None:
    rows = [("AUC", [Estimate("solo", COLOURS[0], 0.7, 0.68, 0.72, "0.700", dashed=True),
                     Estimate("joint", COLOURS[1], 0.8, 0.79, 0.81, "0.800")]), ("KS", [])]
    root = on_paper(forest("Joint against solo", Axis(), rows))
    heights = {text.text: float(text.attrib["y"]) for text in root.findall("text")}
    assert heights["0.700"] < heights["AUC"] < heights["0.800"] < heights["KS"]
    solo, joint = ([float(point.split(",")[0]) for point in line.attrib["points"].split()]
                   for line in root.findall("polyline"))
    assert solo[0] < solo[1] < joint[0] < joint[1]
    on_paper(forest("Nothing", Axis(), []))


def test_titles_and_labels_are_escaped() -> None:
    hostile = '"><script>'
    said = Axis(hostile, lambda _: hostile)
    for svg in (bars(hostile, said, said, [Bar(hostile, 1.0)]), grouped_bars(hostile, said, said, {hostile: []}),
                curves(hostile, said, said, [Curve(hostile, COLOURS[0], [0.0], [1.0])]),
                forest(hostile, said, [(hostile, [Estimate(hostile, COLOURS[0], 0.1, 0.0, 0.2, hostile)])])):
        assert "<script" not in svg
        assert on_paper(svg).attrib["aria-label"] == hostile
