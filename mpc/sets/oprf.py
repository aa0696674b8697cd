"""Oblivious pseudo-random functions on many ids at once: the receiver learns F(x) for its own x, the sender F at its
own ids, and neither learns more. Semi-honest. It knows digests, never what becomes of the outputs.

   sender: Delta in F_16^64, all leaves but one a group        receiver: digests x_1 .. x_n
 1                                                             P: store with P(x_i) = C(x_i), a random-looking code
 2                              <-- Offsets --              P + U, bin by bin; keeps T = U Delta + (what 1 sees)
 3 Q = T + P Delta, so  F(y) = H(Q(y) + C(y) Delta)            F(x) = H(T(x))

All sums are in F_16, 64 elements (32 bytes) a slot, and C(y) Delta is taken element by element. For y outside the
receiver's set P(y) + C(y) is a random word: at least 32 of its 64 elements are not zero but with probability 2^-74
for one y (a binomial tail), 2^-50 over 2^24 of them, and each hides Q(y) + C(y) Delta behind 4 bits of Delta, 128 in
all. H looks random on such inputs if AES with a public key does: v = pi1(a) + a + b of the halves a, b, and
pi2(v + purpose) + v (as the hashes of Guo, Katz, Wang and Yu, S&P 2020, ePrint 2019/074). v has 128 bits, so q
evaluations of AES hit one of n unknown values with probability n q 2^-128. Each bin of the store (mpc/sets/okvs.py) is
sent, evaluated and forgotten before the next, so that neither side ever holds a whole table.

Sources: code and hash, Kolesnikov, Kumaresan, Rosulek and Trieu, CCS 2016 (ePrint 2016/799); a store in place of
bins, Pinkas, Rosulek, Trieu and Yanai, EUROCRYPT 2020 (ePrint 2020/193); the vector correlation over F_2^4 from
punctured trees, Roy, CRYPTO 2022 (ePrint 2022/192), section 3: 32 bytes a slot where bits would need 56.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NoReturn, TypeVar

import numpy as np

from mpc.domains import Domain
from mpc.errors import Reason
from mpc.group.id_column import IdColumn
from mpc.kernels import blocks, set_intersection
from mpc.kernels.bits import transpose_bits
from mpc.link import Link
from mpc.ot.extension import FIELD_BITS, LEAVES, leaf_key, receive_trees, send_trees
from mpc.protocol import Party
from mpc.ring import I64, U64
from mpc.rng import Rng
from mpc.sets.okvs import BIN_BITS, Keys, Layout, Plan, bins_of, decode

GROUPS = 64
WORDS = GROUPS * FIELD_BITS // 64   # of a slot
AHEAD = 4                           # bins that are computed while others travel
CHUNK_KEYS = 1 << 15

T = TypeVar("T")
Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class Offsets:
    """Step 2 for one bin: slots of 32 bytes."""

    rows: bytes


@dataclass(frozen=True, repr=False)
class Binned:
    """Digests (n, 2) in the order of their bins; the finest bin b is edges[b]:edges[b + 1]. `order`: whose they are."""

    digests: U64
    edges: I64
    order: I64

    def __len__(self) -> int:
        return len(self.digests)

    def part(self, layout: Layout, number: int) -> slice:
        """Those of bin `number` in `layout`."""
        return layout.part(self.edges, number)


class Codes:
    """Public functions of a digest under one session: its code and its places. Digests: (n, 2) words."""

    def __init__(self, session: bytes) -> None:
        self._code = _keys(Domain.OPRF_CODE, session)
        self._places = _keys(Domain.OPRF_PLACES, session)

    def code(self, digests: U64) -> U64:
        """C: (n, 4) words, 64 elements of F_16."""
        return blocks.permute(self._code, digests)

    def words(self, digests: U64) -> U64:
        """(n, 4) uniform words: three say where a key reads in a store, the fourth draws public samples."""
        return blocks.permute(self._places, digests)

    def drawn(self, digests: U64) -> U64:
        """(n,) the fourth word alone."""
        drawn = np.empty(len(digests), np.uint64)
        for part in pieces(slice(0, len(digests))):
            drawn[part] = self.words(digests[part])[:, 3]
        return drawn

    def binned(self, digests: U64) -> Binned:
        """The digests in the order of their bins; within a bin as they come."""
        bins = np.empty(len(digests), np.uint16)
        for part in pieces(slice(0, len(digests))):
            bins[part] = bins_of(self.words(digests[part]))
        order = np.argsort(bins, kind="stable")
        edges = np.concatenate([[0], np.cumsum(np.bincount(bins, minlength=1 << BIN_BITS))])
        return Binned(np.take(digests, order, axis=0), edges, order)

    def keys(self, digests: U64, layout: Layout) -> Keys:
        """Where digests of one bin read in its table."""
        return Keys.locate(self.words(digests), layout)

    def read(self, mine: Binned, layout: Layout, tables: Sequence[U64]) -> U64:
        """What digests read from the tables of all bins, each (bin_slots, w): (n, w), in the order of `mine`."""
        values = np.empty((len(mine), tables[0].shape[1]), np.uint64)
        for number, table in enumerate(tables):
            for part in pieces(mine.part(layout, number)):
                values[part] = decode(self.keys(mine.digests[part], layout), table)
        return values


class Outputs:
    """F at n digests, for each purpose anew."""

    def __init__(self, session: bytes, count: int) -> None:
        self._hash = _keys(Domain.OPRF_OUTPUT, session)
        self._states = np.empty((count, 2), np.uint64)

    def __len__(self) -> int:
        return len(self._states)

    def put(self, part: slice, rows: U64) -> None:
        """Let F at the digests in `part` come from these rows (n, 4) of T, or of Q + C Delta."""
        set_intersection.compress(rows, self._hash, self._states[part])

    def words(self, purpose: int, rows: slice | I64 = slice(None)) -> U64:
        """(n, 2) words of F under `purpose`, for all digests or some."""
        states = self._states[rows]
        words = np.empty_like(states)
        set_intersection.whiten(states, np.uint64(purpose), self._hash, words)
        return words

    def __repr__(self) -> str:
        return f"Outputs({len(self)})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("outputs of a keyed function are secret and never pickled")


class Streams:
    """What the trees' leaves give, bin after bin; every slot of a bin is used once."""

    def __init__(self, session: bytes, leaves: Sequence[Sequence[bytes | None]]) -> None:
        # The sender lacks the leaf at index 0, which weighs nothing; its plain sum is not used.
        self._keys = blocks.schedule([
            bytes(16) if seed is None else leaf_key(session, seed) for group in leaves for seed in group
        ])

    def rows(self, number: int, slots: int) -> tuple[U64, U64]:
        """For the `slots` slots of bin `number`: index-weighted and plain sums of the leaves, (slots, 4) each."""
        words = -(-slots // 128) * 2
        totals = np.empty((GROUPS, FIELD_BITS, words), np.uint64)
        weighted, sums = np.empty_like(totals), np.empty((FIELD_BITS, FIELD_BITS, words), np.uint64)
        first = number * FIELD_BITS * words // 2
        set_intersection.fold_streams(self._keys, first, totals, weighted, sums)
        return _as_rows(weighted)[:slots], _as_rows(totals)[:slots]

    def __repr__(self) -> str:
        return "Streams(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("streams of a correlation are secret and never pickled")


# ---------------------------------------------------------------- roles


async def run_sender(
    me: Party, link: Link, codes: Codes, theirs: int, mine: Binned, tell: Tell = lambda done, total: None
) -> Outputs:
    """A fresh function for a receiver of `theirs` digests, at `mine`. PeerError WRONG_LENGTH, BAD_POINT."""
    session, delta, leaves = await receive_trees(me, link, GROUPS)
    layout, streams, factors = Layout(theirs), Streams(session, leaves), multiples(delta)
    outputs = Outputs(session, len(mine))

    async def receive(numbers: range) -> list[bytes]:
        corrections = []
        for _ in numbers:
            corrections.append((await link.receive(Offsets)).rows)                         # 2
            link.require(len(corrections[-1]) == 8 * WORDS * layout.bin_slots, Reason.WRONG_LENGTH)
        return corrections

    async def evaluate(number: int, correction: bytes) -> None:
        rows = await me.compute(_absorb, streams, factors, number, correction)
        await me.together(*(
            me.compute(_evaluate, codes, layout, factors, rows, mine, outputs, part)
            for part in pieces(mine.part(layout, number))
        ))

    async def evaluate_all(numbers: range, corrections: list[bytes]) -> None:
        await me.together(*map(evaluate, numbers, corrections))

    await in_step(me, layout.bins, receive, evaluate_all, tell)
    return outputs


async def run_receiver(
    me: Party, links: Sequence[Link], codes: Codes, mine: Binned, rng: Rng, tell: Tell = lambda done, total: None
) -> list[Outputs]:
    """The senders' functions at `mine`, one for each link. PeerError WRONG_LENGTH, BAD_POINT.

    LocalError if a digest occurs twice.
    """
    trees = await me.together(*(send_trees(me, link, GROUPS) for link in links))
    layout = Layout(len(mine))
    streams = [Streams(session, leaves) for session, leaves in trees]
    outputs = [Outputs(session, len(mine)) for session, _ in trees]

    async def hide(numbers: range) -> list[list[bytes]]:
        return await me.together(*(
            me.compute(_hide, codes, layout, streams, number, mine, outputs, rng.child(f"{number}"))
            for number in numbers
        ))

    async def send(numbers: range, hidden: list[list[bytes]]) -> None:
        for parts in hidden:
            await me.together(*(                                                           # 2
                link.send(Offsets(rows)) for link, rows in zip(links, parts, strict=True)
            ))

    await in_step(me, layout.bins, hide, send, tell)
    return outputs


async def in_step(
    me: Party, count: int,
    first: Callable[[range], Awaitable[list[T]]], second: Callable[[range, list[T]], Awaitable[None]], tell: Tell,
) -> None:
    """`first` and then `second` of bins 0 .. count - 1, AHEAD at a time: `first` of some beside `second` of the last.

    `tell` hears how many of how many are done.
    """
    last: tuple[range, list[T]] = range(0), []
    for start in range(0, count, AHEAD):
        numbers = range(start, min(start + AHEAD, count))
        made, _ = await me.together(first(numbers), second(*last))
        last = numbers, made
        tell(start, count)
    await second(*last)
    tell(count, count)


# ---------------------------------------------------------------- steps


def store_codes(codes: Codes, layout: Layout, digests: U64, rng: Rng) -> tuple[Keys, U64]:
    """Step 1 for one bin: where its digests read, and the table of their codes. LocalError if a digest occurs twice."""
    keys = codes.keys(digests, layout)
    return keys, Plan(keys, layout).encode(codes.code(digests), rng)


def multiples(delta: Sequence[int]) -> U64:
    """(4, WORDS): Delta times 1, a, a^2, a^3 in F_16, one nibble for each group."""
    rows, row = [], list(delta)
    for _ in range(FIELD_BITS):
        low, high = row[0::2], row[1::2]
        rows.append(np.array([x | y << 4 for x, y in zip(low, high, strict=True)], np.uint8).view(np.uint64))
        row = [(x << 1 & 15) ^ (3 if x & 8 else 0) for x in row]   # a^4 = a + 1
    return np.array(rows)


def _hide(
    codes: Codes, layout: Layout, streams: Sequence[Streams], number: int, mine: Binned, outputs: Sequence[Outputs],
    rng: Rng,
) -> list[bytes]:
    """One bin of the receiver: what to send over each link; sets its part of the outputs."""
    part = mine.part(layout, number)
    keys, table = store_codes(codes, layout, mine.digests[part], rng)
    hidden = []
    for own, known in zip(streams, outputs, strict=True):
        weighted, totals = own.rows(number, len(table))
        known.put(part, decode(keys, weighted))                                            # 3
        hidden.append(masked(totals, table))
    return hidden


def masked(totals: U64, table: U64) -> bytes:
    """Step 2 for one bin."""
    return (totals ^ table).tobytes()


def _absorb(streams: Streams, factors: U64, number: int, correction: bytes) -> U64:
    """Q of one bin."""
    # Leaf y stands at y + Delta: its weight is what the receiver gave it plus Delta times its plain sum.
    theirs = np.frombuffer(correction, "<u8").reshape(-1, WORDS)
    rows, _ = streams.rows(number, len(theirs))
    set_intersection.add_products(theirs, factors, rows)
    return rows


def _evaluate(
    codes: Codes, layout: Layout, factors: U64, rows: U64, mine: Binned, outputs: Outputs, part: slice
) -> None:
    """The sender's function at some of its own digests of one bin."""
    digests = mine.digests[part]
    values = decode(codes.keys(digests, layout), rows)
    set_intersection.add_products(codes.code(digests), factors, values)
    outputs.put(part, values)                                                              # 3


def pieces(part: slice) -> Iterator[slice]:
    """Cuts of `part`, each small enough for a core's cache: one bin of a short store meets many keys of a long list."""
    for start in range(part.start, part.stop, CHUNK_KEYS):
        yield slice(start, min(start + CHUNK_KEYS, part.stop))


def _as_rows(columns: U64) -> U64:
    words = columns.shape[2]
    rows = np.empty((64 * words, WORDS), np.uint64)
    transpose_bits(columns.reshape(GROUPS * FIELD_BITS, words), rows)
    return rows


def _keys(domain: Domain, session: bytes) -> U64:
    """Two permutations of blocks, known to all."""
    return blocks.schedule([
        hashlib.sha256(domain.encode() + b"\0" + bytes([index]) + session).digest()[:16] for index in (0, 1)
    ])


def rehearse(count: int) -> None:
    """Every step of both sides with `count` made-up digests, one bin of them: to compile the loops, or to be timed."""
    codes, layout = Codes(b"rehearsal"), Layout(count)
    mine = codes.binned(IdColumn.of([b"%016d" % i for i in range(count)]).digests(b"rehearsal"))
    leaves = [[bytes([group, leaf] * 8) for leaf in range(LEAVES)] for group in range(GROUPS)]
    streams, outputs = Streams(b"", leaves), Outputs(b"", count)
    hidden, = _hide(codes, layout, [streams], 0, mine, [outputs], Rng(bytes(32)))
    factors = multiples([1] * GROUPS)
    rows = _absorb(streams, factors, 0, hidden)
    _evaluate(codes, layout, factors, rows, mine, outputs, slice(0, count))
    words, keys = outputs.words(0), codes.keys(mine.digests, layout)
    column = Plan(keys, layout).encode(words[:, :1] ^ words[:, 1:], Rng(bytes(32)))[:, 0]
    decode(keys, column[:, None])
    table = np.zeros(1 << (2 * count).bit_length(), np.uint32)
    set_intersection.match(
        words, words[:, 0].copy(), words[:, 1] & np.uint64(0xFFFFFFFF), table, np.empty(count, np.int64)
    )


@cache
def warm() -> None:
    """Compile every loop that an alignment needs (some seconds, once), so that the first job does not wait for it."""
    rehearse(3)
