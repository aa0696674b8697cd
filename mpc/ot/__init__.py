"""Oblivious transfer: a few by public-key cryptography (`base`), and from them millions (`extension`)."""
