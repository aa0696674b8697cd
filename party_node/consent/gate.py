"""How a bank agrees to a job: policy, signature, and the check of everybody's signatures before a row is read.

propose      spec bytes -> policy -> our signature, or a person's turn, or a denial (one audit line, nothing else)
approve      a person says yes: policy once more, then our signature
verify_start all N approvals over the same bytes, our own really given, in force, never run before; budgets
             are debited and the job marked running in one transaction before anything is sent
Every step may be repeated: the same question gets the same answer, and a job still runs once. A line of the audit log
is written inside the transaction that it tells of: no step without its line, and no line of a step that was refused.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from mpc.errors import PeerError, Reason
from mpc.link import PartyId
from mpc.protocol import ProtocolSpec
from party_node.consent.datasets import RegisteredDataset, find
from party_node.consent.job_costs import debits, further_equations, models_scored, widest
from party_node.consent.policy import (
    Decision,
    Earlier,
    Question,
    Verdict,
    ask_person,
    decide,
    decide_count,
)
from party_node.records.audit import MAX_FIELD, AuditLog
from party_node.records.budgets import Budget, Debit
from party_node.records.precomputed_files import BURNT
from party_node.records.store import BudgetExhausted, JobRow, JobState, Noted, Store, StoreError
from wire.errors import Denied, PublicError
from wire.signing import ApprovalError, Identity, approve, check_approvals
from wire.spec.job import JobSpec, SpecError, decode_spec, job_id, kept_spec

MAX_OPEN_JOBS = 100  # proposed or approved and not yet started: a coordinator cannot fill the disk


class AlreadyRunning(Denied):
    """The same start came again while the job runs: nothing to do, and nothing wrong."""


@dataclass(frozen=True)
class Answer:
    """To a proposal: our signature, or `pending` (ask again), or a denial; `error` says why for the last two."""

    job: str
    signature: bytes | None
    pending: bool
    error: PublicError | None


@dataclass(frozen=True)
class Agreed:
    """A job that everybody signed and that is now marked running; `approvals_digest` rides in every envelope."""

    job: str
    spec: JobSpec
    dataset: RegisteredDataset
    approvals_digest: str


class Consent:
    """One party's word. Holds the identity key; knows no row and no network."""

    def __init__(
        self,
        party: str,
        identity: Identity,
        store: Store,
        audit: AuditLog,
        identities: Mapping[str, str],
        protocols: Mapping[str, ProtocolSpec],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`identities`: Ed25519 key (hexadecimal) of each party of the consortium file."""
        self._party, self._identity = party, identity
        self._store, self._audit = store, audit
        self._identities = {**identities, party: identity.public_hex}
        self._protocols, self._clock = protocols, clock

    def __repr__(self) -> str:
        return f"Consent({self._party})"

    # ------------------------------------------------------------------ proposals

    def propose(self, spec_bytes: bytes, coordinator: str) -> Answer:
        """Decide about foreign bytes. SpecError if they are no spec; AuditError if the decision cannot be logged."""
        try:
            spec = decode_spec(spec_bytes)
        except SpecError as error:
            self._audit.event("proposal", coordinator=coordinator, verdict=Verdict.DENY.value, code="SPEC",
                              what=str(error)[:MAX_FIELD])
            raise
        job = job_id(spec_bytes)
        known = self._store.job(job)
        if known is not None:
            return self._again(known, coordinator)
        decision = self._decide_new(spec, coordinator)
        if decision.verdict is Verdict.DENY:
            self._log("proposal", job, decision, coordinator)
            return self._answer(job, decision, coordinator)

        def noted() -> None:
            self._log("proposal", job, decision, coordinator)

        if decision.verdict is Verdict.ASK:
            self._store.add_job(job, spec.nonce, spec_bytes, coordinator, noted)
            return self._answer(job, decision, coordinator)
        signature = approve(self._identity, self._party, spec_bytes)
        self._store.add_approved(job, spec.nonce, spec_bytes, coordinator, self._party, signature, noted)
        return Answer(job, signature, False, None)

    def _decide_new(self, spec: JobSpec, coordinator: str) -> Decision:
        self._expire()
        if self._store.job_of_nonce(spec.nonce) is not None:
            return Decision(Verdict.DENY, "TWO_SPECS", "spec.nonce",
                            "another spec with this nonce was proposed before", "launch a new job")
        if len(self._store.jobs(JobState.PENDING, JobState.APPROVED)) >= MAX_OPEN_JOBS:
            return Decision(Verdict.DENY, "TOO_MANY_JOBS", "open jobs", f"{self._party} has too many open jobs",
                            "cancel some of them")
        return decide(self._question(spec, coordinator))

    def _again(self, known: JobRow, coordinator: str) -> Answer:
        """The same answer as before; a job that is over is not signed again."""
        if known.coordinator != coordinator:
            return self._answer(known.id, self._denial("COORDINATOR", "the job was proposed by another coordinator"),
                                coordinator)
        if known.state is JobState.PENDING:
            decision = decide(self._question(decode_spec(known.spec), coordinator))
            if decision.verdict is Verdict.DENY:  # the policy changed while a person was thinking
                self._store.move(known.id, JobState.DENIED, code=decision.code, text=decision.what,
                                 noted=lambda: self._log("proposal", known.id, decision, coordinator))
                return self._answer(known.id, decision, coordinator)
            return self._answer(known.id, ask_person(self._party), coordinator)
        if known.state in (JobState.APPROVED, JobState.RUNNING):
            return Answer(known.id, self._store.approvals(known.id)[self._party], False, None)
        if known.state is JobState.DENIED:
            return self._answer(known.id, self._denial(known.error_code, known.error_text), coordinator)
        return self._answer(known.id, self._denial("REPLAY", f"the job is {known.state.value}; a job runs once"),
                            coordinator)

    def _question(self, spec: JobSpec, coordinator: str) -> Question:
        mine = next((party for party in spec.parties if party.id == self._party), None)
        dataset = find(self._store, mine.dataset) if mine is not None else None
        spent = self._store.spent(dataset.name) if dataset is not None else {}
        partners = [party.id for party in spec.parties if party.id != self._party]
        spent_with = {p: self._store.spent(dataset.name, p) for p in partners} if dataset is not None else {}
        return Question(spec, self._party, coordinator, dataset, spent, spent_with, self._identities, self._protocols,
                        self._clock(), self._earlier(spec, coordinator))

    def _earlier(self, spec: JobSpec, coordinator: str) -> Earlier | None:
        """The job whose correlations `spec` names; another coordinator's does not exist for this one."""
        row = self._store.job(spec.prepared) if spec.prepared is not None else None
        if row is None or row.state is not JobState.DONE or row.coordinator != coordinator:
            return None
        first = kept_spec(row.spec)
        return None if first is None else Earlier(first, not self._store.is_burnt(row.id, BURNT))

    def _expire(self) -> None:
        """Close open jobs whose time has passed."""
        for row in self._store.jobs(JobState.PENDING, JobState.APPROVED):
            spec = kept_spec(row.spec)
            if spec is None or spec.valid_until < self._clock():   # or nobody can start it under this release
                self._store.move(row.id, JobState.CANCELLED, code="EXPIRED", text="its time has passed",
                                 noted=partial(self._audit.event, "expired", row.id))

    # ------------------------------------------------------------------ a person

    def approve(self, job: str, person: str) -> bytes:
        """A person says yes to a pending job: our signature. Denied if the policy no longer allows it."""
        row = self._known(job)
        if row.state is JobState.APPROVED:
            return self._store.approvals(job)[self._party]
        if row.state is not JobState.PENDING:
            raise StoreError(f"job {job[:12]} is {row.state.value}; there is nothing to approve", "party-node jobs")
        decision = decide(self._question(decode_spec(row.spec), row.coordinator))
        if decision.verdict is Verdict.DENY:
            raise self._refusal("approval", job, decision, row.coordinator)
        signature = approve(self._identity, self._party, row.spec)
        self._store.approve_job(job, self._party, signature, self._person(job, Verdict.ALLOW, person))
        return signature

    def deny(self, job: str, person: str) -> bool:
        """A person says no to a pending job, or takes back the approval, a person's or the policy's, of one that has
        not started: whether it was taken back. StoreError, and nothing is noted, for a job that is further."""
        withdrawn = self._known(job).state is JobState.APPROVED
        what = "withdrew the approval of" if withdrawn else "denied"
        self._store.move(job, JobState.DENIED, code="PERSON", text=f"a person at {self._party} {what} the job",
                         noted=self._person(job, Verdict.DENY, person))
        return withdrawn

    def _person(self, job: str, verdict: Verdict, person: str) -> Noted:
        return partial(self._audit.event, "approval", job, verdict=verdict.value, person=person)

    # ------------------------------------------------------------------ start and end

    def verify_start(self, spec_bytes: bytes, approvals: Mapping[str, bytes], coordinator: str) -> Agreed:
        """Mark the job running if everybody agreed to exactly these bytes.

        Raises AlreadyRunning (a repeated start: nothing to do), Denied, ApprovalError or SpecError; then nothing
        was debited and one audit line says why. The caller then checks the table's bytes
        (`registration.check_unchanged`) before it reads a row.
        """
        spec = decode_spec(spec_bytes)
        job = job_id(spec_bytes)
        row = self._store.job(job)
        denial = self._start_denial(row, approvals, coordinator)
        if denial is not None:
            raise self._refusal("start", job, denial, coordinator)
        try:
            digest = check_approvals(spec, spec_bytes, approvals)
        except ApprovalError as error:
            self._audit.event("start", job, verdict=Verdict.DENY.value, code="APPROVALS", what=str(error)[:MAX_FIELD])
            raise
        question = self._question(spec, coordinator)
        decision = decide(question)  # the table, the policy or the budgets may have changed since we signed
        if decision.verdict is Verdict.DENY:
            raise self._refusal("start", job, decision, coordinator)
        assert question.dataset is not None  # without one the policy denies
        try:
            self._store.start_job(job, approvals, question.dataset.name, debits(spec, self._party, question.dataset),
                                  partial(self._audit.event, "start", job, verdict=Verdict.ALLOW.value,
                                          approvals=digest))
        except BudgetExhausted as error:
            raise self._exhausted("start", job, error) from None
        return Agreed(job, spec, question.dataset, digest)

    def _start_denial(
        self, row: JobRow | None, approvals: Mapping[str, bytes], coordinator: str
    ) -> Decision | None:
        if row is None:
            return self._denial("NOT_PROPOSED", f"{self._party} never saw this job", "propose it first")
        if row.coordinator != coordinator:
            return self._denial("COORDINATOR", "the job was proposed by another coordinator")
        if row.state is JobState.RUNNING and dict(approvals) == self._store.approvals(row.id):
            raise AlreadyRunning("the job runs already", whose=self._party, reason="start")
        if row.state is JobState.PENDING:
            return self._denial("NOT_APPROVED", f"{self._party} has not approved this job",
                                f"on {self._party}: party-node approve {row.id[:12]}")
        if row.state is JobState.DENIED:
            return self._denial(row.error_code, row.error_text)
        if row.state is not JobState.APPROVED:
            return self._denial("REPLAY", f"the job is {row.state.value}; a job runs once")
        ours = self._store.approvals(row.id)[self._party]
        if not hmac.compare_digest(approvals.get(self._party, b""), ours):
            return self._denial("FORGED", f"the approval of {self._party} is not the one that it gave")
        return None

    def charge(self, job: str, dataset: RegisteredDataset, budget: Budget, amount: int) -> None:
        """Debit more than the spec told (columns that became several, a score call). Denied past the limit."""
        try:
            self._store.debit(dataset.name, job, Debit(budget, amount, dataset.limit(budget)),
                              partial(self._audit.event, "charge", job, budget=budget.value, amount=amount))
        except BudgetExhausted as error:
            raise self._exhausted("charge", job, error) from None

    def charge_widths(self, agreed: Agreed, widths: Mapping[PartyId, int]) -> None:
        """Debit the columns of others that became several (`widths`: padded, per party). Denied past the limit.

        PeerError, and nothing is debited, for a block that is wider than the columns of the spec can become. What is
        debited stays so if the job fails: a party that has its weights can end it, and nobody else sees that it has.
        """
        for party, width in sorted(widths.items()):
            if width > widest(agreed.spec, agreed.spec.party(party)):
                raise PeerError(party, "train", Reason.OUT_OF_RANGE)
        extra = further_equations(agreed.spec, widths)
        if extra:
            self.charge(agreed.job, agreed.dataset, Budget.FEATURE_EQUATIONS, extra)

    def charge_scores(self, agreed: Agreed) -> None:
        """Debit a model whose scores leave, just before they do: one that fails earlier costs none. Denied past the
        limit."""
        amount = models_scored(agreed.spec, self._party)
        if amount:
            self.charge(agreed.job, agreed.dataset, Budget.SCORED_MODELS, amount)

    def check_count(self, agreed: Agreed, count: int) -> None:
        """Denied if too few customers are in common. Whether they are nearly those of an earlier job shows once it is
        known who they are (`training_sets`)."""
        decision = decide_count(count, agreed.spec, agreed.dataset.policy)
        if decision.verdict is Verdict.DENY:
            raise self._refusal("alignment", agreed.job, decision, "")

    def settles(self, agreed: Agreed, lower: int) -> bool:
        """Whether any number of customers in common from `lower` on would be accepted."""
        return decide_count(lower, agreed.spec, agreed.dataset.policy).verdict is Verdict.ALLOW

    def too_near(self, agreed: Agreed, which: str) -> Denied:
        """The answer where the customers `which` are nearly those of an earlier job (`training_sets`)."""
        decision = Decision(Verdict.DENY, "NEAR_EARLIER_SET", "policy.minimum_difference",
                            f"the customers {which} differ from an earlier job's by only a few",
                            "use the earlier tables, or ones with enough new customers; hold out a larger share, or "
                            "split by another moment: two draws then differ by more")
        return self._refusal("training", agreed.job, decision, "")

    def finish(self, job: str, state: JobState, code: str = "", text: str = "") -> None:
        """Close a running job as DONE, FAILED or CANCELLED, with the text of its error."""
        self._audit.flush(job)
        self._store.move(job, state, code=code, text=text, noted=partial(
            self._audit.event, "end", job, state=state.value, code=code, what=text[:MAX_FIELD]))

    def cancel(self, job: str, coordinator: str, reason: str) -> bool:
        """Cancel a job that has not started; False when it runs (the caller stops it) or is over."""
        row = self._store.job(job)
        if row is None or row.coordinator != coordinator:
            return False
        if row.state not in (JobState.PENDING, JobState.APPROVED):
            return False
        self._store.move(job, JobState.CANCELLED, code="CANCELLED",
                         text=f"{coordinator} cancelled the job: {reason[:MAX_FIELD]}",
                         noted=partial(self._audit.event, "end", job, state=JobState.CANCELLED.value,
                                       coordinator=coordinator, what=reason[:MAX_FIELD]))
        return True

    # ------------------------------------------------------------------ words

    def _known(self, job: str) -> JobRow:
        row = self._store.job(job)
        if row is None:
            raise StoreError(f"no job {job[:12]} is known here", "party-node jobs")
        return row

    def _denial(self, code: str, what: str, advice: str = "launch a new job") -> Decision:
        return Decision(Verdict.DENY, code, "job", what, advice)

    def _log(self, kind: str, job: str, decision: Decision, coordinator: str) -> None:
        self._audit.event(kind, job, coordinator=coordinator, verdict=decision.verdict.value, code=decision.code,
                          line=decision.line, what=decision.what[:MAX_FIELD])

    def _refusal(self, kind: str, job: str, decision: Decision, coordinator: str) -> Denied:
        self._log(kind, job, decision, coordinator)
        return Denied(f"{decision.what} ({decision.line})", whose=self._party, advice=decision.advice,
                      reason=decision.code)

    def _exhausted(self, kind: str, job: str, error: BudgetExhausted) -> Denied:
        return self._refusal(kind, job, Decision(Verdict.DENY, "BUDGET", "policy.budgets", error.what, error.advice),
                             "")

    def _answer(self, job: str, decision: Decision, coordinator: str) -> Answer:
        what = f"{decision.what} ({decision.line})"
        if decision.verdict is Verdict.DENY:
            what += f"; {coordinator} asked, nothing ran"
        error = PublicError("denied", what, self._party, decision.advice, reason=decision.code)
        return Answer(job, None, decision.verdict is Verdict.ASK, error)
