"""A party's own part: every number is that of the kept model or of the table read again, shown once, for its owner."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace

import numpy as np
import pytest

from mpc.credit.bands import calibration_bands
from mpc.credit.money import Terms
from mpc.credit.scorecard import Scale
from mpc.credit.weight_of_evidence import information_value, weight_of_evidence
from mpc.errors import LocalError
from mpc.statistics.metrics import ks, roc_auc
from party_node.data.binned_column import bin_codes
from party_node.data.sources.kinds import Kind
from party_node.data.sources.table import Table, TextColumn
from party_node.models.evaluation import evaluate
from party_node.models.finished_job import Finished
from party_node.models.kept_scores import KeptScores
from party_node.reports.judgement import Asked, asked
from party_node.reports.own_part import own_part
from reporting.sheets import Sheet
from tests.party_node.models.test_scorecard import JOB, ROWS, models
from wire.record import PartyPart
from wire.spec.job import JobSpec

HOSTILE = "<script>alert(1)</script>"
PLAIN = Asked(Scale())
MONEY = Asked(Scale(), Terms(0.6, 0.08), 5000.0, ("region", "income"))


def spec() -> JobSpec:
    def one(name: str, role: str, digit: str) -> dict:
        return {"id": name, "role": role, "identity": digit * 64, "dataset": "table", "dataset_digest": "0" * 64,
                "columns": ["income", "region"], "id_columns": ["id"]}

    return JobSpec.model_validate({
        "purpose": f"loans {HOSTILE}", "nonce": "0" * 64, "valid_from": 0, "valid_until": 1, "protocols": {},
        "parties": [one("bank", "label_holder", "1"), one("shop", "feature_holder", "2")],
        "label": {"column": "bad"}, "reveal": [], "binning": {},
    })


@pytest.fixture(scope="module")
def both() -> tuple[Finished, Finished]:
    """The label holder's and a feature holder's part of one model; a third of the rows judged it."""
    parts, tables, bad = models(parties=2)
    test = np.arange(ROWS) % 3 == 0
    tables[0] = Table(ROWS, tables[0].columns | {"bad": TextColumn("bad", bad.astype(np.int32), ("0", "1"))}, ())
    scores = [part.partial_scores(table)[test] for part, table in zip(parts, tables, strict=True)]
    kept = KeptScores(bad[test], scores[0] + scores[1], scores[0])
    made = []
    for place, party in enumerate(("bank", "shop")):
        public = PartyPart(party=party, common=ROWS, train_rows=int((~test).sum()), test_rows=int(test.sum()),
                           rows={"read": ROWS, "matched": ROWS})
        figures = None if place else dict(evaluate(kept.outcome, kept.joint, kept.solo, replicates=40))
        made.append(Finished(party, spec(), replace(parts[place], test=test), public, None if place else kept,
                             tables[place], "", figures, "" if place else "held back: the swap set"))
    return made[0], made[1]


def sheet(found: Finished, wanted: Asked, name: str) -> Sheet:
    (one,) = [one for one in own_part(found, wanted).sheets() if one.name == name]
    return one


def column(found: Sheet, name: str) -> list:
    place = [one.name for one in found.columns].index(name)
    return [row[place] for row in found.rows]


def test_bins_are_those_that_the_model_kept(both: tuple[Finished, Finished]) -> None:
    for found in both:
        lines = sheet(found, PLAIN, "bins")
        for kept in found.model.preparation.encodings:
            mine = [row for row in lines.rows if row[0] == kept.name]
            rows = Sheet("x", "", lines.columns, tuple(mine))
            order = kept.reading_order
            assert sorted(order) == sorted(kept.order)
            assert column(rows, "good") == [kept.good[k] for k in order]
            assert column(rows, "bad") == [kept.bad[k] for k in order]
            weights = weight_of_evidence(kept.good, kept.bad)[order]
            assert column(rows, "weight of evidence") == pytest.approx(weights.tolist(), abs=1e-12)
            if kept.kind is Kind.TEXT:
                regular = {kept.group[place] for place in range(kept.bins.regular)}
                safest = [weight for weight, merged in zip(weights, order, strict=True) if merged in regular]
                assert safest == sorted(safest, reverse=True)
                assert set(order[: len(regular)]) == regular       # what stands apart comes last
            else:
                assert order == kept.order
            assert sum(column(rows, "adds to information")) == pytest.approx(information_value(kept.good, kept.bad))
            assert sum(column(rows, "share")) == pytest.approx(1)


def test_the_points_of_both_parts_add_up_to_the_score_of_a_customer(both: tuple[Finished, Finished]) -> None:
    scale, total = Scale(decimals=None), 0.0
    for found in both:
        points = sheet(found, Asked(scale), "points")
        assert found.table is not None
        total += points.rows[-1][2]
        for kept in found.model.preparation.encodings:
            code = bin_codes(kept.merged, found.table.column(kept.name))[0]
            total += [row[2] for row in points.rows if row[0] == kept.name][code]
    log_odds = sum(found.model.partial_scores(found.table)[0] for found in both)
    assert total == pytest.approx(float(scale.score(np.array([log_odds]))[0]), abs=1e-9)


def test_cut_offs_bands_and_segments_are_those_of_the_kept_scores(both: tuple[Finished, Finished]) -> None:
    bank, kept = both[0], both[0].scores
    assert kept is not None
    cuts = sheet(bank, MONEY, "cut_offs")
    points = Scale().score(kept.joint)
    assert column(cuts, "approved") == [int((points >= cut).sum()) for cut in column(cuts, "cut-off")]
    bands = sheet(bank, MONEY, "calibration_bands")
    expected = calibration_bands(kept.outcome, kept.joint, Scale().log_odds(np.array(column(cuts, "cut-off"))))
    assert column(bands, "bad") == [band.bad for band in reversed(expected)]
    assert sum(column(bands, "customers")) == len(kept.outcome)
    segments = sheet(bank, MONEY, "segments")
    for name in ("region", "income"):
        rows = [row for row in segments.rows if row[0] == name]
        assert sum(row[2] for row in rows) == len(kept.outcome)
        assert sum(row[3] for row in rows) == int(kept.outcome.sum())
    region = bank.table.column("region").codes[bank.judged]
    first = next(row for row in segments.rows if row[1] == "region 2")
    mine = region == 2
    assert first[5] == pytest.approx(roc_auc(kept.outcome[mine], kept.joint[mine]))
    assert first[11] == pytest.approx(ks(kept.outcome[mine], kept.joint[mine]))


def test_reasons_are_points_below_the_best_bin(both: tuple[Finished, Finished]) -> None:
    for found in both:
        points, below = sheet(found, PLAIN, "points"), sheet(found, PLAIN, "reasons")
        for kept in found.model.preparation.encodings:
            given = np.array([row[2] for row in points.rows if row[0] == kept.name])
            codes = bin_codes(kept.merged, found.table.column(kept.name), found.judged)
            lost = given.max() - given[codes]
            row = next(row for row in below.rows if row[0] == kept.name)
            assert row[1:] == pytest.approx(((lost > 0).mean(), lost.mean(), lost.max()))


def test_money_follows_from_the_terms(both: tuple[Finished, Finished]) -> None:
    bank, kept = both[0], both[0].scores
    assert kept is not None
    money = sheet(bank, MONEY, "money_by_cut_off")
    points = Scale().score(kept.joint)
    for cut, profit, low, high in zip(*(column(money, name) for name in
                                        ("cut-off", "profit", "profit, low", "profit, high")), strict=True):
        approved = points >= cut - 1e-9
        bad = int((approved & kept.outcome).sum())
        earned = 5000 * (0.08 * (int(approved.sum()) - bad) - 0.6 * bad) / len(points) * 1000
        assert profit == pytest.approx(earned)
        assert low <= profit <= high
    gain = sheet(bank, MONEY, "money_solo_joint")
    assert [a - b for a, b in zip(column(gain, "joint"), column(gain, "solo"), strict=True)] == \
        pytest.approx(column(gain, "difference"), abs=25)   # released rates have six digits
    assert min(column(gain, "difference")) > 0


def test_stability_tells_a_shift_from_chance(both: tuple[Finished, Finished]) -> None:
    shop = both[1]
    assert set(column(sheet(shop, PLAIN, "stability"), "reading")) == {"no more than chance"}
    assert shop.table is not None
    values = shop.table.column("income").values.copy()
    values[shop.judged] += 1.5
    moved = replace(shop, table=Table(ROWS, shop.table.columns | {
        "income": replace(shop.table.column("income"), values=values)}, ()))
    readings = dict(zip(*(column(sheet(moved, PLAIN, "stability"), name) for name in ("what", "reading")), strict=True))
    assert readings["region"] == "no more than chance"
    assert readings["income"] in ("moderate", "large")
    words = {"large": "Unstable, 0.25 or more: income", "moderate": "To be watched, 0.1 or more: income"}
    assert words[readings["income"]] in own_part(moved, PLAIN).page()
    assert "No column reaches 0.1 beyond chance" in own_part(shop, PLAIN).page()


def test_a_table_that_changed_is_said_and_nothing_is_made_up(both: tuple[Finished, Finished]) -> None:
    lost = replace(both[0], table=None, changed="`loans.csv` changed since it was registered")
    part = own_part(lost, MONEY)
    assert part.page().count("changed since it was registered") == 3
    assert "reasons" not in {one.name for one in part.sheets()}
    assert {"bins", "points", "cut_offs", "money_by_cut_off"} <= {one.name for one in part.sheets()}
    assert not {"stability", "segments", "columns"} & {one.name for one in part.sheets()}


def test_the_label_holder_reads_exact_figures_and_what_was_held_back(both: tuple[Finished, Finished]) -> None:
    holder, other = both
    own = sheet(holder, PLAIN, "own_figures")
    auc = next(row for row in own.rows if row[0] == "AUC")
    assert holder.scores is not None
    assert auc[4] == pytest.approx(roc_auc(holder.scores.outcome, holder.scores.joint), abs=1e-6)
    assert "held back: the swap set" in own_part(holder, PLAIN).page()
    assert "own_figures" not in [one.name for one in own_part(other, PLAIN).sheets()]


def test_a_hold_out_of_one_outcome_has_no_figures_and_says_why(both: tuple[Finished, Finished]) -> None:
    holder = both[0]
    assert holder.scores is not None
    nobody = replace(holder.scores, outcome=np.zeros(len(holder.scores.outcome), bool))
    silent = replace(holder, scores=nobody, figures=None, held_back="nothing was released: too few")
    page = own_part(silent, PLAIN).page()
    assert "No figure can be made: nothing was released: too few." in page


def test_without_a_hold_out_nothing_is_said_to_have_moved(both: tuple[Finished, Finished]) -> None:
    none = replace(both[1], model=replace(both[1].model, test=np.zeros(ROWS, np.bool_)))
    assert "stability" not in {one.name for one in own_part(none, PLAIN).sheets()}
    assert "There is no hold-out sample" in own_part(none, PLAIN).page()


def test_a_feature_holder_has_neither_segments_nor_money(both: tuple[Finished, Finished]) -> None:
    with pytest.raises(LocalError, match="label holder has"):
        own_part(both[1], MONEY)
    page = own_part(both[1], PLAIN).page()
    for word in ("validation", "money", "segments"):
        assert f'id="{word}"' not in page


def test_options_that_do_not_fit_are_refused() -> None:
    with pytest.raises(LocalError, match="together"):
        asked(Scale(), (0.6, None, None), ())
    with pytest.raises(LocalError, match="shares above 0"):
        asked(Scale(), (1.5, 0.1, 1.0), ())
    assert asked(Scale(), (None, None, None), ["a", "a"]).segments == ("a",)


def test_the_page_escapes_runs_nothing_and_repeats(both: tuple[Finished, Finished]) -> None:
    named = replace(both[0], party="bank")
    page = own_part(named, MONEY).page()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert page.count("<svg") == 2 * len(named.model.preparation.encodings) + 3
    assert own_part(named, MONEY).page() == page
    for title in ("Characteristics and bins", "Scorecard", "Validation", "Stability", "Segments", "Money"):
        assert title in page


def test_files_and_page_hold_the_same_values(both: tuple[Finished, Finished]) -> None:
    part = own_part(both[0], MONEY)
    page = part.page()
    for one in part.sheets():
        assert next(csv.reader(io.StringIO(one.text()))) == [column.name for column in one.columns]
        assert not any(isinstance(cell, float) and math.isinf(cell) for row in one.rows for cell in row)
    rates = column(sheet(both[0], MONEY, "bins"), "bad rate")
    assert all(f"{100 * rate:.1f} %" in page for rate in rates)
    assert JOB in page
