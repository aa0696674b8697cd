"""From job.toml to the spec that all sign: the contract is checked before any cryptography, with advice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from coordinator.jobs.driver import prepare
from coordinator.jobs.forecast import forecast
from coordinator.jobs.plan import JobPlan, PlanError, PlannedAlign, PlannedTraining, build_spec, load_plan
from mpc.protocols import PROTOCOLS
from tests.coordinator.conftest import dataset
from wire.spec.columns import BinningSpec, CorrelateSpec
from wire.spec.hold_out import HoldOutSpec
from wire.spec.job import JobSpec, ScaleSpec, decode_spec, encode_spec
from wire.spec.label import ClassWeights
from wire.spec.training_terms import train_options

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def build(plan: JobPlan, nodes: Any, **changes: Any) -> JobSpec:
    identities = {name: digit * 64 for name, digit in (("bank", "a"), ("shop", "b"))}
    return build_spec(plan.model_copy(update=changes), {n: v.datasets for n, v in nodes.items()}, identities, NOW)


def test_a_plan_becomes_a_canonical_spec(plan: JobPlan, nodes: Any) -> None:
    spec = build(plan, nodes)
    assert decode_spec(encode_spec(spec)) == spec
    assert [party.id for party in spec.parties] == ["bank", "shop"]
    assert spec.label_holder.id == "bank"
    assert spec.party("bank").columns == ["income", "region"]        # all that is offered, without the label
    assert spec.party("bank").categorical == ["region"]
    assert spec.party("shop").dataset_digest == "d" * 64
    assert spec.protocols == {name: protocol.version for name, protocol in PROTOCOLS.items()}
    unused = {"align.members.label_holder", "align.size", "align.copies"}
    always = [protocol for name, protocol in PROTOCOLS.items() if name not in ("bin", "correlate", "split")]
    lines = {line.code for protocol in always for line in protocol.ledger}
    assert set(spec.reveal) == lines - unused
    assert spec.binning is None
    assert spec.valid_from <= NOW.timestamp() < spec.valid_until


def test_a_job_with_bins_reveals_their_counts(plan: JobPlan, nodes: Any) -> None:
    spec = build(plan, nodes, binning=BinningSpec())
    assert decode_spec(encode_spec(spec)) == spec
    assert set(spec.reveal) - set(build(plan, nodes).reveal) == {"bin.counts", "bin.merged"}


@pytest.mark.parametrize("who", ["label_holder", "feature_holder"])
def test_a_plan_that_still_says_who_counts_reads_that_it_is_no_choice(tmp_path: Path, who: str) -> None:
    sample = (Path(__file__).parents[3] / "docs/samples/job.toml").read_text(encoding="utf-8")
    (tmp_path / "job.toml").write_text(sample.replace("[binning]", f'[binning]\ncounts_at = "{who}"'))
    with pytest.raises(PlanError, match=r"job\.toml, field binning: counts_at is no choice any more.*leave it out"):
        load_plan(tmp_path / "job.toml")


@pytest.mark.parametrize("since", [date(2024, 1, 31), "2024-01-31"])
def test_a_column_that_splits_by_period_is_no_feature_and_every_party_is_told(
    plan: JobPlan, nodes: Any, since: Any
) -> None:
    hold_out = HoldOutSpec.model_validate({"column": "vintage", "since": since})
    with pytest.raises(PlanError, match="declares no period in `loans`") as undeclared:
        build(plan, nodes, hold_out=hold_out)
    assert 'period = "vintage"' in undeclared.value.advice
    nodes["bank"].datasets = [nodes["bank"].datasets[0].model_copy(update={"period_column": "vintage"})]
    spec = build(plan, nodes, hold_out=hold_out)
    assert decode_spec(encode_spec(spec)) == spec
    assert spec.party("bank").columns == ["income", "region"]
    assert spec.hold_out.since == "2024-01-31"
    assert set(spec.reveal) - set(build(plan, nodes).reveal) == {"split.period"}
    with pytest.raises(PlanError, match="has no period `income`") as other:   # offered, and no period
        build(plan, nodes, hold_out=HoldOutSpec(column="income"))
    assert other.value.advice == "did you mean `vintage`?"


@pytest.mark.parametrize(("rules", "codes"), [
    ({}, {"correlate.pairs", "correlate.compared"}), ({"show": "matrix"}, {"correlate.matrix"}),
    ({"to": "label_holder"}, {"correlate.pairs_to_holder", "correlate.compared"}),
    ({"show": "matrix", "to": "label_holder"}, {"correlate.matrix_to_holder"}),
    ({"show": "inflation"}, {"correlate.inflation"}),
])
def test_a_job_with_correlations_reveals_those_that_it_shows_and_to_whom(
    plan: JobPlan, nodes: Any, rules: dict[str, str], codes: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wire.spec.job.LEAST_TURNED", 1)
    spec, without = build(plan, nodes, correlate=CorrelateSpec.model_validate(rules)), build(plan, nodes)
    assert decode_spec(encode_spec(spec)) == spec
    assert set(spec.reveal) - set(without.reveal) == codes | {"correlate.rounding"}
    assert set(spec.release) - set(without.release) == {"correlations"}
    assert without.correlate is None


def test_inflation_beside_a_column_or_two_is_refused_before_anybody_signs(plan: JobPlan, nodes: Any) -> None:
    with pytest.raises(PlanError, match="inflation needs 3 columns or more"):
        build(plan, nodes, correlate=CorrelateSpec(show="inflation"))


@pytest.mark.parametrize(("training", "iterations"), [
    ({}, 8), ({"expected_default_rate": 0.09}, 12), ({"expected_default_rate": 0.95}, 12),
    ({"expected_default_rate": 0.02, "iterations": 20}, 20), ({"iterations": 12}, 12),
])
def test_iterations_that_nobody_named_follow_from_the_expected_default_rate(
    plan: JobPlan, nodes: Any, training: dict[str, float], iterations: int
) -> None:
    spec = build(plan, nodes, training=PlannedTraining.model_validate(training))
    assert spec.training.iterations == iterations
    assert decode_spec(encode_spec(spec)) == spec


def test_the_scale_of_the_points_is_part_of_what_is_signed(plan: JobPlan, nodes: Any) -> None:
    assert build(plan, nodes).scale == ScaleSpec(base_score=600.0, base_odds=50.0, pdo=20.0, decimals=0)
    spec = build(plan, nodes, scale=ScaleSpec(base_score=500.0, pdo=40.0))
    assert decode_spec(encode_spec(spec)).scale.base_score == 500.0


def test_two_specs_of_one_plan_are_two_jobs(plan: JobPlan, nodes: Any) -> None:
    assert build(plan, nodes).nonce != build(plan, nodes).nonce


OUTPUTS = {
    "all": {"align.overlaps", "align.members"},
    "label_holder_only": {"align.overlaps", "align.members.label_holder", "align.size"},
    "sizes_only": {"align.overlaps", "align.size"},
}


@pytest.mark.parametrize("output", OUTPUTS)
def test_an_alignment_names_no_columns_and_reveals_what_its_output_says(
    output: Any, plan: JobPlan, nodes: Any
) -> None:
    spec = build(plan, nodes, goal="alignment", align=PlannedAlign(output=output))
    assert set(spec.reveal) == OUTPUTS[output]
    assert [party.columns for party in spec.parties] == [[], []]
    assert spec.release == ["row_counts", "timings"]
    assert decode_spec(encode_spec(spec)) == spec


def test_repeated_ids_that_are_kept_are_a_line_of_the_ledger(plan: JobPlan, nodes: Any) -> None:
    spec = build(plan, nodes, **party_changed("bank", duplicates="keep_all")(plan))
    assert spec.label_holder.duplicates == "keep_all"
    assert "align.copies" in spec.reveal


def party_changed(name: str, **changes: Any) -> Callable[[JobPlan], dict[str, Any]]:
    return lambda plan: {"party": [p.model_copy(update=changes) if p.id == name else p for p in plan.party]}


def label_changed(column: str) -> Callable[[JobPlan], dict[str, Any]]:
    return lambda plan: {"label": plan.label.model_copy(update={"column": column})}


def test_trends_of_columns_go_into_the_spec(plan: JobPlan, nodes: Any) -> None:
    changes = party_changed("shop", trends={"returns": "ascending", "basket": "peak"})(plan)
    spec = build(plan, nodes, binning=BinningSpec(), **changes)
    assert spec.party("shop").trends == {"basket": "peak", "returns": "ascending"}
    assert decode_spec(encode_spec(spec)) == spec


def with_terms(**terms: Any) -> Callable[[JobPlan], dict[str, Any]]:
    return lambda plan: {"label": plan.label.model_copy(update=terms)}


def test_weights_and_an_offset_are_no_features(plan: JobPlan, nodes: Any) -> None:
    offered = {"income": "numeric", "region": "categorical", "bad": "numeric", "w": "numeric", "o": "numeric"}
    nodes["bank"].datasets = [dataset("loans", offered, label_column="bad", label_positive=["1"])]
    classes = ClassWeights(bad=3.0, good=1.0)
    spec = build(plan, nodes, **with_terms(weights="w", offset="o", class_weights=classes)(plan))
    assert spec.label_holder.columns == ["income", "region"]
    assert decode_spec(encode_spec(spec)) == spec
    assert (spec.label.weights, spec.label.offset) == ("w", "o")
    assert set(spec.reveal) == set(build(plan, nodes).reveal)    # nobody learns anything more
    options = train_options(spec, 1000)
    assert options.weighting is not None
    assert options.weighting.by == "bank"
    assert options.expected_default_rate == pytest.approx(0.3 / (0.3 + 0.9))
    assert forecast(spec, {"bank": 4000, "shop": 4000})["megabytes_by_stage"]["train"] >= \
        forecast(build(plan, nodes), {"bank": 4000, "shop": 4000})["megabytes_by_stage"]["train"]


MISTAKES: dict[str, tuple[Callable[[JobPlan], dict[str, Any]], str, str, str]] = {
    "a dataset that is not offered": (party_changed("shop", dataset="ordres"), "shop",
                                      "shop offers no dataset `ordres`", "did you mean `orders`?"),
    "a column with a slip": (party_changed("bank", columns=["incom"]), "bank",
                             "bank offers no column `incom`", "did you mean `income`?"),
    "a column that nobody has": (party_changed("shop", columns=["zzz"]), "shop",
                                 "shop offers no column `zzz`", "offered: basket, returns"),
    "the label among the columns": (party_changed("bank", columns=["bad"]), "bank",
                                    "bank offers no column `bad`", "offered: income, region"),
    "weights with a slip": (with_terms(weights="incme"), "bank",
                            "bank offers no column `incme` for weights or an offset", "did you mean `income`?"),
    "an offset of categories": (with_terms(offset="region"), "bank",
                                "`region` of bank holds categories, and weights and offsets are numbers",
                                "name a column of numbers"),
    "the weights among the columns": (
        lambda plan: with_terms(weights="income")(plan) | party_changed("bank", columns=["income"])(plan), "bank",
        "`income` of bank holds the weights or the offset, and so is no feature", "leave it out of the columns"),
    "a trend of a column with a slip": (
        party_changed("shop", trends={"baskets": "peak"}), "shop",
        "a trend is named for `baskets`, which is no column of shop in this job", "did you mean `basket`?"),
    "trends without bins": (
        party_changed("shop", trends={"basket": "peak"}), "coordinator",
        "trends are named for columns of shop, but the job has no bins", "add [binning] to the job"),
    "a label with a slip": (label_changed("bda"), "bank", "bank has no label column `bda`", "did you mean `bad`?"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_named_with_its_mending(case: str, plan: JobPlan, nodes: Any) -> None:
    change, whose, what, advice = MISTAKES[case]
    with pytest.raises(PlanError) as caught:
        build(plan, nodes, **change(plan))
    assert (caught.value.whose, caught.value.what) == (whose, what)
    assert caught.value.advice.startswith(advice)


def offered(node: str, **changes: Any) -> Callable[[Any], None]:
    def change(nodes: Any) -> None:
        nodes[node].datasets = [nodes[node].datasets[0].model_copy(update=changes)]

    return change


def test_where_one_party_holds_digests_the_others_hash_theirs(plan: JobPlan, nodes: Any) -> None:
    hexadecimal = {"hexadecimal": 1.0, "length_64_64": 1.0}
    offered("shop", id_scheme="sha256", id_shapes=[hexadecimal])(nodes)
    spec = build(plan, nodes)
    assert spec.align.id_scheme == "sha256"
    assert [party.id_scheme for party in spec.parties] == ["written", "sha256"]


CONTRACTS: dict[str, tuple[Callable[[Any], None], str]] = {
    "no label at the label holder": (offered("bank", label_column=None), "bank offers no label"),
    "a label of other values": (offered("bank", label_positive=["default", "fraud"]), "bank declares no value `1`"),
    "no columns": (offered("shop", columns=[]), "shop offers no columns"),
    "another id profile": (offered("shop", id_profiles=["phone"]), "bank matches ids as plain, shop as phone"),
    "ids of another kind": (offered("shop", id_shapes=[{"digits_only": 1.0, "length_11_11": 1.0}]),
                            "shop's ids are digits only, bank's ids are not"),
    "nothing offered at all": (lambda nodes: nodes["shop"].datasets.clear(), "shop offers no dataset"),
}


@pytest.mark.parametrize("case", CONTRACTS)
def test_a_broken_contract_is_found_before_anything_is_sent(case: str, plan: JobPlan, nodes: Any) -> None:
    change, words = CONTRACTS[case]
    change(nodes)
    with pytest.raises(PlanError, match=words):
        build(plan, nodes)


async def test_the_nodes_are_asked_before_the_spec_is_made(plan: JobPlan, nodes: Any) -> None:
    spec, views = await prepare(plan, nodes)
    assert set(views) == {"bank", "shop"}
    assert spec.party("bank").identity == views["bank"].identity
    assert nodes["bank"].calls == ["describe"]


async def test_a_party_outside_the_consortium_is_named(plan: JobPlan, nodes: Any) -> None:
    del nodes["shop"]
    with pytest.raises(PlanError, match="shop is not in the consortium file"):
        await prepare(plan, nodes)


async def test_clocks_and_versions_are_compared(plan: JobPlan, nodes: Any) -> None:
    nodes["shop"].skew_s = 120.0
    with pytest.raises(PlanError, match="the clock of shop differs by 120 s"):
        await prepare(plan, nodes)
    nodes["shop"].skew_s = 0.0
    nodes["shop"].protocols["train"] += 1
    with pytest.raises(PlanError, match="shop runs other protocol versions") as caught:
        await prepare(plan, nodes)
    assert caught.value.whose == "shop"


FILES = {
    "no file": (None, "cannot be read"),
    "no TOML": ("purpose: credit", "is not TOML"),
    "no UTF-8": (b"\xff\xfe", "is not TOML"),
    "a field too many": ('purpose = "x"\nseed = 7\n[label]\nparty = "bank"\ncolumn = "bad"\n[[party]]\nid = "bank"\n'
                         'dataset = "a"\n[[party]]\nid = "shop"\ndataset = "b"\n', "field seed"),
    "one party": ('purpose = "x"\n[label]\nparty = "bank"\ncolumn = "bad"\n[[party]]\nid = "bank"\ndataset = "a"\n',
                  "field party"),
    "a label of nobody": ('purpose = "x"\n[label]\nparty = "mill"\ncolumn = "bad"\n[[party]]\nid = "bank"\n'
                          'dataset = "a"\n[[party]]\nid = "shop"\ndataset = "b"\n', "mill is not among the parties"),
    "too short a key": ('purpose = "x"\n[label]\nparty = "bank"\ncolumn = "bad"\n[[party]]\nid = "bank"\n'
                        'dataset = "a"\n[[party]]\nid = "shop"\ndataset = "b"\n[crypto]\nkey_bits = 1024\n',
                        "field crypto.key_bits"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_wrong_file_is_refused_by_its_field(case: str, tmp_path: Path) -> None:
    content, words = FILES[case]
    path = tmp_path / "job.toml"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(PlanError, match=words) as caught:
        load_plan(path)
    assert caught.value.advice
