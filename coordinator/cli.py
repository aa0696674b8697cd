"""The operator's commands. Human text on stderr; --json gives one envelope on stdout; exit codes 0..6."""

from __future__ import annotations

import asyncio
import json
import traceback
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from coordinator import driver
from coordinator.config import CoordinatorDirectory
from coordinator.forecast import forecast
from coordinator.job_plan import load_plan
from coordinator.node_client import NodeClient, connect
from coordinator.report import render
from coordinator.screen import ProgressScreen, error_console, print_envelope, print_error
from coordinator.store import Store
from mpc.protocols import PROTOCOLS
from wire.comparison_table import print_comparison
from wire.errors import ROWS as ERROR_ROWS
from wire.errors import PublicError, exit_code, to_public
from wire.pki import write_private
from wire.spec import JobSpec, encode_spec, job_id

T = TypeVar("T")
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
                  help="Launches and watches jobs between party nodes. Never holds a row, a key or a share.")
Dir = Annotated[Path, typer.Option("--dir", envvar="COORDINATOR_DIR", help="The coordinator's directory.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON envelope on stdout.")]
DEFAULT_DIR = Path("coordinator-data")
INTERRUPTED = 1


def _run(directory: CoordinatorDirectory, as_json: bool, action: Callable[[], Awaitable[dict[str, Any]]]) -> None:
    """Run an action; print its result or its error; exit."""
    try:
        data = asyncio.run(_awaited(action))
    except KeyboardInterrupt:
        error_console.print("stopped; no job is left running")
        raise typer.Exit(INTERRUPTED) from None
    except Exception as error:  # the process edge
        public = error.error if isinstance(error, driver.JobFailed) else to_public(error, "coordinator")
        code = ERROR_ROWS[public.code].exit_code if isinstance(error, driver.JobFailed) else exit_code(error)
        if public.code == "bug":
            public = _log_bug(directory, error)
        whose = getattr(error, "whose", "")
        print_error(public if not whose else PublicError(**{**vars(public), "whose": whose}), as_json)
        raise typer.Exit(code) from None
    if as_json:
        print_envelope(True, data)


async def _awaited(action: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    return await action()


def _log_bug(directory: CoordinatorDirectory, error: Exception) -> PublicError:
    reference = uuid.uuid4().hex[:8]
    text = f"{reference}\n{''.join(traceback.format_exception(error))}"
    write_private(directory.log_file, text.encode())
    return PublicError("bug", f"an unexpected failure, reference {reference}", "coordinator",
                       f"see {directory.log_file} and report it")


@app.command()
def init(
    name: Annotated[str, typer.Option(help="The coordinator's id, as in the consortium file.")] = "coordinator",
    dir: Dir = DEFAULT_DIR,
    json: Json = False,
) -> None:
    """Make this coordinator's keys and certificate, and print the fingerprints to read aloud."""
    directory = CoordinatorDirectory(dir)

    async def action() -> dict[str, Any]:
        ca, identity = directory.create(name)
        error_console.print(f"coordinator {name} made in {dir}\n  CA fingerprint  {ca}\n  identity        {identity}\n"
                            f"give {directory.entry_file} to whoever writes the consortium file, and put that file at "
                            f"{directory.consortium_file}", highlight=False)
        return {"name": name, "ca_fingerprint": ca, "identity": identity}

    _run(directory, json, action)


@app.command()
def plan(
    job_file: Annotated[Path, typer.Argument(help="job.toml")],
    dir: Dir = DEFAULT_DIR,
    json: Json = False,
) -> None:
    """Check the contract between the parties before any cryptography: schemas, who learns what, traffic."""
    directory = CoordinatorDirectory(dir)

    async def action() -> dict[str, Any]:
        async def with_nodes(nodes: dict[str, NodeClient]) -> dict[str, Any]:
            spec, views = await driver.prepare(load_plan(job_file), nodes)
            rows = {p.id: next(d.rows for d in views[p.id].datasets if d.name == p.dataset) for p in spec.parties}
            expected = forecast(spec, rows)
            _print_plan(spec, expected, {party: view.engine for party, view in views.items()})
            return {"spec": spec.model_dump(mode="json"), "forecast": expected, "rows_about": rows}

        return await _with_nodes(directory, with_nodes)

    _run(directory, json, action)


@app.command()
def launch(
    job_file: Annotated[Path, typer.Argument(help="job.toml")],
    dir: Dir = DEFAULT_DIR,
    wait_approval: Annotated[float, typer.Option(help="Seconds to wait for a person's approval.")] = 3600.0,
    json: Json = False,
) -> None:
    """Propose the job, collect all signatures, run it, and keep its public record and report."""
    directory = CoordinatorDirectory(dir)

    async def action() -> dict[str, Any]:
        async def with_nodes(nodes: dict[str, NodeClient]) -> dict[str, Any]:
            spec, _ = await driver.prepare(load_plan(job_file), nodes)
            store = Store(directory.state_db)
            try:
                with ProgressScreen([p.id for p in spec.parties]) as screen:
                    record = await driver.launch(spec, nodes, store, screen.show, screen.say, wait_approval)
            finally:
                store.close()
            return _keep(directory, record)

        return await _with_nodes(directory, with_nodes)

    _run(directory, json, action)


def _keep(directory: CoordinatorDirectory, record: dict[str, Any]) -> dict[str, Any]:
    folder = directory.job(record["job_id"])
    folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    write_private(folder / "record.json", json.dumps(record, indent=1).encode())
    write_private(folder / "report.html", render(record, None, None).encode())
    if record["evaluation"] is not None:
        print_comparison(record["evaluation"], error_console)
    error_console.print(f"report: {folder / 'report.html'}", highlight=False)
    return record


@app.command()
def watch(
    job: Annotated[str, typer.Argument(help="Job id, or how it begins.")],
    dir: Dir = DEFAULT_DIR,
    json: Json = False,
) -> None:
    """Follow a running job on all its nodes until it ends."""
    directory = CoordinatorDirectory(dir)

    async def action() -> dict[str, Any]:
        row = _job(directory, job)

        async def with_nodes(nodes: dict[str, NodeClient]) -> dict[str, Any]:
            members = _members(row.spec, nodes)
            states: dict[str, str] = {}
            with ProgressScreen(list(members)) as screen:
                async def follow(node: NodeClient) -> None:
                    async for event in node.watch(row.id, 0):
                        screen.show(event)
                        states[node.party] = event.state

                await asyncio.gather(*(follow(node) for node in members.values()))
            return {"job": row.id, "states": states}

        return await _with_nodes(directory, with_nodes)

    _run(directory, json, action)


@app.command()
def cancel(
    job: Annotated[str, typer.Argument(help="Job id, or how it begins.")],
    reason: Annotated[str, typer.Option(help="Told to the parties.")] = "the operator cancelled it",
    dir: Dir = DEFAULT_DIR,
    json: Json = False,
) -> None:
    """Stop a job on all its nodes. Nothing is released."""
    directory = CoordinatorDirectory(dir)

    async def action() -> dict[str, Any]:
        row = _job(directory, job)

        async def with_nodes(nodes: dict[str, NodeClient]) -> dict[str, Any]:
            members = _members(row.spec, nodes)
            stopped = await asyncio.gather(*(node.cancel(row.id, reason) for node in members.values()))
            found = dict(zip(members, stopped, strict=True))
            for party, was_running in found.items():
                error_console.print(f"{party}: {'stopped' if was_running else 'was not running'}")
            return {"job": row.id, "was_running": found}

        return await _with_nodes(directory, with_nodes)

    _run(directory, json, action)


@app.command()
def jobs(dir: Dir = DEFAULT_DIR, json: Json = False) -> None:
    """List the jobs of this coordinator, newest first."""
    directory = CoordinatorDirectory(dir)

    async def action() -> dict[str, Any]:
        store = Store(directory.state_db)
        rows = store.jobs()
        store.close()
        table = Table("job", "created", "state", "purpose", box=None)
        for row in rows:
            table.add_row(row.id[:12], row.created, row.state, row.purpose)
        error_console.print(table)
        return {"jobs": [{"id": r.id, "created": r.created, "state": r.state, "purpose": r.purpose} for r in rows]}

    _run(directory, json, action)


def _job(directory: CoordinatorDirectory, prefix: str) -> Any:
    store = Store(directory.state_db)
    try:
        return store.job(prefix)
    finally:
        store.close()


def _members(spec: bytes, nodes: dict[str, NodeClient]) -> dict[str, NodeClient]:
    parties = JobSpec.model_validate_json(spec).parties
    return {party.id: nodes[party.id] for party in parties}


async def _with_nodes(
    directory: CoordinatorDirectory, work: Callable[[dict[str, NodeClient]], Awaitable[dict[str, Any]]]
) -> dict[str, Any]:
    _, consortium, identity = directory.load()
    nodes = connect(consortium, identity)
    try:
        return await work(nodes)
    finally:
        await asyncio.gather(*(node.close() for node in nodes.values()))


def _print_plan(spec: JobSpec, expected: dict[str, Any], engines: dict[str, str]) -> None:
    console: Console = error_console
    data = encode_spec(spec)
    console.print(f"[bold]purpose[/] {spec.purpose}\n[bold]digest[/]  {job_id(data)}", highlight=False)
    table = Table("party", "role", "dataset", "columns", "engine", box=None)
    for party in spec.parties:
        table.add_row(party.id, party.role, party.dataset, str(len(party.columns)), engines[party.id])
    console.print(table)
    console.print("[bold]who learns what[/]")
    for line in (line for protocol in PROTOCOLS.values() for line in protocol.ledger if line.kind == "revealed"):
        console.print(f"  {line.to:<13} {line.what}", highlight=False, markup=False)
    console.print(f"[bold]traffic[/] about {expected['megabytes']:.0f} MB over all links, at most; "
                  f"approvals missing: {', '.join(p.id for p in spec.parties)}", highlight=False)
