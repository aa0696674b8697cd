"""What is cleared away of what jobs made ahead, and what must not be; that a sweep stops nobody from starting."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from mpc.errors import LocalError
from party_node.jobs import runner
from party_node.jobs.events import FeedState
from party_node.records import precomputed_files
from party_node.records.budgets import Budget
from party_node.records.precomputed_files import BURNT, Used
from party_node.records.store import JobState, Store, StoreError
from tests.party_node.conftest import COORDINATOR, Change
from tests.party_node.jobs.test_runner import made
from tests.party_node.jobs.test_two_jobs import halves, plenty, ran
from tests.party_node.records.test_precomputed_files import done, write
from wire.spec.job import encode_spec

JOB = "ab" * 32
HOUR = 3600


def until(moment: float) -> Change:
    return lambda raw: raw.update(valid_from=int(moment) - HOUR, valid_until=int(moment))


def known(bank: Any, moment: float) -> str:
    """A first half that ran here and serves until `moment`."""
    bank.register(plenty)
    bank.now = moment - 60
    first, _ = halves_until(bank, moment)
    return ran(bank, first)


def halves_until(bank: Any, moment: float) -> Any:
    whole = bank.spec
    bank.spec = lambda change=None, nonce=1: whole(until(moment), nonce)
    return halves(bank)


async def done_at_once(running: Any) -> bytes:
    return b"{}"


def stuck(folder: Path, job: str = JOB) -> Path:
    """Something in a file's place that no unlink removes, whoever tries."""
    (folder / job).mkdir(parents=True)
    (folder / job / "inside").write_text("")
    return folder / job


async def test_what_cannot_be_removed_keeps_no_job_from_starting(bank: Any) -> None:
    bank.register(plenty)
    jobs, _ = made(bank, done_at_once)
    there = stuck(bank.root)               # made() keeps what was made ahead in the bank's own folder
    later = "cd" * 32
    write(bank.root, later)
    spec = bank.spec_bytes()
    jobs.propose(spec, COORDINATOR)
    job = jobs.start(spec, bank.approvals(spec), COORDINATOR)
    events = [event async for event in jobs.feed(job, COORDINATOR).follow(0)]
    assert events[-1].state is FeedState.FINISHED
    assert bank.store.job(job).state is JobState.DONE
    assert there.exists()
    assert not (bank.root / later).exists(), "one that cannot be removed keeps no other"


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), StoreError("a later instance has started")])
def test_a_file_that_cannot_be_looked_at_or_noted_keeps_no_node_from_starting(
    bank: Any, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    folder = bank.root / "prepared"
    write(folder, JOB)
    write(folder, "cd" * 32)
    looked = precomputed_files._looked_at

    def broken(path: Path, store: Store) -> Any:
        if path.name == JOB:
            raise error
        return looked(path, store)

    monkeypatch.setattr(precomputed_files, "_looked_at", broken)
    precomputed_files.sweep(folder, bank.store)
    assert [path.name for path in folder.iterdir()] == [JOB]


def test_a_sweep_that_fails_otherwise_fails_before_anything_is_debited(
    bank: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(folder: Path, store: Store) -> None:
        raise RuntimeError("anything")

    bank.register(plenty)
    jobs, _ = made(bank, done_at_once)
    spec = bank.spec_bytes()
    job = jobs.propose(spec, COORDINATOR).job
    monkeypatch.setattr(runner.precomputed_files, "sweep", broken)
    with pytest.raises(RuntimeError):
        jobs.start(spec, bank.approvals(spec), COORDINATOR)
    assert bank.store.job(job).state is JobState.APPROVED, "it may be started again"
    assert bank.store.spent("loans")[Budget.TRAINING_ROUNDS] == 0


def test_what_a_running_job_names_stays_until_the_job_ends(bank: Any) -> None:
    bank.register(plenty)
    moment = time.time() - HOUR            # by now both halves have lapsed; the second began in time
    bank.now = moment - 60
    first, second = halves_until(bank, moment)
    earlier, folder = ran(bank, first), bank.root / "prepared"
    path, data = write(folder, earlier, moment), encode_spec(second)
    job = bank.consent.propose(data, COORDINATOR).job
    bank.consent.verify_start(data, bank.approvals(data), COORDINATOR)
    precomputed_files.sweep(folder, bank.store)
    assert path.exists()
    assert not bank.store.is_burnt(earlier, BURNT)
    bank.consent.finish(job, JobState.FAILED)
    precomputed_files.sweep(folder, bank.store)
    assert not path.exists()
    assert bank.store.is_burnt(earlier, BURNT)


def test_a_job_that_still_makes_its_file_keeps_it(bank: Any) -> None:
    folder, moment = bank.root / "prepared", time.time() - HOUR
    bank.register(plenty)
    bank.now = moment - 60
    data = encode_spec(halves_until(bank, moment)[0])
    job = bank.consent.propose(data, COORDINATOR).job
    bank.consent.verify_start(data, bank.approvals(data), COORDINATOR)
    path = write(folder, job, moment)
    precomputed_files.sweep(folder, bank.store)
    assert path.exists()


def spoil(case: str, folder: Path, job: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    if case == "another version":
        monkeypatch.setattr(precomputed_files, "VERSION", precomputed_files.VERSION + 1)
        path = write(folder, job)
        monkeypatch.undo()
        return path
    path = write(folder, job)
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[:100], "empty": b"", "changed": whole[:-50] + b"\0" + whole[-49:]}[case])
    return path


@pytest.mark.parametrize("case", ["another version", "cut", "empty", "changed"])
def test_a_file_that_nobody_can_read_is_swept_when_its_job_has_lapsed_and_not_before(
    case: str, bank: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = bank.root / "prepared"
    job = known(bank, time.time() + HOUR)
    path = spoil(case, folder, job, monkeypatch)
    precomputed_files.sweep(folder, bank.store)
    (one,) = precomputed_files.listed(folder, bank.store)
    assert (one.state, path.exists()) == ("damaged", True), "a release that is put back may read it"
    assert one.until == pytest.approx(time.time() + HOUR, abs=60)
    assert not bank.store.is_burnt(job, BURNT)
    monkeypatch.setattr(precomputed_files.time, "time", lambda: one.until + 1)
    assert precomputed_files.listed(folder, bank.store)[0].state == "lapsed"
    precomputed_files.sweep(folder, bank.store)
    assert not path.exists()
    assert bank.store.is_burnt(job, BURNT)


def test_a_file_that_nobody_can_read_for_a_spec_that_nobody_can_read_is_swept(tmp_path: Path) -> None:
    folder, store = tmp_path / "prepared", Store(tmp_path / "state.db")
    done(store)                            # its spec is of another release
    path = write(folder)
    path.write_bytes(path.read_bytes()[:-1])
    precomputed_files.sweep(folder, store)
    assert not path.exists()
    assert store.is_burnt(JOB, BURNT)


def test_a_file_that_goes_while_it_is_listed_is_left_out(bank: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = bank.root / "prepared"
    write(folder, JOB)
    write(folder, "cd" * 32)
    files = precomputed_files._files(folder)
    monkeypatch.setattr(precomputed_files, "_files", lambda folder: files)
    (folder / JOB).unlink()
    assert [one.job for one in precomputed_files.listed(folder, bank.store)] == ["cd" * 32]


def test_an_instance_that_lost_its_token_removes_nothing(tmp_path: Path) -> None:
    folder, store = tmp_path / "prepared", Store(tmp_path / "state.db")
    store.claim(tmp_path / "lock")
    path = write(folder)
    Store(tmp_path / "state.db").claim(tmp_path / "another lock")
    with pytest.raises(StoreError, match="later instance") as error:
        precomputed_files.remove(folder, store, JOB)
    assert not isinstance(error.value, Used)
    precomputed_files.sweep(folder, store)
    assert path.exists()
    assert isinstance(error.value, LocalError)
