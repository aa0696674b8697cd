"""The engine `oprf` of align: set intersection from oblivious pseudo-random functions. N >= 2, semi-honest.

   leader: X                                             follower i: Y_i
 1 zero sharing of every pair: functions s_i with XOR of all s_i(x) = 0 at every x
 2 F_i(x) for x in X             <-- mpc/sets/oprf.py -->      F_i(y) for y in Y_i
 3 a lower bound on the number:  <-- align_count.py -->
 4                               <-- Programmed --        store of  y -> s_i(y) + F_i(y)
 5 common: XOR of all s = 0       -- Verdict, Tags -->    own rows: where F_i, for another purpose, gives these

Before members the leader learns a number, exact or a lower bound, with which every party is content; only then (4)
do the followers send what shows members. A store holds nothing but s_i: whatever else a leader could open at an id
that it shares with one follower would show that pair's intersection to it.

Source: Kolesnikov, Matania, Pinkas, Rosulek and Trieu, CCS 2017 (ePrint 2017/799), section 5, augmented semi-honest;
the sampled bound is ours. Departures and what coalitions learn: docs/protocols/align.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from mpc.domains import Domain
from mpc.errors import LocalError, Reason
from mpc.group.id_column import IdColumn
from mpc.kernels import set_intersection
from mpc.link import Link, PartyId
from mpc.protocol import Party
from mpc.protocols import align_count
from mpc.protocols.align_count import CHECK_BITS, THOUSANDTHS, Programmed, Run, Stage, receive_column, tell
from mpc.protocols.align_terms import TOLD, AlignOptions, Verdict, all_differ, too_few
from mpc.ring import I64, U64, RingVector
from mpc.rng import Rng
from mpc.sets import oprf
from mpc.sets.okvs import Layout, Plan, decode
from mpc.sets.oprf import Binned, Codes, Outputs, in_step, pieces
from mpc.sharing import zero_sharing

TAG_BITS = 64, 32       # of 2^24 ids two have the same tag with probability 2^-49
LOW = np.uint64(0xFFFFFFFF)
MESSAGE_TAGS = 1 << 16  # 0.8 MB
TAGS, MEMBERS = 0, 1    # purposes of F; others: align_count

# ---------------------------------------------------------------- messages


@dataclass(frozen=True)
class Tags:
    """Part of step 5: F_i at the common customers, in canonical order, 64 bits of the first word, 32 of the second."""

    first: RingVector
    second: RingVector


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
    if run.options.output == "sizes_only":
        return np.empty(0, np.int64)
    me.ledger.record(TOLD[run.options.output][0], 0)   # refused here, where the spec does not list it
    seen = dict(zip(run.followers, await me.together(*(                                                  # 4
        _open_store(run, run.peers[p].channel("members"), Layout(run.sizes[p]), known[p]) for p in run.followers
    )), strict=True))
    rows = await me.compute(_common, run, seen)                                                          # 5
    await tell(run, len(rows), partial(_record, run, len(rows), *bound))
    rows = rows[run.rng.child("canonical order").permutation(len(rows))]
    if run.options.output == "all":
        await me.together(*(_send_tags(run.peers[p].channel("rows"), known[p], rows) for p in run.followers))
    return rows


async def _follow(run: Run) -> I64:
    me, leader = run.me, run.peers[run.options.leader]
    function = oprf.run_sender(                                                                          # 2
        me, leader.channel("oprf"), run.codes, run.sizes[run.options.leader], run.mine, run.through(Stage.FUNCTIONS)
    )
    if me.id == run.helper:       # whose part of the count needs no function
        outputs, bound = await me.together(function, align_count.follow(run, None))                      # 3
    else:
        outputs = await function
        bound = await align_count.follow(run, outputs)                                                   # 3
    if run.options.output == "sizes_only":
        me.ledger.record("align.size", bound[0])
        return np.empty(0, np.int64)
    await _send_store(run, leader.channel("members"), outputs)                                           # 4
    common = (await leader.receive(Verdict)).common
    if common == 0:
        raise too_few()
    lowest, exact = bound
    leader.require(lowest <= common <= (lowest if exact else min(run.sizes.values())), Reason.OUT_OF_RANGE)
    if not exact:
        run.accept_count(common)
    me.ledger.record(TOLD[run.options.output][1], common)
    if run.options.output == "label_holder_only":
        return np.empty(0, np.int64)
    return await _receive_tags(run, leader.channel("rows"), outputs, common)                             # 5


# ---------------------------------------------------------------- steps


def _record(run: Run, number: int, lowest: int, exact: bool) -> None:
    """Our own rules for the number of members, which are known to us alone so far."""
    if number < lowest:
        raise too_few()
    if not exact:
        run.accept_count(number)
    run.me.ledger.record(TOLD[run.options.output][0], number)


def _binned(codes: Codes, ids: Sequence[bytes], session: bytes) -> Binned:
    digests = IdColumn.of(ids).digests(hashlib.sha256(Domain.ALIGN_DIGEST.encode() + b"\0" + session).digest())
    mine, layout = codes.binned(digests), Layout(len(digests))
    for number in range(layout.bins):   # equal digests are neighbours, or nearly so
        part = mine.digests[mine.part(layout, number)]
        first = np.sort(part[:, 0])
        if np.any(first[1:] == first[:-1]) and len(np.unique(part, axis=0)) < len(part):
            raise LocalError("an id occurs twice", "give each id once")
    return mine


def _table(run: Run, layout: Layout, number: int, outputs: Outputs) -> U64:
    """Step 4 for one bin: from every own id its value of the zero sharing, under F."""
    part = run.mine.part(layout, number)
    digests = run.mine.digests[part]
    values = outputs.words(MEMBERS, part)[:, :1] ^ run.zero.function("members", digests)[:, None]
    plan = Plan(run.codes.keys(digests, layout), layout)
    return plan.encode(values, run.rng.child(f"members {number}"))[:, 0]


def _opened(run: Run, layout: Layout, part: slice, outputs: Outputs, column: U64, seen: U64) -> None:
    """What some of our ids of one bin find in a follower's store: s_i where the follower has them, else noise."""
    found = decode(run.codes.keys(run.mine.digests[part], layout), column[:, None])
    seen[part] = found[:, 0] ^ outputs.words(MEMBERS, part)[:, 0]


def _common(run: Run, seen: Mapping[PartyId, U64]) -> I64:
    """Step 5: our rows that all have."""
    rows = []
    for start in range(0, len(run.mine), oprf.CHUNK_KEYS):
        part = slice(start, start + oprf.CHUNK_KEYS)
        checks = run.zero.function("members", run.mine.digests[part])
        for found in seen.values():
            checks ^= found[part]
        rows.append(start + np.flatnonzero(checks == 0))
    return np.concatenate(rows)


def _places(outputs: Outputs, first: U64, second: U64) -> I64:
    """Which of our ids have these tags; -1 for none of them."""
    own, found = outputs.words(TAGS), np.empty(len(first), np.int64)
    table = np.zeros(1 << (2 * len(own)).bit_length(), np.uint32)
    set_intersection.match(own, first, second, table, found)
    return found


# ---------------------------------------------------------------- stores on the wire


async def _send_store(run: Run, link: Link, outputs: Outputs) -> None:
    me, layout = run.me, Layout(len(run.mine))

    async def make(numbers: range) -> list[U64]:
        return await me.together(*(me.compute(_table, run, layout, number, outputs) for number in numbers))

    async def send(numbers: range, columns: list[U64]) -> None:
        for column in columns:
            await link.send(Programmed(RingVector(column, CHECK_BITS)))

    await in_step(me, layout.bins, make, send, run.through(Stage.MEMBERS))


async def _open_store(run: Run, link: Link, layout: Layout, outputs: Outputs) -> U64:
    """What all our own ids find in the store that comes over `link`: (n,)."""
    me, seen = run.me, np.empty(len(run.mine), np.uint64)

    async def receive(numbers: range) -> list[U64]:
        return [await receive_column(link, layout) for _ in numbers]

    async def look(numbers: range, columns: list[U64]) -> None:
        await me.together(*(
            me.compute(_opened, run, layout, part, outputs, column, seen)
            for number, column in zip(numbers, columns, strict=True)
            for part in pieces(run.mine.part(layout, number))
        ))

    await in_step(me, layout.bins, receive, look, run.through(Stage.MEMBERS))
    return seen


async def _send_tags(link: Link, outputs: Outputs, rows: I64) -> None:
    for start in range(0, len(rows), MESSAGE_TAGS):
        words = outputs.words(TAGS, rows[start:start + MESSAGE_TAGS])
        await link.send(Tags(RingVector(words[:, 0].copy(), TAG_BITS[0]), RingVector(words[:, 1] & LOW, TAG_BITS[1])))


async def _receive_tags(run: Run, link: Link, outputs: Outputs, common: int) -> I64:
    """Our places of the common customers. PeerError WRONG_LENGTH, OUT_OF_RANGE, REPEATED_VALUE."""
    parts = []
    for start in range(0, common, MESSAGE_TAGS):
        tags = await link.receive(Tags)
        link.require((tags.first.bits, tags.second.bits) == TAG_BITS, Reason.OUT_OF_RANGE)
        due = min(MESSAGE_TAGS, common - start)
        link.require(len(tags.first) == len(tags.second) == due, Reason.WRONG_LENGTH)
        parts.append(tags)
    first, second = (np.concatenate([column.values for column in columns])
                     for columns in zip(*((part.first, part.second) for part in parts), strict=True))
    places: I64 = await run.me.compute(_places, outputs, first, second)
    link.require(bool(np.all(places >= 0)), Reason.OUT_OF_RANGE)
    link.require(all_differ(places, len(run.mine)), Reason.REPEATED_VALUE)
    return places
