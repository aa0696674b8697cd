"""No output without its best attacker, and no attacker without a control that has the defence out."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import get_args

import pytest

from mpc.protocols import PROTOCOLS
from tests.simulation.attackers.registry import LINES, RELEASES, Attacked, Fact
from wire.spec.job import Release

HERE = Path(__file__).parent
ENTRIES = (*LINES.values(), *RELEASES.values())
ATTACKED = sorted({one for entry in ENTRIES for one in entry if isinstance(one, Attacked)},
                  key=lambda one: one.attacker)


def test_every_revealed_line_and_every_release_has_its_attacker() -> None:
    revealed = {line.code for protocol in PROTOCOLS.values() for line in protocol.ledger if line.kind == "revealed"}
    assert set(LINES) == revealed
    assert set(RELEASES) == set(get_args(Release))
    for entry in ENTRIES:
        assert entry
        assert all(len(one.why) > 20 for one in entry if isinstance(one, Fact))


@pytest.mark.parametrize("one", ATTACKED, ids=lambda one: one.attacker)
def test_an_attacker_runs_with_the_defence_and_without(one: Attacked) -> None:
    assert (HERE / "attackers" / f"{one.attacker}.py").is_file()
    for place in {one.defended, one.control}:
        file, _, name = place.partition("::")
        tree = ast.parse((HERE / file).read_text())
        function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
        assert any(isinstance(node, ast.Assert) for node in ast.walk(function))
        imported = {alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
        imported |= {str(node.module).rpartition(".")[2] for node in tree.body if isinstance(node, ast.ImportFrom)}
        assert one.attacker in imported, f"{file} does not use the attacker"
