"""Logistic regression on additive shares, N >= 2 parties, semi-honest, no dealer and no arbiter.

   every party i: X_i (rows x d_i)        label holder besides: y        all: shares of every w
 0 widths, keys                -- Widths, PublicKeyMessage -->
 1 offline, for T iterations   -- products' ciphertexts -->       shares of X_i r, X_i^T r, M_i r
 per iteration t = 1..T, at the point v:
 2 z = sum_i X_i v_i           -- Masked(v_i - r) to owner i -->  shares of z mod 2^37
 3 e = sigma(z) - y            -- open z - rho -->                shares of e from cos, sin of rho
 4 g_i = X_i^T e               -- Masked(e - r) to all -->        shares of n g_i, penalty added locally
 5 h = g >> f                  -- masked opening -->
 6 p_i = M_i h_i               -- Masked(h_i - r) to owner i -->
 7 v <- v + beta (v - v_old) - (1 + beta) p + beta p_old          -- masked opening of the truncation -->
 8 |v - v_old| < tolerance?    -- one bit opened -->              else refused, nothing is released
 9 w_i = sum of shares         -- refreshed shares of w_i to i -->

[SecureML 2017] for training on shares; [CAESAR, KDD 2021] for products by homomorphic encryption; [Boura et al.,
FC 2018] for the masked sine series; block-Jacobi fixed Hessian with Nesterov's momentum.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mpc.comparison import comparison_lines, is_below, multiply
from mpc.correlations import CorrelationSource, TrigPlan
from mpc.errors import LocalError, Reason, Refused
from mpc.link import Link, PartyId
from mpc.models.logistic import fit_logistic
from mpc.opening import open_masked, open_to
from mpc.paillier_keys import PrivateKey
from mpc.precision import ENTRY_BITS, MOMENTUM_EIGHTHS, STEP_ENTRY_BITS, Precision, plan_precision
from mpc.products import (
    HolderProduct,
    OwnerProduct,
    ProductPlan,
    exchange_keys,
    offer,
    serve,
)
from mpc.protocol import LedgerLine, Party, ProtocolSpec
from mpc.ring import I64, U64, RingVector, from_signed, mask_of, reduce, to_signed
from mpc.rng import Rng
from mpc.sigmoid import PERIOD_BITS
from mpc.truncation import TruncationMasks, prepare_truncation, truncate

WIDTH_STEP = 16  # widths are announced in multiples, so that exact feature counts stay private
MAX_WIDTH = 1 << 14


# -- messages ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Widths:
    """Step 0: training rows and the padded width of the sender's block."""

    rows: int
    width: int


@dataclass(frozen=True)
class Masked:
    """Steps 2, 4, 6: a share minus a one-time mask; uniform."""

    values: RingVector


# -- inputs ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainOptions:
    """Agreed in the job spec. `parties` sorted; `tolerance` bounds the last step's norm, standardised units."""

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


# -- role --------------------------------------------------------------------------------------------------------


async def run(
    me: Party, peers: Mapping[PartyId, Link], block: Block, options: TrainOptions, tools: Tools
) -> NDArray[np.float64]:
    """The party's own weights (d,), standardised units. Refused NOT_CONVERGED releases nothing to anybody."""
    state = await _prepare(me, peers, block, options, tools)
    point, before = state.start, state.start                                                     # shares, ints
    push_before = np.zeros_like(point)
    for t in range(options.iterations):
        me.progress("iterations", t, options.iterations)
        z = await _forward(state, t, point)                                                          # 2
        e = await _residual(state, z)                                                                # 3
        g = await _backward(state, t, e) + point * state.penalty                                     # 4
        h = await truncate(me, peers, g, state.gradient_masks, "train.gradient")                     # 5
        push = await _precondition(state, t, h)                                                      # 6
        step = momentum(point, before, push, push_before, state.plan.step_shift)
        moved = await truncate(me, peers, step, state.step_masks, "train.step")
        before, point, push_before = point, point - moved, push                                      # 7
    me.progress("iterations", options.iterations, options.iterations)
    await _require_converged(state, point - before)                                                  # 8
    return await _release(state, point)                                                              # 9


@dataclass
class _State:
    """What one run keeps between steps: the plan, the correlations, the padded own block."""

    me: Party
    peers: Mapping[PartyId, Link]
    options: TrainOptions
    plan: Precision
    source: CorrelationSource
    slices: dict[PartyId, slice]               # of the concatenated weight vector
    matrix: I64                                # rows x padded width
    preconditioner: I64
    labels: U64 | None
    start: U64
    penalty: U64                               # per weight, zero at the intercept
    width: int
    forward_held: dict[PartyId, HolderProduct]
    forward_owned: dict[PartyId, OwnerProduct]
    backward_held: dict[PartyId, HolderProduct]
    backward_owned: dict[PartyId, OwnerProduct]
    step_held: dict[PartyId, HolderProduct]
    step_owned: dict[PartyId, OwnerProduct]
    gradient_masks: TruncationMasks
    step_masks: TruncationMasks

    def is_label_holder(self) -> bool:
        return self.me.id == self.options.label_holder


async def _prepare(
    me: Party, peers: Mapping[PartyId, Link], block: Block, options: TrainOptions, tools: Tools
) -> _State:
    rows, own_width = block.matrix.shape
    if rows != options.rows:
        raise LocalError(f"the block has {rows} rows where {options.rows} were agreed")
    if (me.id == options.label_holder) != (block.labels is not None):
        raise LocalError("labels belong to the label holder, and to nobody else")
    plan = plan_precision(
        len(options.parties), rows, options.clip, options.penalty, options.expected_default_rate, options.sigmoid
    )
    widths = await _agree_widths(me, peers, rows, padded(own_width))                                  # 0
    ends = np.cumsum([widths[party] for party in options.parties]).tolist()
    slices = {p: slice(end - widths[p], end) for p, end in zip(options.parties, ends, strict=True)}
    matrix = np.zeros((rows, widths[me.id]), np.int64)
    matrix[:, :own_width] = block.matrix
    step_matrix = await me.compute(plan.preconditioner, matrix.astype(np.int16))
    key = await me.compute(tools.make_key, me.rng.child("paillier"), options.key_bits)
    keys = await exchange_keys(me, peers, key, options.key_bits)
    T, bits = options.iterations, options.key_bits
    forward = {p: ProductPlan(widths[p], rows, ENTRY_BITS, PERIOD_BITS, T, bits) for p in options.parties}
    backward = {p: ProductPlan(rows, widths[p], ENTRY_BITS, 64, T, bits) for p in options.parties}
    step = {p: ProductPlan(widths[p], widths[p], STEP_ENTRY_BITS, 64, T, bits) for p in options.parties}

    async def hold_forward(name: str, plans: Mapping[PartyId, ProductPlan], p: PartyId) -> HolderProduct:
        return (await offer(me, {p: peers[p].channel(name)}, key, {p: plans[p]}))[p]

    async def own(name: str, product: I64, plans: Mapping[PartyId, ProductPlan], p: PartyId) -> OwnerProduct:
        return await serve(me, peers[p].channel(name), keys[p], product, plans[me.id])

    others = list(peers)
    made = await me.together(                                                                         # 1
        tools.make_source(me, {p: peers[p].channel("correlations") for p in others},
                          TrigPlan(len(options.parties), plan.trig_bits)),
        offer(me, {p: peers[p].channel(f"backward/{me.id}") for p in others}, key,
              {p: backward[p] for p in others}),
        *(hold_forward(f"forward/{me.id}", forward, p) for p in others),
        *(hold_forward(f"step/{me.id}", step, p) for p in others),
        *(own(f"forward/{p}", matrix, forward, p) for p in others),
        *(own(f"backward/{p}", matrix.T, backward, p) for p in others),
        *(own(f"step/{p}", step_matrix, step, p) for p in others),
    )
    source, cells = made[0], ends[-1] * T
    gradient_masks = await prepare_truncation(me, source, cells, plan.gradient_shift)
    step_masks = await prepare_truncation(me, source, cells, plan.step_shift + 3)
    groups = [dict(zip(others, made[2 + k * len(others) :], strict=False)) for k in range(5)]
    start = np.zeros(ends[-1], np.uint64)
    if block.start is not None:
        fixed = from_signed(np.rint(block.start * plan.weight_unit))
        start[slices[me.id].start : slices[me.id].start + own_width] = fixed
    penalty = np.full(ends[-1], plan.penalty_factor, np.uint64)
    penalty[slices[options.label_holder].start] = 0
    return _State(
        me=me, peers=peers, options=options, plan=plan, source=source, slices=slices, matrix=matrix,
        preconditioner=step_matrix, labels=None if block.labels is None else block.labels.astype(np.uint64),
        start=start, penalty=penalty, width=own_width, backward_held=dict(made[1]),
        forward_held=groups[0], step_held=groups[1], forward_owned=groups[2], backward_owned=groups[3],
        step_owned=groups[4], gradient_masks=gradient_masks, step_masks=step_masks,
    )


async def _agree_widths(
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


async def _forward(state: _State, t: int, point: U64) -> U64:
    """Step 2: my share of z mod 2^37."""
    me = state.me

    async def talk(p: PartyId, link: Link) -> U64:
        held, owned = state.forward_held[p], state.forward_owned[p]
        await link.send(Masked(held.mask(t, reduce(point[state.slices[p]], PERIOD_BITS))))
        theirs = await _masked(link, len(point[state.slices[me.id]]), PERIOD_BITS)
        return (await me.compute(owned.apply, t, theirs)) + held.share(t)

    shares = await me.together(*(talk(p, link.channel("forward")) for p, link in state.peers.items()))
    own = await me.compute(times, state.matrix, point[state.slices[me.id]])
    return reduce(sum(shares, own), PERIOD_BITS)


async def _residual(state: _State, z: U64) -> U64:
    """Step 3: my share of e in units of 1 / residual_scale."""
    trig = await state.source.trig(state.me, len(z))
    masked = RingVector(reduce(z - trig.rho, PERIOD_BITS), PERIOD_BITS)
    delta = await open_masked(state.me, state.peers, masked, "train.delta")
    e = await state.me.compute(series_share, delta, trig.cosines, trig.sines, state.plan)
    if state.labels is not None:
        scale = np.uint64(state.plan.residual_scale)
        e = e + (scale >> np.uint64(1)) - state.labels * scale
    return e


async def _backward(state: _State, t: int, e: U64) -> U64:
    """Step 4: my share of X^T e, all blocks concatenated."""
    me, result = state.me, np.zeros_like(state.start)
    masked = next(iter(state.backward_held.values())).mask(t, e)

    async def talk(p: PartyId, link: Link) -> U64:
        _, theirs = await me.together(link.send(Masked(masked)), _masked(link, len(e), 64))
        result[state.slices[p]] = state.backward_held[p].share(t)
        return await me.compute(state.backward_owned[p].apply, t, theirs)

    shares = await me.together(*(talk(p, link.channel("backward")) for p, link in state.peers.items()))
    own = await me.compute(times, state.matrix.T, e)
    result[state.slices[me.id]] = sum(shares, own)
    return result


async def _precondition(state: _State, t: int, h: U64) -> U64:
    """Step 6: my share of M h, block by block."""
    me, result = state.me, np.zeros_like(h)

    async def talk(p: PartyId, link: Link) -> U64:
        await link.send(Masked(state.step_held[p].mask(t, h[state.slices[p]])))
        theirs = await _masked(link, len(state.preconditioner), 64)
        result[state.slices[p]] = state.step_held[p].share(t)
        return await me.compute(state.step_owned[p].apply, t, theirs)

    shares = await me.together(*(talk(p, link.channel("step")) for p, link in state.peers.items()))
    own = times(state.preconditioner, h[state.slices[me.id]])
    result[state.slices[me.id]] = sum(shares, own)
    return result


async def _masked(link: Link, length: int, bits: int) -> RingVector:
    values = (await link.receive(Masked)).values
    link.require(len(values) == length and values.bits == bits, Reason.WRONG_LENGTH)
    link.require(bits == 64 or bool((values.values <= mask_of(bits)).all()), Reason.OUT_OF_RANGE)
    return values


async def _require_converged(state: _State, moved: U64) -> None:
    """Step 8: one bit, whether the last step was shorter than the tolerance."""
    me, peers = state.me, state.peers
    squares = await multiply(me, peers, moved, moved, state.source, "train.square")
    total = squares.sum(dtype=np.uint64)
    if state.is_label_holder():
        total = total - np.uint64(round((state.options.tolerance * state.plan.weight_unit) ** 2))
    if not await is_below(me, peers, np.array([total]), state.source, "train.converged"):
        raise Refused(
            "NOT_CONVERGED",
            f"training did not converge in {state.options.iterations} iterations; nothing was released",
            "raise --iterations or --lambda, or give a truer expected default rate",
        )


async def _release(state: _State, point: U64) -> NDArray[np.float64]:
    """Step 9: to each party its own weights."""
    mine = None
    for p in state.options.parties:
        opened = await open_to(state.me, state.peers, RingVector(point[state.slices[p]], 64), p, "train.weights")
        mine = opened if p == state.me.id else mine
    assert mine is not None
    return to_signed(mine)[: state.width] / state.plan.weight_unit


# -- steps -------------------------------------------------------------------------------------------------------


def padded(width: int) -> int:
    """The announced width."""
    return -(-width // WIDTH_STEP) * WIDTH_STEP


def times(matrix: I64, vector: U64) -> U64:
    """matrix @ vector mod 2^64."""
    return np.matmul(matrix.view(np.uint64), vector)  # type: ignore[no-any-return]


def momentum(point: U64, before: U64, push: U64, push_before: U64, shift: int) -> U64:
    """8 * 2^shift * (v - v_next) for v_next = v + beta (v - v_old) - (1 + beta) p + beta p_old, beta = k/8."""
    k = np.uint64(MOMENTUM_EIGHTHS)
    return (k + np.uint64(8)) * push - k * push_before - ((point - before) * k << np.uint64(shift))


def series_share(delta: U64, cosines: U64, sines: U64, plan: Precision) -> U64:
    """My share of E (sigma(z) - 1/2) from the opened delta = z - rho and shares of cos, sin of m rho.

    sin(m (delta + rho)) = sin(m delta) cos(m rho) + cos(m delta) sin(m rho).
    """
    trig = TrigPlan(plan.parties, plan.trig_bits)
    total = np.zeros(len(delta), np.uint64)
    for k, (m, b) in enumerate(zip(plan.series.harmonics, plan.series.coefficients, strict=True)):
        angle = reduce(delta * np.uint64(m), PERIOD_BITS) * (2 * np.pi / 2**PERIOD_BITS)
        height = plan.residual_scale * b / trig.gain(k)
        total += from_signed(np.rint(height * np.sin(angle))) * cosines[k]
        total += from_signed(np.rint(height * np.cos(angle))) * sines[k]
    return total


# -- ideal -------------------------------------------------------------------------------------------------------


def ideal(
    blocks: Mapping[PartyId, Block], options: TrainOptions
) -> dict[PartyId, NDArray[np.float64]]:
    """The exact pooled fit on the same integers."""
    scale = float(int(32767 // options.clip))
    holder = blocks[options.label_holder]
    assert holder.labels is not None
    names = [options.label_holder, *(p for p in options.parties if p != options.label_holder)]
    pooled = np.concatenate([blocks[p].matrix for p in names], axis=1) / scale
    weights = fit_logistic(pooled, holder.labels, options.penalty, intercept=0).weights
    cuts = np.cumsum([blocks[p].matrix.shape[1] for p in names])[:-1]
    return dict(zip(names, np.split(weights, cuts), strict=True))


LEDGER = (
    LedgerLine("train.delta", "masked", "all", "log-odds minus a uniform mask, one per row and iteration"),
    LedgerLine("train.gradient", "masked", "all", "gradient plus a uniform mask, for its truncation"),
    LedgerLine("train.step", "masked", "all", "weight step plus a uniform mask, for its truncation"),
    LedgerLine("train.square", "masked", "all", "steps minus uniform masks, for the convergence test"),
    *comparison_lines("train.converged", "one bit: whether the last step was below the tolerance"),
    LedgerLine("train.weights", "revealed", "owner", "each party's own final weights"),
)

PROTOCOL = ProtocolSpec(
    name="train",
    version=1,
    messages=(Widths, Masked),
    roles={"party": run},
    ideal=ideal,
    learns={
        "label_holder": "its own weights, whether training converged, row count, padded widths of the others",
        "feature_holder": "its own weights, whether training converged, row count, padded widths of the others",
    },
    ledger=LEDGER,
)
