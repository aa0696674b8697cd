"""The synthetic institutions behave like the real thing: rates, overlap, mess, and a gain from joining."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from joint_risk import synthetic_tables
from mpc.credit.binning import BinCounts, Constraints
from mpc.protocols.bin import told
from party_node.data.binned_column import bin_codes, fine_bins
from party_node.data.ids.accounting import DuplicatePolicy, IdRules, IdSet, id_batches, read_ids
from party_node.data.ids.normalisation import IdProfile
from party_node.data.label import read_label
from party_node.data.preparation import PreparationSpec, fit
from party_node.data.sources.kinds import Kind
from party_node.data.sources.table import Table, read_table
from scripts import make_synthetic_credit
from tests.simulation.attackers.score_world import as_column
from wire.spec.columns import BinningSpec
from wire.spec.scores import MINIMUM_COLUMNS

F64 = NDArray[np.float64]
Made = tuple[Path, dict[str, Any]]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return synthetic_tables


@pytest.fixture(scope="module")
def made(script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Made:
    out = tmp_path_factory.mktemp("synthetic")
    return out, script.make(out, customers=24_000, seed=3, kind="parquet")


def read(made: Made, name: str) -> Table:
    out, manifest = made
    return read_table(out / manifest["parties"][name]["file"], leave_out=[manifest["parties"][name]["id"]])


def ids(made: Made, name: str, profile: IdProfile = IdProfile.PLAIN) -> IdSet:
    out, manifest = made
    entry = manifest["parties"][name]
    column = "phone" if profile is IdProfile.PHONE else entry["id"]
    return read_ids(out / entry["file"], [column], IdRules((profile,)), DuplicatePolicy.FIRST)


def common_rows(sets: list[IdSet]) -> list[NDArray[np.int64]]:
    """Table rows of the common ids, in one order for all parties."""
    where = [dict(zip(found.ids, found.rows.tolist(), strict=True)) for found in sets]
    shared = sorted(set.intersection(*(set(places) for places in where)))
    return [np.array([places[name] for name in shared], dtype=np.int64) for places in where]


def test_the_default_rate_is_that_of_a_consumer_lender(made: Made) -> None:
    label = read_label(read(made, "bank"), "defaulted_12m")
    assert 0.06 <= label.positive.mean() <= 0.08


def test_the_populations_differ_and_overlap_in_part(made: Made) -> None:
    manifest = made[1]
    found = [ids(made, name) for name in manifest["parties"]]
    common = len(common_rows(found)[0])
    # Blank ids cost a little of the people who are at all three.
    assert 0.97 * manifest["people_in_common"] <= common <= manifest["people_in_common"]
    assert 0.35 * 24_000 < common < 0.65 * 24_000
    assert all(common < 0.8 * len(one) for one in found)


def test_ids_are_messy_in_every_promised_way_and_every_row_is_accounted_for(made: Made) -> None:
    for name, entry in made[1]["parties"].items():
        cells = (column for (column,) in id_batches(made[0] / entry["file"], [entry["id"]]))
        raw = [value for column in cells for value in column.to_pylist() if value is not None]
        assert any(value != value.strip() for value in raw)
        assert any(value.islower() for value in raw)
        assert any("\uff0d" in value for value in raw)
        counts = ids(made, name).counts
        assert counts.read == entry["rows"]
        assert counts.duplicate > 0
        assert counts.blank > 0
        assert counts.refused == 0


def test_phones_match_the_same_people_as_the_reference_ids(made: Made) -> None:
    names = made[1]["parties"]
    by_phone = common_rows([ids(made, name, IdProfile.PHONE) for name in names])
    by_id = common_rows([ids(made, name) for name in names])
    # Blank cells differ between the two columns; almost all people are found by both.
    both = set(by_phone[1].tolist()) & set(by_id[1].tolist())
    assert len(both) > 0.95 * len(by_id[1])


def test_tables_have_missing_values_categories_and_levels_too_rare_for_a_column(made: Made) -> None:
    bank = read(made, "bank")
    profile = {column.name: column for column in bank.profile()}
    assert profile["monthly_income"].missing_rate > 0.03
    assert profile["employment"].kind is profile["region"].kind is Kind.TEXT
    prepared = fit(bank, np.arange(bank.rows), PreparationSpec(), made[1]["parties"]["bank"]["features"])
    assert prepared.report.merged["region"] > 1
    assert "monthly_income__missing" in prepared.names


@pytest.fixture(scope="module")
def blocks(made: Made) -> tuple[dict[str, F64], NDArray[np.bool_], int]:
    """Prepared blocks of the common rows per party, the label, and how many rows are for training."""
    tables = {name: read(made, name) for name in made[1]["parties"]}
    rows = dict(zip(tables, common_rows([ids(made, name) for name in tables]), strict=True))
    cut = int(0.6 * len(rows["bank"]))
    found: dict[str, F64] = {}
    for name, table in tables.items():
        entry = made[1]["parties"][name]
        useful = [feature for feature in entry["features"] if feature not in entry["useless"]]
        for key, features in ((name, useful), (f"{name} useless", entry["useless"])):
            if features:
                found[key] = fit(table, rows[name][:cut], PreparationSpec(), features).apply(table, rows[name])
    label = read_label(tables["bank"], "defaulted_12m").positive[rows["bank"]]
    return found, label, cut


def auc(blocks: tuple[dict[str, F64], NDArray[np.bool_], int], *names: str) -> float:
    found, label, cut = blocks
    block = np.hstack([found[name] for name in names])
    model = LogisticRegression(C=1 / (1e-3 * cut), max_iter=200).fit(block[:cut], label[:cut])
    return float(roc_auc_score(label[cut:], model.decision_function(block[cut:])))


def test_joining_beats_the_bank_alone_and_each_partner_adds_something(
    blocks: tuple[dict[str, F64], NDArray[np.bool_], int],
) -> None:
    solo, joint = auc(blocks, "bank"), auc(blocks, "bank", "ecommerce", "telecom")
    assert 0.6 < solo < 0.8
    assert joint > solo + 0.04
    assert auc(blocks, "bank", "ecommerce") > solo + 0.01
    assert auc(blocks, "bank", "telecom") > solo + 0.01


def test_the_useless_block_adds_nothing(blocks: tuple[dict[str, F64], NDArray[np.bool_], int]) -> None:
    assert abs(auc(blocks, "bank", "ecommerce useless") - auc(blocks, "bank")) < 0.01
    assert abs(auc(blocks, "ecommerce useless") - 0.5) < 0.05


def test_features_are_correlated_across_institutions(
    blocks: tuple[dict[str, F64], NDArray[np.bool_], int],
) -> None:
    found, _, _ = blocks
    at_bank, at_telecom = (block / block.std(axis=0) for block in (found["bank"], found["telecom"]))
    assert np.abs(at_bank.T @ at_telecom / len(at_bank)).max() > 0.1


def test_the_same_seed_gives_the_same_files_and_another_seed_others(script: ModuleType, tmp_path: Path) -> None:
    for name, seed in (("one", 7), ("two", 7), ("three", 8)):
        script.make(tmp_path / name, customers=500, seed=seed, parties=5)
    for file in ("bank", "ecommerce", "telecom", "utility", "insurer"):
        content = [(tmp_path / name / f"{file}.csv").read_bytes() for name in ("one", "two", "three")]
        assert content[0] == content[1] != content[2]


def test_the_command_prints_the_manifest_and_refuses_nonsense(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert make_synthetic_credit.main(["--out", str(tmp_path), "--customers", "300", "--parties", "2"]) == 0
    assert list(json.loads(capsys.readouterr().out)["parties"]) == ["bank", "ecommerce"]
    assert (tmp_path / "manifest.json").exists()
    assert make_synthetic_credit.main(["--out", str(tmp_path), "--customers", "3"]) == 4
    assert "no tables were made" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["ecommerce", "telecom", "utility", "insurer"])
def test_every_partner_has_more_columns_that_say_something_than_a_score_needs(name: str) -> None:
    """So that what is shown runs on the defaults; on 2,000 people, in bins as a job makes them."""
    rng = np.random.default_rng(8)
    who = synthetic_tables.people(2000, rng)
    bad, enough = synthetic_tables.outcome(who, np.ones(2000, np.bool_), 0.07, rng), 0
    features = synthetic_tables.INSTITUTIONS[name].features(who, rng)
    for column in (as_column(feature, values) for feature, values in features.items()):
        bins = fine_bins(column, np.arange(2000), most=20, minimum_rows=20, special=())
        codes = bin_codes(bins, column)
        counts = BinCounts.of(bins, *(np.bincount(codes[bad == side], minlength=bins.count) for side in (False, True)))
        enough += len(told(counts, Constraints(minimum_rows=20), BinningSpec().minimum_information).good) > 1
    assert enough > MINIMUM_COLUMNS
