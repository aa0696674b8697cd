"""The stage `split` by period on contexts of its own: what the label holder looks at before a bit leaves it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpc.errors import LocalError, PeerError, Refused
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
                                None, lambda count: None)  # type: ignore[arg-type]
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


DRAWN = {"a coin": {"fraction": 0.3}, "a seed": {"fraction": 0.3, "seed": "7"}}


def drawn(network: Network, bad: Any, rows: int, **rules: Any) -> dict[PartyId, JobContext]:
    agreed = spec(hold_out=rules, reveal=["coin.salt"])
    made = {}
    for name, other in ((BANK, SHOP), (SHOP, BANK)):
        made[name] = JobContext("ab" * 32, agreed, party(name), {other: network.link(name, other)}, Path("unused"), {},
                                None, lambda count: None)  # type: ignore[arg-type]
        made[name].rows, made[name].table = np.arange(rows), Table(rows, {}, ())
        made[name].marks = np.arange(rows, dtype=np.uint64)
    made[BANK].outcome = bad
    return made


@pytest.mark.parametrize("how", DRAWN)
@pytest.mark.parametrize(("rows", "fraction", "copies"),
                         [(300, 0.3, 1), (300, 0.8, 1), (2000, 0.008, 1), (600, 0.3, 4)])
async def test_few_customers_on_a_side_end_the_job_at_all_parties(
    how: str, rows: int, fraction: float, copies: int
) -> None:
    made = drawn(Network(), np.arange(rows) % 3 == 0, rows, **DRAWN[how] | {"fraction": fraction})
    for one in made.values():
        one.copies = np.full(rows // copies, copies) if copies > 1 else None   # 150 customers: their rows do not count
    ends = []

    async def run(name: PartyId) -> None:
        with pytest.raises(Refused) as refused:
            await split.run(made[name])
        ends.append((refused.value.code, refused.value.what))

    await run_roles({name: run(name) for name in NAMES})
    assert ends == [("SMALL_SAMPLE",
                     "fewer than 100 customers are in the development sample or in the one that judges")] * 2


async def test_without_a_hold_out_all_customers_judge_and_there_are_enough() -> None:
    made = drawn(Network(), np.arange(300) % 3 == 0, 300, fraction=0.0, seed="1")
    await run_roles({name: split.run(made[name]) for name in NAMES})
    assert all(one.judged.all() and not one.test.any() for one in made.values())  # type: ignore[union-attr]
    made = drawn(Network(), np.arange(300) % 3 == 0, 300, fraction=0.0, seed="1", minimum_hold_out=301)
    with pytest.raises(Refused):
        await split.run(made[BANK])


async def test_a_drawn_hold_out_never_ends_a_job_by_the_outcomes_in_it() -> None:
    """Going on or ending answered how many of a handful were bad, by name: forty draws told 125 outcomes."""
    went_on = 0
    for seed in range(12):
        made = drawn(Network(), np.zeros(600, bool), 600, fraction=0.3, seed=str(seed))
        made[SHOP].outcome = None
        await split.run(made[SHOP])
        assert made[SHOP].test is not None
        bad = np.zeros(600, bool)
        bad[np.flatnonzero(~made[SHOP].test)[:40]] = True       # nobody who judges is bad
        made[BANK].outcome = bad
        await split.run(made[BANK])
        went_on += 1
    assert went_on == 12


@pytest.mark.parametrize("bad", [LEAST - 1, LEAST])
async def test_a_development_sample_of_almost_one_outcome_trains_nothing(bad: int) -> None:
    made = drawn(Network(), np.zeros(600, bool), 600, fraction=0.3, seed="7")
    await split.run(made[SHOP])
    assert made[SHOP].test is not None
    outcome = made[SHOP].test.copy()
    outcome[np.flatnonzero(~made[SHOP].test)[:bad]] = True
    made[BANK].outcome = outcome
    if bad == LEAST:
        await split.run(made[BANK])
        return
    with pytest.raises(DataError) as refused:
        await split.run(made[BANK])
    assert refused.value.code == "few_outcomes"
    assert refused.value.for_others("bank")[0] == TOLD["label_missing"]
