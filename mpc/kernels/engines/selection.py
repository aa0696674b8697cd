"""Which engine does the arithmetic modulo a number: the one that was asked for, or the fastest that runs here."""

from __future__ import annotations

from mpc.errors import LocalError
from mpc.kernels.modulus import Modulus

NEEDS = {"ifma": "AVX512-IFMA", "avx2": "AVX2"}      # of a processor, by engine
ENGINES = ("auto", "gmp", *NEEDS, "phe")


def _native() -> list[str]:
    """The compiled engines that this processor runs, the fastest first."""
    try:
        from mpc.kernels.simd import engine as simd
    except ImportError:
        return []
    return [name for name, form in simd.FORMS.items() if simd.available(form)]


def engine_name(engine: str = "auto") -> str:
    """The engine that `modulus` would use: "auto" is ifma where this processor has it, else avx2, else gmp."""
    if engine not in ENGINES:
        raise LocalError(f"there is no arithmetic engine {engine!r}", f"choose one of {', '.join(ENGINES)}")
    native = _native()
    if engine == "auto":
        return native[0] if native else "gmp"
    if engine in NEEDS and engine not in native:
        raise LocalError(f"this processor has no {NEEDS[engine]}", "choose the engine auto or gmp")
    return engine


def modulus(value: int, engine: str = "auto") -> Modulus:
    """Arithmetic modulo the odd `value`; LocalError if `engine` is unknown or cannot run here."""
    name = engine_name(engine)
    if name in NEEDS:
        from mpc.kernels.simd.engine import FORMS, SimdModulus

        return SimdModulus(value, FORMS[name])
    if name == "phe":
        from mpc.kernels.engines.phe import PheModulus

        return PheModulus(value)
    from mpc.kernels.engines.gmp import GmpModulus

    return GmpModulus(value)
