"""The public shape of a private product (mpc.products.matrix_vector): slots, passes, bytes, operations. Knows sizes, no
values."""

from __future__ import annotations

from dataclasses import dataclass

from mpc.errors import LocalError
from mpc.paillier.rerandomisation import HIDING_BITS

MESSAGE_BYTES = 1_000_000  # of ciphertexts in one message: with its envelope below 1 MiB


@dataclass(frozen=True)
class ProductPlan:
    """The public shape of one product and what follows from it. LocalError where the bits do not fit.

    -2^(entry_bits - 1) <= A < 2^(entry_bits - 1); vectors in Z_2^ring_bits; A is (outputs x inputs).
    """

    inputs: int
    outputs: int
    entry_bits: int
    ring_bits: int
    iterations: int
    key_bits: int

    def __post_init__(self) -> None:
        if min(self.inputs, self.outputs, self.iterations) < 1:
            raise LocalError("a private product needs at least one input, output and iteration")
        if not (2 <= self.entry_bits <= 64 and 1 <= self.ring_bits <= 64):
            raise LocalError("a private product has entries of 2 to 64 bits and a ring of 1 to 64 bits")
        if self.slots < 1:
            raise LocalError(
                f"a key of {self.key_bits} bits has no room for a slot of {self.slot_bits} bits", "use a longer key"
            )

    @property
    def slot_bits(self) -> int:
        """L: a sum of `inputs` products of an offset entry and a ring element stays below 2^L."""
        return self.ring_bits + self.entry_bits + (self.inputs - 1).bit_length()

    @property
    def slots(self) -> int:
        """Iterations per ciphertext, 40 bits of headroom at the top: u + sum wraps mod n once in 2^40
        replies."""
        return max(0, (self.key_bits - 1 - HIDING_BITS) // self.slot_bits)

    @property
    def passes(self) -> int:
        """How often the whole product runs, `slots` iterations at a time."""
        return -(-self.iterations // self.slots)

    @property
    def chunk(self) -> int:
        """Ciphertexts per message."""
        return max(1, MESSAGE_BYTES // self.ciphertext_bytes)

    @property
    def ciphertext_bytes(self) -> int:
        return 2 * ((self.key_bits + 7) // 8)

    @property
    def bytes_sent_by_holder(self) -> int:
        """Offline and online together, without envelopes."""
        online = self.iterations * self.inputs * ((self.ring_bits + 7) // 8)
        return self.passes * self.inputs * self.ciphertext_bytes + online

    @property
    def bytes_sent_by_owner(self) -> int:
        return self.passes * self.outputs * self.ciphertext_bytes

    @property
    def encryptions(self) -> int:
        """By the holder."""
        return self.passes * self.inputs

    @property
    def replies(self) -> int:
        """Re-randomisations by the owner, decryptions by the holder."""
        return self.passes * self.outputs

    @property
    def modular_products(self) -> int:
        """By the owner, roughly: two 8-bit digits per 16 bits of an entry."""
        return self.passes * self.inputs * self.outputs * -(-self.entry_bits // 8)

    def passes_of_iterations(self) -> list[range]:
        """The iterations of each pass; slot i of pass p is iteration p * slots + i."""
        starts = range(0, self.iterations, self.slots)
        return [range(start, min(start + self.slots, self.iterations)) for start in starts]


def chunks(count: int, size: int) -> list[range]:
    """0..count-1 in consecutive ranges of `size`, the last one shorter."""
    return [range(start, min(start + size, count)) for start in range(0, count, size)]
