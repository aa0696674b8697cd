"""Correlated oblivious transfer by the million, semi-honest.

It knows correlations and choices, not their use.

One session serves one ordered pair of parties for one job. The sender holds a secret Delta of 128 bits; for
OT number i both sides come to know 128-bit rows with  q_i = t_i XOR c_i Delta,  c_i the receiver's choice:

   sender: Delta, all PRG leaves but one a group    receiver: choices c, all PRG leaves
 1                          <-- Columns --          t, and c hidden under each group's sum of leaves
 2 x_i = H(i, q_i)          -- Corrections -->      y_i = H(i, t_i) + c_i (x_i - H(i, q_i ^ Delta) + d_i)
 3 result -x_i                                      result y_i = x_i + c_i d_i

Sources. Rows: SoftSpoken, Roy, CRYPTO 2022 (ePrint 2022/192), section 3, with subfield F_2^4: 4 bytes of Columns
an OT instead of IKNP's 16; no consistency check, since parties follow the protocol. Leaves: the puncturable
tree of Goldreich, Goldwasser and Micali, one node a level through a base OT. H: TMMO, pi(pi(x) ^ i) ^ pi(x),
Guo, Katz, Wang and Yu, S&P 2020 (ePrint 2019/074), section 7.4, with a public AES key for each session.
Additive correlation: Asharov, Lindell, Schneider and Zohner, CCS 2013.

Every OT index is used once: rows come from streams that only move forward.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from numpy.typing import NDArray

from mpc.domains import Domain
from mpc.errors import Reason
from mpc.kernels.bits import fold_leaves, transpose_bits
from mpc.link import Link
from mpc.ot.base import KEY_BYTES, receive_base, send_base
from mpc.protocol import Party
from mpc.ring import U64, RingVector
from mpc.rng import Rng

Choices = NDArray[np.uint8] | NDArray[np.bool_]

KAPPA = 128
FIELD_BITS = 4
GROUPS = KAPPA // FIELD_BITS
LEAVES = 1 << FIELD_BITS
_CHUNK_OTS = 1 << 16
_CHUNK_WORDS = 1 << 17


@dataclass(frozen=True)
class TreeSums:
    """For each group and level two masked 16-byte sums of tree nodes: of the left ones, of the right ones."""

    sums: bytes


@dataclass(frozen=True)
class Columns:
    """Step 1 for one chunk: GROUPS rows of packed bits, one bit an OT."""

    rows: bytes


@dataclass(frozen=True)
class Corrections:
    """Step 2 for one chunk: the words of all its OTs, OT by OT."""

    words: RingVector


def chunks(count: int, words: int) -> Iterator[tuple[slice, int]]:
    """How `count` OTs of `words` words are cut: the OTs of each chunk and the 64-bit words of its columns.

    A chunk has at most about 1 MiB of Corrections.
    """
    size = max(64, min(_CHUNK_OTS, _CHUNK_WORDS // words) // 64 * 64)
    for start in range(0, count, size):
        stop = min(start + size, count)
        yield slice(start, stop), (stop - start + 63) // 64


class _Rows:
    """What both sides share: streams of pseudo-random leaves, and the hash with its running index."""

    def __init__(self, session: bytes, leaves: Sequence[Sequence[bytes | None]]) -> None:
        self._streams = [
            [None if seed is None else _leaf_stream(session, seed) for seed in group] for group in leaves
        ]
        key = hashlib.sha256(Domain.OT_PAD.encode() + b"\0" + session).digest()[:16]
        # The bare permutation of one block is what the hash is built from; nothing is encrypted with it.
        self._permutation = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305
        self._index = 0

    def columns(self, words: int) -> tuple[U64, U64]:
        """For the next 64 `words` OTs: combinations (KAPPA, words) and sums of all leaves (GROUPS, words)."""
        leaves = np.zeros((GROUPS, LEAVES, words + 2), np.uint64)  # the cipher asks for 15 bytes more
        zeros = bytes(8 * words)
        for group, streams in enumerate(self._streams):
            for leaf, stream in enumerate(streams):
                if stream is not None:
                    stream.update_into(zeros, leaves[group, leaf].view(np.uint8).data)
        sums, totals = np.empty((KAPPA, words), np.uint64), np.empty((GROUPS, words), np.uint64)
        fold_leaves(leaves[:, :, :words], sums, totals)
        return sums, totals

    def advance(self, columns: int) -> int:
        """The index of the first of the next 64 `columns` OTs; they are used up."""
        first = self._index
        self._index += 64 * columns
        return first

    def pads(self, rows: U64, first: int, words: int) -> U64:
        """H(first + i, rows[i]) for all rows: (m, words). Each block of two words has its own tweak."""
        inner = self._permute(rows)
        index = np.arange(first, first + len(rows), dtype=np.uint64)
        pads = np.empty((len(rows), (words + 1) // 2, 2), np.uint64)
        for block in range(pads.shape[1]):
            tweaked = inner.copy()
            tweaked[:, 0] ^= index
            tweaked[:, 1] ^= np.uint64(block)
            np.bitwise_xor(self._permute(tweaked), inner, out=pads[:, block])
        return pads.reshape(len(rows), -1)[:, :words]

    def _permute(self, blocks: U64) -> U64:
        out = np.empty(2 * len(blocks) + 2, np.uint64)
        self._permutation.update_into(blocks.view(np.uint8).reshape(-1).data, out.view(np.uint8).data)
        return out[:-2].reshape(-1, 2)

    def __reduce__(self) -> NoReturn:
        raise TypeError("an OT session is a secret and is never pickled")


class OtSender(_Rows):
    """Holds Delta: gives correlations. One conversation at a time."""

    def __init__(self, session: bytes, delta: Sequence[int], leaves: Sequence[Sequence[bytes | None]]) -> None:
        super().__init__(session, leaves)
        bits = np.array([(nibble >> b) & 1 for nibble in delta for b in range(FIELD_BITS)], np.uint8)
        self._delta = np.packbits(bits, bitorder="little").view(np.uint64)
        self._selects = (np.uint64(0) - bits.astype(np.uint64)).reshape(GROUPS, FIELD_BITS, 1)

    def __repr__(self) -> str:
        return "OtSender(...)"

    async def correlate(self, me: Party, link: Link, deltas: U64) -> U64:
        """My additive shares of choice_i * deltas_i: (m, w) mod 2^64; the receiver gets the other share.

        With x_i the pad of OT i this is -x_i. PeerError WRONG_LENGTH.
        """
        shares = np.empty_like(deltas)
        for part, words in chunks(*deltas.shape):
            rows = (await link.receive(Columns)).rows                                     # 1
            link.require(len(rows) == 8 * GROUPS * words, Reason.WRONG_LENGTH)
            shares[part], correction = await me.compute(self._correct, rows, words, deltas[part])
            await link.send(Corrections(RingVector(correction, 64)))                      # 2
        return shares                                                                     # 3

    def _correct(self, hidden: bytes, words: int, deltas: U64) -> tuple[U64, U64]:
        sums, _ = self.columns(words)
        theirs = np.frombuffer(hidden, "<u8").reshape(GROUPS, 1, words)
        sums.reshape(GROUPS, FIELD_BITS, words)[...] ^= self._selects & theirs
        rows = np.empty((64 * words, 2), np.uint64)
        transpose_bits(sums, rows)
        rows, first = rows[: len(deltas)], self.advance(words)
        pads = self.pads(rows, first, deltas.shape[1])
        correction = pads - self.pads(rows ^ self._delta, first, deltas.shape[1]) + deltas
        return np.uint64(0) - pads, correction.reshape(-1)


class OtReceiver(_Rows):
    """Chooses. One conversation at a time."""

    def __repr__(self) -> str:
        return "OtReceiver(...)"

    async def correlate(self, me: Party, link: Link, choices: Choices, words: int) -> U64:
        """My additive shares of choice_i * delta_i: (m, words) mod 2^64, for choices (m,) of 0 or 1.

        With x_i the sender's pad this is x_i + choice_i * delta_i. PeerError WRONG_LENGTH, WRONG_ORDER.
        """
        assert choices.ndim == 1
        assert choices.max(initial=0) <= 1
        shares = np.empty((len(choices), words), np.uint64)
        waiting: deque[tuple[slice, U64]] = deque()

        async def ask() -> None:
            for part, columns in chunks(len(choices), words):
                rows, pads = await me.compute(self._hide, choices[part], columns, words)
                waiting.append((part, pads))
                await link.send(Columns(rows))                                            # 1

        async def learn() -> None:
            for due, _ in chunks(len(choices), words):
                most = 8 * words * (due.stop - due.start)
                correction = (await link.receive(Corrections, at_most=most)).words        # 2
                link.require(bool(waiting), Reason.WRONG_ORDER)
                part, pads = waiting.popleft()
                link.require(correction.bits == 64 and len(correction) == pads.size, Reason.WRONG_LENGTH)
                selects = np.uint64(0) - choices[part].astype(np.uint64)
                shares[part] = pads + (correction.values.reshape(pads.shape) & selects[:, None])  # 3

        await me.together(ask(), learn())
        return shares

    def _hide(self, choices: Choices, columns: int, words: int) -> tuple[bytes, U64]:
        sums, totals = self.columns(columns)
        packed = np.zeros(8 * columns, np.uint8)
        bits = np.packbits(choices.astype(np.uint8, copy=False), bitorder="little")
        packed[: len(bits)] = bits
        totals ^= packed.view(np.uint64)
        rows = np.empty((64 * columns, 2), np.uint64)
        transpose_bits(sums, rows)
        return totals.tobytes(), self.pads(rows[: len(choices)], self.advance(columns), words)


async def start_sender(me: Party, link: Link) -> OtSender:
    """A new session in which I give correlations; the peer runs `start_receiver`.

    PeerError WRONG_LENGTH, BAD_POINT.
    """
    return OtSender(*await receive_trees(me, link, GROUPS))


async def start_receiver(me: Party, link: Link) -> OtReceiver:
    """A new session in which I choose; the peer runs `start_sender`. PeerError WRONG_LENGTH, BAD_POINT."""
    return OtReceiver(*await send_trees(me, link, GROUPS))


async def receive_trees(
    me: Party, link: Link, groups: int
) -> tuple[bytes, list[int], list[list[bytes | None]]]:
    """The session's public name, a random nibble Delta for each group, and all of its leaves but one.

    Leaf y of a group stands at index y XOR Delta, so the one that is None comes first. PeerError WRONG_LENGTH,
    BAD_POINT.
    """
    rng = Rng(me.rng.bytes(32))  # drawn before any wait, so that a replay draws the same
    delta = [rng.below(LEAVES) for _ in range(groups)]
    path = [[(nibble >> (FIELD_BITS - 1 - level)) & 1 for level in range(FIELD_BITS)] for nibble in delta]
    base = await receive_base(me, link, rng, [1 - bit for bits in path for bit in bits])
    sums = (await link.receive(TreeSums)).sums
    link.require(len(sums) == 2 * FIELD_BITS * groups * KEY_BYTES, Reason.WRONG_LENGTH)
    leaves = []
    for group, bits in enumerate(path):
        level = slice(group * FIELD_BITS, (group + 1) * FIELD_BITS)
        masked = sums[2 * KEY_BYTES * level.start : 2 * KEY_BYTES * level.stop]
        tree = _punctured(base.session, group, bits, base.keys[level], masked)
        # In the order y = x XOR Delta the coefficients of the leaves are those of the receiver's sum.
        leaves.append([tree[y ^ delta[group]] for y in range(LEAVES)])
    return base.session, delta, leaves


async def send_trees(me: Party, link: Link, groups: int) -> tuple[bytes, list[list[bytes]]]:
    """The session's public name and all leaves of each group; the peer runs `receive_trees`."""
    rng = Rng(me.rng.bytes(32))
    base = await send_base(me, link, rng, FIELD_BITS * groups)
    leaves, masked = [], []
    for group in range(groups):
        nodes = [rng.bytes(KEY_BYTES)]
        for level in range(FIELD_BITS):
            nodes = [child for node in nodes for child in _children(base.session, group, node)]
            keys = base.pairs[group * FIELD_BITS + level]
            masked += [_xor(key, *nodes[side::2]) for side, key in enumerate(keys)]
        leaves.append(nodes)
    await link.send(TreeSums(b"".join(masked)))
    return base.session, leaves


def _punctured(
    session: bytes, group: int, path: Sequence[int], keys: Sequence[bytes], masked: bytes
) -> list[bytes | None]:
    """All leaves of a tree but the one that `path` (bits from the root) leads to, which is None."""
    nodes: list[bytes | None] = [None]
    for level, bit in enumerate(path):
        nodes = [
            child
            for node in nodes
            for child in ((None, None) if node is None else _children(session, group, node))
        ]
        start = KEY_BYTES * (2 * level + 1 - bit)
        known = [node for node in nodes[1 - bit :: 2] if node is not None]
        gap = nodes.index(None) + 1 - bit
        nodes[gap] = _xor(masked[start : start + KEY_BYTES], keys[level], *known)
    return nodes


def _children(session: bytes, group: int, node: bytes) -> tuple[bytes, bytes]:
    label = Domain.OT_TREE.encode() + b"\0" + session + bytes([group])
    digest = hashlib.sha256(label + node).digest()
    return digest[:KEY_BYTES], digest[KEY_BYTES:]


def leaf_key(session: bytes, seed: bytes) -> bytes:
    """The AES-128 key of one leaf's pseudo-random stream."""
    return hashlib.sha256(Domain.OT_COLUMN.encode() + b"\0" + session + seed).digest()[:16]


def _leaf_stream(session: bytes, seed: bytes) -> CipherContext:
    return Cipher(algorithms.AES(leaf_key(session, seed)), modes.CTR(bytes(16))).encryptor()


def _xor(*parts: bytes) -> bytes:
    total = 0
    for part in parts:
        total ^= int.from_bytes(part, "big")
    return total.to_bytes(KEY_BYTES, "big")
