"""What this bank refuses. `decide` is a pure function of the spec, the dataset's policy and what was spent before.

RULES is the whole policy: the first rule that finds something wrong denies the job and names its line. Only when
none does is the job allowed, or put before a person. Default deny. Knows no row, network or clock.
The texts go to the coordinator, so they name columns that *it* named and never a count of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from mpc.protocol import ProtocolSpec
from mpc.protocols.correlate import supported_bits
from party_node.consent.datasets import DatasetPolicy, RegisteredDataset
from party_node.consent.disclosure_limits import (
    label_holder_columns,
    leverage,
    minimum_cell,
    minimum_columns,
    minimum_hold_out,
    minimum_outcome,
    minimum_support,
    noise,
    score_grid,
)
from party_node.consent.job_costs import debits, debits_later
from party_node.consent.weight_limits import balanced_refused, too_heavy
from party_node.records.budgets import Budget, spent_as_told
from wire.spec.job import JobSpec, PartySpec
from wire.spec.two_jobs import difference

LONGEST_VALIDITY_S = 31 * 86_400  # a signature that nobody remembers should not start a job


class Verdict(StrEnum):
    """What becomes of a proposal."""

    ALLOW = "allow"
    ASK = "ask"    # a person decides
    DENY = "deny"


@dataclass(frozen=True)
class Decision:
    """`line`: the line of the policy that decided. `what` and `advice` are public sentences."""

    verdict: Verdict
    code: str
    line: str
    what: str
    advice: str = ""


@dataclass(frozen=True)
class Earlier:
    """A job that made correlations ahead: what it was, and whether they are still unused."""

    spec: JobSpec
    unused: bool


@dataclass(frozen=True)
class Question:
    """All that a decision depends on."""

    spec: JobSpec
    me: str
    coordinator: str
    dataset: RegisteredDataset | None      # the one that the spec names for us, if it is registered
    spent: Mapping[Budget, int]            # of that dataset, over all earlier jobs
    spent_with: Mapping[str, Mapping[Budget, int]]   # partner -> what it alone used of its own budgets
    identities: Mapping[str, str]          # party -> Ed25519 public key, from the consortium file and our own key
    protocols: Mapping[str, ProtocolSpec]  # what this release speaks
    now: float                             # Unix seconds
    earlier: Earlier | None = None         # the job whose correlations the spec names, if this party had it

    @property
    def mine(self) -> PartySpec:
        return self.spec.party(self.me)

    @property
    def registered(self) -> RegisteredDataset:
        """The dataset; rules below `dataset` may rely on it."""
        if self.dataset is None:
            raise LookupError("a rule that needs the dataset stands above the rule `dataset`")
        return self.dataset

    @property
    def policy(self) -> DatasetPolicy:
        return self.registered.policy


Check = Callable[[Question], str | None]


@dataclass(frozen=True)
class Rule:
    """One line of the policy: `check` returns what is wrong, or None."""

    line: str
    code: str
    check: Check
    advice: str


def _member(q: Question) -> str | None:
    if q.me not in [party.id for party in q.spec.parties]:
        return f"{q.me} is not a party of this job"
    return None


def _in_force(q: Question) -> str | None:
    if q.now < q.spec.valid_from:
        return "the job spec is not yet valid"
    if q.spec.valid_until - q.spec.valid_from > LONGEST_VALIDITY_S:
        return "the job spec stays in force for more than 31 days"
    return "the job spec has expired" if q.now > q.spec.valid_until else None


def _protocols(q: Question) -> str | None:
    ours = {name: protocol.version for name, protocol in q.protocols.items()}
    for name, version in q.spec.protocols.items():
        if ours.get(name) != version:
            known = f"speaks version {ours[name]}" if name in ours else "does not know it"
            return f"the job wants {name}@{version}; {q.me} {known}"
    missing = sorted(set(ours) - set(q.spec.protocols))
    return f"the job does not fix the version of {missing[0]}" if missing else None


def _identities(q: Question) -> str | None:
    for party in q.spec.parties:
        if party.id not in q.identities:
            return f"{party.id} is not in the consortium file of {q.me}"
        if q.identities[party.id] != party.identity:
            return f"the job names another identity key for {party.id} than the consortium file of {q.me}"
    return None


def _dataset(q: Question) -> str | None:
    if q.dataset is None or q.coordinator not in q.dataset.policy.coordinators:
        return f"{q.me} offers {q.coordinator} no dataset `{q.mine.dataset}`"  # absent or not for you: one answer
    return None


def _partners(q: Question) -> str | None:
    strangers = [p.id for p in q.spec.parties if p.id != q.me and p.id not in q.policy.partners]
    return f"{strangers[0]} is not a partner for dataset {q.registered.name}" if strangers else None


def _purpose(q: Question) -> str | None:
    if q.spec.purpose not in q.policy.purposes:
        return f"the purpose is not one that dataset {q.registered.name} serves"
    return None


def _digest(q: Question) -> str | None:
    if q.mine.dataset_digest != q.registered.digest:
        return f"the job was planned on other bytes of the table of dataset {q.registered.name}"
    return None


def _ids(q: Question) -> str | None:
    file = q.registered.file
    if (q.mine.id_columns, q.mine.id_scheme, q.spec.align.id_profiles) != (
        file.id_columns, file.id_scheme, file.id_profiles
    ):
        return f"dataset {q.registered.name} is matched by another id column, id profile or id scheme"
    return None


def _label(q: Question) -> str | None:
    if q.mine.role != "label_holder":
        return None
    if not q.policy.use_label or q.spec.label.column != q.registered.file.label:
        return f"dataset {q.registered.name} offers no label `{q.spec.label.column}`"
    return None


def _positive(q: Question) -> str | None:
    """Any other value, of whatever the column holds besides, would be another outcome than the one that is offered."""
    asked = q.spec.label.positive
    if q.mine.role != "label_holder" or asked in q.registered.file.label_positive:
        return None
    return f"dataset {q.registered.name} offers no label `{q.spec.label.column}` whose value `{asked}` means bad"


def _period(q: Question) -> str | None:
    """Any other column, cut anywhere, would be told of every customer in common, a bit a job."""
    column = q.spec.hold_out.column
    if column is None or q.mine.role != "label_holder" or column == q.registered.file.period:
        return None
    return f"dataset {q.registered.name} offers no period `{column}`"


def _columns(q: Question) -> str | None:
    theirs = q.spec.label.extra_columns if q.mine.role == "label_holder" else []
    refused = [name for name in [*q.mine.columns, *theirs] if name not in q.registered.allowed_columns]
    if refused:
        return f"dataset {q.registered.name} offers no column `{refused[0]}`"
    # Others bound the width of our block by what the spec says of each column.
    texts = [name for name in q.mine.columns
             if q.registered.kinds[name] == "text" and name not in q.mine.categorical]
    return f"column `{texts[0]}` of dataset {q.registered.name} holds categories, and the job does not say so" \
        if texts else None


def _minimum_rows(q: Question) -> str | None:
    if q.registered.usable_ids < q.policy.minimum_rows:
        return f"dataset {q.registered.name} has fewer rows than its policy demands"
    return None


def _minimum_intersection(q: Question) -> str | None:
    if q.spec.minimum_intersection < q.policy.minimum_intersection:
        return f"the job's minimum intersection is below the {q.policy.minimum_intersection} that {q.me} demands"
    return None


def _correlation_bits(q: Question) -> str | None:
    rules = q.spec.correlate
    if rules is None or rules.bits is None:
        return None
    if rules.bits > max(q.policy.correlation_bits, supported_bits(rules.minimum_rows)):
        return (f"correlations of {rules.bits} bits tell more of single customers than {rules.minimum_rows} rows "
                f"support, and {q.me} does not allow that")
    return None


def _key_bits(q: Question) -> str | None:
    if q.spec.crypto.key_bits < q.policy.key_bits:
        return f"keys of {q.spec.crypto.key_bits} bits are weaker than the {q.policy.key_bits} that {q.me} demands"
    return None


def _reveal(q: Question) -> str | None:
    kinds = {line.code: line.kind for protocol in q.protocols.values() for line in protocol.ledger}
    for code in q.spec.reveal:
        if code not in kinds:
            return f"the job would open `{code}`, which no protocol of {q.me} has"
        if kinds[code] != "masked" and code not in q.policy.reveal:  # a masked value says nothing to anybody
            return f"the job would reveal `{code}`, which dataset {q.registered.name} does not allow"
    return None


def _release(q: Question) -> str | None:
    refused = [kind for kind in q.spec.release if kind not in q.policy.release]
    return f"dataset {q.registered.name} does not allow the release of {refused[0]}" if refused else None


def _budgets(q: Question) -> str | None:
    for debit in [*debits(q.spec, q.me, q.registered), *debits_later(q.spec, q.me, q.registered)]:
        account = q.spent_with.get(debit.partner, {}) if debit.partner else q.spent
        spent = spent_as_told(account.get(debit.budget, 0), debit.limit)
        if debit.amount and spent + debit.amount > debit.limit:
            return f"the budget {debit.budget.value} of dataset {q.registered.name} does not suffice"
    return None


def _prepared(q: Question) -> str | None:
    if q.spec.prepared is None:
        return None
    job = q.spec.prepared[:12]
    if q.earlier is None or q.earlier.spec.goal != "precompute":
        return f"{q.me} has no job {job} that made correlations ahead"
    if not q.earlier.unused:
        return f"what job {job} made ahead at {q.me} was used before or removed"
    if q.now > q.earlier.spec.valid_until:
        return f"what job {job} made ahead has lapsed"
    other = difference(q.earlier.spec, q.spec)
    return f"the job differs from job {job}, which made correlations for it, in {other}" if other else None


def _limit(refused: Callable[[JobSpec, DatasetPolicy, str], str | None]) -> Check:
    """A limit of the policy on a term of the spec."""
    return lambda q: refused(q.spec, q.policy, q.me)


PLAN = "plan the job again"
RULES: tuple[Rule, ...] = (
    Rule("spec.parties", "NOT_A_PARTY", _member, "propose the job to its parties only"),
    Rule("spec.valid_until", "NOT_IN_FORCE", _in_force, "compare the clocks, or launch a new job"),
    Rule("spec.protocols", "PROTOCOL_VERSION", _protocols, "install the same release everywhere"),
    Rule("consortium.identity", "IDENTITY", _identities, "compare fingerprints; then party-node join FILE"),
    Rule("policy.coordinators", "DATASET", _dataset, "name an offered dataset: coordinator plan lists them"),
    Rule("policy.partners", "PARTNER", _partners, "its bank may add the partner to policy.partners"),
    Rule("policy.purposes", "PURPOSE", _purpose, "name a purpose that the dataset's description lists"),
    Rule("dataset.digest", "TABLE_CHANGED", _digest, f"party-node dataset register FILE, then {PLAN}"),
    Rule("dataset.id", "ID_COLUMN", _ids, PLAN),
    Rule("policy.use_label", "LABEL", _label, "its bank may set policy.use_label, or name another label"),
    Rule("dataset.label_positive", "POSITIVE", _positive, "name a value that the dataset declares, written like there"),
    Rule("dataset.period", "PERIOD", _period, "name the period that the dataset declares, or none"),
    Rule("policy.columns", "COLUMN", _columns, "leave the column out or name it as it is, or its bank may offer it"),
    Rule("policy.minimum_rows", "TOO_FEW_ROWS", _minimum_rows, "use a larger table"),
    Rule("policy.minimum_intersection", "INTERSECTION", _minimum_intersection, "raise minimum_intersection"),
    Rule("policy.minimum_support", "SUPPORT", _limit(minimum_support), "raise preparation.minimum_support"),
    Rule("policy.minimum_cell", "CELL", _limit(minimum_cell), "raise binning.minimum_cell"),
    Rule("policy.minimum_outcome", "OUTCOME", _limit(minimum_outcome),
         "raise binning.minimum_outcome and hold_out.minimum_outcome"),
    Rule("policy.minimum_hold_out", "HOLD_OUT", _limit(minimum_hold_out), "raise hold_out.minimum_hold_out"),
    Rule("policy.label_holder_columns", "OWN_COLUMNS", _limit(label_holder_columns),
         "name more columns of the label holder"),
    Rule("policy.finest_score_grid", "SCORE_GRID", _limit(score_grid), "raise scores.grid"),
    Rule("policy.minimum_columns", "COLUMNS", _limit(minimum_columns),
         "name more columns, or raise scores.minimum_columns"),
    Rule("policy.maximum_leverage", "LEVERAGE", _limit(leverage), "lower preparation.leverage_bound"),
    Rule("policy.minimum_noise", "NOISE", _limit(noise), "raise training.noise"),
    Rule("policy.largest_weight", "WEIGHT", lambda q: too_heavy(q.spec, q.policy),
         "lower label.largest_weight or label.class_weights, or its bank may raise policy.largest_weight"),
    Rule("policy.balanced_classes", "BALANCED", lambda q: balanced_refused(q.spec, q.policy),
         "leave label.class_weights out"),
    Rule("policy.correlation_bits", "CORRELATION_BITS", _correlation_bits,
         "leave correlate.bits out, or raise correlate.minimum_rows"),
    Rule("policy.key_bits", "KEY_BITS", _key_bits, "raise crypto.key_bits"),
    Rule("policy.reveal", "REVEAL", _reveal, "its bank may add the code to policy.reveal"),
    Rule("policy.release", "RELEASE", _release, "leave that kind out of release"),
    Rule("spec.prepared", "PREPARED", _prepared, "launch without --prepared, or coordinator precompute again"),
    Rule("policy.budgets", "BUDGET", _budgets, "its bank may raise the budget in the dataset's policy"),
)


def decide(question: Question) -> Decision:
    """ALLOW, ASK a person, or DENY with the line of the policy."""
    for rule in RULES:
        what = rule.check(question)
        if what is not None:
            return Decision(Verdict.DENY, rule.code, rule.line, what, rule.advice)
    if question.registered.approval == "ask":
        return ask_person(question.me)
    return Decision(Verdict.ALLOW, "ALLOWED", "policy.approval", "the policy allows this job")


def ask_person(me: str) -> Decision:
    """Nothing speaks against the job, and a person has the last word."""
    return Decision(Verdict.ASK, "PERSON", "policy.approval", f"a person at {me} has to approve",
                    f"on {me}: party-node approve JOB")


def decide_count(count: int, spec: JobSpec, policy: DatasetPolicy) -> Decision:
    """Whether the second phase of alignment may run, given how many customers the count-only phase found. What allows
    a number allows every larger one. Earlier numbers are not looked at: whoever meets with a refusal knows as much as
    who meets with none, and ids that are known to be in common put any two numbers as far apart as one likes.
    """
    if count < max(spec.minimum_intersection, policy.minimum_intersection):
        return Decision(Verdict.DENY, "TOO_FEW_COMMON", "policy.minimum_intersection",
                        "fewer customers in common than the minimum that was agreed",
                        "compare id column, id format and population of the tables")
    return Decision(Verdict.ALLOW, "ALLOWED", "policy.minimum_intersection", "enough customers in common")
