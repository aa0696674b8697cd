"""LLVM code made into functions that release the GIL: compiled once per machine and release, loaded ever after.

llvmlite is loaded when there is something to compile or to load, and not before. Knows nothing of residues or points.
"""

from __future__ import annotations

import ctypes
import json
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mpc.kernels.compiling import code_cache

ANY_PROCESSOR = "x86-64"
IFMA = ("avx512f", "avx512dq", "avx512vl", "avx512ifma")
AVX2 = ("avx2",)
_OPTIONS = {"opt": 3, "codemodel": "jitdefault"}


class Target(NamedTuple):
    """The processor that code is for: its name and features, as LLVM writes them."""

    processor: str
    features: str


def processor_has(features: Sequence[str]) -> bool:
    """Whether processor and operating system support these, by LLVM's names."""
    found = _host_features()
    return all(found.get(feature, False) for feature in features)


@cache
def _host_features() -> Mapping[str, bool]:
    import llvmlite.binding as llvm

    try:
        return dict(llvm.get_host_cpu_features())
    except RuntimeError:           # LLVM does not know this platform
        return {}


def any_with(features: Sequence[str]) -> Target:
    """Any processor that has `features`: what is emitted is the same on every machine, and uses nothing else."""
    return Target(ANY_PROCESSOR, ",".join("+" + feature for feature in features))


def this_processor() -> Target:
    """The one that this process runs on, with all that it has."""
    import llvmlite.binding as llvm

    features = (("+" if has else "-") + name for name, has in sorted(_host_features().items()))
    return Target(llvm.get_host_cpu_name(), ",".join(features))


def code_generator(target: Target) -> Any:
    """LLVM's. Its code reaches data and functions by whole addresses, wherever they are loaded."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=target.processor, features=target.features, **_OPTIONS
    )


@dataclass(frozen=True)
class Code:
    """An object file and the types of the functions that it gives to others, as LLVM writes them."""

    functions: Mapping[str, str]
    object: bytes

    def packed(self) -> bytes:
        return json.dumps(self.functions).encode() + b"\n" + self.object

    @classmethod
    def unpacked(cls, data: bytes) -> Code:
        functions, _, code = data.partition(b"\n")
        return cls(json.loads(functions), code)


def compiled(text: str, target: Target) -> Code:
    """The module `text`. It calls nothing but itself: loaded anywhere, it does what it does here."""
    import llvmlite.binding as llvm

    machine = code_generator(target)
    module = llvm.parse_assembly(text)
    module.verify()
    functions = {}
    for function in module.functions:
        if function.is_declaration:
            assert function.name.startswith("llvm."), function.name
        elif function.linkage.name == "external":
            functions[function.name] = str(function.global_value_type)
    return Code(functions, machine.emit_object(module))


def kept(text: str, target: Target) -> Code:
    """The module `text` from the cache, else compiled and put there."""
    return kept_as(text, lambda: text, target)


def kept_as(described: str, text: Callable[[], str], target: Target) -> Code:
    """The module `text()`, which is made only if the cache lacks it. `described` says all that it depends on."""
    entry = code_cache.name_of(_release(), *_tools(), *target, described)
    found = code_cache.load(entry)
    if found is not None:
        return Code.unpacked(found)
    code = compiled(text(), target)
    code_cache.keep(entry, code.packed())
    return code


@cache
def _release() -> str:
    return version_of("joint-credit-risk")


@cache
def _tools() -> tuple[str, ...]:
    import llvmlite.binding as llvm

    return (sys.platform, platform.machine(), llvm.get_default_triple(), json.dumps(_OPTIONS), version_of("llvmlite"),
            ".".join(map(str, llvm.llvm_version_info)))


@cache
def version_of(distribution: str) -> str:
    """As it is installed; empty if it is not."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


class Library:
    """Compiled functions by name."""

    def __init__(self, code: Code) -> None:
        import llvmlite.binding as llvm

        machine = code_generator(Target("", ""))         # for an empty module: all code is in the object
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)   # must outlive the functions
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(code.object))
        self._engine.finalize_object()
        self.functions: Mapping[str, Callable[..., Any]] = {
            name: _prototype(kind)(self._engine.get_function_address(name)) for name, kind in code.functions.items()
        }

    def call(self, name: str, *arguments: int | NDArray[np.generic]) -> None:
        """Call `name`; arrays go by address and must be contiguous. The GIL is free meanwhile."""
        plain = [a if isinstance(a, int) else _address(a) for a in arguments]
        self.functions[name](*plain)


_C_TYPES: dict[str, Any] = {"void": None, "ptr": ctypes.c_void_p, "i64": ctypes.c_uint64, "i32": ctypes.c_int32}


def _prototype(kind: str) -> Any:
    """Of a type like "void (ptr, i64)"."""
    returned, _, arguments = kind.removesuffix(")").partition(" (")
    return ctypes.CFUNCTYPE(_C_TYPES[returned], *(_C_TYPES[one] for one in arguments.split(", ")))


def _address(array: NDArray[np.generic]) -> int:
    assert array.flags.c_contiguous
    return int(array.ctypes.data)
