"""`correlate` as the conformance suite sees it: pairs to all, the matrix to the label holder, inflation to each."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from mpc.correlated_randomness.kinds import TrigPlan
from mpc.link import Link, PartyId
from mpc.protocol import Party
from mpc.protocols import correlate
from mpc.regression.setup import Tools
from mpc.rng import Rng
from mpc.testing.bin_subject import BAD_KEYS
from mpc.testing.conformance import Role, Subject, Trial
from mpc.testing.dealer import Dealer
from mpc.testing.keys import small_key

NAMES = ("bank-a", "platform-b", "telecom-c")
ROWS, KEY_BITS, BITS, THRESHOLD = 80, 256, 9, 0.5


def columns_of(parties: int, secrets: int) -> dict[PartyId, correlate.F64]:
    """Two columns each, three at the second party; some go together across parties, one is constant."""
    draw = Rng(secrets.to_bytes(32, "big"))

    def noise(count: int) -> correlate.F64:
        return draw.ring(ROWS * count, 32).reshape(ROWS, count) / 2.0**32 - 0.5

    common, found = noise(1), {}
    for k, name in enumerate(NAMES[:parties]):
        own = noise(3 if k == 1 else 2)
        own[:, :1] += (-1) ** k * 2 * common
        found[PartyId(name)] = own
    found[PartyId(NAMES[1])][:, 2] = 4.5
    return found


def options_of(columns: Mapping[PartyId, correlate.F64], **changes: Any) -> correlate.CorrelateOptions:
    """What the parties of `columns` agree on."""
    values: dict[str, Any] = {
        "label_holder": min(columns), "rows": ROWS, "columns": {p: own.shape[1] for p, own in columns.items()},
        "show": "pairs", "to": "all", "threshold": THRESHOLD, "minimum_rows": 20, "bits": BITS, "key_bits": KEY_BITS,
    }
    return correlate.CorrelateOptions(**(values | changes))


def tools_of(names: list[PartyId]) -> dict[PartyId, Tools]:
    """One ideal dealer for all parties, and small fixed keys."""
    dealer = Dealer(names, TrigPlan(len(names)))

    def tools(name: PartyId) -> Tools:
        async def source(me: Party, peers: Mapping[PartyId, Link], plan: TrigPlan) -> Any:
            return dealer.source(name)

        return Tools(lambda rng, bits: small_key(bits, names.index(name) + 1, "gmp"), source)

    return {name: tools(name) for name in names}


def judged(found: Mapping[Any, Any], due: Mapping[Any, Any], options: correlate.CorrelateOptions) -> None:
    """AssertionError unless `found` is `due`, rounded, as far as `options` shows it."""
    step = 2.0**-options.opened_bits
    assert set(found) == set(due), "correlations of other parties than agreed"
    for pair, exact in due.items():
        shown = found[pair] != 0.0
        assert np.all(np.abs(found[pair] - exact)[shown] <= step + 1e-4), "not the correlations of the pooled table"
        least = options.least * step if options.show == "pairs" else 0.0
        assert np.all(shown[np.abs(exact) >= least + 2 * step]), "a correlation above the threshold is not shown"
        assert not np.any(shown[np.abs(exact) < least - 2 * step]), "a correlation below the threshold is shown"


def _trial(parties: int, secrets: int, show: correlate.Show, to: correlate.To) -> Trial:
    columns = columns_of(parties, secrets)
    options, tools = options_of(columns, show=show, to=to), tools_of(list(columns))

    def role(name: PartyId) -> Role:
        return lambda me, peers: correlate.run(me, peers, columns[name], options, tools[name])

    def judge(results: Mapping[str, Any]) -> None:
        due = correlate.ideal(columns, options)
        for name, found in results.items():
            if to == "all" or name == options.label_holder:
                judged(found, due, options)
            else:
                assert found is None, "shown to somebody who was not named"

    canaries = [np.ascontiguousarray(own[:, j]).tobytes()[8 * i : 8 * i + 8]
                for own in columns.values() for j in range(2) for i in range(0, ROWS, 8)]
    return Trial({name: role(name) for name in columns}, judge, canaries)


def _inflation_trial(parties: int, secrets: int) -> Trial:
    columns = columns_of(parties, secrets)
    options, tools = options_of(columns, show="inflation", bits=14), tools_of(list(columns))

    def role(name: PartyId) -> Role:
        return lambda me, peers: correlate.run_inflation(me, peers, columns[name], options, tools[name])

    def judge(results: Mapping[str, Any]) -> None:
        for name, found in results.items():
            assert set(found) == set(columns) - {name}, "inflation beside other parties than agreed"
            for other, inflated in found.items():
                parts = [own[:, own.std(axis=0) > 0] for own in (columns[PartyId(name)], columns[other])]
                due = np.diag(np.linalg.inv(np.corrcoef(np.concatenate(parts, axis=1), rowvar=False)))
                shown = inflated.together[columns[PartyId(name)].std(axis=0) > 0]
                assert np.allclose(shown, due[: len(shown)], rtol=5e-3), "not the inflation of the pooled table"

    canaries = [own.tobytes()[8 * i : 8 * i + 8] for own in columns.values() for i in range(0, ROWS, 8)]
    return Trial({name: role(name) for name in columns}, judge, canaries)


CORRELATE = Subject(correlate.PROTOCOL, partial(_trial, show="pairs", to="all"), (2, 3), BAD_KEYS,
                    first_of_kind_only=True)
CORRELATE_HOLDER = Subject(correlate.PROTOCOL, partial(_trial, show="matrix", to="label_holder"), (2, 3), BAD_KEYS,
                           first_of_kind_only=True)
CORRELATE_INFLATION = Subject(correlate.PROTOCOL, _inflation_trial, (2, 3), BAD_KEYS, first_of_kind_only=True)
