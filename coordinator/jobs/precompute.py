"""A model in two jobs: what `coordinator precompute` launches, and what `launch --prepared` makes of it."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import ValidationError

from coordinator.jobs.plan import JobPlan, PlanError
from coordinator.jobs.store import JobRow
from wire.spec.job import JobSpec, first_fault
from wire.spec.two_jobs import difference, first_half, second_half


def ahead(spec: JobSpec) -> JobSpec:
    """The job that works ahead of the model's job `spec`."""
    if spec.goal != "model":
        raise PlanError("only a model is prepared ahead", "set goal to model in the job's file, or leave it out")
    return _whole(lambda: first_half(spec))


def online(spec: JobSpec, plan: JobPlan, earlier: JobRow) -> JobSpec:
    """The model's job `spec` of `plan`, on what `earlier` made ahead. PlanError where it was made for another job."""
    first = JobSpec.model_validate_json(earlier.spec)
    if first.goal != "precompute" or earlier.state != "finished":
        raise PlanError(f"job {earlier.id[:12]} made nothing ahead: it is {earlier.state}, for {first.goal}",
                        "run: coordinator precompute JOB_FILE")
    if spec.goal != "model":
        raise PlanError("only a model uses what another job made ahead", "set goal to model in the job's file")
    found = _whole(lambda: second_half(_as_chosen_then(spec, plan, first), earlier.id))
    other = difference(first, found)
    if other is not None:
        raise PlanError(f"the job differs from job {earlier.id[:12]}, which made correlations for it, in {other}",
                        "launch it without --prepared, or run coordinator precompute again")
    return found


def _whole(half: Callable[[], JobSpec]) -> JobSpec:
    """A half, unless the job is one that is made in one piece."""
    try:
        return half()
    except ValidationError as error:
        raise PlanError(f"this job has no two halves: {first_fault(error)[1]}",
                        "launch it as it is: coordinator launch JOB_FILE") from None


def _as_chosen_then(spec: JobSpec, plan: JobPlan, first: JobSpec) -> JobSpec:
    """What the job's file leaves open was chosen when the first half was launched."""
    if plan.align.engine != "auto":
        return spec
    return spec.model_copy(update={"align": spec.align.model_copy(update={"engine": first.align.engine})})
