"""What a training run stands on before its first iteration (mpc.protocols.train, steps 0 and 1): the agreed sizes, the
private block in fixed point, keys, and all correlations. Knows no figure of the iteration itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mpc.acceleration import Anderson
from mpc.correlations import CorrelationSource, TrigPlan
from mpc.errors import LocalError, Reason
from mpc.link import Link, PartyId
from mpc.packed_products import offer_packed, serve_packed
from mpc.paillier import Blinder, GroupBlinder, PublicKey
from mpc.paillier_keys import OwnerBlinder, PrivateKey
from mpc.precision import COARSE_BITS, ENTRY_BITS, STEP_ENTRY_BITS, Precision, plan_precision
from mpc.product_plan import ProductPlan
from mpc.products import HolderProduct, Matrix, OwnerProduct, exchange_keys, offer, serve
from mpc.protocol import Party
from mpc.ring import I64, U64, from_signed
from mpc.rng import Rng
from mpc.sigmoid import PERIOD_BITS
from mpc.stock import Stock
from mpc.truncation import TruncationMasks, prepare_truncation

WIDTH_STEP = 16  # widths are announced in multiples, so that exact feature counts stay private
MAX_WIDTH = 1 << 14
ANGLES_AHEAD_BYTES = 256 << 20
NOISE_FACTOR = 1.0  # a change of the step must stand so far above its rounding noise to teach a direction



# -- message
@dataclass(frozen=True)
class Widths:
    """Step 0: training rows and the padded width of the sender's block."""

    rows: int
    width: int


# -- inputs ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainOptions:
    """Agreed in the job spec. `parties` sorted; `tolerance` bounds the last preconditioned gradient, in
    units of standardised weights."""

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


@dataclass(frozen=True)
class Block:
    """One party's private input: training rows in fixed point; the label holder's first column is the intercept."""

    matrix: NDArray[np.int16]                  # rows x d
    labels: NDArray[np.bool_] | None = None    # at the label holder only
    start: NDArray[np.float64] | None = None   # the label holder's own fit, its share of the starting point


@dataclass(frozen=True)
class Tools:
    """Where keys and correlations come from; the daemons pass the real ones, tests may pass others."""

    make_key: Callable[[Rng, int], PrivateKey]
    make_source: Callable[[Party, Mapping[PartyId, Link], TrigPlan], Awaitable[CorrelationSource]]


@dataclass
class State:
    """What one run keeps between steps: the plan, the correlations, the padded own block."""

    me: Party
    peers: Mapping[PartyId, Link]
    options: TrainOptions
    plan: Precision
    stock: Stock
    slices: dict[PartyId, slice]               # of the concatenated weight vector
    matrix: I64                                # rows x padded width
    coarse: I64                                # padded width x rows
    preconditioner: I64
    labels: U64 | None
    start: U64
    penalty: U64                               # per weight, zero at the intercept
    width: int
    products: Products
    gradient_masks: TruncationMasks
    step_masks: TruncationMasks
    range_masks: TruncationMasks
    anderson: Anderson

    def is_label_holder(self) -> bool:
        return self.me.id == self.options.label_holder


@dataclass(frozen=True)
class Products:
    """The correlations of step 1 by counterpart: what I hold the vector's masks of, and what I own the matrix of."""

    forward_held: Mapping[PartyId, HolderProduct]
    forward_owned: Mapping[PartyId, OwnerProduct]
    backward_held: Mapping[PartyId, HolderProduct]
    backward_owned: Mapping[PartyId, OwnerProduct]
    step_held: Mapping[PartyId, HolderProduct]
    step_owned: Mapping[PartyId, OwnerProduct]


async def prepare(
    me: Party,
    peers: Mapping[PartyId, Link],
    block: Block,
    options: TrainOptions,
    tools: Tools,
    accept_widths: Callable[[Mapping[PartyId, int]], None] = lambda widths: None,
) -> State:
    """Steps 0 and 1. LocalError for a block that is not what was agreed, PeerError for a bad counterpart."""
    rows, own_width = block.matrix.shape
    if rows != options.rows:
        raise LocalError(f"the block has {rows} rows where {options.rows} were agreed")
    if (me.id == options.label_holder) != (block.labels is not None):
        raise LocalError("labels belong to the label holder, and to nobody else")
    plan = plan_precision(
        len(options.parties), rows, options.clip, options.penalty, options.expected_default_rate, options.sigmoid
    )
    widths = await agree_widths(me, peers, rows, padded(own_width))                                   # 0
    accept_widths({p: widths[p] for p in peers})
    ends = np.cumsum([widths[party] for party in options.parties]).tolist()
    slices = {p: slice(end - widths[p], end) for p, end in zip(options.parties, ends, strict=True)}
    matrix = np.zeros((rows, widths[me.id]), np.int64)
    matrix[:, :own_width] = block.matrix
    coarse = plan.coarse(matrix).T
    step_matrix = await me.compute(plan.preconditioner, matrix.astype(np.int16))
    key = await me.compute(tools.make_key, me.rng.child("paillier"), options.key_bits)
    keys = await exchange_keys(me, peers, key, options.key_bits)
    trig = TrigPlan(len(options.parties), plan.trig_bits)
    source, products = await me.together(                                                             # 1
        tools.make_source(me, {p: link.channel("correlations") for p, link in peers.items()}, trig),
        make_products(me, peers, key, keys, widths, options, (matrix, coarse, step_matrix)),
    )
    stock, cells = Stock(source), ends[-1] * options.iterations
    gradient_masks = await prepare_truncation(me, stock, cells, plan.gradient_shift)
    step_masks = await prepare_truncation(me, stock, cells, plan.step_shift)
    range_masks = await prepare_truncation(me, stock, ends[-1], plan.range_shift(ends[-1]))
    floor = NOISE_FACTOR * plan.step_noise(ends[-1]) * plan.weight_unit
    anderson = Anderson(me, peers, stock, ends[-1], "train.anderson", floor)
    await anderson.prepare(options.iterations)
    await stock_angles(me, stock, rows, options.iterations)
    start = np.zeros(ends[-1], np.uint64)
    if block.start is not None:
        first = slices[me.id].start
        start[first : first + own_width] = from_signed(np.rint(block.start * plan.weight_unit))
    penalty = np.full(ends[-1], plan.penalty_factor, np.uint64)
    penalty[slices[options.label_holder].start] = 0
    return State(
        me=me, peers=peers, options=options, plan=plan, stock=stock, slices=slices, matrix=matrix, coarse=coarse,
        preconditioner=step_matrix, labels=None if block.labels is None else block.labels.astype(np.uint64),
        start=start, penalty=penalty, width=own_width, products=products, gradient_masks=gradient_masks,
        step_masks=step_masks, range_masks=range_masks, anderson=anderson,
    )


async def make_products(
    me: Party,
    peers: Mapping[PartyId, Link],
    key: PrivateKey,
    keys: Mapping[PartyId, PublicKey],
    widths: Mapping[PartyId, int],
    options: TrainOptions,
    matrices: tuple[Matrix, Matrix, Matrix],
) -> Products:
    """All private products of the run, side by side: mine with every counterpart's vectors, and theirs with mine.

    `matrices`: X (rows x width), coarse X^T (width x rows), the preconditioner (width x width).
    """
    T, bits, rows = options.iterations, options.key_bits, options.rows
    matrix, coarse, step_matrix = matrices
    sealing, own_blinder = await blinders(me, key, keys, rows)
    forward = {p: ProductPlan(w, rows, ENTRY_BITS, PERIOD_BITS, T, bits) for p, w in widths.items()}
    backward = {p: ProductPlan(rows, w, COARSE_BITS + 1, 64, T, bits) for p, w in widths.items()}
    step = {p: ProductPlan(w, w, STEP_ENTRY_BITS, 64, T, bits) for p, w in widths.items()}
    others: Sequence[PartyId] = list(peers)

    def channels(name: str) -> dict[PartyId, Link]:
        return {p: peers[p].channel(f"{name}/{me.id}") for p in others}

    async def hold_step(p: PartyId, link: Link) -> HolderProduct:
        return (await offer(me, {p: link}, key, {p: step[p]}, own_blinder))[p]

    async def own(name: str, p: PartyId, product: Matrix, plan: ProductPlan) -> OwnerProduct:
        return await serve(me, peers[p].channel(f"{name}/{p}"), keys[p], product, plan, sealing[p])

    made = await me.together(
        offer(me, channels("backward"), key, {p: backward[p] for p in others}, own_blinder),
        *(offer_packed(me, link, keys[p], forward[p], sealing[p]) for p, link in channels("forward").items()),
        *(hold_step(p, link) for p, link in channels("step").items()),
        *(serve_packed(me, peers[p].channel(f"forward/{p}"), key, matrix, forward[me.id], own_blinder)
          for p in others),
        *(own("backward", p, coarse, backward[me.id]) for p in others),
        *(own("step", p, step_matrix, step[me.id]) for p in others),
    )
    groups = [dict(zip(others, made[1 + k * len(others) :], strict=False)) for k in range(5)]
    return Products(
        forward_held=groups[0], step_held=groups[1], forward_owned=groups[2], backward_owned=groups[3],
        step_owned=groups[4], backward_held=made[0],
    )


async def blinders(
    me: Party, key: PrivateKey, keys: Mapping[PartyId, PublicKey], expected: int
) -> tuple[dict[PartyId, Blinder], Blinder | None]:
    """Tables that all streams under one key share: for replies under each counterpart's, for ours (phe has none)."""
    rng = Rng(me.rng.bytes(32))
    made = await me.together(*(me.compute(GroupBlinder, keys[p], rng.child(p), expected) for p in keys))
    sealing = dict(zip(keys, made, strict=True))
    if key.public.engine == "phe":
        return sealing, None
    return sealing, await me.compute(OwnerBlinder, key, rng.child("own"), expected)


async def stock_angles(me: Party, stock: Stock, rows: int, iterations: int) -> None:
    """All angles ahead of the iterations where memory allows; else each when it is due."""
    size = rows * (1 + 2 * len(stock.plan.bits)) * 8
    for t in range(0, iterations if size * iterations <= ANGLES_AHEAD_BYTES else 0, stock.lanes):
        me.progress("angles", t, iterations)
        await stock.add_angles(me, rows, min(stock.lanes, iterations - t))


async def agree_widths(
    me: Party, peers: Mapping[PartyId, Link], rows: int, width: int
) -> dict[PartyId, int]:
    async def talk(link: Link) -> int:
        await link.send(Widths(rows, width))
        theirs = await link.receive(Widths)
        link.require(theirs.rows == rows, Reason.WRONG_LENGTH)
        link.require(0 < theirs.width <= MAX_WIDTH and theirs.width % WIDTH_STEP == 0, Reason.OUT_OF_RANGE)
        return theirs.width

    found = await me.together(*(talk(link) for link in peers.values()))
    return {me.id: width, **dict(zip(peers, found, strict=True))}


def padded(width: int) -> int:
    """The announced width."""
    return -(-width // WIDTH_STEP) * WIDTH_STEP


