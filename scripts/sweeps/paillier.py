"""Compares the engines with Python's integers, operation by operation, on random and edge inputs.

    python scripts/sweeps/paillier.py [--operations 100000] [--seed 1] [--json]

For n of 2048, 3072 and odd sizes, on n^2 and on an odd modulus that is no square: products, powers, fixed-base
powers, both multi-exponentiations, packed combinations, bytes in and out; edge values are 0, 1, n - 1, n, n^2 - 1, and
the largest exponents. Then whole encryptions, of both signs and of full slots, opened by ours and by phe. An
operation is one element of a result that is compared bit for bit. Exit status 1 at the first difference.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter

import numpy as np
from phe import PaillierPrivateKey, PaillierPublicKey

from mpc.errors import LocalError
from mpc.kernels.engines.selection import engine_name, modulus
from mpc.kernels.modulus import Residues, packed
from mpc.paillier.ciphertexts import CipherVector
from mpc.paillier.encryption import public_encryptor
from mpc.paillier.keys import PrivateKey
from mpc.paillier.rerandomisation import Rerandomiser
from mpc.rng import Rng
from mpc.testing.keys import small_key

SIZES = (2048, 3072, 384, 1026, 1100, 2046)    # bits of n
ENGINES = ("gmp", "phe", "avx2", "ifma")
SHARE_OF_PRODUCTS = 0.95                       # the other operations cost a thousand times more


def engines() -> list[str]:
    """Those that run here."""
    found = []
    for name in ENGINES:
        try:
            found.append(engine_name(name))
        except LocalError:
            continue
    return found


class Sweep:
    """Counts comparisons by operation and engine; stops at the first difference."""

    def __init__(self, rng: Rng) -> None:
        self.rng, self.done = rng, Counter[tuple[str, str]]()

    def same(self, operation: str, engine: str, found: list[int], want: list[int]) -> None:
        """SystemExit, with names and sizes only, unless the two are equal."""
        if found != want:
            raise SystemExit(f"{operation} on {engine} differs from Python's integers")
        self.done[operation, engine] += len(want)

    def numbers(self, count: int, value: int, n: int) -> list[int]:
        """Edge values of residues mod `value`, then random ones."""
        edges = [0, 1, 2, n - 1, n, n + 1, value - n, value - 2, value - 1]
        return [edge % value for edge in edges] + [self.rng.below(value) for _ in range(max(1, count - len(edges)))]

    def modulus(self, value: int, n: int, products: int, others: int) -> None:
        """One modulus, on every engine."""
        left, right = self.numbers(products, value, n), self.numbers(products, value, n)[::-1]
        right = right + right[: len(left) - len(right)]
        few = self.numbers(max(12, others), value, n)
        exponents = [0, 1, (1 << 200) - 1, *(self.rng.bits(200) for _ in range(max(1, others - 3)))]
        weights = self.rng.ring(3 * len(few), 21).reshape(-1, 3)
        weights[0], weights[1] = 0, (1 << 21) - 1
        width = (n.bit_length() + 7) // 8
        halves = [b"".join((x % n).to_bytes(width, "little") for x in side) for side in (few, few[::-1])]
        power = [pow(x, n, value) for x in few]
        fixed = [pow(few[-1], e, value) for e in exponents]
        by_row = [_product(few[:3], row, value) for row in weights.tolist()]
        by_column = [_product(few, column, value) for column in weights.T.tolist()]
        groups = (weights % np.uint64(5)).astype(np.uint8)
        grouped = [_product(few, [int(g == group) for g in column], value)
                   for column in groups.T.tolist() for group in range(5)]
        combined = [(a % n * (value - 1) + b % n * n) % value for a, b in zip(few, few[::-1], strict=True)]
        multiplied = [a * b % value for a, b in zip(left, right, strict=True)]
        for engine in engines():
            ring = modulus(value, engine)
            loaded = ring.load(few)
            written = ring.to_bytes(loaded, ring.width + 3)
            results: dict[str, tuple[Residues, list[int]]] = {
                "product": (ring.mul(ring.load(left), ring.load(right)), multiplied),
                "power": (ring.pow_same(loaded, n), power),
                "fixed base": (ring.fixed_base(few[-1], 200, 1000).pow(packed(exponents, 25)), fixed),
                "rows": (ring.multiexp_rows(ring.slice(loaded, 0, 3), weights, 21), by_row),
                "columns": (ring.multiexp_columns(loaded, weights, 21), by_column),
                "groups": (ring.group_products(loaded, groups, 5), grouped),
                "combination": (ring.combine(halves[0], halves[1], width, (value - 1, n)), combined),
                "bytes": (ring.from_bytes(written, len(few), ring.width + 3), few),
            }
            for operation, (found, want) in results.items():
                self.same(operation, engine, ring.store(found), want)

    def keys(self, private: PrivateKey, count: int) -> None:
        """Encryptions under each engine, opened by each engine and by phe."""
        p, q = private.primes
        n = p * q
        theirs = PaillierPrivateKey(PaillierPublicKey(n), p, q)
        slots = sum((1 << 64) - 1 << 128 * i for i in range(n.bit_length() // 128))     # every slot at its maximum
        signed = [sign * self.rng.bits(64) % n for sign in (1, -1) for _ in range(count)]
        values = [0, 1, n - 1, n // 2, n // 2 + 1, slots % n, *signed]
        for engine in engines():
            key = PrivateKey(p, q, private._chain, engine)
            public, random = key.public, self.rng.child(engine)
            vector = public.parse(key.encryptor(random, 40).encrypt(values), len(values))
            sums = vector.add(public.parse(public_encryptor(public, random, 40).encrypt(values), len(values)))
            sealed = sums if engine == "phe" else public.parse(Rerandomiser(public, random, 40).seal(sums), len(sums))
            want = [2 * value % n for value in values]
            self.same("encrypt, add, re-randomise, decrypt", engine, key.decrypt(sealed), want)
            plain = [int(theirs.raw_decrypt(c)) for c in public.ring.store(sealed.residues)]
            self.same("encrypt, add, re-randomise; phe decrypts", engine, plain, want)
            taken = [int(theirs.public_key.raw_encrypt(value)) for value in values]
            back = key.decrypt(CipherVector(public, public.ring.load(taken)))
            self.same("phe encrypts; decrypt", engine, back, values)


def _product(bases: list[int], weights: list[int], value: int) -> int:
    result = 1
    for base, weight in zip(bases, weights, strict=True):
        result = result * pow(base, weight, value) % value
    return result


def sweep(operations: int, seed: int) -> Counter[tuple[str, str]]:
    """At least `operations` comparisons on each engine; the numbers by operation and engine."""
    run = Sweep(Rng(seed.to_bytes(32, "little")))
    products = int(operations * SHARE_OF_PRODUCTS / (2 * len(SIZES))) + 1
    others = max(12, int(operations * (1 - SHARE_OF_PRODUCTS) / (10 * len(SIZES))) + 1)
    for bits in SIZES:
        key = small_key(bits)
        n = key.public.n
        for value in (n * n, n * (n + 2)):
            run.modulus(value, n, products, others)
        run.keys(key, max(2, others // 20))
    return run.done


def main(arguments: list[str] | None = None) -> int:
    """Parse, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operations", type=int, default=100_000, help="comparisons on each engine, at least")
    parser.add_argument("--seed", type=int, default=1, help="of the random inputs")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    options = parser.parse_args(arguments)
    start = time.perf_counter()
    done = sweep(options.operations, options.seed)
    by_engine = {name: sum(n for (_, engine), n in done.items() if engine == name) for name in engines()}
    result = {"equal": by_engine, "sizes": SIZES, "seconds": round(time.perf_counter() - start, 1)}
    if options.json:
        print(json.dumps({**result, "operations": {f"{a}: {b}": n for (a, b), n in sorted(done.items())}}, indent=1))
    else:
        for (operation, engine), count in sorted(done.items()):
            print(f"{operation:<46}{engine:>6}{count:>10,}")
        print(f"all equal: {by_engine}, {result['seconds']} s")
    return 0 if all(count >= options.operations for count in by_engine.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
