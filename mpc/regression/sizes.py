"""What follows from the agreed options and the widths of all blocks: the public shape of one training run.

Equal at all parties, and known to a coordinator that forecasts a run. Knows no data and no messages.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mpc.link import PartyId
from mpc.products.plan import ProductPlan
from mpc.regression.acceleration import anderson_needs
from mpc.regression.perturbation import pull
from mpc.regression.precision import ENTRY_BITS, SQUARED_BITS, Precision, plan_precision
from mpc.regression.preconditioner import EVALUATIONS, ROOT_BITS, PreconditionerPlan, plan_preconditioner
from mpc.regression.sigmoid import PERIOD_BITS, is_rare
from mpc.regression.weighting import Weighting
from mpc.sharing.comparison import COMPARISON_ANDS

WIDTH_STEP = 16  # widths are announced in multiples, so that exact feature counts stay private
ANGLES_AHEAD_BYTES = 256 << 20
FEW, MORE = 8, 12  # iterations that reach the noise: on most tables, and where the curvature is far from its prior
VERDICTS = 2      # numbers that the convergence test compares, each a sum of `width` squares
ANGLES_LATER = 2  # iterations' angles that are made while earlier iterations run: rounds leave the line idle


def enough_iterations(expected_default_rate: float) -> int:
    """For a job that names none. Where one outcome is rare, p (1 - p) differs most from row to row."""
    return MORE if is_rare(expected_default_rate) else FEW


@dataclass(frozen=True)
class TrainOptions:
    """Agreed in the job spec. `parties` sorted; `tolerance` bounds the last preconditioned gradient, in
    units of standardised weights. `expected_default_rate`: by weight, where rows are weighted. `noise`: s of every
    party's linear term (mpc.regression.perturbation); 0: there is none."""

    parties: tuple[PartyId, ...]
    label_holder: PartyId
    rows: int
    iterations: int
    penalty: float
    clip: float
    expected_default_rate: float
    sigmoid: str
    tolerance: float
    key_bits: int
    weighting: Weighting | None = None
    has_offset: bool = False
    noise: float = 0.0


@dataclass(frozen=True)
class Sizes:
    """What follows from the agreed options and all widths; equal at all parties, and public."""

    options: TrainOptions
    widths: Mapping[PartyId, int]
    plan: Precision
    preconditioner: PreconditionerPlan

    @property
    def width(self) -> int:
        """Of all blocks together."""
        return sum(self.widths.values())

    @property
    def slices(self) -> dict[PartyId, slice]:
        """Each party's part of the concatenated weights."""
        ends = np.cumsum([self.widths[party] for party in self.options.parties]).tolist()
        return {p: slice(end - self.widths[p], end) for p, end in zip(self.options.parties, ends, strict=True)}

    @property
    def range_shift(self) -> int:
        """By how many bits a step (|.| < 2^(64 - last shift), however wrong) is shortened so that its squares add up
        to less than 2^63."""
        last = self.preconditioner.shifts[1]
        return max(1, 64 - last - SQUARED_BITS - 1 + ((self.width - 1).bit_length() + 1) // 2)

    @property
    def inner_products(self) -> int:
        """Products of K with a vector, of all iterations."""
        return (EVALUATIONS - 1) * self.options.iterations

    @property
    def bits(self) -> int:
        """Shared bits of a run."""
        masks = (3 * self.options.iterations + self.inner_products + 1) * self.width
        return 64 * (masks + VERDICTS) + anderson_needs(self.options.iterations, self.width).bits

    @property
    def triples(self) -> int:
        """Of words, as `bits`."""
        return anderson_needs(self.options.iterations, self.width).triples + VERDICTS * self.width

    @property
    def ands(self) -> int:
        """Triples of bits, as `bits`."""
        last = VERDICTS * COMPARISON_ANDS + VERDICTS - 1
        return anderson_needs(self.options.iterations, self.width).ands + last

    def product(self, name: str, party: PartyId) -> ProductPlan:
        """Of the private product `name` whose matrix `party` owns."""
        rows, own, options = self.options.rows, self.widths[party], self.options
        shape = {
            "forward": (own, rows, ENTRY_BITS, PERIOD_BITS, options.iterations),
            "backward": (rows, own, self.plan.backward_bits + 1, 64, options.iterations),
            "root": (own, own, ROOT_BITS, 64, 2 * options.iterations),
            "inner": (self.width, self.width, 64, 64, self.inner_products),
        }[name]
        return ProductPlan(*shape, options.key_bits)

    @property
    def angles_ahead(self) -> int:
        """For how many iterations the angles are made before the first one: as memory allows."""
        size = self.options.rows * (1 + 2 * len(self.plan.trig.bits)) * 8
        most = max(ANGLES_LATER, ANGLES_AHEAD_BYTES // size)
        return max(1, min(self.options.iterations - ANGLES_LATER, most))


def planned(options: TrainOptions, widths: Mapping[PartyId, int]) -> Sizes:
    """The sizes of a run; LocalError when its bits do not suffice."""
    parties = len(options.parties)
    pulled = pull(options.noise, parties, sum(widths.values()), options.rows)
    plan = plan_precision(
        parties, options.rows, options.clip, options.penalty, options.expected_default_rate, options.sigmoid,
        options.weighting, options.has_offset, pulled,
    )
    residual = 1.0 if options.weighting is None else math.sqrt(options.weighting.largest)
    residual += pulled * math.sqrt(plan.curvature / options.penalty)    # |L b| / n is at most pulled / sqrt(penalty)
    preconditioner = plan_preconditioner(
        parties, options.rows, options.penalty, plan.curvature, plan.gradient_unit, plan.weight_unit, residual
    )
    return Sizes(options, widths, plan, preconditioner)


def padded(width: int) -> int:
    """The announced width."""
    return -(-width // WIDTH_STEP) * WIDTH_STEP
