"""Counterparts that break the rules: one chosen message of a run is changed on its way. Tests only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import singledispatch
from typing import Any

import numpy as np

from mpc.errors import Reason
from mpc.group.ristretto255 import PointVector
from mpc.paillier.ciphertexts import SealedVector
from mpc.ring import RingVector
from mpc.testing.memory_link import Sent

Change = Callable[[Sent, Sequence[Sent]], Any]
"""Gets a message and the transcript before it; returns what is delivered, or None where there is nothing to do."""


@dataclass(frozen=True)
class Corruption:
    """A deviation named by a sentence, the kind of message it strikes, and what the receiver must say of it.

    `late`: only found after further messages of the same channel (a repeat in a list that comes in parts).
    """

    sentence: str
    kind: type
    change: Change
    reasons: tuple[Reason, ...]
    late: bool = False


@dataclass(frozen=True)
class Stranger:
    """A message of no protocol."""

    value: int = 0


class Adversary:
    """A tamper hook for `Network`: changes the message at one place of the conversation, once."""

    def __init__(self, place: tuple[str, str, str, int], change: Change) -> None:
        self.place, self.change = place, change
        self.seen: list[Sent] = []
        self.struck = False

    def __call__(self, sent: Sent) -> object:
        here = (sent.sender, sent.receiver, sent.channel, sent.index)
        message: object = sent.message
        if here == self.place:
            changed = self.change(sent, self.seen)
            if changed is not None:
                self.struck, message = True, changed
        self.seen.append(sent)
        return message


@singledispatch
def resized(vector: object, by: int) -> Any:
    """`vector` with its last element dropped (by = -1) or repeated (by = 1); None if that cannot be done."""
    return None


@resized.register
def _(vector: bytes, by: int) -> bytes | None:
    return _stretched(vector, 1, by)


@resized.register
def _(vector: PointVector, by: int) -> PointVector | None:
    data = _stretched(vector.data, 32, by)
    return None if data is None else PointVector(data)


@resized.register
def _(vector: SealedVector, by: int) -> SealedVector | None:
    data = _stretched(vector.data, vector.width, by)
    return None if data is None else SealedVector.received(data, vector.count + by, vector.width)


@resized.register
def _(vector: RingVector, by: int) -> RingVector | None:
    if len(vector) == 0:
        return None
    values = vector.values[:-1] if by < 0 else np.append(vector.values, vector.values[-1:])
    return RingVector(values, vector.bits)


def _stretched(data: bytes, width: int, by: int) -> bytes | None:
    if not data:
        return None
    return data[:-width] if by < 0 else data + data[-width:]


def generic(message: object, other: object | None) -> Iterator[Corruption]:
    """What no protocol may accept in place of `message`: another kind, and each vector a little short or long."""
    kind = type(message)

    def always(value: object) -> Change:
        return lambda sent, before: value

    yield Corruption("a message of no protocol", kind, always(Stranger()), (Reason.WRONG_KIND,))
    if other is not None:
        yield Corruption("a message of another kind", kind, always(other), (Reason.WRONG_KIND,))
    for field in fields(message):  # type: ignore[arg-type]
        for by, word in ((-1, "short"), (1, "long")):
            value = resized(getattr(message, field.name), by)
            if value is not None:
                changed = replace(message, **{field.name: value})  # type: ignore[type-var]
                yield Corruption(f"{field.name} too {word}", kind, always(changed), (Reason.WRONG_LENGTH,))


def field_set(**values: Any) -> Change:
    """The message with other values in the named fields; a callable gets the old value."""

    def change(sent: Sent, before: Sequence[Sent]) -> Any:
        old = sent.message
        new = {name: value(getattr(old, name)) if callable(value) else value for name, value in values.items()}
        return replace(old, **new)

    return change


def reflected(sent: Sent, before: Sequence[Sent]) -> Any:
    """The latest message of the same kind that the receiver had sent to this sender."""
    for earlier in reversed(before):
        if (earlier.sender, earlier.receiver) == (sent.receiver, sent.sender) and type(earlier.message) is type(
            sent.message
        ):
            return earlier.message
    return None
