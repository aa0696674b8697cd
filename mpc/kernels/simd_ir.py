"""LLVM IR of the batched Montgomery product: eight residues side by side, limbs of 52 bits, AVX512-IFMA.

Representation. R = 2^(52 h). A *batch* is `size` vectors of eight 64-bit words; word i of lane l is limb i of
residue l. There are two kinds of modulus N:

- plain: a residue is one component x < 5 N, h limbs; the product is x y / R mod N, one row-wise almost-Montgomery
  multiplication [Gueron, "Efficient software implementations of modular exponentiation", J. Cryptogr. Eng. 2012;
  Gueron, Krasnov, "Accelerating big integer arithmetic using Intel IFMA extensions", ARITH 2016].
- pair, where N = n^2 (all that Paillier needs): a residue is x0 + x1 n with components below 5 n, and
      x0 y0 = t R - m n                          (Montgomery: m = -x0 y0 / n mod R, t = (x0 y0 + m n) / R)
      (x0 + x1 n)(y0 + y1 n) / R = t + n (x0 y1 + x1 y0 - m) / R   mod n^2
  The second bracket counts mod n only, so it is a second Montgomery reduction of half the length: 10 h^2 multiply-adds
  instead of 16 h^2, and 7 h^2 for a square.

Bounds. All limbs that enter a multiplication are below 2^52 (vpmadd52 reads 52 bits). R >= 2^10 n, operands < 5 n:
    t < (25 n^2 + R n) / R < 1.1 n
    u < (50 n^2 + R + n + R n) / R < 1.1 n + 2      with K = n ceil(R/n) added so that K - m stays positive
so results are < 5 n again and no comparison is ever needed between products. A column gathers at most 6 h terms
below 2^52 and one below 2^53, so 64 bits suffice for h <= MAX_LIMBS.
Nothing here branches on a residue.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from mpc.kernels.simd_emitter import I64, PTR, ZERO, Emitter, Value, const, splat_const

BLOCK = 2          # rows of limbs that are reduced together; h is even
MAX_LIMBS = 256
SLACK_BITS = 10    # R >= 2^10 n

# The words of a modulus: -1/N mod 2^52, h, components, words per residue; then the limbs of n, of K and of N.
K0, LIMBS, PARTS, SIZE, HEADER = 0, 1, 2, 3, 8


class RunningSum:
    """A sum of products left * right that is divided by 2^52 and reduced mod n with each row of limbs."""

    def __init__(self, emitter: Emitter, products: Sequence[tuple[Value, Value]]) -> None:
        self.e = emitter
        self.products = products                          # (left, right): all of left times one row of right
        self.columns = emitter.scratch(MAX_LIMBS + BLOCK)
        self.window: list[Value] = []                     # the columns that are in registers
        self.quotients: list[Value] = []
        self.right: list[list[Value]] = []

    def clear(self, limbs: Value) -> None:
        """All columns zero, BLOCK of them beyond the top."""
        self.e.each(0, self.e.add(limbs, BLOCK), lambda i: self.e.put(ZERO, self.columns, i))

    def open_block(self, row: Value, loaded: dict[tuple[Any, int], Value]) -> None:
        """Rows row..row+BLOCK-1 times the lowest BLOCK limbs; `loaded` shares loads between the sums."""

        def once(base: Value, offset: int, at: Value) -> Value:
            if (base, offset) not in loaded:
                loaded[base, offset] = self.e.vector(base, at)
            return loaded[base, offset]

        self.window = [self.e.vector(self.columns, c) for c in range(2 * BLOCK)]
        self.quotients, self.right = [], []
        for left, right in self.products:
            rows = [once(right, -1 - r, self.e.add(row, r)) for r in range(BLOCK)]
            self.right.append(rows)
            for r in range(BLOCK):
                for c in range(BLOCK):
                    limb = once(left, c, c)
                    self.window[c + r] = self.e.low(self.window[c + r], limb, rows[r])
                    self.window[c + r + 1] = self.e.high(self.window[c + r + 1], limb, rows[r])

    def reduce_column(self, c: int, low_n: Sequence[Value], k0: Value, more: Value | None) -> Value:
        """Make column c divisible by 2^52 with a multiple of n; hand its carry on. Returns the quotient limb."""
        e, w = self.e, self.window
        if more is not None:
            w[c] = e.add(w[c], more)
        quotient = e.low(ZERO, w[c], k0)
        cleared = e.low(w[c], low_n[0], quotient)
        w[c + 1] = e.high(w[c + 1], low_n[0], quotient)
        for d in range(1, BLOCK):
            w[c + d] = e.low(w[c + d], low_n[d], quotient)
            w[c + d + 1] = e.high(w[c + d + 1], low_n[d], quotient)
        w[c + 1] = e.add(w[c + 1], e.carry(cleared))
        self.quotients.append(quotient)
        return quotient

    def scan(self, column: Value, window: list[Value], n: Value) -> list[Value]:
        """Limb `column` of left and n times the block's rows; one finished column moves down by BLOCK."""
        e = self.e
        window = [*window, e.vector(self.columns, e.add(column, BLOCK))]
        factors = [(e.vector(left, column), rows) for (left, _), rows in zip(self.products, self.right, strict=True)]
        for limb, rows in [*factors, (e.broadcast(n, column), self.quotients)]:
            for r in range(BLOCK):
                window[r] = e.low(window[r], limb, rows[r])
            for r in range(BLOCK):
                window[r + 1] = e.high(window[r + 1], limb, rows[r])
        e.put(window[0], self.columns, e.add(column, -BLOCK))
        return window[1:]

    def close_block(self, row: Value, limbs: Value, window: Sequence[Value]) -> None:
        """The top columns of the block at `row` go back to memory."""
        for r in range(BLOCK):
            self.e.put(window[r], self.columns, self.e.add(limbs, r - BLOCK))

    def normalise(self, limbs: Value, target: Value) -> None:
        """Carries resolved, into `target`."""
        resolve_carries(self.e, self.columns, target, limbs)


class SquareSum(RunningSum):
    """x^2, reduced like any other sum once its columns are there: products of two different limbs are made once."""

    def __init__(self, emitter: Emitter, x: Value) -> None:
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
        for r in range(BLOCK):
            e.put(ZERO, self.columns, e.add(limbs, r))

    def _diagonal(self, i: Value, target: Value) -> None:
        """Columns 2 i and 2 i + 1, finished."""
        e, limb, low = self.e, self.e.vector(self.x, i), self.e.b.shl(i, const(1))
        high = e.add(low, 1)
        e.put(e.low(_doubled(e, e.vector(self.whole, low)), limb, limb), target, low)
        e.put(e.high(_doubled(e, e.vector(self.whole, high)), limb, limb), target, high)

    def _off_diagonal(self, row: Value, limbs: Value) -> None:
        """Limbs row..row+BLOCK-1 times one another and times all limbs above them."""
        e, first = self.e, self.e.at(self.whole, self.e.b.shl(row, const(1)))
        rows = [e.vector(self.x, e.add(row, r)) for r in range(BLOCK)]
        window = [e.vector(first, c) for c in range(2 * BLOCK)]
        for r in range(BLOCK):
            for s in range(r + 1, BLOCK):
                window[r + s] = e.low(window[r + s], rows[r], rows[s])
                window[r + s + 1] = e.high(window[r + s + 1], rows[r], rows[s])
        for c in range(2 * BLOCK):
            e.put(window[c], first, c)
        target = e.at(self.whole, row)

        def scan(column: Value, held: list[Value]) -> list[Value]:
            held, limb = [*held, e.vector(target, e.add(column, BLOCK))], e.vector(self.x, column)
            for r in range(BLOCK):
                held[r] = e.low(held[r], limb, rows[r])
            for r in range(BLOCK):
                held[r + 1] = e.high(held[r + 1], limb, rows[r])
            e.put(held[0], target, column)
            return held[1:]

        above = e.add(row, BLOCK)
        with e.b.if_then(e.b.icmp_unsigned("<", above, limbs)):
            held = e.loop(above, limbs, 1, window[BLOCK:], scan)
            for r in range(BLOCK):
                e.put(held[r], target, e.add(limbs, r))

    def close_block(self, row: Value, limbs: Value, window: Sequence[Value]) -> None:
        """The next upper columns join."""
        e = self.e
        waiting = [e.vector(self.whole, e.add(e.add(row, limbs), r)) for r in range(BLOCK)]
        super().close_block(row, limbs, [e.add(w, x) for w, x in zip(window, waiting, strict=True)])


def _doubled(e: Emitter, x: Value) -> Value:
    return e.b.shl(x, splat_const(1))


def resolve_carries(e: Emitter, source: Value, target: Value, limbs: Value) -> None:
    """Columns of up to 64 bits into limbs of 52; the value is known to fit."""

    def step(i: Value, carried: list[Value]) -> list[Value]:
        column = e.add(e.vector(source, i), carried[0])
        e.put(e.limb(column), target, i)
        return [e.carry(column)]

    e.loop(0, limbs, 1, [ZERO], step)


def _scan_columns(
    e: Emitter, sums: Sequence[RunningSum], column: Value, windows: list[Value], n: Value
) -> list[Value]:
    """BLOCK columns of all sums; `windows` has BLOCK registers of each sum, one sum after the other."""
    for step in range(BLOCK):
        at, following = e.add(column, step), []
        for i, one in enumerate(sums):
            following += one.scan(at, windows[i * BLOCK : (i + 1) * BLOCK], n)
        windows = following
    return windows


def _emit_blocks(e: Emitter, sums: Sequence[RunningSum], modulus: Value, limbs: Value) -> None:
    """All rows of all sums; the second sum takes K minus the quotients of the first."""
    n = e.at(modulus, HEADER, I64)
    shift = e.at(n, limbs, I64)
    k0 = e.broadcast(modulus, K0)
    for one in sums:
        one.clear(limbs)

    def block(row: Value, _: list[Value]) -> list[Value]:
        low_n = [e.broadcast(n, c) for c in range(BLOCK)]
        loaded: dict[tuple[Any, int], Value] = {}
        for one in sums:
            one.open_block(row, loaded)
        for c in range(BLOCK):           # the sums take turns, so that one works while the other waits
            more = None
            for one in sums:
                quotient = one.reduce_column(c, low_n, k0, more)
                if one is not sums[-1]:
                    more = e.b.sub(e.broadcast(shift, e.add(row, c)), quotient)

        start = [value for one in sums for value in one.window[BLOCK:]]
        windows = e.loop(BLOCK, limbs, BLOCK, start, lambda column, held: _scan_columns(e, sums, column, held, n))
        for i, one in enumerate(sums):
            one.close_block(row, limbs, windows[i * BLOCK : (i + 1) * BLOCK])
        return []

    e.loop(0, limbs, BLOCK, [], block)


def _emit_plain(module: ir.Module, square: bool) -> ir.Function:
    """(r, a, b, modulus) or, for squares, (r, a, modulus): one component."""
    e = Emitter(module, "square_plain" if square else "multiply_plain", [PTR] * (3 if square else 4), exported=False)
    target, a, modulus = e.args[0], e.args[1], e.args[-1]
    limbs = e.word(modulus, LIMBS)
    total = SquareSum(e, a) if square else RunningSum(e, [(a, e.args[2])])
    _emit_blocks(e, [total], modulus, limbs)
    total.normalise(limbs, target)
    return e.done()


def _emit_pair(module: ir.Module, square: bool) -> ir.Function:
    """(r, a, b, modulus) or, for squares, (r, a, modulus): two components, x0 + x1 n."""
    e = Emitter(module, "square_pair" if square else "multiply_pair", [PTR] * (3 if square else 4), exported=False)
    target, a, modulus = e.args[0], e.args[1], e.args[-1]
    limbs = e.word(modulus, LIMBS)
    a1 = e.at(a, limbs)
    if square:                           # x0 x1 + x1 x0 = x0 (2 x1)
        twice, doubled = e.scratch(MAX_LIMBS), e.scratch(MAX_LIMBS)
        e.each(0, limbs, lambda i: e.put(_doubled(e, e.vector(a1, i)), twice, i))
        resolve_carries(e, twice, doubled, limbs)
        sums = [SquareSum(e, a), RunningSum(e, [(a, doubled)])]
    else:
        b = e.args[2]
        sums = [RunningSum(e, [(a, b)]), RunningSum(e, [(a, e.at(b, limbs)), (a1, b)])]
    _emit_blocks(e, sums, modulus, limbs)
    sums[0].normalise(limbs, target)
    sums[1].normalise(limbs, e.at(target, limbs))
    return e.done()


def exported(module: ir.Module, name: str, arguments: Sequence[Value]) -> tuple[Emitter, Value, Value]:
    """A function for Python, its last argument (the modulus), and the words per residue."""
    e = Emitter(module, name, [*arguments, PTR])
    return e, e.args[-1], e.word(e.args[-1], SIZE)


def emit_products(module: ir.Module) -> tuple[ir.Function, ir.Function]:
    """`multiply(r, a, b, modulus)` and `square(r, a, modulus)` on one batch; r may be a or b."""
    functions = []
    for name, square in (("multiply", False), ("square", True)):
        plain, pair = _emit_plain(module, square), _emit_pair(module, square)
        e = Emitter(module, name, [PTR] * (3 if square else 4), exported=False)
        single = e.b.icmp_unsigned("==", e.word(e.args[-1], PARTS), const(1))
        with e.b.if_else(single) as (then, otherwise):
            with then:
                e.b.call(plain, list(e.args))
            with otherwise:
                e.b.call(pair, list(e.args))
        functions.append(e.done())
    return functions[0], functions[1]
