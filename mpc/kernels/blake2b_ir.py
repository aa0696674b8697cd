"""LLVM IR of the compression of BLAKE2b [RFC 7693], eight side by side. It knows blocks, not what they are part of."""

from __future__ import annotations

from llvmlite import ir

from mpc.kernels.blake2b_sizes import IV, LANES

# [RFC 7693] section 2.7
_SIGMA = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    (14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3),
    (11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4),
    (7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8),
    (9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13),
    (2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9),
    (12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11),
    (13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10),
    (6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5),
    (10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0),
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    (14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3),
)
_MIXED = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
          (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
_TURNS = (32, 24, 16, 63)
_WORD, _VECTOR = ir.IntType(64), ir.VectorType(ir.IntType(64), LANES)


def source() -> str:
    """The module as LLVM text; the same on every machine."""
    module = ir.Module("blake2b")
    pointer = ir.PointerType()
    kind = ir.FunctionType(ir.VoidType(), [_WORD, _WORD, _WORD, pointer, pointer, pointer, pointer, pointer])
    _compress(ir.Function(module, kind, "compress"))
    return str(module)


def _compress(function: ir.Function) -> None:
    """F of [RFC 7693] section 3.2 for `groups` times eight blocks, all from the state `start`.

    (groups, bytes before, 1 if the last block, start, blocks, lengths, digests, states): the first two words of each
    state go to `digests`, the whole states of the last group to `states`.
    """
    groups, before, last, start, blocks, lengths, digests, states = function.args
    entry, loop, done = (function.append_basic_block(name) for name in ("entry", "loop", "done"))
    build = ir.IRBuilder(entry)
    initial = [_spread(build, build.load(_at(build, start, _WORD, _WORD(k)), typ=_WORD)) for k in range(8)]
    earlier, inverted = _spread(build, before), _spread(build, build.sub(_WORD(0), last))
    build.cbranch(build.icmp_unsigned("==", groups, _WORD(0)), done, loop)
    build.position_at_end(loop)
    group = build.phi(_WORD)
    words = [_load(build, blocks, build.add(build.mul(group, _WORD(16)), _WORD(k))) for k in range(16)]
    v = [*initial, *(_constant(iv) for iv in IV)]
    v[12] = build.xor(v[12], build.add(earlier, _load(build, lengths, group)))
    v[14] = build.xor(v[14], inverted)
    for order in _SIGMA:
        for number, quarter in enumerate(_MIXED):
            _mix(build, v, quarter, words[order[2 * number]], words[order[2 * number + 1]])
    ends = [build.xor(initial[k], build.xor(v[k], v[k + 8])) for k in range(8)]
    for k, end in enumerate(ends):
        build.store(end, _at(build, states, _VECTOR, _WORD(k)), align=8)
    pairs = ir.Constant(ir.VectorType(ir.IntType(32), 2 * LANES), [k // 2 + LANES * (k % 2) for k in range(2 * LANES)])
    both = build.shuffle_vector(ends[0], ends[1], pairs)
    build.store(both, _at(build, digests, both.type, group), align=8)
    following = build.add(group, _WORD(1))
    group.add_incoming(_WORD(0), entry)
    group.add_incoming(following, loop)
    build.cbranch(build.icmp_unsigned("<", following, groups), loop, done)
    ir.IRBuilder(done).ret_void()


def _mix(build: ir.IRBuilder, v: list[ir.Value], quarter: tuple[int, ...], x: ir.Value, y: ir.Value) -> None:
    """G of [RFC 7693] section 3.1."""
    a, b, c, d = quarter
    for word, first, second in ((x, *_TURNS[:2]), (y, *_TURNS[2:])):
        v[a] = build.add(build.add(v[a], v[b]), word)
        v[d] = _turned(build, build.xor(v[d], v[a]), first)
        v[c] = build.add(v[c], v[d])
        v[b] = _turned(build, build.xor(v[b], v[c]), second)


def _turned(build: ir.IRBuilder, value: ir.Value, right: int) -> ir.Value:
    return build.or_(build.lshr(value, _constant(right)), build.shl(value, _constant(64 - right)))


def _constant(value: int) -> ir.Constant:
    return ir.Constant(_VECTOR, [value] * LANES)


def _spread(build: ir.IRBuilder, word: ir.Value) -> ir.Value:
    one = build.insert_element(ir.Constant(_VECTOR, ir.Undefined), word, ir.IntType(32)(0))
    return build.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))


def _at(build: ir.IRBuilder, base: ir.Value, kind: ir.Type, index: ir.Value) -> ir.Value:
    return build.gep(base, [index], source_etype=kind)


def _load(build: ir.IRBuilder, base: ir.Value, index: ir.Value) -> ir.Value:
    return build.load(_at(build, base, _VECTOR, index), typ=_VECTOR, align=8)
