"""One suite for every protocol. A protocol plugs in with a `Subject`; a test file calls the five checks.

1 the description is whole     2 the result equals the ideal     3 counts and sizes depend on public sizes only
4 no canary in any encoding    5 a deviation is blamed on who deviated, at that step, for the right reason
Knows protocols only through `ProtocolSpec` and `Subject`. Failures are AssertionErrors with a sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from typing import Any

from mpc.errors import PeerError
from mpc.link import Link, PartyId
from mpc.protocol import Party, ProtocolSpec
from mpc.testing.adversary import Adversary, Change, Corruption, generic
from mpc.testing.memory_link import Network, Sent, TestParty, party, run_roles
from mpc.testing.transcript import content, found, shape

Role = Callable[[Party, Mapping[PartyId, Link]], Coroutine[Any, Any, Any]]


@dataclass(frozen=True)
class Trial:
    """One run with given inputs: a role per party, and a judge that asserts that the results equal the ideal."""

    roles: Mapping[str, Role]
    judge: Callable[[Mapping[str, Any]], None]
    canaries: Sequence[bytes] = ()
    salts: Sequence[bytes] = ()


@dataclass(frozen=True)
class Subject:
    """A protocol under test. `trial(parties, secrets)`: other `secrets`, same public sizes (results' too).

    `first_of_kind_only` keeps a slow protocol quick: one message of each kind is struck, instead of one of each
    kind on each link. `undetectable` names corruptions ("Kind: sentence") that no receiver could notice. One of
    `corruptions` with the sentence of a general one takes its place: it knows a finer reason.
    """

    spec: ProtocolSpec
    trial: Callable[[int, int], Trial]
    parties: tuple[int, ...] = (2, 3)
    corruptions: tuple[Corruption, ...] = ()
    first_of_kind_only: bool = False
    undetectable: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Outcome:
    """What came of a run: the transcript, and either results or the first failure and who raised it."""

    transcript: list[Sent]
    results: Mapping[str, Any]
    failed: str | None = None
    error: Exception | None = None


async def play(trial: Trial, tamper: Callable[[Sent], object] | None = None, seed: int = 1) -> Outcome:
    """Run all roles of `trial` over a memory network."""
    network, parties = Network(tamper=tamper), {name: party(name, seed) for name in trial.roles}
    first: list[tuple[str, Exception]] = []

    async def watched(name: str, me: TestParty) -> Any:
        links = {PartyId(peer): network.link(name, peer) for peer in trial.roles if peer != name}
        try:
            return await trial.roles[name](me, links)
        except Exception as error:
            first.append((name, error))
            raise

    try:
        results = await run_roles({name: watched(name, me) for name, me in parties.items()})
    except Exception:
        return Outcome(network.transcript, {}, *first[0])
    return Outcome(network.transcript, results)


async def honest(trial: Trial, seed: int = 1) -> Outcome:
    """A run that must succeed."""
    outcome = await play(trial, seed=seed)
    if outcome.error is not None:
        raise AssertionError(f"an honest run failed at {outcome.failed}") from outcome.error
    return outcome


def check_description(spec: ProtocolSpec) -> None:
    """Messages are frozen dataclasses; every role and line says what it reveals."""
    assert spec.name.isidentifier(), "a protocol has a name"
    assert spec.version >= 1, f"{spec.name} has no version"
    assert spec.roles, f"{spec.name} has no roles"
    assert spec.messages, f"{spec.name} has no messages"
    names = [kind.__name__ for kind in spec.messages]
    assert len(set(names)) == len(names), f"{spec.name}: two messages of one name"
    for kind in spec.messages:
        assert is_dataclass(kind), f"{kind.__name__} is no dataclass"
        assert kind.__dataclass_params__.frozen, f"{kind.__name__} is not frozen"  # type: ignore[attr-defined]
        generated = f"{kind.__name__}("  # what the dataclass decorator writes where nobody wrote anything
        assert not (kind.__doc__ or generated).startswith(generated), f"{kind.__name__}: no docstring"
    for role in ("label_holder", "feature_holder"):
        assert spec.learns.get(role), f"{spec.name} does not say what a {role} learns"
    for line in spec.ledger:
        assert line.code.startswith(spec.name + "."), f"{line.code} is not a line of {spec.name}"
        assert line.kind in {"masked", "revealed"}, f"{line.code} is neither masked nor revealed"
        assert line.to in {"all", "label_holder", "owner", "coordinator"}, f"{line.code} is revealed to whom?"
        assert line.what, f"{line.code} has no sentence"


async def check_ideal(subject: Subject, parties: int) -> None:
    """Two different inputs give what the ideal gives, and only announced kinds of message are sent."""
    for secrets in (1, 2):
        trial = subject.trial(parties, secrets)
        outcome = await honest(trial, seed=secrets)
        trial.judge(outcome.results)
        kinds = {type(sent.message) for sent in outcome.transcript}
        assert kinds <= set(subject.spec.messages), "a message was sent that the protocol does not list"


async def check_shape(subject: Subject, parties: int) -> None:
    """Other secrets and other randomness of the same public sizes: the same messages of the same sizes."""
    shapes = []
    for secrets, seed in ((1, 1), (2, 2)):
        shapes.append(shape((await honest(subject.trial(parties, secrets), seed)).transcript))
    differing = [pair for pair in zip(*shapes, strict=False) if pair[0] != pair[1]]
    assert len(shapes[0]) == len(shapes[1]), "the number of messages depends on secrets"
    assert not differing, f"the size of a message depends on secrets: {differing[0]}"


async def check_canaries(subject: Subject, parties: int) -> None:
    """No private value appears in what is sent, in any encoding."""
    trial = subject.trial(parties, 1)
    if trial.canaries:
        outcome = await honest(trial)
        hits = found(trial.canaries, content(outcome.transcript), trial.salts)
        assert not hits, f"{subject.spec.name} sends private values: {hits}"


async def check_blame(subject: Subject, parties: int) -> int:
    """Every deviation ends in a PeerError at its receiver that names its sender, step and reason. Counts them."""
    trial = subject.trial(parties, 1)
    transcript = (await honest(trial)).transcript
    tried = 0
    applied: set[str] = set()
    for target in _targets(subject, transcript):
        other = next((s.message for s in transcript if type(s.message) is not type(target.message)), None)
        named = [c for c in subject.corruptions if c.kind is type(target.message)]
        finer = {c.sentence for c in named}
        general = [c for c in generic(target.message, other) if c.sentence not in finer]
        for corruption in [*general, *named]:
            label = f"{corruption.kind.__name__}: {corruption.sentence}"
            if label in subject.undetectable:
                continue
            if await _strike(trial, target, corruption, label):
                tried += 1
                applied.add(label)
    missing = [c.sentence for c in subject.corruptions if f"{c.kind.__name__}: {c.sentence}" not in applied]
    assert not missing, f"these deviations were never tried: {missing}"
    return tried


def _targets(subject: Subject, transcript: Sequence[Sent]) -> list[Sent]:
    """The first message of each kind, on each link and channel or once."""
    chosen: dict[object, Sent] = {}
    for sent in transcript:
        where = () if subject.first_of_kind_only else (sent.sender, sent.receiver, sent.channel)
        chosen.setdefault((type(sent.message), where), sent)
    return list(chosen.values())


async def _strike(trial: Trial, target: Sent, corruption: Corruption, label: str) -> bool:
    """Play `corruption` at `target`; False if there was nothing to change."""
    change: Change = corruption.change
    adversary = Adversary((target.sender, target.receiver, target.channel, target.index), change)
    outcome = await play(trial, adversary)
    if not adversary.struck:
        return False
    link = f"{target.sender} -> {target.receiver}"
    error = outcome.error
    assert error is not None, f"nobody noticed {label} ({link})"
    assert isinstance(error, PeerError), f"{label} ({link}) ended in {type(error).__name__}"
    assert outcome.failed == target.receiver, f"{label} ({link}) was noticed by {outcome.failed} first"
    assert error.culprit == target.sender, f"{label} ({link}) was blamed on {error.culprit}"
    assert error.reason in corruption.reasons, f"{label} ({link}) was called {error.reason.name}"
    channel, _, count = error.step.rpartition("#")
    place = int(count) - 1
    right = channel == (target.channel or "main") and (place > target.index if corruption.late else
                                                       place == target.index)
    assert right, f"{label} ({link}) was placed at {error.step}, not at message {target.index}"
    return True
