"""A model in two jobs, as the coordinator writes them: equal where they must be, and what does not fit is told."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.jobs.forecast import forecast
from coordinator.jobs.plan import JobPlan, PlanError, PlannedAlign
from coordinator.jobs.precompute import ahead, online
from coordinator.jobs.store import JobRow
from mpc.protocols import PROTOCOLS
from tests.coordinator.jobs.test_forecast import ROWS
from tests.coordinator.jobs.test_forecast import spec as spec_of
from tests.coordinator.jobs.test_plan import build
from wire.spec.columns import BinningSpec, CorrelateSpec
from wire.spec.job import CryptoSpec, JobSpec, decode_spec, encode_spec, job_id
from wire.spec.two_jobs import difference


def row(spec: JobSpec, state: str = "finished") -> JobRow:
    """A job as the coordinator keeps it."""
    data = encode_spec(spec)
    return JobRow(job_id(data), spec.purpose, "2026-01-02", state, data, None, None)


def test_two_halves_open_together_what_the_whole_opens(plan: JobPlan, nodes: Any) -> None:
    more = {"binning": BinningSpec(), "correlate": CorrelateSpec()}
    whole = build(plan, nodes, **more)
    first = ahead(whole)
    second = online(build(plan, nodes, **more), plan, row(first))
    for half in (first, second):
        assert decode_spec(encode_spec(half)) == half
    assert sorted([*first.reveal, *second.reveal]) == whole.reveal
    kinds = {code.partition(".")[0] for code in first.reveal}
    assert kinds == {"align", "bin", "correlate"}
    assert {code.partition(".")[0] for code in second.reveal} == {"train", "score", "finish"}
    assert set(first.release) == {"correlations", "row_counts", "timings"}
    assert second.release == whole.release
    assert (second.prepared, second.goal) == (job_id(encode_spec(first)), "model")
    assert second.nonce != first.nonce
    assert difference(first, second) is None


def test_every_protocol_that_opens_something_is_in_one_half_or_the_other() -> None:
    """A new protocol has to be put where it runs."""
    opening = {line.code.partition(".")[0] for protocol in PROTOCOLS.values() for line in protocol.ledger}
    assert opening == {"align", "bin", "correlate", "split"} | {"train", "score", "finish"}


def test_an_engine_that_the_file_leaves_open_is_the_one_that_ran(plan: JobPlan, nodes: Any) -> None:
    one, other = (build(plan, nodes, align=PlannedAlign(engine=engine)) for engine in ("ecdh", "oprf"))
    assert plan.align.engine == "auto"
    assert online(one, plan, row(ahead(other))).align.engine == "oprf"
    named = plan.model_copy(update={"align": PlannedAlign(engine="ecdh")})
    with pytest.raises(PlanError, match=r"align\.engine"):
        online(one, named, row(ahead(other)))


def test_what_was_made_for_another_job_is_refused_with_the_field(plan: JobPlan, nodes: Any) -> None:
    first = row(ahead(build(plan, nodes)))
    with pytest.raises(PlanError, match=r"differs from job .* in crypto\.key_bits.*without --prepared"):
        online(build(plan, nodes, crypto=CryptoSpec(key_bits=4096)), plan, first)
    with pytest.raises(PlanError, match="made nothing ahead: it is failed"):
        online(build(plan, nodes), plan, row(ahead(build(plan, nodes)), "failed"))
    with pytest.raises(PlanError, match="for model"):
        online(build(plan, nodes), plan, row(build(plan, nodes)))


def test_a_job_that_is_made_in_one_piece_is_told_so(plan: JobPlan, nodes: Any) -> None:
    weighed = build(plan, nodes, label=plan.label.model_copy(update={"class_weights": "balanced"}))
    for half in (lambda: ahead(weighed), lambda: online(weighed, plan, row(ahead(build(plan, nodes))))):
        with pytest.raises(PlanError, match=r"no two halves: weights .* in one piece\. launch it as it is"):
            half()


def test_an_alignment_has_nothing_to_make_ahead(plan: JobPlan, nodes: Any) -> None:
    bare = plan.model_copy(update={"goal": "alignment", "party": [
        party.model_copy(update={"columns": [], "categorical": [], "trends": {}}) for party in plan.party]})
    alignment = build(bare, nodes)
    with pytest.raises(PlanError, match="only a model"):
        ahead(alignment)
    with pytest.raises(PlanError, match="only a model"):
        online(alignment, bare, row(ahead(build(plan, nodes))))


def test_the_forecast_says_what_is_left_to_the_round() -> None:
    found = forecast(spec_of(), ROWS)
    assert 0 < found["megabytes_in_round"] < found["megabytes_by_stage"]["train"] / 10
    longer = forecast(spec_of(training={"iterations": 16}), ROWS)
    assert longer["megabytes_in_round"] > 1.7 * found["megabytes_in_round"]
