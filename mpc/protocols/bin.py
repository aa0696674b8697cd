"""How many good and bad customers each bin of the feature holders' columns holds. N >= 2 parties, semi-honest.

   label holder: y in {0, 1}, a Paillier key       every feature holder: fine bins of its columns
 1 E(y_i), one per row     -- PublicKeyMessage, EncryptedLabels -->  S_b = prod of E(y_i) over the rows of fine bin b
   columns shuffled, each turned round or not, its levels and bins apart shuffled
 2 the counts              <-- AnonymousCounts --   customers per bin; all S_b, packed side by side, re-randomised
 3 merges bins             -- MergedBins -->        which fine bins are one, and the bad customers of each merged bin

Customers per bin are the feature holder's own knowledge, so it enforces the minimum cell before anything is sent: a
bin below it is merged into another, never left out, for what is left out is the difference to the whole. The label
holder checks the cells that it is shown, and shows no merged bin with fewer good or bad customers than the minimum.

Source: [Pai99], the sums of ciphertexts; weight of evidence and its bins as in mpc.credit.binning. The packing and
re-randomisation are those of mpc.products.matrix_vector. Departures: docs/protocols/bin.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mpc.credit.binning import BinCounts
from mpc.credit.weight_of_evidence import I64
from mpc.errors import LocalError, Reason
from mpc.link import Link, PartyId
from mpc.paillier.ciphertexts import CipherVector, PublicKey, PublicKeyMessage, SealedVector
from mpc.paillier.keys import PrivateKey
from mpc.paillier.rerandomisation import Rerandomiser
from mpc.products.matrix_vector import checked_key, joined, parsed
from mpc.products.plan import MESSAGE_BYTES, chunks
from mpc.protocol import LedgerLine, Party, ProtocolSpec
from mpc.protocols.bin_terms import (
    COUNT_BITS,
    FORM_BITS,
    BinOptions,
    Column,
    Disguise,
    Told,
    anonymous_counts,
    can_be,
    check_columns,
    counts_fit,
    forms_fit,
    forms_of,
    own_counts,
    room,
    told,
)
from mpc.ring import RingVector
from mpc.rng import Rng

__all__ = ["PROTOCOL", "BinOptions", "Column", "Told", "ideal", "own_counts", "run_feature_holder", "run_label_holder",
           "told"]

BLOCK = 8192          # rows whose ciphertexts are multiplied into the bins together

# ---------------------------------------------------------------- messages


@dataclass(frozen=True)
class EncryptedLabels:
    """Step 1: the next rows' labels, 0 or 1, under the label holder's key."""

    labels: SealedVector


@dataclass(frozen=True)
class AnonymousCounts:
    """Step 2: of each column, in an order of its own, how many of its bins may be merged and under which trend; the
    customers of every bin; and their bad ones, packed, under the label holder's key. Empty columns stand last."""

    regular: RingVector
    forms: RingVector
    totals: RingVector
    bad: SealedVector


@dataclass(frozen=True)
class MergedBins:
    """Step 3: for every bin, in the order of step 2, the merged bin; and the bad customers of each merged bin."""

    groups: RingVector
    bad: RingVector


# ---------------------------------------------------------------- roles


async def run_label_holder(
    me: Party, peers: Mapping[PartyId, Link], labels: NDArray[np.bool_], options: BinOptions, key: PrivateKey
) -> dict[PartyId, list[BinCounts]]:
    """`labels` (rows,), True for bad. Returns what was learned: the anonymous columns' counts, per feature holder.

    PeerError WRONG_LENGTH, OUT_OF_RANGE, SMALL_CELL or of the gates for ciphertexts.
    """
    if labels.shape != (options.rows,) or labels.dtype != np.bool_ or labels.all() or not labels.any():
        raise LocalError("counting needs one label for each row, and both outcomes among them")
    if key.public.bits != options.key_bits:
        raise LocalError("our own key has another length than was agreed")
    links = {party: peers[party] for party in sorted(options.columns)}
    _consent(me)
    message = await me.compute(key.message)
    await me.together(*(link.send(message) for link in links.values()))                             # 1
    encryptor = await me.compute(key.encryptor, Rng(me.rng.bytes(32)), options.rows)
    size = max(1, MESSAGE_BYTES // key.public.width)
    for part in chunks(options.rows, size):
        me.progress("encrypted labels", part.start, options.rows)
        values = labels[part.start : part.stop].astype(int).tolist()
        sealed = EncryptedLabels(await me.compute(encryptor.encrypt, values))
        await me.together(*(link.send(sealed) for link in links.values()))                          # 1
    me.progress("encrypted labels", options.rows, options.rows)
    all_bad = int(labels.sum())
    learned = await me.together(*(_join(me, link, options, key, all_bad) for link in links.values()))
    return dict(zip(links, learned, strict=True))


async def _join(me: Party, link: Link, options: BinOptions, key: PrivateKey, all_bad: int) -> list[BinCounts]:
    """Steps 2 and 3 at the label holder, with one feature holder."""
    columns, slots = shape = options.columns[link.peer], options.slots
    replies = options.replies(link.peer)
    most = 8 * columns * (slots + 2) + replies * key.public.width
    shown = await link.receive(AnonymousCounts, at_most=most)                                       # 2
    regular, forms = (_words(link, vector, columns, FORM_BITS) for vector in (shown.regular, shown.forms))
    totals = _words(link, shown.totals, columns * slots, COUNT_BITS).reshape(shape)
    link.require(forms_fit(regular, forms, totals, options), Reason.OUT_OF_RANGE)
    cells = totals[totals > 0]
    link.require(bool(np.all(cells >= options.constraints.minimum_rows)), Reason.SMALL_CELL)
    vector = await parsed(me, link, key.public, shown.bad, replies, set())
    bad, rest = digits(await me.compute(key.decrypt, vector), options, link.peer)
    link.require(rest == 0 and counts_fit(bad, totals, all_bad), Reason.OUT_OF_RANGE)
    me.ledger.record("bin.counts", columns * slots)
    groups, merged_bad = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    learned = anonymous_counts(regular, forms, totals, bad)
    for c, (counts, trend) in enumerate(learned):
        answer = await me.compute(options.told, counts, trend)
        groups[c, : len(answer.group)], merged_bad[c, : len(answer.bad)] = answer.group, answer.bad
    me.ledger.record("bin.merged", columns)
    await link.send(MergedBins(_ring(groups, FORM_BITS), _ring(merged_bad, COUNT_BITS)))            # 3
    return [counts for counts, _ in learned]


async def run_feature_holder(
    me: Party, label_holder: Link, columns: Sequence[Column], options: BinOptions
) -> list[Told]:
    """The merged bins of each of `columns`, at most as many as were agreed.

    PeerError as for the label holder, or of the gate for keys; LocalError for a bin below the minimum cell.
    """
    check_columns(columns, options, me.id)
    _consent(me)
    message = await label_holder.receive(PublicKeyMessage)                                          # 1
    key = await checked_key(me, label_holder, message, options.key_bits, (), options.engine)
    rng = Rng(me.rng.bytes(32))
    disguise = Disguise.draw(columns, rng)
    shown = [disguise.apply(columns, c) for c in range(len(columns))]
    packed = await _summed(me, label_holder, key, shown, options)                                   # 1
    sealer = await me.compute(Rerandomiser, key, rng, len(packed))
    sealed = await me.compute(sealer.seal, packed)
    regular, forms = forms_of(shown, options.columns[me.id])
    totals = room(shown, options, me.id)
    me.ledger.record("bin.counts", totals.size)
    await label_holder.send(AnonymousCounts(
        _ring(regular, FORM_BITS), _ring(forms, FORM_BITS), _ring(totals, COUNT_BITS), sealed
    ))                                                                                              # 2
    answer = await label_holder.receive(MergedBins, at_most=16 * totals.size)                               # 3
    groups = _words(label_holder, answer.groups, totals.size, FORM_BITS).reshape(totals.shape)
    bad = _words(label_holder, answer.bad, totals.size, COUNT_BITS).reshape(totals.shape)
    found = disguise.lifted(columns, groups, bad)
    label_holder.require(found is not None and can_be(found, columns, options), Reason.OUT_OF_RANGE)
    assert found is not None
    me.ledger.record("bin.merged", options.columns[me.id])
    return found


async def _summed(
    me: Party, link: Link, key: PublicKey, columns: Sequence[Column], options: BinOptions
) -> CipherVector:
    """Step 1 at a feature holder: the encrypted bad customers of every bin, packed."""
    codes = np.empty((options.rows, len(columns)), np.uint8)
    for c, column in enumerate(columns):
        codes[:, c] = column.codes
    seen: set[int] = set()
    waiting: list[CipherVector] = []
    total, done, taken = None, 0, 0
    for part in chunks(options.rows, max(1, MESSAGE_BYTES // key.width)):
        me.progress("summed labels", part.start, options.rows)
        labels = (await link.receive(EncryptedLabels)).labels
        waiting.append(await parsed(me, link, key, labels, len(part), seen))
        taken += len(part)
        if taken - done >= BLOCK or taken == options.rows:
            sums = await me.compute(joined(waiting).grouped, codes[done:taken], options.slots)
            total = sums if total is None else total.add(sums)
            waiting, done = [], taken
    me.progress("summed labels", options.rows, options.rows)
    assert total is not None
    return await me.compute(packed, total, options, me.id)


def _consent(me: Party) -> None:
    """Raise before anything is sent if the signed spec does not list what is opened here."""
    for line in LEDGER:
        me.ledger.record(line.code, 0)


def _words(link: Link, vector: RingVector, count: int, bits: int) -> I64:
    """A received vector of small numbers, which has to have the agreed form."""
    link.require(len(vector) == count and vector.bits == bits, Reason.WRONG_LENGTH)
    link.require(not vector.values.size or int(vector.values.max()) >> bits == 0, Reason.OUT_OF_RANGE)
    return vector.values.astype(np.int64)


def _ring(values: I64, bits: int) -> RingVector:
    return RingVector(values.reshape(-1).astype(np.uint64), bits)


# ---------------------------------------------------------------- steps


def packed(sums: CipherVector, options: BinOptions, party: PartyId) -> CipherVector:
    """Step 2: count f of the room, column by column, becomes digit f // replies of ciphertext f % replies (Horner)."""
    replies, each = options.replies(party), options.counts_each(party)
    ring = sums.key.ring
    empty = ring.load([1] * (replies * each - len(sums)))
    room = CipherVector(sums.key, ring.concat([sums.residues, empty]))
    total = room.slice((each - 1) * replies, each * replies)
    for digit in reversed(range(each - 1)):
        total = total.scale(1 << options.bits).add(room.slice(digit * replies, (digit + 1) * replies))
    return total


def digits(values: Sequence[int], options: BinOptions, party: PartyId) -> tuple[I64, int]:
    """Step 3: the counts (columns, slots) in decrypted values, and what stands above or after them, 0 if honest."""
    each, size = options.counts_each(party), options.columns[party] * options.slots
    mask = (1 << options.bits) - 1
    flat = [value >> digit * options.bits & mask for digit in range(each) for value in values]
    rest = max(value >> each * options.bits for value in values) + sum(flat[size:])
    return np.array(flat[:size], dtype=np.int64).reshape(options.columns[party], options.slots), rest


# ---------------------------------------------------------------- ideal


def ideal(
    labels: NDArray[np.bool_], columns: Mapping[PartyId, Sequence[Column]], options: BinOptions
) -> dict[PartyId, list[Told]]:
    """The merged bins of each feature holder's columns, by whoever has labels and columns in one place."""
    return {party: [options.told(own_counts(column, labels), column.trend) for column in own]
            for party, own in columns.items()}


LEDGER = (
    LedgerLine("bin.counts", "revealed", "label_holder",
               "how many good and bad customers each fine bin of an anonymous column holds"),
    LedgerLine("bin.merged", "revealed", "owner",
               "how many good and bad customers each merged bin of its own columns holds"),
)

PROTOCOL = ProtocolSpec(
    name="bin",
    version=1,
    messages=(PublicKeyMessage, EncryptedLabels, AnonymousCounts, MergedBins),
    roles={"label_holder": run_label_holder, "feature_holder": run_feature_holder},
    ideal=ideal,
    learns={
        "label_holder": "of each feature holder's columns, shuffled and nameless, how many good and bad customers each "
                        "fine bin holds, none below the minimum cell",
        "feature_holder": "how many good and bad customers each merged bin of its own columns holds, none below the "
                          "minimum cell or with fewer good or bad ones than the minimum; and so the share of bad "
                          "customers in all",
    },
    ledger=LEDGER,
)
