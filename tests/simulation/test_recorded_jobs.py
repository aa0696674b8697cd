"""Real jobs, recorded: nobody receives what is not in the ledger."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mpc.protocols import PROTOCOLS
from tests import canaries
from tests.simulation.attackers.messages import largest_partial_correlation
from tests.simulation.bin_checks import ALL
from tests.simulation.checks import LINES, kinds
from tests.simulation.conftest import Recorded
from tests.simulation.coordinator_view import coordinator_gets_the_public_record_only
from tests.simulation.hiding_places import haystack_for
from tests.simulation.tables import COMMON

DOCS = Path(__file__).resolve().parents[2] / "docs"
PARTIES = (2, 3)
CORRELATIONS = {"Columns", "Corrections", "TreeSums"}   # how many messages carry them depends on how they are cut


@pytest.mark.parametrize("check", ALL)
@pytest.mark.parametrize("parties", PARTIES)
def test_an_honest_job_passes_the_check(recorded: Recorded, parties: int, check: str) -> None:
    assert ALL[check](recorded(parties)) == []


@pytest.mark.parametrize("check", ALL)
def test_a_job_with_correlations_passes_the_check(recorded: Recorded, check: str) -> None:
    assert ALL[check](recorded(2, correlated=True)) == []


def test_correlations_open_what_the_ledger_says_and_nothing_else_more(recorded: Recorded) -> None:
    with_them, without = recorded(2, correlated=True), recorded(2)
    codes = [Counter(opening.code for opening in recording.openings) for recording in (with_them, without)]
    assert set(codes[0]) - set(codes[1]) == {"correlate.rounding", "correlate.compared", "correlate.pairs"}
    assert {code: codes[0][code] for code in codes[1]} == codes[1]
    shown = [o.total for o in with_them.opened("correlate.pairs", "bank") if o.total is not None]
    assert [len(total) for total in shown] == [9]             # three columns by three
    parts = [event.part for event in with_them.events if event.part is not None]
    assert len(parts) == 2
    for part in parts:
        ledger = {line.code: line.count for line in part.ledger}
        assert ledger["correlate.pairs"] == 9
        assert ledger["correlate.rounding"] == 9


@pytest.mark.parametrize("parties", PARTIES)
def test_the_recording_holds_the_whole_job(recorded: Recorded, parties: int) -> None:
    recording = recorded(parties)
    opened = {opening.code for opening in recording.openings}
    assert opened >= {"train.delta", "train.gradient", "train.step", "train.converged", "train.weights", "score.sum"}
    assert {type_ for method, _, _ in recording.coordinator for type_ in [method]} >= {"Describe", "Propose", "Watch"}
    assert len(recording.masks) >= 8 * 2 * parties
    assert any(powers.packed for powers in recording.powers)
    assert any(not powers.packed for powers in recording.powers)
    assert set(recording.weights) == set(recording.blocks) == set(recording.partials) == set(recording.parties)
    assert all(len(rows) == COMMON for rows in recording.own_rows.values())
    assert {"all.log", "coordinator/state.db", "bank/audit/audit.jsonl", "bank/state.db"} <= set(recording.left_behind)


@pytest.mark.parametrize("check", ALL)
def test_an_honest_job_in_two_halves_passes_the_check(recorded: Recorded, check: str) -> None:
    assert ALL[check](recorded(2, ahead=True)) == []


def test_two_halves_send_and_open_what_one_job_does_and_the_coordinator_gets_the_public_record_only(
    recorded: Recorded
) -> None:
    """But for a second exchange of widths and the end of a second job, message for message."""
    whole, halves = recorded(2), recorded(2, ahead=True)
    assert coordinator_gets_the_public_record_only(halves) == []
    assert kinds(halves) == kinds(whole)
    assert Counter(o.code for o in halves.openings) == Counter(o.code for o in whole.openings)
    assert sum(len(o.share) for o in halves.openings) == sum(len(o.share) for o in whole.openings)
    assert len(halves.masks) == len(whole.masks)
    more = Counter(type(s.message).__name__ for s in halves.messages)
    more.subtract(Counter(type(s.message).__name__ for s in whole.messages))
    assert {kind for kind, count in more.items() if count} <= {"Widths", "AuditHead", "Countersigned"} | CORRELATIONS


@pytest.mark.parametrize("parties", PARTIES)
def test_the_canaries_are_in_the_tables_in_the_first_place(recorded: Recorded, parties: int) -> None:
    recording = recorded(parties)
    for owner in recording.parties:
        needles = haystack_for(recording, owner)
        block = recording.blocks[owner]
        at_home = b"".join([
            b"".join(recording.ids[owner]), *(block.matrix[:, c].tobytes() for c in range(block.matrix.shape[1])),
            recording.partials[owner].tobytes(),
        ])
        names = " ".join(needles.found(at_home))
        assert "id: raw" in names
        assert re.search(r"column \d: int16", names)
        assert len(re.findall(r"partial score \d", names)) >= 12    # of 24; on the grid some are 0, which is everywhere


@pytest.mark.parametrize("parties", PARTIES)
def test_the_coordinator_receives_states_and_the_released_record_only(recorded: Recorded, parties: int) -> None:
    recording = recorded(parties)
    assert coordinator_gets_the_public_record_only(recording) == []
    assert sum(event.part is not None for event in recording.events) == parties


def test_other_secrets_of_the_same_public_shape_give_messages_of_the_same_number_and_size(recorded: Recorded) -> None:
    one, two = recorded(2, 1), recorded(2, 2)
    assert one.ids != two.ids
    assert sorted(one.sizes) == sorted(two.sizes)
    assert len(one.sizes) > 60


def test_the_coordinator_hears_the_same_steps_of_the_same_length_whatever_the_secrets(recorded: Recorded) -> None:
    def steps(secrets: int) -> set[tuple[str, str, str]]:
        return {(event.party, event.stage, event.state) for event in recorded(2, secrets).events}

    def totals(secrets: int) -> dict[tuple[str, str], set[int]]:
        found: dict[tuple[str, str], set[int]] = {}
        for event in recorded(2, secrets).events:
            found.setdefault((event.party, event.what), set()).add(event.total)
        return found

    assert steps(1) == steps(2)
    one, two = totals(1), totals(2)
    assert all(one[key] == two[key] for key in one.keys() & two.keys())   # which are told depends on the clock


@pytest.mark.parametrize("parties", PARTIES)
def test_every_message_kind_that_crosses_has_a_line_in_the_threat_model(recorded: Recorded, parties: int) -> None:
    page = (DOCS / "threat-model.md").read_text()
    listed = set(re.findall(r"`([A-Z][A-Za-z]+)`", page.split("## What crosses")[1].split("\n## ")[0]))
    assert kinds(recorded(parties)) <= listed


@pytest.mark.parametrize("parties", PARTIES)
def test_every_opening_has_a_ledger_line_and_every_count_is_in_the_record(recorded: Recorded, parties: int) -> None:
    recording = recorded(parties)
    for event in recording.events:
        if event.part is None:
            continue
        told = {line.code: line.count for line in event.part.ledger}
        made: Counter[str] = Counter()
        for opening in recording.openings:
            if opening.party == event.party:
                made[opening.code] += len(opening.share)
        assert set(made) <= set(LINES)
        assert all(told[code] == count for code, count in made.items())


def test_every_protocol_says_in_the_threat_model_what_each_role_learns() -> None:
    page = (DOCS / "threat-model.md").read_text()
    for code in LINES:
        if LINES[code].kind == "revealed":
            assert f"`{code}`" in page, code
    for name in PROTOCOLS:
        assert f"`{name}`" in page, name


@pytest.mark.parametrize("parties", PARTIES)
def test_nothing_that_a_party_has_follows_the_labels_or_columns_of_another(recorded: Recorded, parties: int) -> None:
    recording = recorded(parties)
    for party in recording.parties:
        others = [recording.blocks[victim] for victim in recording.parties if victim != party]
        targets = [column.astype(float) for block in others for column in block.matrix.T if len(np.unique(column)) > 1]
        targets += [block.labels.astype(float) for block in others if block.labels is not None]
        deviations, tried = largest_partial_correlation(recording, party, targets)
        assert tried > 200
        assert deviations < 6.5, f"{party} has something that follows a secret of another"


@pytest.mark.parametrize("parties", PARTIES)
def test_all_files_of_the_nodes_are_private(recorded: Recorded, parties: int,
                                            tmp_path_factory: pytest.TempPathFactory) -> None:
    recorded(parties)
    homes = list(tmp_path_factory.getbasetemp().glob(f"consortium-{parties}-1*/all"))
    assert homes
    for home in homes:
        for config in home.glob("*/party.toml"):
            assert canaries.loose_modes_of(config.parent, home) == []
        assert canaries.leaks(home) == []
