"""What is started is over when the waiting is, however the waiting ends, and its failures have been looked at."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from wire.awaited import Crew, each, first_of, in_thread, together

LONG_S = 60.0


@pytest.fixture(autouse=True)
async def nothing_left() -> AsyncIterator[None]:
    """No task outlives a test, and the loop has nothing to complain of."""
    told: list[str] = []
    before = asyncio.all_tasks()
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["message"]))
    yield
    assert asyncio.all_tasks() - before <= {asyncio.current_task()}
    gc.collect(1)     # what this test left; the whole heap takes half a second
    assert told == []


class Work:
    """Pieces of work that note how they end."""

    def __init__(self) -> None:
        self.ends: list[str] = []
        self.running = 0

    async def result(self, value: str, after_s: float = 0.0) -> str:
        await asyncio.sleep(after_s)
        return value

    async def failure(self, text: str, after_s: float = 0.0) -> str:
        await asyncio.sleep(after_s)
        raise ValueError(text)

    async def endless(self, name: str = "endless", farewell_s: float = 0.0) -> str:
        self.running += 1
        try:
            await asyncio.sleep(LONG_S)
        finally:
            await asyncio.sleep(farewell_s)
            self.ends.append(name)
        return name

    async def stubborn(self, name: str = "stubborn") -> str:
        """Gives in to the second cancellation only."""
        try:
            await self.endless("first of " + name)
        except asyncio.CancelledError:
            await self.endless(name)
        return name

    async def under_way(self, count: int) -> None:
        while self.running < count:
            await asyncio.sleep(0)


@pytest.fixture
def work() -> Work:
    return Work()


async def test_results_come_in_the_order_of_the_work(work: Work) -> None:
    assert await together(work.result("a", 0.02), work.result("b")) == ["a", "b"]
    assert await together() == []
    assert await each() == []


async def test_the_first_failure_ends_the_others_and_is_raised(work: Work) -> None:
    with pytest.raises(ValueError, match="broken"):
        await together(work.endless(), work.failure("broken", 0.01), work.endless())
    assert work.ends == ["endless", "endless"]


async def test_the_failure_nearest_to_the_cause_is_raised_if_it_comes_in_time(work: Work) -> None:
    def distance(error: BaseException) -> int:
        return len(str(error))

    parts = ("echo of it", 0.0), ("it", 0.02), ("x", LONG_S)
    with pytest.raises(ValueError, match=r"^it$"):
        await together(*(work.failure(*part) for part in parts), grace_s=0.2, distance=distance)
    with pytest.raises(ValueError, match="echo of it"):
        await together(*(work.failure(*part) for part in parts), distance=distance)


async def test_of_equally_near_failures_that_of_the_first_party_is_raised_whoever_was_quicker(work: Work) -> None:
    with pytest.raises(ValueError, match="late"):
        await together(work.failure("late", 0.02), work.failure("early", 0.01), grace_s=0.2)


async def test_what_breaks_while_it_is_cancelled_is_no_cause(work: Work) -> None:
    async def spoils() -> str:
        try:
            return await work.endless()
        finally:
            raise RuntimeError("in the clean-up")

    with pytest.raises(ValueError, match="broken"):
        await together(spoils(), work.failure("broken", 0.01))


async def test_what_was_cancelled_from_inside_ends_the_others(work: Work) -> None:
    async def given_up() -> str:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await together(work.endless(), given_up())
    assert work.ends == ["endless"]


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("helper", [together, each, first_of])
async def test_a_cancellation_ends_all_that_was_started(helper: Any, work: Work) -> None:
    task = asyncio.create_task(helper(work.endless("a"), work.endless("b", farewell_s=0.02)))
    await work.under_way(2)
    await cancelled(task)
    assert work.ends == ["a", "b"]


@pytest.mark.parametrize("helper", [together, each, first_of])
async def test_work_that_is_cancelled_before_it_began_is_awaited_too(helper: Any, work: Work) -> None:
    task = asyncio.create_task(helper(work.endless("a"), work.endless("b")))
    await asyncio.sleep(0)
    await cancelled(task)
    assert len(work.ends) == work.running


async def test_a_cancellation_in_the_grace_ends_it(work: Work) -> None:
    task = asyncio.create_task(together(work.failure("broken"), work.endless(), grace_s=LONG_S))
    await work.under_way(1)
    await asyncio.sleep(0.01)
    await cancelled(task)
    assert work.ends == ["endless"]


@pytest.mark.parametrize("helper", [together, each, first_of])
async def test_a_second_cancellation_in_the_clean_up_reaches_the_work_again(helper: Any, work: Work) -> None:
    task = asyncio.create_task(helper(work.stubborn(), work.endless()))
    await work.under_way(2)
    task.cancel()
    await work.under_way(3)
    await asyncio.sleep(0.01)
    assert not task.done()
    await cancelled(task)
    assert work.ends == ["first of stubborn", "endless", "stubborn"]


async def test_an_interruption_goes_before_a_failure_that_it_brings_about(work: Work) -> None:
    async def spoils() -> str:
        try:
            return await work.endless()
        finally:
            raise ValueError("the call was cut off")

    task = asyncio.create_task(together(spoils(), work.endless(), grace_s=LONG_S))
    await work.under_way(2)
    await cancelled(task)


async def test_each_goes_to_its_own_end(work: Work) -> None:
    broken, fine = await each(work.failure("broken"), work.result("fine", 0.02))
    assert isinstance(broken, ValueError)
    assert fine == "fine"


async def test_the_first_to_end_is_told_however_it_ended(work: Work) -> None:
    ended = await first_of(work.endless(), work.failure("broken", 0.01))
    assert str(ended.exception()) == "broken"
    assert (await first_of(work.result("done"), work.endless("late"))).result() == "done"
    assert "endless" in work.ends


async def test_a_step_in_a_thread_is_over_when_its_waiting_is() -> None:
    begun, go, over = threading.Event(), threading.Event(), list[str]()

    def step() -> int:
        begun.set()
        go.wait(LONG_S)
        over.append("over")
        return 7

    task = asyncio.create_task(in_thread(step))
    while not begun.is_set():
        await asyncio.sleep(0.01)
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0.01)
        assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert over == ["over"]
    assert await in_thread(step) == 7


async def test_a_crew_keeps_its_tasks_and_waits_for_those_that_they_start(work: Work) -> None:
    crew, done = Crew(), list[str]()

    async def second() -> None:
        done.append(await work.result("second", 0.01))

    async def first() -> None:
        await asyncio.sleep(0.01)
        crew.start(second())

    crew.start(first())
    gc.collect(1)     # what this test left; the whole heap takes half a second
    await crew.ended()
    assert done == ["second"]


async def test_a_failure_in_a_crew_is_logged_as_a_bug() -> None:
    async def broken() -> None:
        raise ValueError("broken")

    crew = Crew()
    with capture_logs() as logs:
        crew.start(broken())
        await crew.ended()
    assert [(line["event"], line["code"]) for line in logs] == [("a task failed unexpectedly", "bug")]


async def test_waiting_for_a_crew_that_is_cancelled_ends_the_crew(work: Work) -> None:
    async def endless() -> None:
        await work.endless()

    crew = Crew()
    crew.start(endless())
    task = asyncio.create_task(crew.ended())
    await work.under_way(1)
    await cancelled(task)
    assert work.ends == ["endless"]
