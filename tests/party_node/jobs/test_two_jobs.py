"""A job on what another one made ahead, before it runs: who may, on what terms, and what each half costs."""

from __future__ import annotations

from typing import Any

import pytest

from party_node.consent.job_costs import debits
from party_node.records.budgets import Budget
from party_node.records.precomputed_files import BURNT
from party_node.records.store import JobState
from tests.party_node.conftest import COORDINATOR, NOW, Change
from wire.spec.job import JobSpec, encode_spec, job_id
from wire.spec.two_jobs import difference, first_half, second_half


def halves(bank: Any, change: Change | None = None) -> tuple[JobSpec, JobSpec]:
    whole = bank.spec()
    first = first_half(whole)
    second = second_half(bank.spec(change, nonce=2), job_id(encode_spec(first)))
    return first, second


def ran(bank: Any, first: JobSpec, state: JobState = JobState.DONE, coordinator: str = COORDINATOR) -> str:
    """The first half as it stands after it ran."""
    data = encode_spec(first)
    answer = bank.consent.propose(data, coordinator)
    assert answer.signature is not None
    bank.consent.verify_start(data, bank.approvals(data), coordinator)
    bank.consent.finish(answer.job, state)
    return str(answer.job)


def plenty(raw: dict[str, Any]) -> None:
    raw["policy"]["budgets"] = {"alignments": 10, "training_rounds": 1000, "score_calls": 10}
    raw["label_positive"] = ["1", "2"]


def test_both_halves_of_a_job_are_agreed_to(bank: Any) -> None:
    bank.register(plenty)
    first, second = halves(bank)
    assert not [code for code in first.reveal if not code.startswith("align")]
    assert first.release == ["row_counts"]
    ran(bank, first)
    assert bank.consent.propose(encode_spec(second), COORDINATOR).signature is not None


def refused(bank: Any, second: JobSpec, coordinator: str = COORDINATOR) -> str:
    answer = bank.consent.propose(encode_spec(second), coordinator)
    assert answer.signature is None
    assert answer.error is not None
    assert answer.error.reason == "PREPARED", answer.error
    assert answer.error.whose == "bank-a"
    assert "--prepared" in answer.error.advice
    return str(answer.error.what)


def test_a_first_half_that_never_ran_here_or_failed_is_refused_by_name(bank: Any) -> None:
    bank.register(plenty)
    first, second = halves(bank)
    assert "bank-a has no job" in refused(bank, second)
    ran(bank, first, JobState.FAILED)
    assert "bank-a has no job" in refused(bank, second)


def test_a_job_that_is_no_first_half_is_refused(bank: Any) -> None:
    bank.register(plenty)
    job = ran(bank, bank.spec())
    assert "has no job" in refused(bank, second_half(bank.spec(nonce=2), job))


def test_what_another_coordinator_had_made_does_not_exist_for_this_one(bank: Any) -> None:
    bank.register(lambda raw: (plenty(raw), raw["policy"].update(coordinators=[COORDINATOR, "other"]))[0])
    first, second = halves(bank)
    ran(bank, first, coordinator="other")
    assert "has no job" in refused(bank, second)


def test_a_second_use_is_refused_by_name(bank: Any) -> None:
    bank.register(plenty)
    first, second = halves(bank)
    bank.store.burn(ran(bank, first), BURNT, [0])
    assert "at bank-a was used before or removed" in refused(bank, second)


def test_what_lapsed_is_refused(bank: Any) -> None:
    bank.register(plenty)
    first, second = halves(bank, lambda raw: raw.update(valid_until=int(NOW) + 9000))
    ran(bank, first)
    bank.now = NOW + 3601
    assert "has lapsed" in refused(bank, second)


def test_a_use_between_signature_and_start_is_found_at_the_start(bank: Any) -> None:
    bank.register(plenty)
    first, second = halves(bank)
    job, data = ran(bank, first), encode_spec(second)
    assert bank.consent.propose(data, COORDINATOR).signature is not None
    bank.store.burn(job, BURNT, [0])
    with pytest.raises(Exception, match="used before"):
        bank.consent.verify_start(data, bank.approvals(data), COORDINATOR)
    assert bank.store.spent("loans")[Budget.TRAINING_ROUNDS] == 0


def party(number: int, **changes: Any) -> Change:
    return lambda raw: raw["parties"][number].update(changes)


OTHER: dict[str, tuple[Change, str]] = {
    "columns": (party(0, columns=["income"]), "parties.bank-a.columns"),
    "columns of another": (party(1, columns=["basket"]), "parties.shop.columns"),
    "penalty": (lambda raw: raw.update(training={"iterations": 20, "penalty": 0.5}), "training.penalty"),
    "iterations": (lambda raw: raw.update(training={"iterations": 19}), "training.iterations"),
    "hold-out": (lambda raw: raw.update(hold_out={"fraction": 0.2}), "hold_out.fraction"),
    "seed of the hold-out": (lambda raw: raw.update(hold_out={"seed": "x"}), "hold_out.seed"),
    "label": (lambda raw: raw["label"].update(positive="2"), "label.positive"),
    "key length": (lambda raw: raw.update(crypto={"key_bits": 4096}), "crypto.key_bits"),
    "clip": (lambda raw: raw.update(preparation={"clip": 3.0}), "preparation.clip"),
    "bins": (lambda raw: raw.update(binning={}), "binning"),
    "table of another": (party(1, dataset_digest="e" * 64), "parties.shop.dataset_digest"),
    "identity of another": (party(1, duplicates="refuse"), "parties.shop.duplicates"),
    "minimum": (lambda raw: raw.update(minimum_intersection=101), "minimum_intersection"),
}


@pytest.mark.parametrize("case", OTHER)
def test_a_job_that_differs_in_what_was_agreed_is_refused_and_the_field_is_named(bank: Any, case: str) -> None:
    change, field = OTHER[case]
    bank.register(plenty)
    first, second = halves(bank, change)
    ran(bank, first)
    assert refused(bank, second).split(" in ")[-1].startswith(field)


def test_a_table_that_changed_is_refused_as_ever(bank: Any) -> None:
    bank.register(plenty)
    first, second = halves(bank)
    ran(bank, first)
    bank.register(plenty, digest="e" * 64)
    answer = bank.consent.propose(encode_spec(second), COORDINATOR)
    assert answer.error is not None
    assert answer.error.reason == "TABLE_CHANGED"


@pytest.mark.parametrize("change", [
    lambda raw: None,
    lambda raw: raw.update(binning={"minimum_cell": 30}),
    lambda raw: raw.update(correlate={}),
])
def test_two_halves_cost_what_the_whole_costs_and_each_what_it_tells(bank: Any, change: Change) -> None:
    dataset = bank.register(plenty)
    for me in ("bank-a", "shop"):
        whole = bank.spec(change)
        first = first_half(whole)
        second = second_half(whole, "ab" * 32)
        one, two, all_ = ({(d.budget, d.partner): d.amount for d in debits(s, me, dataset)}
                          for s in (first, second, whole))
        assert {key: one[key] + two[key] for key in all_} == all_
        assert one[Budget.ALIGNMENTS, ""] == 1
        assert two[Budget.ALIGNMENTS, ""] == 0
        assert two[Budget.FEATURE_EQUATIONS, ""] == 2, "weights leave in the second half"
        assert (one[Budget.TRAINING_ROUNDS, ""], two[Budget.TRAINING_ROUNDS, ""]) == (0, 20)
        assert (one[Budget.SCORE_CALLS, ""], two[Budget.SCORE_CALLS, ""]) == (0, 1)


def test_a_first_half_that_is_never_used_pays_for_all_counts_that_it_told(bank: Any) -> None:
    """Two columns of six bins, and one apart, tell twice all bins but the last, and once all bad customers."""
    first = first_half(bank.spec(lambda raw: raw.update(binning={"maximum_bins": 6})))
    costs = {debit.budget: debit.amount for debit in debits(first, "bank-a", bank.register(plenty))}
    assert costs[Budget.FEATURE_EQUATIONS] == 2 * (6 + 1 - 1) + 1


def test_halves_differ_in_nothing_else(bank: Any) -> None:
    first, second = halves(bank)
    assert difference(first, second) is None
    assert set(first.reveal) | set(second.reveal) == set(bank.spec().reveal)
    assert not set(first.reveal) & set(second.reveal)


@pytest.mark.parametrize(("change", "sentence"), [
    (lambda raw: raw.update(goal="precompute"), "opens nothing of training"),
    (lambda raw: raw.update(goal="precompute", reveal=[], prepared="ab" * 32), "only a model"),
    (lambda raw: raw.update(goal="precompute", reveal=[], align={"output": "sizes_only"}), "align.output is all"),
    (lambda raw: raw.update(prepared="ab"), "pattern"),
])
def test_halves_that_make_no_sense_are_no_specs(bank: Any, change: Change, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        bank.spec(change)
