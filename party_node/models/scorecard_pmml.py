"""A party's part of a scorecard as PMML 4.4 (https://dmg.org/pmml/v4-4-1/Scorecard.html), for engines that read it.

One Scorecard element per part: the parts' predicted values of one customer add up to the score. Attributes of a
characteristic are tested in order and the first that holds counts: special values, missing cells, regular bins, and
last `True` with 0 points for a cell in no bin. Reasons: points below the best bin, of this party's characteristics.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree as xml

from mpc.credit.fine_bins import NumericBins
from mpc.credit.scorecard import Characteristic, ScorecardPart
from mpc.errors import LocalError

NAMESPACE = "http://www.dmg.org/PMML-4_4"
PREDICTED, REASON = "points", "reason"
MOST_REASONS = 4
_UNWRITABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")  # XML lacks or changes these


def to_pmml(part: ScorecardPart, job: str, party: str) -> str:
    """The document. LocalError: no characteristics, or names and levels that XML cannot hold."""
    if not part.characteristics:
        raise LocalError("PMML has no scorecard without characteristics", "Export this part as JSON.")
    root = xml.Element("PMML", {"xmlns": NAMESPACE, "version": "4.4"})
    header = xml.SubElement(root, "Header", {"description": f"{party}'s part of the joint scorecard of job {job}"})
    xml.SubElement(header, "Application", {"name": "joint-credit-risk"})
    dictionary = xml.SubElement(root, "DataDictionary", {"numberOfFields": str(len(part.characteristics))})
    card = xml.SubElement(
        root,
        "Scorecard",
        {
            "modelName": f"{party}-{job[:12]}",
            "functionName": "regression",
            "initialScore": repr(part.base),
            "useReasonCodes": "true",
            "reasonCodeAlgorithm": "pointsBelow",
            "baselineMethod": "max",
        },
    )
    schema = xml.SubElement(card, "MiningSchema")
    output = xml.SubElement(card, "Output")
    xml.SubElement(
        output, "OutputField",
        {"name": PREDICTED, "feature": "predictedValue", "dataType": "double", "optype": "continuous"},
    )
    for rank in range(1, min(MOST_REASONS, len(part.characteristics)) + 1):
        xml.SubElement(
            output, "OutputField",
            {"name": f"{REASON}{rank}", "feature": "reasonCode", "rank": str(rank), "dataType": "string",
             "optype": "categorical"},
        )
    listed = xml.SubElement(card, "Characteristics")
    for entry in part.characteristics:
        name = _text(entry.name)
        kind = ("continuous", "double") if isinstance(entry.bins, NumericBins) else ("categorical", "string")
        xml.SubElement(dictionary, "DataField", {"name": name, "optype": kind[0], "dataType": kind[1]})
        xml.SubElement(schema, "MiningField", {"name": name, "usageType": "active"})
        _characteristic(listed, entry)
    xml.indent(root, " ")
    written: bytes = xml.tostring(root, encoding="utf-8", xml_declaration=True)
    return written.decode() + "\n"


def _characteristic(listed: xml.Element, entry: Characteristic) -> None:
    """Attributes in the order in which they are tested."""
    name, bins, points = _text(entry.name), entry.bins, entry.points
    node = xml.SubElement(
        listed, "Characteristic", {"name": name, "reasonCode": name, "baselineScore": repr(entry.best)}
    )
    if isinstance(bins, NumericBins):
        for value, home in bins.special:
            _compare(_attribute(node, points[home]), name, "equal", value)
    if bins.missing is not None:
        _compare(_attribute(node, points[bins.missing]), name, "isMissing")
    if isinstance(bins, NumericBins):
        ends = (None, *bins.edges, None)
        for place in range(bins.regular):
            _range(_attribute(node, points[place]), name, ends[place], ends[place + 1])
    else:
        for place, levels in enumerate(bins.groups):
            if levels:
                _among(_attribute(node, points[place]), name, levels)
        if bins.other is not None:
            _compare(_attribute(node, points[bins.other]), name, "isNotMissing")
    xml.SubElement(_attribute(node, 0.0), "True")


def _attribute(node: xml.Element, points: float) -> xml.Element:
    return xml.SubElement(node, "Attribute", {"partialScore": repr(points)})


def _compare(parent: xml.Element, field: str, operator: str, value: float | None = None) -> None:
    given = {"field": field, "operator": operator} | ({} if value is None else {"value": repr(value)})
    xml.SubElement(parent, "SimplePredicate", given)


def _range(parent: xml.Element, field: str, low: float | None, high: float | None) -> None:
    """low <= value < high, where an end that is None is open; without any end, whatever is not missing."""
    if low is None and high is None:
        _compare(parent, field, "isNotMissing")
        return
    if low is not None and high is not None:
        parent = xml.SubElement(parent, "CompoundPredicate", {"booleanOperator": "and"})
    if low is not None:
        _compare(parent, field, "greaterOrEqual", low)
    if high is not None:
        _compare(parent, field, "lessThan", high)


def _among(parent: xml.Element, field: str, levels: tuple[str, ...]) -> None:
    chosen = xml.SubElement(parent, "SimpleSetPredicate", {"field": field, "booleanOperator": "isIn"})
    array = xml.SubElement(chosen, "Array", {"n": str(len(levels)), "type": "string"})
    array.text = " ".join(f'"{_quoted(level)}"' for level in levels)


def _quoted(level: str) -> str:
    """As it stands in an Array. A backslash is left alone, the standard escapes quotes only; so one before a quote
    or at the end could be read in two ways and is refused."""
    if '\\"' in level or level.endswith("\\"):
        raise _not_written()
    return _text(level).replace('"', '\\"')


def _text(text: str) -> str:
    if _UNWRITABLE.search(text):
        raise _not_written()
    return text


def _not_written() -> LocalError:
    return LocalError(
        "a column's name or a level holds characters that PMML cannot hold",
        "Export this part as JSON, or rename it in the table.",
    )
