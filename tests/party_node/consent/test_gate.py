"""Consent: what is signed, what starts, and every way in which a start or a proposal is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from party_node.consent.gate import MAX_OPEN_JOBS, AlreadyRunning
from party_node.records.audit import AuditError, verify_log
from party_node.records.budgets import Budget
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
        Budget.ALIGNMENTS_PER_PARTNER: 0, Budget.PERIOD_SPLITS: 0, Budget.MODELS: 1,
    }
    assert bank.store.spent("loans", "shop")[Budget.ALIGNMENTS_PER_PARTNER] == 1
    assert bank.store.spent("loans", "telecom")[Budget.ALIGNMENTS_PER_PARTNER] == 0
    assert kinds(bank) == ["proposal", "start"]
    verify_log(bank.root / "audit.jsonl", "bank-a")


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
    with pytest.raises(Denied):
        bank.consent.verify_start(spec, bank.approvals(spec), WHO)


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


WIDTHS: dict[str, tuple[dict[str, int], int]] = {
    "all that two columns may have become": ({"shop": 16}, 14),
    "one column that became many": ({"shop": 64}, 62),
    "the label holder's intercept is no column": ({"bank-a": 16}, 13),
    "two others": ({"shop": 32, "telecom": 48}, 76),
}


@pytest.mark.parametrize("case", WIDTHS)
def test_what_blocks_grew_by_is_debited_before_training(case: str, bank: Any) -> None:
    widths, extra = WIDTHS[case]

    def third(raw: dict[str, Any]) -> None:
        raw["parties"].append(raw["parties"][1] | {"id": "telecom", "identity": bank.public["telecom"]})

    bank.register()
    spec = bank.spec_bytes(third)
    approvals = bank.approvals(spec) | {"telecom": approve(bank.identities["telecom"], "telecom", spec)}
    bank.consent.propose(spec, WHO)
    agreed = bank.consent.verify_start(spec, approvals, WHO)
    before = bank.store.spent("loans")[Budget.FEATURE_EQUATIONS]
    bank.consent.charge_widths(agreed, widths)
    assert bank.store.spent("loans")[Budget.FEATURE_EQUATIONS] - before == extra
    with pytest.raises(Denied, match="is used up"):
        bank.consent.charge_widths(agreed, {"shop": 128})
    assert bank.store.spent("loans")[Budget.FEATURE_EQUATIONS] - before == extra


def test_two_jobs_at_once_cannot_pass_by_the_guard_of_near_sets(bank: Any) -> None:
    """One was told that any number from 500 on will do; the other's number is not judged before its own is known."""
    bank.register()
    consent, agreed = bank.consent, []
    for nonce in (1, 2):
        spec = bank.spec_bytes(nonce=nonce)
        consent.propose(spec, WHO)
        agreed.append(consent.verify_start(spec, bank.approvals(spec), WHO))
    first, second = agreed
    assert consent.settles(first, 500)
    assert consent.settles(first, 550), "asked again with a larger sample"
    assert not consent.settles(second, 500)
    with pytest.raises(Denied, match="is being aligned"):
        consent.check_count(second, 520)
    consent.check_count(first, 521)
    assert consent.settles(second, 600)
    with pytest.raises(Denied, match="minimum_difference"):
        consent.check_count(second, 520)
    consent.finish(second.job, JobState.FAILED)
    assert consent.settles(first, 600), "a job that is over keeps nobody waiting"


def test_a_set_near_an_earlier_one_is_refused_without_its_count(bank: Any) -> None:
    bank.register()
    spec = bank.spec_bytes()
    bank.consent.propose(spec, WHO)
    agreed = bank.consent.verify_start(spec, bank.approvals(spec), WHO)
    bank.consent.check_count(agreed, 517)
    bank.consent.check_count(replace(agreed, job="same-set"), 517)
    for count, line in ((520, "minimum_difference"), (99, "minimum_intersection")):
        with pytest.raises(Denied, match=line):
            bank.consent.check_count(agreed, count)
    told = [json.loads(line) for line in bank.audit_lines()]
    assert "517" not in str([line["fields"] | {"approvals": ""} for line in told])   # hashes hold any digits


def with_telecom(raw: dict[str, Any]) -> None:
    raw["parties"].append({**raw["parties"][1], "id": "telecom", "identity": "9" * 64, "dataset": "users"})


def test_sets_of_fewer_and_of_more_partners_are_compared_too(bank: Any) -> None:
    """The customers common to three lie among those common to two: a small difference names a few."""
    bank.register()
    consent = bank.consent
    spec = bank.spec_bytes()
    consent.propose(spec, WHO)
    two = consent.verify_start(spec, bank.approvals(spec), WHO)
    three = replace(two, job="three", spec=bank.spec(with_telecom, nonce=2))
    other = replace(two, job="other", spec=bank.spec(lambda raw: (with_telecom(raw), raw["parties"].pop(1)), nonce=3))
    consent.check_count(two, 517)
    with pytest.raises(Denied, match="minimum_difference"):
        consent.check_count(three, 510)
    consent.check_count(other, 510)   # of another partner: neither lies within the other
    assert not consent.settles(three, 480)
    assert consent.settles(three, 540)
    with pytest.raises(Denied, match="is being aligned"):
        consent.check_count(two, 517)


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
