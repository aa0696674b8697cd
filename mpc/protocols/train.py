"""Logistic regression on additive shares, N >= 2 parties, semi-honest, no dealer and no arbiter.

   every party i: X_i (rows x d_i), b     label holder besides: y, weights s, offset o       all: shares of every w
 0 widths, keys                -- Widths, PublicKeyMessage -->
 1 offline, for T iterations   -- products' ciphertexts -->       shares of X_i r, X_i^T r; of K = sum_i K_i, the
                                                                  whitened Hessian (preconditioner); of L_i r, K_i r
 per iteration t = 1..T, at the point v:
 2 z = o + sum_i X_i v_i       -- Masked(v_i - r) to owner i -->  shares of z mod 2^37
 3 e = s (sigma(z) - y)        -- open z - rho -->                shares of e from s cos, s sin of rho
 4 g_i = X_i^T e               -- Masked(e - r) to all -->        shares of n g_i, penalty and own b added locally
 5 h = g >> f                  -- masked opening -->
 6 p = L q(K) L h              -- Masked(h_i - r) to owner i, Masked(y - r) to all, masked openings -->
 7 v <- Anderson's step from all v and p so far                   -- masked openings, one level -->
 8 |p| < tolerance?            -- one bit opened -->              else refused, nothing is released
 9 w_i = sum of shares         -- refreshed shares of w_i to i -->

[SecureML 2017] for training on shares; [CAESAR, KDD 2021] for products by homomorphic encryption; [Boura et al.,
FC 2018] for the masked sine series; [PrivLogit, 2016] for the fixed Hessian; Anderson's acceleration; [Chaudhuri et
al., JMLR 2011] for the linear term.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mpc.errors import LocalError, Reason, Refused
from mpc.link import Link, PartyId
from mpc.protocol import LedgerLine, Party, ProtocolSpec
from mpc.regression.acceleration import lines as acceleration_lines
from mpc.regression.precision import SQUARED_BITS, Precision
from mpc.regression.precomputed import Kept, resume
from mpc.regression.preconditioner import combined
from mpc.regression.setup import Block, State, Tools, Widths, own_linear, prepare
from mpc.regression.sigmoid import PERIOD_BITS
from mpc.regression.sizes import TrainOptions, padded, planned
from mpc.ring import U64, RingVector, from_signed, mask_of, reduce, times, to_signed
from mpc.sharing.comparison import comparison_lines, is_below, multiply
from mpc.sharing.opening import open_masked, open_to
from mpc.sharing.truncation import truncate
from mpc.statistics.logistic import fit_logistic

__all__ = ["LEDGER", "PROTOCOL", "Block", "Masked", "Tools", "TrainOptions", "Widths", "ideal", "padded", "run"]

# -- messages (step 0's is mpc.regression.setup.Widths) ------------------------------------------------------------


@dataclass(frozen=True)
class Masked:
    """Steps 2, 4, 6: a share minus a one-time mask; uniform."""

    values: RingVector


# -- role --------------------------------------------------------------------------------------------------------


async def run(
    me: Party,
    peers: Mapping[PartyId, Link],
    block: Block,
    options: TrainOptions,
    tools: Tools,
    accept_widths: Callable[[Mapping[PartyId, int]], None] = lambda widths: None,
    kept: Kept | None = None,
) -> NDArray[np.float64]:
    """The party's own weights (d,), standardised units. Refused NOT_CONVERGED releases nothing to anybody.

    `accept_widths` hears the others' padded widths after step 0 and raises if this party's own rules forbid them.
    `kept`: what mpc.regression.precomputed.precompute made ahead for this run at all parties, in the place of step 1.
    """
    if (block.noise is None) != (options.noise == 0):
        raise LocalError("every party of a job with a linear term draws its own, and nobody does in another job")
    state = await (prepare(me, peers, block, options, tools, accept_widths) if kept is None
                   else resume(me, peers, block, options, kept, accept_widths))
    point, push = state.start, state.start                                                      # shares, ints
    for t in range(options.iterations):
        me.progress("iterations", t, options.iterations)
        me.burn("training", t)                                   # before anything of this iteration leaves
        point, push = await state.with_angles_made(t, _iteration(state, t, point))
    me.progress("iterations", options.iterations, options.iterations)
    me.burn("training", options.iterations)
    await _require_converged(state, push)                                                            # 8
    return await _release(state, point)                                                              # 9


async def _iteration(state: State, t: int, point: U64) -> tuple[U64, U64]:
    """Steps 2 to 7: the next point, and the preconditioned gradient that led there."""
    me, peers = state.me, state.peers
    z = await _forward(state, t, point)                                                              # 2
    e = await _residual(state, z)                                                                    # 3
    g = await _backward(state, t, e) + point * state.penalty + state.linear                          # 4
    h = await truncate(me, peers, g, state.masks.gradient, "train.gradient")                         # 5
    push = np.uint64(0) - await _precondition(state, t, h)                                           # 6
    return await state.anderson.step(point, push), push                                              # 7


async def _forward(state: State, t: int, point: U64) -> U64:
    """Step 2: my share of z mod 2^37."""
    shares = await _by_owner(state, "forward", t, reduce(point, PERIOD_BITS))
    own = await state.me.compute(times, state.matrix, point[state.sizes.slices[state.me.id]])
    own = own if state.offset is None else own + state.offset
    return reduce(sum((held + owned for held, owned in shares.values()), own), PERIOD_BITS)


async def _residual(state: State, z: U64) -> U64:
    """Step 3: my share of e in units of 1 / residual_scale."""
    me, angles = state.me, await state.stock.parts(state.me, len(z))
    masked = reduce(z - np.concatenate([part.rho for part in angles]), PERIOD_BITS)
    delta = await open_masked(me, state.peers, RingVector(masked, PERIOD_BITS), "train.delta")
    cuts = np.split(delta, np.cumsum([len(part.rho) for part in angles])[:-1])
    e = np.concatenate(await me.together(*(
        me.compute(series_share, cut, part.cosines, part.sines, state.plan)
        for cut, part in zip(cuts, angles, strict=True)
    )))
    return e if state.outcome is None else e + state.outcome


async def _backward(state: State, t: int, e: U64) -> U64:
    """Step 4: my share of X^T e, all blocks concatenated."""
    me, result = state.me, np.zeros_like(state.start)
    theirs = await _to_all(state, "backward", t, e)
    for p, (held, _) in theirs.items():
        result[state.sizes.slices[p]] = held
    own = await me.compute(times, state.coarse, e)
    result[state.sizes.slices[me.id]] = sum((owned for _, owned in theirs.values()), own)
    return result


async def _precondition(state: State, t: int, h: U64) -> U64:
    """Step 6: my share of L q(K) L h in units of weights."""
    me, peers, plan = state.me, state.peers, state.sizes.preconditioner
    u = await truncate(me, peers, await _by_blocks(state, 2 * t, h), state.masks.before, "train.step")
    y = d = u
    for number, coefficients in enumerate(plan.coefficients, t * len(plan.coefficients)):
        shares = await _to_all(state, "inner", number, y)
        own = await me.compute(times, state.hessian, y)
        product = sum((held + owned for held, owned in shares.values()), own)
        d = await truncate(me, peers, combined(d, u, product, coefficients), state.masks.inner, "train.step")
        y = y + d
    return await truncate(me, peers, await _by_blocks(state, 2 * t + 1, y), state.masks.after, "train.step")


async def _by_blocks(state: State, t: int, vector: U64) -> U64:
    """My share of L times a vector of all widths."""
    result, mine = np.empty_like(vector), state.sizes.slices[state.me.id]
    shares = await _by_owner(state, "root", t, vector)
    for p, (held, _) in shares.items():
        result[state.sizes.slices[p]] = held
    result[mine] = sum((owned for _, owned in shares.values()), times(state.root, vector[mine]))
    return result


async def _by_owner(state: State, name: str, t: int, vector: U64) -> dict[PartyId, tuple[U64, U64]]:
    """To each owner its part of the vector, masked; from each my shares of its matrix times my share of its part, and
    of my matrix times its share of my part."""
    held, owned, slices = state.products.held[name], state.products.owned[name], state.sizes.slices

    async def talk(p: PartyId, link: Link) -> tuple[U64, U64]:
        await link.send(Masked(held[p].mask(t, vector[slices[p]])))
        theirs = await _masked(link, owned[p].plan.inputs, owned[p].plan.ring_bits)
        return held[p].share(t), await state.me.compute(owned[p].apply, t, theirs)

    answers = await state.me.together(*(talk(p, link.channel(name)) for p, link in state.peers.items()))
    return dict(zip(state.peers, answers, strict=True))


async def _to_all(state: State, name: str, t: int, vector: U64) -> dict[PartyId, tuple[U64, U64]]:
    """One masked vector to all owners; from each my shares of its matrix times mine, and of my matrix times its."""
    held, owned = state.products.held[name], state.products.owned[name]
    masked = next(iter(held.values())).mask(t, vector)

    async def talk(p: PartyId, link: Link) -> tuple[U64, U64]:
        _, theirs = await state.me.together(link.send(Masked(masked)), _masked(link, len(vector), 64))
        return held[p].share(t), await state.me.compute(owned[p].apply, t, theirs)

    answers = await state.me.together(*(talk(p, link.channel(name)) for p, link in state.peers.items()))
    return dict(zip(state.peers, answers, strict=True))


async def _masked(link: Link, length: int, bits: int) -> RingVector:
    values = (await link.receive(Masked, at_most=8 * length)).values
    link.require(len(values) == length and values.bits == bits, Reason.WRONG_LENGTH)
    link.require(bits == 64 or bool((values.values <= mask_of(bits)).all()), Reason.OUT_OF_RANGE)
    return values


async def _require_converged(state: State, push: U64) -> None:
    """Step 8: one bit, whether the last preconditioned gradient was shorter than the tolerance.

    A step may be so long that its square wraps and looks short. So it must also be short after a shift that leaves
    no room for that.
    """
    me, peers, masks = state.me, state.peers, state.masks.range
    both = np.concatenate([push, await truncate(me, peers, push, masks, "train.square")])
    squares = await multiply(me, peers, both, both, state.stock, "train.square")
    totals = squares.reshape(2, -1).sum(axis=1, dtype=np.uint64)
    if state.is_label_holder():
        bound = state.options.tolerance * state.plan.weight_unit
        totals = totals - np.array([round(bound**2), 1 << 2 * (SQUARED_BITS - masks.shift)], np.uint64)
    if not await is_below(me, peers, totals, state.stock, "train.converged"):
        raise Refused(
            "NOT_CONVERGED",
            f"training did not converge in {state.options.iterations} iterations; nothing was released",
            "raise --iterations or --lambda, or give a truer expected default rate",
        )


async def _release(state: State, point: U64) -> NDArray[np.float64]:
    """Step 9: to each party its own weights."""
    mine = None
    for p in state.options.parties:
        opened = await open_to(state.me, state.peers, RingVector(point[state.sizes.slices[p]], 64), p, "train.weights")
        mine = opened if p == state.me.id else mine
    assert mine is not None
    return to_signed(mine)[: state.width] / state.plan.weight_unit


# -- steps -------------------------------------------------------------------------------------------------------


def series_share(delta: U64, cosines: U64, sines: U64, plan: Precision) -> U64:
    """My share of E s (sigma(z) - 1/2) from the opened delta = z - rho and shares of s cos, s sin of m rho.

    sin(m (delta + rho)) = sin(m delta) cos(m rho) + cos(m delta) sin(m rho).
    """
    total = np.zeros(len(delta), np.uint64)
    for k, (m, b) in enumerate(zip(plan.series.harmonics, plan.series.coefficients, strict=True)):
        angle = reduce(delta * np.uint64(m), PERIOD_BITS) * (2 * np.pi / 2**PERIOD_BITS)
        height = plan.residual_scale * b / plan.trig.gain(k)
        total += from_signed(np.rint(height * np.sin(angle))) * cosines[k]
        total += from_signed(np.rint(height * np.cos(angle))) * sines[k]
    return total


# -- ideal -------------------------------------------------------------------------------------------------------


def ideal(
    blocks: Mapping[PartyId, Block], options: TrainOptions
) -> dict[PartyId, NDArray[np.float64]]:
    """The exact pooled fit on the same integers, with everybody's linear terms."""
    scale = float(int(32767 // options.clip))
    holder = blocks[options.label_holder]
    assert holder.labels is not None
    names = [options.label_holder, *(p for p in options.parties if p != options.label_holder)]
    pooled = np.concatenate([blocks[p].matrix for p in names], axis=1) / scale
    sizes = planned(options, {p: padded(blocks[p].matrix.shape[1]) for p in options.parties})
    term = sum((to_signed(own_linear(p, block, sizes)) / sizes.plan.sum_unit for p, block in blocks.items()),
               np.zeros(sizes.width))
    linear = np.concatenate([term[sizes.slices[p]][: blocks[p].matrix.shape[1]] for p in names]) / options.rows
    weights = fit_logistic(pooled, holder.labels, options.penalty, intercept=0, sample_weights=holder.weights,
                           offset=holder.offset, linear=linear).weights
    cuts = np.cumsum([blocks[p].matrix.shape[1] for p in names])[:-1]
    return dict(zip(names, np.split(weights, cuts), strict=True))


LEDGER = (
    LedgerLine("train.delta", "masked", "all", "log-odds minus a uniform mask, one per row and iteration"),
    LedgerLine("train.gradient", "masked", "all", "gradient plus a uniform mask, for its truncation"),
    LedgerLine("train.step", "masked", "all", "weight step, as it is made, plus uniform masks, for its truncations"),
    *acceleration_lines("train.anderson"),
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
        "label_holder": "its own weights, whether training converged, the size of each step's change to a factor of "
                        "four, row count, padded widths of the others",
        "feature_holder": "its own weights, whether training converged, the size of each step's change to a factor of "
                          "four, row count, padded widths of the others",
    },
    ledger=LEDGER,
)
