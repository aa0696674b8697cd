"""Outcomes of a small hold-out from released figures: all of them where figures are exact, none where they are as they
are released. What is given to the attacker: the scores of every customer, the number of steps, the whole report."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from party_node.data.hold_out import count
from party_node.data.ids.customers import Customers
from party_node.models.counted_release import Terms
from party_node.models.released_figures import Judged, judge
from tests.simulation.attackers.figures import Belief, HoldOut, belief, hold_out, solve

LEAST = 5
GAIN = 0.02
CERTAIN, UNSURE = 0.99, 0.9     # decided: believed so firmly, and not before
LARGE = pytest.mark.large
SMALL = [(100, 0.05), (200, 0.05),                                         # rows, share of bad ones
         *(pytest.param(*size, marks=LARGE) for size in ((100, 0.1), (100, 0.2), (400, 0.02)))]
# rows, share of bad ones, columns of the label holder that the attacker does not know, whether it has the scores too
DEFENDED = [
    (100, 0.05, 0, True), (400, 0.02, 0, True),
    (100, 0.2, 0, True), (200, 0.1, 0, True), (200, 0.2, 0, True), (400, 0.05, 0, True), (400, 0.2, 0, True),
    (200, 0.2, 3, True), (400, 0.2, 3, True), (200, 0.2, 3, False), (400, 0.1, 3, False),
]
FEW = [(100, 0.2, 0, True), (200, 0.1, 0, True), (200, 0.2, 3, True), (200, 0.2, 3, False)]


def released(world: HoldOut, replicates: int = 200) -> Judged:
    side = count(Customers.one_row_each(len(world.own)), world.outcome)
    return judge(world.outcome, world.joint, world.solo, side, Terms(LEAST, replicates=replicates))


def truth_share(probability: np.ndarray, world: HoldOut) -> float:
    """The mean probability that a belief gives to what happened."""
    return float(np.where(world.outcome, probability, 1 - probability).mean())


def guessed(probability: np.ndarray, world: HoldOut) -> float:
    """The share of customers whose likelier outcome is the true one."""
    return float(((probability > 0.5) == world.outcome).mean())


def decided(found: Belief) -> int:
    """Customers whose outcome the figures settle."""
    firm = np.maximum(found.posterior, 1 - found.posterior) >= CERTAIN
    return int((firm & (np.maximum(found.prior, 1 - found.prior) < UNSURE)).sum())


@pytest.mark.parametrize(("rows", "rate"), SMALL)
def test_exact_figures_of_a_small_hold_out_are_its_outcomes(rows: int, rate: float) -> None:
    """The control, at the sizes that are defended below: what a report held before."""
    recovered = []
    for seed in range(5):
        world = hold_out(rows, rate, 0, seed, LEAST)
        exact = released(world, 2).own
        assert exact is not None
        fits = solve(world, exact)
        recovered.append(0.0 if not fits else float((np.array(fits) == world.outcome).all(axis=0).mean()))
    assert np.mean(recovered) >= 0.9, recovered


@pytest.mark.parametrize(("sizes", "seeds", "reports"), [
    pytest.param(FEW, 1, 3, id="few"), pytest.param(DEFENDED, 2, 12, id="all", marks=LARGE)])
def test_figures_as_they_are_released_tell_nobodys_outcome(sizes: list[Any], seeds: int, reports: int) -> None:
    believed, hits = [], []
    for rows, rate, unknown, scores_known in sizes:
        for seed in range(seeds):
            world = hold_out(rows, rate, unknown, seed, LEAST)
            report = released(world).released
            if report is None:      # that nothing was released is all that there is to read
                continue
            found = belief(world, report, scores_known=scores_known)
            assert found.misfit < 0.5, "the sampler has found outcomes that fit the report"
            assert decided(found) == 0
            believed.append(truth_share(found.posterior, world) - truth_share(found.prior, world))
            hits.append(guessed(found.posterior, world) - guessed(found.prior, world))
    print(f"gain: {np.mean(believed):.4f} of probability, {np.mean(hits):.4f} of guesses; {len(hits)} reports")
    assert len(hits) >= reports
    assert np.mean(believed) <= GAIN, believed
    assert np.mean(hits) <= GAIN, hits
