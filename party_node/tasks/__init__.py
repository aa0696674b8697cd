"""The stages of a job, in order; each is one file that runs one part with the private data of this party."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from party_node.tasks import align, bin, correlate, evaluate, prepare, split, train
from party_node.tasks.context import JobContext
from wire.spec import JobSpec

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
    return STAGES if spec.goal == "model" else STAGES[:1]
