"""The loops of simd_loops compiled for this processor; functions that release the GIL. Knows nothing of residues."""

from __future__ import annotations

import ctypes

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from mpc.kernels.simd_loops import Loops

FEATURES = ("avx512f", "avx512dq", "avx512vl", "avx512ifma")


def processor_has_ifma() -> bool:
    """Whether processor and operating system support what the code needs."""
    try:
        found = llvm.get_host_cpu_features()
    except RuntimeError:           # LLVM does not know this platform
        return False
    return all(found.get(feature, False) for feature in FEATURES)


def source() -> str:
    """The module as LLVM text; the same on every machine."""
    module = ir.Module("ifma")
    Loops(module)
    return str(module)


class Library:
    """Compiled functions by name."""

    def __init__(self, text: str | None = None) -> None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        module = llvm.parse_assembly(text or source())
        module.verify()
        machine = llvm.Target.from_default_triple().create_target_machine(
            cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3
        )
        self._engine = llvm.create_mcjit_compiler(module, machine)   # owns the code; must outlive the functions
        self._engine.finalize_object()
        self._functions = {}
        for function in module.functions:
            if not function.is_declaration and function.linkage.name == "external":
                kinds = [_C_TYPES[str(argument.type)] for argument in function.arguments]
                address = self._engine.get_function_address(function.name)
                self._functions[function.name] = ctypes.CFUNCTYPE(None, *kinds)(address)

    def call(self, name: str, *arguments: int | NDArray[np.generic]) -> None:
        """Call `name`; arrays go by address and must be contiguous. The GIL is free meanwhile."""
        plain = [a if isinstance(a, int) else _address(a) for a in arguments]
        self._functions[name](*plain)


_C_TYPES = {"ptr": ctypes.c_void_p, "i64": ctypes.c_uint64}


def _address(array: NDArray[np.generic]) -> int:
    assert array.flags.c_contiguous
    return int(array.ctypes.data)
