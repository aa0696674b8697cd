"""Points: a model on weights of evidence as a scorecard, split among the owners of its characteristics.

    score = offset - factor * log-odds of being bad      factor = PDO (points to double the odds) / ln 2
                                                         offset = base score - factor * ln(base odds, good : bad)

A higher score is safer. Each party's part holds the points of its own characteristics, -factor * coefficient * weight
of evidence per bin, and base points that everybody gets: offset and intercept at the label holder. So the parts' points
of one customer add up to the score, apart from rounding. (Siddiqi, Credit Risk Scorecards, 2006, chapter 6.)

A reason is a characteristic in which a customer lies below the best bin. Refuses to know rows, parties' data and files:
it sees the number of the bin of each row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from numpy.typing import ArrayLike

from mpc.credit.fine_bins import FineBins
from mpc.credit.weight_of_evidence import I64
from mpc.errors import LocalError
from mpc.statistics.logistic import F64


@dataclass(frozen=True)
class Scale:
    """Equal at all parties. `decimals`: to how many digits points are rounded; None: not at all."""

    base_score: float = 600.0
    base_odds: float = 50.0  # good customers to one bad, at the base score
    pdo: float = 20.0  # points to double the odds
    decimals: int | None = 0

    def __post_init__(self) -> None:
        if not math.isfinite(self.base_score) or not 0 < self.base_odds < math.inf or not 0 < self.pdo < math.inf:
            raise LocalError("a scale needs a base score, and base odds and points to double the odds (PDO) above 0")
        if self.decimals is not None and not 0 <= self.decimals <= 12:
            raise LocalError("points have 0 to 12 decimals")

    @property
    def factor(self) -> float:
        """Points per unit of log-odds."""
        return self.pdo / math.log(2.0)

    @property
    def offset(self) -> float:
        """The score at even odds."""
        return self.base_score - self.factor * math.log(self.base_odds)

    def score(self, log_odds: F64) -> F64:
        """The exact score at log-odds of being bad."""
        return self.offset - self.factor * log_odds

    def log_odds(self, score: F64) -> F64:
        """The log-odds of being bad at a score."""
        return (self.offset - score) / self.factor

    def rounded(self, points: F64) -> F64:
        """Points as they stand on the card."""
        return points if self.decimals is None else np.round(points, self.decimals) + 0.0  # no negative zero

    def rounding(self, characteristics: int, parties: int) -> float:
        """How far a total over all `parties`' characteristics and base points may lie from the exact score."""
        return 0.0 if self.decimals is None else (characteristics + parties) * 0.5 * 10.0**-self.decimals


@dataclass(frozen=True, repr=False)
class Characteristic:
    """One column on the card: `points` per merged bin, [bins.count]. A row in no bin (-1) gets 0, as average."""

    name: str
    bins: FineBins
    points: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.points) != self.bins.count or not all(map(math.isfinite, self.points)):
            raise LocalError(f"characteristic `{self.name}` needs one finite number of points for each bin")

    @property
    def best(self) -> float:
        """The most points that it gives: the baseline of reasons."""
        return max(self.points)

    def scored(self, codes: I64) -> F64:
        """Points of each row, [n], from the numbers of their bins."""
        return np.array([*self.points, 0.0])[codes]  # the last answers for -1


def characteristic(name: str, bins: FineBins, weights: ArrayLike, coefficient: float, scale: Scale) -> Characteristic:
    """Points from weights of evidence per merged bin and the model's coefficient of that column."""
    exact = -scale.factor * coefficient * np.asarray(weights, dtype=np.float64)
    return Characteristic(name, bins, tuple(scale.rounded(exact).tolist()))


def base_points(scale: Scale, intercept: float) -> float:
    """What the label holder adds for everybody."""
    return float(scale.rounded(scale.score(np.array([intercept])))[0])


@dataclass(frozen=True, repr=False)
class ScorecardPart:
    """One party's part of a card, private to it. `base`: points that everybody gets."""

    scale: Scale
    base: float
    characteristics: tuple[Characteristic, ...]

    def __post_init__(self) -> None:
        names = [entry.name for entry in self.characteristics]
        if len(set(names)) < len(names):
            raise LocalError("two characteristics of a scorecard have one name")

    def __repr__(self) -> str:
        return f"ScorecardPart({len(self.characteristics)} characteristics)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a part of a scorecard is private and is never pickled")

    def points(self, codes: Mapping[str, I64], rows: int) -> F64:
        """Points of each row per characteristic, [rows, m]; `codes` by name. LocalError: one is missing."""
        points = np.empty((rows, len(self.characteristics)))
        for place, entry in enumerate(self.characteristics):
            if entry.name not in codes:
                raise LocalError(f"the table has no column `{entry.name}`, which is on the scorecard")
            points[:, place] = entry.scored(codes[entry.name])
        return points

    def total(self, points: F64) -> F64:
        """This party's part of each row's score, [n]."""
        total: F64 = self.base + points.sum(axis=1)
        return total

    def shortfalls(self, points: F64) -> F64:
        """How far each row lies below the best bin, [n, m], at least 0."""
        fallen: F64 = np.maximum(np.array([entry.best for entry in self.characteristics]) - points, 0.0)
        return fallen


def reasons(shortfalls: F64, most: int) -> I64:
    """The `most` characteristics with the greatest shortfall per row, [n, most], greatest first; -1: no more.

    Of equals the one that stands first. Columns of several parties may be put side by side.
    """
    order = np.argsort(-shortfalls, axis=1, kind="stable")[:, :most]
    falls = np.take_along_axis(shortfalls, order, axis=1)
    chosen = np.full((len(shortfalls), most), -1, dtype=np.int64)
    chosen[:, : order.shape[1]] = np.where(falls > 0.0, order, -1)
    return chosen


def combined(parts: Sequence[F64]) -> F64:
    """The score of each customer from the parties' totals, in one order of customers."""
    if len({part.shape for part in parts}) != 1:
        raise LocalError("the parts of a score have different lengths")
    total: F64 = np.sum(parts, axis=0)
    return total
