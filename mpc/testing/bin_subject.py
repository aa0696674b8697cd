"""`bin` as the conformance suite sees it: small runs, and its own deviations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mpc.credit.binning import Constraints, Trend
from mpc.errors import Reason
from mpc.link import Link, PartyId
from mpc.paillier.ciphertexts import PublicKeyMessage, SealedVector
from mpc.protocol import Party
from mpc.protocols import bin
from mpc.ring import RingVector
from mpc.rng import Rng
from mpc.testing.adversary import Corruption, field_set
from mpc.testing.conformance import Subject, Trial
from mpc.testing.keys import small_key

NAMES = ("bank-a", "platform-b", "telecom-c")
ROWS, SLOTS, CELL, COLUMNS, KEY_BITS = 150, 5, 10, 3, 256


def _columns(draw: Rng) -> list[bin.Column]:
    """A column of numbers with missing ones and one of levels; a third that was agreed is left out."""
    numbers = np.repeat(np.arange(5, dtype=np.uint8), ROWS // 5)
    levels = np.repeat(np.arange(3, dtype=np.uint8), ROWS // 3)
    return [bin.Column(numbers[draw.permutation(ROWS)], 4, 5, trend=Trend.DESCENDING),
            bin.Column(levels[draw.permutation(ROWS)], 3, 3, ordered=False)]


def _trial(parties: int, secrets: int) -> Trial:
    holder, *others = [PartyId(name) for name in NAMES[:parties]]
    draw = Rng(secrets.to_bytes(32, "big"))
    labels = draw.permutation(ROWS) < ROWS // 3
    columns = {name: _columns(draw) for name in others}
    limits = Constraints(minimum_rows=CELL, minimum_share=0.0, minimum_good=3, minimum_bad=3)
    options = bin.BinOptions(holder, ROWS, dict.fromkeys(others, COLUMNS), SLOTS, limits, 0.0, KEY_BITS)

    def label_holder(me: Party, peers: Mapping[PartyId, Link]) -> Any:
        return bin.run_label_holder(me, peers, labels, options, small_key(KEY_BITS))

    def feature_holder(me: Party, peers: Mapping[PartyId, Link]) -> Any:
        return bin.run_feature_holder(me, peers[holder], columns[me.id], options)

    def judge(results: Mapping[str, Any]) -> None:
        due = bin.ideal(labels, columns, options)
        assert {name: results[name] for name in others} == due, "not the best bins of the pooled table"
        shown = {name: sorted(sorted(zip(c.good.tolist(), c.bad.tolist(), strict=True)) for c in counts)
                 for name, counts in results[holder].items()}
        pooled = {name: sorted(sorted(_cells(column, labels)) for column in own) for name, own in columns.items()}
        assert shown == pooled, "not the counts that were agreed"

    canaries = [labels.tobytes(), np.packbits(labels).tobytes()]
    canaries += [column.codes.tobytes() for own in columns.values() for column in own]
    return Trial({holder: label_holder, **dict.fromkeys(others, feature_holder)}, judge, canaries)


def _cells(column: bin.Column, labels: np.ndarray[Any, Any]) -> list[tuple[int, int]]:
    counts = bin.own_counts(column, labels)
    return list(zip(counts.good.tolist(), counts.bad.tolist(), strict=True))


def _words(change: Callable[[np.ndarray[Any, Any]], None]) -> Callable[[RingVector], RingVector]:
    def changed(vector: RingVector) -> RingVector:
        values = vector.values.copy()
        change(values)
        return RingVector(values, vector.bits)

    return changed


def _ciphertext(value: int) -> Callable[[SealedVector], SealedVector]:
    """Another first ciphertext."""
    return lambda sealed: SealedVector.received(
        value.to_bytes(sealed.width, "little") + sealed.data[sealed.width:], sealed.count, sealed.width)


def _twice(sealed: SealedVector) -> SealedVector:
    width = sealed.width
    return SealedVector.received(sealed.data[width : 2 * width] + sealed.data[width:], sealed.count, width)


def _ciphertexts(kind: type, field: str, parts: int) -> tuple[Corruption, ...]:
    """What no vector of ciphertexts under the small key may hold."""
    n = small_key(KEY_BITS).public.n
    wrong = [
        Corruption("a ciphertext of zero", kind, field_set(**{field: _ciphertext(0)}), (Reason.CIPHERTEXT_ZERO,)),
        Corruption("a ciphertext beyond the square", kind, field_set(**{field: _ciphertext(n * n)}),
                   (Reason.CIPHERTEXT_OUT_OF_RANGE,)),
        Corruption("a ciphertext without randomness", kind, field_set(**{field: _ciphertext(1 + n)}),
                   (Reason.CIPHERTEXT_NOT_BLINDED,)),
        Corruption("a ciphertext that is no unit", kind,
                   field_set(**{field: _ciphertext(2 * small_key(KEY_BITS).primes[0])}),
                   (Reason.CIPHERTEXT_NOT_A_UNIT,)),
    ]
    if parts > 1:
        wrong.append(Corruption("a ciphertext twice", kind, field_set(**{field: _twice}),
                                (Reason.CIPHERTEXT_REPEATED,)))
    return tuple(wrong)


BAD_KEYS = (
    Corruption("modulus too short", PublicKeyMessage, field_set(modulus=lambda m: m[:-1]), (Reason.KEY_WRONG_LENGTH,)),
    Corruption("modulus too long", PublicKeyMessage, field_set(modulus=lambda m: m + m[-1:]),
               (Reason.KEY_WRONG_LENGTH,)),
    Corruption("proof too short", PublicKeyMessage, field_set(proof=lambda p: p[:-1]), (Reason.BAD_KEY_PROOF,)),
    Corruption("proof too long", PublicKeyMessage, field_set(proof=lambda p: p + p[-1:]), (Reason.BAD_KEY_PROOF,)),
    Corruption("an even key", PublicKeyMessage, field_set(modulus=lambda m: bytes([m[0] ^ 1]) + m[1:]),
               (Reason.KEY_EVEN,)),
)
_BIN = (
    *BAD_KEYS,
    *_ciphertexts(bin.EncryptedLabels, "labels", 2),
    *_ciphertexts(bin.AnonymousCounts, "bad", 1),
    Corruption("a bin below the minimum cell", bin.AnonymousCounts, field_set(totals=_words(
        lambda v: v.__setitem__(slice(0, 2), (v[0] + v[1] - CELL + 1, CELL - 1)))), (Reason.SMALL_CELL,)),
    Corruption("more customers than there are", bin.AnonymousCounts,
               field_set(totals=_words(lambda v: v.__setitem__(0, v[0] + 1))), (Reason.OUT_OF_RANGE,)),
    Corruption("fewer customers than there are", bin.AnonymousCounts,
               field_set(totals=_words(lambda v: v.__setitem__(0, v[0] - 1))), (Reason.OUT_OF_RANGE,)),
    Corruption("a gap among the bins", bin.AnonymousCounts,
               field_set(totals=_words(lambda v: v.__setitem__(slice(0, 2), (0, v[0] + v[1])))),
               (Reason.OUT_OF_RANGE,)),
    Corruption("an empty column before another", bin.AnonymousCounts,
               field_set(regular=_words(lambda v: v.__setitem__(0, 0))), (Reason.OUT_OF_RANGE,)),
    Corruption("more regular bins than bins", bin.AnonymousCounts,
               field_set(regular=_words(lambda v: v.__setitem__(0, SLOTS + 1))), (Reason.OUT_OF_RANGE,)),
    Corruption("a form that does not exist", bin.AnonymousCounts,
               field_set(forms=_words(lambda v: v.__setitem__(0, 200))), (Reason.OUT_OF_RANGE,)),
    Corruption("totals of another width", bin.AnonymousCounts,
               field_set(totals=lambda v: RingVector(v.values, 64)), (Reason.WRONG_LENGTH,)),
    Corruption("bad customers of somebody else", bin.AnonymousCounts,
               field_set(bad=lambda v: small_key(KEY_BITS).encryptor(Rng(bytes(32)), 8).encrypt([7] * v.count)),
               (Reason.OUT_OF_RANGE,)),
    Corruption("groups with a gap", bin.MergedBins,
               field_set(groups=_words(lambda v: v.__setitem__(0, SLOTS - 1))), (Reason.OUT_OF_RANGE,)),
    Corruption("a group for no bin", bin.MergedBins,
               field_set(groups=_words(lambda v: v.__setitem__(-1, 1))), (Reason.OUT_OF_RANGE,)),
    Corruption("more bad customers than customers", bin.MergedBins,
               field_set(bad=_words(lambda v: v.__setitem__(0, ROWS + 1))), (Reason.OUT_OF_RANGE,)),
    Corruption("another number of bad customers in all", bin.MergedBins,
               field_set(bad=_words(lambda v: v.__setitem__(0, v[0] + 1))), (Reason.OUT_OF_RANGE,)),
)
BIN = Subject(bin.PROTOCOL, _trial, (2, 3), _BIN)
