"""Datasets: what registration finds, what it refuses, and what outsiders may see of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mpc.protocols import PROTOCOLS
from party_node.config import ConfigError, PartyConfig
from party_node.consent import datasets, registration
from party_node.consent.datasets import DatasetFile, RegisteredDataset
from party_node.consent.policy import Verdict, decide
from party_node.table_errors import DataError
from wire.consortium import load_consortium
from wire.description import decode_datasets, encode_datasets

SAMPLES = Path(__file__).resolve().parents[3] / "docs" / "samples"
CONFIG = PartyConfig(party="bank-a")
CANARY = "canary-7f3a9c1e"


def write(root: Path, rows: int = 120, head: str = "customer,income,age,region,notes,bad", **changes: Any) -> Path:
    """A table and its dataset file; `changes` replace lines of the file."""
    ages = ["" if n % 7 == 0 else str(20 + n % 50) for n in range(rows)]
    lines = [f"c{n:05d},{n * 10},{age},{'NS'[n % 2]},{CANARY},{n % 2}" for n, age in enumerate(ages)]
    (root / "loans.csv").write_text("\n".join([head, *lines]) + "\n")
    values = {"name": '"loans"', "source": '"loans.csv"', "id": '"customer"', "label": '"bad"', "label_positive": '"1"',
              "offered": '["income", "age", "region"]'} | changes
    file = root / "loans.toml"
    file.write_text("\n".join(f"{name} = {value}" for name, value in values.items()) + "\n"
                    + '[policy]\npurposes = ["p"]\npartners = ["shop"]\ncoordinators = ["conductor"]\n'
                      'use_label = true\nreveal = ["train.weights"]\nminimum_rows = 100\n')
    return file


def test_registration_counts_and_keeps_no_cell(bank: Any, tmp_path: Path) -> None:
    found = registration.prepare(write(tmp_path), CONFIG, tmp_path / "snapshots")
    registration.keep(found.dataset, bank.store)
    kept = datasets.find(bank.store, "loans")
    assert kept == found.dataset
    assert kept is not None
    assert (kept.rows, kept.usable_ids, kept.approval) == (120, 120, "ask")
    assert kept.kinds == {"income": "numeric", "age": "numeric", "region": "text"}
    assert found.counts["read"] == 120
    ages = next(column for column in found.columns if column.name == "age")
    assert ages.missing_rate == pytest.approx(18 / 120)
    assert "notes" not in [column.name for column in found.columns]
    record = json.dumps(bank.store.dataset("loans"))
    assert CANARY not in record
    assert "c00001" not in record


def test_a_missing_label_is_asked_back(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        registration.prepare(write(tmp_path, label='"baad"'), CONFIG, tmp_path / "snapshots")
    assert caught.value.code == "column_missing"
    assert "did you mean `bad`?" in caught.value.advice


WRONG = {
    "an offered column that the table lacks": ({"offered": '["incomes"]'}, "no column `incomes`"),
    "an id column that the table lacks": ({"id": '"customers"'}, "no column `customers`"),
    "the label among the offered": ({"offered": '["income", "bad"]'}, "hold the id, the label or the period"),
    "the id among the offered": ({"offered": '["customer"]'}, "hold the id, the label or the period"),
    "a category that is not offered": ({"categorical": '["notes"]'}, "`notes`, which is not offered"),
    "a label that is used but not named": ({"label": ""}, ""),
    "an unknown field": ({"columns": '["x"]'}, "no such field"),
    "a table that is not there": ({"source": '"absent.csv"'}, "does not exist"),
    "a name with blanks": ({"name": '"my loans"'}, "field name"),
}


@pytest.mark.parametrize("what", WRONG)
def test_refused_before_anything_is_kept_when_the_file_names(what: str, tmp_path: Path) -> None:
    changes, sentence = WRONG[what]
    file = write(tmp_path, **changes)
    if "label" in changes:
        file.write_text(file.read_text().replace("label = \n", ""))
        sentence = "no label column is named"
    with pytest.raises((ConfigError, DataError)) as caught:
        registration.prepare(file, CONFIG, tmp_path / "snapshots")
    assert sentence in str(caught.value)
    assert CANARY not in str(caught.value)


def test_a_table_that_changed_since_is_not_read(tmp_path: Path) -> None:
    dataset = registration.prepare(write(tmp_path), CONFIG, tmp_path / "snapshots").dataset
    registration.check_unchanged(dataset)
    with (tmp_path / "loans.csv").open("a") as file:
        file.write("c99999,1,1,N,x,0\n")
    with pytest.raises(DataError, match="changed since it was registered"):
        registration.check_unchanged(dataset)


def test_outsiders_see_offered_and_allowed_columns_only(bank: Any) -> None:
    dataset = bank.register()
    assert datasets.describe([dataset], "stranger") == []
    sent = encode_datasets(datasets.describe([dataset], "conductor"))
    (seen,) = decode_datasets(sent)
    assert [column.name for column in seen.columns] == ["income", "age", "region"]
    assert [column.kind for column in seen.columns] == ["numeric", "numeric", "categorical"]
    assert (seen.rows, seen.label_column) == (1000, "bad")
    for hidden in (b"secret_score", b"shop", b"1010", b"loans.csv", b"budget"):
        assert hidden not in sent


def test_a_period_is_declared_beside_the_offered_columns_and_told_like_the_label(bank: Any, tmp_path: Path) -> None:
    assert datasets.describe([bank.register()], "conductor")[0].period_column is None
    seen = datasets.describe([bank.register(lambda raw: raw.update(period="vintage"))], "conductor")[0]
    assert seen.period_column == "vintage"
    assert "vintage" not in [column.name for column in seen.columns]
    for taken in ("income", "customer", "bad"):
        with pytest.raises(ValueError, match="hold the id, the label or the period"):
            bank.register(lambda raw, name=taken: raw.update(period=name))
    with pytest.raises(DataError, match="no column `vintage`"):
        registration.prepare(write(tmp_path, period='"vintage"'), CONFIG, tmp_path / "snapshots")


def test_a_period_with_gaps_is_told_at_registration_and_other_jobs_go_on(tmp_path: Path) -> None:
    file = write(tmp_path, period='"age"', offered='["income", "region"]')    # every seventh has none
    notes = " ".join(registration.prepare(file, CONFIG, tmp_path / "snapshots").notes)
    assert "no job can take `age` as its period: 18 rows have no value" in notes
    file = write(tmp_path, period='"income"', offered='["age", "region"]')
    assert "as its period" not in " ".join(registration.prepare(file, CONFIG, tmp_path / "snapshots").notes)


def test_a_label_that_may_not_be_used_does_not_exist_for_outsiders(bank: Any) -> None:
    dataset = bank.register(lambda raw: raw["policy"].update(use_label=False))
    assert datasets.describe([dataset], "conductor")[0].label_column is None


@pytest.mark.parametrize(("rows", "shown"), [(0, 0), (7, 7), (99, 99), (100, 100), (1234, 1200), (987_654, 980_000)])
def test_row_counts_are_rounded_down_to_two_digits(rows: int, shown: int, bank: Any) -> None:
    dataset: RegisteredDataset = bank.register().model_copy(update={"rows": rows})
    assert datasets.describe([dataset], "conductor")[0].rows == shown


def test_warnings_name_what_will_fail_later(tmp_path: Path) -> None:
    file = write(tmp_path, rows=60)
    file.write_text(file.read_text().replace('purposes = ["p"]\n', ""))
    notes = " ".join(registration.prepare(file, CONFIG, tmp_path / "snapshots").notes)
    assert "policy.purposes is empty" in notes
    assert "fewer than its own policy.minimum_rows" in notes


def test_an_empty_policy_denies_everything(bank: Any) -> None:
    dataset = bank.register(lambda raw: raw.pop("policy"))
    assert decide(bank.question(bank.spec(), dataset)).verdict is Verdict.DENY
    assert datasets.describe([dataset], "conductor") == []


def test_the_samples_load_and_fit_each_other_and_this_release() -> None:
    loans: DatasetFile = datasets.load_dataset_file(SAMPLES / "loans.toml")
    consortium = load_consortium(SAMPLES / "consortium.toml")
    revealed = {line.code for p in PROTOCOLS.values() for line in p.ledger if line.kind == "revealed"}
    not_here = {"correlate.matrix", "correlate.matrix_to_holder", "correlate.pairs_to_holder",
                "correlate.inflation", "correlate.inflation_to_holder", "split.period"}
    assert set(loans.policy.reveal) == revealed - not_here   # of ways to correlate it allows one
    assert {member.id for member in consortium.party} == {"bank", *loans.policy.partners}
    assert loans.policy.coordinators == [consortium.coordinator.id]


def test_a_declared_value_that_the_label_lacks_is_told_at_registration_and_nowhere_else(tmp_path: Path) -> None:
    def notes(value: str) -> str:
        found = registration.prepare(write(tmp_path, label_positive=value), CONFIG, tmp_path / "snapshots")
        return " ".join(found.notes)

    assert "label_positive" not in notes("1")
    assert "for bad" not in notes('["1", "0"]')
    assert "no job can take `fraud` of `bad` for bad" in notes('["1", "fraud"]')
    assert "label_positive is empty: every job that uses the label is denied" in notes("[]")


def test_values_of_the_label_are_told_with_the_label_and_not_without(bank: Any) -> None:
    def told(**policy: bool) -> list[str]:
        dataset = bank.register(lambda raw: (raw.update(label_positive=["1", 2]), raw["policy"].update(policy))[0])
        return datasets.describe([dataset], "conductor")[0].label_positive

    assert told() == ["1", "2"]
    assert told(use_label=False) == []
    for wrong in ([""], [True], ["1"] * 51):
        with pytest.raises(ValueError, match="label_positive"):
            bank.register(lambda raw, wrong=wrong: raw.update(label_positive=wrong))
    with pytest.raises(ValueError, match="no label column is named"):
        bank.register(lambda raw: (raw.pop("label"), raw["policy"].update(use_label=False))[0])
