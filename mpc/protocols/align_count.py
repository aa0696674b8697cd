"""The count before the members in the engine `oprf` of align (its step 3), and what one party keeps of a run.

   leader, helper and the other followers, for one public sample after the other
   others' words of the sample       -- Programmed -->    leader (three parties or more: s_i + F_i over the sample)
   leader                  <-- mpc/sets/hidden_count.py -->    helper: how many of the sample all have
   leader                        -- Verdict -->           all: at least so many are common, or 0
   all                           -- Verdict -->           leader: content to know no more, or 0
   leader                        -- Verdict -->           all: the bound stands, or 0 and the next sample follows

A sample can only miss common customers, so its number is a lower bound, whatever the rest holds. It does not know what
members are found; the bound on a sample is ours, see docs/protocols/align.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from math import ceil, sqrt

import numpy as np

from mpc.domains import Domain
from mpc.errors import LocalError, Reason
from mpc.link import Link, PartyId
from mpc.protocol import Party
from mpc.protocols.align_terms import AlignOptions, Verdict, too_few
from mpc.ring import I64, U64, RingVector
from mpc.rng import Rng
from mpc.sets import hidden_count
from mpc.sets.okvs import Layout, Plan
from mpc.sets.oprf import Binned, Codes, Outputs
from mpc.sharing.zero_sharing import ZeroSharing

GROWTH = 8           # of one sample over the one before
CHECK_BITS = 64
COUNTS = 2           # purposes of F from here on: the counts of sample 0, 1, 2, ... (below: align_oprf)
THOUSANDTHS = 1000   # of an alignment are told as progress: watchers need not know how large the sets are
LONG_COUNT = 1 << 14   # values; shorter counts are over before anybody looks


class Stage:
    """Which thousandths of an alignment a step takes, about."""

    FUNCTIONS = (100, 650)
    MEMBERS = (650, 1000)

# ---------------------------------------------------------------- messages


@dataclass(frozen=True)
class Programmed:
    """One bin of a follower's store; uniform to whoever lacks F_i at its keys."""

    words: RingVector


# ---------------------------------------------------------------- inputs


@dataclass(repr=False)
class Run:
    """What one party keeps of one alignment."""

    me: Party
    peers: Mapping[PartyId, Link]
    options: AlignOptions
    sizes: Mapping[PartyId, int]
    accept_count: Callable[[int], None]
    settles: Callable[[int], bool]
    codes: Codes
    mine: Binned
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

    def through(self, stage: tuple[int, int]) -> Callable[[int, int], None]:
        """What a step calls with how much of how much it has done."""
        def told(done: int, total: int) -> None:
            self.me.progress("align", stage[0] + (stage[1] - stage[0]) * done // total, THOUSANDTHS)

        return told

    def counting(self, lengths: tuple[int, int]) -> Callable[[int, int], None]:
        """The same for a count of two lists."""
        def told(done: int, total: int) -> None:
            if sum(lengths) > LONG_COUNT:
                self.me.progress("count", THOUSANDTHS * done // total, THOUSANDTHS)

        return told


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
    if options.output == "sizes_only":   # a bound does not answer the question
        wanted = smallest + 1
    while wanted * GROWTH <= smallest:
        rates.append(Fraction(wanted, smallest))
        wanted *= GROWTH
    return [Sample(number, rate) for number, rate in enumerate([*rates, Fraction(1)])]


# ---------------------------------------------------------------- roles


async def lead(run: Run, known: Mapping[PartyId, Outputs]) -> tuple[int, bool]:
    """A number that is at most the number in common, and whether it is exact; all parties are content with it.

    `known`: the functions of all followers but the helper.
    """
    me, helper = run.me, run.peers[run.helper]
    drawn = await me.compute(run.codes.drawn, run.mine.digests)
    for sample in samples(run.sizes, run.options):
        others = [p for p in run.followers if p != run.helper]
        stores = await me.together(*(
            _receive_sample(run.peers[p].channel(f"sample/{sample.number}"), _layout(run, sample, p)) for p in others
        ))
        values = await me.compute(_values, run, sample, sample.rows(drawn), [
            (known[p], _layout(run, sample, p), store) for p, store in zip(others, stores, strict=True)
        ])
        me.ledger.record("align.overlaps")
        lengths = (sample.capacity(len(run.mine)), sample.capacity(run.sizes[run.helper]))
        channel = helper.channel(f"count/{sample.number}")
        number = await hidden_count.run_counter(
            me, channel, values, _label(run), lengths, _rng(run, sample), run.counting(lengths))
        if sample.rate == 1:
            await tell(run, number, partial(_enough, run, number))
            return number, True
        if await _agreed(run, number):
            return number, False
    raise LocalError("the last sample is everything")  # not reached


async def follow(run: Run, outputs: Outputs | None) -> tuple[int, bool]:
    """The follower's side of `lead`; the helper needs no outputs."""
    me, leader = run.me, run.peers[run.options.leader]
    drawn = await me.compute(run.codes.drawn, run.mine.digests)
    for sample in samples(run.sizes, run.options):
        rows = sample.rows(drawn)
        if outputs is None:
            values = await me.compute(_values, run, sample, rows, [])
            lengths = (sample.capacity(run.sizes[run.options.leader]), sample.capacity(len(run.mine)))
            channel = leader.channel(f"count/{sample.number}")
            await hidden_count.run_helper(
                me, channel, values, _label(run), lengths, _rng(run, sample), run.counting(lengths))
        else:
            store = await me.compute(_sample_store, run, sample, rows, _layout(run, sample, me.id), outputs)
            channel = leader.channel(f"sample/{sample.number}")
            for column in store:
                await channel.send(Programmed(RingVector(column, CHECK_BITS)))
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


async def _agreed(run: Run, number: int) -> bool:
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


async def tell(run: Run, number: int, rule: Callable[[], None]) -> None:
    """The number to all, unless our own `rule` raises: then 0."""
    try:
        rule()
    except Exception:
        await run.me.together(*(link.send(Verdict(0)) for link in run.to_all()))
        raise
    await run.me.together(*(link.send(Verdict(number)) for link in run.to_all()))


def _enough(run: Run, number: int) -> None:
    if number < run.options.minimum:
        raise too_few()
    run.accept_count(number)
    if run.options.output == "sizes_only":
        run.me.ledger.record("align.size", number)


# ---------------------------------------------------------------- steps


def _label(run: Run) -> bytes:
    return Domain.ALIGN_COUNT.encode() + b"/" + run.options.session


def _rng(run: Run, sample: Sample) -> Rng:
    return run.rng.child(f"count {sample.number}")   # not in the order of drawing: other steps run at the same time


def _layout(run: Run, sample: Sample, party: PartyId) -> Layout:
    return Layout(sample.capacity(run.sizes[party]))


def _sample_store(run: Run, sample: Sample, rows: I64, layout: Layout, outputs: Outputs) -> list[U64]:
    """Step 3, a column for each bin: from every sampled own id its value of the zero sharing, under F."""
    sampled = run.codes.binned(run.mine.digests[rows])   # they stand in the order of bins, and stay so
    values = outputs.words(COUNTS + sample.number, rows)[:, 0] ^ run.zero.function(f"{sample.number}", sampled.digests)
    columns, rng = [], run.rng.child(f"sample {sample.number}")
    for number in range(layout.bins):
        part = sampled.part(layout, number)
        plan = Plan(run.codes.keys(sampled.digests[part], layout), layout)
        columns.append(plan.encode(values[part, None], rng.child(f"{number}"))[:, 0])
    return columns


def _values(
    run: Run, sample: Sample, rows: I64, stores: Sequence[tuple[Outputs, Layout, list[U64]]]
) -> list[bytes]:
    """What is counted: each sampled id with a word that leader and helper share only if all others have the id."""
    sampled = run.codes.binned(run.mine.digests[rows])
    words = run.zero.function(f"{sample.number}", sampled.digests)
    for outputs, layout, columns in stores:
        words ^= outputs.words(COUNTS + sample.number, rows)[:, 0]
        words ^= run.codes.read(sampled, layout, [column[:, None] for column in columns])[:, 0]
    return [row.tobytes() for row in np.column_stack([sampled.digests, words])]


async def _receive_sample(link: Link, layout: Layout) -> list[U64]:
    return [await receive_column(link, layout) for _ in range(layout.bins)]


async def receive_column(link: Link, layout: Layout) -> U64:
    """One bin of a store. PeerError WRONG_LENGTH, OUT_OF_RANGE."""
    words = (await link.receive(Programmed)).words
    link.require(len(words) == layout.bin_slots, Reason.WRONG_LENGTH)
    link.require(words.bits == CHECK_BITS, Reason.OUT_OF_RANGE)
    return words.values
