"""Oblivious pseudo-random function on many ids at once: the receiver learns F(x) for its own x, the sender can
evaluate F anywhere, and neither learns more. Semi-honest. It knows digests, never what becomes of the outputs.

   sender: Delta in F_16^64, all leaves but one a group        receiver: digests x_1 .. x_n
 1                                                             P: store with P(x_i) = C(x_i), a random-looking code
 2                              <-- Offsets --              P + U, slot by slot; keeps T = U Delta + (what 1 sees)
 3 Q = T + P Delta, so  F(y) = H(Q(y) + C(y) Delta)            F(x) = H(T(x))

All sums are in F_16, 64 elements (32 bytes) a slot, and C(y) Delta is taken element by element. For y outside the
receiver's set P(y) + C(y) is a random word: at least 32 of its 64 elements are not zero but with probability 2^-71
for one y (a binomial tail), 2^-47 over 2^24 of them, and each hides Q(y) + C(y) Delta behind 4 bits of Delta, 128 in
all. H looks random on such inputs if AES with a public key does: v = pi1(a) + a + b of the halves a, b, and
pi2(v + purpose) + v (as the hashes of Guo, Katz, Wang and Yu, S&P 2020, ePrint 2019/074).

Sources: code and hash, Kolesnikov, Kumaresan, Rosulek and Trieu, CCS 2016 (ePrint 2016/799); a store in place of
bins, Pinkas, Rosulek, Trieu and Yanai, EUROCRYPT 2020 (ePrint 2020/193); the vector correlation over F_2^4 from
punctured trees, Roy, CRYPTO 2022 (ePrint 2022/192), section 3: 32 bytes a slot where bits would need 56.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from cryptography.hazmat.primitives.ciphers import CipherContext

from mpc.domains import Domain
from mpc.errors import Reason
from mpc.kernels import psi
from mpc.kernels.bits import transpose_bits
from mpc.kernels.blocks import block_cipher, permute
from mpc.link import Link
from mpc.okvs import Keys, Layout, Plan, decode
from mpc.ot import FIELD_BITS, LEAVES, leaf_stream, receive_trees, send_trees
from mpc.protocol import Party
from mpc.ring import I64, U64
from mpc.rng import Rng

GROUPS = 64
WORDS = GROUPS * FIELD_BITS // 64   # of a slot
CHUNK_SLOTS = 1 << 15               # 1 MiB of Offsets
CHUNK_KEYS = 1 << 16


@dataclass(frozen=True)
class Offsets:
    """Part of step 2: slots of 32 bytes."""

    rows: bytes


class Codes:
    """Public functions of a digest under one session: its code and its places. Digests: (n, 2) words."""

    def __init__(self, session: bytes) -> None:
        self._code = [_cipher(Domain.OPRF_CODE, session, half) for half in (0, 1)]
        self._places = [_cipher(Domain.OPRF_PLACES, session, half) for half in (0, 1)]

    def code(self, digests: U64) -> U64:
        """C: (n, 4) words, 64 elements of F_16."""
        return np.concatenate([permute(cipher, digests) for cipher in self._code], axis=1)

    def words(self, digests: U64) -> U64:
        """(n, 4) uniform words: three say where a key reads in a store, the fourth draws public samples."""
        return np.concatenate([permute(cipher, digests) for cipher in self._places], axis=1)

    def drawn(self, digests: U64) -> U64:
        """(n,) the fourth word alone."""
        return permute(self._places[1], digests)[:, 1]

    def decode(self, digests: U64, layout: Layout, table: U64) -> U64:
        """What the digests read from a store: (n, w)."""
        values = np.zeros((len(digests), table.shape[1]), np.uint64)
        for part in _parts(len(digests)):
            decode(Keys.locate(self.words(digests[part]), layout), table, values[part])
        return values


class Outputs:
    """F at n digests, for each purpose anew."""

    def __init__(self, session: bytes, states: U64) -> None:
        self._cipher = _cipher(Domain.OPRF_OUTPUT, session, 1)
        self._states = states

    def __len__(self) -> int:
        return len(self._states)

    def words(self, purpose: int, rows: slice | I64 = slice(None)) -> U64:
        """(n, 2) words of F under `purpose`, for all digests or some."""
        states = self._states[rows]
        tweaked = states.copy()
        tweaked[:, 0] ^= np.uint64(purpose)
        return permute(self._cipher, tweaked) ^ states

    def __repr__(self) -> str:
        return f"Outputs({len(self)})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("outputs of a keyed function are secret and never pickled")


class Evaluator:
    """The sender's side: evaluates F anywhere."""

    def __init__(self, session: bytes, codes: Codes, layout: Layout, delta: Sequence[int], rows: U64) -> None:
        self._session, self._codes, self._layout, self._rows = session, codes, layout, rows
        self._factors = multiples(delta)

    def evaluate(self, digests: U64) -> Outputs:
        """F at each digest, in order."""
        states = np.empty((len(digests), 2), np.uint64)
        for part in _parts(len(digests)):
            rows = self._codes.decode(digests[part], self._layout, self._rows)
            psi.add_products(self._codes.code(digests[part]), self._factors, rows)
            states[part] = _states(self._session, rows)
        return Outputs(self._session, states)

    def __repr__(self) -> str:
        return "Evaluator(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an evaluator is a secret and is never pickled")


class _Streams:
    """What the trees' leaves give, slot after slot; every slot is used once."""

    def __init__(self, session: bytes, leaves: Sequence[Sequence[bytes | None]]) -> None:
        self._streams = [
            [None if seed is None else leaf_stream(session, seed) for seed in group] for group in leaves
        ]

    def rows(self, slots: int) -> tuple[U64, U64]:
        """For the next `slots` (a multiple of 64): index-weighted and plain sums of the leaves, (slots, 4) each."""
        words = slots // 64
        leaves = np.zeros((LEAVES, FIELD_BITS * words + 2), np.uint64)  # the cipher asks for 15 bytes more
        zeros = bytes(8 * FIELD_BITS * words)
        weighted = np.empty((GROUPS, FIELD_BITS, words), np.uint64)
        totals = np.empty_like(weighted)
        for group, streams in enumerate(self._streams):
            for leaf, stream in enumerate(streams):
                if stream is not None:
                    stream.update_into(zeros, leaves[leaf].view(np.uint8).data)
            elements = leaves[:, :-2].reshape(LEAVES, FIELD_BITS, words)
            psi.fold_field(elements, weighted[group], totals[group])
        return _as_rows(weighted), _as_rows(totals)


# ---------------------------------------------------------------- roles


async def run_sender(me: Party, link: Link, codes: Codes, theirs: int) -> Evaluator:
    """A fresh function for a receiver of `theirs` digests. PeerError WRONG_LENGTH, BAD_POINT."""
    session, delta, leaves = await receive_trees(me, link, GROUPS)
    layout, streams, factors = Layout(theirs), _Streams(session, leaves), multiples(delta)
    rows = np.empty((layout.slots, WORDS), np.uint64)
    for start in range(0, layout.slots, CHUNK_SLOTS):
        part = rows[start:start + CHUNK_SLOTS]
        correction = (await link.receive(Offsets)).rows                                # 2
        link.require(len(correction) == part.nbytes, Reason.WRONG_LENGTH)
        await me.compute(_absorb, streams, factors, correction, part)
    return Evaluator(session, codes, layout, delta, rows)


async def run_receiver(me: Party, link: Link, keys: Keys, table: U64) -> Outputs:
    """F at the digests of `keys`; `table` is their store of codes. PeerError WRONG_LENGTH, BAD_POINT."""
    session, leaves = await send_trees(me, link, GROUPS)
    streams, rows = _Streams(session, leaves), np.empty_like(table)
    for start in range(0, len(table), CHUNK_SLOTS):
        part = slice(start, start + CHUNK_SLOTS)
        await link.send(Offsets(await me.compute(_hide, streams, table[part], rows[part])))    # 2
    return await me.compute(_outputs, session, keys, rows)                                # 3


# ---------------------------------------------------------------- steps


def store_codes(codes: Codes, digests: U64, rng: Rng) -> tuple[Keys, U64]:
    """Step 1: where the digests read, and the store of their codes. LocalError if a digest occurs twice."""
    layout = Layout(len(digests))
    keys = Keys.locate(codes.words(digests), layout)
    return keys, Plan(keys, layout).encode(codes.code(digests), rng)


def multiples(delta: Sequence[int]) -> U64:
    """(4, WORDS): Delta times 1, a, a^2, a^3 in F_16, one nibble for each group."""
    rows, row = [], list(delta)
    for _ in range(FIELD_BITS):
        low, high = row[0::2], row[1::2]
        rows.append(np.array([x | y << 4 for x, y in zip(low, high, strict=True)], np.uint8).view(np.uint64))
        row = [(x << 1 & 15) ^ (3 if x & 8 else 0) for x in row]   # a^4 = a + 1
    return np.array(rows)


def _hide(streams: _Streams, table: U64, rows: U64) -> bytes:
    weighted, totals = streams.rows(-(-len(table) // 64) * 64)
    rows[:] = weighted[:len(table)]
    return (totals[:len(table)] ^ table).tobytes()


def _absorb(streams: _Streams, factors: U64, correction: bytes, rows: U64) -> None:
    # Leaf y stands at y + Delta: its weight is what the receiver gave it plus Delta times its plain sum.
    weighted, _ = streams.rows(-(-len(rows) // 64) * 64)
    rows[:] = weighted[:len(rows)]
    psi.add_products(np.frombuffer(correction, "<u8").reshape(-1, WORDS), factors, rows)


def _outputs(session: bytes, keys: Keys, rows: U64) -> Outputs:
    states = np.empty((len(keys), 2), np.uint64)
    for part in _parts(len(keys)):
        values = decode(Keys(keys.places[part], keys.masks[part]), rows)
        states[part] = _states(session, values)
    return Outputs(session, states)


def _parts(count: int) -> Iterator[slice]:
    return (slice(start, start + CHUNK_KEYS) for start in range(0, count, CHUNK_KEYS))


def _states(session: bytes, rows: U64) -> U64:
    first = rows[:, :2]
    return permute(_cipher(Domain.OPRF_OUTPUT, session, 0), first) ^ first ^ rows[:, 2:]


def _as_rows(columns: U64) -> U64:
    words = columns.shape[2]
    rows = np.empty((64 * words, WORDS), np.uint64)
    transpose_bits(columns.reshape(GROUPS * FIELD_BITS, words), rows)
    return rows


def _cipher(domain: Domain, session: bytes, index: int) -> CipherContext:
    return block_cipher(hashlib.sha256(domain.encode() + b"\0" + bytes([index]) + session).digest()[:16])


def warm() -> None:
    """Compile every loop that an alignment needs (some seconds), so that the first job does not wait for it."""
    digests = psi.blake2b_16(np.frombuffer(b"abc", np.uint8), np.array([0, 1, 2, 3]), b"warm")
    codes, streams = Codes(b"warm"), _Streams(b"", [[bytes(16)] * LEAVES] * GROUPS)
    keys, table = store_codes(codes, digests, Rng(bytes(32)))
    _hide(streams, table[:64], table[64:128])
    evaluator = Evaluator(b"", codes, Layout(len(digests)), [1] * GROUPS, table)
    words = evaluator.evaluate(digests).words(0)
    decode(keys, Plan(keys, Layout(len(keys))).encode(words, Rng(bytes(32))))
