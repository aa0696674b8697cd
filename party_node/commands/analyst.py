"""The risk analyst's commands at an institution: our part of a finished model as a scorecard and as a report.

They read what the node kept and send nothing; `wire.command` is the edge.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from party_node.commands.session import Session, opened
from wire.command import console

Job = Annotated[str, typer.Argument(help="The job's id, or its first characters.")]
BaseScore = Annotated[float | None, typer.Option(help="The score at --base-odds; else as the job says.")]
BaseOdds = Annotated[float | None, typer.Option(help="Good customers to one bad, at --base-score; likewise.")]
Pdo = Annotated[float | None, typer.Option(help="Points to double the odds; likewise.")]
Decimals = Annotated[int | None, typer.Option(help="Digits of the points; likewise.")]
Data = dict[str, Any]


def add_to(app: typer.Typer) -> None:
    """Make the commands part of the program."""
    app.command("scorecard")(scorecard_command)
    app.command("report")(report_command)
    app.command("compare")(compare_command)


def scorecard_command(
    ctx: typer.Context,
    job: Job,
    out: Annotated[Path | None, typer.Option(help="Write our part there: .json or .pmml.")] = None,
    base_score: BaseScore = None,
    base_odds: BaseOdds = None,
    pdo: Pdo = None,
    decimals: Decimals = None,
) -> Data:
    """Show our part of a finished model as points, on the job's scale; all parties have to use one."""
    from party_node.models import (
        scorecard,  # brings the stages of a job with it, and the other commands do without them
    )
    from party_node.models.finished_job import agreed
    from party_node.models.part import load_part

    session: Session = ctx.obj
    with opened(session) as (config, store, audit):
        spec = agreed(store, load_part(session.directory.models, job).job)
        scale = scorecard.scale_of(spec, base_score, base_odds, pdo, decimals)
        return scorecard.show(session.directory.models, config.party, audit, job, scale, out)


def report_command(
    ctx: typer.Context,
    job: Job,
    out: Annotated[Path | None, typer.Option(help="The folder to write; else models/JOB/report.")] = None,
    base_score: BaseScore = None,
    base_odds: BaseOdds = None,
    pdo: Pdo = None,
    decimals: Decimals = None,
    lgd: Annotated[float | None, typer.Option(help="Loss given default, as a share of the exposure.")] = None,
    margin: Annotated[float | None, typer.Option(help="Earned on a good customer, likewise.")] = None,
    exposure: Annotated[float | None, typer.Option(help="Lent to one customer, in your currency.")] = None,
    segment: Annotated[list[str] | None, typer.Option(help="A column of our table; may be repeated.")] = None,
) -> Data:
    """Make our own part of the report of a finished job: a page, and its tables as CSV and XLSX. For our own eyes."""
    from party_node.models import finished_job
    from party_node.models.scorecard import scale_of
    from party_node.reports import own_part
    from party_node.reports.judgement import asked

    session: Session = ctx.obj
    with opened(session) as (config, store, audit):
        found = finished_job.load(session.directory, config.party, store, job, segment or ())
        scale = scale_of(found.spec, base_score, base_odds, pdo, decimals)
        wanted = asked(scale, (lgd, margin, exposure), segment or ())
        part = own_part.own_part(found, wanted)
        folder = out or session.directory.models / found.model.job / own_part.FOLDER
        own_part.write(folder, part)
        audit.event("report", found.model.job)
    console().print(f"{folder / 'report.html'}, tables.xlsx and tables/*.csv: our own part, private to us")
    return {"job": found.model.job, "path": str(folder), "tables": [sheet.name for sheet in part.sheets()]}


def compare_command(
    ctx: typer.Context,
    champion: Annotated[str, typer.Argument(help="The job whose model decides today, or its first characters.")],
    challenger: Annotated[str, typer.Argument(help="The job whose model may take its place.")],
    approval: Annotated[float, typer.Option(help="Share of customers approved in the headline figures.")] = 0.8,
) -> Data:
    """Compare the joint models of two finished jobs on the customers that judged both. For our own eyes."""
    from party_node.reports import champion_challenger
    from reporting.comparison_table import print_comparison

    session: Session = ctx.obj
    with opened(session) as (_, store, audit):
        first, second = (champion_challenger.kept(session.directory, store, job) for job in (champion, challenger))
        found = champion_challenger.compare(first, second, approval)
        audit.event("compare", first.job, challenger=second.job)
    print_comparison(found, console(), names=champion_challenger.NAMES)
    console().print(champion_challenger.caveat(first, second, found))
    return {"champion": first.job, "challenger": second.job, "evaluation": found}
