"""Steps on the institution's own Ray cluster, instead of threads of the node (docs/adr/0012-compute-on-ray.md).

Two closed lists decide what may leave the process: `STEPS` by function, and the types below by exact class. A step
that is given anything else (a key, a generator, an encryptor, a share) runs here, in a thread. Knows no job.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, TypeVar

import numpy as np

from mpc.errors import LocalError
from mpc.paillier.ciphertexts import CipherVector, PublicKey
from mpc.products.packed_over_rows import powers_product
from party_node.jobs.workers import Workers

T = TypeVar("T")

STEPS: dict[str, Callable[..., CipherVector]] = {"powers_product": powers_product}
"""Pure steps over ciphertexts that take no secret object; each returns a vector under a key among its arguments."""
PLAIN = (int, str)
NUMBERS = "iuf"                # kinds of arrays: never objects


class NotForTheCluster(Exception):
    """This step stays in the process."""


@dataclass(frozen=True)
class ShippedVector:
    """A CipherVector on its way: n, whether phe is asked for, the ciphertexts little-endian."""

    n: int
    phe: bool
    data: bytes
    count: int


def packed(value: object) -> object:
    """`value` as it travels; NotForTheCluster unless its class is one of those that may."""
    if type(value) is CipherVector:
        key = value.key
        return ShippedVector(key.n, key.engine == "phe", key.ring.to_bytes(value.residues, key.width), len(value))
    if type(value) is np.ndarray and value.dtype.kind in NUMBERS:
        return value
    if type(value) in PLAIN:
        return value
    raise NotForTheCluster(type(value).__name__)


def unpacked(value: object, key: PublicKey | None = None) -> object:
    """What `packed` was given; vectors under `key` where it is given, else under a key made for this machine."""
    if not isinstance(value, ShippedVector):
        return value
    key = key or _key(value.n, "phe" if value.phe else "auto")
    return CipherVector(key, key.ring.from_bytes(value.data, value.count, key.width))


@lru_cache(maxsize=16)
def _key(n: int, engine: str) -> PublicKey:
    return PublicKey(n, engine)


def run_step(name: str, arguments: tuple[object, ...]) -> object:
    """On the cluster: one of `STEPS`."""
    return packed(STEPS[name](*(unpacked(argument) for argument in arguments)))


class ClusterPool(Workers):
    """A pool whose threads hand to Ray what may go there and run the rest themselves."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self.shipped = 0           # steps that the cluster ran
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")     # Ray reports its use to its makers otherwise
        try:
            import ray
        except ImportError:
            raise LocalError('compute = "ray" needs Ray', "run: pip install 'joint-credit-risk[cluster]'") from None
        self._ray = ray
        if not ray.is_initialized():
            ray.init(include_dashboard=False, log_to_driver=False)   # RAY_ADDRESS names a cluster, else a local one
        self._far = ray.remote(run_step)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """As of ThreadPoolExecutor."""
        return super().submit(self._run, partial(fn, *args, **kwargs))

    def _run(self, call: partial[Any]) -> Any:
        """The result of `call`, from the cluster if it may go there."""
        names = [name for name, step in STEPS.items() if step is call.func]
        if not names or call.keywords:
            return call()
        try:
            arguments = tuple(packed(argument) for argument in call.args)
        except NotForTheCluster:
            return call()
        keys = [argument.key for argument in call.args if isinstance(argument, CipherVector)]
        result = unpacked(self._ray.get(self._far.remote(names[0], arguments)), keys[0])
        self.shipped += 1
        return result

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As of ThreadPoolExecutor; leaves the cluster."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        self._ray.shutdown()
