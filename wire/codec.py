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
_JOB = re.compile(r"([0-9a-f]{64})?")
# How many bytes a kind may have where its receiver does not say less, or more: what goes in one piece, what its sender
# cuts into parts of about 1 MiB, and what grows with the rows, where every receiver does say.
ONE_PIECE, ONE_PART, MAX_MESSAGE = 256 << 10, 2 << 20, 256 << 20
MAX_ENVELOPE = ONE_PIECE + (8 << 10)
HEADROOM = 1 << 10             # of a message beside its vectors and strings of bytes
_CIPHERTEXT_WIDTHS = range(1, 4097)


class Malformed(Exception):
    """Foreign bytes that are no message; `reason` says how."""

    def __init__(self, reason: Reason = Reason.MALFORMED) -> None:
        super().__init__(reason.value)
        self.reason = reason


@dataclass(frozen=True)
class Line:
    """Where a message class travels: the protocol that it belongs to, and the field of Envelope.body; and the most
    bytes that it may have where its receiver does not say."""

    protocol: str
    field: str
    most: int = ONE_PIECE

    @property
    def number(self) -> int:
        """Of the field; 0 if there is none."""
        field = Envelope.DESCRIPTOR.fields_by_name.get(self.field)
        return 0 if field is None else field.number


REGISTRY: Mapping[type, Line] = {
    SetSize: Line("align", "align_set_size"),
    SizesHeard: Line("align", "align_sizes_heard"),
    Blinded: Line("align", "align_blinded", ONE_PART),
    Verdict: Line("align", "align_verdict"),
    Indices: Line("align", "align_indices", ONE_PART),
    Offsets: Line("align", "align_offsets", ONE_PART),
    Programmed: Line("align", "align_programmed", ONE_PART),
    Counted: Line("align", "align_counted", ONE_PART),
    Returned: Line("align", "align_returned", ONE_PART),
    Tags: Line("align", "align_tags", ONE_PART),
    EncryptedLabels: Line("bin", "bin_encrypted_labels", ONE_PART),
    AnonymousCounts: Line("bin", "bin_anonymous_counts", MAX_MESSAGE),
    MergedBins: Line("bin", "bin_merged_bins", MAX_MESSAGE),
    Copies: Line("align", "align_copies", MAX_MESSAGE),
    Commitment: Line("coin", "coin_commitment"),
    Seen: Line("coin", "coin_seen"),
    CoinShare: Line("coin", "coin_share"),
    LaterRows: Line("split", "split_later_rows", MAX_MESSAGE),
    SplitHeard: Line("split", "split_heard"),
    Widths: Line("train", "train_widths"),
    Masked: Line("train", "train_masked", MAX_MESSAGE),
    Opening: Line("shares", "shares_opening", ONE_PART),
    MaskKey: Line("shares", "shares_mask_key"),
    BaseOffer: Line("correlations", "correlations_base_offer"),
    BaseAnswer: Line("correlations", "correlations_base_answer"),
    TreeSums: Line("correlations", "correlations_tree_sums"),
    Columns: Line("correlations", "correlations_columns", ONE_PART),
    Corrections: Line("correlations", "correlations_corrections", ONE_PART),
    PublicKeyMessage: Line("keys", "keys_public_key"),
    EncryptedMasks: Line("products", "products_encrypted_masks", ONE_PART),
    MaskedProducts: Line("products", "products_masked_products", ONE_PART),
    EncryptedRows: Line("products", "products_encrypted_rows", ONE_PART),
    MaskedRows: Line("products", "products_masked_rows", ONE_PART),
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


def fragment(line: Line, index: int, total_size: int, data: bytes) -> bytes:
    """A piece of a serialised body, as the serialised body of an envelope of its own."""
    return Envelope(
        fragment=peer_pb2.Fragment(index=index, total_size=total_size, data=data, field=line.number)
    ).SerializeToString()


def require_due(envelope: Envelope, kind: type, at_most: int | None) -> None:
    """Malformed unless this envelope is, or says that it is the first piece of, a message of `kind` whose vectors and
    strings of bytes have at most `at_most` bytes (None: the bound of the kind). Asked before any is put together."""
    line, body = REGISTRY[kind], envelope.WhichOneof("body")
    field = envelope.fragment.field if body == "fragment" else Envelope.DESCRIPTOR.fields_by_name[body or ""].number
    if field != line.number:
        raise Malformed(Reason.WRONG_KIND)
    size = envelope.fragment.total_size if body == "fragment" else getattr(envelope, line.field).ByteSize()
    if size > (line.most if at_most is None else at_most) + HEADROOM:
        raise Malformed(Reason.WRONG_LENGTH)


def parse(raw: bytes) -> Envelope:
    """An envelope from foreign bytes. Header fields are bounded in form, not yet compared with anything."""
    if len(raw) > MAX_ENVELOPE:
        raise Malformed(Reason.WRONG_LENGTH)
    try:
        envelope = Envelope.FromString(raw)
    except DecodeError:
        raise Malformed from None
    channel = envelope.channel
    if len(channel) > MAX_CHANNEL or not _CHANNEL.fullmatch(channel) or not _JOB.fullmatch(envelope.job):
        raise Malformed
    if envelope.WhichOneof("body") is None:
        raise Malformed
    return envelope


def parse_body(protocol: str, version: int, field: int, body: bytes) -> object:
    """The message whose body came in fragments, which said that it would fill this field."""
    try:
        envelope = Envelope.FromString(body)
    except DecodeError:
        raise Malformed from None
    if [held.number for held, _ in envelope.ListFields()] != [field]:   # a header may not hide in a body
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
