"""What a curious party could try with everything it has: the same attacks run against honest runs and leaky ones.

The attacker is given more than it has in life: half of the true answers, to learn which received vector helps.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from mpc.paillier.ciphertexts import CipherVector
from mpc.products.matrix_vector import unpacked
from mpc.products.packed_over_rows import by_rows
from mpc.protocols import train
from mpc.ring import U64
from mpc.testing.transcript import leaves
from tests.simulation.bench import SCALE
from tests.simulation.checks import conversation
from tests.simulation.observer import Recording

BATCH = 16    # of the leak on purpose
Reals = NDArray[np.float64]


def vectors(recording: Recording, party: str) -> list[Reals]:
    """Row-long vectors that the party can make: received, opened, its own shares, their sums; X times what it
    received of the length of its weights."""
    rows, found = len(recording.blocks[party].matrix), list[Reals]()
    own = recording.residuals[party]
    for words in _words(recording, party):
        if len(words) == rows:
            found += _readings(words)
        found += _solved(recording, party, words)
    received = [w for w in _words(recording, party) if len(w) == rows]
    for mine in own:
        found += _readings(mine)
        for theirs in received:
            found += _readings(mine + theirs)
    return [v for v in found if v.std() > 0]


def _words(recording: Recording, party: str) -> Iterator[U64]:
    for sent in recording.seen_by(party):
        for leaf in leaves(sent.message):
            if isinstance(leaf, np.ndarray) and leaf.dtype == np.uint64:
                yield leaf
    for opened in recording.openings:
        if opened.party == party and opened.total is not None:
            yield opened.total


def _readings(words: U64) -> list[Reals]:
    """The same words as signed integers of all and of few bits."""
    return [(words << np.uint64(64 - bits)).view(np.int64).astype(np.float64) for bits in (64, 37, 31)]


def _solved(recording: Recording, party: str, words: U64) -> list[Reals]:
    """The residuals that gradients of the party's own weights would follow from: of all rows, or batch by batch."""
    block = recording.blocks[party].matrix / SCALE
    rows, width = block.shape
    widths = {p: train.padded(recording.blocks[p].matrix.shape[1]) for p in recording.parties}
    start = sum(widths[p] for p in recording.parties[: recording.parties.index(party)])
    if len(words) == sum(widths.values()):
        words, batch = words[start : start + width], rows
    elif len(words) == -(-rows // BATCH) * width:
        batch = BATCH
    else:
        return []
    gradients = words.view(np.int64).astype(np.float64).reshape(-1, width)
    firsts = range(0, rows, batch)
    return [np.concatenate([g @ np.linalg.pinv(block[k : k + batch]) for k, g in zip(firsts, gradients, strict=True)])]


def best(candidates: list[Reals], answer: Reals, known: NDArray[np.bool_]) -> Reals:
    """The candidate that follows the known answers most closely, standardised."""
    stack = np.array([(v - v[known].mean()) / (v[known].std() + 1e-300) for v in candidates])
    centred = answer[known] - answer[known].mean()
    picked: Reals = stack[np.argmax(np.abs(stack[:, known] @ centred))]
    return picked


def largest_partial_correlation(recording: Recording, party: str, targets: list[Reals]) -> tuple[float, int]:
    """Of everything row-long that the party has, decrypted replies too, with any of the targets, own columns taken
    out of both; in standard deviations, and how many vectors were tried."""
    rows = len(recording.blocks[party].matrix)
    basis = np.linalg.qr(np.column_stack([recording.blocks[party].matrix / SCALE, np.ones(rows)]))[0]

    def rest_of(stack: Reals) -> Reals:
        rest = stack - stack @ basis @ basis.T
        rest = rest[np.linalg.norm(rest, axis=1) > 1e-6 * np.sqrt(rows)]    # the others: in the span of own columns
        standard: Reals = rest / np.linalg.norm(rest, axis=1)[:, None]
        return standard

    tried = rest_of(np.array([v / np.abs(v).max() for v in vectors(recording, party) + decrypted(recording, party)]))
    found = np.abs(tried @ rest_of(np.array(targets)).T)
    return float(found.max() * np.sqrt(rows)), len(tried)


def decrypted(recording: Recording, party: str) -> list[Reals]:
    """The row-long digits of the replies that only this party can decrypt."""
    key, rows, found = recording.keys[party], len(recording.blocks[party].matrix), list[Reals]()
    for powers in recording.powers:
        if powers.key_owner == party and powers.packed:
            _, replies = conversation(recording, powers)
            digits = unpacked(key.decrypt(CipherVector(key.public, key.public.ring.load(replies))),
                              powers.plan.slots, powers.plan)
            for words in by_rows(digits, powers.plan.iterations)[:, :rows]:
                found += _readings(words)
    return found


def label_gain(recording: Recording, party: str, seed: int) -> tuple[float, float]:
    """AUC on the other half of the rows from own features and weights, and with the best received vector too."""
    labels = recording.blocks[recording.label_holder].labels
    assert labels is not None
    known = np.random.default_rng(seed).random(len(labels)) < 0.5
    own = recording.blocks[party].matrix / SCALE
    base = np.column_stack([own, own @ recording.weights[party]])
    more = np.column_stack([base, 3 * best(vectors(recording, party), labels.astype(float), known)])
    return _auc(base, labels, known), _auc(more, labels, known)


def _auc(features: Reals, labels: NDArray[np.bool_], known: NDArray[np.bool_]) -> float:
    model = LogisticRegression(C=1.0, max_iter=500).fit(features[known], labels[known])
    return float(roc_auc_score(labels[~known], model.decision_function(features[~known])))


def column_gain(recording: Recording, party: str, victim: str, seed: int) -> tuple[float, float]:
    """|correlation| with the victim's columns on the other half of the rows, mean over columns: from own columns, and
    with the best received vector too."""
    known = np.random.default_rng(seed).random(len(recording.blocks[party].matrix)) < 0.5
    own = recording.blocks[party].matrix / SCALE
    base = np.column_stack([own, own @ recording.weights[party]])
    candidates, before, after = vectors(recording, party), [], []
    for column in (recording.blocks[victim].matrix / SCALE).T:
        more = np.column_stack([base, best(candidates, column, known)])
        before.append(_correlation(base, column, known))
        after.append(_correlation(more, column, known))
    return float(np.mean(before)), float(np.mean(after))


def _correlation(features: Reals, target: Reals, known: NDArray[np.bool_]) -> float:
    columns = np.column_stack([features, np.ones(len(features))])
    ridge = 1e-3 * known.sum() * np.eye(columns.shape[1])
    fit = np.linalg.solve(columns[known].T @ columns[known] + ridge, columns[known].T @ target[known])
    return abs(float(np.corrcoef(columns[~known] @ fit, target[~known])[0, 1]))
