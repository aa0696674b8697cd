"""Anderson's method on shares against the same method in the clear, and what it opens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mpc.correlated_randomness.kinds import TrigPlan
from mpc.correlated_randomness.stock import Stock
from mpc.protocol import Ledger
from mpc.regression.acceleration import LEVELS, NARROW, Anderson, lines
from mpc.ring import U64, from_signed, to_signed
from mpc.rng import Rng
from mpc.testing.dealer import Dealer
from mpc.testing.memory_link import Network, party, run_roles

UNIT = 1 << 19


def cut(values: np.ndarray[Any, Any], parties: int, rng: Rng) -> list[U64]:
    shares = [rng.ring(len(values)) for _ in range(parties - 1)]
    return [from_signed(np.rint(values)) - sum(shares, np.zeros(len(values), np.uint64)), *shares]


async def solve(parties: int, matrix: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any], steps: int) -> Any:
    """Iterate x <- x + r(x), r(x) = matrix (wanted - x), rounded to the unit; returns errors and the ledgers."""
    names = [f"party-{k}" for k in range(parties)]
    dealer = Dealer(names, TrigPlan(parties, (4,)))
    network, rng = Network(), Rng(bytes(32))
    members = {n: party(n, ledger={line.code: line for line in lines("run")}) for n in names}
    peers = {n: {p: network.link(n, p) for p in names if p != n} for n in names}  # type: ignore[misc]
    tools = {n: Anderson(members[n], peers[n], Stock(dealer.source(n)), len(wanted), "run") for n in names}
    await run_roles({n: tool.prepare(steps) for n, tool in tools.items()})
    x = dict(zip(names, cut(np.zeros(len(wanted)), parties, rng), strict=True))
    errors = []
    for _ in range(steps):
        now = to_signed(sum(x.values(), np.zeros(len(wanted), np.uint64))) / UNIT
        errors.append(float(np.abs(now - wanted).max()))
        push = cut(matrix @ (wanted - now) * UNIT, parties, rng)
        x = await run_roles({n: tools[n].step(x[n], r) for n, r in zip(names, push, strict=True)})
    return errors, [member.ledger for member in members.values()]


def problem(width: int = 12, low: float = 0.05, high: float = 1.5, seed: int = 3) -> Any:
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(width, width)))[0]
    ends = np.concatenate([[low, low * 1.7, high], rng.uniform(0.8, 1.2, width - 3)])
    return basis @ np.diag(ends) @ basis.T, rng.normal(size=width)


@pytest.mark.parametrize("parties", [2, 3])
async def test_a_slow_iteration_becomes_a_quick_one(parties: int) -> None:
    matrix, wanted = problem()
    errors, _ = await solve(parties, matrix, wanted, 12)
    plain = np.abs(np.linalg.matrix_power(np.eye(12) - matrix, 11) @ wanted).max()
    assert plain > 0.05
    assert errors[-1] < plain / 50


async def test_steps_that_shrink_to_rounding_noise_do_no_harm() -> None:
    matrix, wanted = problem(low=0.6, high=1.1)
    errors, _ = await solve(2, matrix, wanted, 16)
    assert max(errors[8:]) < 1e-4


async def test_what_is_opened_is_masked_or_a_level_per_step() -> None:
    matrix, wanted = problem()
    _, ledgers = await solve(2, matrix, wanted, 6)
    for ledger in ledgers:
        assert set(ledger.opened) == {"run.level", "run.masked"}
        assert ledger.opened["run.level"] == 5


async def test_a_reciprocal_is_exact_to_a_hundred_thousandth_over_its_whole_range() -> None:
    names = ["party-0", "party-1"]
    dealer, network = Dealer(names, TrigPlan(2, (4,))), Network()
    values = np.linspace(1 / 16, 1, 40, endpoint=False) * (1 << NARROW)
    shares = dict(zip(names, cut(values, 2, Rng(bytes(32))), strict=True))

    async def role(name: str) -> U64:
        me = party(name)
        me.ledger = Ledger({line.code: line for line in lines("run")})
        other = next(n for n in names if n != name)
        tool = Anderson(me, {other: network.link(name, other)}, Stock(dealer.source(name)), 40, "run")  # type: ignore[dict-item]
        await tool.prepare(40)
        return await tool._reciprocal(shares[name])

    found = await run_roles({name: role(name) for name in names})
    total = to_signed(found["party-0"] + found["party-1"]) / (1 << NARROW)
    assert np.abs(total * np.rint(values) / (1 << NARROW) - 1).max() < 3e-5


def test_the_levels_cover_what_weights_can_do() -> None:
    assert 1 << (26 - 2 * LEVELS) <= 64  # 64 units of 2^-19: changes of 1e-4 still count
