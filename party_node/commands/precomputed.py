"""What jobs made ahead, as its owner sees it: list and remove. Reads no value; `wire.command` is the edge."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table as Grid

from mpc.errors import LocalError
from party_node.commands.session import Session, opened
from wire.command import console

Data = dict[str, Any]
prepared_app = typer.Typer(no_args_is_help=True, help="What jobs made ahead of a model's, each for one job.")


@prepared_app.command("list")
def prepared_list(ctx: typer.Context) -> Data:
    """Files that jobs of `coordinator precompute` left here: how large, and until when they serve."""
    from party_node.records import precomputed_files

    session: Session = ctx.obj
    found = []
    grid = Grid("job", "state", "made (UTC)", "until (UTC)", "MB")
    with opened(session) as (_, store, _audit):
        for one in precomputed_files.listed(session.directory.prepared, store):
            found.append({"job": one.job, "state": one.state, "made": one.made, "until": one.until, "bytes": one.size})
            made, until = (f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}" for at in (one.made, one.until))
            grid.add_row(one.job[:12], one.state, made, until if one.until else "", f"{one.size / 1e6:.1f}")
    console().print(grid if found else "nothing is made ahead: coordinator precompute")
    return {"prepared": found}


@prepared_app.command("remove")
def prepared_remove(
    ctx: typer.Context, job: Annotated[str, typer.Argument(help="The job's id, or its first characters.")]
) -> Data:
    """Burn what a job made ahead, and delete it: no job can use it any more."""
    from party_node.records import precomputed_files

    session: Session = ctx.obj
    with opened(session) as (_, store, audit):
        folder = session.directory.prepared
        names = [one.job for one in precomputed_files.listed(folder, store) if job and one.job.startswith(job)]
        if len(names) != 1:
            raise LocalError(f"{len(names) or 'no'} jobs that begin with {job[:64]!r} made something ahead here",
                             "run: party-node prepared list")
        audit.event("prepared", names[0], what="removed")
        precomputed_files.remove(folder, store, names[0])
    console().print(f"what job {names[0][:12]} made ahead is burnt and deleted; jobs that name it are refused")
    return {"job": names[0], "removed": True}
