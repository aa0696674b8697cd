"""A rehearsal is the real offline phase on made-up rows: it takes time, and tells eight numbers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import cycle
from typing import Any

import pytest

from mpc.correlated_randomness.two_way import TwoWaySource
from mpc.errors import LocalError
from mpc.protocols.train import Tools
from mpc.regression.setup import Block
from mpc.testing.keys import small_key
from party_node.jobs import rehearsal
from party_node.jobs.rehearsal import rehearse
from party_node.jobs.workers import Workers
from wire.spec.job import JobSpec

SEEDS = cycle((1, 2))       # the two sides of a run never share a key
TOOLS = Tools(lambda rng, bits: small_key(bits, next(SEEDS)), TwoWaySource.start)


def spec(**changes: Any) -> JobSpec:
    names = ["bank", "shop", "telecom"]
    return JobSpec.model_validate({
        "purpose": "p", "nonce": "1" * 64, "valid_from": 0, "valid_until": 1, "protocols": {}, "reveal": [],
        "label": {"column": "bad"}, "crypto": {"key_bits": 2048}, "training": {"iterations": 8},
        "parties": [{"id": name, "role": "label_holder" if name == "bank" else "feature_holder",
                     "identity": f"{n}" * 64, "dataset": "t", "dataset_digest": "0" * 64,
                     "columns": ["x"], "id_columns": ["id"]} for n, name in enumerate(names)],
    } | changes)


@pytest.fixture
def pool() -> Any:
    made = Workers(2)
    yield made
    made.shutdown()


async def test_it_trains_both_sides_on_made_up_rows_and_tells_what_they_took(
    pool: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, real = list[int](), rehearsal.prepare

    async def seen(me: Any, peers: Any, block: Block, options: Any, tools: Any) -> Any:
        rows.append(len(block.matrix))
        assert block.matrix.shape[1] == 2
        return await real(me, peers, block, options, tools)

    monkeypatch.setattr(rehearsal, "prepare", seen)
    monkeypatch.setattr(rehearsal, "MOST_ROWS", 600)
    found = await rehearse(spec(), "shop", TOOLS, pool)
    assert found.row_s >= 0
    assert found.fixed_s >= 0
    assert found.fixed_s + found.row_s > 0
    assert 1e-7 < found.id_s < 1e-2
    assert 1e-8 < found.function_s < found.id_s
    assert (found.bin_fixed_s, found.bin_row_s, found.correlate_fixed_s, found.correlate_row_s) == (0, 0, 0, 0)
    assert rows[:4] == [rehearsal.FEW_ROWS] * 4
    assert rehearsal.FEW_ROWS < rows[4] <= 600


@pytest.mark.parametrize("binning", [{}, {"minimum_cell": 200}])
@pytest.mark.parametrize("show", ["pairs", "inflation"])
async def test_bins_and_correlations_are_rehearsed_where_the_job_has_them(
    pool: Workers, monkeypatch: pytest.MonkeyPatch, binning: dict[str, Any], show: str
) -> None:
    async def untrained(rows: int, **rest: Any) -> float:
        return 1.0

    monkeypatch.setattr(rehearsal, "MOST_ROWS", 600)
    monkeypatch.setattr(rehearsal, "_train", untrained)
    found = await rehearse(wide(binning=binning, correlate={"show": show}), "bank", TOOLS, pool)
    assert found.bin_fixed_s + found.bin_row_s > 0
    assert found.correlate_fixed_s + found.correlate_row_s > 0
    without = await rehearse(wide(correlate={"show": show}), "shop", TOOLS, pool)
    assert without.bin_fixed_s == without.bin_row_s == 0
    assert without.correlate_fixed_s > 0


def wide(**changes: Any) -> JobSpec:
    """Three columns at each party."""
    made = spec(**changes | {"correlate": None})
    parties = [party.model_copy(update={"columns": ["x", "y", "z"]}) for party in made.parties]
    return JobSpec.model_validate(made.model_dump() | {"parties": [p.model_dump() for p in parties]} | changes)


async def test_who_takes_no_part_does_not_rehearse(pool: Workers) -> None:
    with pytest.raises(LocalError, match="not a party"):
        await rehearse(spec(), "somebody", TOOLS, pool)


async def test_a_job_that_is_too_slow_is_given_up_with_advice(pool: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    async def endless(*arguments: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(rehearsal, "GIVEN_UP_S", 0.2)
    with pytest.raises(LocalError, match="--no-rehearsal"):
        await rehearse(spec(), "bank", replace(TOOLS, make_source=endless), pool)
