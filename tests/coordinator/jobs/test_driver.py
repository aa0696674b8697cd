"""How a job moves: one refusal or failure ends it everywhere, by name, and only a whole job is kept."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coordinator.jobs import driver
from coordinator.jobs.driver import JobFailed, launch, prepare
from coordinator.jobs.plan import JobPlan
from coordinator.jobs.store import Store
from wire.errors import Denied, Overdue, PublicError, RemoteFailure, exit_code, to_public
from wire.signing import ApprovalError
from wire.spec.job import JobSpec

Nodes = dict[str, Any]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "state.db")
    yield store
    store.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "ASK_AGAIN_S", 0.01)


async def spec_of(plan: JobPlan, nodes: Nodes) -> JobSpec:
    return (await prepare(plan, nodes))[0]


async def run(plan: JobPlan, nodes: Nodes, store: Store, wait_s: float = 5.0, events: list[Any] | None = None) -> Any:
    said: list[str] = []
    seen = [] if events is None else events
    return await launch(await spec_of(plan, nodes), nodes, store, seen.append, said.append, wait_s)


def state(store: Store) -> str:
    (row,) = store.jobs()
    return row.state


async def test_a_job_runs_to_its_record(plan: JobPlan, nodes: Nodes, store: Store) -> None:
    events: list[Any] = []
    record = await run(plan, nodes, store, events=events)
    assert state(store) == "finished"
    assert store.job(record["job_id"]).record == record
    assert record["common"] == 500
    assert set(record["approvals"]) == {"bank", "shop"}
    assert nodes["bank"].calls == ["describe", "propose", "start", "watch"]
    assert {event.party for event in events} == {"bank", "shop"}


async def test_a_denial_ends_the_job_at_all_and_nothing_starts(plan: JobPlan, nodes: Nodes, store: Store) -> None:
    nodes["shop"].refusal = PublicError("denied", "shop does not offer basket", "shop", "ask", reason="policy.columns")
    with pytest.raises(Denied) as caught:
        await run(plan, nodes, store)
    assert exit_code(caught.value) == 6
    assert to_public(caught.value, "coordinator").whose == "shop"
    assert caught.value.reason == "policy.columns"
    assert state(store) == "denied"
    assert all("start" not in node.calls for node in nodes.values())
    assert nodes["bank"].reasons == ["shop: shop does not offer basket"]


async def test_the_job_waits_for_a_person(plan: JobPlan, nodes: Nodes, store: Store) -> None:
    nodes["bank"].pending = 3
    await run(plan, nodes, store)
    assert nodes["bank"].calls.count("propose") == 5
    assert nodes["shop"].calls.count("propose") == 2, "all are asked once more after the wait"


async def test_an_approval_that_was_withdrawn_while_others_were_waited_for_starts_nothing(
    plan: JobPlan, nodes: Nodes, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes["bank"].pending = 1
    signed = nodes["shop"].propose

    async def once(spec: bytes) -> Any:
        answer = await signed(spec)
        nodes["shop"].refusal = PublicError("denied", "a person at shop withdrew the approval of the job", "shop")
        return answer

    monkeypatch.setattr(nodes["shop"], "propose", once)
    with pytest.raises(Denied, match="withdrew"):
        await run(plan, nodes, store)
    assert all("start" not in node.calls for node in nodes.values())


async def test_a_person_who_never_answers_is_overdue_by_name(plan: JobPlan, nodes: Nodes, store: Store) -> None:
    nodes["bank"].pending = 10**6
    with pytest.raises(Overdue) as caught:
        await run(plan, nodes, store, wait_s=0.05)
    assert exit_code(caught.value) == 3
    assert caught.value.whose == "bank"
    assert "party-node approve" in caught.value.advice
    assert state(store) == "failed"


async def test_a_signature_by_another_key_starts_nothing(plan: JobPlan, nodes: Nodes, store: Store) -> None:
    nodes["shop"].signs_as = "telecom"
    with pytest.raises(ApprovalError, match="the approval of shop"):
        await run(plan, nodes, store)
    assert all("start" not in node.calls for node in nodes.values())


async def test_a_failure_at_one_node_ends_the_job_at_all(plan: JobPlan, nodes: Nodes, store: Store) -> None:
    nodes["shop"].ends = nodes["shop"].failed("wrong-input", "column basket holds text")
    with pytest.raises(JobFailed) as caught:
        await run(plan, nodes, store)
    assert exit_code(caught.value) == 4
    assert caught.value.public.whose == "shop"
    assert state(store) == "failed"
    assert "cancel" in nodes["bank"].calls
    (row,) = store.jobs()
    assert row.error is not None
    assert row.error["what"] == "column basket holds text"
    assert row.record is None


async def test_the_cause_is_told_before_its_echo(plan: JobPlan, nodes: Nodes, store: Store) -> None:
    nodes["bank"].ends = nodes["bank"].failed("peer-stopped", "shop stopped the job")
    nodes["shop"].ends = nodes["shop"].failed("refused", "training did not converge")
    with pytest.raises(JobFailed, match="did not converge"):
        await run(plan, nodes, store)


async def test_a_node_that_vanishes_is_told_by_those_who_saw_it(plan: JobPlan, nodes: Nodes, store: Store) -> None:
    nodes["bank"].ends = nodes["bank"].failed("peer-gone", "shop: the connection was lost", "shop")
    nodes["shop"].ends = RemoteFailure(PublicError("unreachable", "shop: connection refused", "shop"))
    with pytest.raises(JobFailed, match="connection was lost") as caught:
        await run(plan, nodes, store)
    assert caught.value.public.whose == "shop"


async def test_nodes_that_contradict_one_another_leave_no_record(plan: JobPlan, nodes: Nodes, store: Store) -> None:
    good = nodes["shop"].part(common=499)
    nodes["shop"].ends = replace(nodes["shop"].failed("x"), state="finished", error=None, part=good)
    with pytest.raises(JobFailed, match="report different row counts") as caught:
        await run(plan, nodes, store)
    assert exit_code(caught.value) == 1
    assert state(store) == "failed"


async def test_ctrl_c_cancels_the_job_everywhere(plan: JobPlan, nodes: Nodes, store: Store) -> None:
    nodes["bank"].pending = 10**6
    task = asyncio.create_task(run(plan, nodes, store, wait_s=60.0))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert state(store) == "cancelled"
    assert all(node.reasons == ["the operator stopped it"] for node in nodes.values())


# ---------------------------------------------------------------- nothing that was started outlives the job


@pytest.fixture
async def complaints() -> list[str]:
    """What the event loop has to say of tasks that nobody awaited."""
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["message"]))
    return told


async def alone() -> None:
    """No task but the test's own is left, and none that left a failure behind."""
    assert asyncio.all_tasks() == {asyncio.current_task()}
    gc.collect(1)     # what this test left; the whole heap takes half a second
    await asyncio.sleep(0)


async def test_no_follower_outlives_an_interrupted_job(
    plan: JobPlan, nodes: Nodes, store: Store, complaints: list[str]
) -> None:
    for node in nodes.values():     # as real nodes do: the news of the end comes while the coordinator cleans up
        node.until_cancelled, node.ends = True, node.failed("cancelled", "coordinator cancelled the job", "coordinator")
    task = asyncio.create_task(run(plan, nodes, store))
    while not all("watch" in node.calls for node in nodes.values()):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await alone()
    assert complaints == []
    assert state(store) == "cancelled"
    assert all(node.reasons == ["the operator stopped it"] for node in nodes.values())


@pytest.mark.parametrize("call", ["propose", "start", "watch"])
async def test_an_interruption_while_a_node_fails_is_an_interruption_and_leaves_nothing_running(
    call: str, plan: JobPlan, nodes: Nodes, store: Store, complaints: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = asyncio.Event()

    async def failing(*_: Any) -> Any:
        reached.set()
        try:
            await asyncio.Event().wait()
        finally:                    # what cancels it makes it fail
            raise RemoteFailure(PublicError("unreachable", "shop: connection refused", "shop"))

    async def watching(*_: Any) -> AsyncIterator[Any]:
        yield await failing()

    spec = await spec_of(plan, nodes)
    monkeypatch.setattr(nodes["shop"], call, watching if call == "watch" else failing)
    nodes["bank"].until_cancelled = True
    task = asyncio.create_task(launch(spec, nodes, store, lambda event: None, lambda line: None, 60.0))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await alone()
    assert complaints == []
    assert state(store) == "cancelled"


async def test_a_second_interruption_cuts_the_farewell_short_and_the_end_is_still_recorded(
    plan: JobPlan, nodes: Nodes, store: Store, complaints: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, asked = [], []

    async def unmoved(job: str, reason: str) -> bool:
        asked.append(reason)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(reason)
        return True

    for node in nodes.values():
        node.until_cancelled = True
        monkeypatch.setattr(node, "cancel", unmoved)
    task = asyncio.create_task(run(plan, nodes, store))
    while not all("watch" in node.calls for node in nodes.values()):
        await asyncio.sleep(0)
    task.cancel()
    while len(asked) < len(nodes):
        await asyncio.sleep(0)
    task.cancel()
    async with asyncio.timeout(1):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert len(ended) == len(nodes)
    await alone()
    assert complaints == []
    assert state(store) == "cancelled"


async def test_a_stream_of_events_is_closed_by_whoever_leaves_it(
    plan: JobPlan, nodes: Nodes, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, closed, watch = [], [], nodes["bank"].watch

    async def noted(job: str, after: int) -> AsyncIterator[Any]:
        try:
            async for event in watch(job, after):
                yield event
        finally:
            closed.append(job)

    def referred_to(job: str, after: int) -> AsyncIterator[Any]:     # so that no collector closes it
        kept.append(noted(job, after))
        return kept[-1]

    monkeypatch.setattr(nodes["bank"], "watch", referred_to)
    record = await run(plan, nodes, store)
    assert closed == [record["job_id"]]
