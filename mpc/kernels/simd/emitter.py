"""A thin hand on llvmlite's builder: vectors of eight 64-bit words, loops, and the two IFMA instructions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from mpc.kernels.simd.memory import LANES

Value = Any  # llvmlite ships no type stubs
I8, I32, I64, PTR = ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.PointerType()
VECTOR = ir.VectorType(I64, LANES)


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
        """Vectors on the stack, the same ones in every round of a loop."""
        with self.b.goto_entry_block():
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
