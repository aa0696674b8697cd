"""The parts of a model with bins as a split card: the parties' points add up to the joint log-odds."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mpc.credit.binning import BinCounts, Constraints, best_bins
from mpc.credit.scorecard import Scale, combined
from mpc.errors import LocalError
from mpc.statistics.logistic import fit_logistic
from party_node.data.binned_column import BinnedColumn, bin_codes, fine_bins
from party_node.data.preparation import PreparationSpec, fit
from party_node.data.sources.table import NumericColumn, Table, TextColumn
from party_node.models.kept_scores import KeptScores, write_scores
from party_node.models.part import ModelPart
from party_node.models.scorecard import card_of, cut_offs, export, scale_of, show
from party_node.models.scorecard_json import ScorecardFile, points_of
from party_node.records.audit import AuditLog
from tests.party_node.jobs.stages.test_stages import spec

JOB = "ab" * 32
ROWS = 3000
SPEC = PreparationSpec(penalty=1e-3)


def tables(seed: int, parties: int) -> tuple[list[Table], NDArray[np.bool_]]:
    """A table for each party, numbers and levels with holes, and who is bad."""
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=ROWS)
    found = []
    for _ in range(parties):
        numbers = risk + rng.normal(0, 1.5, ROWS)
        numbers[rng.random(ROWS) < 0.1] = np.nan
        codes = np.clip(np.round(risk + rng.normal(0, 1.5, ROWS)) + 2, -1, 5).astype(np.int32)
        columns = {"income": NumericColumn("income", numbers),
                   "region": TextColumn("region", codes, tuple(f"region {k}" for k in range(6)))}
        found.append(Table(ROWS, columns, ()))
    return found, rng.random(ROWS) < 1 / (1 + np.exp(1.5 - risk))


def binned(table: Table, bad: NDArray[np.bool_], shuffle: bool) -> list[BinnedColumn]:
    """The columns' bins; `shuffle` numbers merged bins in another order, as another party may."""
    every = np.arange(ROWS)
    found = []
    for name, column in table.columns.items():
        bins = fine_bins(column, every, most=12, minimum_rows=40, special=())
        codes = bin_codes(bins, column)
        in_bad = np.bincount(codes[bad], minlength=bins.count)
        counts = BinCounts.of(bins, np.bincount(codes, minlength=bins.count) - in_bad, in_bad)
        merging = best_bins(counts, Constraints())
        merged = counts.merged(merging)
        order = list(range(merging.count))[::-1] if shuffle else list(range(merging.count))
        found.append(BinnedColumn(
            name, bins, tuple(order[merged] for merged in merging.group),
            tuple(merged.good[np.argsort(order)].tolist()), tuple(merged.bad[np.argsort(order)].tolist())))
    return found


def models(
    seed: int = 1, parties: int = 3, shuffle: bool = False
) -> tuple[list[ModelPart], list[Table], NDArray[np.bool_]]:
    """Every party's part of one model, fitted exactly."""
    found, bad = tables(seed, parties)
    every = np.arange(ROWS, dtype=np.int64)
    preparations = [fit(table, every, SPEC, binned=binned(table, bad, shuffle)) for table in found]
    blocks = [one.apply(table) for one, table in zip(preparations, found, strict=True)]
    weights = fit_logistic(np.column_stack([np.ones(ROWS), *blocks]), bad, SPEC.penalty, 0).weights
    parts, start = [], 0
    for place, (one, block) in enumerate(zip(preparations, blocks, strict=True)):
        end = start + block.shape[1] + (place == 0)
        parts.append(ModelPart(JOB, place == 0, one, weights[start:end], every, np.zeros(ROWS, np.bool_)))
        start = end
    return parts, found, bad


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("decimals", [None, 0, 2])
def test_the_parties_points_add_up_to_the_joint_log_odds(decimals: int | None, shuffle: bool) -> None:
    parts, found, _ = models(shuffle=shuffle)
    scale = Scale(500, 20, 30, decimals)
    cards = [card_of(part, scale) for part in parts]
    assert all(card.bounded_rows == 0 for card in cards)
    totals = [card.part.total(points_of(card.part, table)) for card, table in zip(cards, found, strict=True)]
    log_odds = np.sum([part.partial_scores(table) for part, table in zip(parts, found, strict=True)], axis=0)
    gap = np.abs(combined(totals) - scale.score(log_odds)).max()
    assert gap <= scale.rounding(6, 3) + 1e-9
    assert len(cards[0].part.characteristics) == 2


def test_cells_that_training_never_saw_score_as_the_model_scores_them() -> None:
    parts, _, _ = models(parties=2)
    card = card_of(parts[0], Scale(decimals=None))
    fresh = Table(4, {"income": NumericColumn("income", np.array([-9e9, 9e9, np.nan, 0.0])),
                      "region": TextColumn("region", np.array([0, 1, -1, 0], np.int32), ("Atlantis", "region 2"))}, ())
    expected = Scale().score(parts[0].partial_scores(fresh))
    np.testing.assert_allclose(card.part.total(points_of(card.part, fresh)), expected, atol=1e-9, rtol=0)


def test_rows_whose_leverage_was_bounded_are_counted() -> None:
    found, bad = tables(1, 1)
    every = np.arange(ROWS, dtype=np.int64)
    tight = PreparationSpec(penalty=1e-3, leverage_bound=0.0012)
    one = fit(found[0], every, tight, binned=binned(found[0], bad, False))
    part = ModelPart(JOB, True, one, np.array([-1.0, 0.5, 0.2]), every, np.zeros(ROWS, np.bool_))
    assert card_of(part, Scale()).bounded_rows > 0


def test_a_model_without_bins_makes_no_card() -> None:
    found, _ = tables(1, 1)
    one = fit(found[0], np.arange(ROWS, dtype=np.int64), SPEC)
    part = ModelPart(JOB, True, one, np.zeros(1 + len(one.names)), np.zeros(0, np.int64), np.zeros(0, np.bool_))
    with pytest.raises(LocalError, match="no bins"):
        card_of(part, Scale())


def test_each_line_names_its_bin_in_words() -> None:
    parts, _, _ = models(parties=1)
    lines = list(card_of(parts[0], Scale()).lines())
    assert any(name == "income" and "missing" in words for name, words, _ in lines)
    assert any(name == "region" and "region 3" in words for name, words, _ in lines)
    first = [points for name, words, points in lines if name == "income" and "under " in words]
    last = [points for name, words, points in lines if name == "income" and "or more" in words]
    assert first[0] > last[0]   # the riskier the more income here


@pytest.mark.parametrize("suffix", ["json", "pmml"])
def test_a_part_is_written_privately_once(suffix: str, tmp_path: Path) -> None:
    card = card_of(models(parties=1)[0][0], Scale())
    path = tmp_path / f"card.{suffix}"
    export(card, JOB, "bank", path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    if suffix == "json":
        assert ScorecardFile.parse(path.read_bytes()).part().base == card.part.base
    with pytest.raises(LocalError, match="is there already"):
        export(card, JOB, "bank", path)
    with pytest.raises(LocalError, match=r"neither \.json nor \.pmml"):
        export(card, JOB, "bank", tmp_path / "card.xml")
    with pytest.raises(LocalError, match="cannot be written"):
        export(card, JOB, "bank", tmp_path / "nowhere" / f"card.{suffix}")


def test_cut_offs_are_round_scores_and_at_most_about_twenty() -> None:
    rng = np.random.default_rng(1)
    log_odds = rng.normal(-2, 3, 1000)
    kept = KeptScores(rng.random(1000) < 1 / (1 + np.exp(-log_odds)), log_odds, log_odds)
    table = cut_offs(kept, Scale())
    assert 5 <= len(table.cuts) <= 21
    assert (table.cuts % 10 == 0).all()
    assert (np.diff(table.bad_declined) >= 0).all()
    same = cut_offs(KeptScores(kept.outcome, np.zeros(1000), log_odds), Scale())
    assert len(same.cuts) == 1


def test_the_scale_is_the_jobs_unless_an_option_says_otherwise() -> None:
    agreed = spec(scale={"base_score": 500.0, "base_odds": 20.0, "pdo": 40.0, "decimals": 1})
    assert scale_of(agreed, None, None, None, None) == Scale(500.0, 20.0, 40.0, 1)
    assert scale_of(agreed, 620.0, None, None, 0) == Scale(620.0, 20.0, 40.0, 0)
    assert scale_of(spec(), None, None, None, None) == Scale()
    with pytest.raises(LocalError, match="scale"):
        scale_of(agreed, None, -1.0, None, None)


def test_the_command_shows_card_and_cut_offs_writes_and_notes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parts, found, bad = models(parties=1)
    monkeypatch.setattr("party_node.models.scorecard.load_part", lambda folder, job: parts[0])
    (tmp_path / JOB).mkdir()
    scores = parts[0].partial_scores(found[0])
    write_scores(tmp_path / JOB / "scores.npz", bad, scores, scores)
    audit = AuditLog(tmp_path / "audit.jsonl", "bank")
    try:
        data = show(tmp_path, "bank", audit, JOB[:6], Scale(), tmp_path / "card.json")
    finally:
        audit.close()
    shown = capsys.readouterr().err
    for word in ("income", "missing", "base points", "cut-off", "bad declined", "private"):
        assert word in shown
    assert data["characteristics"] == 2
    assert '"scorecard"' in (tmp_path / "audit.jsonl").read_text()
    assert json.loads((tmp_path / "card.json").read_text())["party"] == "bank"
