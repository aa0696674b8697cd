"""AES by instructions and by tables against the standard's example and another library; the hash of many ids."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from mpc.kernels import blocks, set_intersection
from mpc.kernels.blake2b import BLOCK, LANES, digests_16
from mpc.kernels.compiling.loops import compiled
from mpc.ot.extension import leaf_key
from mpc.rng import Rng
from mpc.sets.oprf import FIELD_BITS, GROUPS, LEAVES, Streams

KEYS = [bytes(range(16)), b"\xff" * 16, bytes(16), b"0123456789abcdef"]


def words(count: int, width: int, seed: int = 1):
    return Rng(bytes([seed] * 32)).ring(count * width).reshape(count, width)


def by_library(key: bytes, data: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(data)


def test_the_example_of_the_standard():
    """[FIPS 197] appendix C.1."""
    plain = np.frombuffer(bytes.fromhex("00112233445566778899aabbccddeeff"), np.uint64).reshape(1, 2)
    image = blocks.permute(blocks.schedule([bytes(range(16))]), plain)
    assert image.tobytes().hex() == "69c4e0d86a7b0430d8cdb78070b4c55a"


def test_blocks_under_several_keys_are_those_of_another_library_side_by_side():
    plain = words(333, 2)
    images = blocks.permute(blocks.schedule(KEYS), plain)
    for k, key in enumerate(KEYS):
        assert images[:, 2 * k:2 * k + 2].tobytes() == by_library(key, plain.tobytes())


def test_tables_and_instructions_give_the_same_blocks(monkeypatch):
    plain, keys = words(200, 2), blocks.schedule(KEYS)
    images = {}
    for name in ("_encrypt_by_tables", "_encrypt_by_instructions" if blocks.has_instructions() else "encrypt"):
        monkeypatch.setattr(blocks, "encrypt", getattr(blocks, name))
        images[name] = np.empty((200, 8), np.uint64)
        compiled(blocks._permute.py_func)(keys, plain, images[name])
    one, two = images.values()
    assert np.array_equal(one, two)
    assert one[:, :2].tobytes() == by_library(KEYS[0], plain.tobytes())


def test_no_blocks_and_no_keys():
    assert blocks.permute(blocks.schedule(KEYS), words(0, 2)).shape == (0, 8)
    assert blocks.schedule([]).shape == (0, blocks.KEY_WORDS)


# ---------------------------------------------------------------- streams of the trees


def in_field(x: int, y: int) -> int:
    product = 0
    for bit in range(4):
        product ^= (x << bit) * (y >> bit & 1)
    for bit in (6, 5, 4):
        product ^= (0b10011 << bit - 4) * (product >> bit & 1)
    return product


@pytest.mark.parametrize("number", [0, 3])
def test_rows_are_weighted_and_plain_sums_of_counter_mode_streams(number):
    slots, leaves = 200, [[bytes([g, x] * 8) for x in range(LEAVES)] for g in range(GROUPS)]
    weighted, totals = Streams(b"session", leaves).rows(number, slots)
    words_a_plane = 4                                            # 200 slots in whole blocks of 128 bits
    for group in (0, 37, 63):
        planes = []
        for seed in leaves[group]:
            first = number * FIELD_BITS * words_a_plane // 2
            counters = b"".join((first + j).to_bytes(8, "little") + bytes(8) for j in range(8))
            stream = by_library(leaf_key(b"session", seed), counters)
            planes.append(np.unpackbits(np.frombuffer(stream, np.uint8), bitorder="little").reshape(FIELD_BITS, -1))
        for slot in (0, 63, 64, 199):
            elements = [sum(int(plane[c, slot]) << c for c in range(FIELD_BITS)) for plane in planes]
            plain = weight = 0
            for x, element in enumerate(elements):
                plain, weight = plain ^ element, weight ^ in_field(x, element)
            shift = np.uint64(4 * (group % 16))
            assert int(totals[slot, group // 16] >> shift) & 15 == plain
            assert int(weighted[slot, group // 16] >> shift) & 15 == weight


def test_bins_use_streams_that_do_not_meet():
    streams = Streams(b"s", [[bytes([g, x] * 8) for x in range(LEAVES)] for g in range(GROUPS)])
    seen = [streams.rows(number, 130)[1].copy() for number in range(4)]
    everything = np.concatenate(seen).reshape(-1)
    assert len(np.unique(everything)) == len(everything)


def test_hashes_of_states_are_built_as_the_page_says():
    keys, rows = blocks.schedule(KEYS[:2]), words(50, 4)
    states, found = np.empty((50, 2), np.uint64), np.empty((50, 2), np.uint64)
    set_intersection.compress(rows, keys, states)
    first = np.ascontiguousarray(rows[:, :2])
    image = np.frombuffer(by_library(KEYS[0], first.tobytes()), np.uint64).reshape(-1, 2)
    assert np.array_equal(states, image ^ first ^ rows[:, 2:])
    set_intersection.whiten(states, np.uint64(9), keys, found)
    tweaked = states ^ np.array([9, 0], np.uint64)
    image = np.frombuffer(by_library(KEYS[1], tweaked.tobytes()), np.uint64).reshape(-1, 2)
    assert np.array_equal(found, image ^ states)


# ---------------------------------------------------------------- digests


def test_many_digests_of_every_length_are_those_of_the_standard_library():
    lengths = [0, 1, 7, 8, 9, 16, BLOCK - 1, BLOCK, BLOCK + 1, 300] * 7 + [5]
    texts = [bytes([i % 251]) * length for i, length in enumerate(lengths)]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    data = np.frombuffer(b"".join(texts), np.uint8)
    for count in (1, LANES - 1, LANES, LANES + 1, len(texts)):
        for key in (b"k", b"key" * 20):
            found = digests_16(data, offsets[:count + 1], key)
            wanted = [hashlib.blake2b(text, key=key, digest_size=16).digest() for text in texts[:count]]
            assert [row.tobytes() for row in found] == wanted


def test_a_long_string_in_one_batch_leaves_nothing_behind_in_the_next(monkeypatch):
    monkeypatch.setattr("mpc.kernels.blake2b._GROUPS", 1)
    texts = [b"x" * 100] * LANES + [b"y"] * LANES
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts])])
    found = digests_16(np.frombuffer(b"".join(texts), np.uint8), offsets, b"k")
    assert [row.tobytes() for row in found] == [
        hashlib.blake2b(text, key=b"k", digest_size=16).digest() for text in texts]
