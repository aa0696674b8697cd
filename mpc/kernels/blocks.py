"""AES-128 as a permutation of many 16-byte blocks at once. It knows neither modes nor what the blocks are."""

from __future__ import annotations

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from mpc.ring import U64


def block_cipher(key: bytes) -> CipherContext:
    """The permutation under a key of 16 bytes."""
    # The bare permutation of one block is what hashes and codes are built from; nothing is encrypted with it.
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305


def permute(cipher: CipherContext, blocks: U64) -> U64:
    """The images of `blocks` (n, 2)."""
    out = np.empty(2 * len(blocks) + 2, np.uint64)  # the cipher asks for 15 bytes more
    source = np.ascontiguousarray(blocks)
    cipher.update_into(source.view(np.uint8).reshape(-1).data, out.view(np.uint8).data)
    return out[:-2].reshape(-1, 2)
