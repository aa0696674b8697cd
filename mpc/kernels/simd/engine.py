"""The engines ifma and avx2: code that LLVM emits for eight residues side by side, called without the GIL.

Compiled once, for all moduli (docs/adr/0001-native-kernels-by-llvmlite.md). Equal to the gmp engine bit
for bit. It knows no keys, and does not hide exponents from someone who watches this machine's caches.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

import numpy as np
from llvmlite import ir

from mpc.errors import LocalError
from mpc.kernels import cores
from mpc.kernels.compiling.library import Library, any_with, kept, processor_has
from mpc.kernels.modulus import Exponents, Groups, Modulus, Residues, check_groups, packed
from mpc.kernels.simd.arithmetic import BLOCK, HEADER, K0, LIMBS, PARTS, SIZE, SLACK_BITS
from mpc.kernels.simd.forms import HALF, MAX_LIMBS, Avx2, Ifma, LimbEmitter
from mpc.kernels.simd.loops import Loops
from mpc.kernels.simd.memory import LANES, Bytes, SimdResidues, Words, aligned, batches, own
from mpc.kernels.simd.multiexp import SimdFixedBase, columns_product, groups_product, rows_product

PADDING_BYTES = 8          # words are read and written whole at the end of a packed integer
FEW_BATCHES = 64           # of single products: fewer are not worth a thread

FORMS: dict[str, type[LimbEmitter]] = {form.engine: form for form in (Ifma, Avx2)}
"""By engine, the fastest first."""

_libraries: dict[str, Library] = {}
_compiling = threading.Lock()


def available(form: type[LimbEmitter]) -> bool:
    """Whether this processor and its operating system run what this form needs."""
    return processor_has(form.features)


def source(form: type[LimbEmitter]) -> str:
    """The module as LLVM text; the same on every machine."""
    module = ir.Module(form.engine)
    Loops(form, module)
    return str(module)


def library(form: type[LimbEmitter]) -> Library:
    """The compiled functions; the first call loads them, or compiles them (0.1 to 0.2 s)."""
    with _compiling:
        if form.engine not in _libraries:
            _libraries[form.engine] = Library(kept(source(form), any_with(form.features)))
        return _libraries[form.engine]


class SimdModulus(Modulus):
    """Implements mpc.kernels.modulus; a perfect square costs 5/8 of another modulus of its length."""

    def __init__(self, value: int, form: type[LimbEmitter]) -> None:
        super().__init__(value)
        self.form, self._lib = form, library(form)
        root = math.isqrt(self.value)
        self._n, self._parts = (root, 2) if root * root == self.value else (self.value, 1)
        needed = -(-(self._n.bit_length() + SLACK_BITS) // form.limb_bits)
        limbs = max(2 * BLOCK, -(-needed // BLOCK) * BLOCK)
        if limbs > MAX_LIMBS:
            raise LocalError("the modulus is too long for this engine", "choose the engine gmp")
        self._limbs = limbs
        self.size = -(-self._parts * limbs // (LANES * form.per_word)) * LANES
        radix = 1 << (form.limb_bits * limbs)
        self._radix_squared = radix * radix
        self._context = self._describe(radix)
        self._unit, self.one, self._square, self._cube = (
            self._constant(pow(radix, k, self.value)) for k in range(4)
        )
        self._packed_bytes = self._parts * limbs * form.limb_bits // 8

    def _describe(self, radix: int) -> Words:
        """The modulus as compiled code reads it; K = R + (K - R) is spread so that every limb is >= B - 1."""
        n, limbs, top = self._n, self._limbs, 1 << self.form.limb_bits
        context = aligned(HEADER + (2 + self._parts) * limbs)
        context[:HEADER] = 0
        context[K0] = -pow(n, -1, top) % top
        context[LIMBS], context[PARTS], context[SIZE] = limbs, self._parts, self.size
        context[HEADER : HEADER + limbs] = self._limbs_of(n, limbs)
        shift = self._limbs_of(-radix % n, limbs) + np.uint64(top - 1)
        shift[0] += np.uint64(1)
        context[HEADER + limbs : HEADER + 2 * limbs] = shift
        context[HEADER + 2 * limbs :] = self._limbs_of(self.value, self._parts * limbs)
        return context

    def _limbs_of(self, value: int, limbs: int) -> Words:
        bits = self.form.limb_bits
        return np.array([(value >> (bits * i)) & ((1 << bits) - 1) for i in range(limbs)], dtype=np.uint64)

    def _constant(self, value: int) -> Words:
        """The words of a canonical residue in all lanes."""
        batch, each = aligned(self.size, LANES), self._limbs // self.form.per_word
        batch[:] = 0
        for part, digits in enumerate((value % self._n, value // self._n)[: self._parts]):
            limbs = self._limbs_of(digits, self._limbs).reshape(each, -1)
            shifts = np.arange(self.form.per_word, dtype=np.uint64) * np.uint64(HALF)
            batch[part * each : (part + 1) * each] = (limbs << shifts).sum(axis=1, dtype=np.uint64)[:, None]
        return batch

    def empty(self, count: int) -> SimdResidues:
        """Room for `count` residues."""
        return SimdResidues.empty(count, self.size)

    def ones(self, count: int) -> SimdResidues:
        """`count` times the residue 1."""
        result = self.empty(count)
        result.words[:] = self.one
        return result

    def call(self, name: str, *arguments: int | Words | Bytes) -> None:
        """A compiled function on this modulus."""
        self._lib.call(name, *arguments, self._context)

    @property
    def engine(self) -> str:
        return self.form.engine

    def load(self, values: Sequence[int]) -> SimdResidues:
        width = self.width
        reduced = [int(v) if 0 <= v < self.value else int(v) % self.value for v in values]
        return self.from_bytes(packed(reduced, width), len(reduced), width)

    def store(self, residues: Residues) -> list[int]:
        width, data = self.width, self.to_bytes(residues, self.width)
        return [int.from_bytes(data[i : i + width], "little") for i in range(0, len(data), width)]

    def from_bytes(self, data: bytes, count: int, width: int) -> SimdResidues:
        if len(data) != count * width:
            raise ValueError("the data do not have count * width bytes")
        if width > self._packed_bytes:
            return self.load([int.from_bytes(data[i : i + width], "little") for i in range(0, len(data), width)])
        packed = np.zeros((batches(count) * LANES, self._packed_bytes + PADDING_BYTES), dtype=np.uint8)
        packed[:count, :width] = np.frombuffer(data, dtype=np.uint8).reshape(count, width)
        return self._enter(packed, count, self._square, self._cube)

    def _enter(self, packed: Bytes, count: int, low: Words, high: Words) -> SimdResidues:
        """A low + B high for each row A + B R of `packed`, without the Montgomery factor R of the two constants."""
        result = self.empty(count)

        def work(first: int, last: int) -> None:
            rows = packed[first * LANES : last * LANES]
            self.call("enter", result.words[first:last], rows, packed.shape[1], low, high, last - first)

        cores.share_out(batches(count), FEW_BATCHES, work)
        return result

    def combine(self, left: bytes, right: bytes, width: int, factors: tuple[int, int]) -> SimdResidues:
        if len(left) != len(right) or len(left) % width:
            raise ValueError("the data do not have count * width bytes")
        x, y = factors
        half, count = self._packed_bytes // 2, len(left) // width
        if self._parts == 1 or width > half:
            cuts, read = range(0, len(left), width), int.from_bytes
            return self.load([
                read(left[i : i + width], "little") * x + read(right[i : i + width], "little") * y for i in cuts
            ])
        packed = np.zeros((batches(count) * LANES, self._packed_bytes + PADDING_BYTES), dtype=np.uint8)
        packed[:count, :width] = np.frombuffer(left, dtype=np.uint8).reshape(count, width)
        packed[:count, half : half + width] = np.frombuffer(right, dtype=np.uint8).reshape(count, width)
        low, high = (self._constant(factor * self._radix_squared % self.value) for factor in factors)
        return self._enter(packed, count, low, high)

    def to_bytes(self, residues: Residues, width: int) -> bytes:
        vector = own(residues)
        if width < self.width:
            raise ValueError("the width is too small for this modulus")
        stride = max(width, self._packed_bytes) + PADDING_BYTES
        packed = np.zeros((batches(len(vector)) * LANES, stride), dtype=np.uint8)

        def work(first: int, last: int) -> None:
            rows, words = packed[first * LANES : last * LANES], vector.words[first:last]
            self.call("leave", rows, stride, words, self._unit, last - first)

        cores.share_out(batches(len(vector)), FEW_BATCHES, work)
        return packed[: len(vector), :width].tobytes()

    def slice(self, residues: Residues, start: int, stop: int) -> SimdResidues:
        vector = own(residues)
        chosen = range(len(vector))[start:stop]
        first, count = chosen.start, len(chosen)
        if first % LANES == 0 or not count:
            return SimdResidues(vector.words[first // LANES : first // LANES + batches(count)], count)
        result = self.empty(count)
        result.put(0, vector, first, count)
        return result

    def concat(self, parts: Sequence[Residues]) -> SimdResidues:
        result = self.empty(sum(len(part) for part in parts))
        at = 0
        for part in parts:
            result.put(at, own(part), 0, len(part))
            at += len(part)
        return result

    def mul(self, left: Residues, right: Residues) -> SimdResidues:
        one_side, other = own(left), own(right)
        result = self.empty(len(one_side))
        if len(other) == 1:
            factor = aligned(self.size, LANES)
            factor[:] = other.words[0, :, :1]
        elif len(other) == len(one_side):
            factor = other.words
        else:
            raise ValueError("the vectors have different lengths")
        self._multiply(result.words, one_side.words, factor, int(len(other) != 1))
        return result

    def _multiply(self, target: Words, left: Words, right: Words, step: int) -> None:
        """target = left * right, batch by batch; of one batch `right` where step is 0."""

        def work(first: int, last: int) -> None:
            others = right[first:last] if step else right
            self.call("multiply_many", target[first:last], left[first:last], others, step, last - first)

        cores.share_out(len(left), FEW_BATCHES, work)

    def pow_same(self, bases: Residues, exponent: int) -> SimdResidues:
        if exponent < 0:
            raise ValueError("the exponent must not be negative")
        vector, bits = own(bases), max(1, int(exponent).bit_length())
        window = min(range(2, 8), key=lambda w: (1 << w) - 2 + -(-bits // w))
        digits = _digits_high_first(int(exponent), bits, window)
        result = self.empty(len(vector))

        def work(first: int, last: int) -> None:
            table, words = aligned(1 << window, self.size, LANES), vector.words[first:last]
            target, length = result.words[first:last], len(digits)
            self.call("power", target, words, self.one, digits, length, window, table, last - first)

        cores.share_out(batches(len(vector)), 1, work)
        return result

    def fixed_base(self, base: int, exponent_bits: int, expected_count: int) -> SimdFixedBase:
        return SimdFixedBase(self, base, exponent_bits, expected_count)

    def multiexp_rows(self, bases: Residues, exponents: Exponents, exponent_bits: int) -> SimdResidues:
        return rows_product(self, own(bases), exponents, exponent_bits)

    def multiexp_columns(self, bases: Residues, exponents: Exponents, exponent_bits: int) -> SimdResidues:
        return columns_product(self, own(bases), exponents, exponent_bits)

    def group_products(self, bases: Residues, groups: Groups, count: int) -> SimdResidues:
        check_groups(bases, groups, count)
        return groups_product(self, own(bases), groups, count)

    def product(self, residues: Residues) -> int:
        vector = own(residues)
        if not len(vector):
            return 1
        count = batches(len(vector))
        words = aligned(count, self.size, LANES)
        words[:] = vector.words
        words[-1, :, (len(vector) - 1) % LANES + 1 :] = self.one[:, :1]
        while count > 1:
            half = count // 2
            self._multiply(words[:half], words[:half], words[count - half : count], 1)
            count -= half
        result = 1
        for value in self.store(SimdResidues(words[:1], LANES)):
            result = result * value % self.value
        return result


def _digits_high_first(exponent: int, bits: int, window: int) -> Bytes:
    count = -(-bits // window)
    mask = (1 << window) - 1
    return np.array([(exponent >> (window * k)) & mask for k in reversed(range(count))], dtype=np.uint8)
