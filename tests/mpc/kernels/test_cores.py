"""Sharing a bulk call out among threads, and the packed combinations: equal to one thread and to plain integers."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from mpc.kernels import cores
from mpc.kernels.engines.selection import modulus
from mpc.kernels.modulus import Modulus, packed
from mpc.kernels.simd.engine import FORMS, available
from mpc.testing.keys import small_key

N = small_key(384).public.n ** 2
NATIVE = [name for name, form in FORMS.items() if available(form)]
ENGINES = ["gmp", "phe", *NATIVE]


@pytest.fixture
def three_threads() -> Iterator[None]:
    cores.use(3)
    yield
    cores.use(1)


def numbers(count: int, bits: int = 760) -> list[int]:
    return [pow(3, 1000 + i, 1 << bits) for i in range(count)]


def everything(ring: Modulus, count: int) -> list[list[int]]:
    """What each bulk call of `ring` gives."""
    values = ring.load(numbers(count))
    weights = np.arange(count * 3, dtype=np.uint64).reshape(count, 3) * np.uint64(37) % np.uint64(1 << 13)
    return [ring.store(result) for result in (
        values,
        ring.mul(values, values),
        ring.mul(values, ring.load([N - 1])),
        ring.pow_same(values, 12345),
        ring.fixed_base(7, 90, count).pow(packed((i**8 for i in range(count)), 12)),
        ring.multiexp_rows(ring.slice(values, 0, 3), weights, 13),
        ring.multiexp_columns(values, weights, 13),
        ring.group_products(values, (weights % np.uint64(21)).astype(np.uint8), 21),
        ring.load([ring.product(values)]),
    )]


@pytest.mark.parametrize("engine", NATIVE)
@pytest.mark.parametrize("count", [3, 8, 9, 1100])
def test_three_threads_give_what_one_thread_gives(engine: str, count: int, three_threads: None) -> None:
    shared = everything(modulus(N, engine), count)
    cores.use(1)
    assert shared == everything(modulus(N, engine), count) == everything(modulus(N, "gmp"), count)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("width", [1, 47, 48, 97])
def test_packed_combinations_equal_integers(engine: str, width: int) -> None:
    ring, top = modulus(N, engine), (1 << (8 * width)) - 1
    left, right = [0, 1, top, *numbers(10, 8 * width)], [top, 0, top, *numbers(10, 8 * width)[::-1]]
    packed = [b"".join(v.to_bytes(width, "little") for v in side) for side in (left, right)]
    for x, y in ((1, 5), (0, N - 1), (N - 1, N - 1), (N + 3, 2 * N)):
        found = ring.store(ring.combine(packed[0], packed[1], width, (x, y)))
        assert found == [(a * x + b * y) % N for a, b in zip(left, right, strict=True)]
    assert len(ring.combine(b"", b"", width, (1, 1))) == 0
    with pytest.raises(ValueError, match="width bytes"):
        ring.combine(packed[0], packed[1][width:], width, (1, 1))


def test_every_item_is_worked_on_once_by_several_threads(three_threads: None) -> None:
    done, barrier, here = [0] * 100, threading.Barrier(3, timeout=10), threading.local()

    def work(first: int, last: int) -> None:
        if not hasattr(here, "met"):
            here.met = barrier.wait()        # passes only if three threads are here
        for i in range(first, last):
            done[i] += 1

    cores.share_out(100, 20, work)
    assert done == [1] * 100


def test_a_caller_does_not_wait_for_helpers_that_are_busy(three_threads: None) -> None:
    busy, release = threading.Barrier(4, timeout=10), threading.Event()
    done: list[tuple[int, int]] = []

    def block(first: int, last: int) -> None:
        busy.wait()
        release.wait(10)

    blocked = threading.Thread(target=cores.share_out, args=(3, 1, block))
    blocked.start()
    busy.wait()                              # both helpers are held now
    cores.share_out(9, 1, lambda first, last: done.append((first, last)))
    release.set()
    blocked.join(10)
    assert done == [(at, at + 1) for at in range(9)]


def test_a_helper_that_is_held_up_leaves_the_rest_to_the_others(three_threads: None) -> None:
    caller, release, done = threading.get_ident(), threading.Event(), list[int]()

    def work(first: int, last: int) -> None:
        if threading.get_ident() != caller:
            release.wait(10)
        done.append(first)
        if len(done) == 10:                  # all but the two that the helpers hold
            release.set()

    cores.share_out(12, 1, work)
    assert sorted(done) == list(range(12))
    assert release.is_set()


def test_a_failure_in_a_helper_reaches_the_caller(three_threads: None) -> None:
    def work(first: int, last: int) -> None:
        if first:
            raise ArithmeticError("planted")

    with pytest.raises(ArithmeticError, match="planted"):
        cores.share_out(9, 1, work)


def test_no_threads_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        cores.use(0)
