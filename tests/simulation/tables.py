"""Tables full of canaries: every id, label, level and one numeric column of each party can be recognised anywhere."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from joint_risk.local_consortium import LocalParty
from tests import canaries

COMMON, OWN = 240, 30
CORRELATED = {"correlate": {"show": "pairs", "threshold": 0.3, "minimum_rows": 100}}   # entries of job.toml
LABEL_HOLDER = "bank"
FEATURE_HOLDERS = ("shop", "telecom")


@dataclass(frozen=True)
class World:
    """One consortium's tables. Another `secrets` gives other values and other customers of the same public shape."""

    parties: tuple[str, ...]
    secrets: int

    @property
    def common(self) -> list[str]:
        """Ids of the customers that all have."""
        first = 0 if self.secrets == 1 else 100_000 * self.secrets
        return [canaries.canary_id(first + k) for k in range(COMMON)]

    def ids(self, party: str) -> list[str]:
        """Common and own customers, mixed."""
        start = 100_000 * self.secrets + 1000 * (1 + self.parties.index(party))
        mixed = self.common + [canaries.canary_id(start + k) for k in range(OWN)]
        order = np.random.default_rng([self.secrets, self.parties.index(party)]).permutation(len(mixed))
        return [mixed[i] for i in order]

    def write(self, folder: Path) -> list[LocalParty]:
        """One CSV a party; what the commands need to know of it."""
        risk = np.random.default_rng([self.secrets, 99]).normal(size=COMMON)
        return [self._write_one(folder, party, dict(zip(self.common, risk, strict=True))) for party in self.parties]

    def _write_one(self, folder: Path, party: str, risk: dict[str, float]) -> LocalParty:
        rng = np.random.default_rng([self.secrets, 7, self.parties.index(party)])
        path, holds_label = folder / f"{party}.csv", party == LABEL_HOLDER
        columns = ["amount", "score", "kind"]
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["customer", *columns, *(["outcome"] if holds_label else [])])
            for row, customer in enumerate(self.ids(party)):
                latent = risk.get(customer, 0.0)
                draw = float(np.clip(0.4 * latent + 0.4 * rng.normal(), -1, 1))
                amount = canaries.NUMBER if row % 4 == 0 else canaries.number(draw)
                score = 0.8 * latent + rng.normal()
                values = [customer, f"{amount:.4f}", f"{score:.6f}", canaries.LEVELS[int(rng.integers(3))]]
                if holds_label:
                    values.append(canaries.POSITIVE if latent + rng.logistic() > 0.4 else canaries.NEGATIVE)
                writer.writerow(values)
        path.chmod(0o600)
        return LocalParty(id=party, table=path, id_column="customer", columns=columns,
                          label="outcome" if holds_label else None, positive=canaries.POSITIVE, categorical=["kind"],
                          policy={"minimum_columns": 1})


def job(parties: tuple[str, ...]) -> dict[str, object]:
    """job.toml of a short run that converges by its own lax standard; the hold-out is fixed, so sizes are equal."""
    return {
        "purpose": "joint credit risk",
        "minimum_intersection": 100,
        "party": [{"id": party, "dataset": "table", "columns": ["amount", "score", "kind"]} for party in parties],
        "label": {"party": LABEL_HOLDER, "column": "outcome", "positive": canaries.POSITIVE},
        "training": {"penalty": 0.1, "iterations": 8, "tolerance": 1.0, "expected_default_rate": 0.3,
                     "sigmoid": "six"},
        "crypto": {"key_bits": 2048},
        "align": {"engine": "ecdh" if len(parties) == 2 else "oprf"},   # the recordings cover both
        "hold_out": {"fraction": 0.3, "seed": "privacy tests", "minimum_hold_out": 40},   # of 240 customers
        "scores": {"minimum_columns": 1},                               # three are named, categories fall away
        **({"binning": {"fine_bins": 6, "minimum_information": 0.0}} if len(parties) > 2 else {}),   # and bins or none
    }
