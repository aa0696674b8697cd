"""Counts of bins and correlations against their best attackers: what the defaults leave, and that without the defence
the same attacker has all of it."""

from __future__ import annotations

import numpy as np
import pytest

from mpc.protocols.correlate import supported_bits
from party_node.consent.datasets import ROWS_PER_EQUATION
from party_node.consent.job_costs import bins_told
from tests.simulation.attackers import correlations, counts
from wire.spec.columns import BinningSpec

BAD_RATE = 0.1
TARGETS = 24


def columns_allowed(rows: int) -> int:
    """How many columns in bins the default budget lets a partner of `rows` customers have, over all jobs."""
    return rows // ROWS_PER_EQUATION // bins_told(BinningSpec())


def found(rows: int, columns: int, seed: int) -> float:
    """Of the bad customers, by columns that say nothing of the outcome: all that is found is found by the counts."""
    draw = np.random.default_rng(seed)
    bins = [draw.integers(0, bins_told(BinningSpec()), rows) for _ in range(columns)]
    return counts.found(bins, draw.random(rows) < BAD_RATE)


@pytest.mark.parametrize("rows", [1000, pytest.param(3000, marks=pytest.mark.large)])
def test_without_a_budget_counts_of_bins_are_the_outcomes(rows: int) -> None:
    assert found(rows, rows * 15 // 100, 1) >= 0.99


@pytest.mark.parametrize("rows", [1000, pytest.param(3000, marks=pytest.mark.large)])
def test_what_the_budget_of_equations_leaves_to_counts_is_what_the_page_on_bins_says(rows: int) -> None:
    """A third of the bad customers are among as many suspects, where a guess finds a tenth; nobody is certain."""
    share = float(np.mean([found(rows, columns_allowed(rows), seed) for seed in range(4)]))
    assert share <= 0.38
    draw = np.random.default_rng(9)
    bins = [draw.integers(0, 7, rows) for _ in range(columns_allowed(rows))]
    bad = draw.random(rows) < BAD_RATE
    likely = counts.likeliest(bins, counts.told(bins, bad))
    assert np.sqrt(((likely - bad) ** 2).mean() / bad.var()) >= 0.94     # of a tenth of the variance at most: m / n


@pytest.mark.parametrize("rows", [1000, 20_000])
def test_rounded_correlations_hide_the_values_of_single_customers(rows: int) -> None:
    right = np.mean([correlations.read_right(rows, TARGETS, supported_bits(rows), seed) for seed in range(10)])
    assert right <= 0.08                                   # a blind guess of 0 is as near for .08 of them
    assert correlations.read_right(rows, TARGETS, None, 1) >= 0.99
