"""The compute seam on a local Ray with two workers: what goes there, what stays, and equal results."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

from mpc.errors import LocalError
from mpc.kernels import cores
from mpc.paillier.ciphertexts import CipherVector
from mpc.paillier.encryption import public_encryptor
from mpc.paillier.rerandomisation import Rerandomiser
from mpc.products.packed_over_rows import powers_product
from mpc.protocol import Ledger
from mpc.rng import Rng
from mpc.testing.keys import small_key
from party_node.jobs import ray_cluster
from party_node.jobs.ray_cluster import ClusterPool, NotForTheCluster, packed, run_step, unpacked
from party_node.jobs.runtime import NodeParty, make_pool

KEY = small_key(384, 1, "gmp")
BLOCKS, INPUTS, BITS = 5, 3, 20


def cells() -> CipherVector:
    count = BLOCKS * INPUTS
    return KEY.public.parse(KEY.encryptor(Rng(bytes(32)), count).encrypt(list(range(count))), count)


def masks(seed: int) -> Any:
    return Rng(bytes([seed]) * 32).ring(2 * INPUTS, BITS).reshape(2, INPUTS)


@pytest.fixture
def pool() -> Iterator[ClusterPool]:
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    made = make_pool("ray")
    assert isinstance(made, ClusterPool)
    yield made
    made.shutdown()
    cores.use(1)


async def test_steps_run_on_the_cluster_and_give_what_threads_give(pool: ClusterPool) -> None:
    me = NodeParty("bank", Rng(bytes(32)), Ledger({}), pool, lambda what, done, total: None)
    found = await me.together(*(me.compute(powers_product, cells(), BLOCKS, masks(i), BITS) for i in range(4)))
    assert pool.shipped == 4
    for i, vector in enumerate(found):
        here = powers_product(cells(), BLOCKS, masks(i), BITS)
        assert KEY.public.ring.store(vector.residues) == KEY.public.ring.store(here.residues)
        assert KEY.decrypt(vector) == [
            sum(int(weight) * (column * BLOCKS + block) for column, weight in enumerate(row))
            for row in masks(i) for block in range(BLOCKS)
        ]
    assert await me.compute(KEY.decrypt, found[0]) == KEY.decrypt(found[0])   # the key stays: so does the step
    assert await me.compute(os.getpid) == os.getpid()
    assert pool.shipped == 4


def process_after_a_while() -> int:
    time.sleep(0.5)
    return os.getpid()


def test_two_workers_work_at_the_same_time(pool: ClusterPool) -> None:
    import ray

    far = ray.remote(process_after_a_while)
    assert len({os.getpid(), *ray.get([far.remote() for _ in range(2)])}) == 3


SECRETS: dict[str, Callable[[], object]] = {
    "a private key": lambda: KEY,
    "a generator": lambda: Rng(bytes(32)),
    "an owner's encryptor": lambda: KEY.encryptor(Rng(bytes(32)), 1),
    "a public encryptor": lambda: public_encryptor(KEY.public, Rng(bytes(32)), 1),
    "a re-randomiser": lambda: Rerandomiser(KEY.public, Rng(bytes(32)), 1),
    "a list": lambda: [1, 2],
    "an array of objects": lambda: np.array([KEY, None], dtype=object),
    "a step of a secret object": lambda: KEY.decrypt,
}


@pytest.mark.parametrize("what", SECRETS)
def test_never_packed(what: str) -> None:
    with pytest.raises(NotForTheCluster):
        packed(SECRETS[what]())


class NoRay:
    """A cluster that must not be asked."""

    def get(self, reference: object) -> object:
        raise AssertionError("a step left the process")


def pool_without_cluster() -> ClusterPool:
    made = ClusterPool.__new__(ClusterPool)
    made.shipped = 0
    made._ray, made._far = NoRay(), None
    return made


def test_a_listed_step_with_a_secret_argument_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def step(key: object, number: int) -> str:
        ran.append(threading.current_thread().name)
        return "here"

    monkeypatch.setitem(ray_cluster.STEPS, "step", step)
    assert pool_without_cluster()._run(partial(step, KEY, 3)) == "here"
    assert len(ran) == 1


def test_a_step_that_is_not_listed_stays_whatever_its_arguments() -> None:
    assert pool_without_cluster()._run(partial(pow, 2, 10)) == 1024


def test_what_travels_comes_back_equal_under_any_engine() -> None:
    vector = cells()
    there = unpacked(packed(vector))
    assert isinstance(there, CipherVector)
    back = unpacked(packed(there), KEY.public)
    assert isinstance(back, CipherVector)
    assert back.key is KEY.public
    assert KEY.public.ring.store(back.residues) == KEY.public.ring.store(vector.residues)
    arguments = tuple(packed(value) for value in (vector, BLOCKS, masks(1), BITS))
    far = unpacked(run_step("powers_product", arguments), KEY.public)
    assert isinstance(far, CipherVector)
    assert KEY.decrypt(far) == KEY.decrypt(powers_product(vector, BLOCKS, masks(1), BITS))


def test_without_ray_the_choice_of_it_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(LocalError, match="needs Ray") as caught:
        ClusterPool(2)
    assert "pip install" in caught.value.advice
