"""Mock tables: the schema that outsiders may see, people in common, and not a cell of the real table."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mpc.errors import LocalError
from party_node.config import PartyConfig
from party_node.consent import datasets
from party_node.consent.datasets import DatasetFile
from party_node.consent.registration import Registration, examine, mock_schema
from party_node.data.label import read_label
from party_node.data.mock_table import mock_table, write_mock
from party_node.data.period import read_period
from party_node.data.sources.kinds import Kind
from party_node.data.sources.table import Table, read_table

CONFIG = PartyConfig(party="bank-a")
ROWS = 1000
SECRETS = ("8271.25", "canary", "cu-0", "remote")


def registered(root: Path, **changes: Any) -> Registration:
    """A real table full of what must not come back, registered."""
    rows = [f"cu-{n:05d},b{n},8271.25,{n % 60},canary {'NS'[n % 2]},remote,{n % 2}" for n in range(200)]
    (root / "real.csv").write_text("\n".join(["customer,branch,income,age,region,secret,bad", *rows]) + "\n")
    policy = {"columns": ["income", "region"], "use_label": True, **changes.pop("policy", {})}
    parsed = DatasetFile.model_validate({
        "name": "loans", "source": "real.csv", "id": "customer", "label": "bad", "label_positive": "1",
        "offered": ["income", "age", "region"], "policy": policy, **changes,
    })
    return examine(parsed, root / "real.csv", "ask")


def test_a_mock_table_has_the_columns_that_outsiders_may_see_and_no_cell_of_the_real_one(tmp_path: Path) -> None:
    table = mock_table(mock_schema(registered(tmp_path).dataset), rows=500)
    assert table.column_names == ["customer", "bad", "income", "region"]
    write_mock(table, tmp_path / "mock.csv")
    text = (tmp_path / "mock.csv").read_text().casefold()
    assert not [secret for secret in SECRETS if secret in text]
    asked = registered(tmp_path, policy={"coordinators": ["conductor"]}).dataset
    described = datasets.describe([asked], "conductor")[0]
    assert {column.name for column in described.columns} == {"income", "region"}


def test_the_real_table_is_not_even_opened(tmp_path: Path) -> None:
    found = registered(tmp_path).dataset
    before = mock_table(mock_schema(found), ROWS)
    (tmp_path / "real.csv").unlink()
    assert mock_table(mock_schema(found), ROWS).equals(before)


def test_a_label_that_outsiders_may_not_use_is_left_out(tmp_path: Path) -> None:
    found = registered(tmp_path, policy={"use_label": False}).dataset
    assert "bad" not in mock_table(mock_schema(found), ROWS).column_names


@pytest.mark.parametrize("declared", [["1"], ["0"], ["yes"], ["Good", "0.0"], ["default", "fraud"]])
def test_a_made_up_label_has_the_declared_values_and_one_other(declared: list[str], tmp_path: Path) -> None:
    found = registered(tmp_path).dataset
    file = found.file.model_copy(update={"label_positive": declared})
    write_mock(mock_table(mock_schema(found.model_copy(update={"file": file})), ROWS), tmp_path / "mock.csv")
    table = read_table(tmp_path / "mock.csv", columns=["bad"], kinds={"bad": Kind.TEXT})
    for value in declared:
        assert 0.05 < read_label(table, "bad", value).positive.mean() < 0.3
    assert set(table.column("bad").levels) > set(declared)
    assert len(table.column("bad").levels) == len(declared) + 1


def test_a_period_is_made_up_like_a_label_so_that_a_split_can_be_rehearsed(tmp_path: Path) -> None:
    found = registered(tmp_path, period="age", offered=["income", "region"]).dataset
    table = _read(mock_table(mock_schema(found), 500), tmp_path)
    months = read_period(table, "age", "2024-07").later(np.arange(500), 0.3)
    assert 200 < np.count_nonzero(months) < 300


def _read(table: pa.Table, folder: Path) -> Table:
    write_mock(table, folder / "m.csv")
    return read_table(folder / "m.csv", columns=["age"], kinds={"age": Kind.TEXT})


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_mock_registers_as_the_real_table_does(suffix: str, tmp_path: Path) -> None:
    found = registered(tmp_path).dataset
    write_mock(mock_table(mock_schema(found), ROWS), tmp_path / f"mock.{suffix}")
    parsed = found.file.model_copy(update={"offered": ["income", "region"]})
    again = examine(parsed, tmp_path / f"mock.{suffix}", "ask")
    assert again.counts["refused"] == again.counts["blank"] == again.counts["duplicate"] == 0
    assert again.dataset.kinds == {"income": "numeric", "region": "text"}
    assert {column.name for column in again.columns if column.missing_rate > 0} == {"income", "region"}
    assert set(read_table(tmp_path / f"mock.{suffix}", columns=["bad"]).column("bad").values) == {0.0, 1.0}


PROFILES = {
    "phone": {"id_profile": "phone"},
    "national id": {"id_profile": "national_id"},
    "e-mail": {"id_profile": "email"},
    "two columns": {"id": ["customer", "branch"]},
    "two columns of two profiles": {"id": ["customer", "branch"], "id_profile": ["phone", "plain"]},
    "digests": {"id_scheme": "sha256"},
    "digests of phones": {"id_scheme": "sha256", "id_profile": "phone"},
    "digests of two parts": {"id_scheme": "sha256", "id_profile": ["phone", "email"]},
}


@pytest.mark.parametrize("name", PROFILES)
def test_made_up_ids_are_ids_of_the_dataset_s_profile(name: str, tmp_path: Path) -> None:
    found = registered(tmp_path).dataset
    found = found.model_copy(update={"file": DatasetFile.model_validate(found.file.model_dump() | PROFILES[name])})
    write_mock(mock_table(mock_schema(found), rows=300), tmp_path / "mock.csv")
    parsed = found.file.model_copy(update={"offered": ["income", "region"]})
    assert examine(parsed, tmp_path / "mock.csv", "ask").dataset.usable_ids == 300


def people(table: pa.Table) -> set[str]:
    return set(table.column("customer").to_pylist())


def test_mocks_of_one_seed_share_most_people_and_of_digests_too(tmp_path: Path) -> None:
    one = registered(tmp_path).dataset
    other = one.model_copy(update={"file": one.file.model_copy(update={"name": "orders"})})
    hashed = one.model_copy(update={"file": one.file.model_copy(update={"name": "bills", "id_scheme": "sha256"})})
    ours, theirs = people(mock_table(mock_schema(one), 1000)), people(mock_table(mock_schema(other), 1000))
    assert 700 <= len(ours & theirs) <= 900
    assert ours != theirs
    digests = people(mock_table(mock_schema(hashed), 1000))
    assert 700 <= len({hashlib.sha256(one.lower().encode()).hexdigest() for one in ours} & digests) <= 900


def test_the_same_seed_gives_the_same_table_and_another_another(tmp_path: Path) -> None:
    found = registered(tmp_path).dataset
    assert mock_table(mock_schema(found), ROWS, seed=3).equals(mock_table(mock_schema(found), ROWS, seed=3))
    assert not mock_table(mock_schema(found), ROWS, seed=3).equals(mock_table(mock_schema(found), ROWS, seed=4))


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    found = registered(tmp_path).dataset
    with pytest.raises(LocalError, match="is there already"):
        write_mock(mock_table(mock_schema(found), ROWS), tmp_path / "real.csv")
    with pytest.raises(LocalError, match="cannot be written"):
        write_mock(mock_table(mock_schema(found), ROWS), tmp_path / "nowhere" / "mock.csv")
    with pytest.raises(LocalError, match="rows"):
        mock_table(mock_schema(found), rows=0)
