"""The engine `oprf` of align: set intersection from oblivious pseudo-random functions. N >= 2, semi-honest.

   leader: X                                             follower i: Y_i
 1 zero sharing of every pair: functions s_i with XOR of all s_i(x) = 0 at every x
 2 F_i(x) for x in X             <-- mpc/oprf.py -->      F_i, anywhere
 3 a lower bound, on a public sample:   mpc/hidden_count.py, until all are content
                                 <-- Programmed --        (three parties or more: s_i + F_i over the sample)
                                  -- Verdict -->   <-- Verdict --   -- Verdict -->
 4                               <-- Programmed --        store of  y -> (s_i(y), handle of y) + F_i(y)
 5 common: XOR of all s = 0       -- Verdict, Indices -->  own rows

A sample can only miss common customers, so a number that it shows is a lower bound, whatever the rest holds. If it
does not reach the minimum, or a party's own rules need to know more, a sample eight times as large follows and at
last everything, which gives the exact number. Only then (4) do the followers send what shows members.

Source: Kolesnikov, Matania, Pinkas, Rosulek and Trieu, CCS 2017 (ePrint 2017/799), section 5, augmented semi-honest;
the sampled bound is ours. Departures and what coalitions learn: docs/protocols/align.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from math import ceil, sqrt

import numpy as np

from mpc import hidden_count, oprf, zero_sharing
from mpc.domains import Domain
from mpc.errors import LocalError, Reason
from mpc.id_column import IdColumn
from mpc.link import Link, PartyId
from mpc.okvs import Keys, Layout, Plan
from mpc.oprf import Codes, Outputs
from mpc.protocol import Party
from mpc.protocols.align_terms import AlignOptions, Verdict, receive_places, send_places, too_few
from mpc.ring import I64, U64, RingVector
from mpc.rng import Rng
from mpc.zero_sharing import ZeroSharing

MESSAGE_WORDS = 1 << 17     # 1 MiB
GROWTH = 8                  # of one sample over the one before
CHECK_BITS, HANDLE_BITS = 64, 32
MEMBERS, COUNTS = 1, 2      # purposes of F: the members; the counts of sample 0, 1, 2, ...

# ---------------------------------------------------------------- messages


@dataclass(frozen=True)
class Programmed:
    """Part of one column of a follower's store; uniform to whoever lacks F_i at its keys."""

    words: RingVector


# ---------------------------------------------------------------- inputs


@dataclass(repr=False)
class _Run:
    """What one party keeps of one alignment."""

    me: Party
    peers: Mapping[PartyId, Link]
    options: AlignOptions
    sizes: Mapping[PartyId, int]
    accept_count: Callable[[int], None]
    settles: Callable[[int], bool]
    codes: Codes
    digests: U64
    rng: Rng
    zero: ZeroSharing

    @property
    def followers(self) -> list[PartyId]:
        return sorted(party for party in self.sizes if party != self.options.leader)

    @property
    def helper(self) -> PartyId:
        """The follower with whom the leader counts: the one with the smallest set."""
        return min(self.followers, key=lambda party: (self.sizes[party], party))

    def to_all(self) -> Sequence[Link]:
        return [self.peers[party] for party in self.followers]


@dataclass(frozen=True)
class Sample:
    """A public part of all possible ids: those whose drawn word lies below `rate` 2^64."""

    number: int
    rate: Fraction

    def capacity(self, size: int) -> int:
        """To what length the sample of a set of `size` ids is padded; it is larger with probability 2^-40."""
        mean = float(size * self.rate)
        return min(size, ceil(mean + 7.5 * sqrt(mean) + 16))

    def rows(self, drawn: U64) -> I64:
        """The rows of a set that are in the sample; what would not fit is left out."""
        if self.rate == 1:
            return np.arange(len(drawn))
        limit = np.uint64(int(self.rate * 2**64))
        return np.flatnonzero(drawn < limit)[:self.capacity(len(drawn))]


def samples(sizes: Mapping[PartyId, int], options: AlignOptions) -> list[Sample]:
    """The samples in turn, from the announced sizes; the last one is everything."""
    smallest, wanted = min(sizes.values()), options.sample or 4 * options.minimum
    rates = []
    while wanted * GROWTH <= smallest:
        rates.append(Fraction(wanted, smallest))
        wanted *= GROWTH
    return [Sample(number, rate) for number, rate in enumerate([*rates, Fraction(1)])]


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
    digests = await me.compute(_digests, ids, options.session)
    codes = Codes(options.session)
    this = _Run(me, peers, options, sizes, accept_count, settles, codes, digests, rng, zero)
    return await (_lead(this) if me.id == options.leader else _follow(this))


async def _lead(run: _Run) -> I64:
    me = run.me
    keys, table = await me.compute(oprf.store_codes, run.codes, run.digests, run.rng.child("codes"))
    outputs = await me.together(*(
        oprf.run_receiver(me, link.channel("oprf"), keys, table) for link in run.to_all()                # 2
    ))
    del keys, table
    known = dict(zip(run.followers, outputs, strict=True))
    bound = await _bound_leading(run, known)                                                             # 3
    me.ledger.record("align.members", 0)   # refused here, where the spec does not list it
    stores = await me.together(*(                                                                        # 4
        _receive_store(run.peers[p].channel("members"), Layout(run.sizes[p])) for p in run.followers
    ))
    rows, handles = await me.compute(_common, run, known, dict(zip(run.followers, stores, strict=True)))  # 5
    for party, link in zip(run.followers, run.to_all(), strict=True):
        link.require(bool(np.all(handles[party] < run.sizes[party])), Reason.OUT_OF_RANGE)
        link.require(len(np.unique(handles[party])) == len(rows), Reason.REPEATED_VALUE)
    await _tell(run, len(rows), partial(_record, run, len(rows), *bound))
    order = run.rng.child("canonical order").permutation(len(rows))
    await me.together(*(send_places(run.peers[p].channel("rows"), handles[p][order]) for p in run.followers))
    return rows[order]


async def _follow(run: _Run) -> I64:
    me, leader = run.me, run.peers[run.options.leader]
    layout, mine = Layout(len(run.digests)), run.sizes[run.options.leader]
    evaluator, plan = await me.together(                                                                 # 2
        oprf.run_sender(me, leader.channel("oprf"), run.codes, mine), me.compute(_plan, run, layout),
    )
    outputs: Outputs = await me.compute(evaluator.evaluate, run.digests)
    handles = run.rng.child("handles").permutation(len(run.digests))
    bound, store = await me.together(_bound_following(run, outputs), me.compute(_store, run, plan, outputs, handles))
    await _send_store(leader.channel("members"), store)                                                  # 3, 4
    common = (await leader.receive(Verdict)).common
    if common == 0:
        raise too_few()
    lowest, exact = bound
    leader.require(lowest <= common <= (lowest if exact else min(run.sizes.values())), Reason.OUT_OF_RANGE)
    if not exact:
        run.accept_count(common)
    me.ledger.record("align.members", common)
    received = await receive_places(leader.channel("rows"), common, len(run.digests))                    # 5
    row_of = np.empty_like(handles)
    row_of[handles] = np.arange(len(handles))
    rows: I64 = row_of[received]
    return rows


# ---------------------------------------------------------------- the count before the members


async def _bound_leading(run: _Run, known: Mapping[PartyId, Outputs]) -> tuple[int, bool]:
    """A number that is at most the number in common, and whether it is exact; all parties are content with it."""
    me, helper = run.me, run.peers[run.helper]
    drawn = await me.compute(run.codes.drawn, run.digests)
    for sample in samples(run.sizes, run.options):
        rows, others = sample.rows(drawn), [p for p in run.followers if p != run.helper]
        stores = await me.together(*(
            _receive_column(run.peers[p].channel(f"sample/{sample.number}"), _layout(run, sample, p), CHECK_BITS)
            for p in others
        ))
        values = await me.compute(_values, run, sample, rows, [
            (known[p], _layout(run, sample, p), store) for p, store in zip(others, stores, strict=True)
        ])
        me.ledger.record("align.overlaps")
        lengths = (sample.capacity(len(run.digests)), sample.capacity(run.sizes[run.helper]))
        channel = helper.channel(f"count/{sample.number}")
        number = await hidden_count.run_counter(me, channel, values, _label(run), lengths)
        if sample.rate == 1:
            await _tell(run, number, partial(_enough, run, number))
            return number, True
        if await _agreed(run, number):
            return number, False
    raise LocalError("the last sample is everything")  # not reached


async def _bound_following(run: _Run, outputs: Outputs) -> tuple[int, bool]:
    """The follower's side of `_bound_leading`."""
    me, leader = run.me, run.peers[run.options.leader]
    drawn = await me.compute(run.codes.drawn, run.digests)
    for sample in samples(run.sizes, run.options):
        rows, layout = sample.rows(drawn), _layout(run, sample, me.id)
        if me.id == run.helper:
            values = await me.compute(_values, run, sample, rows, [])
            lengths = (sample.capacity(run.sizes[run.options.leader]), sample.capacity(len(run.digests)))
            channel = leader.channel(f"count/{sample.number}")
            await hidden_count.run_helper(me, channel, values, _label(run), lengths)
        else:
            store = await me.compute(_sample_store, run, sample, rows, layout, outputs)
            await _send_column(leader.channel(f"sample/{sample.number}"), store, CHECK_BITS)
        number = (await leader.receive(Verdict)).common
        most = min(sample.capacity(size) for size in run.sizes.values())
        leader.require(number == 0 or run.options.minimum <= number <= most, Reason.OUT_OF_RANGE)
        if sample.rate == 1:
            if number == 0:
                raise too_few()
            run.accept_count(number)
            return number, True
        content = number > 0 and run.settles(number)
        await leader.send(Verdict(number if content else 0))
        final = (await leader.receive(Verdict)).common
        leader.require(final == 0 or (content and final == number), Reason.OUT_OF_RANGE)
        if final:
            return final, False
    raise LocalError("the last sample is everything")  # not reached


async def _agreed(run: _Run, number: int) -> bool:
    """Whether every party is content to know that at least `number` are common; 0 tells that the leader is not."""
    offered = number if number >= run.options.minimum and run.settles(number) else 0

    async def ask(link: Link) -> bool:
        await link.send(Verdict(offered))
        answer = (await link.receive(Verdict)).common
        link.require(answer in (0, offered), Reason.OUT_OF_RANGE)
        return answer > 0

    final = offered if all(await run.me.together(*(ask(link) for link in run.to_all()))) else 0
    await run.me.together(*(link.send(Verdict(final)) for link in run.to_all()))
    return final > 0


async def _tell(run: _Run, number: int, rule: Callable[[], None]) -> None:
    """The number to all, unless our own `rule` raises: then 0."""
    try:
        rule()
    except Exception:
        await run.me.together(*(link.send(Verdict(0)) for link in run.to_all()))
        raise
    await run.me.together(*(link.send(Verdict(number)) for link in run.to_all()))


def _enough(run: _Run, number: int) -> None:
    if number < run.options.minimum:
        raise too_few()
    run.accept_count(number)


def _record(run: _Run, number: int, lowest: int, exact: bool) -> None:
    """Our own rules for the number of members, which are known to us alone so far."""
    if number < lowest:
        raise too_few()
    if not exact:
        run.accept_count(number)
    run.me.ledger.record("align.members", number)


# ---------------------------------------------------------------- steps


def _digests(ids: Sequence[bytes], session: bytes) -> U64:
    digests = IdColumn.of(ids).digests(hashlib.sha256(Domain.ALIGN_DIGEST.encode() + b"\0" + session).digest())
    first = np.sort(digests[:, 0])
    if np.any(first[1:] == first[:-1]) and len(np.unique(digests, axis=0)) < len(digests):
        raise LocalError("an id occurs twice", "give each id once")
    return digests


def _label(run: _Run) -> bytes:
    return Domain.ALIGN_COUNT.encode() + b"/" + run.options.session


def _plan(run: _Run, layout: Layout) -> Plan:
    return Plan(Keys.locate(run.codes.words(run.digests), layout), layout)


def _store(run: _Run, plan: Plan, outputs: Outputs, handles: I64) -> U64:
    """Step 4: from every own id its value of the zero sharing and its handle, under F."""
    values = outputs.words(MEMBERS)
    values[:, 0] ^= run.zero.function("members", run.digests)
    values[:, 1] ^= handles.view(np.uint64)
    return plan.encode(values, run.rng.child("members"))


def _sample_store(run: _Run, sample: Sample, rows: I64, layout: Layout, outputs: Outputs) -> U64:
    digests = run.digests[rows]
    values = outputs.words(COUNTS + sample.number, rows)[:, 0] ^ run.zero.function(f"{sample.number}", digests)
    plan = Plan(Keys.locate(run.codes.words(digests), layout), layout)
    return plan.encode(values[:, None], run.rng.child(f"sample {sample.number}"))[:, 0]


def _values(
    run: _Run, sample: Sample, rows: I64, stores: Sequence[tuple[Outputs, Layout, U64]]
) -> list[bytes]:
    """What is counted: each sampled id with a word that leader and helper share only if all others have the id."""
    digests = run.digests[rows]
    words = run.zero.function(f"{sample.number}", digests)
    for outputs, layout, store in stores:
        words ^= run.codes.decode(digests, layout, store[:, None])[:, 0]
        words ^= outputs.words(COUNTS + sample.number, rows)[:, 0]
    return [row.tobytes() for row in np.column_stack([digests, words])]


def _common(
    run: _Run, known: Mapping[PartyId, Outputs], stores: Mapping[PartyId, U64]
) -> tuple[I64, dict[PartyId, I64]]:
    """Step 5: our rows that all have, and their handles at each follower."""
    rows, handles = [], {party: list[I64]() for party in stores}
    for start in range(0, len(run.digests), oprf.CHUNK_KEYS):
        part = slice(start, start + oprf.CHUNK_KEYS)
        checks, seen = run.zero.function("members", run.digests[part]), {}
        for party, store in stores.items():
            values = run.codes.decode(run.digests[part], Layout(run.sizes[party]), store)
            values ^= known[party].words(MEMBERS, part)
            checks ^= values[:, 0]
            seen[party] = values[:, 1] & np.uint64((1 << HANDLE_BITS) - 1)
        found = np.flatnonzero(checks == 0)
        rows.append(start + found)
        for party, column in seen.items():
            handles[party].append(column[found].astype(np.int64))
    return np.concatenate(rows), {party: np.concatenate(parts) for party, parts in handles.items()}


# ---------------------------------------------------------------- stores on the wire


def _layout(run: _Run, sample: Sample, party: PartyId) -> Layout:
    return Layout(sample.capacity(run.sizes[party]))


async def _send_store(link: Link, store: U64) -> None:
    await _send_column(link, store[:, 0], CHECK_BITS)
    await _send_column(link, store[:, 1] & np.uint64((1 << HANDLE_BITS) - 1), HANDLE_BITS)


async def _receive_store(link: Link, layout: Layout) -> U64:
    store = np.empty((layout.slots, 2), np.uint64)
    for column, bits in enumerate((CHECK_BITS, HANDLE_BITS)):
        store[:, column] = await _receive_column(link, layout, bits)
    return store


async def _send_column(link: Link, words: U64, bits: int) -> None:
    for start in range(0, len(words), MESSAGE_WORDS):
        await link.send(Programmed(RingVector(words[start:start + MESSAGE_WORDS].copy(), bits)))


async def _receive_column(link: Link, layout: Layout, bits: int) -> U64:
    words = np.empty(layout.slots, np.uint64)
    for start in range(0, len(words), MESSAGE_WORDS):
        part = (await link.receive(Programmed)).words
        link.require(len(part) == min(MESSAGE_WORDS, len(words) - start), Reason.WRONG_LENGTH)
        link.require(part.bits == bits, Reason.OUT_OF_RANGE)
        words[start:start + MESSAGE_WORDS] = part.values
    return words
