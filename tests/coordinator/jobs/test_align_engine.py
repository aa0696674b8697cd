"""Which engine aligns a job that names none: by sizes and line, the same at every call; what is demanded stays."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from coordinator.jobs.align_engine import ecdh_s, oprf_s, quicker
from coordinator.jobs.plan import JobPlan, PlannedAlign, build_spec
from mpc.protocols.align_terms import FEW_IDS
from wire.line import Line

MILLION = 1 << 20
FAST, SLOW, FAR = Line.parse("1gbps/1ms"), Line.parse("10mbps/20ms"), Line.parse("1gbps/600ms")

CASES: dict[str, tuple[dict[str, int], Line | None, str]] = {
    "two small sets": ({"bank": 30_000, "shop": 30_000}, FAST, "ecdh"),
    "just few enough": ({"bank": FEW_IDS - 1, "shop": FEW_IDS - 1, "phone": FEW_IDS - 1}, None, "ecdh"),
    "two large sets beside one another": ({"bank": MILLION, "shop": MILLION}, None, "oprf"),
    "two large sets over a fast line": ({"bank": MILLION, "shop": MILLION}, FAST, "oprf"),
    "two large sets over a slow line": ({"bank": MILLION, "shop": MILLION}, SLOW, "ecdh"),
    "a few thousand against ten million": ({"bank": 10_000, "shop": 10_000_000}, SLOW, "oprf"),
    "ten million against a few thousand, slow": ({"bank": 10_000_000, "shop": 10_000}, SLOW, "ecdh"),
    "three large sets over a slow line": ({"bank": MILLION, "shop": MILLION, "phone": MILLION}, SLOW, "oprf"),
    "large enough, but far away": ({"bank": FEW_IDS, "shop": FEW_IDS}, FAR, "ecdh"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_engine_that_is_done_first_is_chosen(case: str) -> None:
    rows, line, engine = CASES[case]
    assert quicker("bank", rows, line) == engine


@pytest.mark.parametrize("line", [None, FAST, SLOW, FAR])
@pytest.mark.parametrize("engine", [ecdh_s, oprf_s])
def test_more_ids_and_slower_lines_never_take_less_time(engine: Any, line: Line | None) -> None:
    times = [engine("bank", {"bank": count, "shop": count}, line) for count in (10**5, 10**6, 10**7)]
    assert times == sorted(times)
    rows = {"bank": MILLION, "shop": MILLION}
    assert engine("bank", rows, SLOW) >= engine("bank", rows, FAST) >= engine("bank", rows, None)


def plan_of(base: JobPlan, engine: str, line: str = "") -> JobPlan:
    return base.model_copy(update={"align": PlannedAlign.model_validate({"engine": engine}), "line": line})


@pytest.mark.parametrize(("engine", "line", "expected"), [
    ("auto", "", "oprf"), ("auto", "10mbps/20ms", "ecdh"), ("ecdh", "", "ecdh"), ("oprf", "10mbps/20ms", "oprf"),
])
def test_the_spec_names_the_engine(engine: str, line: str, expected: str, plan: JobPlan, nodes: Any) -> None:
    datasets = {
        name: [dataset.model_copy(update={"rows": MILLION}) for dataset in node.datasets]
        for name, node in nodes.items()
    }
    spec = build_spec(plan_of(plan, engine, line), datasets, {"bank": "a" * 64, "shop": "b" * 64})
    assert spec.align.engine == expected


def test_what_is_no_line_is_refused_when_the_plan_is_read(plan: JobPlan) -> None:
    with pytest.raises(ValidationError):
        JobPlan.model_validate(plan.model_dump() | {"line": "fast"})
