"""What only somebody who owns all directories can compute: the exact fit on all parties' columns together."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from joint_risk.local_consortium import LocalParty
from mpc.statistics.logistic import fit_logistic
from mpc.statistics.metrics import ks, roc_auc
from party_node.data.label import read_label
from party_node.data.row_terms import Limits, read_offset, read_weights
from party_node.data.sources.kinds import Kind
from party_node.data.sources.table import NumericColumn, Table, read_table
from party_node.models.kept_scores import read_scores
from party_node.models.part import ModelPart, load_part
from wire.spec.label import LabelSpec

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Pooled:
    """The joint model beside the exact fit on the same rows, preparation and penalty."""

    auc: dict[str, float]
    ks: dict[str, float]
    coefficients: dict[str, Any]


def compare(home: Path, parties: list[LocalParty], job: str, penalty: float, label: LabelSpec) -> Pooled:
    """Read every party's kept part and table, fit the pooled model exactly, and compare."""
    parts = {p.id: load_part(home / p.id / "models", job) for p in parties}
    tables = {p.id: table_of(p, parts[p.id]) for p in parties}
    holder = next(p for p in parties if p.label is not None)
    assert holder.label is not None
    rows = parts[holder.id].rows
    outcome = read_label(tables[holder.id], holder.label, label.positive).positive[rows]
    test = parts[holder.id].test
    train, judged = ~test, test if test.any() else np.ones_like(test)
    weights, shift = read_weights(tables[holder.id], rows[train], outcome[train], label,
                                  Limits(math.inf, 0.0))
    offset = np.zeros(len(rows)) if label.offset is None else read_offset(tables[holder.id], rows, label.offset)

    blocks = {p.id: parts[p.id].preparation.apply(tables[p.id], parts[p.id].rows) for p in parties}
    names = [f"{p.id}:{name}" for p in parties for name in parts[p.id].preparation.names]
    joint = np.concatenate([_without_intercept(parts[p.id]) for p in parties])
    prepared = np.concatenate([blocks[p.id] for p in parties], axis=1)
    exact = weighted_fit(prepared[train], outcome[train], penalty, weights, offset[train])
    raw = np.concatenate([plain_block(tables[p.id], p, parts[p.id].rows, train) for p in parties], axis=1)
    unprepared = weighted_fit(raw[train], outcome[train], penalty, weights, offset[train])

    scores = read_scores(home / holder.id / "models" / job / "scores.npz")
    found = {
        "joint": scores.joint,
        "solo": scores.solo,
        "pooled": prepared[judged] @ exact[:-1] + offset[judged],
        "unprepared": raw[judged] @ unprepared[:-1] + offset[judged],
    }
    pooled = exact - np.append(np.zeros(len(names)), shift)   # the parts are of the odds of the rows as they are
    joint = np.append(joint, parts[holder.id].weights[0])
    return Pooled(
        auc={name: roc_auc(outcome[judged], value) for name, value in found.items()},
        ks={name: ks(outcome[judged], value) for name, value in found.items()},
        coefficients={
            "joint": _named([*names, "(intercept)"], joint),
            "pooled": _named([*names, "(intercept)"], pooled),
            "max_abs_error": float(np.abs(joint - pooled).max()),
        },
    )


def weighted_fit(features: F64, outcome: NDArray[np.bool_], penalty: float, weights: F64, offset: F64) -> F64:
    """Coefficients, then the intercept; scikit-learn's where there is no offset, for it knows none."""
    if offset.any():
        table = np.column_stack([features, np.ones(len(features))])
        return fit_logistic(table, outcome, penalty, features.shape[1], sample_weights=weights, offset=offset).weights
    model = exact_fit(features, outcome, penalty, weights)
    return np.append(model.coef_[0], model.intercept_[0])


def exact_fit(
    features: F64, outcome: NDArray[np.bool_], penalty: float, weights: F64 | None = None
) -> LogisticRegression:
    """scikit-learn's fit of the same objective, to the last digits."""
    model = LogisticRegression(C=1 / (len(outcome) * penalty), solver="newton-cholesky", tol=1e-10, max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # line-search notes at the last digits
        return model.fit(features, outcome, sample_weight=weights)


def plain_block(table: Table, party: LocalParty, rows: NDArray[np.int64], train: NDArray[np.bool_]) -> F64:
    """What an analyst would do without winsorising or a leverage bound: mean for missing, one column per category,
    standardised on the training rows."""
    columns: list[F64] = []
    for name in party.columns:
        column = table.column(name)
        if isinstance(column, NumericColumn):
            values = column.values[rows]
            fitted = values[train]
            mean = float(np.nanmean(fitted)) if not np.isnan(fitted).all() else 0.0
            columns.append(np.where(np.isnan(values), mean, values))
        else:
            columns.extend((column.codes[rows] == code).astype(np.float64) for code in range(len(column.levels)))
    block = np.column_stack(columns) if columns else np.zeros((len(rows), 0))
    sd = block[train].std(axis=0)
    usable = sd > 0
    return np.asarray((block[:, usable] - block[train][:, usable].mean(axis=0)) / sd[usable])


def table_of(party: LocalParty, part: ModelPart) -> Table:
    """The party's table, read as its part was fitted."""
    kinds: dict[str, Kind] = dict(part.preparation.kinds) | dict.fromkeys(party.categorical, Kind.TEXT)
    wanted = list(party.columns)
    if party.label is not None:
        wanted += [party.label, *party.extra]
        kinds |= {party.label: Kind.TEXT} | dict.fromkeys(party.extra, Kind.NUMERIC)
    return read_table(party.table, columns=wanted, kinds=kinds)


def _without_intercept(part: ModelPart) -> F64:
    return part.weights[1:] if part.label_holder else part.weights


def _named(names: list[str], values: F64) -> Mapping[str, float]:
    return {name: float(value) for name, value in zip(names, values, strict=True)}
