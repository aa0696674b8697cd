"""The stage of bins on two parties' contexts: odd columns are left out by name, the others have the bins of the pooled
table, and later rows fall into the same bins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mpc.credit.binning import BinCounts, Trend
from mpc.protocols.bin import told
from mpc.testing.keys import small_key
from mpc.testing.memory_link import Network, TestParty, party, run_roles
from party_node.data.binned_column import bin_codes, fine_bins
from party_node.data.sources.table import Column, NumericColumn, Table, TextColumn
from party_node.jobs.stages import bin, prepare, split
from party_node.jobs.stages.context import JobContext
from party_node.table_errors import DataError
from tests.party_node.jobs.stages.test_stages import NAMES, spec

ROWS = 900
SPECIAL = -99.0


def column_of(name: str, values: Any) -> Column:
    if isinstance(values, list):
        levels = tuple(sorted({value for value in values if value is not None}))
        return TextColumn(name, np.array([-1 if v is None else levels.index(v) for v in values], np.int32), levels)
    return NumericColumn(name, np.asarray(values, np.float64))


def table_of(who: str, rows: int = ROWS, seed: int = 5) -> tuple[Table, np.ndarray]:
    """Eight columns, most of them odd in one way, and the outcome."""
    risk = np.random.default_rng(seed).normal(size=rows)
    draw = np.random.default_rng([seed, len(who)])
    noisy = risk + draw.normal(size=rows)
    holes = np.where(draw.random(rows) < 0.1, np.nan, risk + draw.normal(size=rows))
    holes[::7] = SPECIAL
    curved = np.abs(risk) * draw.choice([-1, 1], rows)
    same = noisy.copy()
    same[:5] = 0.0
    columns = {
        "x0": noisy, "x1": holes, "x2": np.full(rows, 3.0), "x3": np.full(rows, np.nan), "x4": same,
        "x5": [["a", "b", None][k] for k in np.digitize(risk + draw.normal(size=rows), [-1, 0.8])], "x6": curved,
        "x7": np.where(np.arange(rows) < 4, 1.0, 0.0),
    }
    outcome = risk + np.random.default_rng(8).logistic(size=rows) > 1
    return Table(rows, {name: column_of(name, values) for name, values in columns.items()}, ()), outcome


def agreed(**rules: Any) -> Any:
    binning = {"special_values": [SPECIAL], "minimum_information": 0.01, **rules}
    made = spec(binning=binning, crypto={"key_bits": 2048}, scores={"minimum_columns": 1})
    shop = made.party("shop").model_copy(update={"trends": {"x6": "valley"}})
    return made.model_copy(update={"parties": [made.party("bank"), shop]})


def context(me: TestParty, network: Network, job: Any) -> JobContext:
    other = next(name for name in NAMES if name != me.id)
    tools = SimpleNamespace(make_key=lambda rng, bits: small_key(bits, 3))
    made = JobContext("cd" * 32, job, me, {other: network.link(me.id, other)}, Path("unused"), {},
                      tools, lambda count: None)  # type: ignore[arg-type]
    made.table, outcome = table_of(me.id)
    made.rows = np.random.default_rng(3).permutation(ROWS)
    made.outcome = outcome if me.id == "bank" else None
    return made


async def binned(job: Any) -> dict[str, JobContext]:
    network = Network()
    contexts = {name: context(party(name), network, job) for name in NAMES}

    async def stages(made: JobContext) -> None:
        for stage in (split, bin, prepare):
            await stage.run(made)

    await run_roles({name: stages(made) for name, made in contexts.items()})
    return contexts


@pytest.mark.parametrize("counts_at", ["label_holder", "feature_holder"])
async def test_both_sides_keep_the_bins_of_the_pooled_table_and_say_what_they_left_out(counts_at: str) -> None:
    job = agreed(counts_at=counts_at)
    contexts = await binned(job)
    for name, made in contexts.items():
        assert made.binning is not None
        assert made.table is None                     # it has served
        assert made.rows is not None
        assert made.test is not None
        reasons = dict(made.binning.left_out)
        assert reasons["x2"] == "no two bins of 20 rows"
        assert reasons["x3"] == "all values are missing"
        assert made.binning.columns[0].name == "x0"
        for column in made.binning.columns:
            if column.name == "x4":       # as x0 but for five rows: no bin of one is a bin of the other but for these
                assert column.bins.count < made.binning.columns[0].bins.count
        assert reasons["x7"] == "no two bins of 20 rows"
        assert {column.name for column in made.binning.columns} >= {"x0", "x1", "x5"}
        assert made.preparation is not None
        assert {"x2", "x3", "x7"} <= set(dict(made.preparation.report.dropped))
        train = made.rows[~made.test]
        table, outcome = table_of(name)
        labels = outcome[train]
        for column in made.binning.columns:
            cells = table.column(column.name)
            cuts = fine_bins(cells, train, most=20, minimum_rows=20, special=[SPECIAL])
            codes = bin_codes(cuts, cells, train)
            if column.name == "x4":
                continue
            counts = BinCounts.of(cuts, *(np.bincount(codes[side], minlength=cuts.count) for side in (~labels, labels)))
            trend = Trend.VALLEY if (name, column.name) == ("shop", "x6") else Trend.AUTO
            pooled = told(counts, replace(bin.limits_of(job.binning), trend=trend), 0.01)
            assert (column.bins, column.group, column.good, column.bad) == (
                cuts, pooled.group, pooled.good, pooled.bad)


async def test_a_trend_of_a_column_is_kept_where_the_others_have_their_own() -> None:
    contexts = await binned(agreed())
    valley, auto = (next(c for c in contexts[name].binning.columns if c.name == "x6")  # type: ignore[union-attr]
                    for name in ("shop", "bank"))
    rates = [bad / (good + bad) for good, bad in zip(valley.good, valley.bad, strict=True)]
    lowest = rates.index(min(rates))
    assert 0 < lowest < len(rates) - 1
    assert sorted(rates[:lowest], reverse=True) == rates[:lowest]
    assert sorted(rates[lowest:]) == rates[lowest:]
    assert len(auto.good) <= len(valley.good)


async def test_later_rows_fall_into_the_same_bins_and_what_is_new_weighs_nothing() -> None:
    made = (await binned(agreed()))["shop"]
    assert made.preparation is not None
    later, _ = table_of("shop", rows=50, seed=6)
    cells = {**later.columns, "x5": column_of("x5", ["never seen"] * 25 + ["a"] * 25)}
    block = made.preparation.apply(replace(later, columns=cells))
    place = made.preparation.names.index("x5")
    column = next(encoding for encoding in made.preparation.encodings if encoding.name == "x5")
    output = made.preparation.outputs[place]
    assert block.shape == (50, len(made.preparation.names))
    # A row may have been scaled down for its leverage, so it is compared up to that.
    weights = column.values(cells["x5"], np.arange(50))
    assert set(weights[:25]) == {0.0}
    new, known = -output.mean / output.sd, (weights[30] - output.mean) / output.sd
    assert np.median(block[:25, place]) == pytest.approx(new, rel=1e-6)
    assert np.median(block[25:, place]) == pytest.approx(known, rel=1e-6)


async def test_a_party_whose_columns_say_nothing_is_told_so() -> None:
    with pytest.raises(DataError, match="no column is left to train on") as caught:
        await binned(agreed(minimum_information=9.0))
    assert caught.value.code == "no_columns"


async def test_columns_that_repeat_one_another_are_left_out_where_the_job_wants_it() -> None:
    contexts = await binned(agreed(maximum_correlation=0.5))
    reasons = dict(contexts["shop"].binning.left_out)  # type: ignore[union-attr]
    assert any(reason.startswith("correlation above 0.5 with") for reason in reasons.values())
