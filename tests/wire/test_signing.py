"""Approvals: all N, each by its own key over the same bytes, and nothing else counts."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest

from mpc.domains import Domain
from wire.signing import ApprovalError, Identity, approve, check_approvals, verify
from wire.spec.job import JobSpec, encode_spec

NAMES = ("bank-a", "shop", "telecom")
KEYS = {name: Identity.generate() for name in (*NAMES, "stranger")}
Approvals = dict[str, bytes]


def spec(purpose: str = "credit risk") -> JobSpec:
    return JobSpec.model_validate({
        "purpose": purpose, "nonce": "1" * 64, "valid_from": 0, "valid_until": 1, "protocols": {}, "reveal": [],
        "label": {"column": "bad"},
        "parties": [{"id": name, "role": "label_holder" if name == "bank-a" else "feature_holder",
                     "identity": KEYS[name].public_hex, "dataset": "t", "dataset_digest": "0" * 64,
                     "columns": ["x"], "id_columns": ["id"]} for name in NAMES],
    })


DATA = encode_spec(spec())


def signed(data: bytes = DATA) -> Approvals:
    return {name: approve(KEYS[name], name, data) for name in NAMES}


def test_all_signatures_over_the_same_bytes_make_a_job() -> None:
    digest = check_approvals(spec(), DATA, signed())
    assert len(digest) == 64
    assert check_approvals(spec(), DATA, dict(reversed(signed().items()))) == digest  # order does not matter
    other = spec("another purpose")
    assert check_approvals(other, encode_spec(other), signed(encode_spec(other))) != digest


def replaced(name: str, signature: bytes) -> Callable[[Approvals], Approvals]:
    return lambda approvals: approvals | {name: signature}


HOSTILE: dict[str, tuple[Callable[[Approvals], Approvals], str]] = {
    "one is missing": (lambda a: {n: s for n, s in a.items() if n != "shop"}, "approval of shop is missing"),
    "none came": (lambda a: {}, "approval of bank-a is missing"),
    "a stranger's is added": (lambda a: a | {"stranger": approve(KEYS["stranger"], "stranger", DATA)},
                              "stranger is not a party"),
    "a stranger signs for a party": (replaced("shop", approve(KEYS["stranger"], "shop", DATA)), "approval of shop"),
    "one is counted twice": (lambda a: a | {"shop": a["bank-a"]}, "approval of shop"),
    "one key signs under two names": (replaced("shop", approve(KEYS["bank-a"], "shop", DATA)), "approval of shop"),
    "one of another spec": (replaced("shop", approve(KEYS["shop"], "shop", encode_spec(spec("other")))),
                            "approval of shop"),
    "one made for another use": (replaced("shop", KEYS["shop"].sign(Domain.AUDIT_HEAD, DATA)), "approval of shop"),
    "an empty one": (replaced("telecom", b""), "approval of telecom"),
    "one cut short": (lambda a: a | {"telecom": a["telecom"][:-1]}, "approval of telecom"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_the_job_does_not_start_when(case: str) -> None:
    change, words = HOSTILE[case]
    with pytest.raises(ApprovalError, match=words):
        check_approvals(spec(), DATA, change(signed()))


def test_a_signature_belongs_to_its_key_its_use_and_its_message() -> None:
    key = KEYS["shop"]
    signature = key.sign(Domain.AUDIT_HEAD, b"message")
    assert verify(key.public_hex, Domain.AUDIT_HEAD, b"message", signature)
    assert not verify(key.public_hex, Domain.JOB_APPROVAL, b"message", signature)
    assert not verify(key.public_hex, Domain.AUDIT_HEAD, b"massage", signature)
    assert not verify(KEYS["bank-a"].public_hex, Domain.AUDIT_HEAD, b"message", signature)
    assert not verify("00" * 31, Domain.AUDIT_HEAD, b"message", signature)
    assert not verify("no key", Domain.AUDIT_HEAD, b"message", signature)


def test_a_key_survives_its_file_and_shows_itself_nowhere() -> None:
    key = KEYS["shop"]
    assert Identity.from_pem(key.to_pem()).public_hex == key.public_hex
    assert repr(key) == "Identity(...)"
    with pytest.raises(TypeError):
        pickle.dumps(key)
    with pytest.raises(ValueError, match=r"load|PEM|deserialize"):
        Identity.from_pem(b"no key")
