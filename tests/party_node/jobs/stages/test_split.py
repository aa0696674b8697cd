"""The stage `split` by period on contexts of its own: what the label holder looks at before a bit leaves it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpc.errors import LocalError, PeerError
from mpc.link import PartyId
from mpc.testing.memory_link import Network, party, run_roles
from party_node.data.period import Period
from party_node.data.sources.table import Table
from party_node.jobs.stages import split
from party_node.jobs.stages.context import JobContext
from party_node.table_errors import TOLD, DataError
from tests.party_node.jobs.stages.test_stages import NAMES, spec

BANK, SHOP = NAMES
ROWS, LEAST = 400, 5
MARKS = np.arange(ROWS, dtype=np.uint64) + np.uint64(10)


def contexts(network: Network, bad: Any, when: Any) -> dict[PartyId, JobContext]:
    agreed = spec(hold_out={"column": "vintage", "since": "1"}, reveal=["split.period"])
    made = {}
    for name, other in ((BANK, SHOP), (SHOP, BANK)):
        made[name] = JobContext("ab" * 32, agreed, party(name), {other: network.link(name, other)}, Path("unused"), {},
                                None, lambda count: None, minimum_outcome=LEAST)  # type: ignore[arg-type]
        made[name].rows, made[name].table = np.arange(ROWS), Table(ROWS, {}, ())
        made[name].marks = MARKS
    made[BANK].outcome, made[BANK].period = bad, Period(when, 1.0)
    return made


def mixed(few: int) -> tuple[Any, Any]:
    """Half the customers are of the later period, `few` bad ones among them; of the earlier ones half are bad."""
    rows = np.arange(ROWS)
    later = rows >= ROWS // 2
    return np.where(later, rows < ROWS // 2 + few, rows % 2 == 0), later.astype(np.float64)


ONE_SIDED: dict[str, tuple[Any, Any]] = {
    "the period is the outcome": (np.arange(ROWS) % 2 == 0, (np.arange(ROWS) % 2 == 0).astype(np.float64)),
    "the period is the outcome turned round": (np.arange(ROWS) % 2 == 0, (np.arange(ROWS) % 2).astype(np.float64)),
    "nobody later is bad": mixed(0),
    "too few later ones are bad": mixed(LEAST - 1),
    "too few later ones are good": mixed(ROWS // 2 - LEAST + 1),
    "too few earlier ones are bad": (lambda bad, when: (bad, 1.0 - when))(*mixed(LEAST - 1)),
}


@pytest.mark.parametrize("case", ONE_SIDED)
async def test_a_period_that_would_tell_outcomes_is_refused_and_nothing_is_sent(case: str) -> None:
    network = Network(timeout_s=0.2)
    made = contexts(network, *ONE_SIDED[case])
    with pytest.raises(DataError) as refused:
        await split.run(made[BANK])
    assert refused.value.code == "period_outcomes"
    what, _ = refused.value.for_others("bank")
    assert what == TOLD["period_missing"], "which of the faults it is stays at the label holder"
    assert network.transcript == []
    with pytest.raises(PeerError):
        await split.run(made[SHOP])


async def test_customers_near_those_of_an_earlier_job_are_refused_and_nothing_is_sent() -> None:
    bad, when = mixed(LEAST)
    network, asked = Network(), []
    made = contexts(network, bad, when)

    def refuse(marks: Any, test: Any) -> None:
        asked.append((marks.tolist(), test.tolist()))
        raise LocalError("too near")

    made[BANK].accept_sets = refuse
    with pytest.raises(LocalError, match="too near"):
        await split.run(made[BANK])
    assert asked == [(MARKS.tolist(), (when == 1.0).tolist())]
    assert network.transcript == []


async def test_weights_that_do_not_serve_are_found_before_a_bit_is_sent_and_before_the_rows_are_noted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bad, when = mixed(LEAST)
    network, noted = Network(), []

    def uneven(context: JobContext, labels: Any) -> None:
        assert len(labels) == (when == 0.0).sum()
        raise DataError("weights_uneven", "uneven", "draw them together")

    monkeypatch.setattr(split, "_read_terms", uneven)
    made = contexts(network, bad, when)
    made[BANK].accept_sets = lambda marks, test: noted.append(len(marks))
    with pytest.raises(DataError):
        await split.run(made[BANK])
    assert (network.transcript, noted) == ([], [])


async def test_enough_of_both_outcomes_on_either_side_are_split() -> None:
    bad, when = mixed(LEAST)
    network = Network()
    made = contexts(network, bad, when)
    asked: dict[str, Any] = {}
    for name in NAMES:
        made[name].accept_sets = lambda *sets, name=name: asked.update({name: [s.tolist() for s in sets]})  # type: ignore[misc]
    await run_roles({name: split.run(made[name]) for name in NAMES})
    for name in NAMES:
        assert made[name].test is not None
        assert made[name].test.tolist() == (when == 1.0).tolist()
    assert len(network.transcript) == 3
    assert asked == {name: [MARKS.tolist(), (when == 1.0).tolist()] for name in NAMES}
