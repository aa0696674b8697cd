"""The best attacker on weights: whoever owns columns X (several parties, who pool theirs) wants sigma - y, the
residual, of a training customer, and so its outcome and its joint probability of default.

At the optimum X^T e + b = -n penalty w, e the residuals of all rows and b the linear terms of the others; besides
1^T e = 0, for the intercept has neither penalty nor term. Of residuals that are independent with variance v, and b with
variance s^2 a column, the best linear estimate of one of them is v x^T (v X^T X + s^2 I)^-1 g, and what it leaves of
the residual's deviation is `left`: 0 says that it is known, 1 that the weights say nothing of it.

`categories` and `spikes` are columns made to measure: from them the solution is exact where s is 0.
    python -m tests.simulation.attackers.weights     prints the table of docs/threat-model.md
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mpc.regression.perturbation import default_scale
from party_node.data.preparation import PreparationSpec, fit
from party_node.data.sources.table import Column, NumericColumn, Table, TextColumn

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
GROUP = 40          # customers beside one target: two levels of 20, the least support
MOST_VARIANCE = 0.25


@dataclass(frozen=True)
class Estimate:
    """Of each target: its residual, and what is left of the residual's deviation."""

    residuals: F64
    left: F64


def solve(blocks: Sequence[F64], weights: F64, penalty: float, scale: float, targets: I64, variance: float) -> Estimate:
    """The best linear estimate. `blocks`: prepared columns of the coalition's parties (rows, d each), `weights` all of
    theirs; `scale`: deviation of what the others added to each column."""
    block = np.concatenate(blocks, axis=1)
    rows, columns = block.shape
    told = np.append(-rows * penalty * weights, 0.0)
    gram = np.empty((columns + 1, columns + 1))
    gram[:columns, :columns] = block.T @ block
    gram[columns, :columns] = gram[:columns, columns] = block.sum(axis=0)
    gram[columns, columns] = rows
    own = np.column_stack([block[targets], np.ones(len(targets))])
    noise = np.diag(np.append(np.full(columns, scale**2), 0.0)) / variance
    inverse = np.linalg.pinv(gram + noise, rcond=1e-12, hermitian=True)
    known = np.einsum("ij,jk,ik->i", own, inverse, own)
    return Estimate(own @ inverse @ told, np.sqrt(np.maximum(0.0, 1.0 - known)))


# -- columns made to measure -------------------------------------------------------------------------------------


def categories(rows: int, targets: I64, draw: np.random.Generator, columns: int = 3) -> list[Column]:
    """Levels of `columns` categories, a multiple of three. The targets are dealt to the threes in turn. In each three,
    the j-th target stands in a level with the customers of two levels of another column: the sum over that level less
    the sums over these two is the target's residual."""
    made: list[Column] = []
    rest = np.setdiff1d(np.arange(rows), targets)
    for three in range(columns // 3):
        own = targets[three :: columns // 3]
        order, half = draw.permutation(rest), GROUP // 2
        cut = np.full(rows, -1)
        joint = [np.full(rows, -1), np.full(rows, -1)]
        for j in range(len(own) + 1):
            cut[order[half * j : half * (j + 1)]] = j
        for j, target in enumerate(own):
            joint[j % 2][np.append(order[half * j : half * (j + 2)], target)] = j
        levels = (*(f"{j:03d}" for j in range(len(own) + 1)), "none")
        made += [TextColumn(f"level-{three}-{k}", np.where(codes < 0, len(own) + 1, codes).astype(np.int32), levels)
                 for k, codes in enumerate((cut, *joint))]
    return made


def spikes(rows: int, target: int, draw: np.random.Generator, columns: int) -> list[Column]:
    """Columns of numbers that hang together in all rows but one, in which all of them are extreme."""
    free = draw.normal(size=(rows, columns - 1))
    last = free.sum(axis=1) / np.sqrt(columns - 1)
    free[target], last[target] = 5.0, -5.0
    return [NumericColumn(f"number-{k}", values) for k, values in enumerate((*free.T, last))]


def prepared(columns: Sequence[Column], penalty: float) -> F64:
    """The block as its party's node prepares it: support, twins, clip and leverage as by default."""
    table = Table(len(columns[0].missing), {column.name: column for column in columns}, ())
    spec = PreparationSpec(penalty=penalty, most_levels=10**4)
    rows = np.arange(table.rows, dtype=np.int64)
    return fit(table, rows, spec).apply(table, rows)


# -- the table ---------------------------------------------------------------------------------------------------


def table(sizes: Sequence[int], widths: Sequence[int], penalty: float = 1e-3, jobs: int = 1) -> list[dict[str, float]]:
    """What is left of a residual of variance 1/4, the worst, for one party's columns: the best known target each time,
    with noise and without. `jobs`: models that were made on the same rows, each with its own term."""
    found = []
    for rows in sizes:
        scale = default_scale(penalty, rows) / np.sqrt(jobs)
        for columns in widths:
            draw = np.random.default_rng([rows, columns])
            cells: dict[str, float] = {"rows": rows, "columns": columns, "s": scale * np.sqrt(jobs)}
            made = {"numbers": (spikes(rows, 0, draw, columns), np.array([0]))}
            if rows <= 10**5:
                targets = draw.permutation(rows)[: 4 * columns]
                made["categories"] = (categories(rows, targets, draw, columns), targets)
            for what, (raw, targets) in made.items():
                block = prepared(raw, penalty)
                for name, s in ((what, scale), (f"{what}, no noise", 0.0)):
                    left = solve([block], np.zeros(block.shape[1]), penalty, s, targets, MOST_VARIANCE).left
                    cells[name] = float(left.min())
            found.append(cells)
    return found


def pooled(rows: int, columns: int, penalty: float = 1e-3) -> float:
    """The same where the last of the `spikes` belongs to another party of the coalition: each party bounds the leverage
    of its own block, and nobody that of both. Not promised, and stated as such."""
    raw = spikes(rows, 0, np.random.default_rng([rows, columns]), columns)
    blocks = [prepared(raw[:-1], penalty), prepared(raw[-1:], penalty)]
    scale = default_scale(penalty, rows)
    return float(solve(blocks, np.zeros(columns), penalty, scale, np.array([0]), MOST_VARIANCE).left[0])


def main() -> None:
    for cells in table((5_000, 50_000, 1_000_000), (3, 9, 21)):
        words = [f"{name} {value:.3f}" for name, value in cells.items() if name not in ("rows", "columns")]
        alone = pooled(int(cells["rows"]), int(cells["columns"]))
        sys.stdout.write(f"{cells['rows']:>9,} {cells['columns']:>3}  {'; '.join(words)}; two parties {alone:.3f}\n")
    for cells in table((5_000, 50_000), (3, 21), jobs=6):
        sys.stdout.write(f"six jobs: {cells['rows']:,} {cells['columns']} numbers {cells['numbers']:.3f}\n")


if __name__ == "__main__":
    main()
