"""Every task that is started is awaited: tasks are started in one place, and the run fails on any that was left."""

from __future__ import annotations

import ast
import asyncio
import gc
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.test_layout import PACKAGES, ROOT, named, sources, tree
from tests.loose_ends import SENTENCES, LooseEnds

# The test doubles lie below `wire` and may not import it.
STARTERS = {"wire/awaited.py", "mpc/testing/memory_link.py"}
STARTING = {"create_task", "ensure_future", "gather", "wait", "as_completed", "TaskGroup", "shield"}
OF_A_LOOP = {"create_task", "ensure_future"}        # of whatever object: loops and groups have them too
IN_A_THREAD = {"to_thread", "run_in_executor"}
LOST = OF_A_LOOP | IN_A_THREAD | {"submit", "run_coroutine_threadsafe"}
FILES = [path for path in sources(*PACKAGES, "scripts") if named(path) not in STARTERS]


def called(node: ast.AST) -> str:
    """The last part of the name that is called, or nothing."""
    function = node.func if isinstance(node, ast.Call) else None
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def of_asyncio(node: ast.AST) -> bool:
    return (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name) and node.func.value.id == "asyncio")


def place(path: Path, node: ast.AST) -> str:
    return f"{named(path)}:{getattr(node, 'lineno', 0)}"


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(tree(path))


def bare_starts(path: Path) -> list[str]:
    """Calls that start a task somewhere else than in the one place that awaits it."""
    return [place(path, node) for node in nodes(path)
            if called(node) in OF_A_LOOP or (of_asyncio(node) and called(node) in STARTING)]


def bare_threads(path: Path) -> list[str]:
    """Steps in threads whose end nobody waits for on the spot."""
    awaited = {id(node.value) for node in nodes(path) if isinstance(node, ast.Await)}
    return [place(path, node) for node in nodes(path) if called(node) in IN_A_THREAD and id(node) not in awaited]


def lost_results(path: Path) -> list[str]:
    """Tasks and futures that nobody keeps."""
    return [place(path, node) for node in nodes(path) if isinstance(node, ast.Expr)
            and (called(node.value) in LOST or (of_asyncio(node.value) and called(node.value) in STARTING))]


def unclosed_streams(path: Path) -> list[str]:
    """`async for` over what was opened on the same line: who leaves the loop early has no name to close it by."""
    return [place(path, node) for node in nodes(path) if isinstance(node, ast.AsyncFor | ast.comprehension)
            and getattr(node, "is_async", True) and isinstance(node.iter, ast.Call)]


@pytest.mark.parametrize("search", [bare_starts, bare_threads, lost_results, unclosed_streams])
def test_what_is_started_is_awaited(search) -> None:
    assert len(FILES) > 100
    assert [hit for path in FILES for hit in search(path)] == []


def test_the_one_place_that_starts_tasks_is_searched_for_lost_ones_too() -> None:
    for name in STARTERS:
        (path,) = (path for path in sources(*PACKAGES) if named(path) == name)
        assert bare_starts(path)
        assert lost_results(path) == []


@pytest.mark.parametrize(("search", "line"), [
    (bare_starts, "task = asyncio.create_task(work())"),
    (bare_starts, "task = loop.create_task(work())"),
    (bare_starts, "await asyncio.gather(work(), work())"),
    (bare_starts, "await asyncio.wait({asyncio.ensure_future(work())})"),
    (bare_threads, "kept = loop.run_in_executor(pool, step)"),
    (bare_threads, "kept = asyncio.to_thread(step)"),
    (lost_results, "pool.submit(step)"),
    (unclosed_streams, "async for event in node.watch(job): pass"),
    (unclosed_streams, "kept = [event async for event in node.watch(job)]"),
])
def test_a_planted_loose_end_is_found(search, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = FILES[0]
    planted = ast.parse(f"async def planted():\n    {line}\n")
    monkeypatch.setattr("tests.architecture.test_tasks.tree", lambda _: planted)
    assert search(path) != []


@pytest.mark.parametrize(("start", "end"), [
    ("threading.Thread(", r"\.join\("),
    ("subprocess.Popen(", r"\.(wait|communicate)\("),
])
def test_threads_and_processes_are_waited_for_where_they_are_started(start: str, end: str) -> None:
    starting = {named(path): text for path in sources(*PACKAGES, "scripts")
                if start in (text := path.read_text(encoding="utf-8"))}
    assert starting
    assert [name for name, text in starting.items() if not re.search(end, text)] == []


# ---------------------------------------------------------------- the watch over the whole run


async def broken() -> None:
    raise ValueError("nobody asks")


async def left() -> None:
    """A task whose failure nobody looks at."""
    task = asyncio.ensure_future(broken())
    while not task.done():
        await asyncio.sleep(0)


def test_the_watch_over_the_run_finds_a_task_that_was_left(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    watch, log = LooseEnds(request.config), logging.getLogger("asyncio")
    monkeypatch.setattr(log, "handlers", [watch])          # the run's own watch does not hear of it
    monkeypatch.setattr(log, "propagate", False)
    asyncio.run(left())
    gc.collect(1)
    (found,) = watch.found
    assert "test_the_watch_over_the_run_finds" in found
    assert "Task exception was never retrieved" in found


LEFT_IN_A_WORKER = """
import asyncio, gc

async def broken():
    raise ValueError("nobody looks")

async def left():
    task = asyncio.ensure_future(broken())
    while not task.done():
        await asyncio.sleep(0)

def test_that_leaves_a_task():
    asyncio.run(left())
    gc.collect()
"""


def test_what_is_left_in_a_worker_fails_the_run(tmp_path: Path) -> None:
    (tmp_path / "test_left.py").write_text(LEFT_IN_A_WORKER)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "1", "-p", "tests.conftest", "-p", "no:cacheprovider",
         "--rootdir", str(tmp_path), "--basetemp", str(tmp_path / "base"), str(tmp_path)],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120,
        check=False)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "Task exception was never retrieved" in done.stdout


def test_the_watch_over_the_run_is_there(request: pytest.FixtureRequest) -> None:
    watch = request.config.pluginmanager.get_plugin("loose-ends")
    assert watch in logging.getLogger("asyncio").handlers
    filters = request.config.getini("filterwarnings")
    assert "error::pytest.PytestUnraisableExceptionWarning" in filters      # a coroutine that was never awaited
    assert "error::pytest.PytestUnhandledThreadExceptionWarning" in filters


def test_the_watch_over_processes_knows_the_same_sentences() -> None:
    from tests.e2e.scene import ALARMS

    assert set(SENTENCES) <= set(ALARMS)
