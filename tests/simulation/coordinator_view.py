"""What the coordinator may receive: identities, sizes, timings, states and the released record, and nothing per row."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from tests.simulation.observer import Recording
from wire.description import decode_datasets
from wire.record import PartyPart
from wire.v1 import control_pb2

ANSWERS: dict[str, Any] = {
    "Describe": control_pb2.Description, "Propose": control_pb2.Decision, "Start": control_pb2.Started,
    "Watch": control_pb2.Event, "Cancel": control_pb2.Cancelled,
}
MAX_LIST = 21         # 20 bins have 21 edges
MAX_DECIMALS = 6      # of a released figure


def coordinator_gets_the_public_record_only(recording: Recording) -> list[str]:
    """Findings, as the checks give them."""
    found = []
    for method, party, data in recording.coordinator:
        if method not in ANSWERS:
            found.append(f"{party} answered a call that is not in the contract: {method}")
            continue
        try:
            answer = ANSWERS[method].FromString(data)
        except Exception:   # an error's details were noted as text; they are looked through for canaries
            continue
        if method == "Describe":
            decode_datasets(answer.datasets_json)
        if method == "Watch" and answer.public_record_json:
            found += [f"{party}: {finding}" for finding in _of_record(recording, answer.public_record_json)]
        if method == "Watch" and not answer.public_record_json and len(data) > 2000:
            found.append(f"{party} sent an event of {len(data)} bytes")
    return found


def _of_record(recording: Recording, data: bytes) -> Iterator[str]:
    try:
        PartyPart.model_validate_json(data)
    except ValidationError:
        yield "the record has fields that it must not have"
    weights = {float(w) for own in recording.weights.values() for w in own if w}
    for path, value in _leaves(json.loads(data)):
        if isinstance(value, list) and len(value) > MAX_LIST:
            yield f"{path} lists {len(value)} values"
        if isinstance(value, float):
            if any(abs(value - w) < 1e-9 * abs(w) for w in weights):
                yield f"{path} is a weight"
            if round(value, MAX_DECIMALS) != value and not path.startswith("seconds"):
                yield f"{path} is released to more than {MAX_DECIMALS} decimals"


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Lists and what is below them, scalars."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}".lstrip("."))
        return
    yield path, value
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item, path)
