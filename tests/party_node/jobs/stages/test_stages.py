"""Stages on a context of their own: what may not be released stays, a warning is told without figures."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mpc.errors import LocalError, Refused
from mpc.link import PartyId
from mpc.testing.memory_link import Network, TestParty, party, run_roles
from party_node.data.frozen_matrix import quantise
from party_node.data.sources.table import NumericColumn, Table, TextColumn, read_table
from party_node.jobs.stages import evaluate, prepare, split, train
from party_node.jobs.stages.context import JobContext, _no_key
from party_node.table_errors import TOLD, DataError
from wire.spec.job import JobSpec
from wire.spec.training_terms import series_of

NAMES = (PartyId("bank"), PartyId("shop"))
ROWS = 400


def spec(**changes: Any) -> JobSpec:
    def one(name: str, role: str, digit: str) -> dict[str, Any]:
        return {"id": name, "role": role, "identity": digit * 64, "dataset": "table", "dataset_digest": "0" * 64,
                "columns": [f"x{n}" for n in range(8)], "id_columns": ["id"]}

    return JobSpec.model_validate({
        "purpose": "test", "nonce": "0" * 64, "valid_from": 0, "valid_until": 1, "protocols": {"score": 1},
        "parties": [one("bank", "label_holder", "1"), one("shop", "feature_holder", "2")],
        "label": {"column": "bad"}, "reveal": [], "hold_out": {"fraction": 0.3, "seed": "7"}, **changes,
    })


def context(me: TestParty, network: Network, agreed: JobSpec, rows: int = ROWS) -> JobContext:
    """After training: everybody's part of the score is known, at the label holder the outcome too."""
    other = next(name for name in NAMES if name != me.id)
    made = JobContext("ab" * 32, agreed, me, {other: network.link(me.id, other)}, Path("unused"), {},
                      SimpleNamespace(), lambda count: None)  # type: ignore[arg-type]
    rng = np.random.default_rng(3 if me.id == "bank" else 4)
    made.rows, made.test = np.arange(rows), np.arange(rows) % 2 == 0
    made.marks = np.arange(rows, dtype=np.uint64)
    made.features, made.weights = rng.normal(size=(rows, 2)), np.array([0.5, -0.25])
    made.preparation = SimpleNamespace(encodings=(None,), names=("a", "b"))  # type: ignore[assignment]
    made.cells = None if me.id == "bank" else quantise(made.features[made.test], 5.0)
    made.dither_key = lambda what: bytes(32)
    if me.id == "bank":
        made.outcome, made.solo_weights = rng.random(rows) < 0.4, np.array([0.5, 0.0])
    return made


async def evaluated(rows: int = ROWS, **changes: Any) -> JobContext:
    network, agreed = Network(), spec(**changes)
    contexts = {name: context(party(name), network, agreed, rows) for name in NAMES}
    await run_roles({name: evaluate.run(contexts[name]) for name in NAMES})
    assert contexts[NAMES[1]].evaluation is None
    return contexts[NAMES[0]]


RELEASES: dict[str, tuple[list[str], bool, bool]] = {
    "metrics and curves": (["metrics", "curves"], True, True),
    "metrics alone": (["metrics", "row_counts"], True, False),
    "neither": (["row_counts", "timings"], False, False),
}


@pytest.mark.parametrize("case", RELEASES)
async def test_only_what_the_spec_releases_leaves_the_label_holder(case: str) -> None:
    release, metrics, curves = RELEASES[case]
    made = await evaluated(6 * ROWS, release=release)
    assert (made.evaluation is not None) == metrics
    if made.evaluation is not None:
        assert bool(made.evaluation["curves"]) == curves
    assert set(made.scores) == {"outcome", "joint", "solo"}  # the label holder's own eyes are not in question


async def test_a_hold_out_of_one_outcome_ends_like_a_job_that_releases_nothing() -> None:
    """The same messages in number and size, the same progress, the same record; why, only the label holder keeps."""
    heard: dict[str, Any] = {}
    for case, release, bad in (("few", ["metrics"], False), ("empty", [], None), ("plain", ["metrics"], None)):
        network, agreed = Network(), spec(release=release)
        contexts = {name: context(party(name), network, agreed, 6 * ROWS) for name in NAMES}
        holder, told = contexts[NAMES[0]], []
        for made in contexts.values():
            made.me.progress = lambda *said, told=told: told.append(said)  # type: ignore[method-assign, misc]
        if bad is not None:
            assert holder.outcome is not None
            holder.outcome[holder.test] = bad
        await run_roles({name: evaluate.run(contexts[name]) for name in NAMES})
        sent = [(one.sender, one.receiver, type(one.message).__name__) for one in network.transcript]
        heard[case] = sent, told, [contexts[name].evaluation for name in NAMES]
        assert holder.judged_here is not None
        assert ("fewer than 5" in holder.judged_here.why) == (case == "few")
        assert contexts[NAMES[1]].judged_here is None
    assert heard["few"] == heard["empty"]
    assert heard["few"][:2] == heard["plain"][:2]
    assert heard["plain"][2][0] is not None


@pytest.mark.parametrize(("left", "least", "ends"), [(0, 1, True), (1, 1, False), (2, 3, True), (0, 0, False)])
def test_a_model_without_enough_columns_of_the_label_holder_is_not_trained(left: int, least: int, ends: bool) -> None:
    made = context(party(NAMES[0]), Network(), spec())
    made.label_holder_columns = least
    outputs = [SimpleNamespace(source=f"x{k}") for k in range(left) for _ in range(2)]    # a value and a flag of each
    made.preparation = SimpleNamespace(outputs=outputs)  # type: ignore[assignment]
    other = context(party(NAMES[1]), Network(), spec())
    train.require_columns(other)
    if not ends:
        train.require_columns(made)
        return
    with pytest.raises(DataError) as caught:
        train.require_columns(made)
    assert caught.value.for_others("bank")[0] == TOLD["few_columns"]


async def test_an_offset_is_in_both_scores_and_the_range_is_that_of_the_fit_before_its_shift() -> None:
    plain, offset = await evaluated(), np.linspace(-2.0, 2.0, ROWS)
    network, agreed = Network(), spec()
    contexts = {name: context(party(name), network, agreed) for name in NAMES}
    contexts[NAMES[0]].offset = offset
    await run_roles({name: evaluate.run(contexts[name]) for name in NAMES})
    for name in ("joint", "solo"):
        assert contexts[NAMES[0]].scores[name] - plain.scores[name] == pytest.approx(offset[plain.judged], abs=1e-8)
    contexts = {name: context(party(name), Network(), agreed) for name in NAMES}
    network = Network()
    contexts = {name: context(party(name), network, agreed) for name in NAMES}
    contexts[NAMES[0]].class_shift = 15.5    # joint scores reach 1.5 here: with the shift they were out of range
    with pytest.raises(Refused):
        await run_roles({name: evaluate.run(contexts[name]) for name in NAMES})


async def test_scores_beyond_the_sigmoid_end_the_job_at_both_sides() -> None:
    network, agreed = Network(), spec()
    contexts = {name: context(party(name), network, agreed) for name in NAMES}
    contexts[NAMES[1]].weights = np.array([100.0, 0.0])
    ends: dict[str, BaseException] = {}

    async def guarded(name: PartyId) -> None:
        try:
            await evaluate.run(contexts[name])
        except Refused as error:
            ends[name] = error

    await run_roles({name: guarded(name) for name in NAMES})
    assert {name: error.code for name, error in ends.items() if isinstance(error, Refused)} == \
        dict.fromkeys(NAMES, "OUT_OF_RANGE")
    assert contexts[NAMES[0]].evaluation is None


@pytest.mark.parametrize(("rows", "warned"), [(80, True), (4000, False)])
async def test_too_few_rows_for_the_columns_are_told_without_figures(
    rows: int, warned: bool, tmp_path: Path
) -> None:
    cells = np.random.default_rng(5).normal(size=(rows, 8))
    lines = [",".join([str(n), *(f"{cell:.6f}" for cell in row)]) for n, row in enumerate(cells)]
    (tmp_path / "t.csv").write_text("\n".join(["id," + ",".join(f"x{n}" for n in range(8)), *lines]) + "\n")
    told: list[str] = []
    me = party(NAMES[1])
    me.progress = lambda what, done, total: told.append(what)  # type: ignore[method-assign]
    made = context(me, Network(), spec(hold_out={"fraction": 0.3, "seed": "7", "minimum_hold_out": 10}))
    made.table, made.rows = read_table(tmp_path / "t.csv", leave_out=["id"]), np.arange(rows)
    made.marks = np.arange(rows, dtype=np.uint64)
    await split.run(made)
    await prepare.run(made)
    made.weights = np.zeros(8)
    assert made.preparation is not None
    assert bool(made.preparation.report.warning) == warned
    assert any(what.startswith("warning: ") for what in told) == warned
    assert not any(digit in "".join(told) for digit in "0123456789")


async def sent(made: dict[PartyId, JobContext], network: Network) -> np.ndarray:
    """What the label holder makes of the partner's part, from the sum and its own."""
    await run_roles({name: evaluate.run(made[name]) for name in NAMES})
    bank = made[NAMES[0]]
    return bank.scores["joint"] - bank.features[bank.judged] @ bank.weights


async def test_a_feature_holders_part_leaves_on_the_grid_and_the_label_holders_own_as_it_is() -> None:
    network, agreed = Network(), spec(scores={"grid": 0.25})
    made = {name: context(party(name), network, agreed) for name in NAMES}
    steps = await sent(made, network) / 0.25
    assert np.abs(steps - np.rint(steps)).max() < 1e-6
    shop = made[NAMES[1]]
    assert np.abs(shop.features[shop.judged] @ shop.weights - steps * 0.25).max() < 0.25
    own = made[NAMES[0]].scores["joint"] / 0.25
    assert np.abs(own - np.rint(own)).max() > 0.1


async def test_without_a_secret_or_past_the_budget_no_part_leaves() -> None:
    def spent() -> None:
        raise LocalError("the budget is used up")

    for fault in ({"dither_key": _no_key}, {"accept_scores": spent}):
        network = Network(timeout_s=0.2)
        made = {name: context(party(name), network, spec()) for name in NAMES}
        for name, value in fault.items():
            setattr(made[NAMES[1]], name, value)
        with pytest.raises(LocalError, match=r"secret|budget"):
            await run_roles({name: evaluate.run(made[name]) for name in NAMES})
        assert not [one for one in network.transcript if one.sender == "shop"]


async def test_a_score_that_may_lie_beyond_the_range_but_for_the_grid_ends_the_job() -> None:
    limit = series_of(spec()).valid
    for largest, fits in ((limit - 0.3, True), (limit - 0.1, False)):
        network, agreed = Network(), spec(scores={"grid": 0.2})
        made = {name: context(party(name), network, agreed) for name in NAMES}
        for one in made.values():
            one.weights = np.zeros(2)
        made[NAMES[0]].offset = np.full(ROWS, largest)
        run = run_roles({name: evaluate.run(made[name]) for name in NAMES})
        if fits:
            await run
        else:
            with pytest.raises(Refused, match="range"):
                await run


@pytest.mark.parametrize(("columns", "me", "ends"), [(4, 1, True), (5, 1, False), (4, 0, False)])
async def test_a_feature_holder_with_too_few_columns_left_ends_the_job_before_it_trains(
    columns: int, me: int, ends: bool
) -> None:
    """Eight are named; the others are constant."""
    rng = np.random.default_rng(1)
    cells = {f"x{n}": rng.normal(size=ROWS) if n < columns else np.ones(ROWS) for n in range(8)}
    made = context(party(NAMES[me]), Network(), spec())
    made.table = Table(ROWS, {name: NumericColumn(name, values) for name, values in cells.items()}, ())
    if not ends:
        await prepare.run(made)
        return
    with pytest.raises(Refused, match="fewer than 5 columns of shop") as caught:
        await prepare.run(made)
    assert caught.value.code == "TOO_FEW_COLUMNS"


async def test_the_levels_of_one_category_count_as_one_column() -> None:
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 6, ROWS).astype(np.int32)
    made = context(party(NAMES[1]), Network(), spec(scores={"minimum_columns": 2}))
    constant = np.zeros(ROWS, np.int32)
    made.table = Table(ROWS, {f"x{n}": TextColumn(f"x{n}", constant if n else codes, tuple("abcdef"))
                              for n in range(8)}, ())
    with pytest.raises(Refused, match="fewer than 2 columns of shop"):
        await prepare.run(made)


UNEVEN = {   # a fit on a few rows -> (what the rows weigh, what is told)
    "7 rows that count among zeros": (np.where(np.arange(ROWS) % 57 == 0, 1.0, 0.0), "no weight above 0"),
    "a few rows far heavier": (np.where(np.arange(ROWS) % 13 == 0, 12.0, 0.12), "worth fewer rows"),
    "an even column": (np.ones(ROWS), None),
}


@pytest.mark.parametrize("case", UNEVEN)
async def test_weights_that_leave_few_rows_in_the_fit_end_the_job_at_the_split(case: str) -> None:
    """The minimum number of customers that all agreed on holds of weighted ones."""
    weights, words = UNEVEN[case]
    agreed = spec(label={"column": "bad", "weights": "w", "largest_weight": 20.0})
    network = Network()
    contexts = {name: context(party(name), network, agreed) for name in NAMES}
    contexts[NAMES[0]].table = Table(ROWS, {"w": NumericColumn("w", weights)}, ())
    run = run_roles({name: split.run(contexts[name]) for name in NAMES})
    if words is None:
        await run
        assert contexts[NAMES[0]].row_weights == pytest.approx(1.0)
    else:
        with pytest.raises(DataError, match=words) as caught:
            await run
        assert caught.value.for_others("bank")[0] == TOLD["weights_uneven"]
