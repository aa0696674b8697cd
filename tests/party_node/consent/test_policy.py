"""The policy: the ordinary job passes, and each way to ask for too much is refused by its own line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from party_node.consent import datasets, policy
from party_node.consent.datasets import DatasetPolicy
from party_node.consent.job_costs import debits, feature_equations, models, models_scored
from party_node.consent.policy import RULES, Verdict, decide, decide_count
from party_node.records.budgets import Budget, spent_as_told
from wire.spec.job import JobSpec


def put(*path: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    """A change that sets one nested value."""
    def change(raw: dict[str, Any]) -> None:
        target: Any = raw
        for step in path[:-1]:
            target = target.setdefault(step, {}) if isinstance(target, dict) else target[step]
        target[path[-1]] = value
    return change


def test_the_ordinary_job_is_allowed(bank: Any) -> None:
    decision = decide(bank.question(bank.spec(), bank.register()))
    assert (decision.verdict, decision.code) == (Verdict.ALLOW, "ALLOWED")


def test_a_declared_period_splits_as_often_as_its_budget_says(bank: Any) -> None:
    dataset = bank.register(put("period", value="vintage"))
    wanted = put("hold_out", value={"column": "vintage", "since": "2024-01"})
    assert decide(bank.question(bank.spec(wanted), dataset)).verdict is Verdict.ALLOW
    decision = decide(bank.question(bank.spec(wanted), dataset, spent={Budget.PERIOD_SPLITS: 4}))
    assert (decision.line, decision.verdict) == ("policy.budgets", Verdict.DENY)
    assert "period_splits" in decision.what
    cost = {debit.budget: debit.amount for debit in debits(bank.spec(wanted), "shop", dataset)}
    assert cost[Budget.PERIOD_SPLITS] == 0, "only the label holder tells periods"
    assert decide(bank.question(bank.spec(), dataset, spent={Budget.PERIOD_SPLITS: 4})).verdict is Verdict.ALLOW


def test_a_dataset_may_want_a_person(bank: Any) -> None:
    dataset = bank.register(put("policy", "approval", value="ask"))
    decision = decide(bank.question(bank.spec(), dataset))
    assert decision.verdict is Verdict.ASK
    assert "party-node approve" in decision.advice


SPECS = {  # what the job asks for -> (change to the spec, line of the policy)
    "a purpose that the dataset does not serve": (put("purpose", value="marketing"), "policy.purposes"),
    "to use what no job made ahead here": (put("prepared", value="ab" * 32), "spec.prepared"),   # more: test_halves.py
    "to stay in force for years": (put("valid_until", value=1 << 40), "spec.valid_until"),
    "a purpose in other letters": (put("purpose", value="Credit Risk"), "policy.purposes"),
    "a column that is not offered": (put("parties", 0, "columns", value=["salary"]), "policy.columns"),
    "a column offered but not in the policy":
        (put("parties", 0, "columns", value=["income", "secret_score"]), "policy.columns"),
    "an offered column as a period, cut anywhere":
        (put("hold_out", value={"column": "age", "since": "50"}), "dataset.period"),
    "a period that the dataset does not declare": (put("hold_out", value={"column": "vintage"}), "dataset.period"),
    "a label of another name": (put("label", "column", value="worse"), "policy.use_label"),
    "another value of the label": (put("label", "positive", value="2"), "dataset.label_positive"),
    "a column of categories as if it held numbers": (put("parties", 0, "categorical", value=[]), "policy.columns"),
    "ids matched by another column": (put("parties", 0, "id_columns", value=["passport"]), "dataset.id"),
    "ids matched by another profile": (put("align", value={"id_profiles": ["phone"]}), "dataset.id"),
    "digests where the dataset has ids in writing": (
        lambda raw: (put("parties", 0, "id_scheme", value="sha256")(raw),
                     put("align", value={"id_scheme": "sha256"})(raw)), "dataset.id"),
    "a table with other bytes": (put("parties", 0, "dataset_digest", value="e" * 64), "dataset.digest"),
    "keys of 2048 bits": (put("crypto", value={"key_bits": 2048}), "policy.key_bits"),
    "a hold-out of a handful": (put("hold_out", value={"minimum_hold_out": 20}), "policy.minimum_hold_out"),
    "figures of one bad customer": (put("hold_out", value={"minimum_outcome": 1}), "policy.minimum_outcome"),
    "a model without a column of the label holder":
        (put("parties", 0, "columns", value=[]), "policy.label_holder_columns"),
    "a support of one row": (put("preparation", value={"minimum_support": 1}), "policy.minimum_support"),
    "correlations finer than their rows support": (put("correlate", value={"bits": 12}), "policy.correlation_bits"),
    "rows with any leverage": (put("preparation", value={"leverage_bound": 1.0}), "policy.maximum_leverage"),
    "rows that weigh fifty times the mean":
        (put("label", value={"column": "bad", "weights": "age", "largest_weight": 50.0}), "policy.largest_weight"),
    "weights of rows, which nobody allowed":
        (put("label", value={"column": "bad", "weights": "age"}), "policy.largest_weight"),
    "customers who weigh by their rows, which nobody allowed":
        (put("parties", 0, "duplicates", value="keep_all"), "policy.largest_weight"),
    "a bad customer that weighs as ten good ones":
        (put("label", value={"column": "bad", "class_weights": {"bad": 10.0, "good": 1.0}}), "policy.largest_weight"),
    "outcomes that weigh the same":
        (put("label", value={"column": "bad", "class_weights": "balanced"}), "policy.balanced_classes"),
    "weights that are not offered":
        (put("label", value={"column": "bad", "weights": "no_such_column"}), "policy.columns"),
    "an offset that is offered and not in the policy":
        (put("label", value={"column": "bad", "offset": "secret_score"}), "policy.columns"),
    "to count in bins of two": (put("binning", value={"minimum_cell": 2}), "policy.minimum_cell"),
    "to tell of bins with one bad customer": (put("binning", value={"minimum_outcome": 1}), "policy.minimum_outcome"),
    "more counts of bins than a tenth of the rows": (
        lambda raw: (put("parties", 1, "columns", value=[f"c{n}" for n in range(12)])(raw),
                     put("binning", value={"maximum_bins": 8})(raw)), "policy.budgets"),
    "a reveal beyond the policy":
        (put("reveal", value=["score.sum", "train.delta", "train.step", "train.weights"]), "policy.reveal"),
    "a reveal that nobody knows": (put("reveal", value=["train.everything"]), "policy.reveal"),
    "less noise than the default": (put("training", value={"iterations": 20, "noise": 0.9}), "policy.minimum_noise"),
    "the release of curves": (put("release", value=["metrics", "curves"]), "policy.release"),
    "another version of a protocol":
        (put("protocols", value={"align": 1, "score": 1, "train": 2}), "spec.protocols"),
    "a protocol that we do not speak":
        (put("protocols", value={"align": 1, "score": 1, "train": 1, "xgb": 1}), "spec.protocols"),
    "a protocol left without a version": (put("protocols", value={"align": 1}), "spec.protocols"),
    "more training rounds than are left": (put("training", value={"iterations": 51}), "policy.budgets"),
    "more feature equations than a tenth of the rows":
        (put("parties", 1, "columns", value=[f"c{n}" for n in range(101)]), "policy.budgets"),
}


@pytest.mark.parametrize("what", SPECS)
def test_denied_by_its_own_line_when_the_job_wants(what: str, bank: Any) -> None:
    change, line = SPECS[what]
    decision = decide(bank.question(bank.spec(change), bank.register()))
    assert (decision.verdict, decision.line) == (Verdict.DENY, line)
    assert decision.what
    assert decision.advice
    assert decision.code in {rule.code for rule in RULES}


def as_feature_holder(raw: dict[str, Any]) -> None:
    raw["parties"][0].update(role="feature_holder", columns=["income", "age", "region"])
    raw["parties"][1]["role"] = "label_holder"


SCORED = {  # what the job wants of a feature holder of three columns, whose policy asks for as many -> line
    "a finer grid of scores": ({"grid": 0.01, "minimum_columns": 3}, "policy.finest_score_grid"),
    "fewer columns than the policy asks for": ({"minimum_columns": 2}, "policy.minimum_columns"),
    "more columns than it names": ({}, "policy.minimum_columns"),
}


@pytest.mark.parametrize("what", SCORED)
def test_a_feature_holder_denies_by_its_own_line_a_job_that_wants(what: str, bank: Any) -> None:
    scores, line = SCORED[what]
    dataset = bank.register(put("policy", "minimum_columns", value=3))

    def change(raw: dict[str, Any]) -> None:
        as_feature_holder(raw)
        raw["scores"] = scores

    decision = decide(bank.question(bank.spec(change), dataset))
    assert (decision.verdict, decision.line) == (Verdict.DENY, line)
    assert decision.advice


def test_a_coarser_grid_passes_and_a_second_model_scored_does_not(bank: Any) -> None:
    dataset = bank.register(put("policy", "minimum_columns", value=3))

    def change(raw: dict[str, Any]) -> None:
        as_feature_holder(raw)
        raw["scores"] = {"grid": 0.05, "minimum_columns": 3}

    spec = bank.spec(change)
    assert decide(bank.question(spec, dataset)).verdict is Verdict.ALLOW
    decision = decide(bank.question(spec, dataset, spent=dict.fromkeys(Budget, 0) | {Budget.SCORED_MODELS: 1}))
    assert (decision.verdict, decision.line) == (Verdict.DENY, "policy.budgets")
    assert "models" in decision.what
    assert models_scored(spec, "bank-a") == 1
    assert models_scored(spec, "shop") == 0          # the label holder hears its own part anyway


POLICIES = {  # what the policy says -> (change to the dataset file, line)
    "no purpose": (put("policy", "purposes", value=[]), "policy.purposes"),
    "no partner": (put("policy", "partners", value=["telecom"]), "policy.partners"),
    "no coordinator": (put("policy", "coordinators", value=[]), "policy.coordinators"),
    "no label": (put("policy", "use_label", value=False), "policy.use_label"),
    "no value of the label": (put("label_positive", value=[]), "dataset.label_positive"),
    "no column": (put("policy", "columns", value=[]), "policy.columns"),
    "more rows than there are": (put("policy", "minimum_rows", value=1001), "policy.minimum_rows"),
    "a larger intersection": (put("policy", "minimum_intersection", value=101), "policy.minimum_intersection"),
    "no reveal": (put("policy", "reveal", value=[]), "policy.reveal"),
    "no release": (put("policy", "release", value=[]), "policy.release"),
    "a budget of no alignments": (put("policy", "budgets", "alignments", value=0), "policy.budgets"),
    "a budget of no alignments with the partner":
        (put("policy", "budgets", "alignments_per_partner", value=0), "policy.budgets"),
    "a budget of no scores": (put("policy", "budgets", "score_calls", value=0), "policy.budgets"),
    "a budget of no models": (put("policy", "budgets", "models", value=0), "policy.budgets"),
    "a budget of one equation": (put("policy", "budgets", "feature_equations", value=1), "policy.budgets"),
    "nothing at all": (put("policy", value={}), "policy.coordinators"),
}


@pytest.mark.parametrize("what", POLICIES)
def test_denied_by_its_own_line_when_the_policy_says(what: str, bank: Any) -> None:
    change, line = POLICIES[what]
    decision = decide(bank.question(bank.spec(), bank.register(change)))
    assert (decision.verdict, decision.line) == (Verdict.DENY, line)


CIRCUMSTANCES = {
    "the spec has expired": ({"now": 1_800_010_000.0}, "spec.valid_until"),
    "the spec is not yet valid": ({"now": 1_700_000_000.0}, "spec.valid_until"),
    "we are not a party": ({"me": "telecom"}, "spec.parties"),
    "another coordinator asks": ({"coordinator": "intruder"}, "policy.coordinators"),
    "the budget is spent": ({"spent": {Budget.ALIGNMENTS: 3}}, "policy.budgets"),
    "a party is not in the consortium": ({"identities": {}}, "consortium.identity"),
}


@pytest.mark.parametrize("what", CIRCUMSTANCES)
def test_denied_when(what: str, bank: Any) -> None:
    changes, line = CIRCUMSTANCES[what]
    decision = decide(bank.question(bank.spec(), bank.register(), **changes))
    assert (decision.verdict, decision.line) == (Verdict.DENY, line)


def test_denied_when_the_coordinator_puts_its_own_key_in_a_partners_place(bank: Any) -> None:
    dataset = bank.register()
    for place in (0, 1):
        spec = bank.spec(put("parties", place, "identity", value=bank.public["stranger"]))
        assert decide(bank.question(spec, dataset)).line == "consortium.identity"


def test_an_unknown_dataset_and_one_for_others_read_the_same(bank: Any) -> None:
    hidden = bank.register(put("policy", "coordinators", value=["other"]))
    absent = decide(bank.question(bank.spec(), None))
    assert absent == decide(bank.question(bank.spec(), hidden))
    assert absent.line == "policy.coordinators"


def test_a_column_that_is_not_offered_reads_like_one_that_does_not_exist(bank: Any) -> None:
    dataset = bank.register()
    texts = {
        decide(bank.question(bank.spec(put("parties", 0, "columns", value=[name])), dataset)).what.replace(name, "X")
        for name in ("secret_score", "no_such_column")
    }
    assert len(texts) == 1


def test_weights_and_an_offset_that_are_offered_are_allowed(bank: Any) -> None:
    change = put("label", value={"column": "bad", "weights": "age", "class_weights": "balanced"})
    dataset = bank.register(lambda raw: raw["policy"].update(largest_weight=10.0, balanced_classes=True))
    assert decide(bank.question(bank.spec(change), dataset)).verdict is Verdict.ALLOW
    even = put("label", value={"column": "bad", "class_weights": {"bad": 1.0, "good": 1.0}, "offset": "age"})
    assert decide(bank.question(bank.spec(even), bank.register())).verdict is Verdict.ALLOW


@pytest.mark.parametrize(("largest", "limit", "verdict"), [
    (10.0, 1.0, Verdict.DENY), (1.0, 1.0, Verdict.ALLOW), (4.0, 3.9, Verdict.DENY), (4.0, 4.0, Verdict.ALLOW)])
def test_copies_are_held_against_the_limit_of_a_row(largest: float, limit: float, verdict: Verdict, bank: Any) -> None:
    def change(raw: dict[str, Any]) -> None:
        raw["parties"][0]["duplicates"] = "keep_all"
        raw["label"]["largest_weight"] = largest

    decision = decide(bank.question(bank.spec(change), bank.register(put("policy", "largest_weight", value=limit))))
    assert decision.verdict is verdict
    if verdict is Verdict.DENY:
        assert decision.what.startswith("a customer may weigh, by its rows, more than")


@pytest.mark.parametrize(("limit", "verdict"), [(4.0, Verdict.DENY), (5.0, Verdict.ALLOW)])
def test_named_class_weights_are_held_against_the_limit_of_a_row(limit: float, verdict: Verdict, bank: Any) -> None:
    """Five to one at an expected rate of a tenth: at most 4.8 times the mean, where defaults are ten times rarer."""
    change = put("label", value={"column": "bad", "class_weights": {"bad": 5.0, "good": 1.0}})
    decision = decide(bank.question(bank.spec(change), bank.register(put("policy", "largest_weight", value=limit))))
    assert decision.verdict is verdict


def test_balanced_classes_are_allowed_by_a_line_of_their_own_and_without_a_word(bank: Any) -> None:
    change = put("label", value={"column": "bad", "class_weights": "balanced"})
    dataset = bank.register(lambda raw: raw["policy"].pop("balanced_classes"))
    assert decide(bank.question(bank.spec(change), dataset)).verdict is Verdict.ALLOW


def test_a_feature_holder_needs_no_label(bank: Any) -> None:
    def swap(raw: dict[str, Any]) -> None:
        as_feature_holder(raw)
        raw["scores"] = {"minimum_columns": 3}

    def no_label(raw: dict[str, Any]) -> None:
        raw["policy"].update(use_label=False, minimum_columns=3)

    dataset = bank.register(no_label)
    assert decide(bank.question(bank.spec(swap), dataset)).verdict is Verdict.ALLOW


def test_no_denial_tells_how_many_rows_we_have(bank: Any) -> None:
    dataset = bank.register(put("policy", "minimum_rows", value=5000))
    texts = [decide(bank.question(bank.spec(), dataset))]
    texts += [decide(bank.question(bank.spec(change), bank.register())) for change, _ in SPECS.values()]
    for decision in texts:
        assert not {"1000", "1010", "100"} & set(decision.what.replace(",", " ").split())


def test_every_rule_is_reached_by_a_case() -> None:
    lines = {line for cases in (SPECS, POLICIES, CIRCUMSTANCES, SCORED) for _, line in cases.values()}
    assert lines == {rule.line for rule in RULES}


def test_a_job_costs_what_its_spec_says(bank: Any) -> None:
    costs = {debit.budget: (debit.amount, debit.limit) for debit in debits(bank.spec(), "bank-a", bank.register())}
    assert costs == {
        Budget.ALIGNMENTS: (1, 3), Budget.TRAINING_ROUNDS: (20, 50), Budget.SCORE_CALLS: (1, 3),
        Budget.PERIOD_SPLITS: (0, 4), Budget.FEATURE_EQUATIONS: (2, 100), Budget.ALIGNMENTS_PER_PARTNER: (1, 5),
        Budget.MODELS: (1, 6),
    }
    assert feature_equations(bank.spec(), "shop") == 2


@pytest.mark.parametrize(("noise", "cost"), [(1.0, 1), (2.0, 1), (0.5, 4), (0.3, 12), (0.0, 10**6)])
def test_a_model_with_less_noise_counts_as_several(bank: Any, noise: float, cost: int) -> None:
    spec = bank.spec(put("training", value={"iterations": 20, "noise": noise}))
    assert models(spec) == cost
    dataset = bank.register(put("policy", "minimum_noise", value=0.0))
    assert {debit.budget: debit.amount for debit in debits(spec, "bank-a", dataset)}[Budget.MODELS] == 0


@pytest.mark.parametrize(("rules", "label_holder"), [
    ({"maximum_bins": 6, "special_values": [-1.0, -2.0]}, 2 * (6 + 3) + 1), ({"fine_bins": 12}, 2 * (6 + 1) + 1),
])
def test_counts_of_bins_cost_equations_on_the_labels(bank: Any, rules: dict[str, Any], label_holder: int) -> None:
    spec = bank.spec(put("binning", value=rules))
    assert feature_equations(spec, "bank-a") == label_holder
    assert feature_equations(spec, "shop") == 2


@pytest.mark.parametrize(("to", "label_holder"), [("all", 2 + 2 * 2), ("label_holder", 2)])
def test_correlations_cost_equations_on_the_columns_of_whom_they_are_shown(
    bank: Any, to: str, label_holder: int
) -> None:
    spec = bank.spec(put("correlate", value={"to": to}))
    assert feature_equations(spec, "bank-a") == label_holder
    assert feature_equations(spec, "shop") == 2 + 2 * 2


def test_an_alignment_alone_costs_alignments(bank: Any) -> None:
    def alignment(raw: dict[str, Any]) -> None:
        raw.update(goal="alignment", reveal=["align.overlaps", "align.size"], align={"output": "sizes_only"})
        for party in raw["parties"]:
            party["columns"] = []

    costs = debits(bank.spec(alignment), "bank-a", bank.register())
    assert {debit.budget for debit in costs if debit.amount} == {Budget.ALIGNMENTS, Budget.ALIGNMENTS_PER_PARTNER}


@given(count=st.integers(0, 400), more=st.integers(0, 400))
def test_a_number_below_the_minimum_is_refused_and_what_allows_one_allows_more(count: int, more: int) -> None:
    spec = JobSpec.model_construct(minimum_intersection=120)
    allowed = DatasetPolicy(minimum_intersection=150)
    decision = decide_count(count, spec, allowed)
    assert (decision.verdict is Verdict.ALLOW) == (count >= 150)
    assert decision.verdict is Verdict.DENY or decide_count(count + more, spec, allowed).verdict is Verdict.ALLOW
    assert str(count) not in decision.what.split()


# ---------------------------------------------------------------- the attack: another outcome than the one on offer

STATUS = ["ok", "default", "fraud", "deceased"]


def answered(bank: Any) -> list[str]:
    """Which values of a column of four a coordinator is let model, one after the other."""
    dataset = bank.register(put("label_positive", value=["default", "fraud"]))
    asked = {value: put("label", value={"column": "bad", "positive": value}) for value in STATUS}
    return [value for value in STATUS if decide(bank.question(bank.spec(asked[value]), dataset)).verdict
            is Verdict.ALLOW]


def test_only_declared_values_of_the_label_may_be_asked_for(bank: Any) -> None:
    assert answered(bank) == ["default", "fraud"]
    assert decide(bank.question(bank.spec(), bank.register(put("label_positive", value=[])))).code == "POSITIVE"
    assert decide(bank.question(bank.spec(), bank.register(put("label_positive", value=1)))).verdict is Verdict.ALLOW


def test_without_the_rule_any_value_of_the_label_is_modelled(bank: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control."""
    monkeypatch.setattr(policy, "RULES", tuple(rule for rule in RULES if rule.code != "POSITIVE"))
    assert answered(bank) == STATUS


# ---------------------------------------------------------------- the attack: budgets bisected by proposals

PROPOSALS = 12


def bisected(bank: Any, usable: int, spent: int) -> int:
    """What is left of `feature_equations`, by proposals of as many made-up columns of a partner; nothing is signed."""
    dataset = bank.register().model_copy(update={"usable_ids": usable})
    low, high, asked = 0, (1 << PROPOSALS) - 1, 0
    while low < high:
        middle, asked = (low + high + 1) // 2, asked + 1
        spec = bank.spec(put("parties", 1, "columns", value=[f"c{n}" for n in range(middle)]))
        question = bank.question(spec, dataset, spent={Budget.FEATURE_EQUATIONS: spent})
        low, high = (low, middle - 1) if decide(question).code == "BUDGET" else (middle, high)
    assert asked == PROPOSALS
    return low


BANKS = [(usable, spent) for usable in (10_000, 10_157, 10_430, 10_999) for spent in (1, 37, 84, 96)]


def told_apart(bank: Any) -> int:
    return len({bisected(bank, usable, spent) for usable, spent in BANKS})


def test_proposals_do_not_count_rows_nor_what_others_spent(bank: Any) -> None:
    """Sixteen banks that Describe shows alike answer alike, so that a guess among them is right as often as by chance;
    what is left of the budget is told in tenths."""
    assert {datasets.describe([bank.register().model_copy(update={"rows": usable})], "conductor")[0].rows
            for usable, _ in BANKS} == {10_000}
    assert told_apart(bank) == 1
    assert [bisected(bank, 10_157, spent) for spent in (0, 100, 101, 999)] == [1000, 900, 800, 0]


def test_without_rounding_twelve_proposals_tell_all_banks_apart(bank: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: what is found is a tenth of the usable ids less what was spent, exactly."""
    monkeypatch.setattr(policy, "spent_as_told", lambda spent, limit: spent)
    monkeypatch.setattr(datasets, "_two_digits", lambda rows: rows)
    assert told_apart(bank) == len(BANKS)
    assert [bisected(bank, *one) for one in BANKS] == [usable // 10 - spent for usable, spent in BANKS]


@given(st.integers(0, 3000), st.integers(0, 2000))
def test_what_is_told_of_a_budget_is_never_less_than_what_was_spent(limit: int, spent: int) -> None:
    told = spent_as_told(spent, limit)
    assert spent <= told < spent + max(1, limit // 10)
    assert len({spent_as_told(one, limit) for one in range(limit + 1)}) <= 20
