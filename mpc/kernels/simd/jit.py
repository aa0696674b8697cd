"""The loops of simd_loops compiled for this processor; functions that release the GIL. Knows nothing of residues."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from mpc.kernels.simd.forms import LimbEmitter
from mpc.kernels.simd.loops import Loops

ANY_PROCESSOR = "x86-64"


def processor_has(features: Sequence[str]) -> bool:
    """Whether processor and operating system support these, by LLVM's names."""
    try:
        found = llvm.get_host_cpu_features()
    except RuntimeError:           # LLVM does not know this platform
        return False
    return all(found.get(feature, False) for feature in features)


def source(form: type[LimbEmitter]) -> str:
    """The module as LLVM text; the same on every machine."""
    module = ir.Module(form.engine)
    Loops(form, module)
    return str(module)


def code_generator(features: Sequence[str]) -> Any:
    """LLVM's, for any processor that has `features`: it emits the same on every machine, and uses nothing else."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=ANY_PROCESSOR, features=",".join("+" + feature for feature in features), opt=3
    )


class Library:
    """Compiled functions by name."""

    def __init__(self, text: str, features: Sequence[str]) -> None:
        machine = code_generator(features)
        module = llvm.parse_assembly(text)
        module.verify()
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
