"""How much a job will send at most, from the sizes that nodes tell (rounded) and the spec; how long it will take, from
the nodes' own rehearsals of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mpc.link import PartyId
from mpc.protocols.align_count import samples
from mpc.protocols.align_terms import AlignOptions, bucket
from mpc.protocols.correlate import CorrelateOptions
from mpc.regression.preconditioner import white_product
from mpc.regression.sizes import Sizes, padded, planned
from mpc.sets.okvs import Layout
from wire.line import Line
from wire.spec.job import JobSpec
from wire.spec.training_terms import noise_in_errors, penalty_of, train_options

BYTES_PER_ID = 32         # a point
BYTES_PER_CODE, BYTES_PER_CHECK, BYTES_PER_TAG = 32, 8, 12   # of the engine oprf: slots of stores, a common customer
BYTES_PER_ANGLE_OT = 20   # column of the extension and the correction of two words
BYTES_PER_OT = 12         # the same with one word
OTS_PER_TRIPLE = 128      # both cross terms, bit by bit
WAITS_PER_ITERATION = 30  # round trips of an iteration, two thirds of them in Anderson's step
MUCH_NOISE = 0.7          # of a standard error: a third of the rows lost
WAITS = 80                # of a job besides: connecting, keys, proofs, base transfers, the preconditioner, the end


@dataclass(frozen=True)
class Rehearsed:
    """A node's rehearsal: seconds of training with one counterpart, fixed and per row; of aligning, per identifier and
    list by ecdh, per identifier of one side and counterpart by oprf; of counting bins with one counterpart, both sides,
    and of correlating with one, fixed and per row."""

    fixed_s: float
    row_s: float
    id_s: float
    function_s: float
    bin_fixed_s: float = 0.0
    bin_row_s: float = 0.0
    correlate_fixed_s: float = 0.0
    correlate_row_s: float = 0.0


def forecast(spec: JobSpec, rows: dict[str, int]) -> dict[str, Any]:
    """Upper figures: as if the smallest table matched whole. Megabytes over all links, by stage."""
    parties, common = len(spec.parties), min(rows.values())
    if spec.goal == "alignment":
        return _stages({"align": _align_bytes(spec, rows)})
    judging = 0.0 if spec.hold_out.since else spec.hold_out.fraction   # where a boundary says it, nobody knows yet
    training = max(100, round(common * (1 - judging)))
    pairs = parties * (parties - 1)
    rounds = spec.training.iterations
    names = tuple(PartyId(party.id) for party in spec.parties)
    widths = {PartyId(party.id): padded(len(party.columns) + 1) for party in spec.parties}
    sizes = planned(train_options(spec, training), widths)
    ciphertext = sizes.product("inner", names[0]).ciphertext_bytes
    stages = {
        "align": _align_bytes(spec, rows),
        **({"bin": (parties - 1) * training * ciphertext} if spec.binning else {}),
        **({"correlate": _correlate_bytes(spec, training)} if spec.correlate else {}),
        "train": _products(sizes) + pairs * training * rounds * 5 + pairs // 2 * (
            2 * sum(sizes.plan.trig.bits) * training * rounds * BYTES_PER_ANGLE_OT
            + (sizes.bits + 2 * sizes.ands + sizes.triples * OTS_PER_TRIPLE) * BYTES_PER_OT
        ),
        "evaluate": pairs * common * 8,
    }
    in_round = (pairs * training * rounds * 5 + _online(sizes) + stages["evaluate"]) / 1e6
    return _stages(stages) | {"training_rows_at_most": training, "iterations": rounds,
                              "penalty": penalty_of(spec, training),
                              "noise_in_standard_errors": noise_in_errors(spec, training),
                              "megabytes_in_round": round(in_round, 1)}


def noise_in_words(spec: JobSpec, expected: Mapping[str, Any]) -> str:
    """What the secret terms do to the model that `expected`, the forecast, is of; and the penalty, which follows."""
    moved, rows = expected["noise_in_standard_errors"], expected["training_rows_at_most"]
    said = f"penalty {expected['penalty']:.2g}; "
    if moved == 0:
        return said + "no noise: weights may show the outcomes of single customers"
    lost = 1 - 1 / (1 + moved**2)
    said += (f"noise {spec.training.noise:g} times the default moves each weight by about {moved:.2f} of its standard "
             f"error at {rows:,} training rows, as if {lost:.0%} fewer had trained")
    return said + ("; that is much: more rows help, or a coarser model" if moved > MUCH_NOISE else "")


def _stages(sizes: Mapping[str, float]) -> dict[str, Any]:
    return {
        "megabytes": sum(sizes.values()) / 1e6,
        "megabytes_by_stage": {stage: round(size / 1e6, 1) for stage, size in sizes.items()},
    }


def _uses_oprf(spec: JobSpec) -> bool:
    return _align_options(spec).uses_oprf(len(spec.parties))


def _align_options(spec: JobSpec) -> AlignOptions:
    terms = spec.align
    return AlignOptions(PartyId(spec.label_holder.id), spec.minimum_intersection, bytes(16), terms.engine,
                        output=terms.output, padded=terms.padding == "bucket")


def _align_bytes(spec: JobSpec, rows: Mapping[str, int]) -> int:
    """Of all parties; by oprf as if the first sample shows enough in common."""
    padded_to = bucket if spec.align.padding == "bucket" else int
    sizes = {PartyId(party): padded_to(count) for party, count in rows.items()}
    if not _uses_oprf(spec):
        return len(spec.parties) * sum(sizes.values()) * BYTES_PER_ID
    leader = PartyId(spec.label_holder.id)
    followers = [party for party in sizes if party != leader]
    sample, common = samples(sizes, _align_options(spec))[0], min(rows.values())
    counted = BYTES_PER_ID * (2 * sample.capacity(sizes[leader]) + max(map(sample.capacity, sizes.values())))
    return counted + sum(
        BYTES_PER_CODE * Layout(sizes[leader]).slots
        + BYTES_PER_CHECK * (Layout(sizes[party]).slots + Layout(sample.capacity(sizes[party])).slots)
        + BYTES_PER_TAG * common
        for party in followers
    )


def _correlate_bytes(spec: JobSpec, training: int) -> int:
    """Products of columns between two parties, and what all use up to round and to compare."""
    rules, parties = spec.correlate, len(spec.parties)
    assert rules is not None
    options = CorrelateOptions(
        PartyId(spec.label_holder.id), training, {PartyId(party.id): len(party.columns) for party in spec.parties},
        rules.show, rules.to, rules.threshold, rules.minimum_rows, rules.bits, spec.crypto.key_bits,
    )
    plans = [options.product(pair)[2] for pair in options.pairs()]
    used = (options.random_bits + 2 * options.ands + options.triples * OTS_PER_TRIPLE) * BYTES_PER_OT
    return sum(plan.passes * (plan.inputs + plan.outputs) * plan.ciphertext_bytes for plan in plans) + (
        parties * (parties - 1) // 2 * used
    )


def _products(sizes: Sizes) -> int:
    """Bytes of all private products: over all rows, and of the preconditioner."""
    total, others = 0, len(sizes.widths) - 1
    for place, (party, width) in enumerate(sorted(sizes.widths.items(), key=lambda entry: (entry[1], entry[0]))):
        forward = sizes.product("forward", party)
        blocks = -(-sizes.options.rows // forward.slots)
        total += others * blocks * (width + sizes.options.iterations) * forward.ciphertext_bytes
        plans = [sizes.product(name, party) for name in ("backward", "root", "inner")]
        total += others * sum(plan.bytes_sent_by_holder + plan.bytes_sent_by_owner for plan in plans)
        white = white_product(sizes.options.rows, width, width, sizes.options.key_bits)
        wider = others - place                                    # of each pair the narrower party encrypts
        total += wider * (white.bytes_sent_by_holder + white.bytes_sent_by_owner)
    return total


def _online(sizes: Sizes) -> int:
    """Bytes of training's iterations without the sigmoid's openings: what cannot be sent ahead of the round."""
    others, options = len(sizes.widths) - 1, sizes.options
    plans = [sizes.product(name, party) for party in sizes.widths for name in ("forward", "backward", "root", "inner")]
    masked = sum(plan.iterations * plan.inputs * -(-plan.ring_bits // 8) for plan in plans)
    opened = 8 * (sizes.bits // 64) + 16 * sizes.triples + 2 * sizes.ands
    return others * (masked + len(options.parties) * opened)


def seconds(
    spec: JobSpec, rows: Mapping[str, int], expected: Mapping[str, Any], rehearsed: Mapping[str, Rehearsed],
    line: Line | None,
) -> dict[str, float]:
    """Seconds by stage and in all: computing at the slowest party, or the busiest `line` (None: not counted) where that
    takes longer, for the two run side by side. `expected` is the `forecast`."""
    others, training = len(spec.parties) - 1, expected["training_rows_at_most"]
    if _uses_oprf(spec):   # both sides of every pair in turn, as if on one core
        led = rows[spec.label_holder.id]
        align = max(part.function_s for part in rehearsed.values()) * (sum(rows.values()) + (others - 1) * led)
    else:
        align = max(part.id_s for part in rehearsed.values()) * sum(rows.values())
    found = {
        "align": align,
        **({"bin": max(part.bin_fixed_s + part.bin_row_s * training for part in rehearsed.values())}
           if spec.binning else {}),
        **({"correlate": max(others * (part.correlate_fixed_s + part.correlate_row_s * training)
                             for part in rehearsed.values())} if spec.correlate else {}),
        "train": max(others * (part.fixed_s + part.row_s * training) for part in rehearsed.values()),
    }
    if line is not None:
        each_way = len(spec.parties) * others
        for stage, megabytes in expected["megabytes_by_stage"].items():
            found[stage] = max(found.get(stage, 0.0), megabytes * 8e6 / each_way / line.rate)
        found["train"] += 2 * line.delay * (WAITS + WAITS_PER_ITERATION * spec.training.iterations)
    found = {stage: round(value, 1) for stage, value in found.items()}
    return {**found, "total": round(sum(found.values()), 1)}
