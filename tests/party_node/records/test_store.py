"""The store: one-way states, one run a job, budgets, burnt masks, one writer."""

from __future__ import annotations

import multiprocessing
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from party_node.records import schema
from party_node.records.budgets import Budget, Debit
from party_node.records.store import TRANSITIONS, BudgetExhausted, HeadRow, JobState, Noted, Store, StoreError

JOB = "a" * 64


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "state.db")
    store.add_job(JOB, "nonce-1", b"spec", "coordinator")
    return store


def approved(store: Store) -> Store:
    store.approve_job(JOB, "bank-a", b"signature")
    return store


def path_to(state: JobState) -> list[JobState]:
    return {
        JobState.PENDING: [],
        JobState.APPROVED: [JobState.APPROVED],
        JobState.DENIED: [JobState.DENIED],
        JobState.RUNNING: [JobState.APPROVED, JobState.RUNNING],
        JobState.DONE: [JobState.APPROVED, JobState.RUNNING, JobState.DONE],
        JobState.FAILED: [JobState.APPROVED, JobState.RUNNING, JobState.FAILED],
        JobState.CANCELLED: [JobState.CANCELLED],
    }[state]


@pytest.mark.parametrize("start", list(JobState))
@pytest.mark.parametrize("to", list(JobState))
def test_a_job_moves_only_along_the_table(store: Store, start: JobState, to: JobState) -> None:
    for state in path_to(start):
        store.move(JOB, state)
    if to in TRANSITIONS[start]:
        store.move(JOB, to)
        expected = to
    else:
        with pytest.raises(StoreError, match="cannot become"):
            store.move(JOB, to)
        expected = start
    row = store.job(JOB)
    assert row is not None
    assert row.state is expected


def test_a_finished_job_has_no_way_on() -> None:
    assert set(TRANSITIONS) == set(JobState)
    for end in (JobState.DENIED, JobState.DONE, JobState.FAILED, JobState.CANCELLED):
        assert not TRANSITIONS[end]


def test_the_file_is_private_and_durable(store: Store, tmp_path: Path) -> None:
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert store._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert store._db.execute("PRAGMA synchronous").fetchone()[0] == 2


def test_a_job_is_remembered_across_a_restart(store: Store, tmp_path: Path) -> None:
    approved(store)
    store.close()
    again = Store(tmp_path / "state.db")
    row = again.job(JOB)
    assert row is not None
    assert (row.state, row.spec, row.coordinator) == (JobState.APPROVED, b"spec", "coordinator")
    assert again.approvals(JOB) == {"bank-a": b"signature"}


def test_one_nonce_serves_one_job(store: Store) -> None:
    with pytest.raises(StoreError, match="known already"):
        store.add_job("b" * 64, "nonce-1", b"other", "coordinator")
    assert store.job("b" * 64) is None
    assert store.job_of_nonce("nonce-1") == JOB


def test_a_job_starts_once(store: Store) -> None:
    debits = [Debit(Budget.ALIGNMENTS, 1, 10)]
    approved(store).start_job(JOB, {"bank-a": b"signature", "bank-b": b"other"}, "loans", debits)
    with pytest.raises(StoreError, match="is running"):
        store.start_job(JOB, {}, "loans", debits)
    assert store.spent("loans")[Budget.ALIGNMENTS] == 1
    assert store.approvals(JOB) == {"bank-a": b"signature", "bank-b": b"other"}


def test_an_exhausted_budget_starts_nothing_and_debits_nothing(store: Store) -> None:
    store.debit("loans", "earlier", Debit(Budget.TRAINING_ROUNDS, 90, 100))
    with pytest.raises(BudgetExhausted, match="training_rounds of dataset loans is used up"):
        approved(store).start_job(JOB, {"bank-b": b"x"}, "loans",
                                  [Debit(Budget.ALIGNMENTS, 1, 5), Debit(Budget.TRAINING_ROUNDS, 20, 100)])
    row = store.job(JOB)
    assert row is not None
    assert row.state is JobState.APPROVED
    assert store.spent("loans")[Budget.ALIGNMENTS] == 0
    assert "bank-b" not in store.approvals(JOB)


@settings(max_examples=20, deadline=None)
@given(amounts=st.lists(st.integers(0, 40), max_size=12), limit=st.integers(0, 100))
def test_debits_never_pass_the_limit_and_add_up(tmp_path_factory: pytest.TempPathFactory, amounts: list[int],
                                                limit: int) -> None:
    store = Store(tmp_path_factory.mktemp("store") / "state.db")
    taken = 0
    for number, amount in enumerate(amounts):
        try:
            store.debit("loans", f"job-{number % 3}", Debit(Budget.SCORE_CALLS, amount, limit))
            taken += amount
        except BudgetExhausted:
            assert taken + amount > limit
    assert store.spent("loans")[Budget.SCORE_CALLS] == taken <= limit
    store.close()


def test_a_negative_debit_is_no_refund(store: Store) -> None:
    with pytest.raises(StoreError, match="negative"):
        store.debit("loans", JOB, Debit(Budget.SCORE_CALLS, -1, 10))


def test_a_mask_is_burnt_once_even_across_a_restart(store: Store, tmp_path: Path) -> None:
    store.burn(JOB, "forward/bank-b", range(10))
    store.close()
    again = Store(tmp_path / "state.db")
    with pytest.raises(StoreError, match="was used before"):
        again.burn(JOB, "forward/bank-b", [10, 11, 3])
    again.burn(JOB, "forward/bank-b", [10, 11])  # the refused call burnt none of its indices
    again.burn(JOB, "backward/bank-b", [3])


def test_what_masks_are_made_for_is_pinned_even_across_a_restart(store: Store, tmp_path: Path) -> None:
    store.pin(JOB, "the training matrix", b"d" * 32)
    store.close()
    again = Store(tmp_path / "state.db")
    again.pin(JOB, "the training matrix", b"d" * 32)
    again.pin("another job", "the training matrix", b"e" * 32)
    with pytest.raises(StoreError, match="has changed"):
        again.pin(JOB, "the training matrix", b"e" * 32)


def _try_claim(directory: str) -> str:
    try:
        Store(Path(directory) / "state.db").claim(Path(directory) / "node.lock")
    except StoreError as error:
        return str(error)
    return "claimed"


def test_a_second_instance_on_the_directory_is_refused(store: Store, tmp_path: Path) -> None:
    store.claim(tmp_path / "node.lock")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert "already runs" in pool.apply(_try_claim, (str(tmp_path),))
    store.close()
    assert _try_claim(str(tmp_path)) == "claimed"


def test_an_instance_that_lost_its_token_writes_nothing(store: Store, tmp_path: Path) -> None:
    first = store.claim(tmp_path / "node.lock")
    (tmp_path / "node.lock").unlink()  # someone "mended" the lock by hand
    later = Store(tmp_path / "state.db")
    assert later.claim(tmp_path / "node.lock") == first + 1
    with pytest.raises(StoreError, match="later instance"):
        store.burn(JOB, "forward", [1])
    later.burn(JOB, "forward", [1])


def test_a_command_may_write_beside_the_running_node(store: Store, tmp_path: Path) -> None:
    store.claim(tmp_path / "node.lock")
    command = Store(tmp_path / "state.db")
    command.approve_job(JOB, "bank-a", b"signature")
    assert store.approvals(JOB) == {"bank-a": b"signature"}


def test_a_job_that_ran_when_the_node_died_is_failed_at_the_next_start(store: Store, tmp_path: Path) -> None:
    approved(store).start_job(JOB, {}, "loans", [])
    store.set_stage(JOB, "train")
    store.close()
    again = Store(tmp_path / "state.db")
    again.claim(tmp_path / "node.lock")
    row = again.job(JOB)
    assert row is not None
    assert (row.state, row.error_code, row.stage) == (JobState.FAILED, "NODE_RESTARTED", "train")


def test_only_a_running_job_reaches_a_stage(store: Store) -> None:
    with pytest.raises(StoreError, match="not running"):
        store.set_stage(JOB, "train")


def test_a_newer_schema_is_refused(store: Store, tmp_path: Path) -> None:
    store._db.execute("PRAGMA user_version=99")
    store.close()
    with pytest.raises(StoreError, match="schema 99"):
        Store(tmp_path / "state.db")


def test_a_file_of_the_first_schema_is_brought_to_ours_and_keeps_what_it_knows(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with sqlite3.connect(path) as old:
        for statement in schema.MIGRATIONS[0]:
            old.execute(statement)
        old.execute("INSERT INTO burnt(job, product, idx) VALUES(?, 'training', 3)", (JOB,))
        old.execute("PRAGMA user_version=1")
    old.close()
    for _ in range(2):
        store = Store(path)
        with pytest.raises(StoreError, match="used before"):
            store.burn(JOB, "training", [3])
        store.pin(JOB, "the training matrix", b"d" * 32)
        assert not store._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'alignments'").fetchall()
        store.close()


def test_registering_again_keeps_the_budget_spent(store: Store) -> None:
    store.put_dataset("loans", {"rows": 1})
    store.debit("loans", JOB, Debit(Budget.ALIGNMENTS, 2, 5))
    store.put_dataset("loans", {"rows": 2})
    assert store.dataset("loans") == {"rows": 2}
    assert store.spent("loans")[Budget.ALIGNMENTS] == 2
    assert store.dataset("other") is None


def test_a_job_keeps_one_model(store: Store) -> None:
    store.add_model(JOB, "v1", "00")
    with pytest.raises(StoreError, match="already"):
        store.add_model(JOB, "v2", "11")
    assert [model.name for model in store.models()] == ["v1"]


def test_heads_come_back_as_they_were_kept(store: Store) -> None:
    row = HeadRow(JOB, "bank-b", True, 12, "ab", b"sig")
    store.keep_head(row)
    assert store.heads(ours=True) == [row]
    assert store.heads(ours=False) == []


STEPS: dict[str, Callable[[Store, Noted], object]] = {
    "a proposal": lambda s, noted: s.add_job("b" * 64, "nonce-2", b"spec", "coordinator", noted),
    "a proposal that is signed": lambda s, noted: s.add_approved("b" * 64, "nonce-2", b"", "c", "bank-a", b"s", noted),
    "an approval": lambda s, noted: s.approve_job(JOB, "bank-a", b"signature", noted),
    "a move": lambda s, noted: s.move(JOB, JobState.DENIED, noted=noted),
    "a start": lambda s, noted: approved(s).start_job(JOB, {}, "loans", [Debit(Budget.ALIGNMENTS, 1, 1)], noted),
    "a debit": lambda s, noted: s.debit("loans", JOB, Debit(Budget.ALIGNMENTS, 1, 1), noted),
}


@pytest.mark.parametrize("what", STEPS)
def test_a_step_is_noted_once_and_one_that_cannot_be_noted_is_not_made(what: str, store: Store) -> None:
    def full() -> None:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        STEPS[what](store, full)
    before = list(store._db.iterdump())
    assert store.job("b" * 64) is None
    assert store.spent("loans")[Budget.ALIGNMENTS] == 0
    notes: list[str] = []
    if what == "a start":
        store.start_job(JOB, {}, "loans", [Debit(Budget.ALIGNMENTS, 1, 1)], lambda: notes.append("a line"))
    else:
        STEPS[what](store, lambda: notes.append("a line"))
    assert notes == ["a line"]
    assert list(store._db.iterdump()) != before


def test_a_step_that_is_refused_is_not_noted(store: Store) -> None:
    notes: list[str] = []
    for step in (lambda: store.move(JOB, JobState.DONE, noted=lambda: notes.append("moved")),
                 lambda: store.debit("loans", JOB, Debit(Budget.ALIGNMENTS, 2, 1), lambda: notes.append("debited")),
                 lambda: store.start_job(JOB, {}, "loans", [], lambda: notes.append("started"))):
        with pytest.raises(StoreError):
            step()
    assert notes == []
