"""What a training run stands on before its first iteration (mpc.protocols.train, steps 0 and 1): the agreed sizes, the
private block in fixed point, keys, and all correlations. Knows no figure of the iteration itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mpc.correlated_randomness.kinds import CorrelationSource, Trig, TrigPlan
from mpc.correlated_randomness.stock import Stock
from mpc.errors import LocalError, Reason
from mpc.link import Link, PartyId
from mpc.paillier.ciphertexts import PublicKey
from mpc.paillier.keys import OwnerBlinder, PrivateKey
from mpc.paillier.rerandomisation import GroupBlinder
from mpc.products.matrix_vector import exchange_keys, offer, serve
from mpc.products.one_time_shares import HolderProduct, OwnerProduct
from mpc.products.packed_over_rows import offer_packed, serve_packed
from mpc.protocol import Party
from mpc.regression.acceleration import Anderson
from mpc.regression.perturbation import in_gradient_units, own_term
from mpc.regression.precision import Precision
from mpc.regression.preconditioner import I16, Counterparts, own_root, root_matrix, shared_hessian, whitened
from mpc.regression.sigmoid import PERIOD_BITS, chosen
from mpc.regression.sizes import Sizes, TrainOptions, padded, planned
from mpc.ring import I64, U64, from_signed, reduce
from mpc.rng import Rng
from mpc.sharing.truncation import TruncationMasks, prepare_truncation

T = TypeVar("T")

MAX_WIDTH = 1 << 14
NOISE_FACTOR = 0.5  # of a step's noise: a change that is shorter teaches no direction


# -- message
@dataclass(frozen=True)
class Widths:
    """Step 0: training rows and the padded width of the sender's block."""

    rows: int
    width: int


# -- inputs ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Block:
    """One party's private input: training rows in fixed point; the label holder's first column is the intercept."""

    matrix: NDArray[np.int16]                  # rows x d
    labels: NDArray[np.bool_] | None = None    # at the label holder only
    start: NDArray[np.float64] | None = None   # the label holder's own fit, its share of the starting point
    weights: NDArray[np.float64] | None = None # one per row, mean 1, at the label holder of a job that has weights
    offset: NDArray[np.float64] | None = None  # added to the log-odds, at the label holder only
    noise: Rng | None = None                   # what the own linear term is drawn from, in a job that has one


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
    sizes: Sizes
    stock: Stock
    matrix: I16                                # rows x padded width
    coarse: I16                                # padded width x rows
    hessian: I64                               # my share of K, all widths x all widths
    root: I64                                  # my L_i, padded width x padded width
    outcome: U64 | None                        # the label holder's own part of the residuals, s (1/2 - y)
    offset: U64 | None                         # and of the log-odds, mod 2^37
    start: U64
    penalty: U64                               # per weight, zero at the intercept
    linear: U64                                # my own term b of the gradient X^T e, likewise
    width: int
    products: Products
    masks: Masks
    anderson: Anderson

    @property
    def plan(self) -> Precision:
        return self.sizes.plan

    def is_label_holder(self) -> bool:
        return self.me.id == self.options.label_holder

    async def with_angles_made(self, t: int, iteration: Awaitable[T]) -> T:
        """Run `iteration` t; meanwhile make its part of the angles that are still to come, before the last two."""
        left, due = self.options.iterations - 1 - t, (self.options.iterations - t) * self.options.rows
        missing = due - self.stock.angles
        if left < 1 or missing <= 0:
            return await iteration
        done, _ = await self.me.together(iteration, self.stock.add_angles(self.me, -(-missing // left)))
        result: T = done
        return result


@dataclass(frozen=True)
class Masks:
    """For the truncations of all iterations: gradients, before and after the two products with L, inner steps; and for
    the one of the convergence test."""

    gradient: TruncationMasks
    before: TruncationMasks
    after: TruncationMasks
    inner: TruncationMasks
    range: TruncationMasks


@dataclass(frozen=True)
class Products:
    """The correlations of step 1 by counterpart: what I hold the vector's masks of, and what I own the matrix of."""

    held: Mapping[str, Mapping[PartyId, HolderProduct]]
    owned: Mapping[str, Mapping[PartyId, OwnerProduct]]


async def prepare(
    me: Party,
    peers: Mapping[PartyId, Link],
    block: Block,
    options: TrainOptions,
    tools: Tools,
    accept_widths: Callable[[Mapping[PartyId, int]], None] = lambda widths: None,
    keep_angles: Callable[[list[Trig]], None] | None = None,
) -> State:
    """Steps 0 and 1. LocalError for a block that is not what was agreed, PeerError for a bad counterpart.

    `keep_angles`: the iterations come another day. The angles of all of them are made now, and go there one iteration
    after the other; the stock has none.
    """
    check_block(me, block, options)
    widths = await agree_widths(me, peers, options.rows, padded(block.matrix.shape[1]))               # 0
    accept_widths({p: widths[p] for p in peers})
    sizes = planned(options, widths)
    plan = sizes.plan
    matrix, coarse = await me.compute(own_matrices, block, sizes, me.id)
    root = await me.compute(own_root, matrix, plan.x_scale, sizes.preconditioner)
    chance = Rng(me.rng.bytes(32))
    white = await me.compute(whitened, matrix, root, plan.x_scale, sizes.preconditioner, chance)
    key = await me.compute(tools.make_key, me.rng.child("paillier"), options.key_bits)
    known = await counterparts(me, key, await exchange_keys(me, peers, key, options.key_bits), options.rows)

    async def correlations() -> Stock:
        links = {p: link.channel("correlations") for p, link in peers.items()}
        stock = Stock(await tools.make_source(me, links, plan.trig), block.weights)
        await stock.fill(me, bits=sizes.bits, triples=sizes.triples, ands=sizes.ands)
        if keep_angles is None:
            await stock.add_angles(me, sizes.angles_ahead * options.rows)
            return stock
        for _ in range(options.iterations):
            await me.compute(keep_angles, await stock.parts(me, options.rows))
        return stock

    async def preconditioner() -> tuple[I64, I64, Products]:
        empty = np.asarray(~matrix.any(axis=0))
        hessian = await shared_hessian(me, peers, known, white, empty, sizes.slices, sizes.preconditioner)
        own = root_matrix(root, sizes.preconditioner)
        return hessian, own, await small_products(me, peers, known, sizes, hessian, own)

    stock, tall, (hessian, own, small) = await me.together(                                           # 1
        correlations(), tall_products(me, peers, known, sizes, matrix, coarse), preconditioner()
    )
    anderson = anderson_of(me, peers, stock, sizes)
    await anderson.prepare(options.iterations)
    products = Products(tall.held | small.held, tall.owned | small.owned)
    masks = await truncation_masks(me, stock, sizes)
    return assembled(me, peers, block, sizes, stock, (matrix, coarse, hessian, own), products, masks, anderson)


def own_matrices(block: Block, sizes: Sizes, me: PartyId) -> tuple[I16, I16]:
    """The block filled up to its padded width; and coarse, transposed, for the backward pass. LocalError where a column
    is too large."""
    matrix = np.zeros((sizes.options.rows, sizes.widths[me]), np.int16)
    matrix[:, : block.matrix.shape[1]] = block.matrix
    if not sizes.plan.standardised(matrix):
        raise LocalError("a column of the block is larger than a standardised one")
    return matrix, np.ascontiguousarray(sizes.plan.coarse(matrix).T)


def anderson_of(me: Party, peers: Mapping[PartyId, Link], stock: Stock, sizes: Sizes) -> Anderson:
    """Step 7's memory, without its masks."""
    plan = sizes.plan
    return Anderson(me, peers, stock, sizes.width, "train.anderson",
                    NOISE_FACTOR * plan.step_noise(sizes.width) * plan.weight_unit)


def assembled(
    me: Party, peers: Mapping[PartyId, Link], block: Block, sizes: Sizes, stock: Stock,
    matrices: tuple[I16, I16, I64, I64], products: Products, masks: Masks, anderson: Anderson,
) -> State:
    """What steps 0 and 1 come to. `matrices`: own and coarse ones, my share of K, my L_i."""
    plan, options, mine, width = sizes.plan, sizes.options, sizes.slices[me.id], block.matrix.shape[1]
    matrix, coarse, hessian, root = matrices
    start = np.zeros(sizes.width, np.uint64)
    if block.start is not None:
        start[mine.start : mine.start + width] = from_signed(np.rint(block.start * plan.weight_unit))
    penalty = np.full(sizes.width, plan.penalty_factor, np.uint64)
    penalty[sizes.slices[options.label_holder].start] = 0
    return State(
        me=me, peers=peers, options=options, sizes=sizes, stock=stock, matrix=matrix, coarse=coarse, hessian=hessian,
        root=root, outcome=own_residuals(block, plan), offset=own_log_odds(block, plan), start=start,
        penalty=penalty, linear=own_linear(me.id, block, sizes), width=width, products=products, masks=masks,
        anderson=anderson,
    )


async def truncation_masks(me: Party, stock: Stock, sizes: Sizes) -> Masks:
    """All of them, from the stock."""
    T, (before, after) = sizes.options.iterations, sizes.preconditioner.shifts

    async def masks(vectors: int, shift: int) -> TruncationMasks:
        return await prepare_truncation(me, stock, vectors * sizes.width, shift)

    return Masks(
        gradient=await masks(T, sizes.plan.gradient_shift), before=await masks(T, before), after=await masks(T, after),
        inner=await masks(sizes.inner_products, sizes.preconditioner.inner_shift),
        range=await masks(1, sizes.range_shift),
    )


def check_block(me: Party, block: Block, options: TrainOptions) -> None:
    """LocalError for a block that is not what was agreed."""
    if len(block.matrix) != options.rows:
        raise LocalError(f"the block has {len(block.matrix)} rows where {options.rows} were agreed")
    if (me.id == options.label_holder) != (block.labels is not None):
        raise LocalError("labels belong to the label holder, and to nobody else")
    holder, weighting = me.id == options.label_holder, options.weighting
    if (block.weights is not None) != (holder and weighting is not None):
        raise LocalError("weights belong to the label holder of a job that has weights, and to nobody else")
    if (block.offset is not None) != (holder and options.has_offset):
        raise LocalError("an offset belongs to the label holder of a job that has one, and to nobody else")
    if block.weights is not None and weighting is not None:
        lightest, mean, heaviest = block.weights.min(), block.weights.mean(), block.weights.max()
        if not (len(block.weights) == options.rows and lightest >= 0 and abs(mean - 1) < 1e-6
                and heaviest <= weighting.largest + 1e-6):
            raise LocalError("the weights of the rows are not those that were agreed")
    if block.offset is not None and not (
        len(block.offset) == options.rows
        and np.abs(block.offset).max() <= chosen(options.sigmoid, options.expected_default_rate).valid
    ):
        raise LocalError("an offset lies beyond the range on which the sigmoid is exact", "mend the offset's column")


def own_residuals(block: Block, plan: Precision) -> U64 | None:
    """s (1/2 - y) in units of a residual; the sine series is sigma - 1/2, and its cosines carry s already."""
    if block.labels is None:
        return None
    halves = (0.5 - block.labels) * (1.0 if block.weights is None else block.weights)
    return from_signed(np.rint(halves * plan.residual_scale))


def own_linear(me: PartyId, block: Block, sizes: Sizes) -> U64:
    """My term of the objective's slope, in units of X^T e: zero where nothing is drawn."""
    if block.noise is None:
        return np.zeros(sizes.width, np.uint64)
    options = sizes.options
    term = own_term(block.noise, options.noise, sizes.slices, me, options.label_holder)
    return in_gradient_units(term, sizes.plan.sum_unit)


def own_log_odds(block: Block, plan: Precision) -> U64 | None:
    """The offset in units of z."""
    if block.offset is None:
        return None
    return reduce(from_signed(np.rint(block.offset * plan.series.unit)), PERIOD_BITS)


async def tall_products(
    me: Party, peers: Mapping[PartyId, Link], known: Counterparts, sizes: Sizes, matrix: I16, coarse: I16
) -> Products:
    """The private products over all rows, side by side: mine with every counterpart's vectors, and theirs with mine."""
    others: Sequence[PartyId] = list(peers)

    def links(name: str) -> dict[PartyId, Link]:
        return {p: peers[p].channel(f"{name}/{me.id}") for p in others}

    forward, backward = (sizes.product(name, me.id) for name in ("forward", "backward"))
    made = await me.together(
        offer(me, links("backward"), known.key, {p: sizes.product("backward", p) for p in others}, known.own_blinder),
        *(offer_packed(me, link, known.keys[p], sizes.product("forward", p), known.sealing[p])
          for p, link in links("forward").items()),
        *(serve_packed(me, peers[p].channel(f"forward/{p}"), known.key, matrix, forward, known.own_blinder)
          for p in others),
        *(serve(me, peers[p].channel(f"backward/{p}"), known.keys[p], coarse, backward, known.sealing[p])
          for p in others),
    )
    groups = [dict(zip(others, made[1 + k * len(others) :], strict=False)) for k in range(3)]
    return Products({"forward": groups[0], "backward": made[0]}, {"forward": groups[1], "backward": groups[2]})


async def small_products(
    me: Party, peers: Mapping[PartyId, Link], known: Counterparts, sizes: Sizes, hessian: I64, root: I64
) -> Products:
    """Of my share of K with everybody's share of a vector of all widths, and of my L with their shares of my part."""
    others = list(peers)

    def links(name: str) -> dict[PartyId, Link]:
        return {p: peers[p].channel(f"{name}/{me.id}") for p in others}

    async def hold_root(p: PartyId, link: Link) -> HolderProduct:
        return (await offer(me, {p: link}, known.key, {p: sizes.product("root", p)}, known.own_blinder))[p]

    async def own(name: str, p: PartyId, matrix: I64) -> OwnerProduct:
        link, plan = peers[p].channel(f"{name}/{p}"), sizes.product(name, me.id)
        return await serve(me, link, known.keys[p], matrix, plan, known.sealing[p])

    inner, *made = await me.together(
        offer(me, links("inner"), known.key, {p: sizes.product("inner", p) for p in others}, known.own_blinder),
        *(hold_root(p, link) for p, link in links("root").items()),
        *(own("root", p, root) for p in others),
        *(own("inner", p, hessian) for p in others),
    )
    groups = [dict(zip(others, made[k * len(others) :], strict=False)) for k in range(3)]
    return Products({"inner": inner, "root": groups[0]}, {"root": groups[1], "inner": groups[2]})


async def counterparts(
    me: Party, key: PrivateKey, keys: Mapping[PartyId, PublicKey], expected: int
) -> Counterparts:
    """Tables that all streams under one key share: for replies under each counterpart's, for ours (phe has none)."""
    rng = Rng(me.rng.bytes(32))
    made = await me.together(*(me.compute(GroupBlinder, keys[p], rng.child(p), expected) for p in keys))
    own = None if key.public.engine == "phe" else await me.compute(OwnerBlinder, key, rng.child("own"), expected)
    return Counterparts(key, keys, dict(zip(keys, made, strict=True)), own)


async def agree_widths(
    me: Party, peers: Mapping[PartyId, Link], rows: int, width: int
) -> dict[PartyId, int]:
    async def talk(link: Link) -> int:
        await link.send(Widths(rows, width))
        theirs = await link.receive(Widths)
        link.require(theirs.rows == rows, Reason.WRONG_LENGTH)
        link.require(0 < theirs.width <= MAX_WIDTH and padded(theirs.width) == theirs.width, Reason.OUT_OF_RANGE)
        return theirs.width

    found = await me.together(*(talk(link) for link in peers.values()))
    return {me.id: width, **dict(zip(peers, found, strict=True))}
