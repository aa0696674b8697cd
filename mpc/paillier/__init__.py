"""Paillier's cryptosystem: `ciphertexts` is the public side, `keys` the owner's. Knows no protocol."""
