"""Stages where the label holder keeps all rows of its customers: what is too uneven ends before anything is counted or
told, at every party alike; the rest is prepared as rows that weigh, of customers that count once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mpc.errors import Refused
from mpc.regression.precision import plan_precision
from mpc.testing.memory_link import Network, party, run_roles
from party_node.consent.training_sets import TrainingSets
from party_node.data.frozen_matrix import quantise
from party_node.data.preparation import Preparation, fit
from party_node.data.sources.table import NumericColumn, Table
from party_node.jobs.stages import align, prepare, split
from party_node.jobs.stages.context import JobContext
from tests.party_node.jobs.stages.test_stages import NAMES, context, spec

CUSTOMERS = 600
BANK, SHOP = NAMES


def kept(largest: float = 10.0, **changes: Any) -> Any:
    """A job in which all rows of the bank's customers count."""
    agreed = spec(label={"column": "bad", "largest_weight": largest}, **changes)
    bank = agreed.party("bank").model_copy(update={"duplicates": "keep_all"})
    return agreed.model_copy(update={"parties": [bank, agreed.party("shop")]})


def table_of(who: str, copies: np.ndarray) -> Table:
    """At the shop a row a customer, the first column gone with the number of rows; the bank's own rows all differ."""
    draw = np.random.default_rng(len(who))
    rows = int(copies.sum()) if who == "bank" else len(copies)
    values = draw.normal(size=(rows, 8))
    if who == "shop":
        values[:, 0] = copies + 0.1 * draw.normal(size=rows)
    return Table(rows, {f"x{j}": NumericColumn(f"x{j}", values[:, j]) for j in range(8)}, ())


def contexts(copies: np.ndarray, agreed: Any) -> dict[str, JobContext]:
    network, made = Network(), {}
    for name in NAMES:
        made[name] = one = context(party(name), network, agreed)
        one.table, one.copies = table_of(name, copies), copies
        one.rows = np.arange(copies.sum()) if name == BANK else np.repeat(np.arange(len(copies)), copies)
        if name == BANK:
            one.outcome = np.random.default_rng(2).random(copies.sum()) < 0.3
    return made


TOO_UNEVEN = {
    "a customer of 350 rows": (np.array([350] + (CUSTOMERS - 1) * [1]), 10.0),
    "numbers that differ, where none may": (1 + np.arange(CUSTOMERS) % 2, 1.0),
    "a few hundred rows of a few": (np.array(12 * [60] + (CUSTOMERS - 12) * [1]), 100.0),
}


@pytest.mark.parametrize("case", TOO_UNEVEN)
async def test_too_uneven_numbers_of_rows_end_at_every_party_with_one_text_and_no_message(case: str) -> None:
    copies, largest = TOO_UNEVEN[case]
    made = contexts(np.random.default_rng(1).permutation(copies), kept(largest, minimum_intersection=200))
    texts = set()
    for one in made.values():
        with pytest.raises(Refused) as caught:
            await split.run(one)
        assert caught.value.code == "UNEVEN_COPIES"
        texts.add(str(caught.value))
    assert len(texts) == 1


async def test_the_label_holder_tells_no_number_of_rows_of_what_cannot_pass() -> None:
    network = Network(timeout_s=0.2)
    made = context(party(BANK), network, kept(2.0))
    own = SimpleNamespace(copies=np.array([9] + 199 * [1]))
    links = made.peers("align")
    with pytest.raises(Refused, match="more rows than the largest weight"):
        await align._keep_all(made, own, np.arange(200), links)  # type: ignore[arg-type]
    assert network.transcript == []


async def test_all_rows_of_a_customer_are_on_one_side_and_are_compared_as_one_customer(tmp_path: Path) -> None:
    made = contexts(1 + np.arange(CUSTOMERS) % 3, kept())
    for one in made.values():
        sets = TrainingSets(tmp_path / one.me.id, bytes(32))
        one.marks = np.repeat(np.arange(CUSTOMERS, dtype=np.uint64), 1 + np.arange(CUSTOMERS) % 3)
        one.accept_sets = lambda marks, test, sets=sets: sets.accept("ab" * 32, marks, test, 20)  # type: ignore[misc]
    await run_roles({name: split.run(one) for name, one in made.items()})
    for one in made.values():
        assert one.test is not None
        assert one.copies is not None
        held = np.add.reduceat(one.test, np.cumsum(one.copies) - one.copies)
        assert set((held / one.copies).tolist()) == {0.0, 1.0}, "a customer is on both sides"
        with np.load(tmp_path / one.me.id / f"{'ab' * 32}.npz") as kept_sets:
            assert kept_sets["marks"].tolist() == list(range(CUSTOMERS))
            assert np.unpackbits(kept_sets["held_out"], count=CUSTOMERS).tolist() == held.clip(max=1).tolist()


async def prepared(copies: np.ndarray) -> dict[str, JobContext]:
    made = contexts(copies, kept(100.0))
    for one in made.values():
        await split.run(one)
        await prepare.run(one)
    return made


async def test_a_column_that_goes_with_the_number_of_rows_fits_the_bit_budget() -> None:
    """Numbers of orders are as uneven as a negative binomial's; fitted on customers, the column did not fit, and the
    job ended in training, after counts had been told."""
    copies = 1 + np.random.default_rng(3).negative_binomial(1, 0.2, CUSTOMERS)
    made = await prepared(copies)
    one = made[SHOP]
    assert one.test is not None
    assert one.features is not None
    assert one.rows is not None
    trained = one.features[~one.test]
    plan = plan_precision(2, len(trained), 5.0, 1e-3, 0.1, "auto")
    assert plan.standardised(quantise(trained, 5.0))
    assert (trained**2).mean(axis=0).max() <= 1.0 + 1e-9
    table = table_of("shop", copies)
    alone: Preparation = fit(table, np.unique(one.rows[~one.test]), one.preparation.spec)  # type: ignore[union-attr]
    block = alone.apply(table, one.rows[~one.test])
    assert (block**2).mean(axis=0).max() > 1.21
    assert not plan.standardised(quantise(block, 5.0))


async def test_equal_numbers_of_rows_prepare_as_single_ones_do() -> None:
    once, twelve = await prepared(np.ones(CUSTOMERS, np.int64)), await prepared(np.full(CUSTOMERS, 12))
    first, second = once[SHOP].features, twelve[SHOP].features
    assert first is not None
    assert second is not None
    assert second[::12] == pytest.approx(first, abs=1e-9)
