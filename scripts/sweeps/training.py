"""Trains on hard tables by the real protocol and compares each model with scikit-learn's exact fit on the same rows.

    python scripts/sweeps/training.py [--rows 20000] [--rates 0.01,0.02,0.05,0.2] [--parties 2,3,4]
                                     [--kinds plain,correlated,one-hot] [--told 2] [--json]

All parties run in this process, over links in memory; correlations come from the ideal dealer and keys are short: the
integers that weights follow from are those of a real job. Half of the rows judge. A cell is good if the AUC is within
0.001 of the exact fit's, and the mean predicted probability on the training rows within 1 % of the default rate; it is
a refusal if training says so itself. Exit status 1 if a cell is neither, or more than two are refusals.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from joint_risk.pooled_reference import exact_fit
from mpc.correlated_randomness.kinds import TrigPlan
from mpc.errors import LocalError, Refused
from mpc.link import PartyId
from mpc.protocols import train
from mpc.regression.sizes import enough_iterations
from mpc.statistics.logistic import fit_logistic
from mpc.statistics.metrics import roc_auc
from mpc.testing.dealer import Dealer
from mpc.testing.keys import small_key
from mpc.testing.memory_link import Network, party, run_roles
from scripts.run_local_cluster import iterations, one_digit

F64 = NDArray[np.float64]
KINDS = ("plain", "correlated", "one-hot")
CLIP = 5.0
SCALE = int(32767 // CLIP)
KEY_BITS = 512
NUMBERS, LEVELS = 6, 6      # numeric columns and categories of each party
MOST_REFUSALS = 2


@dataclass(frozen=True)
class Cell:
    """One table and what became of it. `error`: the largest difference of a weight; the others as in the header."""

    kind: str
    parties: int
    rate: float
    auc: float = 0.0
    auc_difference: float = 0.0
    rate_difference: float = 0.0
    error: float = 0.0
    seconds: float = 0.0
    refusal: str = ""

    @property
    def good(self) -> bool:
        return bool(not self.refusal and self.auc_difference <= 1e-3 and self.rate_difference <= 0.01)


def table(kind: str, parties: int, rate: float, rows: int, seed: int) -> tuple[list[F64], NDArray[np.bool_]]:
    """Blocks of raw columns, the label holder's first, and the outcome, of which the share `rate` is true.

    Columns share three common factors with correlations of .5, or of .9 between and inside parties; one-hot: each party
    has one categorical column more, its rarest level with about 2 % of the rows.
    """
    draw = np.random.default_rng(seed)
    share = 0.9 if kind == "correlated" else 0.5
    common, score, blocks = draw.normal(size=(rows, 3)), np.zeros(rows), list[F64]()
    for _ in range(parties):
        loads = draw.normal(size=(3, NUMBERS))
        loads /= np.sqrt((loads**2).sum(axis=0))
        block = np.sqrt(share) * common @ loads + np.sqrt(1 - share) * draw.normal(size=(rows, NUMBERS))
        if kind == "one-hot":
            level = np.digitize(block[:, 0], np.linspace(-1.2, 2.1, LEVELS - 1))
            block = np.column_stack([block, level[:, None] == np.arange(LEVELS)])
        blocks.append(block)
        score += block @ draw.normal(scale=1 / np.sqrt(parties * NUMBERS), size=block.shape[1])
    drawn = score + draw.logistic(size=rows)
    return blocks, drawn > np.quantile(drawn, 1 - rate)


def prepared(block: F64, fitted: NDArray[np.bool_]) -> F64:
    """Standardised and winsorised on the fitted rows, as a node does."""
    mean, sd = block[fitted].mean(axis=0), block[fitted].std(axis=0)
    return np.clip((block - mean) / sd, -CLIP, CLIP)


def one(kind: str, parties: int, rate: float, options: argparse.Namespace) -> Cell:
    """Train and compare."""
    began = time.monotonic()
    raw, outcome = table(kind, parties, rate, options.rows, options.seed)
    fitted = np.random.default_rng(options.seed + 1).random(options.rows) < 0.5
    features = [np.rint(prepared(block, fitted) * SCALE) / SCALE for block in raw]
    whole = np.concatenate(features, axis=1)
    cell = {"kind": kind, "parties": parties, "rate": rate}
    try:
        weights = joint_weights(features, outcome, fitted, options)
    except (Refused, LocalError) as refusal:
        return Cell(**cell, refusal=str(refusal), seconds=time.monotonic() - began)
    exact = exact_fit(whole[fitted], outcome[fitted], options.penalty)
    pooled = np.append(exact.intercept_, exact.coef_[0])
    joint, wanted = (w[0] + whole @ w[1:] for w in (weights, pooled))
    judged = ~fitted
    auc, best = (roc_auc(outcome[judged], scores[judged]) for scores in (joint, wanted))
    mean = float((1 / (1 + np.exp(-joint[fitted]))).mean())
    return Cell(
        **cell, auc=auc, auc_difference=abs(auc - best), rate_difference=abs(mean / outcome[fitted].mean() - 1),
        error=float(np.abs(weights - pooled).max()), seconds=time.monotonic() - began,
    )


def joint_weights(
    features: list[F64], outcome: NDArray[np.bool_], fitted: NDArray[np.bool_], options: argparse.Namespace
) -> F64:
    """The intercept and all parties' weights, put together by who owns this process."""
    names = tuple(PartyId(f"party-{k}") for k in range(len(features)))
    told = one_digit(options.told * float(outcome.mean()))
    agreed = train.TrainOptions(
        parties=names, label_holder=names[0], rows=int(fitted.sum()), penalty=options.penalty, clip=CLIP,
        iterations=enough_iterations(told) if options.iterations == "auto" else options.iterations,
        expected_default_rate=told,
        sigmoid="auto", tolerance=options.tolerance, key_bits=KEY_BITS,
    )
    first = np.column_stack([np.ones(len(outcome)), features[0]])[fitted]
    blocks = {name: train.Block(np.rint(block[fitted] * SCALE).astype(np.int16))
              for name, block in zip(names, features, strict=True)}
    blocks[names[0]] = train.Block(
        np.rint(first * SCALE).astype(np.int16), outcome[fitted],
        fit_logistic(first, outcome[fitted], options.penalty, 0).weights,
    )
    dealers: list[Dealer] = []

    async def all_parties() -> dict[str, Any]:
        network = Network()

        def role(name: PartyId) -> Any:
            async def source(me: Any, peers: Any, plan: TrigPlan) -> Any:
                if not dealers:
                    dealers.append(Dealer(names, plan))
                return dealers[0].source(name)

            tools = train.Tools(lambda rng, bits: small_key(bits, names.index(name) + 1), source)
            peers = {p: network.link(name, p) for p in names if p != name}
            me = party(name, options.seed, {line.code: line for line in train.LEDGER})
            return train.run(me, peers, blocks[name], agreed, tools)

        return await run_roles({name: role(name) for name in names})

    found = asyncio.run(all_parties())
    return np.concatenate([found[name] for name in names])


def cells(options: argparse.Namespace) -> Iterator[Cell]:
    """All, one after the other."""
    for kind in options.kinds.split(","):
        for parties in options.parties.split(","):
            for rate in options.rates.split(","):
                yield one(kind, int(parties), float(rate), options)


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--rows", type=int, default=20_000, help="half of them train")
    add("--rates", default="0.01,0.02,0.05,0.2", help="shares of defaults")
    add("--parties", default="2,3,4")
    add("--kinds", default=",".join(KINDS))
    add("--iterations", type=iterations, default="auto", help="a number; auto: as many as the default rate asks for")
    add("--lambda", dest="penalty", type=float, default=1e-3)
    add("--tolerance", type=float, default=0.03)
    add("--told", type=float, default=1.0, help="the job's expected default rate over the true one")
    add("--seed", type=int, default=1)
    add("--json", action="store_true", help="one JSON object on stdout")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Print a line for each cell, or the object."""
    options, found = arguments(argv), list[Cell]()
    for cell in cells(options):
        found.append(cell)
        if not options.json:
            told = cell.refusal or (f"AUC {cell.auc:.4f}, off by {cell.auc_difference:.1e}; mean probability off by "
                                    f"{cell.rate_difference:.2%}; weights by {cell.error:.1e}")
            where = f"{cell.kind:>10} {cell.parties} parties {cell.rate:4.0%}"
            print(f"{where}  {told}  ({cell.seconds:.0f} s)", flush=True)
    refused = sum(bool(cell.refusal) for cell in found)
    if options.json:
        print(json.dumps([asdict(cell) | {"good": cell.good} for cell in found]))
    return int(refused > MOST_REFUSALS or not all(cell.good or cell.refusal for cell in found))


if __name__ == "__main__":
    sys.exit(main())
