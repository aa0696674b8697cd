"""LLVM IR of the batched Montgomery product: eight residues side by side, in limbs of 52 or 28 bits (forms).

Representation. B = 2^(bits of a limb), R = B^h. A *batch* is `size` vectors of eight 64-bit words; word i of lane l
has limb i of residue l, or limbs 2 i and 2 i + 1. There are two kinds of modulus N:

- plain: a residue is one component x < 5 N, h limbs; the product is x y / R mod N, one row-wise almost-Montgomery
  multiplication [Gueron, "Efficient software implementations of modular exponentiation", J. Cryptogr. Eng. 2012;
  Gueron, Krasnov, "Accelerating big integer arithmetic using Intel IFMA extensions", ARITH 2016].
- pair, where N = n^2 (all that Paillier needs): a residue is x0 + x1 n with components below 5 n, and
      x0 y0 = t R - m n                          (Montgomery: m = -x0 y0 / n mod R, t = (x0 y0 + m n) / R)
      (x0 + x1 n)(y0 + y1 n) / R = t + n (x0 y1 + x1 y0 - m) / R   mod n^2
  The second bracket counts mod n only, so it is a second Montgomery reduction of half the length: 5 h^2 products of
  limbs instead of 8 h^2, and 3.5 h^2 for a square.

Bounds. All limbs that enter a multiplication are below B (vpmadd52 reads 52 bits). R >= 2^10 n, operands < 5 n:
    t < (25 n^2 + R n) / R < 1.1 n
    u < (50 n^2 + R + n + R n) / R < 1.1 n + 2      with K = n ceil(R/n) added so that K - m stays positive
so results are < 5 n again and no comparison is ever needed between products. A column has 64 bits.
- B = 2^52: it gathers at most 6 h halves of products below 2^52 and one term below 2^53, enough for h <= MAX_LIMBS.
- B = 2^28: whole products, at most (2^28 - 1)^2 = 2^56 - 2^29 + 1, of which 256 fit and leave more than 2^36. A row
  adds three to a column, so after `rows` = 84 rows carries are resolved: 252 products, what was left (below 2^28), a
  limb of K - m (below 2^30) and the carry from below (at most 2^36) stay under 2^64. The top column keeps its carry:
  after any number of rows the sum is below R + 11 n, so it is below 2^28 + 2^22. x^2 alone gathers h <= 256 products;
  beyond 84 limbs it is resolved before the rows begin, up to there they add 84 to its 84.
Nothing here branches on a residue.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from mpc.kernels.simd.emitter import I64, PTR, ZERO, Value, const, splat_const
from mpc.kernels.simd.forms import HALF, MAX_LIMBS, LimbEmitter

BLOCK = 2          # rows of limbs that are reduced together; h is even
SLACK_BITS = 10    # R >= 2^10 n

# The words of a modulus: -1/N mod B, h, components, words per residue; then the limbs of n, of K and of N.
K0, LIMBS, PARTS, SIZE, HEADER = 0, 1, 2, 3, 8


class RunningSum:
    """A sum of products left * right that is divided by B and reduced mod n with each row of limbs."""

    def __init__(self, emitter: LimbEmitter, products: Sequence[tuple[Value, Value]]) -> None:
        self.e = emitter
        self.products = products                          # (left, right): all of left times one row of right
        self.columns = emitter.scratch(MAX_LIMBS + BLOCK)
        self.window: list[Value] = []                     # the columns that are in registers
        self.quotients: list[Value] = []
        self.right: list[list[Value]] = []
        self.held = BLOCK - 2 + emitter.reach             # columns in registers between two steps of a scan

    def clear(self, limbs: Value) -> None:
        """All columns zero, BLOCK of them beyond the top."""
        self.e.each(0, self.e.add(limbs, BLOCK), lambda i: self.e.put(ZERO, self.columns, i))

    def open_block(self, row: Value, loaded: dict[tuple[Any, int], Value]) -> None:
        """Rows row..row+BLOCK-1 times the lowest BLOCK limbs; `loaded` shares loads between the sums."""

        def once(base: Value, offset: int, at: Value) -> Value:
            if (base, offset) not in loaded:
                loaded[base, offset] = self.e.vector(base, at)
            return loaded[base, offset]

        self.window = [self.e.vector(self.columns, c) for c in range(BLOCK + self.held)]
        self.quotients, self.right = [], []
        for left, right in self.products:
            rows = [once(right, -1 - r, self.e.add(row, r)) for r in range(BLOCK)]
            self.right.append(rows)
            for c in range(BLOCK):
                self.e.add_products(self.window, c, once(left, c, c), rows)

    def reduce_column(self, c: int, low_n: Sequence[Value], k0: Value, more: Value | None) -> Value:
        """Make column c divisible by B with a multiple of n; hand its carry on. Returns the quotient limb."""
        e, w = self.e, self.window
        if more is not None:
            w[c] = e.add(w[c], more)
        quotient = e.low_product(w[c], k0)
        e.add_products(w, c, quotient, low_n)
        w[c + 1] = e.add(w[c + 1], e.carry(w[c]))
        self.quotients.append(quotient)
        return quotient

    def scan(self, row: Value, limbs: Value, n: Value) -> None:
        """The other limbs of left and of n times the block's rows; every column moves down by BLOCK."""
        e = self.e

        def step(column: Value, window: list[Value]) -> list[Value]:
            window = [*window, e.vector(self.columns, e.add(column, self.held))]
            lefts = [e.vector(left, column) for left, _ in self.products]
            for limb, rows in zip([*lefts, e.broadcast(n, column)], [*self.right, self.quotients], strict=True):
                e.add_products(window, 0, limb, rows)
            e.put(window[0], self.columns, e.add(column, -BLOCK))
            return window[1:]

        window = e.loop(BLOCK, limbs, 1, self.window[BLOCK:], step)
        for r, value in enumerate(self.top_columns(row, limbs, [*window, *[ZERO] * (BLOCK - self.held)])):
            e.put(value, self.columns, e.add(limbs, r - BLOCK))

    def top_columns(self, row: Value, limbs: Value, columns: list[Value]) -> list[Value]:
        """The columns at the top after the block at `row`."""
        return columns

    def ease(self, limbs: Value) -> None:
        """Carries resolved in place, that more rows may follow; the top column keeps its own."""
        e, top = self.e, self.e.add(limbs, -1)
        carry = resolve_carries(e, self.columns, self.columns, top)
        e.put(e.add(e.vector(self.columns, top), carry), self.columns, top)

    def normalise(self, limbs: Value, target: Value) -> None:
        """Carries resolved, into words at `target`."""
        resolve_into_words(self.e, self.columns, target, limbs)


class SquareSum(RunningSum):
    """x^2, reduced like any other sum once its columns are there: products of two different limbs are made once."""

    def __init__(self, emitter: LimbEmitter, x: Value) -> None:
        super().__init__(emitter, [])
        self.x, self.whole = x, emitter.scratch(2 * MAX_LIMBS)

    def clear(self, limbs: Value) -> None:
        """The lower columns of x^2 to where the reduction works; the upper ones wait in `whole`."""
        e, whole = self.e, self.whole
        top = e.b.shl(limbs, const(1))
        e.each(0, top, lambda i: e.put(ZERO, whole, i))
        e.each(0, limbs, lambda row: self._off_diagonal(row, limbs), step=BLOCK)

        half = e.b.lshr(limbs, const(1))
        e.each(0, half, lambda i: self._diagonal(i, self.columns))
        e.each(half, limbs, lambda i: self._diagonal(i, whole))
        if e.rows < MAX_LIMBS:
            with e.b.if_then(e.b.icmp_unsigned(">", limbs, const(e.rows))):
                carry = resolve_carries(e, self.columns, self.columns, limbs)
                upper = e.at(whole, limbs)
                resolve_carries(e, upper, upper, limbs, carry)
        for r in range(BLOCK):
            e.put(ZERO, self.columns, e.add(limbs, r))

    def _diagonal(self, i: Value, target: Value) -> None:
        """Columns 2 i and 2 i + 1, finished."""
        e, limb, low = self.e, self.e.vector(self.x, i), self.e.b.shl(i, const(1))
        columns = [_doubled(e, e.vector(self.whole, e.add(low, k))) for k in range(2)]
        e.add_products(columns, 0, limb, [limb])
        for k, column in enumerate(columns):
            e.put(column, target, e.add(low, k))

    def _off_diagonal(self, row: Value, limbs: Value) -> None:
        """Limbs row..row+BLOCK-1 times one another and times all limbs above them."""
        e, first = self.e, self.e.at(self.whole, self.e.b.shl(row, const(1)))
        rows = [e.vector(self.x, e.add(row, r)) for r in range(BLOCK)]
        window = [e.vector(first, c) for c in range(BLOCK + self.held)]
        for r in range(BLOCK - 1):
            e.add_products(window, 2 * r + 1, rows[r], rows[r + 1 :])
        for c, column in enumerate(window):
            e.put(column, first, c)
        target = e.at(self.whole, row)

        def scan(column: Value, held: list[Value]) -> list[Value]:
            held = [*held, e.vector(target, e.add(column, self.held))]
            e.add_products(held, 0, e.vector(self.x, column), rows)
            e.put(held[0], target, column)
            return held[1:]

        above = e.add(row, BLOCK)
        with e.b.if_then(e.b.icmp_unsigned("<", above, limbs)):
            held = e.loop(above, limbs, 1, window[BLOCK:], scan)
            for r in range(self.held):
                e.put(held[r], target, e.add(limbs, r))

    def top_columns(self, row: Value, limbs: Value, columns: list[Value]) -> list[Value]:
        """The next upper columns of x^2 join."""
        e = self.e
        return [e.add(x, e.vector(self.whole, e.add(e.add(row, limbs), r))) for r, x in enumerate(columns)]


def _doubled(e: LimbEmitter, x: Value) -> Value:
    return e.b.shl(x, splat_const(1))


def resolve_carries(e: LimbEmitter, source: Value, target: Value, count: Value, carry: Value = ZERO) -> Value:
    """Columns of up to 64 bits into limbs, one in a vector; returns the last carry."""

    def step(i: Value, carried: list[Value]) -> list[Value]:
        column = e.add(e.vector(source, i), carried[0])
        e.put(e.limb(column), target, i)
        return [e.carry(column)]

    return e.loop(0, count, 1, [carry], step)[0]


def resolve_into_words(e: LimbEmitter, source: Value, target: Value, limbs: Value) -> None:
    """Columns of up to 64 bits into words of limbs; the value is known to fit."""

    def step(i: Value, carried: list[Value]) -> list[Value]:
        carry, found = carried[0], []
        for k in range(e.per_word):
            column = e.add(e.vector(source, e.add(i, k)), carry)
            found.append(e.limb(column))
            carry = e.carry(column)
        e.put(e.joined(found, splat_const(HALF)), target, e.words(i))
        return [carry]

    e.loop(0, limbs, e.per_word, [ZERO], step)


def _reduce_block(e: LimbEmitter, sums: Sequence[RunningSum], modulus: Value, limbs: Value, row: Value) -> None:
    """The rows row..row+BLOCK-1 of all sums; the second sum takes K minus the quotients of the first."""
    n = e.at(modulus, HEADER, I64)
    shift, k0 = e.at(n, limbs, I64), e.broadcast(modulus, K0)
    low_n = [e.broadcast(n, c) for c in range(BLOCK)]
    loaded: dict[tuple[Any, int], Value] = {}
    for one in sums:
        one.open_block(row, loaded)
    for c in range(BLOCK):               # the sums take turns, so that one works while the other waits
        more = None
        for one in sums:
            quotient = one.reduce_column(c, low_n, k0, more)
            if one is not sums[-1]:
                more = e.b.sub(e.broadcast(shift, e.add(row, c)), quotient)
    for one in sums:
        one.scan(row, limbs, n)


def _emit_blocks(e: LimbEmitter, sums: Sequence[RunningSum], modulus: Value, limbs: Value) -> None:
    """All rows of all sums, carried as often as the form needs it."""
    for one in sums:
        one.clear(limbs)

    def block(row: Value) -> None:
        _reduce_block(e, sums, modulus, limbs, row)

    def rows(first: Value) -> None:
        following = e.add(first, e.rows)
        more = e.b.icmp_unsigned("<", following, limbs)
        e.each(first, e.b.select(more, following, limbs), block, step=BLOCK)
        with e.b.if_then(more):
            for one in sums:
                one.ease(limbs)

    if e.rows < MAX_LIMBS:
        e.each(0, limbs, rows, step=e.rows)
    else:
        e.each(0, limbs, block, step=BLOCK)


def _emit_plain(form: type[LimbEmitter], module: ir.Module, square: bool) -> ir.Function:
    """(r, a, b, modulus) or, for squares, (r, a, modulus): one component."""
    e = form(module, "square_plain" if square else "multiply_plain", [PTR] * (3 if square else 4), exported=False)
    target, modulus = e.args[0], e.args[-1]
    limbs = e.word(modulus, LIMBS)
    a, *b = (e.limbs_of(operand, limbs) for operand in e.args[1:-1])
    total = SquareSum(e, a) if square else RunningSum(e, [(a, b[0])])
    _emit_blocks(e, [total], modulus, limbs)
    total.normalise(limbs, target)
    return e.done()


def _emit_pair(form: type[LimbEmitter], module: ir.Module, square: bool) -> ir.Function:
    """(r, a, b, modulus) or, for squares, (r, a, modulus): two components, x0 + x1 n."""
    e = form(module, "square_pair" if square else "multiply_pair", [PTR] * (3 if square else 4), exported=False)
    target, modulus = e.args[0], e.args[-1]
    limbs = e.word(modulus, LIMBS)
    both = e.b.shl(limbs, const(1))
    a, *b = (e.limbs_of(operand, both) for operand in e.args[1:-1])
    a1 = e.at(a, limbs)
    if square:                           # x0 x1 + x1 x0 = x0 (2 x1)
        twice, doubled = e.scratch(MAX_LIMBS), e.scratch(MAX_LIMBS)
        e.each(0, limbs, lambda i: e.put(_doubled(e, e.vector(a1, i)), twice, i))
        resolve_carries(e, twice, doubled, limbs)
        sums = [SquareSum(e, a), RunningSum(e, [(a, doubled)])]
    else:
        sums = [RunningSum(e, [(a, b[0])]), RunningSum(e, [(a, e.at(b[0], limbs)), (a1, b[0])])]
    _emit_blocks(e, sums, modulus, limbs)
    sums[0].normalise(limbs, target)
    sums[1].normalise(limbs, e.at(target, e.words(limbs)))
    return e.done()


def exported(
    form: type[LimbEmitter], module: ir.Module, name: str, arguments: Sequence[Value]
) -> tuple[LimbEmitter, Value, Value]:
    """A function for Python, its last argument (the modulus), and the words per residue."""
    e = form(module, name, [*arguments, PTR])
    return e, e.args[-1], e.word(e.args[-1], SIZE)


def emit_products(form: type[LimbEmitter], module: ir.Module) -> tuple[ir.Function, ir.Function]:
    """`multiply(r, a, b, modulus)` and `square(r, a, modulus)` on one batch; r may be a or b."""
    functions = []
    for name, square in (("multiply", False), ("square", True)):
        plain, pair = _emit_plain(form, module, square), _emit_pair(form, module, square)
        e = form(module, name, [PTR] * (3 if square else 4), exported=False)
        single = e.b.icmp_unsigned("==", e.word(e.args[-1], PARTS), const(1))
        with e.b.if_else(single) as (then, otherwise):
            with then:
                e.b.call(plain, list(e.args))
            with otherwise:
                e.b.call(pair, list(e.args))
        functions.append(e.done())
    return functions[0], functions[1]
