"""Recorded jobs, made once for all tests of this directory."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from tests.simulation.consortium import record
from tests.simulation.observer import Recording
from tests.simulation.tables import CORRELATED, FEATURE_HOLDERS, LABEL_HOLDER, World

Recorded = Callable[..., Recording]


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """recorded(parties, secrets): a whole job of real nodes in this process; `ahead`: in two halves; `correlated`:
    with correlations across parties."""
    @cache
    def make(parties: int, secrets: int = 1, ahead: bool = False, correlated: bool = False) -> Recording:
        names = (LABEL_HOLDER, *FEATURE_HOLDERS[: parties - 1])
        kind = "-ahead" * ahead + "-correlated" * correlated
        home = tmp_path_factory.mktemp(f"consortium-{parties}-{secrets}{kind}") / "all"
        recording = record(home, World(names, secrets), ahead=ahead, more=CORRELATED if correlated else {})
        if recording.error is not None:
            public = getattr(recording.error, "error", "")   # whose side, and why
            raise AssertionError(f"the recorded job failed: {public}") from recording.error
        return recording

    return make
