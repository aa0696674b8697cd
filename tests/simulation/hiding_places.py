"""Every form in which a party's private values could hide in bytes: texts, floats, integers, fixed point, hashes."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mpc.domains import Domain
from mpc.group import ristretto255
from mpc.group.id_column import IdColumn
from mpc.paillier.keys import PrivateKey
from mpc.testing.haystack import Haystack
from mpc.testing.transcript import encodings
from tests import canaries
from tests.simulation.observer import Recording

SCALES = (1, 100, 10_000, 1 << 8, 1 << 16, 1 << 20, 1 << 32)
ROWS = 24


def haystack_for(recording: Recording, owner: str) -> Haystack:
    """What must not be found outside `owner`."""
    needles = {needle.name: needle.form for needle in canaries.data_needles()}
    needles |= dict(number_forms("number", canaries.NUMBER))
    needles |= dict(_ids(recording, owner))
    needles |= dict(_block(recording, owner))
    needles |= dict(_bins(recording, owner))
    if owner in recording.keys:
        needles |= dict(_key(recording.keys[owner]))
    for k, word in enumerate(recording.partials.get(owner, np.empty(0, np.uint64))[:ROWS]):
        needles[f"partial score {k}"] = word.tobytes()
    for k, weight in enumerate(recording.weights.get(owner, np.empty(0))):
        if weight:
            needles |= dict(number_forms(f"weight {k}", float(weight), scales=(1 << 32,)))
    return Haystack({name: form for name, form in needles.items() if any(form)})


def number_forms(name: str, value: float, scales: tuple[int, ...] = SCALES) -> Iterator[tuple[str, bytes]]:
    """A number as text, float64 and as integers of 64 bits at the usual scales, both byte orders; hex of these."""
    forms = {"text": repr(value).encode()}
    for order in "<>":
        forms[f"float64 {order}"] = struct.pack(f"{order}d", value)
        forms[f"float32 twice {order}"] = struct.pack(f"{order}2f", value, value)
        for scale in scales:
            if abs(value * scale) >= 1 << 24:   # smaller ones are mostly zeros, and occur by chance
                forms[f"times {scale} {order}"] = struct.pack(f"{order}q", round(value * scale))
    for form, data in forms.items():
        if len(data) >= 8:
            yield f"{name}: {form}", data
            yield f"{name}: {form} hex", data.hex().encode()


def _ids(recording: Recording, owner: str) -> Iterator[tuple[str, bytes]]:
    """Ids as their party normalised them: hashed with every public salt, and as points that nobody has blinded."""
    salts = [*recording.sessions, *(session.hex().encode() for session in recording.sessions)]
    ids = recording.ids.get(owner, [])[: 2 * canaries.HASHED]
    for number, customer in enumerate(ids):
        for name, form in encodings(customer, salts).items():
            yield f"own id {number}: {name}", form
    for session in recording.sessions:
        digests = IdColumn.of(ids).digests(hashlib.sha256(Domain.ALIGN_DIGEST.encode() + b"\0" + session).digest())
        for number, words in enumerate(digests):
            yield f"own id {number}: its digest under the session", words[:1].tobytes()
            yield f"own id {number}: the rest of its digest", words[1:].tobytes()
        label = Domain.ALIGN_HASH_TO_GROUP.encode() + b"/" + session
        points = ristretto255.hash_to_group(ids, label).data
        for number in range(len(ids)):
            yield f"own id {number}: its unblinded point", points[32 * number : 32 * number + 32]


def _block(recording: Recording, owner: str) -> Iterator[tuple[str, bytes]]:
    """Columns of the training block in fixed point and as floats, labels as bytes, bits and words."""
    block = recording.blocks.get(owner)
    if block is None:
        return
    for c in range(block.matrix.shape[1]):
        column = block.matrix[:, c]
        if len(np.unique(column)) < 8:
            if len(np.unique(column[:64])) > 1:      # weights of a few bins; an intercept is no canary
                yield f"column {c}: int16", column[:64].astype("<i2").tobytes()
            continue
        yield f"column {c}: int16", column[:8].astype("<i2").tobytes()
        yield f"column {c}: int64", column[:2].astype("<i8").tobytes()
        yield f"column {c}: offset binary", (column[:2].astype(np.int64) + (1 << 15)).astype("<i8").tobytes()
        yield f"column {c}: float64", (column[:1] / 6553).astype("<f8").tobytes()
    if block.labels is not None:
        yield from _labels(block.labels)


def _bins(recording: Recording, owner: str) -> Iterator[tuple[str, bytes]]:
    """In which bin rows are, and where bins end."""
    for c, column in enumerate(recording.columns.get(owner, [])):
        codes = column.codes[:64]
        for form in ("u1", "<u2", "<u4", "<u8"):
            yield f"bins of column {c}: {form}", codes.astype(form).tobytes()
        yield f"bins of column {c}: text", " ".join(map(str, codes)).encode()
        for code in range(column.count):
            yield f"rows of bin {code} of column {c}", np.packbits(column.codes == code).tobytes()
    for k, edge in enumerate(recording.edges.get(owner, [])):
        yield from number_forms(f"edge {k}", edge)


def _labels(labels: NDArray[np.bool_]) -> Iterator[tuple[str, bytes]]:
    octets = labels.astype(np.uint8)
    yield "labels: bytes", octets[:64].tobytes()
    yield "labels: text", (octets[:64] + 48).tobytes()
    for order in ("little", "big"):
        yield f"labels: bits, {order}", np.packbits(octets[:96], bitorder=order).tobytes()


def _key(key: PrivateKey) -> Iterator[tuple[str, bytes]]:
    for name, prime in zip("pq", key.primes, strict=True):
        size = (prime.bit_length() + 7) // 8
        for order in ("little", "big"):
            data = prime.to_bytes(size, order)
            yield f"prime {name}: {order}", data[:16]
            yield f"prime {name}: {order} hex", data[:16].hex().encode()
        yield f"prime {name}: decimal", str(prime)[:24].encode()
