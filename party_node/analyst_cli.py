"""The risk analyst's commands at an institution: our part of a finished model as a scorecard and as a report.

They read what the node kept and send nothing; `wire.command` is the edge.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mpc.models.scorecard import Scale
from party_node.session import Session, opened
from wire.command import console

Job = Annotated[str, typer.Argument(help="The job's id, or its first characters.")]
BaseScore = Annotated[float, typer.Option(help="The score at --odds.")]
Odds = Annotated[float, typer.Option(help="Good customers to one bad, at --base-score.")]
Doubling = Annotated[float, typer.Option(help="Points that double the odds.")]
Decimals = Annotated[int, typer.Option(help="Digits of the points.")]
Data = dict[str, Any]


def add_to(app: typer.Typer) -> None:
    """Make the commands part of the program."""
    app.command("scorecard")(scorecard_command)
    app.command("report")(report_command)


def scorecard_command(
    ctx: typer.Context,
    job: Job,
    out: Annotated[Path | None, typer.Option(help="Write our part there: .json or .pmml.")] = None,
    base_score: BaseScore = Scale.base_score,
    odds: Odds = Scale.odds,
    doubling: Doubling = Scale.doubling,
    decimals: Decimals = 0,
) -> Data:
    """Show our part of a finished model as points; all parties have to use one scale."""
    from party_node import scorecard  # brings the stages of a job with it, and the other commands do without them

    session: Session = ctx.obj
    with opened(session) as (config, _, audit):
        return scorecard.show(session.directory.models, config.party, audit, job,
                              Scale(base_score, odds, doubling, decimals), out)


def report_command(
    ctx: typer.Context,
    job: Job,
    out: Annotated[Path | None, typer.Option(help="The folder to write; else models/JOB/report.")] = None,
    base_score: BaseScore = Scale.base_score,
    odds: Odds = Scale.odds,
    doubling: Doubling = Scale.doubling,
    decimals: Decimals = 0,
    lgd: Annotated[float | None, typer.Option(help="Loss given default, as a share of the exposure.")] = None,
    margin: Annotated[float | None, typer.Option(help="Earned on a good customer, likewise.")] = None,
    exposure: Annotated[float | None, typer.Option(help="Lent to one customer, in your currency.")] = None,
    segment: Annotated[list[str] | None, typer.Option(help="A column of our table; may be repeated.")] = None,
) -> Data:
    """Make our own part of the report of a finished job: a page, and its tables as CSV and XLSX. For our own eyes."""
    from party_node import finished, report
    from party_node.judgement import asked

    session: Session = ctx.obj
    wanted = asked(Scale(base_score, odds, doubling, decimals), (lgd, margin, exposure), segment or ())
    with opened(session) as (config, store, audit):
        found = finished.load(session.directory, config.party, store, job, wanted.segments)
        part = report.own_part(found, wanted)
        folder = out or session.directory.models / found.model.job / report.FOLDER
        report.write(folder, part)
        audit.event("report", found.model.job)
    console().print(f"{folder / 'report.html'}, tables.xlsx and tables/*.csv: our own part, private to us")
    return {"job": found.model.job, "path": str(folder), "tables": [sheet.name for sheet in part.sheets()]}
