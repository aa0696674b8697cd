"""LLVM IR of ristretto255 [RFC 9496]: eight points side by side, decoded, mapped, doubled, added, encoded twofold.

A point is extended, (X, Y, Z, T) with x = X/Z, y = Y/Z, x y = T/Z, on -x^2 + y^2 = 1 + d x^2 y^2. A summand is cached
as (Y + X, Y - X, 2 Z, 2 d T). A sum comes as (E, F, G, H), and is the point (E F, G H, F G, E H) [Hisil, Wong, Carter,
Dawson, "Twisted Edwards curves revisited", ASIACRYPT 2008, sections 3.1 and 3.3]. The formulas are complete: no pair of
points is an exception. No branch and no address depends on a point.

What is encoded is twice a point, for then encoding needs an inverse and no root, and many inverses cost little more
than one [Montgomery's trick: running products, one inverse, and back]. Twice (X, Y, Z, T) is (e/f, g/h) with e = 2 X Y,
f = Z^2 + d T^2, g = Y^2 + X^2, h = Z^2 - d T^2. By the equation of the curve f = Y^2 - X^2, so h - g = 2 (Z^2 - Y^2),
h + g = 2 (Z^2 + X^2), and X Y = Z T gives h^2 - g^2 = (a - d) e^2, a = -1. The root that section 4.3.2 takes is of
1 - (g/h)^2, which is sqrt(a - d) e/h, so the encoding of (e/f, g/h) is |(h - g) / (e sqrt(a - d))|. If e/f g/h is
negative, it is that of the neighbour (i g/h, i e/f) in the same coset, for which g, -e, i f and i stand for e, g, h
and 1 / sqrt(a - d); and if then x is negative, -g stands for g.
"""

from __future__ import annotations

from llvmlite import ir

from mpc.kernels.curve.field import MASK, NONE, ONE, PRIME, RADIX_BITS, Element, Field, constant
from mpc.kernels.curve.sizes import ENCODING, LIMBS, WORDS
from mpc.kernels.simd.emitter import PTR, VECTOR, Emitter, Value, splat_const

WORD_BITS = 64
COORDINATES = 4
Point = tuple[Element, Element, Element, Element]


def _root(value: int) -> int:
    """The even square root modulo p = 5 mod 8, of a square."""
    root = pow(value, (PRIME + 3) // 8, PRIME)
    if (root * root - value) % PRIME:
        root = root * pow(2, (PRIME - 1) // 4, PRIME) % PRIME
    assert (root * root - value) % PRIME == 0
    return root if root % 2 == 0 else PRIME - root


# [RFC 9496] section 4.1; SQRT_AD_MINUS_ONE is the odd root there
D = -121665 * pow(121666, -1, PRIME) % PRIME
SQRT_M1 = _root(-1)
ONE_MINUS_D_SQ = (1 - D * D) % PRIME
D_MINUS_ONE_SQ = (D - 1) ** 2 % PRIME
SQRT_AD_MINUS_ONE = PRIME - _root(-D - 1)
INVSQRT_A_MINUS_D = _root(pow(-1 - D, -1, PRIME))


def scratch(e: Emitter, elements: int) -> Value:
    """Room for elements on the stack."""
    return e.scratch(LIMBS * elements)


class Points:
    """The functions that the loops call; all of them work on one batch in memory."""

    def __init__(self, module: ir.Module) -> None:
        self.module = module
        self.sqrt_ratio = self._sqrt_ratio()
        self.decode = self._decode()
        self.begin_encoding = self._begin_encoding()
        self.invert = self._invert()
        self.end_encoding = self._end_encoding()
        self.map = self._map()
        self.double = self._double()
        self.add = self._add()
        self.complete = self._complete()
        self.cache = self._cache()
        self.make = self._make()

    def _function(self, name: str, arguments: int) -> tuple[Emitter, Field]:
        e = Emitter(self.module, name, [PTR] * arguments, exported=False)
        return e, Field(e)

    # ------------------------------------------------------------ roots

    @staticmethod
    def _to_the_p58(f: Field, z: Element) -> Element:
        """z^((p - 5) / 8) = z^(2^252 - 3): 251 squares, 11 products."""
        two = f.square(z)
        nine = f.mul(z, f.squares(two, 2))
        ones = f.mul(nine, f.square(f.mul(two, nine)))     # exponent 2^5 - 1
        ones10 = f.mul(f.squares(ones, 5), ones)           # 2^10 - 1
        ones20 = f.mul(f.squares(ones10, 10), ones10)
        ones40 = f.mul(f.squares(ones20, 20), ones20)
        ones50 = f.mul(f.squares(ones40, 10), ones10)
        ones100 = f.mul(f.squares(ones50, 50), ones50)
        ones200 = f.mul(f.squares(ones100, 100), ones100)
        ones250 = f.mul(f.squares(ones200, 50), ones50)
        return f.mul(f.squares(ones250, 2), z)

    def _sqrt_ratio(self) -> ir.Function:
        """(r, u, v) -> |sqrt(u / v)| or |sqrt(i u / v)| in r, and whether it is the former in the next vector.

        SQRT_RATIO_M1, [RFC 9496] section 4.2.
        """
        e, f = self._function("sqrt_ratio", 3)
        u, v = f.load(e.args[1]), f.load(e.args[2])
        v3 = f.mul(f.square(v), v)
        v7 = f.mul(f.square(v3), v)
        power = self._to_the_p58(f, f.mul(u, v7))
        r = f.mul(f.mul(u, v3), power)
        check, imaginary = f.canonical(f.mul(v, f.square(r))), constant(SQRT_M1)
        minus_u = f.sub(NONE, u)
        correct = f.same_limbs(check, f.canonical(u))
        flipped = f.same_limbs(check, f.canonical(minus_u))
        flipped_i = f.same_limbs(check, f.canonical(f.mul(minus_u, imaginary)))
        r = f.select(e.b.or_(flipped, flipped_i), f.mul(r, imaginary), r)
        f.store(f.absolute(r), e.args[0])
        e.put(e.b.sext(e.b.or_(correct, flipped), VECTOR), e.args[0], LIMBS)
        return e.done()

    def root(self, f: Field, u: Element, v: Element) -> tuple[Element, Value]:
        """A call of sqrt_ratio: the root, and the condition that u / v is a square."""
        e = f.e
        area = scratch(e, COORDINATES)
        f.store(u, area, 2)
        f.store(v, area, 3)
        e.b.call(self.sqrt_ratio, [area, e.at(area, 2 * LIMBS), e.at(area, 3 * LIMBS)])
        square = e.b.icmp_unsigned("!=", e.vector(area, LIMBS), splat_const(0))
        return f.load(area), square

    # ------------------------------------------------------------ bytes

    @staticmethod
    def limbs(e: Emitter, words: Value) -> Element:
        """Four words into limbs; all 256 bits, so the last limb may have 52."""
        word = [e.vector(words, i) for i in range(WORDS)]
        found = []
        for i in range(LIMBS):
            at, shift = divmod(RADIX_BITS * i, WORD_BITS)
            value = e.b.lshr(word[at], splat_const(shift))
            if at + 1 < WORDS:
                if shift > WORD_BITS - RADIX_BITS:
                    value = e.b.or_(value, e.b.shl(word[at + 1], splat_const(WORD_BITS - shift)))
                value = e.b.and_(value, splat_const(MASK))
            found.append(value)
        return found

    @staticmethod
    def words(e: Emitter, x: Element, target: Value) -> None:
        """Canonical limbs into four words."""
        for i in range(WORDS):
            at, shift = divmod(WORD_BITS * i, RADIX_BITS)
            value = e.b.lshr(x[at], splat_const(shift))
            e.put(e.b.or_(value, e.b.shl(x[at + 1], splat_const(RADIX_BITS - shift))), target, i)

    def _decode(self) -> ir.Function:
        """(point, valid, words): [RFC 9496] section 4.3.1; valid is all ones, or 0 where it must be refused."""
        e, f = self._function("decode", 3)
        raw = self.limbs(e, e.args[2])
        s = f.canonical(raw)
        valid = e.b.and_(f.same_limbs(raw, s), e.b.not_(f.is_odd(s)))      # not >= p, no bit 255, not negative
        squared = f.square(s)
        u1, u2 = f.sub(ONE, squared), f.add(ONE, squared)
        u2_squared = f.square(u2)
        v = f.carry(f.minus(f.minus(NONE, f.wide_product(constant(D), f.square(u1))), u2_squared))
        inverse, square = self.root(f, ONE, f.mul(v, u2_squared))
        den_x = f.mul(inverse, u2)
        den_y = f.mul(f.mul(inverse, den_x), v)
        x = f.absolute(f.mul(f.add(s, s), den_x))
        y = f.mul(u1, den_y)
        t = f.canonical(f.mul(x, y))
        good = e.b.and_(square, e.b.not_(e.b.or_(f.is_odd(t), f.same_limbs(f.canonical(y), NONE))))
        for i, coordinate in enumerate((x, y, ONE, t)):
            f.store(coordinate, e.args[0], i)
        e.put(e.b.sext(e.b.and_(valid, good), VECTOR), e.args[1], 0)
        return e.done()

    def _begin_encoding(self) -> ir.Function:
        """(room, running, point): e, f, g, h, e g, f h and `running` into `room`; `running` times e f g h.

        A factor of zero, at the neutral element only, is left out.
        """
        e, f = self._function("begin_encoding", 3)
        room, running, point = e.args
        x, y, z, t = (f.load(point, i) for i in range(COORDINATES))
        xx, yy, zz = f.wide_square(x), f.wide_square(y), f.square(z)
        dtt = f.mul(constant(D), f.square(t))
        two = (f.mul(f.add(x, x), y), f.add(zz, dtt), f.carry(f.plus(yy, xx)), f.sub(zz, dtt))
        eg, fh = f.mul(two[0], two[2]), f.mul(two[1], two[3])
        product = f.canonical(f.mul(eg, fh))
        before = f.load(running)
        for i, value in enumerate((*two, eg, fh, before)):
            f.store(value, room, i)
        f.store(f.mul(before, f.select(f.same_limbs(product, NONE), ONE, product)), running)
        return e.done()

    def _invert(self) -> ir.Function:
        """(x): 1 / x = x^(p - 2), x not zero."""
        e, f = self._function("invert", 1)
        x = f.load(e.args[0])
        power = f.squares(self._to_the_p58(f, x), 3)             # p - 2 = 8 (p - 5)/8 + 3
        f.store(f.mul(power, f.mul(f.square(x), x)), e.args[0])
        return e.done()

    def _end_encoding(self) -> ir.Function:
        """(words, room, inverse): the words; `inverse` of the running product becomes that of the one before."""
        e, f = self._function("end_encoding", 3)
        ee, ff, gg, hh, eg, fh, before = (f.load(e.args[1], i) for i in range(ENCODING))
        inverse = f.load(e.args[2])
        neutral = f.same_limbs(f.canonical(eg), NONE)
        product = f.select(neutral, ONE, f.mul(eg, fh))
        f.store(f.mul(inverse, product), e.args[2])
        inverse = f.mul(inverse, before)
        z_inverse, t_inverse = f.mul(eg, inverse), f.mul(fh, inverse)
        rotate = f.is_odd(f.canonical(f.mul(eg, z_inverse)))
        h = f.select(rotate, f.mul(ff, constant(SQRT_M1)), hh)
        factor = f.select(rotate, constant(SQRT_M1), constant(INVSQRT_A_MINUS_D))
        ee, gg = f.select(rotate, gg, ee), f.select(rotate, f.sub(NONE, ee), gg)
        gg = f.select(f.is_odd(f.canonical(f.mul(f.mul(h, ee), z_inverse))), f.sub(NONE, gg), gg)
        s = f.absolute(f.mul(f.mul(f.sub(h, gg), factor), f.mul(gg, t_inverse)))
        self.words(e, f.select(neutral, NONE, s), e.args[0])
        return e.done()

    def _map(self) -> ir.Function:
        """(point, words): MAP of [RFC 9496] section 4.3.4, of any 255 bits; bit 255 does not count."""
        e, f = self._function("map", 2)
        *low, top = self.limbs(e, e.args[1])
        t = f.canonical([*low, e.b.and_(top, splat_const(MASK))])
        r = f.mul(constant(SQRT_M1), f.square(t))
        u = f.mul(f.add(r, ONE), constant(ONE_MINUS_D_SQ))
        v = f.mul(f.carry(f.minus(f.minus(NONE, ONE), f.wide_product(r, constant(D)))), f.add(r, constant(D)))
        root, square = self.root(f, u, v)
        turned = f.sub(NONE, f.absolute(f.mul(root, t)))
        s = f.select(square, root, turned)
        c = f.select(square, constant(-1), r)
        n = f.mul(f.mul(c, f.sub(r, ONE)), constant(D_MINUS_ONE_SQ))
        w0 = f.mul(f.add(s, s), v)
        w1 = f.mul(f.sub(n, v), constant(SQRT_AD_MINUS_ONE))
        squared = f.square(s)
        w2, w3 = f.sub(ONE, squared), f.add(ONE, squared)
        for i, (left, right) in enumerate(((w0, w3), (w2, w1), (w1, w3), (w0, w2))):
            f.store(f.mul(left, right), e.args[0], i)
        return e.done()

    def _make(self) -> ir.Function:
        """(point, valid, words): the element of 64 uniform bytes, [RFC 9496] section 4.3.4; always valid."""
        e, _ = self._function("make", 3)
        left, right, cached, total = (scratch(e, COORDINATES) for _ in range(4))
        positive = e.scratch(1)
        e.put(splat_const(0), positive, 0)
        e.b.call(self.map, [left, e.args[2]])
        e.b.call(self.map, [right, e.at(e.args[2], WORDS)])
        e.b.call(self.cache, [cached, right])
        e.b.call(self.add, [total, left, cached, positive])
        e.b.call(self.complete, [e.args[0], total])
        e.put(splat_const(-1), e.args[1], 0)
        return e.done()

    # ------------------------------------------------------------ sums

    def _double(self) -> ir.Function:
        """(sum): the sum becomes twice itself; seven products. dbl-2008-hwcd without T."""
        e, f = self._function("double", 1)
        area = e.args[0]
        ee, ff, gg, hh = (f.load(area, i) for i in range(COORDINATES))
        x, y, z = f.mul(ee, ff), f.mul(gg, hh), f.mul(ff, gg)
        xx, yy, zz = f.wide_square(x), f.wide_square(y), f.wide_square(z)
        both = f.wide_square(f.add(x, y))
        total = f.plus(yy, xx)
        doubled = (
            f.minus(both, total),
            f.minus(f.plus(f.plus(zz, zz), xx), yy),
            f.minus(yy, xx),
            total,
        )
        for i, value in enumerate(doubled):
            f.store(f.carry(value), area, i)
        return e.done()

    def _complete(self) -> ir.Function:
        """(point, sum): four products."""
        e, f = self._function("complete", 2)
        ee, ff, gg, hh = (f.load(e.args[1], i) for i in range(COORDINATES))
        for i, (left, right) in enumerate(((ee, ff), (gg, hh), (ff, gg), (ee, hh))):
            f.store(f.mul(left, right), e.args[0], i)
        return e.done()

    def _cache(self) -> ir.Function:
        """(summand, point): one product."""
        e, f = self._function("cache", 2)
        x, y, z, t = (f.load(e.args[1], i) for i in range(COORDINATES))
        for i, value in enumerate((f.add(y, x), f.sub(y, x), f.add(z, z), f.mul(t, constant(2 * D)))):
            f.store(value, e.args[0], i)
        return e.done()

    def _add(self) -> ir.Function:
        """(sum, point, summand, negative): point + summand, or - summand in lanes where `negative` is all ones."""
        e, f = self._function("add", 4)
        x, y, z, t = (f.load(e.args[1], i) for i in range(COORDINATES))
        plus, minus, z2, t2 = (f.load(e.args[2], i) for i in range(COORDINATES))
        negative = e.b.icmp_unsigned("!=", e.vector(e.args[3], 0), splat_const(0))
        a = f.wide_product(f.sub(y, x), f.select(negative, plus, minus))
        b = f.wide_product(f.add(y, x), f.select(negative, minus, plus))
        c, d = f.wide_product(t, t2), f.wide_product(z, z2)
        less, more = f.carry(f.minus(d, c)), f.carry(f.plus(d, c))
        f.store(f.sub(b, a), e.args[0], 0)
        f.store(f.select(negative, more, less), e.args[0], 1)
        f.store(f.select(negative, less, more), e.args[0], 2)
        f.store(f.add(b, a), e.args[0], 3)
        return e.done()
