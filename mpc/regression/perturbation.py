"""The secret linear term of the objective, so that weights show no single customer's residual.

Without it the weights of a block satisfy X_i^T (sigma - y) = -n penalty w_i to the last bit, whatever the others'
columns are: whoever chooses the columns of X_i solves for sigma - y of chosen rows. With it the objective is

   mean loss + penalty/2 |w|^2 + (1/n) sum over parties b_j^T w      b_j ~ N(0, s^2) in every column of the others

but for the intercept, which has none [Chaudhuri, Monteleoni, Sarwate, JMLR 12, 2011, algorithm 2: objective
perturbation; Kifer, Smith, Thakurta, COLT 2012, for Gaussian terms]. Each party draws the whole variance, so that any
N-1 who pool what they know leave one full draw over all columns whose weights they are given. On its own columns a
party adds nothing: it would hide their weights from itself alone. Departures: no (epsilon, delta) is claimed. Rows have
no bound on their length but `clip`, s is chosen for what the best linear estimate of one residual may come to
(docs/threat-model.md), and b is the same whenever the same job is run again.

A draw is a discrete Gaussian by rejection, in integers alone [Canonne, Kamath, Steinke, NeurIPS 2020, algorithms 1 to
3]: the same on every machine, and no float's last bits show what was added to what [Mironov, CCS 2012].
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mpc.link import PartyId
from mpc.ring import U64
from mpc.rng import Rng

LEAST = 1.0              # of s, in units of one row's residual times a standardised column
LEAST_PENALTY = 1e-3     # of a job that names none
STEPS = 1 << 16          # of the grid of draws, to 1.0
REACH = 7.0              # a draw of d columns is longer than s (sqrt(d) + REACH) once in 10^10 runs


def default_scale(penalty: float, rows: int, heaviest: float = 1.0) -> float:
    """s of one party: at least `LEAST`, and so much that the weights of a block tell little of one of its rows, whose
    leverage h is bounded under X^T X + n penalty I. Of independent residuals of variance p (1 - p) the best linear
    estimate leaves 1 - h where s^2 = n penalty p (1 - p). Here s^2 is twice that for p = 1/2: what a job expects of the
    default rate is the planner's word, and single customers may be as uncertain as that. `heaviest`: the most that a
    customer may weigh."""
    return heaviest * max(LEAST, math.sqrt(penalty * rows / 2))


def default_penalty(noise: float, parties: int, rows: int) -> float:
    """Lambda of a job that names none, for `noise` times the default s. Where n lambda is small the fit is free along
    weak directions and the term alone would decide there: it moves a weight of which the data say nothing by
    s sqrt(N-1) / (n lambda), which is 1 where s is `LEAST`."""
    return min(1.0, max(LEAST_PENALTY, noise * LEAST * math.sqrt(parties - 1) / rows))


def pull(scale: float, parties: int, width: int, rows: int) -> float:
    """The longest that all parties' terms together, in units of the mean gradient, are to be reckoned with."""
    return scale * math.sqrt(parties - 1) * (math.sqrt(width) + REACH) / rows


def standard_errors(scale: float, parties: int, rate: float, rows: int) -> float:
    """By how much of its own standard error all terms move a weight, root mean square: both are H^-1 times a vector, of
    variance (N-1) s^2 here and n p (1 - p) there."""
    return scale * math.sqrt(parties - 1) / math.sqrt(rows * rate * (1 - rate))


def own_term(
    stream: Rng, scale: float, slices: Mapping[PartyId, slice], me: PartyId, label_holder: PartyId
) -> NDArray[np.float64]:
    """b of `me`, over the concatenated padded widths: multiples of 1 / STEPS, zero at the own columns and at the
    intercept, the label holder's first column. Padding columns have their part, for only their owner knows which these
    are; their weights stay zero all the same (the preconditioner has no entry for them). The same `stream` gives the
    same b."""
    term = np.zeros(max(part.stop for part in slices.values()))
    for party, part in slices.items():
        if party == me:
            continue
        draws = discrete_gaussian(stream.child(party), round(scale * STEPS), part.stop - part.start)
        term[part] = np.array(draws, np.float64) / STEPS
    term[slices[label_holder].start] = 0.0
    return term


def in_gradient_units(term: NDArray[np.float64], unit: float) -> U64:
    """As integers of X^T e, `unit` per 1.0."""
    return np.rint(term * unit).astype(np.int64).view(np.uint64)


# -- the sampler -------------------------------------------------------------------------------------------------


def discrete_gaussian(rng: Rng, deviation: int, count: int) -> list[int]:
    """`count` integers k with probability in proportion to exp(-k^2 / (2 deviation^2)). Zeros for a deviation of 0.

    Algorithm 3: a discrete Laplace draw of scale t = deviation + 1, kept with probability
    exp(-(|k| - deviation^2 / t)^2 / (2 deviation^2)).
    """
    if deviation == 0:
        return [0] * count
    found: list[int] = []
    square, t = deviation * deviation, deviation + 1
    while len(found) < count:
        k = _discrete_laplace(rng, t)
        if _bernoulli_exp(rng, (abs(k) * t - square) ** 2, 2 * square * t * t):
            found.append(k)
    return found


def _discrete_laplace(rng: Rng, t: int) -> int:
    """Probability in proportion to exp(-|k| / t). Algorithm 2."""
    while True:
        low = rng.below(t)
        if not _bernoulli_exp(rng, low, t):
            continue
        high = 0
        while _bernoulli_exp(rng, 1, 1):
            high += 1
        size, negative = low + t * high, rng.below(2) == 1
        if size or not negative:                       # zero would come twice as often
            return -size if negative else size


def _bernoulli_exp(rng: Rng, numerator: int, denominator: int) -> bool:
    """True with probability exp(-numerator / denominator), exactly. Algorithm 1."""
    while numerator > denominator:
        if not _bernoulli_exp(rng, 1, 1):
            return False
        numerator -= denominator
    k = 1
    while rng.below(denominator * k) < numerator:      # with probability gamma / k
        k += 1
    return k % 2 == 1
