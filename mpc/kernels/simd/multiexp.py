"""Powers with tables and buckets over the compiled loops: who holds which digit, and how the work is cut.

Digits are cut from the exponents inside the compiled code; here are only the places where they begin.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import gmpy2
import numpy as np

from mpc.kernels import cores
from mpc.kernels.modulus import Exponents, Groups, packed_exponents
from mpc.kernels.simd.memory import LANES, Bytes, Compiled, SimdResidues, Words, aligned, batches
from mpc.kernels.windows import table_window

CHUNK_BATCHES = 512        # of bases that are laid out as rows at a time
WIDEST_BUCKETS = 12
WORD_BITS = 64


class Tables(NamedTuple):
    """Rows base_t^d, and where table t finds its digit in an exponent."""

    rows: Words
    entries: int
    starts: Words
    masks: Words


def _build_tables(modulus: Compiled, bases: Sequence[int], bits: int, window: int) -> Tables:
    """Tables of every digit of every base; the exponents of the bases lie 64 bits apart, or there is one base."""
    windows, entries = -(-bits // window), 1 << window
    powers = []
    for base in bases:
        powers.append(base % modulus.value)
        for _ in range(windows - 1):
            powers.append(int(gmpy2.powmod(powers[-1], entries, modulus.value)))
    count = batches(len(powers))
    rows = aligned(count * LANES * entries, modulus.size)
    loaded = modulus.load(powers).words

    def work(first: int, last: int) -> None:
        mine = rows[first * LANES * entries :]
        modulus.call("build_tables", mine, loaded[first:last], modulus.one, entries, last - first)

    cores.share_out(count, 1, work)
    digit, base_index = np.arange(windows) * window, np.arange(len(bases)) * WORD_BITS
    masks = [(1 << min(window, bits - window * k)) - 1 for k in range(windows)] * len(bases)
    starts = (base_index[:, None] + digit).reshape(-1).astype(np.uint64)
    return Tables(rows, entries, starts, np.array(masks, dtype=np.uint64))


def _select_product(modulus: Compiled, tables: Tables, exponents: Bytes, stride: int, count: int) -> SimdResidues:
    """The product of one entry per table for each of `count` packed exponents."""
    result = modulus.empty(count)
    flat = exponents.reshape(-1)

    def work(first: int, last: int) -> None:
        modulus.call(
            "select_product", result.words[first:last], tables.rows, tables.entries, flat[first * LANES * stride :],
            stride, tables.starts, tables.masks, len(tables.starts), last - first,
        )  # fmt: skip

    cores.share_out(batches(count), 1, work)
    return result


class SimdFixedBase:
    """Radix-2^w tables of one base [BGMW 1992]."""

    def __init__(self, modulus: Compiled, base: int, bits: int, expected_count: int) -> None:
        self._modulus, self._bits = modulus, bits
        window = table_window(bits, 1, expected_count, 8 * modulus.size)
        self._tables = _build_tables(modulus, [base], bits, window)

    def pow(self, exponents: bytes) -> SimdResidues:
        rows = packed_exponents(exponents, self._bits)
        count, width = rows.shape
        stride = width + 8                               # digits are read as whole words
        padded = np.zeros((batches(count) * LANES, stride), dtype=np.uint8)
        padded[:count, :width] = rows
        return _select_product(self._modulus, self._tables, padded, stride, count)


def _check_range(exponents: Exponents, bits: int) -> None:
    if not 1 <= bits <= WORD_BITS:
        raise ValueError("matrix exponents have 1 to 64 bits")
    if bits < WORD_BITS and exponents.size and int(exponents.max()) >> bits:
        raise ValueError("an exponent is longer than was declared")


def rows_product(modulus: Compiled, bases: SimdResidues, exponents: Exponents, bits: int) -> SimdResidues:
    """Modulus.multiexp_rows: tables per base, all lanes of a batch in other rows."""
    rows, columns = exponents.shape
    if columns != len(bases):
        raise ValueError("one column of exponents per base")
    _check_range(exponents, bits)
    if not columns:
        return modulus.ones(rows)
    window = table_window(bits, columns, rows, 8 * modulus.size)
    tables = _build_tables(modulus, modulus.store(bases), bits, window)
    packed = np.zeros(batches(rows) * LANES * columns + 1, dtype="<u8")   # one more, as digits are read whole
    packed[: rows * columns] = exponents.reshape(-1)
    return _select_product(modulus, tables, packed.view(np.uint8), 8 * columns, rows)


class BucketPlan(NamedTuple):
    """How Pippenger's work is cut: digits of `window` bits, rows in `slices` of `length` (a multiple of 8)."""

    window: int
    windows: int
    slices: int
    length: int

    @classmethod
    def cheapest(cls, rows: int, columns: int, bits: int, threads: int = 1) -> BucketPlan:
        """Fewest steps of the busiest thread, eight lanes a step; every (digit, slice, column) takes one lane."""
        best, least = cls(1, bits, 1, batches(rows) * LANES), math.inf
        for window in range(1, WIDEST_BUCKETS + 1):
            windows = -(-bits // window)
            for slices in range(1, LANES + 1):
                length = batches(-(-rows // slices)) * LANES
                each, rest = divmod(batches(windows * slices * columns), threads)
                cost = each * (length + (2 << window)) + rest * (length / threads + (2 << window))
                if cost < least:
                    best, least = cls(window, windows, slices, length), cost
        return best


class Job(NamedTuple):
    """The work of one lane: the digit at bit `shift` of the exponents of one column in one slice of the rows."""

    shift: int
    slice: int
    column: int


def columns_product(modulus: Compiled, bases: SimdResidues, exponents: Exponents, bits: int) -> SimdResidues:
    """Modulus.multiexp_columns: buckets [Pippenger 1976; BDLO 2012, section 4], eight jobs at a time."""
    rows, columns = exponents.shape
    if rows != len(bases):
        raise ValueError("one row of exponents per base")
    _check_range(exponents, bits)
    if not rows or not columns:
        return modulus.ones(columns)
    plan = BucketPlan.cheapest(rows, columns, bits, cores.in_use())
    exponents = np.ascontiguousarray(exponents, dtype=np.uint64)
    jobs = [
        Job(k * plan.window, s, j) for k in range(plan.windows) for s in range(plan.slices) for j in range(columns)
    ]
    passes = _passes(batches(len(jobs)), plan.length, cores.in_use())
    parts = modulus.empty(len(passes) * LANES)

    def work(first: int, last: int) -> None:
        buckets = aligned(LANES << plan.window, modulus.size)
        for at, (batch, start, stop) in enumerate(passes[first:last], first):
            buckets[:] = modulus.one[:, 0]
            mine = jobs[batch * LANES : (batch + 1) * LANES]
            _fill_buckets(modulus, buckets, bases, exponents, plan, mine, range(start, stop))
            modulus.call("sum_buckets", parts.words[at], buckets, modulus.one, 1 << plan.window)

    cores.share_out(len(passes), 1, work)
    results = modulus.ones(len(jobs))
    for at, (batch, _, _) in enumerate(passes):
        modulus.call("multiply_many", results.words[batch], results.words[batch], parts.words[at], 1, 1)
    return _joined(modulus, results, plan, columns)


GROUP_BITS, GROUPS_PER_WORD = 8, 8


def groups_product(modulus: Compiled, bases: SimdResidues, groups: Groups, count: int) -> SimdResidues:
    """Modulus.group_products: the buckets themselves, one for each group; eight columns' groups lie in one word."""
    rows, columns = groups.shape
    if not rows or not columns:
        return modulus.ones(columns * count)
    slices = max(1, LANES * cores.in_use() // columns)
    plan = BucketPlan(count.bit_length(), 1, slices, batches(-(-rows // slices)) * LANES)
    words = batches(columns)
    packed = np.zeros((rows, words * GROUPS_PER_WORD), dtype=np.uint8)
    packed[:, :columns] = groups + 1                     # bucket 0 takes what lanes without a base multiply
    digits = packed.view("<u8").astype(np.uint64, copy=False)
    places = [divmod(j, GROUPS_PER_WORD) for j in range(columns)]
    jobs = [Job(place * GROUP_BITS, s, word) for s in range(slices) for word, place in places]
    passes = _passes(batches(len(jobs)), plan.length, cores.in_use())
    parts = aligned(len(passes), count, modulus.size, LANES)

    def work(first: int, last: int) -> None:
        buckets = aligned(LANES, 1 << plan.window, modulus.size)
        for at, (batch, start, stop) in enumerate(passes[first:last], first):
            buckets[:] = modulus.one[:, 0]
            mine = jobs[batch * LANES : (batch + 1) * LANES]
            _fill_buckets(modulus, buckets, bases, digits, plan, mine, range(start, stop))
            parts[at] = buckets[:, 1 : count + 1].reshape(count, LANES, -1).transpose(0, 2, 1)

    cores.share_out(len(passes), 1, work)
    results = modulus.ones(batches(len(jobs)) * LANES * count)    # job by job, group by group
    for at, (batch, _, _) in enumerate(passes):
        mine = results.words[batch * count : (batch + 1) * count]
        modulus.call("multiply_many", mine, mine, parts[at], 1, count)
    total = modulus.slice(results, 0, columns * count)
    for s in range(1, slices):
        total = modulus.mul(total, modulus.slice(results, s * columns * count, (s + 1) * columns * count))
    return total


class Pass(NamedTuple):
    """One batch of jobs over rows start..stop-1 of their slices."""

    batch: int
    start: int
    stop: int


def _passes(count: int, length: int, threads: int) -> list[Pass]:
    """As much work for every thread, thread by thread: equally many batches; what is left over, cut by rows."""
    each = count // threads
    cuts = [batches(length) * thread // threads * LANES for thread in range(threads + 1)]
    passes = []
    for thread in range(threads):
        passes += [Pass(batch, 0, length) for batch in range(thread * each, (thread + 1) * each)]
        passes += [Pass(batch, cuts[thread], cuts[thread + 1]) for batch in range(each * threads, count)]
    return passes


def _fill_buckets(
    modulus: Compiled,
    buckets: Words,
    bases: SimdResidues,
    exponents: Exponents,
    plan: BucketPlan,
    jobs: Sequence[Job],
    rows_of_slice: range,
) -> None:
    """One pass over these rows of each slice for up to eight jobs; a lane without a job has no rows."""
    columns, slices = exponents.shape[1], sorted({job.slice for job in jobs})
    chunk = min(CHUNK_BATCHES * LANES, plan.length)
    lanes = np.zeros((4, LANES), dtype=np.uint64)        # read by fill_buckets of loops
    for lane, job in enumerate(jobs):
        first = job.slice * plan.length
        length = max(0, min(plan.length, len(bases) - first))
        exponent = first * columns + job.column if length else 0
        lanes[:, lane] = slices.index(job.slice) * chunk, exponent, length, job.shift
    rows = aligned(len(slices) * chunk, modulus.size)
    rows[:] = 0
    for start in range(rows_of_slice.start, rows_of_slice.stop, chunk):
        stop = min(start + chunk, rows_of_slice.stop)
        for place, index in enumerate(slices):
            first = (index * plan.length + start) // LANES
            part = bases.words[first : first + (stop - start) // LANES]
            modulus.call("rows_of", rows[place * chunk :], part, len(part))
        modulus.call("fill_buckets", buckets, 1 << plan.window, rows, exponents, columns, lanes, start, stop)


def _joined(modulus: Compiled, results: SimdResidues, plan: BucketPlan, columns: int) -> SimdResidues:
    """The slices of each digit multiplied, the digits joined by Horner's rule."""
    total = modulus.ones(columns)
    for k in reversed(range(plan.windows)):
        for _ in range(plan.window):
            total = modulus.mul(total, total)
        for s in range(plan.slices):
            first = (k * plan.slices + s) * columns
            total = modulus.mul(total, modulus.slice(results, first, first + columns))
    return total
