"""The best attacker on scores: who holds a part of a score on the grid, every weight and every table of bins, and wants
the bin of each customer in each hidden column.

A customer's cell is the tuple of its bins, x its part by the weights. A part on the grid says floor(x / grid + u) = k;
for u uniform and unknown, a cell with x has the probability max(0, 1 - |x / grid - k|). So the posterior of a bin is
exact, and its largest entry the best guess there is:

    one_score        given one k, by Fourier series over all cells; any number of columns
    several_scores   given k of several models, whose dither is the same: u lies in all of [k - x/grid, k + 1 - x/grid);
                     by listing the cells, two halves of the columns meeting in the middle
    known_dither     given the secret as well: what no crowd of customers can exceed
    coarse_score     the yardstick: given x rounded to so many steps, which nobody hides who tells a score

`shares` are exact expectations under the prior; guesses for real customers come from the same tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.simulation.attackers.score_world import Prior

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
STEPS = 1024       # of the grid, in one period of the series: parts within +-17 log-odds at the default
FINE = 32          # frequencies per step
BATCH = 16         # kinds of people at a time


@dataclass(frozen=True)
class Decoder:
    """`joint[j][y, b, k]`: how likely outcome y comes with bin b of column j and the number k modulo STEPS."""

    joint: tuple[F64, ...]
    outcomes: F64

    @property
    def share(self) -> float:
        """Of bins guessed right: mean over columns and customers."""
        return float(np.mean([(self.outcomes @ column.max(axis=1)).sum() for column in self.joint]))

    def guess(self, seen: I64, bad: NDArray[np.bool_]) -> I64:
        """The likeliest bin of each column, (customers, columns)."""
        return np.column_stack([column.argmax(axis=1)[bad.astype(int), seen % STEPS] for column in self.joint])


def right(guess: I64, codes: NDArray[np.integer]) -> float:
    """The mean share of bins that were guessed right."""
    return float((guess == codes).mean())


def without_score(prior: Prior) -> float:
    """The share right of the best guess given the outcome alone."""
    return float(np.mean([(prior.outcomes @ (prior.share.T @ column).max(axis=1)) for column in prior.bins]))


def one_score(prior: Prior, parts: Sequence[F64], grid: float) -> Decoder:
    """Given one k. `parts[j][b]`: what bin b of column j adds to the part."""
    return _decoder(prior, parts, grid, lambda n: np.sinc(n / STEPS) ** 2 / STEPS)


def coarse_score(prior: Prior, parts: Sequence[F64], grid: float, steps: int) -> Decoder:
    """Given the part rounded to the nearest multiple of `steps` steps."""
    return _decoder(prior, parts, grid, lambda n: np.sinc(steps * n / STEPS) * steps / STEPS, every=steps)


def _decoder(
    prior: Prior, parts: Sequence[F64], grid: float, kernel: Callable[[F64], F64], every: int = 1
) -> Decoder:
    """Characteristic functions of the columns multiplied, times the kernel's, summed at whole steps."""
    n = np.arange(STEPS * FINE // 2 + 1)
    turns = [np.exp(np.outer(part, -2j * np.pi * n / (STEPS * grid))) for part in parts]     # (bins, n)
    sums = [np.zeros((2, len(part), len(n)), np.complex128) for part in parts]
    for start in range(0, len(prior.share), BATCH):
        kinds = slice(start, start + BATCH)
        factors = [bins[kinds] @ turn for bins, turn in zip(prior.bins, turns, strict=True)]
        before = [np.ones_like(factors[0])]
        for factor in factors[:-1]:
            before.append(before[-1] * factor)
        after = np.ones_like(factors[0])
        for j in reversed(range(len(parts))):
            others = before[j] * after
            after = after * factors[j]
            for y in (0, 1):
                sums[j][y] += (prior.share[kinds, y, None] * prior.bins[j][kinds]).T @ others
    found = []
    for total, turn in zip(sums, turns, strict=True):
        series = total * turn * kernel(n)
        whole = np.concatenate([series, np.conj(series[..., -2:0:-1])], axis=-1)   # negative frequencies from the end
        folded = whole.reshape(*whole.shape[:-1], FINE, STEPS).sum(axis=-2)        # at whole steps n counts mod STEPS
        density = np.maximum(np.fft.ifft(folded, axis=-1).real * STEPS, 0.0)
        if every > 1:
            density = np.repeat(density[..., ::every], every, axis=-1) / every
        found.append(density)
    return Decoder(tuple(found), prior.outcomes)


@dataclass(frozen=True)
class Cells:
    """All cells of some columns: `codes[c, j]`, what each adds in each model, `parts[m, c]`, and `chance[c, y]`."""

    codes: NDArray[np.int16]
    parts: F64
    chance: F64


def cells(prior: Prior, parts: Sequence[Sequence[F64]]) -> Cells:
    """`parts[m][j][b]` of each model m."""
    sizes = [len(part) for part in parts[0]]
    codes = np.indices(sizes, np.int16).reshape(len(sizes), -1).T
    added = np.array([sum(part[codes[:, j]] for j, part in enumerate(model)) for model in parts])
    chance = np.zeros((len(codes), 2))
    for share, *bins in zip(prior.share, *prior.bins, strict=True):
        within = np.ones(1)
        for column in bins:
            within = np.multiply.outer(within, column).ravel()
        chance += within[:, None] * share
    return Cells(codes, added, chance)


def several_scores(
    found: Cells, grid: float, seen: I64, bad: NDArray[np.bool_]
) -> I64:
    """The likeliest bins given `seen`, (customers, models): the numbers of each model's part."""
    order = np.argsort(found.parts[0])
    parts, codes, chance = found.parts[:, order] / grid, found.codes[order], found.chance[order]
    guesses = np.empty((len(seen), codes.shape[1]), np.int64)
    sizes = codes.max(axis=0) + 1
    for i, (numbers, y) in enumerate(zip(seen, bad.astype(int), strict=True)):
        near = slice(*np.searchsorted(parts[0], [numbers[0] - 1, numbers[0] + 1]))
        lower = (numbers[:, None] - parts[:, near]).max(axis=0)
        upper = (numbers[:, None] + 1 - parts[:, near]).min(axis=0)
        weight = np.maximum(np.minimum(upper, 1.0) - np.maximum(lower, 0.0), 0.0) * chance[near, y]
        guesses[i] = [np.bincount(codes[near, j], weight, sizes[j]).argmax() for j in range(len(sizes))]
    return guesses


def halves(
    prior: Prior, parts: Sequence[Sequence[F64]], grid: float, seen: I64, bad: NDArray[np.bool_], split: int
) -> I64:
    """As `several_scores` of columns whose cells are too many to be listed: those before `split` meet the others.
    Bins count as independent given the outcome."""
    plain = prior.as_marginals()
    one = cells(Prior(plain.share, plain.bins[:split], plain.rate), [model[:split] for model in parts])
    two = cells(Prior(plain.share, plain.bins[split:], plain.rate), [model[split:] for model in parts])
    order = np.argsort(one.parts[0])
    left, right_, codes = one.parts[:, order] / grid, two.parts / grid, one.codes[order]
    guesses = np.empty((len(seen), codes.shape[1] + two.codes.shape[1]), np.int64)
    for i, (numbers, y) in enumerate(zip(seen, bad.astype(int), strict=True)):
        low = np.searchsorted(left[0], numbers[0] - 1 - right_[0])
        high = np.searchsorted(left[0], numbers[0] + 1 - right_[0])
        sums = [np.zeros(int(c.max()) + 1) for c in (*codes.T, *two.codes.T)]
        for chunk in np.array_split(np.arange(len(low)), max(1, int((high - low).sum()) // 2_000_000)):
            count = (high - low)[chunk]
            b = np.repeat(chunk, count)
            a = np.arange(len(b)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(low[chunk], count)
            lower, upper = np.zeros(len(a)), np.ones(len(a))
            for model, number in enumerate(numbers):
                rest = number - left[model, a] - right_[model, b]
                lower, upper = np.maximum(lower, rest), np.minimum(upper, rest + 1)
                keep = upper > lower
                a, b, lower, upper = a[keep], b[keep], lower[keep], upper[keep]
            weight = (upper - lower) * one.chance[order[a], y] * two.chance[b, y]
            for j, total in enumerate(sums):
                column = codes[a, j] if j < split else two.codes[b, j - split]
                total += np.bincount(column, weight, len(total))
        guesses[i] = [total.argmax() for total in sums]
    return guesses


def known_dither(found: Cells, grid: float, u: F64, outcomes: F64) -> float:
    """The share right of an attacker who knows u of every cell: all that a crowd of customers could ever tell."""
    numbers = np.floor(found.parts[0] / grid + u).astype(np.int64)
    numbers -= numbers.min()
    total, sizes = 0.0, found.codes.max(axis=0) + 1
    for y, share in enumerate(outcomes):
        for j, size in enumerate(sizes):
            places = numbers * size + found.codes[:, j]
            joint = np.bincount(places, found.chance[:, y], (int(numbers.max()) + 1) * size).reshape(-1, size)
            total += share * joint.max(axis=1).sum() / len(sizes)
    return float(total)


def crowd(found: Cells, grid: float, seen: I64, bad: NDArray[np.bool_], rounds: int = 200) -> F64:
    """How likely each cell is rounded up, (cells,), given the numbers of a whole crowd and how common each cell is in
    nature: how often a number occurs says which cells were rounded to it. By mean field: each cell in turn against
    what the others, as far as they are known, leave of the counts; both outcomes, and the chance in the counts."""
    x = found.parts[0] / grid
    below = np.floor(x).astype(np.int64)
    start = min(int(below.min()), int(seen.min()))
    below -= start
    size = max(int(below.max()), int(seen.max()) - start) + 2
    prior = np.log((x % 1 + 1e-9) / (1 - x % 1 + 1e-9))
    up, force = x % 1, np.zeros(len(x))
    for _ in range(rounds):
        force = np.zeros(len(x))
        for y in (False, True):
            chance, number = found.chance[:, int(y)], seen[bad == y] - start
            if not len(number):
                continue
            told = np.bincount(number, minlength=size) / len(number)
            low, high, unsure = chance * (1 - up), chance * up, chance**2 * up * (1 - up)
            mean = np.bincount(below, low, size) + np.bincount(below + 1, high, size)
            noise = np.bincount(below, unsure, size) + np.bincount(below + 1, unsure, size) + mean / len(number)
            rest = told - mean
            for place, own, sign in ((below, low, -1.0), (below + 1, high, 1.0)):
                left = rest[place] + own                                  # for this cell alone, if it is there
                force += sign * (left**2 - (left - chance) ** 2) / (2 * (noise[place] - unsure + 1e-18))
        fresh = 1 / (1 + np.exp(-np.clip(prior + force, -40, 40)))
        up = 0.8 * up + 0.2 * fresh
    return up


def among_crowd(found: Cells, grid: float, up: F64, outcomes: F64, truth: F64) -> float:
    """The share right of guesses that take `up` for the chance of each cell to be rounded up, where `truth` (0, 1) is
    how cells are rounded."""
    below = np.floor(found.parts[0] / grid).astype(np.int64)
    below -= below.min()
    size, total = int(below.max()) + 2, 0.0
    for y, outcome in enumerate(outcomes):
        for column in found.codes.T:
            bins = int(column.max()) + 1
            belief, real = ([np.bincount((below + one) * bins + column, found.chance[:, y] * (q if one else 1 - q),
                                         size * bins) for one in (0, 1)] for q in (up, truth))
            guess = (belief[0] + belief[1]).reshape(size, bins).argmax(axis=1)
            total += outcome * (real[0] + real[1]).reshape(size, bins)[np.arange(size), guess].sum()
    return total / found.codes.shape[1]


def averaged(found: Cells, grid: float, seen: I64, bad: NDArray[np.bool_]) -> I64:
    """Takes `seen`, (customers, repeats), for numbers of one part under as many dithers, and their mean for the part:
    exact where they are many and fresh. Repeats are other jobs, or other customers of the same cell."""
    part = seen.mean(axis=1) * grid
    order = np.argsort(found.parts[0])
    sorted_parts = found.parts[0][order]
    spread = max(grid * 0.5 / np.sqrt(seen.shape[1]), 1e-9)
    guesses = np.empty((len(seen), found.codes.shape[1]), np.int64)
    sizes = found.codes.max(axis=0) + 1
    for i, (x, y) in enumerate(zip(part, bad.astype(int), strict=True)):
        near = order[slice(*np.searchsorted(sorted_parts, [x - 4 * spread, x + 4 * spread]))]
        weight = found.chance[near, y] * np.exp(-0.5 * ((found.parts[0][near] - x) / spread) ** 2)
        guesses[i] = [np.bincount(found.codes[near, j], weight, sizes[j]).argmax() for j in range(len(sizes))]
    return guesses
