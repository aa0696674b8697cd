"""Small Paillier keys for tests, the same on every run. Far too short for anything else."""

from __future__ import annotations

from functools import lru_cache

from mpc.paillier.keys import PrivateKey, _draw_private_key
from mpc.rng import Rng


@lru_cache(maxsize=64)
def small_key(bits: int = 512, seed: int = 1, engine: str = "auto") -> PrivateKey:
    """A deterministic key of `bits` bits (an even number >= 128)."""
    return _draw_private_key(Rng(seed.to_bytes(32, "big")).child(f"small-key/{bits}"), bits, engine)
