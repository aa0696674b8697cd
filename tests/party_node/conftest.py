"""A bank with one registered dataset, and specs that its policy allows."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from mpc.protocol import LedgerLine, ProtocolSpec
from party_node.consent.datasets import DatasetFile, RegisteredDataset
from party_node.consent.gate import Consent
from party_node.consent.policy import Question
from party_node.records.audit import AuditLog
from party_node.records.budgets import Budget
from party_node.records.store import Store
from wire.signing import Identity, approve
from wire.spec.job import JobSpec, encode_spec

NOW = 1_800_000_000.0
COORDINATOR = "conductor"
Change = Callable[[dict[str, Any]], None]


def _protocol(name: str, *ledger: LedgerLine) -> ProtocolSpec:
    return ProtocolSpec(name, 1, (), {}, lambda: None, {}, ledger)


PROTOCOLS: Mapping[str, ProtocolSpec] = {
    "align": _protocol("align"),
    "score": _protocol("score", LedgerLine("score.sum", "revealed", "label_holder", "scores")),
    "train": _protocol("train", LedgerLine("train.delta", "masked", "all", "masked"),
                       LedgerLine("train.weights", "revealed", "owner", "weights"),
                       LedgerLine("train.step", "revealed", "all", "a step")),
}

DATASET: dict[str, Any] = {
    "name": "loans", "source": "loans.csv", "id": "customer", "label": "bad",
    "label_positive": "1",
    "offered": ["income", "age", "region", "secret_score"], "categorical": ["region"],
    "policy": {
        "purposes": ["credit risk"], "partners": ["shop", "telecom"], "coordinators": [COORDINATOR],
        "columns": ["income", "age", "region"], "use_label": True, "minimum_rows": 500, "minimum_hold_out": 90,
        "reveal": ["score.sum", "train.weights"], "release": ["metrics", "row_counts"], "approval": "auto",
        "balanced_classes": False, "budgets": {"alignments": 3, "training_rounds": 50, "score_calls": 3},
    },
}


@dataclass
class Bank:
    """`bank-a` and the identities of those it works with."""

    root: Path
    identities: dict[str, Identity]
    store: Store
    audit: AuditLog
    now: float = NOW

    @property
    def consent(self) -> Consent:
        return Consent("bank-a", self.identities["bank-a"], self.store, self.audit, self.public, PROTOCOLS,
                       lambda: self.now)

    @property
    def public(self) -> dict[str, str]:
        return {name: identity.public_hex for name, identity in self.identities.items()}

    def register(self, change: Change | None = None, digest: str = "d" * 64) -> RegisteredDataset:
        """Put the dataset into the store without a table: 1000 usable ids, so 100 feature equations."""
        raw = {**DATASET, "policy": {**DATASET["policy"], "budgets": dict(DATASET["policy"]["budgets"])}}
        if change is not None:
            change(raw)
        file = DatasetFile.model_validate(raw)
        dataset = RegisteredDataset(
            file=file, path=str(self.root / "loans.csv"), digest=digest, rows=1010, usable_ids=1000,
            kinds={"income": "numeric", "age": "numeric", "region": "text", "secret_score": "numeric"},
            id_shapes=[{}], approval=file.policy.approval or "ask",
        )
        self.store.put_dataset("loans", dataset.model_dump(mode="json"))
        return dataset

    def raw(self, nonce: int = 1) -> dict[str, Any]:
        """A spec that the policy allows, as plain values to spoil."""
        def party(name: str, role: str, dataset: str, columns: list[str]) -> dict[str, Any]:
            return {"id": name, "role": role, "identity": self.public[name], "dataset": dataset,
                    "dataset_digest": "d" * 64, "columns": columns, "id_columns": ["customer"]}

        return {
            "purpose": "credit risk", "nonce": f"{nonce:064x}",
            "valid_from": int(NOW) - 60, "valid_until": int(NOW) + 3600,
            "protocols": {"align": 1, "score": 1, "train": 1},
            "parties": [party("bank-a", "label_holder", "loans", ["income", "region"]),
                        party("shop", "feature_holder", "orders", ["basket", "returns"])],
            "label": {"column": "bad"},
            "training": {"iterations": 20},
            "reveal": ["score.sum", "train.delta", "train.weights"],
            "release": ["metrics", "row_counts"],
        }

    def spec(self, change: Change | None = None, nonce: int = 1) -> JobSpec:
        raw = self.raw(nonce)
        if change is not None:
            change(raw)
        for party in raw["parties"]:    # what holds categories, as a plan says it
            party.setdefault("categorical", [name for name in party["columns"] if name == "region"])
        return JobSpec.model_validate(raw)

    def spec_bytes(self, change: Change | None = None, nonce: int = 1) -> bytes:
        return encode_spec(self.spec(change, nonce))

    def approvals(self, spec: bytes) -> dict[str, bytes]:
        """Everybody's signature over `spec`."""
        return {name: approve(self.identities[name], name, spec) for name in ("bank-a", "shop")}

    def question(self, spec: JobSpec, dataset: RegisteredDataset | None, **changes: Any) -> Question:
        """The question that the policy is asked in the ordinary case."""
        spent = dict.fromkeys(Budget, 0)
        ordinary = Question(spec, "bank-a", COORDINATOR, dataset, spent, {}, self.public, PROTOCOLS, NOW)
        return replace(ordinary, **changes)

    def audit_lines(self) -> list[bytes]:
        return (self.root / "audit.jsonl").read_bytes().splitlines()


@pytest.fixture(scope="session")
def _identities() -> dict[str, Identity]:
    return {name: Identity.generate() for name in ("bank-a", "shop", "telecom", "stranger")}


@pytest.fixture
def bank(tmp_path: Path, _identities: dict[str, Identity]) -> Bank:
    root = tmp_path / "bank-a"
    root.mkdir(mode=0o700)
    store = Store(root / "state.db", clock=time.time)
    return Bank(root, dict(_identities), store, AuditLog(root / "audit.jsonl", "bank-a"))
