"""Timing bins through daemons: the coordinator's lines are understood, and both tables hold the same customers."""

from __future__ import annotations

from pathlib import Path

import pytest

from coordinator.commands.screen import ProgressScreen
from coordinator.jobs.driver import JobEvent
from party_node.data.sources.table import read_table
from scripts.bench.bins_through_nodes import _BEGINS, STAGES, make_tables


@pytest.mark.parametrize("stage", STAGES)
def test_the_beginning_of_a_stage_is_read_from_what_a_launch_prints(
    stage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    screen = ProgressScreen(["bank", "shop"])
    screen.show(JobEvent("shop", 1, stage, "begins", 0, 0, "running"))
    screen.show(JobEvent("shop", 2, stage, "encrypted labels", 0, 9, "running"))
    first, second = capsys.readouterr().err.splitlines()
    found = _BEGINS.match(first)
    assert found is not None
    assert (found[1], found[2]) == ("shop", stage)
    assert _BEGINS.match(second) is None


def test_both_tables_hold_the_same_customers_and_the_asked_columns(tmp_path: Path) -> None:
    bank, shop = make_tables(tmp_path, 300, 4)
    ids = [set(read_table(party.table, columns=["id"]).column("id").levels) for party in (bank, shop)]  # type: ignore[union-attr]
    assert ids[0] == ids[1]
    assert len(ids[0]) == 300
    assert (bank.columns, bank.label, shop.columns) == (["own"], "bad", ["x0", "x1", "x2", "x3"])
