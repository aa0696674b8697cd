"""ristretto255 as [RFC 9496] writes it, on Python's integers and affine points: the ideal of both engines. Slow."""

from __future__ import annotations

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
# [RFC 9496] section 4.1
D = 37095705934669439343138083508754565189542113879843219016388785533085940283555
SQRT_M1 = 19681161376707505956807079304988542015446066515923890162744021073123829784752
SQRT_AD_MINUS_ONE = 25063068953384623474111414158702152701244531502492656460079210482610430750235
INVSQRT_A_MINUS_D = 54469307008909316920995813868745141605393597292927456921205312896311721017578
ONE_MINUS_D_SQ = 1159843021668779879193775521855586647937357759715417654439879720876111806838
D_MINUS_ONE_SQ = 40440834346308536858101042469323190826248399146238708352240133220865137265952

Affine = tuple[int, int]
NEUTRAL: Affine = (0, 1)


def absolute(x: int) -> int:
    """CT_ABS of section 2: the even one of x and -x."""
    x %= P
    return P - x if x % 2 else x


def sqrt_ratio(u: int, v: int) -> tuple[bool, int]:
    """SQRT_RATIO_M1 of section 4.2."""
    r = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    check = v * r * r % P
    if check in (-u % P, -u * SQRT_M1 % P):
        r = r * SQRT_M1 % P
    return check in (u % P, -u % P), absolute(r)


def decode(encoded: bytes) -> Affine | None:
    """Section 4.3.1; None for what must be refused."""
    s = int.from_bytes(encoded, "little")
    if s >= P or s % 2:
        return None
    u1, u2 = (1 - s * s) % P, (1 + s * s) % P
    v = (-D * u1 * u1 - u2 * u2) % P
    was_square, inverse = sqrt_ratio(1, v * u2 * u2 % P)
    den_x = inverse * u2 % P
    x, y = absolute(2 * s * den_x), u1 * inverse * den_x * v % P
    return None if not was_square or x * y % P % 2 or y == 0 else (x, y)


def encode(point: Affine) -> bytes:
    """Section 4.3.2, of a point that is twice another one, with Z = 1."""
    x, y = point
    u1, u2 = (1 + y) * (1 - y) % P, x * y % P
    _, inverse = sqrt_ratio(1, u1 * u2 * u2 % P)
    den1, den2 = inverse * u1 % P, inverse * u2 % P
    z_inverse, t = den1 * den2 * x * y % P, x * y % P
    if t * z_inverse % P % 2:
        x, y, den = y * SQRT_M1 % P, x * SQRT_M1 % P, den1 * INVSQRT_A_MINUS_D % P
    else:
        den = den2
    if x * z_inverse % P % 2:
        y = -y
    return absolute(den * (1 - y)).to_bytes(32, "little")


def one_way_map(uniform: bytes) -> Affine:
    """Section 4.3.4: 64 bytes to a point."""
    return add(_map(uniform[:32]), _map(uniform[32:]))


def _map(half: bytes) -> Affine:
    t = int.from_bytes(half, "little") % 2**255 % P
    r = SQRT_M1 * t * t % P
    u, v = (r + 1) * ONE_MINUS_D_SQ % P, (-1 - r * D) * (r + D) % P
    was_square, s = sqrt_ratio(u, v)
    if not was_square:
        s = -absolute(s * t) % P
    n = ((-1 if was_square else r) * (r - 1) * D_MINUS_ONE_SQ - v) % P
    w0, w1, w2, w3 = 2 * s * v, n * SQRT_AD_MINUS_ONE, 1 - s * s, 1 + s * s
    return w0 * pow(w1, -1, P) % P, w2 * pow(w3, -1, P) % P


def add(one: Affine, two: Affine) -> Affine:
    """On -x^2 + y^2 = 1 + d x^2 y^2; complete, for d is no square."""
    (a, b), (c, e) = one, two
    k = D * a * b * c * e % P
    return (a * e + b * c) * pow(1 + k, -1, P) % P, (b * e + a * c) * pow(1 - k, -1, P) % P


def multiply(point: Affine, factor: int) -> Affine:
    """`factor` times the point, factor >= 0."""
    total = NEUTRAL
    for bit in f"{factor:b}":
        total = add(total, total)
        if bit == "1":
            total = add(total, point)
    return total


def edwards(encoded: bytes) -> Affine | None:
    """The point of 32 bytes of Ed25519 [RFC 8032 section 5.1.3]; None if there is none."""
    number = int.from_bytes(encoded, "little")
    sign, y = number >> 255, number % 2**255
    was_square, x = sqrt_ratio(y * y - 1, D * y * y + 1)
    if y >= P or not was_square or (x == 0 and sign):
        return None
    return (P - x if x % 2 != sign else x), y


def from_montgomery(u: int) -> Affine | None:
    """A point of the curve of X25519 with this u [RFC 7748 section 4.1]; None if it is on the twist or u = -1."""
    if (u + 1) % P == 0:
        return None
    y = (u - 1) * pow(u + 1, -1, P) % P
    was_square, x = sqrt_ratio(y * y - 1, D * y * y + 1)
    return (x, y) if was_square else None
