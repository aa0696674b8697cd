"""The stream of a party's linear term: the same for the same job, another for whatever may move the optimum."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from party_node.jobs.noise import noise_stream
from party_node.records.node_secret import SECRET_BYTES, NodeSecret
from wire.spec.job import JobSpec
from wire.spec.two_jobs import second_half

ROWS = np.array([5, 1, 9, 1], np.int64)
SECRET = NodeSecret(bytes(range(SECRET_BYTES)))
SPEC: dict[str, Any] = {
    "purpose": "credit risk", "nonce": "1" * 64, "valid_from": 1, "valid_until": 3600, "protocols": {"train": 1},
    "parties": [
        {"id": "bank-a", "role": "label_holder", "identity": "a" * 64, "dataset": "loans", "dataset_digest": "d" * 64,
         "columns": ["income", "age"], "id_columns": ["customer"]},
        {"id": "shop", "role": "feature_holder", "identity": "b" * 64, "dataset": "loans", "dataset_digest": "d" * 64,
         "columns": ["basket"], "id_columns": ["customer"]},
    ],
    "label": {"column": "bad"}, "reveal": ["score.sum", "train.weights"],
}


def drawn(rows: Any = ROWS, secret: NodeSecret = SECRET, spec: JobSpec | None = None, **changes: Any) -> bytes:
    return noise_stream(secret, spec or JobSpec.model_validate(SPEC | changes), np.array(rows, np.int64)).bytes(32)


def test_the_same_job_run_again_draws_the_same() -> None:
    assert drawn(nonce="2" * 64, valid_from=7, valid_until=99) == drawn()
    assert drawn(ROWS[::-1]) == drawn()
    whole = JobSpec.model_validate(SPEC | {"reveal": ["align.overlaps", *SPEC["reveal"]]})
    assert drawn(spec=second_half(whole, "c" * 64)) == drawn(spec=whole) == drawn()


def other_table(digest: str) -> list[dict[str, Any]]:
    bank, shop = SPEC["parties"]
    return [bank, shop | {"dataset_digest": digest}]


@pytest.mark.parametrize("change", [
    {"rows": [5, 1, 9]}, {"rows": [5, 1, 9, 2]}, {"secret": NodeSecret(bytes(SECRET_BYTES))},
    {"parties": other_table("e" * 64)}, {"training": {"penalty": 0.1}}, {"training": {"noise": 2.0}},
    {"label": {"column": "bad", "positive": "2"}}, {"binning": {}},
], ids=lambda change: next(iter(change)))
def test_whatever_may_move_the_optimum_draws_afresh(change: dict[str, Any]) -> None:
    """The planted fault of a key without the rows is in tests/simulation/test_attack_weights.py, with what it costs."""
    assert drawn(**change) != drawn()
