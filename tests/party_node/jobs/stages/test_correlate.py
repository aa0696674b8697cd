"""The stage `correlate` on contexts of its own: prepared columns by their names, what is shown, and to whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpc.errors import LocalError
from mpc.link import PartyId
from mpc.protocols import correlate as protocol
from mpc.testing.correlate_subject import tools_of
from mpc.testing.memory_link import Network, party, run_roles
from party_node.data.preparation import PreparationSpec, fit, with_intercept
from party_node.data.sources.table import Table, read_table
from party_node.jobs.stages import correlate, stages
from party_node.jobs.stages.context import JobContext
from tests.party_node.jobs.stages.test_stages import spec
from wire.spec.columns import CorrelateSpec
from wire.spec.job import JobSpec

BANK, SHOP = NAMES = (PartyId("bank"), PartyId("shop"))
ROWS, TEST = 700, 200


def tables(folder: Path) -> dict[PartyId, Table]:
    """The bank's income goes with the shop's basket; one column of categories, one that is constant."""
    rng = np.random.default_rng(2)
    common = rng.normal(size=ROWS)
    bank = {"income": 3000 + 900 * common + 300 * rng.normal(size=ROWS), "age": rng.integers(18, 80, ROWS)}
    shop = {"visits": rng.poisson(4, ROWS), "basket": np.exp(3 - 0.8 * common + 0.3 * rng.normal(size=ROWS)),
            "kind": rng.choice(["a", "b"], ROWS), "empty": np.full(ROWS, 7)}
    bank["years"] = np.random.default_rng(3).integers(0, 30, ROWS)
    found = {}
    for name, columns in ((BANK, bank), (SHOP, shop)):
        lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
        found[name] = read_table(folder / f"{name}.csv")
    return found


async def run(folder: Path, reveal: list[str] | None = None, **rules: Any) -> dict[PartyId, JobContext]:
    """Both parties through the stage, with small keys and an ideal dealer."""
    made, network, tools = {}, Network(timeout_s=1.0), tools_of(list(NAMES))
    found = tables(folder)
    agreed = spec(correlate=rules, reveal=[], scores={"minimum_columns": 1})
    raw = agreed.model_dump()
    for part in raw["parties"]:
        part["columns"] = list(found[PartyId(part["id"])].names)
    raw["crypto"]["key_bits"] = 2048
    agreed = type(agreed).model_validate(raw)
    for name in NAMES:
        other = BANK if name == SHOP else SHOP
        lines = None if reveal is None else {code: line for line in protocol.PROTOCOL.ledger
                                             if (code := line.code) in reveal}
        context = JobContext("ab" * 32, agreed, party(name, ledger=lines), {other: network.link(name, other)},
                             Path("unused"), {}, tools[name], lambda count: None)
        context.table = found[name]
        context.rows, context.test = np.arange(ROWS), np.arange(ROWS) < TEST
        context.preparation = fit(found[name], np.arange(TEST, ROWS), PreparationSpec())
        block = context.preparation.apply(found[name], context.rows)
        context.features = with_intercept(block, name == BANK)
        made[name] = context
    await run_roles({name: correlate.run(context) for name, context in made.items()})
    return made


@pytest.fixture
def short_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """A spec allows no short keys; these tests need no long ones."""
    real = protocol.CorrelateOptions

    def shorter(**values: Any) -> protocol.CorrelateOptions:
        return real(**(values | {"key_bits": 256}))

    monkeypatch.setattr(protocol, "CorrelateOptions", shorter)


@pytest.mark.usefixtures("short_keys")
async def test_pairs_are_named_and_equal_to_numpy_on_the_training_rows(tmp_path: Path) -> None:
    made = await run(tmp_path, bits=10)
    income, basket = (made[name].features[TEST:, place] for name, place in ((BANK, 1), (SHOP, 1)))  # type: ignore[index]
    due = float(np.corrcoef(income, basket)[0, 1])
    assert due < -0.75
    for context in made.values():
        shown = context.correlations
        assert shown is not None
        assert {key: shown[key] for key in ("rows", "show", "to", "threshold", "step")} == \
            {"rows": 500, "show": "pairs", "to": "all", "threshold": 0.7, "step": 2.0**-10}
        (pair,) = shown["pairs"]
        assert (pair["parties"], pair["columns"]) == (["bank", "shop"], ["income", "basket"])
        assert abs(pair["r"] - due) <= 2.0**-10 + 1e-6
        assert "matrices" not in shown


@pytest.mark.usefixtures("short_keys")
async def test_a_matrix_has_zeros_for_categories_and_for_what_was_left_out(tmp_path: Path) -> None:
    made = await run(tmp_path, show="matrix", to="label_holder", threshold=0.6)
    assert made[SHOP].correlations is None
    shown = made[BANK].correlations
    assert shown is not None
    (matrix,) = shown["matrices"]
    assert matrix["columns"] == [["income", "age", "years"], ["visits", "basket", "kind", "empty"]]
    values = np.array(matrix["r"])
    assert values.shape == (3, 4)
    assert np.abs(values[:, 2:]).max() <= shown["step"]
    assert shown["step"] == 2.0**-4                      # 500 rows
    assert [pair["columns"] for pair in shown["pairs"]] == [["income", "basket"]]


@pytest.mark.usefixtures("short_keys")
async def test_inflation_is_told_of_own_columns_by_name(tmp_path: Path) -> None:
    made = await run(tmp_path, show="inflation", bits=12)
    for name, other, columns in ((BANK, SHOP, ["income", "age", "years"]), (SHOP, BANK, ["visits", "basket"])):
        shown = made[name].correlations
        assert shown is not None
        assert [(row["party"], row["column"], row["with"]) for row in shown["inflation"]] == \
            [(name, column, other) for column in columns]
    blocks = [made[BANK].features[TEST:, 1:], made[SHOP].features[TEST:, :2]]          # type: ignore[index]
    due = np.diag(np.linalg.inv(np.corrcoef(np.column_stack(blocks), rowvar=False)))
    found = [row["together"] for name in NAMES for row in made[name].correlations["inflation"]]  # type: ignore[index]
    assert found == pytest.approx(due.tolist(), rel=0.02)
    assert found[0] > 2
    assert made[BANK].correlations["inflation"][0]["alone"] < 1.1                      # type: ignore[index]


@pytest.mark.usefixtures("short_keys")
async def test_of_a_pair_the_later_partys_column_stays_out_of_the_model(tmp_path: Path) -> None:
    made = await run(tmp_path, bits=10, drop=True)
    for context in made.values():
        assert context.correlations is not None
        assert context.correlations["dropped"] == \
            [{"party": "shop", "column": "basket", "with": ["bank", "income"]}]
        assert context.table is None
        assert context.preparation is not None
    bank, shop = (made[name] for name in NAMES)
    assert {one.source for one in bank.preparation.outputs} == {"income", "age", "years"}      # type: ignore[union-attr]
    assert {one.source for one in shop.preparation.outputs} == {"visits", "kind"}      # type: ignore[union-attr]
    assert ("basket", "correlation of 0.7 or more with `income` of bank") in \
        shop.preparation.report.dropped                                                # type: ignore[union-attr]
    assert shop.features is not None
    assert shop.features.shape == (ROWS, len(shop.preparation.outputs))                # type: ignore[union-attr]


CHAIN = [("bank", "a", "shop", "x", 0.9), ("shop", "x", "telecom", "t", 0.85), ("bank", "b", "telecom", "u", 0.8),
         ("shop", "y", "telecom", "u", 0.75), ("shop", "z", "telecom", "v", 0.7)]


def test_a_column_whose_partner_is_gone_itself_stays() -> None:
    raw = spec().model_dump()
    raw["parties"].append(raw["parties"][1] | {"id": "telecom", "identity": "3" * 64})
    raw["correlate"] = {"drop": True}
    pairs = [{"parties": [one, other], "columns": [first, second], "r": r} for one, first, other, second, r in CHAIN]
    found = {(entry["party"], entry["column"]): tuple(entry["with"])
             for entry in correlate.dropped(pairs, JobSpec.model_validate(raw))}
    assert found == {("shop", "x"): ("bank", "a"), ("telecom", "u"): ("bank", "b"), ("telecom", "v"): ("shop", "z")}


@pytest.mark.parametrize("rules", [{"show": "matrix"}, {"show": "inflation"}, {"to": "label_holder"}])
def test_columns_are_dropped_only_where_all_are_shown_the_pairs(rules: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="shown to all parties"):
        CorrelateSpec.model_validate({"drop": True, **rules})


@pytest.mark.usefixtures("short_keys")
async def test_a_job_that_reveals_only_pairs_opens_no_matrix(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"'correlate\.matrix' is not in the reveal list"):
        await run(tmp_path, reveal=["correlate.rounding", "correlate.compared", "correlate.pairs"], show="matrix")


async def test_without_the_section_nothing_is_done() -> None:
    agreed = spec()
    assert agreed.correlate is None
    assert [name for name, _ in stages(agreed)][3:6] == ["prepare", "correlate", "train"]
    context = JobContext("ab" * 32, agreed, party(BANK), {}, Path("unused"), {}, tools_of([BANK, SHOP])[BANK],
                         lambda count: None)
    await correlate.run(context)
    assert context.correlations is None
