"""The bank operator's commands. Each returns plain data for `--json` and prints for people; `wire.command` is the edge.

Shows a person what would leave the bank before asking; sends nothing itself (`run` starts the daemon that does).
"""

from __future__ import annotations

import asyncio
import getpass
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError
from rich.table import Table as Grid

from mpc.errors import LocalError
from party_node.commands import analyst
from party_node.commands.offers import dataset_app
from party_node.commands.precomputed import prepared_app
from party_node.commands.session import HOME, Session, opened
from party_node.config import Address, PartyConfig, PartyDirectory
from party_node.records.audit import AuditLog, verify_log
from party_node.records.store import Store
from wire import certificates, command
from wire.command import console, plain
from wire.consortium import Consortium, load_consortium
from wire.private_files import write_private
from wire.spec.job import PartyName, decode_spec, kept_spec

if TYPE_CHECKING:
    from party_node.consent.gate import Consent

Data = dict[str, Any]
app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
                  help="One institution's node: it computes on your tables and never shows them.")
audit_app = typer.Typer(no_args_is_help=True, help="The record of what this node decided and sent.")
cert_app = typer.Typer(no_args_is_help=True, help="This node's certificate.")
app.add_typer(dataset_app, name="dataset")
app.add_typer(audit_app, name="audit")
app.add_typer(cert_app, name="cert")
app.add_typer(prepared_app, name="prepared")
analyst.add_to(app)


def run_command(arguments: Sequence[str]) -> int:
    """One command to its exit code."""
    return command.run(app, arguments, Session())


@app.callback()
def _common(
    ctx: typer.Context,
    directory: Annotated[Path, typer.Option("--dir", envvar="PARTY_NODE_DIR", help="The party directory.")] = HOME,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    session: Session = ctx.obj
    session.directory = PartyDirectory(directory.absolute())


def _checked(kind: Any, option: str, value: str) -> str:
    try:
        return str(TypeAdapter(kind).validate_python(value))
    except ValidationError:
        wanted = "lower-case letters, digits and -, 2 to 32 of them" if kind is PartyName else "host:port"
        raise LocalError(f"{option} must be {wanted}", "mend that option") from None


@app.command()
def init(
    ctx: typer.Context,
    party: Annotated[str, typer.Option(help="Your id in the consortium, such as bank-a.")],
    listen: Annotated[str, typer.Option(help="host:port to listen on for peers and the coordinator.")] = "0.0.0.0:8443",
    doctor_listen: Annotated[str, typer.Option(help="host:port of the doctor, for refused callers.")] = "0.0.0.0:8444",
    address: Annotated[str, typer.Option(help="host:port at which others reach you.")] = "",
    doctor_address: Annotated[str, typer.Option(help="The same for the doctor.")] = "",
) -> Data:
    """Make identity key, CA and certificate, and print the fingerprints to read aloud."""
    session: Session = ctx.obj
    directory, session.party = session.directory, _checked(PartyName, "--party", party)
    for option, value in (("--listen", listen), ("--doctor-listen", doctor_listen)):
        _checked(Address, option, value)
    here = _checked(Address, "--address", address or listen.replace("0.0.0.0", "localhost"))  # noqa: S104
    there = _checked(Address, "--doctor-address", doctor_address or doctor_listen.replace("0.0.0.0", "localhost"))  # noqa: S104
    if directory.config_file.exists():
        raise LocalError(f"{directory.root} already holds a party", "choose another --dir")
    directory.create()
    identity = directory.create_identity()
    tls = certificates.create_directory(directory.tls, party)
    entry = {"id": party, "address": here, "doctor": there, "ca_fingerprint": certificates.fingerprint(tls.ca_pem),
             "identity": identity.public_hex}
    lines = [f'{name} = "{value}"' for name, value in entry.items()]
    text = "\n".join(["[[party]]", *lines, f'ca = """\n{tls.ca_pem.decode()}"""\n'])
    write_private(directory.entry_file, text.encode())
    write_private(directory.config_file,
                  f'party = "{party}"\nlisten = "{listen}"\ndoctor = "{doctor_listen}"\napproval = "ask"\n'.encode())
    fingerprints = {"ca": entry["ca_fingerprint"], "identity": certificates.key_fingerprint(identity.public_hex)}
    out = console()
    out.print(f"{party} lives in {directory.root}. Read these aloud to your partners:")
    out.print(f"  CA        {fingerprints['ca']}\n  identity  {fingerprints['identity']}")
    out.print(f"Give {directory.entry_file} to whoever writes the consortium file; it holds no secret.")
    return {"party": party, "directory": str(directory.root), "fingerprints": fingerprints,
            "entry": str(directory.entry_file)}


@app.command("doctor")
def doctor_command(
    ctx: typer.Context,
    peer: Annotated[str, typer.Option(help="Also try the way to this peer.")] = "",
) -> Data:
    """Check clock, ports, disk, certificate, permissions, engine; with --peer the way to a peer."""
    from party_node.commands import doctor

    session: Session = ctx.obj
    out, checks = console(), []
    directory = session.directory
    if directory.config_file.exists():
        session.party = directory.load_config().party
    for check in asyncio.run(doctor.examine_peer(directory, peer)) if peer else doctor.examine(directory):
        checks.append(check)
        out.print(f"  {check.outcome:<4}  {check.name:<18} {plain(check.what)}")
        if check.advice:
            out.print(f"        {'':<18} {plain(check.advice)}")
    bad = [check for check in checks if check.outcome == "bad"]
    if bad:
        raise LocalError("; ".join(f"{check.name}: {check.what}" for check in bad), bad[0].advice)
    return {"checks": [vars(check) for check in checks]}


@app.command()
def join(ctx: typer.Context, file: Annotated[Path, typer.Argument(help="The consortium file.")]) -> Data:
    """Install the consortium file, after checking our own entry; prints everybody's fingerprints."""
    from party_node.commands.doctor import check_own_entry

    session: Session = ctx.obj
    with opened(session) as (config, _, audit):
        consortium = load_consortium(file)
        content = file.read_bytes()
        check_own_entry(session.directory, config, consortium)
        shown = _show_members(consortium, config.party)
        audit.event("consortium", digest=hashlib.sha256(content).hexdigest(), parties=len(consortium.party))
        write_private(session.directory.consortium_file(config), content)
    console().print("Installed. Compare every fingerprint by telephone before the first job.")
    return {"members": shown}


def _show_members(consortium: Consortium, me: str) -> list[Data]:
    members = []
    out = console()
    for pinned in consortium.pinned():
        key = certificates.key_fingerprint(pinned.identity)
        entry = {"id": pinned.id, "ca": certificates.fingerprint(pinned.ca_pem), "identity": key}
        members.append(entry)
        out.print(f"{pinned.id}{' (you)' if pinned.id == me else ''}")
        out.print(f"  CA        {entry['ca']}\n  identity  {entry['identity']}")
    return members


@app.command()
def run(
    ctx: typer.Context,
    ready_file: Annotated[Path | None, typer.Option(help="Written with the ports once the node listens.")] = None,
) -> Data:
    """Start the node; SIGTERM or Ctrl-C stops it cleanly."""
    from party_node.daemon.node import serve  # the daemon is heavy, and the other commands do without it

    session: Session = ctx.obj
    session.directory.check_permissions()
    session.party = session.directory.load_config().party
    asyncio.run(serve(session.directory, ready_file))
    return {"party": session.party, "stopped": True}


@app.command("approve")
def approve_command(
    ctx: typer.Context,
    job: Annotated[str, typer.Argument(help="The job's id, or its first characters.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> Data:
    """Show what would leave this bank, then sign the job for it."""
    from mpc.protocols import PROTOCOLS
    from party_node.consent.shown_to_approver import what_leaves

    session: Session = ctx.obj
    with opened(session) as (config, store, audit):
        row = store.find_job(job)
        out = console()
        leaving = what_leaves(decode_spec(row.spec), config.party, PROTOCOLS)
        out.print(f"job {row.id}, proposed by {row.coordinator}, {row.state.value}")
        for line in leaving:
            out.print(f"  {plain(line)}")
        if not yes and not typer.confirm("Sign this job?", err=True):
            raise LocalError("the job was neither approved nor denied", "party-node deny JOB says no for good")
        _consent(session, config, store, audit).approve(row.id, getpass.getuser())
    out.print("Signed. The coordinator fetches the signature when it asks again; until the job starts, "
              "party-node deny JOB withdraws it.")
    return {"job": row.id, "approved": True, "leaves": leaving}


@app.command("deny")
def deny_command(
    ctx: typer.Context,
    job: Annotated[str, typer.Argument(help="The job's id, or its first characters.")],
) -> Data:
    """Say no to a job for good, or withdraw the approval of one that has not started."""
    session: Session = ctx.obj
    with opened(session) as (config, store, audit):
        row = store.find_job(job)
        withdrawn = _consent(session, config, store, audit).deny(row.id, getpass.getuser())
    console().print("Withdrawn. The job will not start here: whoever starts it is told so." if withdrawn else
                    "Denied. Nothing ran.")
    return {"job": row.id, "approved": False, "withdrawn": withdrawn}


def _consent(session: Session, config: PartyConfig, store: Store, audit: AuditLog) -> Consent:
    """This party's word, as the daemon gives it."""
    from mpc.protocols import PROTOCOLS
    from party_node.consent.gate import Consent

    consortium = load_consortium(session.directory.consortium_file(config))
    return Consent(config.party, session.directory.load_identity(), store, audit,
                   {member.id: member.identity for member in consortium.party}, PROTOCOLS)


@app.command("jobs")
def jobs_command(ctx: typer.Context) -> Data:
    """Jobs that this node knows, oldest first."""
    session: Session = ctx.obj
    listed = []
    grid = Grid("job", "for", "state", "stage", "purpose", "proposed by", "at (UTC)", "what went wrong")
    with opened(session) as (_, store, _audit):
        for row in store.jobs():
            created = f"{datetime.fromtimestamp(row.created, UTC):%Y-%m-%d %H:%M}"
            spec = kept_spec(row.spec)
            purpose, goal, prepared = "agreed under another release", "", None
            if spec is not None:
                purpose, prepared = plain(spec.purpose), spec.prepared
                goal = spec.goal if prepared is None else f"model on {prepared[:12]}"
            listed.append({"job": row.id, "goal": goal.partition(" ")[0], "prepared": prepared, "stage": row.stage,
                           "state": row.state.value, "purpose": purpose, "coordinator": row.coordinator,
                           "created": row.created, "error": row.error_text})
            grid.add_row(row.id[:12], goal, row.state.value, row.stage, purpose, row.coordinator, created,
                         plain(row.error_text))
    console().print(grid if listed else "no jobs yet")
    return {"jobs": listed}


@audit_app.command("verify")
def audit_verify(ctx: typer.Context) -> Data:
    """Check every line of the audit log, its chain, and the heads that the peers countersigned."""
    session: Session = ctx.obj
    session.directory.check_permissions()
    session.party = session.directory.load_config().party
    store = Store(session.directory.state_db)
    try:
        heads = store.heads(ours=True)
    finally:
        store.close()
    head = verify_log(session.directory.audit_log, session.party, heads)
    console().print(f"{head.count} lines, chain whole, {len(heads)} countersigned heads fit; the last is {head.hash}")
    return {"lines": head.count, "head": head.hash, "countersigned": len(heads)}


@cert_app.command("renew")
def cert_renew(ctx: typer.Context) -> Data:
    """Issue a fresh certificate from our own CA; the peers need do nothing."""
    session: Session = ctx.obj
    with opened(session) as (config, _, audit):
        audit.event("certificate", what="renewed")
        identity = certificates.renew(session.directory.tls, config.party)
        found = certificates.check(identity.certificate_pem, config.party, identity.ca_pem)
    until = f"{found.not_valid_after_utc:%Y-%m-%d}"
    console().print(f"in force until {until}; restart party-node run to use it; the peers need do nothing")
    return {"party": config.party, "serial": f"{found.serial_number:x}", "until": until}
