"""Times mpc.paillier beside python-paillier in one run, on one key: encryption, decryption, sums, X^T [[d]].

    python scripts/bench/paillier.py [--json] [--bits 2048] [--engine auto|gmp|avx2|ifma] [--threads 2] [--quick]
    python scripts/bench/paillier.py --matrix-only --rows 1000000 --columns 20 --threads 1

Every figure is the median of repeated runs. `ours` and `phe` are operations per second, for X^T [[d]] seconds. `cpu`
is `ours` by the processor time of the calling thread: equal to it on an idle machine, and hardly changed by other
work on a busy one. `phe` is by processor time too, and `ratio` is between these two. phe has one thread and its cost
is linear, so it is measured on fewer items (X^T [[d]]: on `phe_rows` rows) and scaled. Every result is decrypted and
compared before it counts.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any, NamedTuple

import gmpy2
import numpy as np
import phe
import phe.util
from numpy.typing import NDArray

from mpc.kernels import cores
from mpc.kernels.modulus import Exponents
from mpc.paillier.ciphertexts import CipherVector, PublicKey, SealedVector
from mpc.paillier.encryption import SHORT_KEYS, public_encryptor
from mpc.paillier.keys import generate
from mpc.paillier.rerandomisation import Rerandomiser
from mpc.rng import Rng

SIGNED_BITS = 20          # of the entries of X
RESIDUAL_BITS = 40        # of the entries of d
CHUNK_ROWS = 50_000       # of X^T [[d]], streamed
EXPECTED_COUNT = 30_000   # what tables are sized for
ENGINES = ("auto", "gmp", "avx2", "ifma")
RUN_SECONDS = 0.4         # one timed run of ours lasts about this long

Work = Callable[[int, int], object]  # (first, last)


@dataclass
class Row:
    """One line of the result."""

    operation: str
    unit: str
    ours: float
    phe: float
    ratio: float
    threads: int
    kernel: str
    cpu: float
    notes: dict[str, float] = field(default_factory=dict)


class Seconds(NamedTuple):
    """How long something took, by the clock and by the processor time of the calling thread."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> Seconds:
        return cls(time.perf_counter(), time.thread_time())

    def since(self, start: Seconds) -> Seconds:
        return Seconds(self.wall - start.wall, self.cpu - start.cpu)


def seconds(work: Callable[[], object], repeats: int) -> Seconds:
    """The medians of `repeats` runs."""
    times = []
    for _ in range(repeats):
        start = Seconds.now()
        work()
        times.append(Seconds.now().since(start))
    return Seconds(statistics.median(t.wall for t in times), statistics.median(t.cpu for t in times))


def exact(x: NDArray[np.int64], d: NDArray[np.int64]) -> list[int]:
    """X^T d as Python integers; halves of d keep every sum within 64 bits for up to 2^20 rows."""
    half = RESIDUAL_BITS // 2
    low, high = x.T @ (d & ((1 << half) - 1)), x.T @ (d >> half)
    return [int(a) + (int(b) << half) for a, b in zip(low, high, strict=True)]


class Bench:
    """One key, shared by ours and phe, and the vectors that the operations work on."""

    def __init__(self, bits: int, engine: str, count: int, threads: int, repeats: int) -> None:
        assert phe.util.HAVE_GMP, "phe must run with gmpy2, or the comparison is worth nothing"
        self.rng, self.count, self.threads, self.repeats = Rng.from_system(), count, threads, repeats
        start = time.perf_counter()
        self.key = generate(self.rng, bits, engine)
        self.public: PublicKey = self.key.public
        self.setup_s = {"key and kernel": time.perf_counter() - start}
        self.phe_public = phe.PaillierPublicKey(self.public.n)
        self.phe_private = phe.PaillierPrivateKey(self.phe_public, *self.key.primes)
        self.values = [self.rng.bits(RESIDUAL_BITS) for _ in range(count)]
        self.owner = self.key.encryptor(self.rng, EXPECTED_COUNT)
        start = time.perf_counter()
        self.half = public_encryptor(self.public, self.rng, EXPECTED_COUNT)
        self.setup_s["tables, public key"] = time.perf_counter() - start
        self.short = public_encryptor(self.public, self.rng, EXPECTED_COUNT, "448") if bits <= SHORT_KEYS else None
        self.sealer = Rerandomiser(self.public, self.rng, EXPECTED_COUNT)
        self.vector = self.opened(self.owner.encrypt(self.values))

    def opened(self, sealed: SealedVector) -> CipherVector:
        """Our own ciphertexts, without the checks that foreign ones need."""
        return CipherVector(self.public, self.public.ring.from_bytes(sealed.data, sealed.count, sealed.width))

    def check(self, name: str, vector: CipherVector, want: list[int]) -> None:
        """Nothing wrong is ever timed."""
        if self.key.decrypt(vector) != [v % self.public.n for v in want]:
            raise SystemExit(f"{name}: wrong result")

    def rate(self, work: Work, threads: int) -> Seconds:
        """Items per second, by the clock and by processor time, of `work` with `threads` threads in each bulk call."""
        cores.use(threads)
        few = min(64, self.count)
        work(0, few)
        once = seconds(lambda: work(0, few), 1).wall
        wanted = RUN_SECONDS * few / once if self.repeats > 1 else few
        count = max(few, min(self.count, int(wanted)))
        rounds = max(1, int(wanted / count))               # quick operations go over the vector again

        def repeated() -> None:
            for _ in range(rounds):
                work(0, count)

        wall, cpu = seconds(repeated, self.repeats)
        cores.use(1)
        return Seconds(rounds * count / wall, rounds * count / cpu)

    def vector_rows(self, phe_count: int) -> list[Row]:
        """The operations on single ciphertexts."""
        values, vector, few = self.values, self.vector, slice(0, min(40, self.count))
        theirs = [self.phe_public.encrypt(v) for v in values[:phe_count]]
        fresh: dict[str, Callable[[int, int], SealedVector]] = {
            "encrypt, public key, |r| = |n|/2": lambda a, b: self.half.encrypt(values[a:b]),
            "encrypt, owner": lambda a, b: self.owner.encrypt(values[a:b]),
            "re-randomise, whole group": lambda a, b: self.sealer.seal(vector.slice(a, b)),
        }
        if (short := self.short) is not None:
            fresh["encrypt, public key, |r| = 448"] = lambda a, b: short.encrypt(values[a:b])
        for name, made in fresh.items():
            self.check(name, self.opened(made(few.start, few.stop)), values[few])
        self.check("ct + ct", vector.slice(0, 40).add(vector.slice(0, 40)), [2 * v for v in values[few]])
        encrypt = self.phe_rate(lambda: [self.phe_public.encrypt(v) for v in values[:phe_count]], phe_count)
        blind = self.phe_rate(lambda: [c.obfuscate() for c in theirs], phe_count)
        jobs: list[tuple[str, Work, float]] = [
            (name, made, blind if name.startswith("re-") else encrypt) for name, made in fresh.items()
        ]
        jobs += [
            ("decrypt", lambda a, b: self.key.decrypt(vector.slice(a, b)),
             self.phe_rate(lambda: [self.phe_private.decrypt(c) for c in theirs], phe_count)),
            ("ct + ct", lambda a, b: vector.slice(a, b).add(vector.slice(a, b)),
             self.phe_rate(lambda: [c + c for _ in range(20) for c in theirs], 20 * phe_count)),
        ]  # fmt: skip
        rows = []
        for name, work, phe_rate in jobs:
            for threads in sorted({1, self.threads}):
                ours = self.rate(work, threads)
                ratio = ours.cpu / phe_rate
                rows.append(Row(name, "1/s", ours.wall, phe_rate, ratio, threads, self.public.engine, ours.cpu))
        return rows

    def phe_rate(self, work: Callable[[], object], count: int) -> float:
        """Items per second of phe."""
        return count / seconds(work, self.repeats).cpu

    def matrix_rows(self, rows: int, columns: int, phe_rows: int) -> list[Row]:
        """X^T [[d]]: X signed and known, d encrypted; the result is checked against numpy."""
        draw = np.random.default_rng(7)
        top = 1 << SIGNED_BITS
        x: NDArray[np.int64] = draw.integers(1 - top, top, (rows, columns))
        d: NDArray[np.int64] = draw.integers(0, 1 << RESIDUAL_BITS, rows)
        phe_s = self._phe_matrix(x[:phe_rows], d[:phe_rows]) * rows / phe_rows
        result = []
        for threads in sorted({1, self.threads}):
            runs = [self._matrix(x, d, threads) for _ in range(1 if rows > CHUNK_ROWS else 5)]
            ours, cpu = (statistics.median(times) for times in zip(*runs, strict=True))
            notes = {"rows": float(rows), "columns": float(columns), "phe_rows": float(phe_rows)}
            result.append(
                Row("X^T [[d]], X of 20 bits and a sign", "s", ours, phe_s, phe_s / cpu, threads,
                    self.public.engine, cpu, notes)
            )  # fmt: skip
        return result

    def _matrix(self, x: NDArray[np.int64], d: NDArray[np.int64], threads: int) -> Seconds:
        """The products alone, chunk after chunk."""
        ring, spent, columns = self.public.ring, Seconds(0, 0), x.shape[1]
        total = ring.load([1] * columns)
        cores.use(threads)
        for start in range(0, len(x), CHUNK_ROWS):
            chunk = self.opened(self.owner.encrypt([int(v) for v in d[start : start + CHUNK_ROWS]]))
            begun = Seconds.now()
            weights = (x[start : start + CHUNK_ROWS] + (1 << SIGNED_BITS)).astype(np.uint64)
            total = ring.mul(total, self._columns(chunk, weights))
            step = Seconds.now().since(begun)
            spent = Seconds(spent.wall + step.wall, spent.cpu + step.cpu)
        cores.use(1)
        self.check("X^T [[d]]", CipherVector(self.public, total), exact(x, d))
        return spent

    def _columns(self, vector: CipherVector, weights: Exponents) -> Any:
        """Weights are offset by 2^20, so that they are not negative; one power of prod c takes it back."""
        ring = self.public.ring
        columns = vector.columns(weights, SIGNED_BITS + 1).residues
        back = gmpy2.powmod(ring.product(vector.residues), -(1 << SIGNED_BITS), self.public.n_squared)
        return ring.mul(columns, ring.load([int(back)]))

    def _phe_matrix(self, x: NDArray[np.int64], d: NDArray[np.int64]) -> float:
        cipher = [self.phe_public.encrypt(int(v)) for v in d]

        def work() -> list[Any]:
            sums = []
            for column in x.T:
                total = cipher[0] * int(column[0])
                for c, weight in zip(cipher[1:], column[1:], strict=True):
                    total = total + c * int(weight)
                sums.append(total)
            return sums

        if [self.phe_private.decrypt(c) for c in work()] != exact(x, d):
            raise SystemExit("phe: wrong result")
        return seconds(work, 1).cpu


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All rows, and what they were measured on."""
    quick = options.quick
    count, repeats = (64, 1) if quick else (EXPECTED_COUNT, 5)
    bench = Bench(options.bits, options.engine, count, options.threads, repeats)
    rows = [] if options.matrix_only else bench.vector_rows(2 if quick else 40)
    rows += bench.matrix_rows(200 if quick else options.rows, options.columns, 5 if quick else 100)
    return {
        "bits": options.bits,
        "kernel": bench.public.engine,
        "machine": platform.machine(),
        "phe": version("phe"),
        "gmpy2": gmpy2.version(),
        "setup_s": {name: round(value, 4) for name, value in bench.setup_s.items()},
        "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "rows": [asdict(row) for row in rows],
    }


def table(result: dict[str, Any]) -> str:
    """The result for people."""
    lines = [f"{result['bits']} bits, kernel {result['kernel']}, phe {result['phe']} with gmpy2 {result['gmpy2']}"]
    lines.append(f"{'operation':<46}{'threads':>8}{'ours':>14}{'cpu':>14}{'phe':>12}{'ratio':>9}  unit")
    for row in result["rows"]:
        numbers = f"{row['threads']:>8}{row['ours']:>14,.2f}{row['cpu']:>14,.2f}"
        numbers += f"{row['phe']:>12,.2f}{row['ratio']:>9,.1f}"
        lines.append(f"{row['operation']:<46}{numbers}  {row['unit']}")
    lines.append(f"set-up {result['setup_s']}, peak memory {result['peak_memory_mib']} MiB")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--bits", type=int, default=2048, help="length of n: 2048, 3072 or 4096")
    parser.add_argument("--engine", default="auto", choices=ENGINES, help="avx2 and gmp force what others have")
    parser.add_argument("--threads", type=int, default=2, help="measured beside one thread")
    parser.add_argument("--rows", type=int, default=30_000, help="rows of X")
    parser.add_argument("--columns", type=int, default=10, help="columns of X")
    parser.add_argument("--matrix-only", action="store_true", help="X^T [[d]] alone")
    parser.add_argument("--quick", action="store_true", help="a few items of each, to see that it works")
    options = parser.parse_args(arguments)
    result = measure(options)
    print(json.dumps(result, indent=1) if options.json else table(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
