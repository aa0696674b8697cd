"""The privacy checks, by name. Each gets a recording and returns what is wrong with it, in sentences; none: green.

An auditor with all keys and all inputs runs them; what they find is what somebody without those could use.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any

import gmpy2
import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mpc.domains import Domain
from mpc.group.id_column import IdColumn
from mpc.ot.extension import Columns, Corrections, TreeSums
from mpc.paillier.ciphertexts import SealedVector
from mpc.products.matrix_vector import EncryptedMasks, MaskedProducts
from mpc.products.packed_over_rows import EncryptedRows, MaskedRows
from mpc.protocol import LedgerLine
from mpc.protocols import PROTOCOLS
from mpc.protocols.align import Indices
from mpc.protocols.align_count import Programmed
from mpc.protocols.bin import AnonymousCounts, EncryptedLabels
from mpc.protocols.train import Masked
from mpc.ring import RingVector
from mpc.sets.okvs import Layout
from mpc.sets.oprf import Codes, Offsets
from mpc.sharing.opening import Opening
from mpc.testing.memory_link import Sent
from mpc.testing.transcript import content
from tests.simulation.hiding_places import haystack_for
from tests.simulation.observer import Powers, Recording

Findings = list[str]
Check = Callable[[Recording], Findings]

FALSE_ALARM = 1e-7       # of one check over all its tests (Bonferroni)
SPY_REPLIES = 10
SPY_EXPONENTS = 1 << 12
LINES: Mapping[str, LedgerLine] = {line.code: line for p in PROTOCOLS.values() for line in p.ledger}


# ---------------------------------------------------------------- known values


def canaries_stay_at_home(recording: Recording) -> Findings:
    """No id, label, level, number or column of a party in what others got, in any encoding."""
    found = []
    for owner in recording.parties:
        needles = haystack_for(recording, owner)
        for other in recording.parties:
            if other != owner:
                names = needles.found(content(recording.seen_by(other)))
                found += [f"{other} received of {owner}: {name}" for name in names]
        got = b"\0".join(data for _, _, data in recording.coordinator)
        found += [f"the coordinator received of {owner}: {name}" for name in needles.found(got)]
        found += [f"{file} holds of {owner}: {name}"
                  for file, data in recording.left_behind.items() for name in needles.found(data)]
    return found


# ---------------------------------------------------------------- uniformity


def masked_values_are_uniform(recording: Recording) -> Findings:
    """Chi-square over low and high bits of everything that travels masked, and of the totals that become known."""
    groups = dict(_masked_groups(recording))
    tested = [(name, bits, words) for name, (bits, words) in sorted(groups.items()) if len(words) >= 64]
    limit = FALSE_ALARM / (2 * max(1, len(tested)))
    found = []
    for name, bits, words in tested:
        for end, shift in (("low", 0), ("high", max(0, bits - 8))):
            p = _chi_square((words >> np.uint64(shift)) & np.uint64(0xFF), min(bits, 8))
            if p < limit:
                found.append(f"the {end} bits of {name} are not uniform (p = {p:.1e}, {len(words)} values)")
    return found


def _chi_square(octets: NDArray[np.uint64], bits: int) -> float:
    """p-value of `bits` <= 8 bits being uniform; in 16 classes at most where there are few values."""
    classes = min(1 << bits, 256 if len(octets) >= 2560 else 16)
    counts = np.bincount((octets.astype(np.int64) * classes) >> bits, minlength=classes)
    return float(stats.chisquare(counts).pvalue)


def _masked_groups(recording: Recording) -> Iterator[tuple[str, tuple[int, NDArray[np.uint64]]]]:
    words: dict[tuple[str, int], dict[bytes, NDArray[np.uint64]]] = defaultdict(dict)
    for name, bits, values in (*_received(recording), *_auditor_only(recording)):
        words[name, bits][values.tobytes()] = values   # a broadcast is one draw
    for (name, bits), distinct in words.items():
        yield f"{name} ({bits})", (bits, np.concatenate(list(distinct.values())))


def _received(recording: Recording) -> Iterator[tuple[str, int, NDArray[np.uint64]]]:
    for sent in recording.messages:
        message, kind = sent.message, type(sent.message).__name__
        if isinstance(message, Masked):
            yield f"Masked on {sent.channel.rpartition('/')[2]}", message.values.bits, message.values.values
        elif isinstance(message, Opening):
            yield kind, message.share.bits, message.share.values
        elif isinstance(message, Corrections):
            yield kind, 64, message.words.values
        elif isinstance(message, Programmed):
            yield kind, message.words.bits, message.words.values
        elif isinstance(message, Columns | TreeSums | Offsets):
            data = message.sums if isinstance(message, TreeSums) else message.rows
            yield kind, 64, np.frombuffer(data, "<u8").astype(np.uint64)
        elif isinstance(message, OFFERS | REPLIES):
            n = recording.keys[key_owner(sent)].public.n
            low = [(c % n) & ((1 << 64) - 1) for c in numbers(message)]
            yield f"{kind} mod n", 64, np.array(low, dtype=np.uint64)


def _auditor_only(recording: Recording) -> Iterator[tuple[str, int, NDArray[np.uint64]]]:
    for opened in recording.openings:
        line = LINES.get(opened.code)
        if line is not None and line.kind == "masked" and opened.total is not None:
            yield f"the total of {opened.code}", opened.bits, opened.total
    yield from _stores_read_without_the_function(recording)
    for use in recording.masks:
        yield f"mask of {use.bits} bits", use.bits, _mask(use.share, use.sent, use.bits)


def _stores_read_without_the_function(recording: Recording) -> Iterator[tuple[str, int, NDArray[np.uint64]]]:
    """What a store of the oprf engine says of its owner's ids to somebody who lacks F, column by column."""
    stores: dict[str, list[RingVector]] = defaultdict(list)
    for sent in recording.messages:
        if isinstance(sent.message, Programmed) and sent.channel.endswith("/members"):
            stores[sent.sender].append(sent.message.words)
    for owner, columns in stores.items():
        ids, (session,) = recording.ids[owner], recording.sessions
        key = hashlib.sha256(Domain.ALIGN_DIGEST.encode() + b"\0" + session).digest()
        codes, layout = Codes(session), Layout(len(ids))
        own, width = codes.binned(IdColumn.of(ids).digests(key)), len(columns) // layout.bins
        for number, first in enumerate(columns[:width]):   # bin by bin, column by column
            read = codes.read(own, layout, [column.values[:, None] for column in columns[number::width]])
            yield f"column {number} of the store of {owner} at its ids", first.bits, read[:, 0]


def _mask(share: NDArray[np.uint64], sent: NDArray[np.uint64], bits: int) -> NDArray[np.uint64]:
    return (share - sent) & np.uint64((1 << bits) - 1)


def masks_serve_once(recording: Recording) -> Findings:
    """What was subtracted from shares never repeats, in part or whole."""
    found = []
    for bits in sorted({use.bits for use in recording.masks}):
        unique = {_mask(use.share, use.sent, bits).tobytes() for use in recording.masks if use.bits == bits}
        masks = np.concatenate([np.frombuffer(mask, np.uint64) for mask in unique])
        total = sum(use.bits == bits for use in recording.masks)
        if len(unique) != total:
            found.append(f"{total - len(unique)} of {total} masks of {bits} bits were used before")
        if len(np.unique(masks)) < len(masks) - 1:   # one chance meeting of 37-bit values is allowed for
            found.append(f"masks of {bits} bits repeat elements")
    return found


# ---------------------------------------------------------------- ciphertexts

OFFERS = EncryptedMasks | EncryptedRows | EncryptedLabels     # under the sender's key
REPLIES = MaskedProducts | MaskedRows | AnonymousCounts        # under the receiver's


def numbers(message: Any) -> list[int]:
    """The ciphertexts of a message as integers."""
    (sealed,) = (value for field in fields(message) if isinstance(value := getattr(message, field.name), SealedVector))
    return [int.from_bytes(sealed.data[i : i + sealed.width], "little")
            for i in range(0, len(sealed.data), sealed.width)]


def key_owner(sent: Sent) -> str:
    """Whose key the ciphertexts of a message are under."""
    return sent.sender if isinstance(sent.message, OFFERS) else sent.receiver


def randomness_is_fresh(recording: Recording) -> Findings:
    """c mod n is never 1 and never repeats, over all ciphertexts under one key (a broadcast counts once)."""
    found = set()
    vectors: dict[str, dict[tuple[int, ...], None]] = defaultdict(dict)
    for sent in recording.messages:
        if isinstance(sent.message, OFFERS | REPLIES):
            vectors[key_owner(sent)][tuple(numbers(sent.message))] = None
    for owner, distinct in vectors.items():
        n, seen = recording.keys[owner].public.n, set()
        for residue in (c % n for vector in distinct for c in vector):
            if residue == 1:
                found.add(f"a ciphertext under {owner}'s key has randomness 1")
            if residue in seen:
                found.add(f"two ciphertexts under {owner}'s key have one randomness")
            seen.add(residue)
    return sorted(found)


def conversation(recording: Recording, powers: Powers) -> tuple[list[int], list[int]]:
    """Ciphertexts that came in and replies that went out, of one product."""
    here = [s for s in recording.messages if s.channel == powers.channel]
    inputs = [c for s in here if (s.sender, s.receiver) == (powers.key_owner, powers.secret_owner)
              and isinstance(s.message, OFFERS) for c in numbers(s.message)]
    replies = [c for s in here if (s.sender, s.receiver) == (powers.secret_owner, powers.key_owner)
               and isinstance(s.message, REPLIES) for c in numbers(s.message)]
    return inputs, replies


def jacobi_symbols_are_fair_coins(recording: Recording) -> Findings:
    """Neither biased, nor what the inputs and the secret exponents' parities predict."""
    symbols, predicted = [], []
    for powers in recording.powers:
        inputs, replies = conversation(recording, powers)
        n = recording.keys[powers.key_owner].public.n
        minus = np.array([gmpy2.jacobi(c % n, n) == -1 for c in inputs])
        for number, reply in enumerate(replies):
            bases, exponents = powers.of_reply(number, len(inputs))
            predicted.append(1 - 2 * (int((exponents[minus[bases]] & np.uint64(1)).sum()) & 1))
            symbols.append(gmpy2.jacobi(reply % n, n))
    if len(symbols) < 40:
        return []
    agree = sum(a == b for a, b in zip(symbols, predicted, strict=True))
    found = []
    for what, count in (("are +1", symbols.count(1)), ("are as the parities of the exponents say", agree)):
        if stats.binomtest(count, len(symbols)).pvalue < FALSE_ALARM:
            found.append(f"{count} of {len(symbols)} Jacobi symbols of replies {what}")
    return found


def exponents_cannot_be_confirmed(recording: Recording) -> Findings:
    """A spy who guesses a row of exponents right sees nothing in what is left of the reply after dividing by it."""
    found = []
    for powers in recording.powers:
        if powers.plan.inputs > 64:
            continue   # one product with few inputs shows it for all
        inputs, replies = conversation(recording, powers)
        n = recording.keys[powers.key_owner].public.n
        some = range(min(SPY_REPLIES, len(replies)))
        guesses = [powers.of_reply(number, len(inputs)) for number in some]
        left = [without(n, [inputs[b] for b in bases], exponents.tolist(), replies[number])
                for number, (bases, exponents) in zip(some, guesses, strict=True)]
        if looks_right(n, left):
            found.append(f"{powers.key_owner} can confirm guesses of {powers.secret_owner}'s numbers")
    return sorted(set(found))


def without(n: int, bases: list[int], exponents: list[int], reply: int) -> int:
    """What is left of a reply's randomness after dividing by a guess of the exponents."""
    product = gmpy2.mpz(1)
    for c, exponent in zip(bases, exponents, strict=True):
        product = product * gmpy2.powmod(c, exponent, n) % n
    return int(reply * gmpy2.invert(product, n) % n)


def looks_right(n: int, left: list[int]) -> bool:
    """Whether what guesses leave is 1, or small powers of one number: then the guesses were right."""
    if 1 in left:
        return True
    powers: set[int] = set()
    for blind in left:
        power, own = gmpy2.mpz(1), set()
        for _ in range(SPY_EXPONENTS):
            power = power * blind % n
            own.add(int(power) & ((1 << 96) - 1))
        if powers & own:
            return True
        powers |= own
    return False


# ---------------------------------------------------------------- who learns what


def reveals_go_where_the_ledger_says(recording: Recording) -> Findings:
    """A value for one party is opened to one, one for the label holder to it; masked and common ones to all."""
    found = set()
    calls: dict[tuple[str, int], set[str]] = defaultdict(set)
    turn: dict[tuple[str, str], int] = defaultdict(int)
    for opened in recording.openings:
        key = (opened.code, turn[opened.party, opened.code])
        turn[opened.party, opened.code] += 1
        if opened.total is not None:
            calls[key].add(opened.party)
    for (code, _), parties in calls.items():
        to = LINES[code].to
        if (to == "owner" and len(parties) != 1) or (to == "label_holder" and parties != {recording.label_holder}):
            found.add(f"{code} is for {to} and was opened to {len(parties)} parties")
    return sorted(found)


def others_never_hold_my_weights(recording: Recording) -> Findings:
    """The words of a party's final weights are in nothing that another party received or computed by opening."""
    found = []
    for owner in recording.parties:
        final = [o.total for o in recording.opened("train.weights", owner) if o.total is not None]
        words = {w.tobytes() for total in final[-1:] for w in total if _telling(w.tobytes())}
        for other in recording.parties:
            if other != owner:
                totals = b"".join(o.total.tobytes() for o in recording.openings
                                  if o.party == other and o.total is not None)
                held = content(recording.seen_by(other)) + totals
                if any(word in held for word in words):
                    found.append(f"{other} holds weights of {owner}")
    return found


def _telling(word: bytes) -> bool:
    """Whether a weight is no such number as 1 or -2, which padding may end in and which opened bits spell by chance."""
    return sum(octet not in (0, 1, 255) for octet in word) >= 2


def rows_travel_shuffled(recording: Recording) -> Findings:
    """Neither the places that come back to an owner nor the common order say where the rows stand in its table."""
    found = []
    for owner, rows in recording.own_rows.items():
        rank = stats.spearmanr(np.arange(len(rows)), rows.astype(np.float64))
        if rank.pvalue < FALSE_ALARM:
            found.append(f"common customers follow the order of the table of {owner} (rho = {rank.statistic:.2f})")
        leader = recording.label_holder
        lists: dict[str, list[NDArray[np.uint64]]] = defaultdict(list)
        for sent in recording.seen_by(owner):
            if isinstance(sent.message, Indices) and owner != leader:
                lists[sent.channel].append(sent.message.places.values)
        for places in map(np.concatenate, lists.values()):
            rank = stats.spearmanr(places.astype(np.float64), rows.astype(np.float64))
            if rank.pvalue < FALSE_ALARM:
                found.append(f"places that {owner} is told follow the order of its table (rho = {rank.statistic:.2f})")
    return found


def kinds(recording: Recording) -> set[str]:
    """Names of all kinds of message that crossed."""
    return {type(sent.message).__name__ for sent in recording.messages}


CHECKS: Mapping[str, Check] = {
    check.__name__: check for check in (
        canaries_stay_at_home, masked_values_are_uniform, masks_serve_once, randomness_is_fresh,
        jacobi_symbols_are_fair_coins, exponents_cannot_be_confirmed, reveals_go_where_the_ledger_says,
        others_never_hold_my_weights, rows_travel_shuffled,
    )
}
