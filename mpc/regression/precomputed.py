"""Training in two halves: all that precedes the first iteration is made, kept as named arrays, and used another day.

   precompute   steps 0 and 1 of mpc.protocols.train, with the angles of all iterations -> named arrays
   resume       widths once more -- Widths -->    every party still has its half, and the same one
                begin                             burnt for good, before the first array is read
                named arrays -> the state that iterations start from

No Paillier key is kept: online nobody decrypts. Knows no file: who keeps the arrays refuses to give any before `begin`,
and each of them twice. Shares refuse to be pickled, so what is kept is listed here, name by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from mpc.correlated_randomness.kinds import F64, Bits, Trig, TrigPlan, Triples
from mpc.correlated_randomness.stock import Stock
from mpc.errors import LocalError, Reason
from mpc.link import Link, PartyId
from mpc.products.one_time_shares import HolderProduct, Matrix, Once, OwnerProduct
from mpc.products.plan import ProductPlan
from mpc.protocol import Party
from mpc.regression.acceleration import NARROW, RATIO, Anderson
from mpc.regression.preconditioner import I16
from mpc.regression.setup import (
    Block,
    Masks,
    Products,
    State,
    Tools,
    agree_widths,
    anderson_of,
    assembled,
    check_block,
    own_matrices,
    prepare,
)
from mpc.regression.sizes import Sizes, TrainOptions, padded, planned
from mpc.sharing.truncation import TruncationMasks

Array = NDArray[Any]
Put = Callable[[str, Array], None]

TO_ALL = ("backward", "inner")     # one vector goes to all owners, so their products share one set of masks
TO_OWNER = ("forward", "root")
TRIG, TRIPLE, TRUNCATION = ("rho", "cosines", "sines"), ("a", "b", "c"), ("mask", "high", "top")


class Kept(Protocol):
    """The arrays of one `precompute` and what it returned."""

    @property
    def widths(self) -> Mapping[PartyId, int]: ...

    @property
    def shape(self) -> str: ...

    def begin(self) -> None:
        """Note for good that these values are used; LocalError if they were before, by any process."""
        ...

    def take(self, name: str) -> Array:
        """One array. LocalError before `begin`, and when it is asked for twice."""
        ...


# -- roles -------------------------------------------------------------------------------------------------------


async def precompute(
    me: Party, peers: Mapping[PartyId, Link], block: Block, options: TrainOptions, tools: Tools, put: Put
) -> tuple[Mapping[PartyId, int], str]:
    """Make all correlations of a run and `put` them away, angles as they come; returns the padded widths of all, and
    the run's `shape_of`. Uses no label."""
    numbers = iter(range(options.iterations * options.rows))

    def keep(parts: list[Trig]) -> None:
        for part in parts:
            number = next(numbers)
            for name in TRIG:
                put(f"angles/{number}/{name}", getattr(part, name))

    state = await prepare(me, peers, block, options, tools, keep_angles=keep)
    await me.compute(hand_over, state, put)
    return state.sizes.widths, shape_of(state.sizes)


async def resume(
    me: Party, peers: Mapping[PartyId, Link], block: Block, options: TrainOptions, kept: Kept,
    accept_widths: Callable[[Mapping[PartyId, int]], None] = lambda widths: None,
) -> State:
    """The state from what was kept. LocalError for a block or sizes that it was not made for; PeerError UNEQUAL for a
    peer that holds a half of other widths."""
    check_block(me, block, options)
    if padded(block.matrix.shape[1]) != kept.widths[me.id]:
        raise OtherSizes
    sizes = planned(options, kept.widths)
    if shape_of(sizes) != kept.shape:
        raise OtherSizes
    accept_widths({p: kept.widths[p] for p in peers})
    matrix, coarse = await me.compute(own_matrices, block, sizes, me.id)
    for p, width in (await agree_widths(me, peers, options.rows, kept.widths[me.id])).items():
        if p != me.id:
            peers[p].require(width == kept.widths[p], Reason.UNEQUAL)
    kept.begin()
    state = await me.compute(taken_up, me, peers, block, sizes, (matrix, coarse), kept)
    await state.stock.add_angles(me, options.rows)      # of the first iteration; each takes up those of the next one
    return state


# -- steps -------------------------------------------------------------------------------------------------------


def shape_of(sizes: Sizes) -> str:
    """All public sizes, scales and shifts, in words: another release might derive others from the same options."""
    plans = [sizes.product(name, p) for p in sorted(sizes.widths) for name in (*TO_ALL, *TO_OWNER)]
    inner = sizes.preconditioner
    return repr((sizes.options, sizes.plan, inner, inner.shifts, inner.inner_shift, inner.coefficients,
                 sizes.range_shift, (sizes.bits, sizes.triples, sizes.ands), plans))


def hand_over(state: State, put: Put) -> None:
    """Everything that the iterations need and that cannot be made again; `state` is of no use afterwards."""
    bits, triples, ands = state.stock.handed_over()
    put("bits/sums", bits.sums)
    put("bits/flips", bits.flips)
    for kind, words in (("triples", triples), ("ands", ands)):
        for name in TRIPLE:
            put(f"{kind}/{name}", getattr(words, name))
    put("lanes", np.array([state.stock.lanes], np.uint64))
    put("hessian", state.hessian)
    put("root", state.root)
    for product, by_owner in state.products.held.items():
        for number, (p, held) in enumerate(by_owner.items()):
            masks, shares = held.handed_over()
            put(f"held/{product}/{p}/shares", shares)
            if product in TO_OWNER or number == 0:
                put(f"held/{product}/{p if product in TO_OWNER else 'all'}/masks", masks)
    for product, by_holder in state.products.owned.items():
        for p, owned in by_holder.items():
            put(f"owned/{product}/{p}/shares", owned.handed_over())
    truncations = {"range": state.masks.range, "gradient": state.masks.gradient, "before": state.masks.before,
                   "after": state.masks.after, "inner": state.masks.inner,
                   "narrow": state.anderson.masks[NARROW], "ratio": state.anderson.masks[RATIO]}
    for kind, prepared in truncations.items():
        for name, values in zip(TRUNCATION, prepared.handed_over(), strict=True):
            put(f"truncation/{kind}/{name}", values)


def taken_up(
    me: Party, peers: Mapping[PartyId, Link], block: Block, sizes: Sizes, own: tuple[I16, I16], kept: Kept
) -> State:
    """The state that `hand_over` was given, with the block of today."""
    bits = Bits(kept.take("bits/sums"), kept.take("bits/flips"))
    triples, ands = (Triples(*(kept.take(f"{kind}/{name}") for name in TRIPLE)) for kind in ("triples", "ands"))
    stock = Stock(KeptSource(sizes, kept), held=(bits, triples, ands))
    hessian, root = kept.take("hessian"), kept.take("root")
    matrices: dict[str, Matrix] = {"forward": own[0], "backward": own[1], "root": root, "inner": hessian}
    held = {product: dict(_held(product, list(peers), sizes, kept)) for product in (*TO_ALL, *TO_OWNER)}
    owned = {
        product: {p: OwnerProduct(plan, matrix, _shares(kept, f"owned/{product}/{p}/shares", plan)) for p in peers}
        for product, matrix in matrices.items() for plan in [sizes.product(product, me.id)]
    }

    def truncation(kind: str, shift: int) -> TruncationMasks:
        mask, high, top = (kept.take(f"truncation/{kind}/{name}") for name in TRUNCATION)
        return TruncationMasks(shift, mask, high, top)

    (before, after), inner = sizes.preconditioner.shifts, sizes.preconditioner.inner_shift
    masks = Masks(
        gradient=truncation("gradient", sizes.plan.gradient_shift), before=truncation("before", before),
        after=truncation("after", after), inner=truncation("inner", inner),
        range=truncation("range", sizes.range_shift),
    )
    anderson: Anderson = anderson_of(me, peers, stock, sizes)
    anderson.masks |= {NARROW: truncation("narrow", NARROW), RATIO: truncation("ratio", RATIO)}
    return assembled(me, peers, block, sizes, stock, (*own, hessian, root), Products(held, owned), masks, anderson)


def _held(product: str, others: list[PartyId], sizes: Sizes, kept: Kept) -> Iterator[tuple[PartyId, HolderProduct]]:
    plan = sizes.product(product, others[0])
    masks = kept.take(f"held/{product}/all/masks") if product in TO_ALL else None
    once = Once(plan.iterations, "mask")
    for p in others:
        plan, own_masks, own_once = sizes.product(product, p), masks, once
        if own_masks is None:
            own_masks, own_once = kept.take(f"held/{product}/{p}/masks"), Once(plan.iterations, "mask")
        yield p, HolderProduct(plan, own_masks, own_once, _shares(kept, f"held/{product}/{p}/shares", plan))


def _shares(kept: Kept, name: str, plan: ProductPlan) -> Array:
    shares = kept.take(name)
    if shares.shape != (plan.iterations, plan.outputs):
        raise OtherSizes
    return shares


class OtherSizes(LocalError):
    """What was kept was made for another run."""

    def __init__(self) -> None:
        super().__init__("the prepared correlations have other sizes than this job", "precompute anew")


class KeptSource:
    """Implements kinds.CorrelationSource: angles as they were put away, in their order, and nothing else."""

    __slots__ = ("_kept", "_lanes", "_number", "_plan")

    def __init__(self, sizes: Sizes, kept: Kept) -> None:
        self._plan, self._kept, self._number = sizes.plan.trig, kept, 0
        self._lanes = int(kept.take("lanes")[0])

    @property
    def plan(self) -> TrigPlan:
        return self._plan

    @property
    def lanes(self) -> int:
        return self._lanes

    async def trig(self, me: Party, count: int, scales: F64 | None = None) -> Trig:
        if scales is not None:
            raise LocalError("angles that were put away carry their factors already")
        number = self._number
        self._number += 1                    # before anything is awaited: the order is that of the calls
        part = await me.compute(self._read, number)
        if part.cosines.shape != (len(self._plan.bits), count):
            raise OtherSizes
        return part

    def _read(self, number: int) -> Trig:
        return Trig(*(self._kept.take(f"angles/{number}/{name}") for name in TRIG))

    async def bits(self, me: Party, count: int) -> Bits:
        raise self._used_up()

    async def triples(self, me: Party, count: int) -> Triples:
        raise self._used_up()

    async def ands(self, me: Party, count: int) -> Triples:
        raise self._used_up()

    def _used_up(self) -> LocalError:
        return LocalError("the prepared correlations do not suffice for this job", "launch it without --prepared")

    def __repr__(self) -> str:
        return f"KeptSource({self._number} parts used)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("correlations are secrets and are never pickled")
