"""Sizes on which the calls of `batches` and the code that is emitted for them agree; nothing here emits or calls."""

LIMBS = 5                   # of an element of the field
WORDS = 4                   # of an encoded point
ENCODING = 7                # elements that encoding keeps of a batch
WINDOW_BITS = 4
DIGITS = 64                 # of 252 bits and a carry
BLOCK_BYTES = 128           # of SHA-512
LENGTH_BYTES = 16           # at the end of the last block
