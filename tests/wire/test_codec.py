"""Values to bytes and back; bytes that are no message are refused and nothing else happens."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.errors import Reason
from mpc.group.ristretto255 import PointVector
from mpc.paillier.ciphertexts import SealedVector
from mpc.protocols.align import SetSize
from mpc.ring import RingVector
from mpc.sharing.opening import Opening
from wire import codec
from wire.codec import _FIELDS, REGISTRY, VERSIONS, Envelope, Malformed

ring_vectors = st.integers(1, 64).flatmap(
    lambda bits: st.lists(st.integers(0, 2**bits - 1), max_size=40).map(
        lambda values: RingVector(np.array(values, dtype=np.uint64), bits)
    )
)
point_vectors = st.integers(0, 5).flatmap(lambda n: st.binary(min_size=32 * n, max_size=32 * n)).map(PointVector)
sealed_vectors = st.tuples(st.integers(0, 4), st.integers(1, 64)).flatmap(
    lambda shape: st.binary(min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]).map(
        lambda data: SealedVector.received(data, *shape)
    )
)
FORMS = {
    int: st.integers(0, 2**64 - 1), bytes: st.binary(max_size=200),
    RingVector: ring_vectors, PointVector: point_vectors, SealedVector: sealed_vectors,
}
messages = st.sampled_from(list(REGISTRY)).flatmap(
    lambda kind: st.builds(kind, **{name: FORMS[form] for name, form in _FIELDS[kind].items()})
)


def as_received(message: object) -> tuple[Envelope, bytes]:
    line, body = codec.pack(message)
    header = Envelope(protocol=line.protocol, version=VERSIONS[line.protocol]).SerializeToString()
    return codec.parse(header + body), body


def same(ours: object, theirs: object) -> bool:
    for name, form in _FIELDS[type(ours)].items():
        a, b = getattr(ours, name), getattr(theirs, name)
        if form is RingVector:
            if a.bits != b.bits or not np.array_equal(a.values, b.values):
                return False
        elif a != b:
            return False
    return True


@given(messages)
@settings(max_examples=300)
def test_every_message_comes_back_as_it_was_sent(message):
    envelope, body = as_received(message)
    back = codec.unpack(envelope)
    assert type(back) is type(message)
    assert same(message, back)
    line = REGISTRY[type(message)]
    assert same(message, codec.parse_body(line.protocol, VERSIONS[line.protocol], line.number, body))


@given(ring_vectors)
def test_a_ring_element_takes_the_bytes_of_its_bits_and_no_more(vector):
    envelope, _ = as_received(Opening(vector))
    assert len(envelope.shares_opening.share.data) == len(vector) * ((vector.bits + 7) // 8)


def test_a_received_ring_vector_can_be_written_to_and_owns_its_memory():
    envelope, _ = as_received(Opening(RingVector(np.arange(3, dtype=np.uint64), 64)))
    back = codec.unpack(envelope)
    back.share.values[0] = np.uint64(9)
    assert back.share.values.tolist() == [9, 1, 2]


@given(messages, st.data())
@settings(max_examples=300)
def test_truncated_and_flipped_bytes_are_a_message_or_malformed_and_nothing_else(message, data):
    line, body = codec.pack(message)
    raw = bytearray(Envelope(protocol=line.protocol, version=1).SerializeToString() + body)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    raw = raw[: data.draw(st.integers(0, len(raw)))]
    with contextlib.suppress(Malformed):
        assert type(codec.unpack(codec.parse(bytes(raw)))) in REGISTRY


@given(st.binary(max_size=300))
def test_any_bytes_at_all_are_an_envelope_or_malformed(raw):
    with contextlib.suppress(Malformed):
        codec.unpack(codec.parse(raw))


@pytest.mark.parametrize("body", ["hello", "proof", "open", "credit", "close", "ping", "fragment"])
def test_an_envelope_of_the_stream_is_no_protocol_message(body):
    with pytest.raises(Malformed):
        codec.unpack(Envelope(**{body: {}}))


def test_a_message_of_another_version_is_refused():
    envelope, _ = as_received(SetSize(5))
    envelope.version = 2
    with pytest.raises(Malformed) as caught:
        codec.unpack(envelope)
    assert caught.value.reason is Reason.WRONG_VERSION


def test_a_class_without_a_line_is_our_own_mistake():
    with pytest.raises(KeyError):
        codec.pack(RingVector(np.zeros(1, np.uint64), 8))
