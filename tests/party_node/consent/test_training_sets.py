"""Training sets: the same one again, one far from it, and every way to come near an earlier one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpc.errors import LocalError
from party_node.consent.training_sets import TrainingSet, accept
from party_node.data.hold_out import hold_out

TABLE, LEAST = "a" * 64, 20
PARTIES = frozenset({"bank", "shop"})
BASE = np.arange(0, 900, 3)


def asked(folder: Path, rows: Any, job: str = "second", table: str = TABLE, parties: frozenset[str] = PARTIES,
          least: int = LEAST) -> bool:
    return accept(folder, TrainingSet(job, table, parties, np.asarray(rows)), least)


NEAR = {
    "one customer fewer": BASE[:-1],
    "one customer more, beyond the last": np.append(BASE, 5000),
    "one customer in place of another": np.append(BASE[1:], 1),
    "one short of the minimum": BASE[LEAST - 1:],
    "in another order": BASE[::-1][1:],
    "with repeats": np.repeat(BASE[1:], 3),
}


@pytest.mark.parametrize("case", NEAR)
def test_a_set_near_an_earlier_one_is_refused_and_not_remembered(case: str, tmp_path: Path) -> None:
    folder = tmp_path / "sets"
    assert asked(folder, BASE, "first")
    assert not asked(folder, NEAR[case])
    assert [path.stem for path in folder.iterdir()] == ["first"]


FAR: dict[str, dict[str, Any]] = {
    "the same rows again": {"rows": BASE},
    "the same rows in another order": {"rows": BASE[::-1]},
    "as many others as the minimum": {"rows": BASE[LEAST:]},
    "rows of another table": {"rows": BASE[1:], "table": "b" * 64},
    "another partner": {"rows": BASE[1:], "parties": frozenset({"bank", "telco"})},
    "a bank that does not mind": {"rows": BASE[1:], "least": 0},
}


@pytest.mark.parametrize("case", FAR)
def test_what_is_equal_or_far_or_not_to_be_compared_is_accepted(case: str, tmp_path: Path) -> None:
    folder = tmp_path / "sets"
    assert asked(folder, BASE, "first")
    assert asked(folder, **FAR[case])
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_further_partners_and_every_earlier_job_count(tmp_path: Path) -> None:
    assert asked(tmp_path, BASE, "first")
    assert asked(tmp_path, BASE + 1, "other")
    assert not asked(tmp_path, BASE[1:], parties=PARTIES | {"telco"})


def test_one_draw_with_nearly_the_same_fraction_is_found(tmp_path: Path) -> None:
    """Rows are held out where their word lies below the fraction: a little more holds out a few more."""
    salt, rows = b"s" * 32, np.arange(1000)
    one, other = (rows[~hold_out(salt, len(rows), fraction)] for fraction in (0.3, 0.303))
    assert 0 < len(one) - len(other) < LEAST
    assert asked(tmp_path, one, "first")
    assert not asked(tmp_path, other)
    assert asked(tmp_path, rows[~hold_out(b"t" * 32, len(rows), 0.3)])


@pytest.mark.parametrize("keep", [0, 2, 60, -1])
def test_a_damaged_set_stops_the_job_and_names_no_other(keep: int, tmp_path: Path) -> None:
    assert asked(tmp_path, BASE, "first")
    kept = (tmp_path / "first.npz").read_bytes()
    (tmp_path / "first.npz").write_bytes(kept[:keep])
    with pytest.raises(LocalError, match="cannot be read") as refused:
        asked(tmp_path, BASE)
    assert "first" not in str(refused.value)


def test_a_set_that_cannot_be_noted_stops_the_job(tmp_path: Path) -> None:
    (tmp_path / "sets").write_text("in the way")
    with pytest.raises(LocalError, match="could not be noted"):
        asked(tmp_path / "sets", BASE)
