"""The bins of a joint job beside those of the pooled table, which only somebody who owns all directories can make."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from joint_risk.local_consortium import LocalParty
from joint_risk.pooled_reference import table_of
from mpc.credit.binning import BinCounts, Trend
from mpc.protocols.bin import told
from party_node.data.binned_column import BinnedColumn, bin_codes
from party_node.data.label import read_label
from party_node.jobs.stages.bin import limits_of
from party_node.models.part import load_part
from wire.spec.columns import BinningSpec


def compare_bins(home: Path, parties: list[LocalParty], job: str, rules: BinningSpec, positive: str) -> dict[str, Any]:
    """Every kept column's merged bins, weights and information value, made again from its cuts with labels and columns
    in one place. `other_bins`: columns whose merged bins differ. Weights and values by the formulas alone."""
    parts = {p.id: load_part(home / p.id / "models", job) for p in parties}
    tables = {p.id: table_of(p, parts[p.id]) for p in parties}
    holder = next(p for p in parties if p.label is not None)
    assert holder.label is not None
    outcome = read_label(tables[holder.id], holder.label, positive).positive[parts[holder.id].rows]
    labels = outcome[~parts[holder.id].test]
    good, bad = int((~labels).sum()), int(labels.sum())
    limits = replace(limits_of(rules), trend=Trend(rules.trend))
    found: dict[str, Any] = {"columns": 0, "other_bins": 0, "weight_error": 0.0, "information_error": 0.0}
    for party in parties:
        rows = parts[party.id].rows[~parts[party.id].test]
        for kept in parts[party.id].preparation.encodings:
            assert isinstance(kept, BinnedColumn)
            column = tables[party.id].column(kept.name)
            codes = bin_codes(kept.bins, column, rows)
            counts = BinCounts.of(kept.bins, *(np.bincount(codes[side], minlength=kept.bins.count)
                                               for side in (~labels, labels)))
            pooled = told(counts, limits, rules.minimum_information)
            in_good, in_bad = (np.bincount(np.array(pooled.group)[codes[side]], minlength=len(pooled.good))
                               for side in (~labels, labels))
            weights = np.log((in_good / good) / (in_bad / bad))
            information = float(((in_good / good - in_bad / bad) * weights).sum())
            found["columns"] += 1
            same = kept.group == pooled.group
            found["other_bins"] += not same
            gap = float(np.abs(kept.weights - weights).max()) if same else float("inf")
            found["weight_error"] = max(found["weight_error"], gap)
            found["information_error"] = max(found["information_error"], abs(kept.information - information))
    return found
