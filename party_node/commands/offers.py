"""What a bank offers, as its operator sees it: register a table, list what is on offer, make a mock table for partners.

Each command returns plain data for `--json` and prints for people; `wire.command` is the edge. Libraries that read
tables are loaded by the commands that read one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table as Grid

from mpc.errors import LocalError
from party_node.commands.session import Session, opened
from party_node.consent import datasets
from party_node.records.budgets import Budget
from party_node.records.store import Store
from wire.command import console, plain

Data = dict[str, Any]
MOCK_ROWS = 1000
dataset_app = typer.Typer(no_args_is_help=True, help="Tables that you offer, and on which terms.")


@dataset_app.command("register")
def dataset_register(ctx: typer.Context, file: Annotated[Path, typer.Argument(help="The dataset's TOML.")]) -> Data:
    """Read and profile a table here, and remember its digest and its policy."""
    from party_node.consent import registration

    session: Session = ctx.obj
    with opened(session) as (config, store, audit):
        out = console()
        with out.status("reading the table"):
            found = registration.prepare(file, config, session.directory.snapshots)
        before = datasets.find(store, found.dataset.name)
        notes = [*found.notes, *(registration.changes(before, found.dataset) if before else ())]
        notes += registration.twice(found.dataset, datasets.registered(store))
        audit.event("dataset", name=found.dataset.name, digest=found.dataset.digest)
        registration.keep(found.dataset, store)
    grid = Grid("column", "kind", "missing", "from", "to", "levels")
    for column in found.columns:
        ends = ["" if end is None else f"{end:g}" for end in (column.low, column.high)]
        levels = "" if column.levels is None else str(column.levels)
        grid.add_row(plain(column.name), column.kind.value, f"{column.missing_rate:.1%}", *ends, levels)
    out.print(grid)
    out.print(f"{found.dataset.name}: " + ", ".join(f"{name} {count}" for name, count in found.counts.items()))
    for note in notes:
        out.print(f"  note: {plain(note)}")
    out.print(f"registered with approval `{found.dataset.approval}`; nothing has left this machine")
    return {"name": found.dataset.name, "digest": found.dataset.digest, "rows": found.counts,
            "columns": found.dataset.allowed_columns, "notes": notes}


@dataset_app.command("mock")
def dataset_mock(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="A registered dataset.")],
    out: Annotated[Path, typer.Option(help="The file to write: .csv or .parquet.")],
    rows: Annotated[int, typer.Option(help="Rows of the made-up table.")] = MOCK_ROWS,
    seed: Annotated[int, typer.Option(help="All parties' mock tables of one seed share most of their people.")] = 1,
) -> Data:
    """Write a made-up table of a dataset's schema, for partners to prepare with; no cell of the real one is read."""
    from party_node.consent.registration import mock_schema
    from party_node.data.mock_table import mock_table, write_mock

    session: Session = ctx.obj
    with opened(session) as (_, store, _audit):
        found = datasets.find(store, name)
    if found is None:
        raise LocalError(f"no dataset `{name}` is registered", "run: party-node dataset list")
    table = mock_table(mock_schema(found), rows, seed)
    write_mock(table, out)
    console().print(f"{out}: {rows:,} made-up rows with the columns " + ", ".join(map(plain, table.column_names)))
    console().print("drawn from names and kinds of columns alone; of the real table nothing was read")
    return {"path": str(out), "rows": rows, "columns": table.column_names}


@dataset_app.command("list")
def dataset_list(ctx: typer.Context) -> Data:
    """Registered datasets, who may use them, and what is left of their budgets."""
    session: Session = ctx.obj
    listed = []
    grid = Grid("dataset", "rows", "columns", "label", "partners", "approval", "budgets spent")
    with opened(session) as (_, store, _audit):
        for dataset in datasets.registered(store):
            budgets = _budgets(dataset, store)
            listed.append({"name": dataset.name, "rows": dataset.rows, "digest": dataset.digest,
                           "columns": dataset.allowed_columns, "partners": dataset.policy.partners,
                           "approval": dataset.approval, "budgets": budgets})
            grid.add_row(dataset.name, str(dataset.rows), str(len(dataset.allowed_columns)),
                         "offered" if dataset.policy.use_label else "no", ", ".join(dataset.policy.partners),
                         dataset.approval, "\n".join(f"{k} {v['spent']}/{v['limit']}" for k, v in budgets.items()))
    console().print(grid if listed else "no datasets: party-node dataset register FILE")
    return {"datasets": listed}


def _budgets(dataset: datasets.RegisteredDataset, store: Store) -> dict[str, dict[str, int]]:
    """What was spent and what may be, by budget; those of a partner with its name."""
    each, spent = Budget.ALIGNMENTS_PER_PARTNER, store.spent(dataset.name)
    found = {b.value: {"spent": spent[b], "limit": dataset.limit(b)} for b in Budget if b is not each}
    return found | {
        f"{each.value} {partner}": {"spent": store.spent(dataset.name, partner)[each], "limit": dataset.limit(each)}
        for partner in dataset.policy.partners
    }
