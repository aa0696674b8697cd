"""What the coordinator remembers: states that may follow, a private file, and ids by their beginning."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coordinator.jobs.store import NEXT, Store
from mpc.errors import LocalError

JOB, OTHER = "ab" + "0" * 62, "ac" + "0" * 62


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "state.db")
    yield store
    store.close()


def test_a_job_is_kept_with_its_bytes_and_its_end(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.db")
    created = store.add(JOB, "credit risk", b"\x00spec")
    store.move(JOB, "running", approvals={"bank": "01"})
    store.move(JOB, "finished", record={"common": 7})
    store.close()
    again = Store(tmp_path / "state.db")
    row = again.job(JOB)
    again.close()
    assert (row.state, row.spec, row.created, row.record, row.error) == \
        ("finished", b"\x00spec", created, {"common": 7}, None)


def test_the_file_is_private(tmp_path: Path, store: Store) -> None:
    store.add(JOB, "credit risk", b"spec")
    files = list(tmp_path.glob("state.db*"))
    assert files
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from([*NEXT, "proposed"]), max_size=4))
def test_only_the_listed_moves_are_possible(tmp_path_factory: pytest.TempPathFactory, moves: list[str]) -> None:
    store, state = Store(tmp_path_factory.mktemp("store") / "state.db"), "proposed"
    store.add(JOB, "credit risk", b"spec")
    for wanted in moves:
        if wanted in NEXT[state]:
            store.move(JOB, wanted)
            state = wanted
        else:
            with pytest.raises(LocalError, match=f"is {state} and cannot become {wanted}"):
                store.move(JOB, wanted)
        assert store.job(JOB).state == state
    store.close()


def test_an_end_is_an_end() -> None:
    ends = {state for state, following in NEXT.items() if not following}
    assert ends == {"finished", "denied", "failed", "cancelled"}
    assert {following for states in NEXT.values() for following in states} <= set(NEXT)


PREFIXES = {"": "2 jobs", "a": "2 jobs", "ff": "no job", "%": "no job", "a_": "no job", JOB + "0": "no job"}


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_prefix_that_names_no_one_job_is_refused(prefix: str, store: Store) -> None:
    for job in (JOB, OTHER):
        store.add(job, "credit risk", b"spec")
    assert store.job("ab").id == JOB
    with pytest.raises(LocalError, match=PREFIXES[prefix]):
        store.job(prefix)
