"""The stages of a job, in order; each is one file that runs one part with the private data of this party."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from party_node.tasks import align, bin, evaluate, prepare, split, train
from party_node.tasks.context import JobContext

STAGES: tuple[tuple[str, Callable[[JobContext], Awaitable[None]]], ...] = (
    ("align", align.run),
    ("split", split.run),
    ("bin", bin.run),
    ("prepare", prepare.run),
    ("train", train.run),
    ("evaluate", evaluate.run),
)
