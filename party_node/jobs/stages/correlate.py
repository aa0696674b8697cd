"""Stage 5, where the job asks for it: how the own columns go with the others' on the training rows; and which of them
go, if the job says so.

A column enters as one number per row, as it was prepared: itself, or the weight of evidence of its bin. Categories
without bins, flags of missing values and columns that were left out enter as zeros, which go with nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite, isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpc.link import PartyId
from mpc.protocols import correlate
from mpc.statistics.inflation import Inflated
from party_node.data.encoding import What
from party_node.jobs.stages import prepare
from party_node.jobs.stages.context import JobContext
from wire.spec.columns import CorrelateSpec
from wire.spec.job import JobSpec


async def run(context: JobContext) -> None:
    """Sets correlations, where this party is shown them; nothing to do where none were asked for."""
    rules = context.spec.correlate
    if rules is None:
        return
    assert context.test is not None
    columns = await context.me.compute(_columns, context)
    options = correlate.CorrelateOptions(
        label_holder=context.label_holder,
        rows=len(columns),
        columns={PartyId(party.id): len(party.columns) for party in context.spec.parties},
        show=rules.show,
        to=rules.to,
        threshold=rules.threshold,
        minimum_rows=rules.minimum_rows,
        bits=rules.bits,
        key_bits=context.spec.crypto.key_bits,
    )
    peers = context.peers("correlate")
    if rules.show == "inflation":
        inflated = await correlate.run_inflation(context.me, peers, columns, options, context.tools)
        context.correlations = _described(options, rules) | {"inflation": _rows(inflated, context)}
        return
    found = await correlate.run(context.me, peers, columns, options, context.tools)
    if found is not None:
        context.correlations = as_json(found, options, context.spec, rules)
    if rules.drop:
        assert context.correlations is not None
        gone = [one for one in context.correlations["dropped"] if one["party"] == context.me.id]
        if gone:
            await prepare.run(context, [(one["column"], _reason(one, rules)) for one in gone])
        context.table = None


def _reason(one: Mapping[str, Any], rules: CorrelateSpec) -> str:
    party, column = one["with"]
    return f"correlation of {rules.threshold:g} or more with `{column}` of {party}"


def _columns(context: JobContext) -> NDArray[np.float64]:
    """(training rows, columns of the spec)."""
    assert context.features is not None
    assert context.preparation is not None
    assert context.test is not None
    block = context.features[~context.test, int(context.is_label_holder):]
    place = {output.source: j for j, output in enumerate(context.preparation.outputs)
             if output.what in (What.VALUE, What.WEIGHT)}
    found = np.zeros((len(block), len(context.my_part.columns)))
    for k, name in enumerate(context.my_part.columns):
        if name in place:
            found[:, k] = block[:, place[name]]
    return found


def _described(options: correlate.CorrelateOptions, rules: CorrelateSpec) -> dict[str, Any]:
    return {
        "rows": options.rows, "show": rules.show, "to": rules.to, "threshold": rules.threshold,
        "step": 2.0**-options.opened_bits,
    }


def _rows(inflated: Mapping[PartyId, Inflated], context: JobContext) -> list[dict[str, Any]]:
    """One for each own column that was measured and each other party; None: it follows from own columns."""
    return [
        {"party": context.me.id, "column": name, "with": other, "alone": _finite(alone), "together": _finite(together),
         "explained": _finite(explained)}
        for other, found in sorted(inflated.items())
        for name, alone, together, explained in zip(
            context.my_part.columns, found.alone.tolist(), found.together.tolist(), found.explained.tolist(),
            strict=True)
        if not isnan(explained)
    ]


def _finite(value: float) -> float | None:
    return round(value, 4) if isfinite(value) else None


def as_json(
    found: correlate.Found, options: correlate.CorrelateOptions, spec: JobSpec, rules: CorrelateSpec
) -> dict[str, Any]:
    """What was shown, in names of the spec: `pairs` at or above the threshold, greatest first; `matrices` where the
    whole was shown."""
    names = {party.id: party.columns for party in spec.parties}
    step = 2.0**-options.opened_bits
    pairs: list[dict[str, Any]] = [
        {"parties": [a, b], "columns": [names[a][i], names[b][j]], "r": float(values[i, j])}
        for (a, b), values in found.items()
        for i, j in np.argwhere(np.abs(values) >= options.least * step).tolist()
    ]
    pairs.sort(key=lambda pair: -abs(pair["r"]))
    shown = _described(options, rules) | {"pairs": pairs}
    if rules.drop:
        shown["dropped"] = dropped(pairs, spec)
    if rules.show == "matrix":
        shown["matrices"] = [
            {"parties": [a, b], "columns": [names[a], names[b]], "r": values.tolist()}
            for (a, b), values in found.items()
        ]
    return shown


def dropped(pairs: Sequence[Mapping[str, Any]], spec: JobSpec) -> list[dict[str, Any]]:
    """Columns that go, each `with` the one that stays: alike at all parties, for all were shown the same pairs.

    The label holder comes first, then the others by id. Of each pair, greatest correlation first, the column of the
    later party goes if that of the earlier one stays.
    """
    order = [spec.label_holder.id, *(party.id for party in spec.parties if party.id != spec.label_holder.id)]
    gone: dict[tuple[str, str], tuple[str, str]] = {}
    for place, later in enumerate(order):
        for pair in pairs:
            columns = dict(zip(pair["parties"], pair["columns"], strict=True))
            (earlier, *_) = [party for party in columns if party != later]
            own, other = (later, columns.get(later, "")), (earlier, columns[earlier])
            if later in columns and earlier in order[:place] and other not in gone and own not in gone:
                gone[own] = other
    return [{"party": party, "column": column, "with": list(other)} for (party, column), other in gone.items()]
