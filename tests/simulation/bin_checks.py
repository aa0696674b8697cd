"""The privacy checks of joint bins, and all checks by name. An auditor with all keys and all inputs runs them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from mpc.protocols.bin import AnonymousCounts, EncryptedLabels, MergedBins
from tests.simulation.checks import CHECKS, Check, Findings, looks_right, numbers, without
from tests.simulation.observer import Recording, Summed


def bins_keep_the_minimum(recording: Recording) -> Findings:
    """No bin that is counted holds few customers, and none that its owner hears of few good or bad ones."""
    found = []
    shown: dict[str, AnonymousCounts] = {}
    for sent in recording.messages:
        if isinstance(sent.message, AnonymousCounts):
            shown[sent.sender] = sent.message
            totals, cell = sent.message.totals.values, recording.summed[sent.sender].options.constraints.minimum_rows
            if np.any((totals > 0) & (totals < cell)):
                found.append(f"{sent.sender} sent counts of bins below the minimum cell")
        elif isinstance(sent.message, MergedBins):
            found += [f"{sent.receiver} hears of a bin with {what} customers"
                      for what in _bare(shown[sent.receiver], sent.message, recording.summed[sent.receiver])]
    return found


def _bare(shown: AnonymousCounts, told: MergedBins, summed: Summed) -> Iterator[str]:
    limits, slots = summed.options.constraints, summed.options.slots
    totals, groups, bad = (vector.values.astype(np.int64).reshape(-1, slots)
                           for vector in (shown.totals, told.groups, told.bad))
    for own, group, in_bad in zip(totals, groups, bad, strict=True):
        rows = np.bincount(group[own > 0], weights=own[own > 0]).astype(np.int64)
        if len(rows) > 1:
            if in_bad[: len(rows)].min() < limits.minimum_bad:
                yield "few bad"
            if (rows - in_bad[: len(rows)]).min() < limits.minimum_good:
                yield "few good"


def bins_cannot_be_confirmed(recording: Recording) -> Findings:
    """A label holder that guesses right which rows went into which bin sees nothing in what is left of a reply's
    randomness after dividing by the labels' ciphertexts."""
    found = []
    for owner, summed in recording.summed.items():
        labels = [c for s in recording.seen_by(owner) if isinstance(s.message, EncryptedLabels)
                  for c in numbers(s.message)]
        replies = [c for s in recording.messages if s.sender == owner and isinstance(s.message, AnonymousCounts)
                   for c in numbers(s.message)]
        n = recording.keys[recording.label_holder].public.n
        some = range(min(2, len(replies)))
        left = [without(n, labels, _exponents(summed, owner, number, len(replies)), replies[number])
                for number in some]
        if looks_right(n, left):
            found.append(f"{recording.label_holder} can confirm guesses of {owner}'s bins")
    return found


def _exponents(summed: Summed, owner: str, number: int, replies: int) -> list[int]:
    """To which power every label's ciphertext went into a reply."""
    exponents = [0] * summed.options.rows
    for c, column in enumerate(summed.columns):
        for row, code in enumerate(column.codes.tolist()):
            digit, reply = divmod(c * summed.options.slots + code, replies)
            if reply == number:
                exponents[row] += 1 << digit * summed.options.bits
    return exponents


ALL: Mapping[str, Check] = {
    **CHECKS, **{check.__name__: check for check in (bins_keep_the_minimum, bins_cannot_be_confirmed)},
}


def failures(recording: Recording, names: Iterable[str] = tuple(ALL)) -> Findings:
    """All findings of the named checks."""
    return [f"{name}: {finding}" for name in names for finding in ALL[name](recording)]
