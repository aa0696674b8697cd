"""The coordinator operator's commands. Each returns plain data for `--json` and prints for people; `wire.command` is
the edge. None of them holds a row, a key of a party or a share. What is heavy is loaded by the commands that need it.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer
from rich.table import Table

from coordinator.config import CoordinatorDirectory
from coordinator.jobs.store import JobRow, Store
from mpc.errors import LocalError
from wire import command
from wire.certificates import check
from wire.command import console
from wire.line import Line
from wire.private_files import write_private
from wire.spec.job import JobSpec, encode_spec, job_id

if TYPE_CHECKING:
    from coordinator.jobs.node_client import NodeClient
    from coordinator.jobs.plan import JobPlan

Data = dict[str, Any]
Nodes: TypeAlias = "dict[str, NodeClient]"
HOME = Path("coordinator-data")
CANCEL_S = 5.0     # for the other nodes to hear of it, where one cannot be reached
JobFile = Annotated[Path, typer.Argument(help="job.toml")]
JobId = Annotated[str, typer.Argument(help="Job id, or how it begins.")]
WaitApproval = Annotated[float, typer.Option(help="Seconds to wait for a person's approval.")]
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
                  help="Launches and watches jobs between party nodes. Never holds a row, a key or a share.")
cert_app = typer.Typer(no_args_is_help=True, help="The coordinator's certificate.")
app.add_typer(cert_app, name="cert")


@dataclass
class Session:
    """One invocation: where the coordinator keeps its things."""

    directory: CoordinatorDirectory = field(default_factory=lambda: CoordinatorDirectory(HOME))
    party: str = "coordinator"
    program: str = "coordinator"

    @property
    def log_file(self) -> Path:
        return self.directory.log_file


def run_command(arguments: Sequence[str]) -> int:
    """One command to its exit code."""
    return command.run(app, arguments, Session())


@app.callback()
def _common(
    ctx: typer.Context,
    directory: Annotated[Path, typer.Option("--dir", envvar="COORDINATOR_DIR", help="The coordinator's home.")] = HOME,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    session: Session = ctx.obj
    session.directory = CoordinatorDirectory(directory.absolute())


def _directory(ctx: typer.Context) -> CoordinatorDirectory:
    session: Session = ctx.obj
    return session.directory


def _with_nodes(ctx: typer.Context, work: Callable[[Nodes], Awaitable[Data]]) -> Data:
    """Run `work` with a client for every institution of the consortium."""
    from coordinator.jobs.node_client import connect
    from wire.awaited import each

    _, consortium, identity = _directory(ctx).load()

    async def connected() -> Data:
        task = asyncio.current_task()
        assert task is not None  # asyncio.run makes one
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):  # however often: what is under way is cancelled, and awaited
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, task.cancel)
        nodes = connect(consortium, identity)
        try:
            return await work(nodes)
        finally:
            await each(*(node.close() for node in nodes.values()))

    try:
        return asyncio.run(connected())
    except asyncio.CancelledError:  # by either signal
        raise KeyboardInterrupt from None


def _find_job(ctx: typer.Context, prefix: str) -> JobRow:
    _directory(ctx).name()  # LocalError where there is no coordinator
    store = Store(_directory(ctx).state_db)
    try:
        return store.job(prefix)
    finally:
        store.close()


def _members(spec: bytes, nodes: Nodes) -> Nodes:
    return {party.id: nodes[party.id] for party in JobSpec.model_validate_json(spec).parties}


@app.command()
def init(
    ctx: typer.Context,
    name: Annotated[str, typer.Option(help="The coordinator's id, as in the consortium file.")] = "coordinator",
) -> Data:
    """Make this coordinator's keys and certificate, and print the fingerprints to read aloud."""
    directory = _directory(ctx)
    ca, identity = directory.create(name)
    console().print(f"coordinator {name} made in {directory.root}\n"
                    f"  CA fingerprint  {ca}\n  identity        {identity}\n"
                    f"give {directory.entry_file} to whoever writes the consortium file, and put that file at "
                    f"{directory.consortium_file}")
    return {"name": name, "ca_fingerprint": ca, "identity": identity}


@app.command()
def plan(
    ctx: typer.Context,
    job_file: JobFile,
    line: Annotated[str, typer.Option(help="Another line between institutions than job.toml's: 20mbps/20ms.")] = "",
    rehearsal: Annotated[bool, typer.Option(help="Let the nodes rehearse the job, for about ten seconds.")] = True,
) -> Data:
    """Check the contract between the parties before any cryptography: schemas, who learns what, traffic, time."""
    from coordinator.jobs import driver
    from coordinator.jobs.forecast import forecast, seconds
    from coordinator.jobs.plan import load_plan
    from wire.awaited import together

    _check_line(line)

    async def check(nodes: Nodes) -> Data:
        asked = load_plan(job_file)
        asked = asked.model_copy(update={"line": line}) if line else asked
        spec, views = await driver.prepare(asked, nodes)
        rows = {p.id: next(d.rows for d in views[p.id].datasets if d.name == p.dataset) for p in spec.parties}
        expected = forecast(spec, rows)
        if rehearsal and spec.goal == "model":
            data = encode_spec(spec)
            parts = await together(*(nodes[p.id].rehearse(data) for p in spec.parties))
            rehearsed = {p.id: part for p, part in zip(spec.parties, parts, strict=True)}
            expected["seconds"] = seconds(spec, rows, expected, rehearsed, asked.between)
        _print_plan(spec, expected, {party: view.engine for party, view in views.items()})
        return {"spec": spec.model_dump(mode="json"), "forecast": expected, "rows_about": rows}

    return _with_nodes(ctx, check)


def _print_plan(spec: JobSpec, expected: Data, engines: dict[str, str]) -> None:
    from coordinator.jobs.forecast import noise_in_words
    from mpc.protocols import PROTOCOLS

    out = console()
    out.print(f"purpose {spec.purpose}\ndigest  {job_id(encode_spec(spec))}")
    table = Table("party", "role", "dataset", "columns", "engine", box=None)
    for party in spec.parties:
        table.add_row(party.id, party.role, party.dataset, str(len(party.columns)), engines[party.id])
    out.print(table)
    out.print(f"alignment by {spec.align.engine}")
    out.print("who learns what")
    for line in (line for protocol in PROTOCOLS.values() for line in protocol.ledger if line.code in spec.reveal):
        if line.kind == "revealed":
            out.print(f"  {line.to:<13} {line.what}")
    out.print(f"traffic about {expected['megabytes']:.0f} MB over all links, at most; "
              f"approvals missing: {', '.join(p.id for p in spec.parties)}")
    if "noise_in_standard_errors" in expected:
        out.print(noise_in_words(spec, expected))
    if "megabytes_in_round" in expected:
        out.print(f"of that {expected['megabytes_in_round']:.0f} MB in the round itself, where coordinator precompute "
                  "ran ahead of it: alignment, preparation and all correlations, nearly all of the time")
    if "seconds" in expected:
        spent = expected["seconds"]
        words = {"bin": "counting bins", "correlate": "correlating", "train": "training"}
        parts = [f"{word} {spent[stage]:.0f} s" for stage, word in words.items() if stage in spent]
        out.print(f"time about {spent['total']:.0f} s, of which {', '.join(parts)}, "
                  "if all customers of the smallest table are common")


def _check_line(text: str) -> None:
    try:
        if text:
            Line.parse(text)
    except ValueError as error:
        raise LocalError(str(error), "write --line 20mbps/20ms") from None


@app.command()
def launch(
    ctx: typer.Context,
    job_file: JobFile,
    wait_approval: WaitApproval = 3600.0,
    prepared: Annotated[str, typer.Option(help="Use what this job of `precompute` made ahead.")] = "",
) -> Data:
    """Propose the job, collect all signatures, run it, and keep its public record and report."""
    from coordinator.jobs.precompute import online

    earlier = _find_job(ctx, prepared) if prepared else None
    return _launched(ctx, job_file, wait_approval, lambda spec, plan: online(spec, plan, earlier) if earlier else spec)


@app.command()
def precompute(ctx: typer.Context, job_file: JobFile, wait_approval: WaitApproval = 3600.0) -> Data:
    """Run all of a model's job that can run ahead of it, up to the first iteration, as a job of its own."""
    from coordinator.jobs.precompute import ahead

    record = _launched(ctx, job_file, wait_approval, lambda spec, plan: ahead(spec))
    until = datetime.fromtimestamp(JobSpec.model_validate_json(_find_job(ctx, record["job_id"]).spec).valid_until, UTC)
    console().print(f"ready until {until:%Y-%m-%d %H:%M} UTC, for one job:\n"
                    f"  coordinator launch {job_file} --prepared {record['job_id'][:12]}")
    return record


def _launched(
    ctx: typer.Context, job_file: Path, wait_approval: float, changed: Callable[[JobSpec, JobPlan], JobSpec]
) -> Data:
    from coordinator.commands.screen import ProgressScreen
    from coordinator.jobs import driver
    from coordinator.jobs.plan import load_plan

    directory = _directory(ctx)

    async def through(nodes: Nodes) -> Data:
        asked = load_plan(job_file)
        spec = changed((await driver.prepare(asked, nodes))[0], asked)
        store = Store(directory.state_db)
        try:
            with ProgressScreen([p.id for p in spec.parties]) as screen:
                return await driver.launch(spec, nodes, store, screen.show, screen.say, wait_approval)
        finally:
            store.close()

    return _keep(directory, _with_nodes(ctx, through))


def _keep(directory: CoordinatorDirectory, record: Data) -> Data:
    folder = directory.job(record["job_id"])
    folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    write_private(folder / "record.json", json.dumps(record, indent=1).encode())
    _write_report(folder, record)
    if record["evaluation"] is not None:
        from reporting.comparison_table import print_comparison

        print_comparison(record["evaluation"], console())
    console().print(f"report: {folder / 'report.html'}")
    return record


def _write_report(folder: Path, record: Data) -> None:
    from coordinator.reports import committee_tables
    from coordinator.reports.committee_page import render
    from reporting.page import write_report

    write_report(folder, render(record), committee_tables.sheets(record), write_private)


@app.command("report")
def report_command(ctx: typer.Context, job: JobId) -> Data:
    """Make the report of a finished job again from its record: page, CSV and XLSX."""
    row = _find_job(ctx, job)
    folder = _directory(ctx).job(row.id)
    try:
        record = json.loads((folder / "record.json").read_bytes())
    except (OSError, ValueError):
        raise LocalError(f"job {row.id[:12]} has no record that can be read",
                         "only a job that finished has one") from None
    _write_report(folder, record)
    console().print(f"report: {folder / 'report.html'}")
    return {"job": row.id, "path": str(folder)}


@app.command()
def watch(ctx: typer.Context, job: JobId) -> Data:
    """Follow a running job on all its nodes until it ends."""
    from coordinator.commands.screen import ProgressScreen
    from wire.awaited import together

    row = _find_job(ctx, job)

    async def follow_all(nodes: Nodes) -> Data:
        members = _members(row.spec, nodes)
        states: dict[str, str] = {}
        with ProgressScreen(list(members)) as screen:
            async def follow(node: NodeClient) -> None:
                async with aclosing(node.watch(row.id, 0)) as events:
                    async for event in events:
                        screen.show(event)
                        states[node.party] = event.state

            await together(*(follow(node) for node in members.values()))
        return {"job": row.id, "states": states}

    return _with_nodes(ctx, follow_all)


@app.command()
def cancel(
    ctx: typer.Context,
    job: JobId,
    reason: Annotated[str, typer.Option(help="Told to the parties.")] = "the operator cancelled it",
) -> Data:
    """Stop a job on all its nodes. Nothing is released."""
    from wire.awaited import together

    row = _find_job(ctx, job)

    async def stop_all(nodes: Nodes) -> Data:
        members = _members(row.spec, nodes)
        stopped = await together(*(node.cancel(row.id, reason) for node in members.values()), grace_s=CANCEL_S)
        found = dict(zip(members, stopped, strict=True))
        for party, was_running in found.items():
            console().print(f"{party}: {'stopped' if was_running else 'was not running'}")
        return {"job": row.id, "was_running": found}

    return _with_nodes(ctx, stop_all)


@app.command()
def jobs(ctx: typer.Context) -> Data:
    """List the jobs of this coordinator, newest first."""
    _directory(ctx).name()  # LocalError where there is no coordinator
    store = Store(_directory(ctx).state_db)
    rows = store.jobs()
    store.close()
    table = Table("job", "created", "state", "purpose", box=None)
    for row in rows:
        table.add_row(row.id[:12], row.created, row.state, row.purpose)
    console().print(table if rows else "no jobs yet")
    return {"jobs": [{"id": r.id, "created": r.created, "state": r.state, "purpose": r.purpose} for r in rows]}


@cert_app.command("renew")
def cert_renew(ctx: typer.Context) -> Data:
    """Issue a fresh certificate from our own CA; the nodes need do nothing."""
    identity = _directory(ctx).renew()
    found = check(identity.certificate_pem, identity.party, identity.ca_pem)
    until = f"{found.not_valid_after_utc:%Y-%m-%d}"
    console().print(f"in force until {until}; the nodes need do nothing")
    return {"name": identity.party, "serial": f"{found.serial_number:x}", "until": until}
