"""The stages of a job, in order; each is one file that runs one part with the private data of this party."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from party_node.jobs.stages import align, bin, correlate, evaluate, precompute, prepare, split, take_up, train
from party_node.jobs.stages.context import JobContext
from wire.spec.job import JobSpec

Stage = tuple[str, Callable[[JobContext], Awaitable[None]]]
STAGES: tuple[Stage, ...] = (
    ("align", align.run),
    ("split", split.run),
    ("bin", bin.run),
    ("prepare", prepare.run),
    ("correlate", correlate.run),
    ("train", train.run),
    ("evaluate", evaluate.run),
)


def stages(spec: JobSpec) -> tuple[Stage, ...]:
    """The stages that the job runs through."""
    if spec.goal == "alignment":
        return STAGES[:1]
    if spec.goal == "precompute":
        return (*STAGES[:5], ("precompute", precompute.run))
    return STAGES if spec.prepared is None else (("take up", take_up.run), *STAGES[5:])
