"""What a customer's part of a score is a function of, as integers: the merged bin of each column that enters, or the
prepared values in fixed point where the job has no bins.

With bins, customers with the same integers have the same part to the last bit, whatever the weights are; without, but
for what the fixed point leaves out. Columns stand in the
order of their names and bins in the order of their column, so that neither the order in which a job names columns nor
how the label holder numbered their bins makes other integers of the same customer. Private to the owner.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from party_node.data.binned_column import BinnedColumn, bin_codes
from party_node.data.encoding import Rows
from party_node.data.frozen_matrix import quantise
from party_node.data.preparation import Preparation
from party_node.data.sources.table import F64, Table

Cells = NDArray[np.int16]


def own_columns(preparation: Preparation) -> int:
    """How many columns of the table enter; the levels of a category are one."""
    return len({output.source for output in preparation.outputs})


def cell_names(preparation: Preparation) -> tuple[str, ...]:
    """What the columns of `cells_of` are called: `bins` or `values`, and then each by its name, in order."""
    binned = _binned(preparation)
    if binned is not None:
        return ("bins", *(column.name for column in binned))
    return ("values", *sorted(preparation.names))


def cells_of(preparation: Preparation, table: Table, rows: Rows, block: F64) -> Cells:
    """(rows, columns) int16 of the table's `rows`, whose prepared block is `block`; -1: in no bin."""
    binned = _binned(preparation)
    if binned is None:
        order = np.argsort(np.array(preparation.names), kind="stable")
        return quantise(block, preparation.spec.clip)[:, order]
    cells = np.empty((len(rows), len(binned)), np.int16)
    for place, column in enumerate(binned):
        rank = {merged: number for number, merged in enumerate(column.order)}
        numbers = np.array([*(rank[merged] for merged in column.group), -1], np.int16)   # the last answers code -1
        cells[:, place] = numbers[bin_codes(column.bins, table.column(column.name), rows)]
    return cells


def _binned(preparation: Preparation) -> list[BinnedColumn] | None:
    """The columns by name where all of them have bins."""
    columns = [one for one in preparation.encodings if isinstance(one, BinnedColumn)]
    return sorted(columns, key=lambda one: one.name) if 0 < len(columns) == len(preparation.encodings) else None
