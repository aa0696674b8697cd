"""The only place where foreign bytes become values, and the only place where values become bytes.

A line of REGISTRY says which field of the contract carries a message class; conversion goes by the types of the
dataclass's fields. What is malformed raises `Malformed`: the link knows whom to blame. Knows no session.
"""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError, Message

from mpc.errors import Reason
from mpc.group.ristretto255 import POINT_BYTES, PointVector
from mpc.ot.base import BaseAnswer, BaseOffer
from mpc.ot.extension import Columns, Corrections, TreeSums
from mpc.paillier.ciphertexts import PublicKeyMessage, SealedVector
from mpc.products.matrix_vector import EncryptedMasks, MaskedProducts
from mpc.products.packed_over_rows import EncryptedRows, MaskedRows
from mpc.protocols.align import Blinded, Returned
from mpc.protocols.align_count import Programmed
from mpc.protocols.align_oprf import Tags
from mpc.protocols.align_terms import Copies, Indices, SetSize, SizesHeard, Verdict
from mpc.protocols.bin import AnonymousCounts, EncryptedLabels, MergedBins
from mpc.protocols.coin import CoinShare, Commitment, Seen
from mpc.protocols.finish import Accepted, AuditHead, Countersigned
from mpc.protocols.split import LaterRows, SplitHeard
from mpc.protocols.train import Masked, Widths
from mpc.ring import RingVector
from mpc.sets.hidden_count import Counted
from mpc.sets.oprf import Offsets
from mpc.sharing.opening import Opening
from mpc.sharing.zero_sharing import MaskKey
from wire.v1 import common_pb2, peer_pb2

Envelope = peer_pb2.Envelope
MAX_CHANNEL = 200
_CHANNEL = re.compile(r"(/[A-Za-z0-9._:-]+)*")
_CIPHERTEXT_WIDTHS = range(1, 4097)


class Malformed(Exception):
    """Foreign bytes that are no message; `reason` says how."""

    def __init__(self, reason: Reason = Reason.MALFORMED) -> None:
        super().__init__(reason.value)
        self.reason = reason


@dataclass(frozen=True)
class Line:
    """Where a message class travels: the protocol that it belongs to, and the field of Envelope.body."""

    protocol: str
    field: str


REGISTRY: Mapping[type, Line] = {
    SetSize: Line("align", "align_set_size"),
    SizesHeard: Line("align", "align_sizes_heard"),
    Blinded: Line("align", "align_blinded"),
    Verdict: Line("align", "align_verdict"),
    Indices: Line("align", "align_indices"),
    Offsets: Line("align", "align_offsets"),
    Programmed: Line("align", "align_programmed"),
    Counted: Line("align", "align_counted"),
    Returned: Line("align", "align_returned"),
    Tags: Line("align", "align_tags"),
    EncryptedLabels: Line("bin", "bin_encrypted_labels"),
    AnonymousCounts: Line("bin", "bin_anonymous_counts"),
    MergedBins: Line("bin", "bin_merged_bins"),
    Copies: Line("align", "align_copies"),
    Commitment: Line("coin", "coin_commitment"),
    Seen: Line("coin", "coin_seen"),
    CoinShare: Line("coin", "coin_share"),
    LaterRows: Line("split", "split_later_rows"),
    SplitHeard: Line("split", "split_heard"),
    Widths: Line("train", "train_widths"),
    Masked: Line("train", "train_masked"),
    Opening: Line("shares", "shares_opening"),
    MaskKey: Line("shares", "shares_mask_key"),
    BaseOffer: Line("correlations", "correlations_base_offer"),
    BaseAnswer: Line("correlations", "correlations_base_answer"),
    TreeSums: Line("correlations", "correlations_tree_sums"),
    Columns: Line("correlations", "correlations_columns"),
    Corrections: Line("correlations", "correlations_corrections"),
    PublicKeyMessage: Line("keys", "keys_public_key"),
    EncryptedMasks: Line("products", "products_encrypted_masks"),
    MaskedProducts: Line("products", "products_masked_products"),
    EncryptedRows: Line("products", "products_encrypted_rows"),
    MaskedRows: Line("products", "products_masked_rows"),
    Accepted: Line("finish", "finish_accepted"),
    AuditHead: Line("finish", "finish_audit_head"),
    Countersigned: Line("finish", "finish_countersigned"),
}
VERSIONS: Mapping[str, int] = {
    "align": 1, "bin": 1, "coin": 1, "train": 1, "finish": 1, "shares": 1, "correlations": 1, "keys": 1, "products": 1,
    "split": 1,
}
def _field_types(kind: type) -> dict[str, type]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


_FIELDS: Mapping[type, Mapping[str, type]] = {kind: _field_types(kind) for kind in REGISTRY}
_BY_FIELD: Mapping[str, type] = {line.field: kind for kind, line in REGISTRY.items()}


def pack(message: object) -> tuple[Line, bytes]:
    """A message as the serialised body of an envelope. KeyError: its class has no line in REGISTRY."""
    line = REGISTRY[type(message)]
    envelope = Envelope()
    target: Message = getattr(envelope, line.field)
    target.SetInParent()
    for name in _FIELDS[type(message)]:
        value = getattr(message, name)
        if isinstance(value, int | bytes):
            setattr(target, name, value)
        else:
            _pack_vector(value, getattr(target, name))
    return line, envelope.SerializeToString()


def fragment(index: int, total_size: int, data: bytes) -> bytes:
    """A piece of a serialised body, as the serialised body of an envelope of its own."""
    return Envelope(
        fragment=peer_pb2.Fragment(index=index, total_size=total_size, data=data)
    ).SerializeToString()


def parse(raw: bytes) -> Envelope:
    """An envelope from foreign bytes. Header fields are bounded in form, not yet compared with anything."""
    try:
        envelope = Envelope.FromString(raw)
    except DecodeError:
        raise Malformed from None
    channel = envelope.channel
    if len(channel) > MAX_CHANNEL or not _CHANNEL.fullmatch(channel) or envelope.WhichOneof("body") is None:
        raise Malformed
    return envelope


def parse_body(protocol: str, version: int, body: bytes) -> object:
    """The message whose body came in fragments."""
    try:
        envelope = Envelope.FromString(body)
    except DecodeError:
        raise Malformed from None
    if len(envelope.ListFields()) != 1:   # a header may not hide in a body
        raise Malformed
    envelope.protocol, envelope.version = protocol, version
    return unpack(envelope)


def unpack(envelope: Envelope) -> object:
    """The protocol message of an envelope, checked for form and for its protocol's version."""
    kind = _BY_FIELD.get(envelope.WhichOneof("body") or "")
    if kind is None:
        raise Malformed
    line = REGISTRY[kind]
    if (envelope.protocol, envelope.version) != (line.protocol, VERSIONS[line.protocol]):
        raise Malformed(Reason.WRONG_VERSION)
    source: Message = getattr(envelope, line.field)
    values: dict[str, Any] = {}   # heterogeneous by nature
    for name, form in _FIELDS[kind].items():
        if form in (int, bytes):
            values[name] = getattr(source, name)
        else:
            if not source.HasField(name):
                raise Malformed
            values[name] = _unpack_vector(getattr(source, name), form)
    try:
        return kind(**values)
    except (ValueError, TypeError):
        raise Malformed from None


def _pack_vector(value: object, vector: common_pb2.Vector) -> None:
    if isinstance(value, RingVector):
        vector.kind, vector.bits, vector.width = vector.RING, value.bits, (value.bits + 7) // 8
        vector.count = len(value)
        words = np.ascontiguousarray(value.values, dtype="<u8").view(np.uint8).reshape(-1, 8)
        vector.data = words[:, : vector.width].tobytes()
    elif isinstance(value, PointVector):
        vector.kind, vector.width, vector.count, vector.data = vector.POINT, POINT_BYTES, len(value), value.data
    elif isinstance(value, SealedVector):
        vector.kind, vector.width, vector.count = vector.CIPHERTEXT, value.width, value.count
        vector.data = value.data
    else:
        raise TypeError(f"a message cannot carry a field of type {type(value).__name__}")


def _unpack_vector(vector: common_pb2.Vector, form: type) -> object:
    width, count, data = vector.width, vector.count, vector.data
    if width * count != len(data):
        raise Malformed(Reason.WRONG_LENGTH)
    if form is RingVector and vector.kind == vector.RING:
        bits = vector.bits
        if not 1 <= bits <= 64 or width != (bits + 7) // 8:
            raise Malformed
        words = np.zeros((count, 8), dtype=np.uint8)
        words[:, :width] = np.frombuffer(data, dtype=np.uint8).reshape(count, width)
        values = words.view("<u8").reshape(count).astype(np.uint64, copy=False)
        if bits < 64 and count and int(values.max()) >> bits:
            raise Malformed(Reason.OUT_OF_RANGE)
        return RingVector(values, bits)
    if form is PointVector and vector.kind == vector.POINT and width == POINT_BYTES and not vector.bits:
        return PointVector(data)
    if form is SealedVector and vector.kind == vector.CIPHERTEXT and width in _CIPHERTEXT_WIDTHS:
        return SealedVector.received(data, count, width)
    raise Malformed
