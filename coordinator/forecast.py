"""How much a job will send at most, from the sizes that nodes tell (rounded) and the spec. No measurement."""

from __future__ import annotations

from typing import Any

from mpc.acceleration import LEVELS, PAIRS
from mpc.comparison import COMPARISON_TRIPLES
from mpc.precision import COARSE_BITS, ENTRY_BITS, plan_precision
from mpc.product_plan import ProductPlan
from mpc.protocols.train import padded
from mpc.sigmoid import PERIOD_BITS
from wire.spec import JobSpec

BYTES_PER_ID = 32
BYTES_PER_ANGLE_OT = 20   # column of the extension and the correction of two words
BYTES_PER_OT = 12         # the same with one word
OTS_PER_TRIPLE = 128      # both cross terms, bit by bit


def forecast(spec: JobSpec, rows: dict[str, int]) -> dict[str, Any]:
    """Upper figures: as if the smallest table matched whole. Megabytes over all links, by stage."""
    parties, common = len(spec.parties), min(rows.values())
    training = max(100, round(common * (1 - spec.hold_out.fraction)))
    plan = plan_precision(parties, training, spec.preparation.clip, spec.training.penalty,
                          spec.training.expected_default_rate, spec.training.sigmoid)
    pairs = parties * (parties - 1)
    rounds, bits = spec.training.iterations, spec.crypto.key_bits
    widths = [padded(len(party.columns) + 1) for party in spec.parties]
    products = 0
    for width in widths:
        forward = ProductPlan(width, training, ENTRY_BITS, PERIOD_BITS, rounds, bits)
        backward = ProductPlan(training, width, COARSE_BITS + 1, 64, rounds, bits)
        blocks = -(-training // forward.slots)
        packed = blocks * (width + rounds) * forward.ciphertext_bytes
        products += (parties - 1) * (packed + backward.bytes_sent_by_holder + backward.bytes_sent_by_owner)
    angles = 2 * sum(plan.trig_bits) * pairs // 2 * training * rounds * BYTES_PER_ANGLE_OT
    remembered = sum(min(step, PAIRS) for step in range(rounds))
    triples = remembered * (5 * sum(widths) + 2) + rounds * (sum(widths) + (LEVELS + 1) * COMPARISON_TRIPLES)
    steps = pairs // 2 * triples * OTS_PER_TRIPLE * BYTES_PER_OT
    stages = {
        "align": parties * sum(rows.values()) * BYTES_PER_ID,
        "train": products + angles + steps + pairs * training * rounds * 5,
        "evaluate": pairs * common * 8,
    }
    return {
        "megabytes": sum(stages.values()) / 1e6,
        "megabytes_by_stage": {stage: round(size / 1e6, 1) for stage, size in stages.items()},
        "training_rows_at_most": training,
        "iterations": rounds,
    }
