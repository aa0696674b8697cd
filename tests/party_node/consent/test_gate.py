"""Consent: what is signed, what starts, and every way in which a start or a proposal is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mpc.errors import PeerError, Reason
from party_node.consent.gate import MAX_OPEN_JOBS, AlreadyRunning
from party_node.consent.policy import Decision, Verdict
from party_node.records.audit import AuditError, verify_log
from party_node.records.budgets import Budget, Debit
from party_node.records.store import JobState, StoreError
from wire.errors import Denied
from wire.signing import ApprovalError, Identity, approve, check_approvals
from wire.spec.job import SpecError, job_id

WHO = "conductor"


def kinds(bank: Any) -> list[str]:
    return [json.loads(line)["kind"] for line in bank.audit_lines()]


def purpose(text: str) -> Callable[[dict[str, Any]], None]:
    return lambda raw: raw.update(purpose=text)


def ask(raw: dict[str, Any]) -> None:
    raw["policy"]["approval"] = "ask"


def test_an_allowed_job_is_signed_and_starts(bank: Any) -> None:
    bank.register()
    spec = bank.spec_bytes()
    answer = bank.consent.propose(spec, WHO)
    assert answer.signature == bank.approvals(spec)["bank-a"]
    assert answer.error is None
    agreed = bank.consent.verify_start(spec, bank.approvals(spec), WHO)
    assert agreed.job == job_id(spec)
    assert agreed.approvals_digest == check_approvals(agreed.spec, spec, bank.approvals(spec))
    assert bank.store.spent("loans") == {
        Budget.ALIGNMENTS: 1, Budget.TRAINING_ROUNDS: 20, Budget.SCORE_CALLS: 1, Budget.FEATURE_EQUATIONS: 2,
        Budget.ALIGNMENTS_PER_PARTNER: 0, Budget.PERIOD_SPLITS: 0, Budget.SCORED_MODELS: 0, Budget.MODELS: 1,
    }
    assert bank.store.spent("loans", "shop")[Budget.ALIGNMENTS_PER_PARTNER] == 1
    assert bank.store.spent("loans", "telecom")[Budget.ALIGNMENTS_PER_PARTNER] == 0
    assert kinds(bank) == ["proposal", "start"]
    verify_log(bank.root / "audit.jsonl", "bank-a")


def test_a_model_is_debited_when_its_scores_leave_and_at_the_feature_holder_alone(bank: Any) -> None:
    def theirs(raw: dict[str, Any]) -> None:
        raw["parties"][0].update(role="feature_holder", columns=["income", "age", "region"])
        raw["parties"][1]["role"] = "label_holder"
        raw["scores"] = {"minimum_columns": 3}

    def plenty(raw: dict[str, Any]) -> None:
        raw["policy"] |= {"minimum_columns": 3, "budgets": {"training_rounds": 1000}}

    bank.register(plenty)
    agreed = []
    for nonce in (1, 2):      # both run before either has scored
        spec = bank.spec_bytes(theirs, nonce)
        assert bank.consent.propose(spec, WHO).signature is not None
        agreed.append(bank.consent.verify_start(spec, bank.approvals(spec), WHO))
    assert bank.store.spent("loans")[Budget.SCORED_MODELS] == 0
    bank.consent.charge_scores(agreed[0])
    assert bank.store.spent("loans")[Budget.SCORED_MODELS] == 1
    with pytest.raises(Denied, match="models"):
        bank.consent.charge_scores(agreed[1])
    third = bank.consent.propose(bank.spec_bytes(theirs, 3), WHO)
    assert third.signature is None
    assert "models" in third.error.what
    own = bank.spec_bytes(nonce=4)
    bank.consent.propose(own, WHO)
    bank.consent.charge_scores(bank.consent.verify_start(own, bank.approvals(own), WHO))   # as label holder: nothing


def test_a_denied_job_leaves_one_audit_line_and_nothing_else(bank: Any) -> None:
    bank.register()
    before = list(bank.store._db.iterdump())
    files = sorted(path.name for path in bank.root.rglob("*"))
    answer = bank.consent.propose(bank.spec_bytes(purpose("marketing")), WHO)
    assert (answer.signature, answer.pending) == (None, False)
    assert answer.error.code == "denied"
    assert "policy.purposes" in answer.error.what
    assert kinds(bank) == ["proposal"]
    assert list(bank.store._db.iterdump()) == before
    assert sorted(path.name for path in bank.root.rglob("*")) == files


def test_a_proposal_repeated_gets_the_same_answer_and_no_further_line(bank: Any) -> None:
    bank.register()
    first = bank.consent.propose(bank.spec_bytes(), WHO)
    assert bank.consent.propose(bank.spec_bytes(), WHO) == first
    assert kinds(bank) == ["proposal"]


def test_a_person_approves_and_the_coordinator_then_gets_the_signature(bank: Any) -> None:
    bank.register(ask)
    spec = bank.spec_bytes()
    for _ in range(3):
        answer = bank.consent.propose(spec, WHO)
        assert answer.pending
        assert answer.signature is None
    signature = bank.consent.approve(answer.job, "olga")
    assert bank.consent.approve(answer.job, "olga") == signature
    assert bank.consent.propose(spec, WHO).signature == signature
    assert kinds(bank) == ["proposal", "approval"]
    bank.consent.verify_start(spec, bank.approvals(spec), WHO)


def test_a_person_denies_and_the_job_never_starts(bank: Any) -> None:
    bank.register(ask)
    spec = bank.spec_bytes()
    job = bank.consent.propose(spec, WHO).job
    bank.consent.deny(job, "olga")
    answer = bank.consent.propose(spec, WHO)
    assert (answer.pending, answer.signature) == (False, None)
    assert "a person at bank-a denied" in answer.error.what
    with pytest.raises(StoreError, match="nothing to approve"):
        bank.consent.approve(job, "olga")
    with pytest.raises(StoreError, match="is denied"):
        bank.consent.deny(job, "bob")
    with pytest.raises(Denied, match="a person at bank-a denied"):
        bank.consent.verify_start(spec, bank.approvals(spec), WHO)
    assert kinds(bank) == ["proposal", "approval", "start"]


@pytest.mark.parametrize("approval", ["ask", "auto"])
def test_an_approval_is_withdrawn_until_the_start_and_whoever_starts_is_told(approval: str, bank: Any) -> None:
    """The policy's word too: after all signatures, before the start."""
    bank.register(lambda raw: raw["policy"].update(approval=approval))
    spec = bank.spec_bytes()
    job = bank.consent.propose(spec, WHO).job
    if approval == "ask":
        bank.consent.approve(job, "ann")
    assert bank.consent.deny(job, "bob") is True
    with pytest.raises(Denied, match="a person at bank-a withdrew the approval of the job") as caught:
        bank.consent.verify_start(spec, bank.approvals(spec), WHO)
    assert (caught.value.reason, caught.value.whose) == ("PERSON", "bank-a")
    assert "withdrew" in bank.consent.propose(spec, WHO).error.what
    assert bank.store.job(job).state is JobState.DENIED
    assert set(bank.store.spent("loans").values()) == {0}
    with pytest.raises(StoreError, match="nothing to approve"):
        bank.consent.approve(job, "ann")


def persons(bank: Any) -> list[tuple[str, str]]:
    lines = [json.loads(line) for line in bank.audit_lines()]
    return [(line["fields"]["verdict"], line["fields"]["person"]) for line in lines if line["kind"] == "approval"]


def late_denial(bank: Any) -> str:
    """Ann approves, the job starts, Bob denies; what the log then says of persons."""
    bank.register(ask)
    spec = bank.spec_bytes()
    job = bank.consent.propose(spec, WHO).job
    bank.consent.approve(job, "ann")
    bank.consent.verify_start(spec, bank.approvals(spec), WHO)
    with pytest.raises(StoreError, match="is running"):
        bank.consent.deny(job, "bob")
    assert bank.store.job(job).state is JobState.RUNNING
    return job


def test_a_denial_that_comes_too_late_leaves_no_line(bank: Any) -> None:
    late_denial(bank)
    assert persons(bank) == [("allow", "ann")]


def test_noted_before_the_state_is_looked_at_the_log_says_deny_of_a_job_that_runs(
    bank: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: the line comes first, as it did."""
    move = bank.store.move

    def noted_first(job: str, to: JobState, *, code: str = "", text: str = "", noted: Any) -> None:
        noted()
        move(job, to, code=code, text=text)

    monkeypatch.setattr(bank.store, "move", noted_first)
    late_denial(bank)
    assert persons(bank) == [("allow", "ann"), ("deny", "bob")]


def test_a_start_that_the_budget_refuses_is_no_start_in_the_log(bank: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bank.register()
    spec = bank.spec_bytes()
    bank.consent.propose(spec, WHO)
    monkeypatch.setattr("party_node.consent.gate.decide", lambda question: Decision(Verdict.ALLOW, "", "", ""))
    bank.store.debit("loans", "another job", Debit(Budget.SCORE_CALLS, 3, 3))
    with pytest.raises(Denied, match="used up"):
        bank.consent.verify_start(spec, bank.approvals(spec), WHO)
    starts = [json.loads(line)["fields"]["verdict"] for line in bank.audit_lines()
              if json.loads(line)["kind"] == "start"]
    assert starts == ["deny"]


def test_a_policy_that_changed_before_the_person_answered_wins(bank: Any) -> None:
    bank.register(ask)
    spec = bank.spec_bytes()
    job = bank.consent.propose(spec, WHO).job
    bank.register(lambda raw: raw["policy"].update(purposes=[]))
    with pytest.raises(Denied, match=r"policy\.purposes"):
        bank.consent.approve(job, "olga")
    answer = bank.consent.propose(spec, WHO)
    assert (answer.pending, answer.signature) == (False, None)
    assert bank.store.approvals(job) == {}


STARTS: dict[str, Callable[[Any, bytes, dict[str, bytes]], dict[str, bytes]]] = {
    "an approval is missing": lambda b, s, a: {"bank-a": a["bank-a"]},
    "an approval is counted twice": lambda b, s, a: {**a, "shop": a["bank-a"]},
    "a stranger approves too": lambda b, s, a: {**a, "telecom": approve(b.identities["telecom"], "telecom", s)},
    "a stranger signs in a partner's name": lambda b, s, a: {**a, "shop": approve(Identity.generate(), "shop", s)},
    "an approval is of another job": lambda b, s, a: {**a, "shop": b.approvals(b.spec_bytes(nonce=9))["shop"]},
    "an approval is cut short": lambda b, s, a: {**a, "shop": a["shop"][:-1]},
    "an approval is empty": lambda b, s, a: {**a, "shop": b""},
    "our own approval is forged": lambda b, s, a: {**a, "bank-a": a["shop"]},
    "our own approval is missing": lambda b, s, a: {"shop": a["shop"]},
}


@pytest.mark.parametrize("what", STARTS)
def test_a_start_is_refused_and_nothing_is_debited_when(what: str, bank: Any) -> None:
    bank.register()
    spec = bank.spec_bytes()
    bank.consent.propose(spec, WHO)
    with pytest.raises((ApprovalError, Denied)):
        bank.consent.verify_start(spec, STARTS[what](bank, spec, bank.approvals(spec)), WHO)
    assert set(bank.store.spent("loans").values()) == {0}
    assert bank.store.job(job_id(spec)).state is JobState.APPROVED
    assert kinds(bank) == ["proposal", "start"]
    bank.consent.verify_start(spec, bank.approvals(spec), WHO)


def test_a_job_that_we_never_approved_does_not_start_though_our_signature_is_genuine(bank: Any) -> None:
    bank.register(ask)
    spec = bank.spec_bytes()
    with pytest.raises(Denied, match="never saw"):
        bank.consent.verify_start(spec, bank.approvals(spec), WHO)
    bank.consent.propose(spec, WHO)
    with pytest.raises(Denied, match="has not approved"):
        bank.consent.verify_start(spec, bank.approvals(spec), WHO)


def test_a_repeated_start_is_told_apart_from_a_replay(bank: Any) -> None:
    bank.register()
    spec = bank.spec_bytes()
    bank.consent.propose(spec, WHO)
    agreed = bank.consent.verify_start(spec, bank.approvals(spec), WHO)
    with pytest.raises(AlreadyRunning):
        bank.consent.verify_start(spec, bank.approvals(spec), WHO)
    bank.consent.finish(agreed.job, JobState.DONE)
    with pytest.raises(Denied, match="a job runs once") as caught:
        bank.consent.verify_start(spec, bank.approvals(spec), WHO)
    assert not isinstance(caught.value, AlreadyRunning)
    assert bank.store.spent("loans")[Budget.ALIGNMENTS] == 1
    answer = bank.consent.propose(spec, WHO)
    assert answer.signature is None
    assert "a job runs once" in answer.error.what


def test_an_approval_that_has_expired_starts_nothing(bank: Any) -> None:
    bank.register()
    spec = bank.spec_bytes()
    bank.consent.propose(spec, WHO)
    bank.now += 10_000
    with pytest.raises(Denied, match="expired"):
        bank.consent.verify_start(spec, bank.approvals(spec), WHO)


def test_two_specs_for_one_job_are_noticed(bank: Any) -> None:
    bank.register()
    bank.consent.propose(bank.spec_bytes(), WHO)
    def longer(raw: dict[str, Any]) -> None:
        raw["training"] = {"iterations": 30}

    answer = bank.consent.propose(bank.spec_bytes(longer), WHO)
    assert answer.signature is None
    assert answer.error.reason == "TWO_SPECS"
    assert bank.consent.propose(bank.spec_bytes(longer, nonce=2), WHO).signature is not None


def test_another_coordinator_gets_neither_signature_nor_start_nor_cancel(bank: Any) -> None:
    bank.register(lambda raw: raw["policy"].update(coordinators=[WHO, "second"]))
    spec = bank.spec_bytes()
    bank.consent.propose(spec, WHO)
    assert bank.consent.propose(spec, "second").signature is None
    with pytest.raises(Denied, match="another coordinator"):
        bank.consent.verify_start(spec, bank.approvals(spec), "second")
    assert bank.consent.cancel(job_id(spec), "second", "") is False


def test_what_changed_since_the_signature_is_checked_again_at_the_start(bank: Any) -> None:
    bank.register()
    spec = bank.spec_bytes()
    bank.consent.propose(spec, WHO)
    bank.register(digest="e" * 64)
    with pytest.raises(Denied, match="other bytes of the table"):
        bank.consent.verify_start(spec, bank.approvals(spec), WHO)


def test_the_budget_holds_across_jobs_approved_side_by_side(bank: Any) -> None:
    bank.register()
    specs = [bank.spec_bytes(nonce=n) for n in range(1, 4)]
    for spec in specs:
        assert bank.consent.propose(spec, WHO).signature is not None  # each alone would fit: 20 rounds of 50
    for spec in specs[:2]:
        bank.consent.verify_start(spec, bank.approvals(spec), WHO)
    with pytest.raises(Denied, match="budget training_rounds"):
        bank.consent.verify_start(specs[2], bank.approvals(specs[2]), WHO)
    assert bank.store.spent("loans")[Budget.TRAINING_ROUNDS] == 40


def test_columns_that_became_several_are_charged_and_refused_past_the_budget(bank: Any) -> None:
    dataset = bank.register()
    bank.consent.charge("j", dataset, Budget.FEATURE_EQUATIONS, 100)
    with pytest.raises(Denied, match="is used up"):
        bank.consent.charge("j", dataset, Budget.FEATURE_EQUATIONS, 1)


def three_parties(raw: dict[str, Any]) -> None:
    """shop brings three columns of categories, telecom two of numbers."""
    shop, telecom = raw["parties"][1], dict(raw["parties"][1])
    shop["columns"] = shop["categorical"] = ["basket", "returns", "branch"]
    raw["parties"].append(telecom | {"id": "telecom", "identity": TELECOM[0]})


TELECOM: list[str] = []


def begun(bank: Any, change: Callable[[dict[str, Any]], None], nonce: int = 1) -> Any:
    """A job of three that all have signed, running."""
    TELECOM[:] = [bank.public["telecom"]]
    bank.register()
    spec = bank.spec_bytes(change, nonce)
    bank.consent.propose(spec, WHO)
    approvals = bank.approvals(spec) | {"telecom": approve(bank.identities["telecom"], "telecom", spec)}
    return bank.consent.verify_start(spec, approvals, WHO)


WIDTHS: dict[str, tuple[dict[str, int], int]] = {
    "all that three columns may have become in one step": ({"shop": 16}, 13),
    "columns that became many": ({"shop": 64}, 61),
    "the label holder's intercept is no column": ({"bank-a": 16}, 13),
    "two others": ({"shop": 48, "telecom": 16}, 59),
}


@pytest.mark.parametrize("case", WIDTHS)
def test_what_blocks_grew_by_is_debited_before_training(case: str, bank: Any) -> None:
    widths, extra = WIDTHS[case]
    agreed = begun(bank, three_parties)
    before = bank.store.spent("loans")[Budget.FEATURE_EQUATIONS]
    bank.consent.charge_widths(agreed, widths)
    assert bank.store.spent("loans")[Budget.FEATURE_EQUATIONS] - before == extra
    with pytest.raises(Denied, match="is used up"):
        bank.consent.charge_widths(agreed, {"shop": 160})
    assert bank.store.spent("loans")[Budget.FEATURE_EQUATIONS] - before == extra
    assert kinds(bank).count("charge") == (extra > 0) + 1, "a debit, and a refusal"


TOO_WIDE: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    "two columns of numbers": ({}, {"telecom": 112}),
    "three columns of categories": ({}, {"shop": 176}),
    "three columns in bins": ({"binning": {}}, {"shop": 32}),
    "numbers without a flag of missing ones": ({"preparation": {"missing": "constant"}}, {"telecom": 32}),
    "an honest one first": ({}, {"shop": 64, "telecom": 32}),
}


@pytest.mark.parametrize("case", TOO_WIDE)
def test_a_block_wider_than_its_columns_can_become_is_blamed_and_costs_nothing(case: str, bank: Any) -> None:
    terms, widths = TOO_WIDE[case]
    agreed = begun(bank, lambda raw: (three_parties(raw), raw.update(terms))[0])
    before = bank.store.spent("loans")
    with pytest.raises(PeerError) as caught:
        bank.consent.charge_widths(agreed, widths)
    assert (caught.value.culprit, caught.value.reason) == (sorted(widths)[-1], Reason.OUT_OF_RANGE)
    assert bank.store.spent("loans") == before
    assert "charge" not in kinds(bank)


def test_without_the_bound_one_announced_width_eats_the_budget(bank: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: 110 of 115 equations are gone for a partner of two columns."""
    monkeypatch.setattr("party_node.consent.gate.widest", lambda spec, party: 16_384)
    agreed = begun(bank, three_parties)
    before = bank.store.spent("loans")[Budget.FEATURE_EQUATIONS]
    bank.consent.charge_widths(replace(agreed, dataset=bank.register(lambda raw: raw["policy"]["budgets"].update(
        feature_equations=115))), {"telecom": 112})
    assert (before, bank.store.spent("loans")[Budget.FEATURE_EQUATIONS]) == (5, 115)


def test_too_few_in_common_are_refused_without_their_number(bank: Any) -> None:
    bank.register()
    spec = bank.spec_bytes()
    bank.consent.propose(spec, WHO)
    agreed = bank.consent.verify_start(spec, bank.approvals(spec), WHO)
    for number in (517, 520, 100):
        bank.consent.check_count(agreed, number)
        assert bank.consent.settles(agreed, number)
    assert not bank.consent.settles(agreed, 99)
    with pytest.raises(Denied, match="minimum_intersection"):
        bank.consent.check_count(agreed, 99)
    told = [json.loads(line) for line in bank.audit_lines()]
    assert " 99" not in str([line["fields"] | {"approvals": ""} for line in told])   # hashes hold any digits


def test_a_set_near_an_earlier_one_is_refused_and_told_by_its_side(bank: Any) -> None:
    bank.register()
    spec = bank.spec_bytes()
    bank.consent.propose(spec, WHO)
    agreed = bank.consent.verify_start(spec, bank.approvals(spec), WHO)
    denied = bank.consent.too_near(agreed, "that train")
    assert "the customers that train differ from an earlier job's by only a few (policy.minimum_diff" in str(denied)
    assert kinds(bank)[-1] == "training"


def test_a_partner_has_a_budget_of_its_own(bank: Any) -> None:
    bank.register(lambda raw: raw["policy"]["budgets"].update(alignments_per_partner=1))
    first, second = (bank.spec_bytes(nonce=nonce) for nonce in (1, 2))
    for spec in (first, second):
        bank.consent.propose(spec, WHO)
    bank.consent.verify_start(first, bank.approvals(first), WHO)
    with pytest.raises(Denied, match="alignments_per_partner"):
        bank.consent.verify_start(second, bank.approvals(second), WHO)


HOSTILE_BYTES: dict[str, Callable[[bytes], bytes]] = {
    "a key twice": lambda s: s.replace(b'{"', b'{"version":1,"', 1),
    "an unknown field": lambda s: s.replace(b'{"', b'{"aaa":1,"', 1),
    "NaN": lambda s: s.replace(b'"clip":5.0', b'"clip":NaN'),
    "blanks": lambda s: s.replace(b",", b", ", 1),
    "a 512-bit key": lambda s: s.replace(b"3072", b"512"),
    "an intersection of nobody": lambda s: s.replace(b'"minimum_intersection":100', b'"minimum_intersection":0'),
    "one iteration": lambda s: s.replace(b'"iterations":20', b'"iterations":1'),
    "no JSON": lambda s: b"\xff\xfe",
    "nothing": lambda s: b"",
    "a list": lambda s: b"[]",
    "deep nesting": lambda s: b"[" * 100_000,
    "two megabytes": lambda s: s + b" " * (2 << 20),
}


@pytest.mark.parametrize("what", HOSTILE_BYTES)
def test_a_proposal_leaves_one_line_and_no_job_when_it_holds(what: str, bank: Any) -> None:
    bank.register()
    spoiled = HOSTILE_BYTES[what](bank.spec_bytes())
    assert spoiled != bank.spec_bytes()
    with pytest.raises(SpecError):
        bank.consent.propose(spoiled, WHO)
    assert kinds(bank) == ["proposal"]
    assert bank.store.jobs() == []


def test_without_an_audit_line_nothing_is_signed(bank: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bank.register()

    def full(handle: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("party_node.records.audit.os.write", full)
    with pytest.raises(AuditError):
        bank.consent.propose(bank.spec_bytes(), WHO)
    assert bank.store.jobs() == []


def test_open_jobs_are_bounded_and_expire(bank: Any) -> None:
    bank.register(ask)
    for nonce in range(MAX_OPEN_JOBS):
        bank.store.add_job(f"{nonce:064x}", f"n{nonce}", bank.spec_bytes(), WHO)
    answer = bank.consent.propose(bank.spec_bytes(nonce=500), WHO)
    assert answer.error.reason == "TOO_MANY_JOBS"
    bank.now += 10_000
    bank.consent.propose(bank.spec_bytes(nonce=501), WHO)
    assert {row.error_code for row in bank.store.jobs()} == {"EXPIRED"}


def test_an_approved_job_can_be_cancelled_and_a_running_one_is_the_callers(bank: Any) -> None:
    bank.register()
    specs = [bank.spec_bytes(nonce=n) for n in (1, 2)]
    for spec in specs:
        bank.consent.propose(spec, WHO)
    assert bank.consent.cancel(job_id(specs[0]), WHO, "no need") is True
    with pytest.raises(Denied, match="is cancelled"):
        bank.consent.verify_start(specs[0], bank.approvals(specs[0]), WHO)
    bank.consent.verify_start(specs[1], bank.approvals(specs[1]), WHO)
    assert bank.consent.cancel(job_id(specs[1]), WHO, "no need") is False
    assert bank.consent.cancel("0" * 64, WHO, "no need") is False


def test_the_key_is_not_shown(bank: Any) -> None:
    assert repr(bank.consent) == "Consent(bank-a)"
