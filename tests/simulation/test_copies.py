"""A customer of many rows, as an attack: its outcome out of a partner's weights, and bins and levels that hold nobody
else. Each succeeds with the defences taken out and gains nothing with them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from mpc.errors import Refused
from mpc.statistics.logistic import fit_logistic
from party_node.data.ids.customers import Customers, require_even
from party_node.data.preparation import PreparationSpec, fit
from party_node.data.sources.table import NumericColumn, Table
from party_node.jobs.stages.bin import _cuts
from tests.wire.spec.test_job import good
from wire.spec.columns import BinningSpec
from wire.spec.job import SpecError, decode_spec, encode_spec

F64 = NDArray[np.float64]
CUSTOMERS, TARGET, PENALTY, BAD = 1500, 7, 1e-3, 0.1
SPEC = PreparationSpec(minimum_support=20, clip=5.0, leverage_bound=0.1, penalty=PENALTY)
DRAWS = 500       # of the other customers' outcomes, for either outcome of the target; half of them teach the attacker


def partner(moved: float) -> Table:
    """Four columns of the partner's, in which the target stands `moved` from the middle."""
    values = np.random.default_rng(0).normal(size=(CUSTOMERS, 4))
    values[TARGET] = np.array([1, -1, 1, -1]) * moved
    return Table(CUSTOMERS, {f"c{j}": NumericColumn(f"c{j}", values[:, j]) for j in range(4)}, ())


def copied(rows: int) -> Customers:
    counts = np.ones(CUSTOMERS, np.int64)
    counts[TARGET] = rows
    return Customers(counts)


def trained_block(table: Table, customers: Customers, defended: bool) -> F64:
    """What the partner trains on; undefended as once: fitted on each customer once, then repeated."""
    rows = np.repeat(np.arange(CUSTOMERS), customers.rows)
    if not defended:
        return fit(table, np.arange(CUSTOMERS), SPEC).apply(table, rows)
    return fit(table, rows, SPEC, customers=customers).apply(table, rows, customers.heaviness())


def share_read(block: F64, customers: Customers) -> float:
    """How often the target's outcome is read out of the weights, by the best linear rule. The attacker knows everything
    but outcomes; it has seen as many jobs of either outcome, so guessing has a half."""
    matrix, rows = np.column_stack([np.ones(len(block)), block]), np.repeat(np.arange(CUSTOMERS), customers.rows)
    draw, seen = np.random.default_rng(1), []
    for outcome in (0, 1) * DRAWS:
        bad = draw.random(CUSTOMERS) < BAD
        bad[TARGET] = outcome
        seen.append(fit_logistic(matrix, bad[rows], PENALTY, 0).weights[1:])
    weights, truth = np.array(seen), np.array((0, 1) * DRAWS)
    model = LinearDiscriminantAnalysis().fit(weights[:DRAWS], truth[:DRAWS])
    return float(model.score(weights[DRAWS:], truth[DRAWS:]))


def leverage_of(block: F64, customers: Customers) -> float:
    """Of the target, all its rows together, in the matrix that trains."""
    inverse = np.linalg.inv(block.T @ block + PENALTY * len(block) * np.eye(block.shape[1]))
    return float(customers.sums(np.einsum("ij,jk,ik->i", block, inverse, block))[TARGET])


@pytest.mark.parametrize(("rows", "moved"), [(400, 1.1), (350, 1.1), (400, 9.0)])
def test_hundreds_of_rows_of_one_customer_are_refused_whatever_a_policy_allows(rows: int, moved: float) -> None:
    """Largest weight 100 is the most that a spec can say. Without the refusal the outcome is read each time."""
    customers = copied(rows)
    with pytest.raises(Refused, match="more rows than the largest weight"):
        require_even(customers, 100.0, 100.0)
    block = trained_block(partner(moved), customers, defended=False)
    assert leverage_of(block, customers) > 0.5
    assert share_read(block, customers) == 1.0


@pytest.mark.parametrize("moved", [1.1, 9.0])
def test_a_customer_of_forty_rows_whom_all_policies_allow_shows_no_more_than_a_single_row_at_the_bound(
    moved: float
) -> None:
    customers, table = copied(40), partner(moved)
    require_even(customers, 40.0, 100.0)
    undefended, defended = (trained_block(table, customers, defended=with_it) for with_it in (False, True))
    assert leverage_of(undefended, customers) > 0.1
    assert leverage_of(defended, customers) <= 0.1 / 30
    single = share_read(trained_block(partner(9.0), copied(1), defended=True), copied(1))
    found, control = share_read(defended, customers), share_read(undefended, customers)
    print(f"moved {moved:g}: read {found:.3f}, a single row {single:.3f}, undefended {control:.3f}, guessing .5")
    assert found <= 0.72
    assert abs(found - single) <= 0.09        # of two samples of five hundred
    assert control >= 0.95


def test_cells_of_one_customer_cannot_be_counted() -> None:
    """A fine bin of four hundred rows is one customer; the spec that would count it is not signed by anybody."""
    customers = copied(400)
    rows = np.repeat(np.arange(CUSTOMERS), customers.rows)
    context = SimpleNamespace(table=partner(1.1), rows=rows, test=np.zeros(len(rows), np.bool_),
                              my_part=SimpleNamespace(columns=[f"c{j}" for j in range(4)]))
    cut, _ = _cuts(context, BinningSpec())  # type: ignore[arg-type]
    fewest = min(len(np.unique(rows[one.codes == k])) for one in cut for k in range(one.bins.count))
    assert fewest < 20, "the control: rows are counted, and a bin holds few customers"
    spec = good()
    parties = [spec.parties[0].model_copy(update={"duplicates": "keep_all"}), *spec.parties[1:]]
    wanted = spec.model_copy(update={"parties": parties, "binning": BinningSpec()})
    with pytest.raises(SpecError, match="not with duplicates keep_all"):
        decode_spec(encode_spec(wanted))


def test_a_column_that_marks_one_customers_rows_is_left_out() -> None:
    """At the label holder, whose rows of a customer differ: a flag on four hundred rows of one, which would read what
    the others' columns say of it; and two columns that differ in them alone."""
    customers = copied(400)
    owner = np.repeat(np.arange(CUSTOMERS), customers.rows)
    draw = np.random.default_rng(4)
    one = (draw.random(len(owner)) < 0.3).astype(float)
    twin = np.where(owner == TARGET, 1.0 - one, one)
    columns = {"flag": (owner == TARGET).astype(float), "one": one, "twin": twin, "rest": draw.normal(size=len(owner))}
    table = Table(len(owner), {name: NumericColumn(name, cells) for name, cells in columns.items()}, ())
    every = np.arange(len(owner))
    kept = {output.source for output in fit(table, every, SPEC, customers=customers).outputs}
    assert kept == {"one", "rest"}
    assert {output.source for output in fit(table, every, SPEC).outputs} == set(columns), "the control counts rows"
