"""The engine `oprf` of align: set intersection from oblivious pseudo-random functions. N >= 2, semi-honest.

   leader: X                                             follower i: Y_i
 1 zero sharing of every pair: functions s_i with XOR of all s_i(x) = 0 at every x
 2 F_i(x) for x in X             <-- mpc/oprf.py -->      F_i, anywhere
 3 a lower bound, on a public sample:   mpc/hidden_count.py, until all are content
                                 <-- Programmed --        (three parties or more: s_i + F_i over the sample)
                                  -- Verdict -->   <-- Verdict --   -- Verdict -->
 4                               <-- Programmed --        store of  y -> s_i(y) + (0, handle of y) + F_i(y)
 5 XOR of all: (0, handles)       -- Verdict, Indices -->  own rows

A sample can only miss common customers, so a number that it shows is a lower bound, whatever the rest holds. If it
does not reach the minimum, or a party's own rules need to know more, a sample eight times as large follows and at
last everything, which gives the exact number. Only then (4) do the followers send what shows members. s_i masks the
handles as well, each follower's at a place of its own: a handle that opened by itself would show a pair's members.

Source: Kolesnikov, Matania, Pinkas, Rosulek and Trieu, CCS 2017 (ePrint 2017/799), section 5, augmented semi-honest;
the sampled bound is ours. Departures and what coalitions learn: docs/protocols/align.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise

import numpy as np

from mpc import oprf, zero_sharing
from mpc.domains import Domain
from mpc.errors import LocalError, Reason
from mpc.id_column import IdColumn
from mpc.link import Link, PartyId
from mpc.okvs import Layout, Plan, decode
from mpc.oprf import Binned, Codes, Outputs, in_step
from mpc.protocol import Party
from mpc.protocols import align_count
from mpc.protocols.align_count import CHECK_BITS, THOUSANDTHS, Programmed, Run, Stage, receive_column, tell
from mpc.protocols.align_terms import AlignOptions, Verdict, all_differ, receive_places, send_places, too_few
from mpc.ring import I64, U64, RingVector, reduce
from mpc.rng import Rng

HANDLE_BITS = 32
HANDLE = np.uint64((1 << HANDLE_BITS) - 1)
MEMBERS = 1            # the purpose of F; with more than two followers also MEMBERS + 2^32, + 2^33, ...

# ---------------------------------------------------------------- roles


async def run(
    me: Party,
    peers: Mapping[PartyId, Link],
    ids: Sequence[bytes],
    options: AlignOptions,
    sizes: Mapping[PartyId, int],
    accept_count: Callable[[int], None],
    settles: Callable[[int], bool],
) -> I64:
    """As mpc.protocols.align.run, whose checks and announcement of sizes have been done."""
    rng = Rng(me.rng.bytes(32))
    zero = await zero_sharing.agree(me, {peer: link.channel("zero") for peer, link in peers.items()})    # 1
    codes = Codes(options.session)
    mine = await me.compute(_binned, codes, ids, options.session)
    me.progress("align", Stage.FUNCTIONS[0], THOUSANDTHS)
    this = Run(me, peers, options, sizes, accept_count, settles, codes, mine, rng, zero)
    rows = await (_lead(this) if me.id == options.leader else _follow(this))
    return mine.order[rows]


async def _lead(run: Run) -> I64:
    me = run.me
    links = [link.channel("oprf") for link in run.to_all()]
    functions = oprf.run_receiver(                                                                       # 2
        me, links, run.codes, run.mine, run.rng.child("codes"), run.through(Stage.FUNCTIONS)
    )
    if len(run.followers) == 1:   # no function is needed for the count
        outputs, bound = await me.together(functions, align_count.lead(run, {}))                         # 3
        known = {run.helper: outputs[0]}
    else:
        known = dict(zip(run.followers, await functions, strict=True))
        bound = await align_count.lead(run, known)                                                       # 3
    me.ledger.record("align.members", 0)   # refused here, where the spec does not list it
    seen = dict(zip(run.followers, await me.together(*(                                                  # 4
        _open_store(run, run.peers[p].channel("members"), Layout(run.sizes[p]), known[p]) for p in run.followers
    )), strict=True))
    rows, handles = await me.compute(_common, run, seen)                                                 # 5
    for party, link in zip(run.followers, run.to_all(), strict=True):
        link.require(bool(np.all(handles[party] < run.sizes[party])), Reason.OUT_OF_RANGE)
        link.require(all_differ(handles[party], run.sizes[party]), Reason.REPEATED_VALUE)
    await tell(run, len(rows), partial(_record, run, len(rows), *bound))
    order = run.rng.child("canonical order").permutation(len(rows))
    await me.together(*(send_places(run.peers[p].channel("rows"), handles[p][order]) for p in run.followers))
    return rows[order]


async def _follow(run: Run) -> I64:
    me, leader = run.me, run.peers[run.options.leader]
    function = oprf.run_sender(                                                                          # 2
        me, leader.channel("oprf"), run.codes, run.sizes[run.options.leader], run.mine, run.through(Stage.FUNCTIONS)
    )
    shuffled = me.compute(run.rng.child("handles").permutation, len(run.mine))
    if me.id == run.helper:       # whose part of the count needs no function
        outputs, handles, bound = await me.together(function, shuffled, align_count.follow(run, None))   # 3
    else:
        outputs, handles = await me.together(function, shuffled)
        bound = await align_count.follow(run, outputs)                                                   # 3
    await _send_store(run, leader.channel("members"), outputs, handles)                                  # 4
    common = (await leader.receive(Verdict)).common
    if common == 0:
        raise too_few()
    lowest, exact = bound
    leader.require(lowest <= common <= (lowest if exact else min(run.sizes.values())), Reason.OUT_OF_RANGE)
    if not exact:
        run.accept_count(common)
    me.ledger.record("align.members", common)
    received = await receive_places(leader.channel("rows"), common, len(run.mine))                       # 5
    row_of = np.empty_like(handles)
    row_of[handles] = np.arange(len(handles))
    rows: I64 = row_of[received]
    return rows


# ---------------------------------------------------------------- steps


def _record(run: Run, number: int, lowest: int, exact: bool) -> None:
    """Our own rules for the number of members, which are known to us alone so far."""
    if number < lowest:
        raise too_few()
    if not exact:
        run.accept_count(number)
    run.me.ledger.record("align.members", number)


def _binned(codes: Codes, ids: Sequence[bytes], session: bytes) -> Binned:
    digests = IdColumn.of(ids).digests(hashlib.sha256(Domain.ALIGN_DIGEST.encode() + b"\0" + session).digest())
    mine = codes.binned(digests)
    for start, stop in pairwise(mine.edges.tolist()):
        first = np.sort(mine.digests[start:stop, 0])
        if np.any(first[1:] == first[:-1]) and len(np.unique(mine.digests[start:stop], axis=0)) < stop - start:
            raise LocalError("an id occurs twice", "give each id once")
    return mine


def _words(run: Run) -> int:
    """Words of a store's value: the check, and the handles of two followers in each of the others."""
    return 1 + (len(run.followers) + 1) // 2


def _place(run: Run, follower: PartyId) -> tuple[int, np.uint64]:
    """In which word, and how far up, the handle of `follower` stands."""
    index = run.followers.index(follower)
    return 1 + index // 2, np.uint64(HANDLE_BITS * (index % 2))


def _columns(run: Run) -> list[int]:
    """Bits of the columns on the wire; the upper half of the last word may stand for nobody."""
    return [CHECK_BITS] * (_words(run) - 1) + [HANDLE_BITS * (2 - len(run.followers) % 2)]


def _function(run: Run, outputs: Outputs, part: slice) -> U64:
    """F for a store's values: (n, words)."""
    pairs = [outputs.words(MEMBERS + (k << 32), part) for k in range((_words(run) + 1) // 2)]
    return np.hstack(pairs)[:, :_words(run)]


def _zero(run: Run, digests: U64) -> U64:
    """Our function s of the zero sharing for a store's values: (n, words)."""
    return np.column_stack([run.zero.function(f"members {word}", digests) for word in range(_words(run))])


def _table(run: Run, layout: Layout, number: int, outputs: Outputs, handles: I64) -> U64:
    """Step 4 for one bin: from every own id its values of the zero sharing and its handle, under F."""
    part = run.mine.part(layout, number)
    digests = run.mine.digests[part]
    values = _function(run, outputs, part) ^ _zero(run, digests)
    word, up = _place(run, run.me.id)
    values[:, word] ^= handles[part].view(np.uint64) << up
    return Plan(run.codes.keys(digests, layout), layout).encode(values, run.rng.child(f"members {number}"))


def _opened(run: Run, layout: Layout, number: int, outputs: Outputs, table: U64, seen: U64) -> None:
    """What our own ids of one bin find in a follower's store: (n, words)."""
    part = run.mine.part(layout, number)
    seen[part] = decode(run.codes.keys(run.mine.digests[part], layout), table) ^ _function(run, outputs, part)


def _common(run: Run, seen: Mapping[PartyId, U64]) -> tuple[I64, dict[PartyId, I64]]:
    """Step 5: our rows that all have, and their handles at each follower."""
    rows, sums = [], []
    for start in range(0, len(run.mine), oprf.CHUNK_KEYS):
        part = slice(start, start + oprf.CHUNK_KEYS)
        total = _zero(run, run.mine.digests[part])
        for found in seen.values():
            total ^= found[part]
        common = np.flatnonzero(total[:, 0] == 0)
        rows.append(start + common)
        sums.append(total[common])
    total, handles = np.concatenate(sums), {}
    for party in run.followers:
        word, up = _place(run, party)
        handles[party] = (total[:, word] >> up & HANDLE).astype(np.int64)
    return np.concatenate(rows), handles


# ---------------------------------------------------------------- stores on the wire


async def _send_store(run: Run, link: Link, outputs: Outputs, handles: I64) -> None:
    me, layout = run.me, Layout(len(run.mine))

    async def make(numbers: range) -> list[U64]:
        return await me.together(*(me.compute(_table, run, layout, number, outputs, handles) for number in numbers))

    async def send(numbers: range, tables: list[U64]) -> None:
        for table in tables:
            for column, bits in zip(table.T, _columns(run), strict=True):
                await link.send(Programmed(RingVector(reduce(column.copy(), bits), bits)))

    await in_step(me, layout.bins, make, send, run.through(Stage.MEMBERS))


async def _open_store(run: Run, link: Link, layout: Layout, outputs: Outputs) -> U64:
    """What all our own ids find in the store that comes over `link`: (n, words)."""
    me, seen = run.me, np.empty((len(run.mine), _words(run)), np.uint64)

    async def receive(numbers: range) -> list[U64]:
        return [
            np.column_stack([await receive_column(link, layout, bits) for bits in _columns(run)]) for _ in numbers
        ]

    async def look(numbers: range, tables: list[U64]) -> None:
        await me.together(*(
            me.compute(_opened, run, layout, number, outputs, table, seen)
            for number, table in zip(numbers, tables, strict=True)
        ))

    await in_step(me, layout.bins, receive, look, run.through(Stage.MEMBERS))
    return seen
