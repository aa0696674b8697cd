"""Cells: the same customer has the same integers whatever the model, the order of columns and the label holder's names
of bins; customers with the same bins have the same, and others not."""

from __future__ import annotations

import numpy as np
import pytest

from party_node.data.frozen_matrix import quantise
from party_node.data.preparation import PreparationSpec, fit
from party_node.data.sources.table import Table
from party_node.models.score_cells import cell_names, cells_of, own_columns
from tests.party_node.models.test_scorecard import ROWS, binned, tables

SPEC = PreparationSpec(penalty=1e-3)
EVERY = np.arange(ROWS, dtype=np.int64)


def made(shuffle: bool = False, turned: bool = False, bins: bool = True) -> tuple:
    (table,), bad = tables(1, 1)
    if turned:
        table = Table(ROWS, dict(reversed(table.columns.items())), ())
    preparation = fit(table, EVERY, SPEC, binned=binned(table, bad, shuffle) if bins else None)
    block = preparation.apply(table)
    return preparation, cells_of(preparation, table, EVERY, block), block


def test_numbers_and_order_of_bins_and_columns_make_no_other_cells() -> None:
    preparation, cells, _ = made()
    assert cell_names(preparation) == ("bins", "income", "region")
    for change in ({"shuffle": True}, {"turned": True}, {"shuffle": True, "turned": True}):
        other, again, _ = made(**change)
        assert cell_names(other) == cell_names(preparation)
        assert np.array_equal(again, cells)


def test_a_cell_and_a_prepared_row_are_one_to_one() -> None:
    _, cells, block = made()
    pairs = {(cell.tobytes(), row.tobytes()) for cell, row in zip(cells, block, strict=True)}
    assert len(pairs) == len({cell for cell, _ in pairs}) == len({row for _, row in pairs}) > 10


def test_a_row_of_no_bin_has_a_number_of_its_own() -> None:
    preparation, cells, block = made()
    (table,), _ = tables(1, 1)
    strange = table.columns["region"]
    strange = type(strange)("region", np.full(ROWS, 0, np.int32), ("Atlantis",))
    bins = {one.name: one for one in preparation.encodings}["region"].bins
    found = cells_of(preparation, Table(ROWS, table.columns | {"region": strange}, ()), EVERY, block)
    expected = -1 if bins.other is None else int(cells[:, 1].max())
    assert set(found[:, 1].tolist()) <= {expected, *range(int(cells[:, 1].max()) + 1)}
    assert np.array_equal(found[:, 0], cells[:, 0])


def test_without_bins_cells_are_the_frozen_values_in_the_order_of_names() -> None:
    preparation, cells, block = made(bins=False)
    kind, *names = cell_names(preparation)
    assert kind == "values"
    assert names == sorted(preparation.names)
    places = [preparation.names.index(name) for name in names]
    assert np.array_equal(cells, quantise(block, SPEC.clip)[:, places])
    assert own_columns(preparation) == 2 < len(names)


@pytest.mark.parametrize("bins", [True, False])
def test_a_columns_levels_count_once(bins: bool) -> None:
    assert own_columns(made(bins=bins)[0]) == 2
