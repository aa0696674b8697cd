"""LLVM IR of the batched Montgomery product: eight residues side by side, limbs of 52 bits, AVX512-IFMA.

Representation. R = 2^(52 h). A *batch* is `size` vectors of eight 64-bit words; word i of lane l is limb i of
residue l. There are two kinds of modulus N:

- plain: a residue is one component x < 5 N, h limbs; the product is x y / R mod N, one row-wise almost-Montgomery
  multiplication [Gueron, Krasnov, "Software implementation of modular exponentiation using AVX512-IFMA", 2012;
  Montgomery 1985].
- pair, where N = n^2 (all that Paillier needs): a residue is x0 + x1 n with components below 5 n, and
      x0 y0 = t R - m n                          (Montgomery: m = -x0 y0 / n mod R, t = (x0 y0 + m n) / R)
      (x0 + x1 n)(y0 + y1 n) / R = t + n (x0 y1 + x1 y0 - m) / R   mod n^2
  The second bracket counts mod n only, so it is a second Montgomery reduction of half the length: 10 h^2 multiply-adds
  instead of 16 h^2, 8 h^2 for a square.

Bounds. All limbs that enter a multiplication are below 2^52 (vpmadd52 reads 52 bits). R >= 2^10 n, operands < 5 n:
    t < (25 n^2 + R n) / R < 2 n
    u < (50 n^2 + R + n + R n) / R < n + 2      with K = n ceil(R/n) added so that K - m stays positive
so results are < 5 n again and no comparison is ever needed between products. A column gathers at most 6 h terms
below 2^52 and one below 2^53, so 64 bits suffice for h <= MAX_LIMBS.
Nothing here branches on a residue.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

Value = Any  # llvmlite ships no type stubs
LANES = 8
LIMB_BITS = 52
BLOCK = 2          # rows of limbs that are reduced together; h is even
MAX_LIMBS = 256
SLACK_BITS = 10    # R >= 2^10 n

# The words of a modulus: -1/N mod 2^52, h, components, words per residue; then the limbs of n, of K and of N.
K0, LIMBS, PARTS, SIZE, HEADER = 0, 1, 2, 3, 8

I8, I32, I64, PTR = ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.PointerType()
VECTOR = ir.VectorType(I64, LANES)
LIMB_MASK = (1 << LIMB_BITS) - 1


def const(value: int) -> Value:
    """A 64-bit constant."""
    return ir.Constant(I64, value)


def splat_const(value: int) -> Value:
    """The constant in all lanes."""
    return ir.Constant(VECTOR, [value] * LANES)


ZERO = splat_const(0)


class Emitter:
    """One function under construction: loads, stores, loops and multiply-adds with little ceremony."""

    def __init__(self, module: ir.Module, name: str, arguments: Sequence[Value], exported: bool = True) -> None:
        self.function = ir.Function(module, ir.FunctionType(ir.VoidType(), arguments), name)
        self.function.attributes.add("noinline")
        self.function.attributes.add("nounwind")
        if not exported:
            self.function.linkage = "internal"
        self.module = module
        self.b = ir.IRBuilder(self.function.append_basic_block("entry"))
        self.args: Sequence[Value] = self.function.args

    def at(self, base: Value, index: Value, kind: Value = VECTOR) -> Value:
        """The address of element `index` of an array of `kind`."""
        return self.b.gep(base, [const(index) if isinstance(index, int) else index], source_etype=kind)

    def vector(self, base: Value, index: Value) -> Value:
        """Load one word of all lanes."""
        return self.b.load(self.at(base, index), align=64, typ=VECTOR)

    def put(self, value: Value, base: Value, index: Value) -> None:
        """Store one word of all lanes."""
        self.b.store(value, self.at(base, index), align=64)

    def word(self, base: Value, index: Value) -> Value:
        """Load one 64-bit word."""
        return self.b.load(self.at(base, index, I64), align=8, typ=I64)

    def unaligned_word(self, address: Value) -> Value:
        """Load 64 bits from any byte."""
        return self.b.load(address, align=1, typ=I64)

    def splat(self, scalar: Value) -> Value:
        """The scalar in all lanes."""
        first = self.b.insert_element(ir.Constant(VECTOR, ir.Undefined), scalar, ir.Constant(I32, 0))
        lanes = ir.Constant(ir.VectorType(I32, LANES), [0] * LANES)
        return self.b.shuffle_vector(first, first, lanes)

    def broadcast(self, base: Value, index: Value) -> Value:
        """Load one 64-bit word into all lanes."""
        return self.splat(self.word(base, index))

    def scratch(self, words: int) -> Value:
        """Vectors on the stack."""
        area = self.b.alloca(VECTOR, words)
        area.align = 64
        area.type = PTR            # opaque, as LLVM has it; llvmlite would call it a pointer to vectors
        return area

    def add(self, x: Value, y: Value) -> Value:
        """x + y, for indices a constant may be a Python integer."""
        return self.b.add(x, const(y) if isinstance(y, int) else y)

    def low(self, acc: Value, x: Value, y: Value) -> Value:
        """acc + low 52 bits of x y."""
        return self._multiply_add("l", acc, x, y)

    def high(self, acc: Value, x: Value, y: Value) -> Value:
        """acc + high 52 bits of x y."""
        return self._multiply_add("h", acc, x, y)

    def _multiply_add(self, half: str, acc: Value, x: Value, y: Value) -> Value:
        name = f"llvm.x86.avx512.vpmadd52{half}.uq.512"
        intrinsic = self.module.globals.get(name)
        if intrinsic is None:
            intrinsic = ir.Function(self.module, ir.FunctionType(VECTOR, [VECTOR] * 3), name)
        return self.b.call(intrinsic, [acc, x, y])

    def carry(self, x: Value) -> Value:
        """What lies above the limb."""
        return self.b.lshr(x, splat_const(LIMB_BITS))

    def limb(self, x: Value) -> Value:
        """What lies inside the limb."""
        return self.b.and_(x, splat_const(LIMB_MASK))

    def loop(
        self,
        start: Value,
        stop: Value,
        step: int,
        carried: Sequence[Value],
        body: Callable[[Value, list[Value]], list[Value]],
    ) -> list[Value]:
        """for index in range(start, stop, step), at least once; `body` maps the carried values to the next ones."""
        before = self.b.block
        inside, after = self.function.append_basic_block(), self.function.append_basic_block()
        self.b.branch(inside)
        self.b.position_at_end(inside)
        index = self.b.phi(I64)
        phis = [self.b.phi(value.type) for value in carried]
        results = body(index, phis)
        following, latch = self.add(index, step), self.b.block
        index.add_incoming(const(start) if isinstance(start, int) else start, before)
        index.add_incoming(following, latch)
        for phi, first, result in zip(phis, carried, results, strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(result, latch)
        self.b.cbranch(self.b.icmp_unsigned("<", following, stop), inside, after)
        self.b.position_at_end(after)
        return results

    def each(self, start: Value, stop: Value, body: Callable[[Value], object], step: int = 1) -> None:
        """for index in range(start, stop, step), possibly never."""
        start = const(start) if isinstance(start, int) else start
        stop = const(stop) if isinstance(stop, int) else stop

        def one(index: Value, _: list[Value]) -> list[Value]:
            body(index)
            return []

        with self.b.if_then(self.b.icmp_unsigned("<", start, stop)):
            self.loop(start, stop, step, [], one)

    def done(self) -> ir.Function:
        """Close the function."""
        self.b.ret_void()
        return self.function


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

    def normalise(self, limbs: Value, target: Value) -> None:
        """Carries resolved, into `target`."""
        resolve_carries(self.e, self.columns, target, limbs)


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
            for r in range(BLOCK):
                e.put(windows[i * BLOCK + r], one.columns, e.add(limbs, r - BLOCK))
        return []

    e.loop(0, limbs, BLOCK, [], block)


def _emit_plain(module: ir.Module) -> ir.Function:
    """(r, a, b, modulus): one component."""
    e = Emitter(module, "multiply_plain", [PTR] * 4, exported=False)
    target, a, b, modulus = e.args
    limbs = e.word(modulus, LIMBS)
    total = RunningSum(e, [(a, b)])
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
        e.each(0, limbs, lambda i: e.put(e.b.shl(e.vector(a1, i), splat_const(1)), twice, i))
        resolve_carries(e, twice, doubled, limbs)
        sums = [RunningSum(e, [(a, a)]), RunningSum(e, [(a, doubled)])]
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
    plain, pair, pair_square = _emit_plain(module), _emit_pair(module, False), _emit_pair(module, True)
    functions = []
    for name, count in (("multiply", 4), ("square", 3)):
        e = Emitter(module, name, [PTR] * count, exported=False)
        target, a, modulus = e.args[0], e.args[1], e.args[-1]
        single = e.b.icmp_unsigned("==", e.word(modulus, PARTS), const(1))
        with e.b.if_else(single) as (then, otherwise):
            with then:
                e.b.call(plain, [target, a, a if count == 3 else e.args[2], modulus])
            with otherwise:
                e.b.call(pair_square if count == 3 else pair, list(e.args))
        functions.append(e.done())
    return functions[0], functions[1]
