"""Reads and evaluates PMML scorecards by the standard's text alone; knows nothing of how we write them.

https://dmg.org/pmml/v4-4-1/Scorecard.html and TreeModel.html (predicates, three-valued logic). `problems` checks the
structure that the schema demands of the elements a scorecard may hold; `evaluate` scores one record.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from xml.etree import ElementTree as xml

NAMESPACE = "{http://www.dmg.org/PMML-4_4}"
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
Cell = float | str | None

# element -> (required attributes, other attributes, children: a pattern over their names)
PREDICATE = "(SimplePredicate|CompoundPredicate|SimpleSetPredicate|True|False) "
SCHEMA = {
    "PMML": ({"version"}, set(), "Header DataDictionary Scorecard "),
    "Header": (set(), {"copyright", "description", "modelVersion"}, "(Application )?(Annotation )*(Timestamp )?"),
    "Application": ({"name"}, {"version"}, ""),
    "DataDictionary": (set(), {"numberOfFields"}, "(DataField )+"),
    "DataField": ({"name", "optype", "dataType"}, {"displayName"}, "(Interval )*(Value )*"),
    "Scorecard": (
        {"functionName"},
        {"modelName", "algorithmName", "initialScore", "useReasonCodes", "reasonCodeAlgorithm", "baselineScore",
         "baselineMethod", "isScorable"},
        "MiningSchema (Output )?Characteristics ",
    ),
    "MiningSchema": (set(), set(), "(MiningField )+"),
    "MiningField": ({"name"}, {"usageType", "optype", "invalidValueTreatment", "missingValueReplacement"}, ""),
    "Output": (set(), set(), "(OutputField )+"),
    "OutputField": ({"name", "dataType"}, {"optype", "feature", "rank", "displayName"}, ""),
    "Characteristics": (set(), set(), "(Characteristic )+"),
    "Characteristic": (set(), {"name", "reasonCode", "baselineScore"}, "(Attribute )+"),
    "Attribute": (set(), {"reasonCode", "partialScore"}, PREDICATE),
    "SimplePredicate": ({"field", "operator"}, {"value"}, ""),
    "CompoundPredicate": ({"booleanOperator"}, set(), f"({PREDICATE}){{2,}}"),
    "SimpleSetPredicate": ({"field", "booleanOperator"}, set(), "Array "),
    "Array": ({"type"}, {"n"}, ""),
    "True": (set(), set(), ""),
}
VALUES = {
    ("PMML", "version"): {"4.4"},
    ("DataField", "optype"): {"categorical", "ordinal", "continuous"},
    ("DataField", "dataType"): {"double", "string"},
    ("Scorecard", "functionName"): {"regression"},
    ("Scorecard", "reasonCodeAlgorithm"): {"pointsAbove", "pointsBelow"},
    ("Scorecard", "baselineMethod"): {"max", "min", "mean", "neutral", "other"},
    ("Scorecard", "useReasonCodes"): {"true", "false"},
    ("MiningField", "usageType"): {"active"},
    ("OutputField", "feature"): {"predictedValue", "reasonCode"},
    ("CompoundPredicate", "booleanOperator"): {"and", "or", "xor", "surrogate"},
    ("SimpleSetPredicate", "booleanOperator"): {"isIn", "isNotIn"},
    ("Array", "type"): {"string"},
    ("SimplePredicate", "operator"): {"equal", "notEqual", "lessThan", "lessOrEqual", "greaterThan", "greaterOrEqual",
                                      "isMissing", "isNotMissing"},
}
NUMBERS = {("Scorecard", "initialScore"), ("Characteristic", "baselineScore"), ("Attribute", "partialScore"),
           ("OutputField", "rank"), ("DataDictionary", "numberOfFields"), ("Array", "n")}


def problems(text: str) -> list[str]:
    """What the schema, and the rules that it cannot express, have against the document."""
    root = xml.fromstring(text)
    found = [] if root.tag == f"{NAMESPACE}PMML" else ["the root is not PMML 4.4"]
    for node in root.iter():
        found += _element(node)
    fields = [node.get("name") for node in _all(root, "DataField")]
    listed = [node.get("name") for node in _all(root, "MiningField")]
    if len(set(fields)) < len(fields) or len(set(listed)) < len(listed):
        found.append("two fields have one name")
    used = {node.get("field") for node in root.iter() if node.get("field") is not None}
    if not used <= set(listed) <= set(fields):
        found.append("a field is used that is not declared")
    counts = [node.get("numberOfFields") for node in _all(root, "DataDictionary")]
    if counts != [str(len(fields))]:
        found.append("another number of fields is announced")
    for node in _all(root, "Characteristic"):
        if node.get("reasonCode") is None or node.get("baselineScore") is None:
            found.append("a characteristic lacks its reason or baseline")
    return found


def _element(node: xml.Element) -> list[str]:
    name = node.tag.removeprefix(NAMESPACE)
    if name not in SCHEMA:
        return [f"unknown element {name}"]
    required, others, children = SCHEMA[name]
    found = []
    if not required <= set(node.attrib) <= required | others:
        found.append(f"attributes of {name}")
    if not re.fullmatch(children, "".join(child.tag.removeprefix(NAMESPACE) + " " for child in node)):
        found.append(f"children of {name}")
    for key, value in node.attrib.items():
        if value not in VALUES.get((name, key), {value}):
            found.append(f"{name}.{key} is {value}")
        if (name, key) in NUMBERS and not NUMBER.fullmatch(value):
            found.append(f"{name}.{key} is not a number")
    unary = node.get("operator") in {"isMissing", "isNotMissing"}
    if name == "SimplePredicate" and unary == ("value" in node.attrib):
        found.append("a comparison with too much or too little")
    if name == "Array" and len(_strings(node)) != int(node.get("n", "-1")):
        found.append("an array of another length than announced")
    return found


def evaluate(text: str, record: Mapping[str, Cell]) -> tuple[float, list[str]]:
    """(predicted value, reason codes from the greatest points below the baseline)."""
    root = _read(text)
    kinds = {node.get("name"): node.get("dataType") for node in _all(root, "DataField")}
    card = _all(root, "Scorecard")[0]
    total = float(card.get("initialScore", "0"))
    falls: dict[str, float] = {}
    for characteristic in _all(card, "Characteristic"):
        for attribute in _all(characteristic, "Attribute"):
            if _holds(attribute[0], record, kinds) is True:
                points = float(attribute.get("partialScore", "nan"))
                break
        else:
            raise ValueError("no attribute holds: the score is invalid")
        total += points
        falls[characteristic.get("reasonCode", "")] = float(characteristic.get("baselineScore", "nan")) - points
    ranked = sorted(falls, key=lambda reason: -falls[reason])
    wanted = sum(node.get("feature") == "reasonCode" for node in _all(root, "OutputField"))
    return total, [reason for reason in ranked[:wanted] if falls[reason] > 0]


@lru_cache(maxsize=1)
def _read(text: str) -> xml.Element:
    return xml.fromstring(text)


def _all(node: xml.Element, name: str) -> list[xml.Element]:
    return list(node.iter(NAMESPACE + name))


def _holds(node: xml.Element, record: Mapping[str, Cell], kinds: Mapping[str | None, str | None]) -> bool | None:
    """True, False or None (unknown)."""
    name = node.tag.removeprefix(NAMESPACE)
    if name == "True":
        return True
    if name == "CompoundPredicate":
        parts = [_holds(child, record, kinds) for child in node]
        assert node.get("booleanOperator") == "and"
        return False if False in parts else None if None in parts else True
    field = node.get("field", "")
    cell = record.get(field)
    operator = node.get("operator")
    if operator in {"isMissing", "isNotMissing"}:
        return (cell is None) == (operator == "isMissing")
    if cell is None:
        return None
    if name == "SimpleSetPredicate":
        return cell in _strings(node[0])
    given = node.get("value", "")
    value: float | str = float(given) if kinds[field] == "double" else given
    compare = {"equal": cell == value, "lessThan": cell < value, "greaterOrEqual": cell >= value}  # type: ignore[operator]
    return compare[str(operator)]


def _strings(array: xml.Element) -> list[str]:
    """Quoted strings of an Array; a quote inside one is escaped by a backslash."""
    return [match.replace('\\"', '"') for match in re.findall(r'"((?:\\"|[^"])*)"', array.text or "")]
