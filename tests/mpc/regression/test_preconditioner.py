"""Newton's step for the whole fixed Hessian on shares: near the real one whatever the columns, and in its bits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.errors import LocalError, PeerError, Reason
from mpc.link import PartyId
from mpc.paillier.ciphertexts import SealedVector
from mpc.products.matrix_vector import MaskedProducts, exchange_keys
from mpc.regression.precision import plan_precision
from mpc.regression.preconditioner import (
    EVALUATIONS,
    GROWTH_BITS,
    LOWEST,
    ROOT_BITS,
    PreconditionerPlan,
    combined,
    own_root,
    plan_preconditioner,
    root_matrix,
    shared_hessian,
    whitened,
)
from mpc.regression.setup import counterparts
from mpc.ring import U64, from_signed, to_signed
from mpc.rng import Rng
from mpc.testing.keys import small_key
from mpc.testing.memory_link import Network, party, run_roles

CLIP = 5.0
SCALE = int(32767 // CLIP)
Blocks = dict[PartyId, Any]


def blocks_of(widths: tuple[int, ...], rows: int = 400, seed: int = 1, shared: float = 0.9) -> Blocks:
    """Correlated columns; the last of each block is padding."""
    rng = np.random.default_rng(seed)
    common, blocks = rng.normal(size=(rows, 2)), Blocks()
    for k, width in enumerate(widths):
        own = np.sqrt(1 - shared) * rng.normal(size=(rows, width - 1))
        own += np.sqrt(shared) * common @ rng.dirichlet([1, 1], width - 1).T ** 0.5
        own = np.clip((own - own.mean(0)) / own.std(0), -CLIP, CLIP)
        blocks[PartyId(f"party-{k}")] = np.column_stack([np.rint(own * SCALE), np.zeros(rows)]).astype(np.int16)
    return blocks


def planned(parties: int, rows: int, penalty: float = 1e-3, rate: float = 0.2) -> PreconditionerPlan:
    bits = plan_precision(parties, rows, CLIP, penalty, rate, "eight")
    return plan_preconditioner(parties, rows, penalty, bits.curvature, bits.gradient_unit, bits.weight_unit)


async def shares_of(blocks: Mapping[PartyId, Any], plan: PreconditionerPlan, network: Network | None = None) -> Any:
    """Every party's share of K."""
    network, names = network or Network(), sorted(blocks)
    ends = np.cumsum([blocks[n].shape[1] for n in names]).tolist()
    slices = {n: slice(e - blocks[n].shape[1], e) for n, e in zip(names, ends, strict=True)}

    async def role(name: PartyId) -> Any:
        me, key, block = party(name), small_key(512, names.index(name) + 1), blocks[name]
        peers = {p: network.link(name, p) for p in names if p != name}
        known = await counterparts(me, key, await exchange_keys(me, peers, key, 512), plan.rows)
        white = whitened(block, own_root(block, SCALE, plan), SCALE, plan, me.rng.child("whitened"))
        return await shared_hessian(me, peers, known, white, ~block.any(axis=0), slices, plan)

    return await run_roles({n: role(n) for n in names})


def total(shares: Mapping[PartyId, Any], plan: PreconditionerPlan) -> Any:
    words = np.sum([share.view(np.uint64) for share in shares.values()], axis=0, dtype=np.uint64)
    return to_signed(words) / plan.hessian_unit


def exact(blocks: Mapping[PartyId, Any], plan: PreconditionerPlan) -> tuple[Any, Any]:
    """The Hessian of all columns and the roots of its blocks."""
    x = np.concatenate([blocks[n] for n in sorted(blocks)], axis=1) / SCALE
    roots, at = np.zeros((x.shape[1],) * 2), 0
    for name in sorted(blocks):
        root = own_root(blocks[name], SCALE, plan)
        roots[at : at + len(root), at : at + len(root)] = root
        at += len(root)
    return plan.curvature * x.T @ x / plan.rows + plan.penalty * np.eye(x.shape[1]), roots


def polynomial(hessian: Any, plan: PreconditionerPlan) -> Any:
    """q(K) in the integers that shares add up to, vector by vector; a unit vector is `vector_unit` long."""
    width, words = len(hessian), from_signed(np.rint(hessian * plan.hessian_unit))
    columns = []
    for k in range(width):
        u = np.zeros(width, np.uint64)
        u[k] = round(plan.vector_unit / plan.middle)
        y: U64 = u
        d = u
        for coefficients in plan.coefficients:
            d = from_signed(to_signed(combined(d, u, words @ y, coefficients)) >> plan.inner_shift)
            y = y + d
        columns.append(to_signed(y) / plan.vector_unit)
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("widths", [(6, 6), (3, 8), (5, 4, 6), (3, 3, 3, 3)])
async def test_the_shares_of_k_add_up_to_the_whitened_hessian(widths: tuple[int, ...]) -> None:
    blocks = blocks_of(widths)
    plan = planned(len(widths), 400)
    shares = await shares_of(blocks, plan)
    hessian, roots = exact(blocks, plan)
    assert np.abs(total(shares, plan) - roots @ hessian @ roots).max() < 0.02
    empty = np.diag(roots) == 0
    assert np.abs(total(shares, plan)[empty]).max() <= 2 / plan.hessian_unit  # carries of the products
    values = np.linalg.eigvalsh(total(shares, plan)[np.ix_(~empty, ~empty)])
    assert values.max() <= len(widths) + 0.02


@pytest.mark.parametrize("parties", [2, 4])
async def test_a_column_of_few_values_that_all_have_is_no_longer_than_it_is(parties: int) -> None:
    """Rounded to the nearest, 86 % of +-1 and zeros else became 11 % longer, and K left the interval of step 2."""
    rows = 2000
    column = np.repeat([1.0, -1.0, 0.0], [860, 860, 280]) / np.sqrt(0.86)
    blocks = {PartyId(f"party-{k}"): np.rint(column * SCALE).astype(np.int16)[:, None] for k in range(parties)}
    plan = planned(parties, rows)
    values = np.linalg.eigvalsh(total(await shares_of(blocks, plan), plan))
    assert values.max() <= parties * 1.01


@pytest.mark.parametrize(("parties", "rows"), [(2, 400), (3, 2000), (4, 400)])
def test_the_polynomial_in_integers_is_near_the_inverse_where_eigenvalues_are_not_small(
    parties: int, rows: int
) -> None:
    blocks = blocks_of((6,) * parties, rows)
    plan = planned(parties, rows)
    hessian, roots = exact(blocks, plan)
    real = np.diag(roots) > 0
    white = (roots @ hessian @ roots)[np.ix_(real, real)]
    values = np.linalg.eigvalsh(white)
    after = np.linalg.eigvalsh(polynomial(white, plan) @ white)
    # 1 / T_k of Chebyshev's polynomial at (b + a) / (b - a), b = N, a = LOWEST, bounds |1 - value q(value)| on [a, b].
    worst = 1 / np.polynomial.chebyshev.Chebyshev.basis(EVALUATIONS)((parties + LOWEST) / (parties - LOWEST))
    assert values.min() < LOWEST  # block by block alone would take many steps
    assert np.abs(1 - after[values >= LOWEST]).max() < worst + 0.05
    assert after.min() > 3 * values.min()
    assert after.max() < 1 + worst + 0.05


async def test_messages_have_the_same_number_and_sizes_for_other_secrets() -> None:
    def shape(network: Network) -> list[tuple[str, str, str, str]]:
        return sorted((s.sender, s.channel, type(s.message).__name__, repr(s.message)[:60]) for s in network.transcript)

    networks = [Network(), Network()]
    for seed, network in enumerate(networks):
        await shares_of(blocks_of((4, 3), 200, seed=seed + 1), planned(2, 200), network)
    assert shape(networks[0]) == shape(networks[1])


async def test_of_each_pair_the_narrower_party_encrypts() -> None:
    network = Network()
    await shares_of(blocks_of((8, 3, 5), 120), planned(3, 120), network)
    senders = {(s.sender, s.receiver) for s in network.transcript if type(s.message).__name__ == "EncryptedMasks"}
    assert senders == {("party-1", "party-0"), ("party-1", "party-2"), ("party-2", "party-0")}


async def test_each_share_alone_is_uniform_where_the_blocks_of_others_stand() -> None:
    plan = planned(2, 120)
    shares = await shares_of(blocks_of((8, 8), 120), plan)
    for share in shares.values():
        words = share.view(np.uint64)[:8, 8:].reshape(-1)
        assert len(np.unique(words >> np.uint64(56))) > 40  # 64 words: about 57 different first octets
    for name, share in shares.items():
        other = slice(8, 16) if name == "party-0" else slice(0, 8)
        assert not share[other, other].any()


async def test_a_bad_reply_is_blamed_on_its_sender() -> None:
    def tamper(sent: Any) -> object:
        if isinstance(sent.message, MaskedProducts):
            data = sent.message.products.data
            return MaskedProducts(SealedVector.received(bytes(128) + data[128:], len(data) // 128, 128))
        return sent.message

    with pytest.raises(PeerError) as caught:
        await shares_of(blocks_of((4, 3), 120), planned(2, 120), Network(tamper=tamper))
    assert (caught.value.culprit, caught.value.reason) == ("party-0", Reason.CIPHERTEXT_ZERO)


def test_rows_of_extreme_leverage_are_clipped_and_do_not_overflow() -> None:
    block = np.zeros((1000, 2), np.int16)
    block[0, 0] = 32767
    block[:, 1] = SCALE
    plan = planned(2, 1000)
    white = whitened(block, own_root(block, SCALE, plan), SCALE, plan, Rng(bytes(32)))
    assert white.max() <= 127
    assert white[0, 0] > 100


@settings(deadline=None)
@given(
    parties=st.integers(2, 8), rows=st.integers(100, 10**7), clip=st.floats(2, 30), penalty=st.floats(1e-4, 1),
    rate=st.floats(0.001, 0.5), residual=st.one_of(st.just(1.0), st.floats(1, 100)),
)
def test_every_plan_keeps_its_largest_values_inside_the_ring_and_ends_in_the_unit_of_weights(
    parties: int, rows: int, clip: float, penalty: float, rate: float, residual: float
) -> None:
    try:
        bits = plan_precision(parties, rows, clip, penalty, rate, "eight")
        units = bits.curvature, bits.gradient_unit, bits.weight_unit
        plan = plan_preconditioner(parties, rows, penalty, *units, residual)
    except LocalError:
        return  # an honest refusal
    before, after = plan.shifts
    assert 1 <= after <= before <= 62
    assert plan.root_unit / math.sqrt(penalty) < 2 ** (ROOT_BITS - 1)
    assert plan.vector_unit * plan.root_unit / 2.0**after == pytest.approx(bits.weight_unit)
    assert plan.gradient_unit * plan.root_unit / 2.0**before == pytest.approx(plan.vector_unit / plan.middle)
    longest = residual * plan.vector_unit / math.sqrt(plan.curvature) * 2**GROWTH_BITS
    assert residual * plan.gradient_unit * plan.root_unit / math.sqrt(plan.curvature) < 2**62
    assert longest / residual * plan.root_unit * 16 < 2**63    # p is that long only if a weight is to move by hundreds
    for a, b, k in plan.coefficients:
        assert max(a * longest, b * longest / 2**GROWTH_BITS, k * longest * plan.hessian_unit) < 2**62
        assert k >= 2**4                                   # enough digits


def test_a_hessian_of_permuted_columns_is_the_permuted_hessian() -> None:
    block = blocks_of((7, 7))[PartyId("party-0")]
    plan, order = planned(2, 400), np.array([3, 0, 1, 2, 5, 4, 6])
    plain, moved = (own_root(m, SCALE, plan) for m in (block, block[:, order]))
    assert np.allclose(moved, plain[np.ix_(order, order)], rtol=1e-9, atol=1e-12)
    assert np.array_equal(root_matrix(moved, plan), root_matrix(plain, plan)[np.ix_(order, order)])
