"""The estimate of traffic is an upper figure: it grows with what costs, and the stages add up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from coordinator.jobs.forecast import Rehearsed, forecast, noise_in_words, seconds
from mpc.errors import LocalError
from wire.line import Line
from wire.spec.job import JobSpec

ROWS = {"bank": 10_000, "shop": 8_000}


def spec(parties: int = 2, columns: int = 5, **changes: Any) -> JobSpec:
    names = ["bank", "shop", "telecom"][:parties]
    return JobSpec.model_validate({
        "purpose": "p", "nonce": "1" * 64, "valid_from": 0, "valid_until": 1, "protocols": {}, "reveal": [],
        "label": {"column": "bad"},
        "parties": [{"id": name, "role": "label_holder" if name == "bank" else "feature_holder",
                     "identity": f"{n}" * 64, "dataset": "t", "dataset_digest": "0" * 64,
                     "columns": [f"x{c}" for c in range(columns)], "id_columns": ["id"]}
                    for n, name in enumerate(names)],
    } | changes)


def megabytes(agreed: JobSpec, rows: dict[str, int] | None = None) -> float:
    found: float = forecast(agreed, rows or ROWS)["megabytes"]
    return found


def test_the_stages_add_up() -> None:
    found = forecast(spec(), ROWS)
    assert set(found["megabytes_by_stage"]) == {"align", "train", "evaluate"}
    assert sum(found["megabytes_by_stage"].values()) == pytest.approx(found["megabytes"], abs=0.2)
    assert found["training_rows_at_most"] == 5600   # of the smaller table, without the hold-out


def test_counting_bins_costs_one_ciphertext_a_row_and_feature_holder() -> None:
    found = forecast(spec(parties=3, binning={}), {**ROWS, "telecom": 9_000})
    assert found["megabytes_by_stage"]["bin"] == pytest.approx(2 * 5600 * 768 / 1e6, abs=0.05)


def test_correlations_cost_products_and_pairs_a_comparison_each() -> None:
    def stage(**rules: object) -> float:
        found: float = forecast(spec(correlate=rules), ROWS)["megabytes_by_stage"]["correlate"]
        return found

    columns = spec().parties
    values = len(columns[0].columns) * len(columns[1].columns)
    once = 5600 * 768 / 1e6                                   # the narrower party's columns, side by side
    assert stage(show="matrix") == pytest.approx(once + values * 64 * 12 / 1e6, abs=0.3)
    assert stage() - stage(show="matrix") == pytest.approx(values * (65 + 2 * 126 + 2 * 128) * 12 / 1e6, abs=0.2)


@pytest.mark.parametrize(("training", "rows", "words"), [
    ({}, 16_000, "penalty 0.001; noise 1 times the default moves each weight by about 0.07 of its standard error at "
                 "11,200 training rows, as if 1% fewer had trained"),
    ({"noise": 20.0}, 16_000, "that is much"),
    ({"noise": 0.0}, 16_000, "penalty 0.001; no noise: weights may show the outcomes of single customers"),
    ({"noise": 2.0}, 1_000, "penalty 0.0029; noise 2 times"),
])
def test_what_the_noise_does_is_said_in_words(training: dict[str, float], rows: int, words: str) -> None:
    job = spec(training=training)
    assert words in noise_in_words(job, forecast(job, {"bank": rows, "shop": rows}))


DEARER = {
    "more rows": (spec(), {"bank": 20_000, "shop": 16_000}),
    "more iterations": (spec(training={"iterations": 60}), ROWS),
    "longer keys": (spec(crypto={"key_bits": 4096}), ROWS),
    "more columns": (spec(columns=60), ROWS),
    "a third party": (spec(parties=3), {**ROWS, "telecom": 9_000}),
    "bins": (spec(binning={}), ROWS),
    "no hold-out": (spec(hold_out={"fraction": 0.0}), ROWS),
}


@pytest.mark.parametrize("case", DEARER)
def test_what_costs_more_is_forecast_dearer(case: str) -> None:
    agreed, rows = DEARER[case]
    assert megabytes(agreed, rows) > megabytes(spec())


def test_what_does_not_fit_is_refused_before_it_runs() -> None:
    huge = dict.fromkeys(ROWS, 3_000_000_000)
    with pytest.raises(LocalError):
        forecast(spec(), huge)


PART = Rehearsed(fixed_s=2.0, row_s=1e-3, id_s=1e-4, function_s=1e-6)
SLOW = Rehearsed(fixed_s=2.0, row_s=2e-3, id_s=1e-4, function_s=2e-6)


def time_of(agreed: JobSpec, line: Line | None = None, **parts: Rehearsed) -> dict[str, float]:
    rows = {party.id: 10_000 for party in agreed.parties}
    rehearsed = {party.id: parts.get(party.id, PART) for party in agreed.parties}
    return seconds(agreed, rows, forecast(agreed, rows), rehearsed, line)


def test_the_slowest_party_and_the_number_of_counterparts_make_the_time() -> None:
    assert time_of(spec()) == {"align": 2.0, "train": 9.0, "total": 11.0}          # 2 + 7000 rows
    assert time_of(spec(), shop=SLOW)["train"] == 16.0
    assert time_of(spec(parties=3)) == {"align": 3.0, "train": 18.0, "total": 21.0}


def test_bins_and_correlations_take_their_time_where_the_job_has_them() -> None:
    busy = replace(PART, bin_fixed_s=1.0, bin_row_s=1e-3, correlate_fixed_s=0.5, correlate_row_s=1e-4)
    parts = dict.fromkeys(("bank", "shop", "telecom"), busy)
    assert time_of(spec(parties=3), **parts) == time_of(spec(parties=3))
    found = time_of(spec(parties=3, binning={}, correlate={}), shop=replace(busy, bin_row_s=2e-3), **{
        name: part for name, part in parts.items() if name != "shop"})
    assert found["bin"] == 15.0                      # the slowest one's 1 + 7000 rows
    assert found["correlate"] == 2 * 1.2             # with both counterparts
    assert found["total"] == pytest.approx(3.0 + 15.0 + 2.4 + 18.0)


def test_a_line_that_is_slower_than_the_computing_makes_the_time() -> None:
    assert time_of(spec(), Line(1e12, 0.0)) == time_of(spec()) | {"evaluate": 0.0}
    found = time_of(spec(), Line(8e6, 0.0))
    megabytes = forecast(spec(), {"bank": 10_000, "shop": 10_000})["megabytes_by_stage"]
    assert found["train"] == pytest.approx(megabytes["train"] / 2, abs=0.1)        # a megabyte a second, each way
    far = time_of(spec(), Line(8e6, 0.5))["train"]
    assert far > found["train"] + 60


# ---------------------------------------------------------------- alignment by oprf

MILLION = 1 << 20


def aligned(engine: str, parties: int = 2, **rows: int) -> tuple[float, float]:
    """Megabytes and seconds of the alignment."""
    agreed = spec(parties, align={"engine": engine})
    sizes = {party.id: rows.get(party.id, MILLION) for party in agreed.parties}
    expected = forecast(agreed, sizes)
    rehearsed = {party.id: PART for party in agreed.parties}
    return expected["megabytes_by_stage"]["align"], seconds(agreed, sizes, expected, rehearsed, None)["align"]


def test_oprf_is_forecast_with_its_own_traffic_and_time() -> None:
    megabytes, time = aligned("oprf")
    assert 65 < megabytes * 1e6 / MILLION < 75          # measured: 65.3 with half of the ids in common, here all
    assert time == pytest.approx(2 * MILLION * 1e-6, abs=0.1)
    assert aligned("ecdh")[0] * 1e6 / MILLION == pytest.approx(128, abs=1)


def test_oprf_is_dear_in_the_label_holders_ids_and_cheap_in_the_others() -> None:
    assert aligned("oprf", bank=10_000)[0] < aligned("oprf", shop=10_000)[0] / 3
    two, three = aligned("oprf"), aligned("oprf", 3)
    assert three[0] == pytest.approx(2 * two[0], rel=0.01)
    assert three[1] == pytest.approx(4 * MILLION * 1e-6, abs=0.1)


def test_more_ids_than_a_store_holds_are_refused_before_the_job_runs() -> None:
    with pytest.raises(LocalError):
        aligned("oprf", bank=1 << 25)
