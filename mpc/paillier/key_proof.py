"""A proof that gcd(n, phi(n)) = 1, without which Paillier neither decrypts uniquely nor hides: n-th roots
of hashes.

Source: [GRSB19] Goldberg, Reyzin, Sagga, Baldimtsi, "Efficient Noninteractive Certification of RSA Moduli
and Beyond", ASIACRYPT 2019, protocol P_Paillier-N. A cheater whose n has no factor below FACTOR_BOUND
passes with probability at most FACTOR_BOUND^-ROOTS = 2^-139. It says nothing about how many primes n has,
and knows no key lengths.
"""

from __future__ import annotations

import hashlib

import gmpy2
from gmpy2 import mpz

from mpc.domains import Domain

ROOTS = 11
FACTOR_BOUND = 6370
_SLACK_BITS = 128  # the hash is so much longer than n that its residue is uniform within 2^-128


class BadKeyProof(ValueError):
    """The proof does not hold for this modulus."""


def _challenge(n: int, index: int) -> int:
    """The index-th element of Z_n, from SHA-512 in counter mode over label, n, index."""
    blocks = -(-(n.bit_length() + _SLACK_BITS) // 512)
    head = Domain.KEY_PROOF.encode() + b"\0" + n.to_bytes((n.bit_length() + 7) // 8, "little")
    tail = (hashlib.sha512(head + bytes([index, block])).digest() for block in range(blocks))
    return int.from_bytes(b"".join(tail), "little") % n


def proof_bytes(n: int) -> int:
    """The length of a proof for `n`."""
    return ROOTS * ((n.bit_length() + 7) // 8)


def prove(n: int, phi: int) -> bytes:
    """The ROOTS n-th roots, little-endian, each as wide as n; ValueError if gcd(n, phi) != 1."""
    if gmpy2.gcd(n, phi) != 1:
        raise ValueError("this modulus has a factor in common with its totient")
    root = gmpy2.invert(n, phi)
    width = (n.bit_length() + 7) // 8
    roots = (int(gmpy2.powmod(_challenge(n, index), root, n)) for index in range(ROOTS))
    return b"".join(value.to_bytes(width, "little") for value in roots)


def verify(n: int, proof: bytes) -> None:
    """Raise BadKeyProof unless `proof` holds; the caller has refused every n with a factor below
    FACTOR_BOUND."""
    width = (n.bit_length() + 7) // 8
    if len(proof) != proof_bytes(n):
        raise BadKeyProof("the proof has the wrong length")
    for index in range(ROOTS):
        root = mpz.from_bytes(proof[index * width : (index + 1) * width], "little")
        if not 0 < root < n or gmpy2.powmod(root, n, n) != _challenge(n, index):
            raise BadKeyProof("a root does not fit its challenge")
