"""How one party's columns go with another's on the common rows. N >= 2 parties, semi-honest.

   of two parties, who has fewer columns: U (n x c)       the other: V (n x d); all columns centred, of length 1;
   for `inflation` U and V are orthonormal directions of the columns, turned at random        (mpc.statistics.inflation)
 0 keys                        -- PublicKeyMessage -->  <--
 1 E(u), column by column      -- EncryptedMasks -->    <-- MaskedProducts --   shares of V^T U       (mpc.products)
   all parties, on shares, one value for each pair of columns of different parties:
 2 r, rounded to 2^-bits       -- masked openings -->                           (mpc.sharing.truncation)
 3 where the job shows pairs: r if |r| >= threshold, else 0  -- masked openings -->        (mpc.sharing.comparison)
 4 r, refreshed                -- Opening -->           opened to all parties or to the label holder alone; for
                                                          `inflation` to the two, or to the label holder if it is one

By default a correlation is rounded to about 1 / sqrt(n), the standard error that it has anyway: finer digits would tell
of these rows, and of no population. Source of the products: protocol.md 2.1; rounding 2.3; comparison [DFKNT06], as in
mpc.sharing.comparison. Departures and what a coalition learns: docs/protocols/correlate.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import ceil
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mpc.correlated_randomness.kinds import CorrelationSource, TrigPlan
from mpc.errors import LocalError
from mpc.link import Link, PartyId
from mpc.paillier.ciphertexts import PublicKey, PublicKeyMessage
from mpc.paillier.keys import PrivateKey
from mpc.products.matrix_vector import (
    EncryptedMasks,
    MaskedProducts,
    ProductPlan,
    exchange_keys,
    offer_known,
    serve_known,
)
from mpc.protocol import LedgerLine, Party, ProtocolSpec
from mpc.regression.setup import Tools
from mpc.ring import U64, RingVector, from_signed, to_signed
from mpc.rng import Rng
from mpc.sharing.comparison import COMPARISON_ANDS, as_sums, multiply, shared_signs
from mpc.sharing.opening import Opening, holds_constants, open_masked, open_to, refreshed
from mpc.sharing.truncation import prepare_truncation, truncate
from mpc.sharing.zero_sharing import MaskKey
from mpc.statistics.inflation import Basis, Inflated

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
Show = Literal["matrix", "pairs", "inflation"]
To = Literal["all", "label_holder"]
Found = dict[tuple[PartyId, PartyId], F64]

UNIT_BITS = 22          # an entry of a column of length 1 is an integer of this scale: sums are off by about 1e-7
ENTRY_BITS = UNIT_BITS + 2
MOST_BITS = 16          # of an opened correlation
ROUNDED_LENGTH = 512    # columns whose rounded entries all lean one way are longer than 1 by less than this part
ROWS_PER_COLUMN = 10    # fewer rows for each column of all parties, and the correlations come near to telling the rows

# ---------------------------------------------------------------- what is agreed


def supported_bits(rows: int) -> int:
    """Bits after the point of a correlation that `rows` rows estimate: one step is about its standard error."""
    return max(2, (rows.bit_length() - 1) // 2)


@dataclass(frozen=True)
class CorrelateOptions:
    """Agreed by all. `columns`: how many each party brings; `bits` None: as many as `rows` rows support."""

    label_holder: PartyId
    rows: int
    columns: Mapping[PartyId, int]
    show: Show
    to: To
    threshold: float
    minimum_rows: int
    bits: int | None
    key_bits: int

    @property
    def parties(self) -> tuple[PartyId, ...]:
        return tuple(sorted(self.columns))

    @property
    def opened_bits(self) -> int:
        """A correlation is opened as a multiple of 2^-this."""
        return supported_bits(self.rows) if self.bits is None else self.bits

    @property
    def least(self) -> int:
        """The smallest |r| that `pairs` shows, in units of 2^-opened_bits."""
        return max(1, ceil(self.threshold * 2.0**self.opened_bits - 1e-9))

    @property
    def code(self) -> str:
        """The line of the ledger under which the result is opened."""
        return f"correlate.{self.show}" if self.to == "all" else f"correlate.{self.show}_to_holder"

    def pairs(self) -> list[tuple[PartyId, PartyId]]:
        """Two parties with columns each, the lower id first, of which one at least is shown something."""
        apart = self.show == "inflation" and self.to == "label_holder"
        return [pair for pair in combinations(self.parties, 2) if self.columns[pair[0]] and self.columns[pair[1]]
                and (not apart or self.label_holder in pair)]

    def product(self, pair: tuple[PartyId, PartyId]) -> tuple[PartyId, PartyId, ProductPlan]:
        """Who of `pair` encrypts its columns, who multiplies, and the shape of their product."""
        holder, owner = sorted(pair, key=lambda party: (self.columns[party], party))
        plan = ProductPlan(self.rows, self.columns[owner], ENTRY_BITS, 64, self.columns[holder], self.key_bits)
        return holder, owner, plan

    @property
    def values(self) -> int:
        """How many pairs of columns there are."""
        return sum(self.columns[a] * self.columns[b] for a, b in self.pairs())

    @property
    def random_bits(self) -> int:
        """Shared bits that all parties use up together: a word each to round; a word and a bit to compare."""
        return self.values * (64 + 65 * (self.show == "pairs"))

    @property
    def ands(self) -> int:
        """Shared products of bits, for the comparisons."""
        return self.values * COMPARISON_ANDS if self.show == "pairs" else 0

    @property
    def triples(self) -> int:
        """Shared products mod 2^64: the square, and what is left of a value."""
        return 2 * self.values if self.show == "pairs" else 0

    def check(self) -> None:
        """LocalError for too few rows, and for figures that no spec may hold."""
        least = max(self.minimum_rows, ROWS_PER_COLUMN * sum(self.columns.values()))
        if self.rows < least:
            raise LocalError(
                f"correlations of {sum(self.columns.values())} columns need at least {least} rows in common",
                "use fewer columns or larger tables, or leave the correlations out",
            )
        if not 0.0 < self.threshold <= 1.0 or not 1 <= self.opened_bits <= MOST_BITS:
            raise LocalError("the threshold lies above 0 and up to 1, and the bits between 1 and 16")


def codes(show: Show, to: To) -> tuple[str, ...]:
    """The lines of the ledger that such a run comes to."""
    shown = f"correlate.{show}" if to == "all" else f"correlate.{show}_to_holder"
    return ("correlate.rounding", shown, *(("correlate.compared",) if show == "pairs" else ()))


# ---------------------------------------------------------------- role


async def run(
    me: Party, peers: Mapping[PartyId, Link], columns: F64, options: CorrelateOptions, tools: Tools
) -> Found | None:
    """Where the job shows pairs or the matrix. `columns` (rows, own columns), any finite numbers; a constant one counts
    as going with nothing.

    For two parties, the lower id first, their correlations (columns of the one x columns of the other): multiples of
    2^-opened_bits, off by at most one; where pairs are shown, 0 for those below the threshold. None if they are not
    shown to this party. LocalError for too few rows or a ledger that lacks a line, before anything is sent; PeerError
    for a bad counterpart.
    """
    _consent(me, peers, columns, options)
    if not options.pairs():
        return {} if options.to == "all" or me.id == options.label_holder else None
    rounded, source = await _shared(me, peers, await me.compute(unit_columns, columns), options, tools)
    if options.show == "pairs":
        rounded = await _above(me, peers, rounded, options, source)                                   # 3
    vector = RingVector(rounded, 64)
    opened: U64 | None
    if options.to == "all":
        opened = await open_masked(me, peers, await refreshed(me, peers, vector), options.code)       # 4
    else:
        opened = await open_to(me, peers, vector, options.label_holder, options.code)                 # 4
    return None if opened is None else _found(opened, options)


async def run_inflation(
    me: Party, peers: Mapping[PartyId, Link], columns: F64, options: CorrelateOptions, tools: Tools
) -> dict[PartyId, Inflated]:
    """Where the job shows inflation: of the own columns, with each party's beside them; nothing for a feature holder
    where it is shown to the label holder alone. Raises as `run`."""
    _consent(me, peers, columns, options)
    if not options.pairs():
        return {}
    basis = await me.compute(Basis.of, lengths_one(columns), Rng(me.rng.bytes(32)))
    rounded, _ = await _shared(me, peers, await me.compute(fixed, basis.turned), options, tools)
    found, start = {}, 0
    for pair in options.pairs():
        size = options.columns[pair[0]] * options.columns[pair[1]]
        part, start = RingVector(rounded[start : start + size], 64), start + size
        for receiver in (pair if options.to == "all" else (options.label_holder,)):
            opened = await open_to(me, peers, part, receiver, options.code)                           # 4
            if opened is not None:
                product = _whole(opened, options).reshape(-1, options.columns[pair[1]])
                other = pair[me.id == pair[0]]
                own = product if me.id == pair[0] else product.T
                found[other] = await me.compute(basis.inflated, own, 2.0**-options.opened_bits)
    return found


def _consent(me: Party, peers: Mapping[PartyId, Link], columns: F64, options: CorrelateOptions) -> None:
    """LocalError, before anything is sent, for columns, rows or a ledger that are not what was agreed."""
    if columns.shape != (options.rows, options.columns[me.id]) or set(options.parties) != {me.id, *peers}:
        raise LocalError("the columns to correlate do not have the agreed form")
    options.check()
    for code in codes(options.show, options.to):
        me.ledger.record(code, 0)


async def _shared(
    me: Party, peers: Mapping[PartyId, Link], matrix: I32, options: CorrelateOptions, tools: Tools
) -> tuple[U64, CorrelationSource]:
    """Steps 0 to 2: my shares of all products, rounded; and where more correlations come from."""
    key = await me.compute(tools.make_key, me.rng.child("paillier"), options.key_bits)
    keys = await exchange_keys(me, peers, key, options.key_bits)                                      # 0
    links = {party: link.channel("correlations") for party, link in peers.items()}
    source, shares = await me.together(
        tools.make_source(me, links, TrigPlan(len(options.parties))),
        _products(me, peers, matrix, options, key, keys),
    )
    return await _rounded(me, peers, shares, options, source), source                                 # 2


async def _products(
    me: Party, peers: Mapping[PartyId, Link], matrix: I32, options: CorrelateOptions, key: PrivateKey,
    keys: Mapping[PartyId, PublicKey],
) -> U64:
    """Step 1: my share of all products of columns, pair of parties by pair of parties."""
    async def one(pair: tuple[PartyId, PartyId]) -> U64:
        first, second = pair
        if me.id not in pair:
            return np.zeros(options.columns[first] * options.columns[second], np.uint64)
        holder, owner, plan = options.product(pair)
        if me.id == holder:
            link = peers[owner].channel("products")
            block = (await offer_known(me, {owner: link}, key, {owner: plan}, from_signed(matrix.T)))[owner]
        else:
            rows = np.ascontiguousarray(matrix.T)
            block = await serve_known(me, peers[holder].channel("products"), keys[holder], rows, plan)
        return (block if holder == first else block.T).reshape(-1)

    return np.concatenate(await me.together(*(one(pair) for pair in options.pairs())))


async def _rounded(
    me: Party, peers: Mapping[PartyId, Link], shares: U64, options: CorrelateOptions, source: CorrelationSource
) -> U64:
    """Step 2: my shares in units of 2^-opened_bits."""
    shift = 2 * UNIT_BITS - options.opened_bits
    masks = await prepare_truncation(me, source, len(shares), shift)
    return await truncate(me, peers, shares, masks, "correlate.rounding")


async def _above(
    me: Party, peers: Mapping[PartyId, Link], values: U64, options: CorrelateOptions, source: CorrelationSource
) -> U64:
    """Step 3: my shares of r where r^2 >= least^2, of 0 elsewhere."""
    code = "correlate.compared"
    squares = await multiply(me, peers, values, values, source, code)
    if holds_constants(me, peers):
        squares = squares - np.uint64(options.least**2)
    below = await as_sums(me, peers, await shared_signs(me, peers, squares, source, code), source, code)
    return values - await multiply(me, peers, values, below, source, code)


# ---------------------------------------------------------------- steps


def lengths_one(columns: F64) -> F64:
    """Each column centred and of length 1; zeros for a constant one. LocalError: not finite."""
    if not bool(np.all(np.isfinite(columns))):
        raise LocalError("a column to correlate holds something that is not a finite number")
    centred = columns - columns.mean(axis=0)
    length = np.sqrt(np.einsum("ij,ij->j", centred, centred))
    size = np.abs(columns).max(axis=0, initial=0.0)
    flat = length <= 1e-9 * np.sqrt(len(columns)) * size
    scaled: F64 = centred * np.where(flat, 0.0, 1.0 / np.where(flat, 1.0, length))
    return scaled


def fixed(unit: F64) -> I32:
    """Entries up to 1 in units of 2^-UNIT_BITS."""
    whole: I32 = np.rint(unit * 2.0**UNIT_BITS).astype(np.int32)
    return whole


def unit_columns(columns: F64) -> I32:
    """Columns as they enter the products."""
    return fixed(lengths_one(columns))


def _whole(opened: U64, options: CorrelateOptions) -> F64:
    """Step 4: the opened values. LocalError where they are no correlations."""
    whole, one = to_signed(opened), 2**options.opened_bits
    most = one + 1 + one // ROUNDED_LENGTH
    if bool(np.any((whole > most) | (whole < -most))):
        raise LocalError("the shares of the correlations do not add up to correlations")
    values: F64 = np.clip(whole / one, -1.0, 1.0)
    return values


def _found(opened: U64, options: CorrelateOptions) -> Found:
    """Step 4: what was opened, pair by pair."""
    values, found, start = _whole(opened, options), {}, 0
    for a, b in options.pairs():
        size = options.columns[a] * options.columns[b]
        found[a, b] = values[start : start + size].reshape(options.columns[a], options.columns[b])
        start += size
    return found


# ---------------------------------------------------------------- ideal


def ideal(columns: Mapping[PartyId, F64], options: CorrelateOptions) -> Found:
    """Pearson's correlations of the pooled columns, not rounded; 0 for a constant one."""
    found = {}
    for a, b in options.pairs():
        parts = []
        for party in (a, b):
            centred = columns[party] - columns[party].mean(axis=0)
            length = np.linalg.norm(centred, axis=0)
            parts.append(centred / np.where(length > 0.0, length, np.inf))
        found[a, b] = parts[0].T @ parts[1]
    return found


_LEARNS = ("row count; what the signed job opens to it, rounded: the correlations of each party's columns with each "
           "other party's, only those above a threshold, or how much of its own columns each other party's explain")

LEDGER: Sequence[LedgerLine] = (
    LedgerLine("correlate.rounding", "masked", "all", "correlations plus uniform masks, for their rounding"),
    LedgerLine("correlate.compared", "masked", "all", "values minus uniform masks, for the test of a threshold"),
    LedgerLine("correlate.matrix", "revealed", "all",
               "rounded correlations of every column with each column of another party"),
    LedgerLine("correlate.pairs", "revealed", "all",
               "which columns of two parties have a correlation above the threshold, and that correlation, rounded"),
    LedgerLine("correlate.inflation", "revealed", "owner",
               "how much of its own columns, and of combinations of them, each other party's explain, rounded"),
    LedgerLine("correlate.inflation_to_holder", "revealed", "label_holder",
               "how much of its own columns, and of combinations of them, each other party's explain, rounded"),
    LedgerLine("correlate.matrix_to_holder", "revealed", "label_holder",
               "rounded correlations of every column with each column of another party"),
    LedgerLine("correlate.pairs_to_holder", "revealed", "label_holder",
               "which columns of two parties have a correlation above the threshold, and that correlation, rounded"),
)

PROTOCOL = ProtocolSpec(
    name="correlate",
    version=1,
    messages=(PublicKeyMessage, EncryptedMasks, MaskedProducts, MaskKey, Opening),
    roles={"party": run, "party where inflation is shown": run_inflation},
    ideal=ideal,
    learns={"label_holder": _LEARNS, "feature_holder": _LEARNS},
    ledger=tuple(LEDGER),
)
