"""The policy: the ordinary job passes, and each way to ask for too much is refused by its own line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from party_node.consent.datasets import DatasetPolicy
from party_node.consent.job_costs import debits, feature_equations, models
from party_node.consent.policy import RULES, Verdict, decide, decide_count, settled
from party_node.records.budgets import Budget
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
    "ids matched by another column": (put("parties", 0, "id_columns", value=["passport"]), "dataset.id"),
    "ids matched by another profile": (put("align", value={"id_profiles": ["phone"]}), "dataset.id"),
    "digests where the dataset has ids in writing": (
        lambda raw: (put("parties", 0, "id_scheme", value="sha256")(raw),
                     put("align", value={"id_scheme": "sha256"})(raw)), "dataset.id"),
    "a table with other bytes": (put("parties", 0, "dataset_digest", value="e" * 64), "dataset.digest"),
    "keys of 2048 bits": (put("crypto", value={"key_bits": 2048}), "policy.key_bits"),
    "a support of one row": (put("preparation", value={"minimum_support": 1}), "policy.minimum_support"),
    "correlations finer than their rows support": (put("correlate", value={"bits": 12}), "policy.correlation_bits"),
    "rows with any leverage": (put("preparation", value={"leverage_bound": 1.0}), "policy.maximum_leverage"),
    "rows that weigh fifty times the mean":
        (put("label", value={"column": "bad", "weights": "age", "largest_weight": 50.0}), "policy.largest_weight"),
    "weights of rows, which nobody allowed":
        (put("label", value={"column": "bad", "weights": "age"}), "policy.largest_weight"),
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


POLICIES = {  # what the policy says -> (change to the dataset file, line)
    "no purpose": (put("policy", "purposes", value=[]), "policy.purposes"),
    "no partner": (put("policy", "partners", value=["telecom"]), "policy.partners"),
    "no coordinator": (put("policy", "coordinators", value=[]), "policy.coordinators"),
    "no label": (put("policy", "use_label", value=False), "policy.use_label"),
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
        raw["parties"][0]["role"], raw["parties"][1]["role"] = "feature_holder", "label_holder"
    dataset = bank.register(put("policy", "use_label", value=False))
    assert decide(bank.question(bank.spec(swap), dataset)).verdict is Verdict.ALLOW


def test_no_denial_tells_how_many_rows_we_have(bank: Any) -> None:
    dataset = bank.register(put("policy", "minimum_rows", value=5000))
    texts = [decide(bank.question(bank.spec(), dataset))]
    texts += [decide(bank.question(bank.spec(change), bank.register())) for change, _ in SPECS.values()]
    for decision in texts:
        assert not {"1000", "1010", "100"} & set(decision.what.replace(",", " ").split())


def test_every_rule_is_reached_by_a_case() -> None:
    lines = {line for cases in (SPECS, POLICIES, CIRCUMSTANCES) for _, line in cases.values()}
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
    ({"counts_at": "feature_holder", "fine_bins": 12}, 2 * (12 + 1) + 1),
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


@given(count=st.integers(0, 400), earlier=st.lists(st.integers(0, 400), max_size=4))
def test_a_set_is_refused_below_the_minimum_or_near_an_earlier_one(count: int, earlier: list[int]) -> None:
    spec = JobSpec.model_construct(minimum_intersection=120)
    policy = DatasetPolicy(minimum_intersection=150, minimum_difference=20)
    decision = decide_count(count, spec, policy, earlier)
    near = any(count != other and abs(count - other) < 20 for other in earlier)
    assert (decision.verdict is Verdict.ALLOW) == (count >= 150 and not near)
    assert str(count) not in decision.what.split()


@pytest.mark.parametrize("difference", [0, 1, 2, 20])
@pytest.mark.parametrize("earlier", [[], [150], [300], [150, 300]])
def test_a_lower_bound_settles_only_what_every_number_from_it_on_would(difference: int, earlier: list[int]) -> None:
    spec, policy = JobSpec.model_construct(minimum_intersection=100), DatasetPolicy(minimum_difference=difference)
    for lower in (90, 100, 149, 151, 170, 299, 300, 320, 400):
        allowed = all(decide_count(count, spec, policy, earlier).verdict is Verdict.ALLOW
                      for count in range(lower, 500))
        assert settled(lower, spec, policy, earlier) == allowed
