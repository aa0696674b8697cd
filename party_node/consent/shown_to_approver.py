"""What would leave the bank if it agreed to a job, as sentences for the person who decides. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from mpc.protocol import ProtocolSpec
from party_node.consent.job_costs import models, models_scored, widest
from wire.spec.job import JobSpec
from wire.spec.scores import ONE_POINT
from wire.spec.training_terms import is_weighted

READERS = {
    "all": "all parties", "label_holder": "the label holder", "owner": "the party that it belongs to",
    "coordinator": "the coordinator",
}


def what_leaves(spec: JobSpec, me: str, protocols: Mapping[str, ProtocolSpec]) -> list[str]:
    """One sentence each: who and what for, what is used here, what others find out, what is released."""
    mine = spec.party(me)
    others = [f"{party.id} ({party.role.replace('_', ' ')}, {len(party.columns)} columns)"
              for party in spec.parties if party.id != me]
    until = datetime.fromtimestamp(spec.valid_until, UTC)
    lines = [
        f"purpose: {spec.purpose}",
        f"with: {', '.join(others)}; to be started before {until:%Y-%m-%d %H:%M} UTC",
        f"used here, in dataset {mine.dataset}: {', '.join(mine.columns)}; matched by {' and '.join(mine.id_columns)}",
    ]
    lines += _blocks(spec, me) + _outcome(spec) + _judged(spec)
    if mine.role == "label_holder":
        lines.append(f"the label {spec.label.column} is used; it is never sent"
                     + (" but encrypted, under a key of this node" if spec.binning and not spec.prepared else ""))
        lines += [f"{what} {name} is used likewise, and is never sent"
                  for what, name in (("the column of weights", spec.label.weights),
                                     ("the offset", spec.label.offset)) if name is not None]
    lines += _computed(spec) + _scored(spec, me)
    lines.append("no row, id, label or cell leaves this bank; others find out:")
    known = {line.code: line for protocol in protocols.values() for line in protocol.ledger}
    masked = 0
    for code in spec.reveal:
        line = known.get(code)
        if line is None:
            lines.append(f"  {code}: unknown to this release")
        elif line.kind == "masked":
            masked += 1
        else:
            lines.append(f"  {code}, to {READERS.get(line.to, line.to)}: {line.what}")
    if masked:
        lines.append(f"  and {masked} kinds of masked values, which say nothing")
    for name in sorted(spec.protocols):
        if name in protocols and _runs(protocols[name], spec):
            for role, learned in sorted(protocols[name].learns.items()):
                lines.append(f"  in {name}, {role.replace('_', ' ')}: {learned}")
    lines.append(f"released to the coordinator: {', '.join(spec.release) or 'nothing'}")
    lines += _of_figures(spec)
    return lines


def _blocks(spec: JobSpec, me: str) -> list[str]:
    """How many weights others can receive."""
    most = sum(widest(spec, party) for party in spec.parties if party.id != me)
    if spec.goal != "model":
        return []
    return [f"the others' columns, each of their categories apart, become at most {most}, told in steps of 16: so many "
            "weights others may receive, each an equation on the customers of this party"]


def _outcome(spec: JobSpec) -> list[str]:
    """Which outcome is modelled, and with what the label holder enters."""
    label, holder = spec.label, spec.label_holder
    if spec.goal == "alignment":
        return []
    own = f"columns of the label holder {holder.id}: {', '.join(holder.columns)}" if holder.columns else (
        f"the label holder {holder.id} brings no column: the others' parts alone make a score, and who has them knows "
        "every score but for a constant")
    return [f"a customer is bad where {label.column}, at {holder.id}, is `{label.positive}`, and good where it is "
            "anything else", own]


def _judged(spec: JobSpec) -> list[str]:
    """Which customers judge the model."""
    rules = spec.hold_out
    if spec.goal == "alignment" or spec.prepared is not None:
        return []
    if rules.column is not None:
        which = f"from {rules.since} on" if rules.since else f"of the latest {rules.fraction:g}"
        return [f"customers whose {rules.column}, at the label holder, is {which} judge the model; every "
                "party is told which of its own these are"]
    if rules.fraction == 0.0:
        return ["no customer is held out: all train, and judge"]
    how = "a coin that all toss together" if rules.seed is None else f"the seed `{rules.seed}`"
    return [f"a share of {rules.fraction:g} of the customers in common is held out and judges the model, drawn by "
            f"{how}"]


def _scored(spec: JobSpec, me: str) -> list[str]:
    """What scores tell of a feature holder's columns, and what another model of the same customers adds."""
    mine, scores = spec.party(me), spec.scores
    if spec.goal == "alignment" or mine.role == "label_holder" or not mine.columns:
        return []
    lines = [
        f"this node's part of a score leaves it in whole steps of {scores.grid:.4g} log-odds "
        f"({scores.grid / ONE_POINT:.3g} points where 20 double the odds), up or down by a secret of this node: alike "
        f"for all customers with the same values, in every job. At least {scores.minimum_columns} columns of this "
        "party's enter, or the job ends before it trains",
    ]
    if models_scored(spec, me):
        lines.append(
            f"this is one more model scored (budget scored_models of dataset {mine.dataset}): to who has the weights, "
            "each further model is a further equation on the columns of the same customers. "
            "docs/threat-model.md says how much 1, 2, 5 and 20 tell")
    return lines


def _of_figures(spec: JobSpec) -> list[str]:
    """What bounds the figures of a model."""
    if spec.goal == "alignment":
        return []
    floors = spec.hold_out
    said = [f"at least {floors.minimum_hold_out} customers train and as many judge, or the job ends; at least "
            f"{floors.minimum_outcome} good and as many bad ones judge, or no figure is released and nobody but the "
            "label holder is told why"]
    if "metrics" in spec.release:
        said.append("figures come in steps of half a standard error or more; all of this job say less than half of "
                    "what there is to know of the outcomes of those that judge; other jobs that they judge add theirs")
    return said


def _computed(spec: JobSpec) -> list[str]:
    """What is computed together beside the model, or ahead of it."""
    lines = []
    if spec.goal == "precompute":
        lines.append("no model is made: this job works ahead of one that has to be agreed by itself. What that needs "
                     "is kept here, for one job; all parties learn the number of rows of the development sample "
                     "and, to 16, how many columns each brings")
    if spec.prepared is not None:
        return [f"the customers in common, the samples and the columns are those of job {spec.prepared[:12]}, which "
                "worked ahead of this one; what it kept here is burnt when training begins, even if this job fails",
                *_noise(spec)]
    if is_weighted(spec):
        weights, classes = spec.label.weights, spec.label.class_weights
        how = ([f"at most {spec.label.largest_weight:g} times their mean, or that much less"] if weights else []) + (
            [] if classes == "none" else ["both outcomes alike" if classes == "balanced" else
                                          f"a bad customer {classes.bad:g} and a good one {classes.good:g}"])
        lines.append(f"the label holder weighs the rows that train ({'; '.join(how)}), which multiplies the most "
                     "that one customer counts; nobody else learns what a row weighs")
    if spec.keeps_copies:
        lines.append("every row of the label holder trains or judges, so all parties learn how many each customer has; "
                     f"a customer weighs by its rows, at most {spec.label.largest_weight:g} times the mean, and "
                     "counts as one wherever customers are counted")
    if spec.label.offset is not None:
        lines.append("the label holder adds an offset of its own to the log-odds of every row; nobody else learns it")
    lines += _noise(spec)
    if spec.binning is not None:
        lines.append(f"good and bad customers are counted in bins of at least {spec.binning.minimum_cell}; "
                     "counts of fine bins, of columns without their names, are seen by the label holder")
    if spec.correlate is not None:
        rules = spec.correlate
        shown = f"pairs from {rules.threshold:g} on" if rules.show == "pairs" else f"the {rules.show}"
        digits = "as many bits as the rows support" if rules.bits is None else f"{rules.bits} bits"
        lines.append("columns are correlated with those of the others, on at least "
                     f"{rules.minimum_rows} rows of the development sample: {shown}, "
                     f"to {rules.to.replace('_', ' ')}, {digits}"
                     + (", and the later column of a pair is dropped" if rules.drop else ""))
    return lines


def _noise(spec: JobSpec) -> list[str]:
    """What stands between the weights and single customers."""
    if spec.goal != "model":
        return []
    noise = spec.training.noise
    if noise == 0:
        return ["noise: none. Whoever chooses its columns for it can compute outcome and default probability "
                "of chosen customers that train, from two of its weights each"]
    lines = [f"noise: each party adds a secret term to what is minimised, {noise:g} times the default, so that weights "
             "show no single customer's outcome; this model counts as "
             f"{models(spec)} in the budget `models`, where minimum_noise is above 0, for averages of many models show "
             "more"]
    if len(spec.parties) > 2:
        lines.append("parties who pool columns that they made for each other read more: of 5,000 customers that train, "
                     "the outcomes of some chosen ones. A job of three parties or more that has to rule it out needs "
                     "more noise (docs/threat-model.md)")
    return lines


def _runs(protocol: ProtocolSpec, spec: JobSpec) -> bool:
    """Whether the job has that protocol: one that opens something opens it under a line that the job lists."""
    return not protocol.ledger or any(line.code in spec.reveal for line in protocol.ledger)
