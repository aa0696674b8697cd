"""How a job ends: what others read of it, who may look, and that an end is told even when it cannot be recorded."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mpc.domains import Domain
from mpc.errors import LocalError
from party_node.data.ids.accounting import DuplicatePolicy, IdRules, read_ids
from party_node.data.label import MissingLabel, read_label
from party_node.data.sources.table import read_table
from party_node.jobs import runner
from party_node.jobs.events import FeedEvent, FeedState
from party_node.jobs.runner import KEPT_JOBS, Jobs
from party_node.jobs.workers import Workers
from party_node.records.audit import AuditError, SignedHead, countersign
from party_node.records.store import JobState
from party_node.table_errors import TOLD, DataError
from wire.errors import Cancelled, RemoteFailure, from_wire, to_wire
from wire.spec.job import job_id

WHO = "conductor"
Run = Callable[[Any], Awaitable[bytes]]


class Hub:
    """What the peers are told."""

    def __init__(self) -> None:
        self.told: list[BaseException | None] = []

    async def close(self, job: str, error: BaseException | None) -> None:
        self.told.append(error)


def made(bank: Any, run: Run) -> tuple[Jobs, Hub]:
    """Jobs of bank-a whose run is `run` instead of the stages."""
    hub, directory = Hub(), SimpleNamespace(models=bank.root, alignments=bank.root, prepared=bank.root)
    jobs = Jobs(directory, "bank-a", bank.identities["bank-a"], bank.store, bank.audit, bank.consent,  # type: ignore[arg-type]
                hub, Workers(1), lambda spec: None)  # type: ignore[arg-type, return-value]
    jobs._run = run  # type: ignore[method-assign]
    return jobs, hub


def test_scores_are_rounded_by_the_node_and_the_columns_alone(bank: Any, tmp_path: Path) -> None:
    """Another job, table, name or process, and customers are rounded alike: a planted job in the key would be averaged
    away (tests/simulation/test_scores_to_bins.py)."""
    keys = set()
    for _ in range(2):
        jobs, _ = made(bank, lambda running: None)  # type: ignore[arg-type, return-value]
        jobs._directory = SimpleNamespace(secret=tmp_path / "node.secret")  # type: ignore[assignment]
        keys.add(jobs._dither_key([b"bins", b"age", b"income"]))
    assert len(keys) == 1
    keys.add(jobs._dither_key([b"bins", b"age"]))
    assert len(keys) == 2
    assert all(len(key) == 32 for key in keys)
    assert (tmp_path / "node.secret").stat().st_mode & 0o777 == 0o600


async def ended(bank: Any, run: Run, nonce: int = 1) -> tuple[Jobs, Hub, str, FeedEvent]:
    bank.register()
    spec = bank.spec_bytes(nonce=nonce)
    jobs, hub = made(bank, run)
    jobs.propose(spec, WHO)
    job = jobs.start(spec, bank.approvals(spec), WHO)
    events = [event async for event in jobs.feed(job, WHO).follow(0)]
    return jobs, hub, job, events[-1]


def _path(tmp_path: Path) -> Path:
    path = tmp_path / "t.csv"
    path.write_text("customer,bad\n" + "".join(f"{k % 17},{'' if k % 5 == 0 else 'good'}\n" for k in range(60)))
    return path


def _label(path: Path, *rules: Any) -> object:
    return read_label(read_table(path, columns=["bad"]), "bad", *rules)


WRONG: dict[str, tuple[Callable[[Any], object], str]] = {
    "ids repeat": (lambda path: read_ids(path, ["customer"], IdRules(), DuplicatePolicy.REFUSE), "duplicate_ids"),
    "labels are missing": (lambda path: _label(path, "good", MissingLabel.ERROR), "label_missing"),
    "labels are all equal": (lambda path: _label(path, "good"), "label_one_sided"),
    "a guessed label value": (lambda path: _label(path, "guess"), "label_values"),
}


@pytest.mark.parametrize("case", WRONG)
async def test_what_is_wrong_with_a_table_is_told_without_figures(case: str, bank: Any, tmp_path: Path) -> None:
    step, code = WRONG[case]
    path = _path(tmp_path)
    with pytest.raises(DataError) as caught:
        step(path)
    assert caught.value.code == code

    async def run(running: Any) -> bytes:
        raise caught.value

    _, hub, job, last = await ended(bank, run)
    assert last.error is not None
    assert isinstance(hub.told[0], RemoteFailure)
    for public in (last.error, hub.told[0].public, from_wire(to_wire(last.error))):
        assert public.what == TOLD[code]
        assert not any(character.isdigit() for character in public.what + public.advice)
    row = bank.store.job(job)
    assert row.error_text == caught.value.what, "our own operator reads the figures"


def test_one_sentence_stands_for_all_that_can_be_wrong_with_a_label() -> None:
    assert len({TOLD[code] for code in ("label_missing", "label_one_sided", "label_values")}) == 1


async def _done(running: Any) -> bytes:
    return b"{}"


async def _broken(running: Any) -> bytes:
    raise LocalError("the disk is full")


@pytest.mark.parametrize("run", [_done, _broken])
async def test_an_end_that_cannot_be_recorded_is_told_all_the_same(
    run: Run, bank: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise AuditError("the audit log cannot be written (No space left on device)", "free disk space")

    bank.register()
    spec = bank.spec_bytes()
    jobs, hub = made(bank, run)
    jobs.propose(spec, WHO)
    job = jobs.start(spec, bank.approvals(spec), WHO)
    monkeypatch.setattr(bank.audit, "event", full)
    async with asyncio.timeout(5):
        events = [event async for event in jobs.feed(job, WHO).follow(0)]
    assert events[-1].state is FeedState.FAILED
    assert len(hub.told) == 1
    assert bank.store.job(job).state is JobState.RUNNING  # the next start of the node marks it failed


async def test_only_who_started_a_job_may_watch_or_stop_it(bank: Any) -> None:
    waiting = asyncio.Event()

    async def run(running: Any) -> bytes:
        await waiting.wait()
        return b"{}"

    bank.register()
    spec = bank.spec_bytes()
    jobs, hub = made(bank, run)
    jobs.propose(spec, WHO)
    job = jobs.start(spec, bank.approvals(spec), WHO)
    with pytest.raises(LocalError, match="is not running a job"):
        jobs.feed(job, "stranger")
    assert not jobs.cancel(job, "stranger", "mine now")
    await asyncio.sleep(0.05)
    waiting.set()
    events = [event async for event in jobs.feed(job, WHO).follow(0)]
    assert events[-1].state is FeedState.FINISHED
    assert hub.told == [None]


async def test_a_job_that_is_stopped_before_its_first_step_ends_like_any_other(bank: Any) -> None:
    async def run(running: Any) -> bytes:
        raise AssertionError("it was stopped before")

    bank.register()
    spec = bank.spec_bytes()
    jobs, hub = made(bank, run)
    jobs.propose(spec, WHO)
    job = jobs.start(spec, bank.approvals(spec), WHO)
    assert jobs.cancel(job, WHO, "never mind")
    async with asyncio.timeout(5):
        events = [event async for event in jobs.feed(job, WHO).follow(0)]
    assert events[-1].state is FeedState.CANCELLED
    assert len(hub.told) == 1
    assert bank.store.job(job).state is JobState.CANCELLED


async def test_closing_awaits_the_end_of_every_job_and_of_all_that_runs_beside_it(bank: Any) -> None:
    async def run(running: Any) -> bytes:
        await asyncio.Event().wait()
        return b"{}"

    bank.register()
    spec = bank.spec_bytes()
    jobs, hub = made(bank, run)
    jobs.propose(spec, WHO)
    job = jobs.start(spec, bank.approvals(spec), WHO)
    await asyncio.sleep(0.01)
    await jobs.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert len(hub.told) == 1
    assert bank.store.job(job).state is JobState.CANCELLED


async def test_a_node_that_shuts_down_begins_no_job_and_debits_nothing(bank: Any) -> None:
    async def run(running: Any) -> bytes:
        raise AssertionError("begun")

    bank.register()
    spec = bank.spec_bytes()
    jobs, _ = made(bank, run)
    jobs.propose(spec, WHO)
    await jobs.close()
    with pytest.raises(Cancelled, match="bank-a is shutting down"):
        jobs.start(spec, bank.approvals(spec), WHO)
    assert bank.store.job(job_id(spec)).state is not JobState.RUNNING
    await jobs.close()                       # at once: nothing is left to wait for


async def test_the_events_of_old_jobs_are_forgotten_and_running_ones_are_not(
    bank: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "KEPT_JOBS", 2)
    stuck = asyncio.Event()

    async def run(running: Any) -> bytes:
        if not jobs._running or next(iter(jobs._running.values())) is running:
            await stuck.wait()
        return b"{}"

    def plenty(raw: dict[str, Any]) -> None:
        raw["policy"]["budgets"] = {"alignments": 10, "training_rounds": 1000, "score_calls": 10}

    bank.register(plenty)
    jobs, _ = made(bank, run)
    started = []
    for nonce in range(1, 6):
        spec = bank.spec_bytes(nonce=nonce)
        jobs.propose(spec, WHO)
        started.append(jobs.start(spec, bank.approvals(spec), WHO))
        await asyncio.sleep(0.02)
    assert list(jobs._running) == [started[0], *started[3:]]
    stuck.set()
    assert [e async for e in jobs.feed(started[0], WHO).follow(0)][-1].state is FeedState.FINISHED
    assert KEPT_JOBS > 2


async def test_a_node_that_computes_does_not_rehearse(bank: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bank.register()
    spec, go, stuck = bank.spec_bytes(), asyncio.Event(), threading.Event()

    async def waiting(*arguments: Any) -> Any:
        await go.wait()
        return b"record"

    jobs, _ = made(bank, waiting)
    monkeypatch.setattr(runner, "rehearse", waiting)
    first = asyncio.create_task(jobs.rehearse(spec, WHO))
    await asyncio.sleep(0)
    with pytest.raises(LocalError, match="something else"):
        await jobs.rehearse(spec, WHO)
    left_over = jobs._pool.submit(stuck.wait, 10)      # a step that outlives the rehearsal
    go.set()
    assert await first == b"record"
    await asyncio.sleep(0.05)
    with pytest.raises(LocalError, match="something else"):
        await jobs.rehearse(spec, WHO)
    stuck.set()
    left_over.result()
    await asyncio.sleep(0.3)
    assert await jobs.rehearse(spec, WHO) == b"record"
    await asyncio.sleep(0.05)
    go.clear()
    jobs.propose(spec, WHO)
    jobs.start(spec, bank.approvals(spec), WHO)
    with pytest.raises(LocalError, match="something else"):
        await jobs.rehearse(spec, WHO)
    go.set()


def test_heads_of_two_jobs_may_come_in_the_other_order_and_a_shorter_log_still_shows(bank: Any) -> None:
    """The peer signed line 50 for the first job and line 60 for the second; ours hears the second one first."""
    peer = bank.identities["shop"]

    def head(job: str, count: int) -> SignedHead:
        bare = SignedHead("shop", job, count, "ab" * 32, b"")
        return SignedHead("shop", job, count, bare.hash, peer.sign(Domain.AUDIT_HEAD, bare.signed_text()))

    earlier = runner.heads_to_compare(bank.store.heads(ours=False), [], 60)
    _, row = countersign(bank.identities["bank-a"], head("second", 60), peer.public_hex, earlier)
    bank.store.keep_head(row)
    known_when_first_began: list[Any] = []
    earlier = runner.heads_to_compare(bank.store.heads(ours=False), known_when_first_began, 50)
    countersign(bank.identities["bank-a"], head("first", 50), peer.public_hex, earlier)
    known_when_third_began = bank.store.heads(ours=False)
    earlier = runner.heads_to_compare(bank.store.heads(ours=False), known_when_third_began, 55)
    with pytest.raises(Exception, match="shorter or was rewritten"):
        countersign(bank.identities["bank-a"], head("third", 55), peer.public_hex, earlier)
