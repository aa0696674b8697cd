"""Loops over arrays, written in Python and compiled by numba once per machine and release; called without the GIL.

A process that finds a loop in the cache loads its machine code and never imports numba. A loop works on what it is
given: it allocates nothing, and refers to numpy, constants, constant arrays and other loops alone, so that its code can
be told by their digest and is bound to nothing in the process (docs/adr/0023-kernels-are-compiled-once.md).
"""

from __future__ import annotations

import ctypes
import dis
import hashlib
import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import cache, cached_property, update_wrapper
from platform import python_version
from types import CodeType, FunctionType, ModuleType
from typing import Any, TypeVar, cast

import numpy as np

from mpc.errors import LocalError
from mpc.kernels.compiling.library import Library, kept_as, this_processor, version_of
from mpc.kernels.compiling.library import compiled as compiled_text

F = TypeVar("F", bound=Callable[..., object])
_OPTIONS = {"nogil": True, "_nrt": False, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
_ARRAY, _SIGNED, _UNSIGNED = "array", "i64", "u64"
_compiling = threading.RLock()


def compiled(kernel: F) -> F:
    """`kernel` as a loop, compiled or loaded when it is first called with arguments of their kinds."""
    return cast(F, Loop(kernel))


def inserted(make: Callable[[], object]) -> Any:  # what it takes is what the code that it writes takes
    """For compiled loops: what `make` gives, one of numba's intrinsics. `make` imports numba itself."""
    return Inserted(make)


def chosen(choose: Callable[[], F]) -> F:
    """For compiled loops: the loop that `choose` gives on this processor."""
    return cast(F, Choice(choose))


class Part(ABC):
    """What compiled code may call."""

    @abstractmethod
    def described(self) -> list[object]:
        """All that its code follows from."""

    @abstractmethod
    def for_numba(self) -> Any:
        """As numba calls it."""


class Inserted(Part):
    """LLVM instructions that a function of ours writes."""

    def __init__(self, make: Callable[[], object]) -> None:
        self._make = make

    def described(self) -> list[object]:
        return _described(self._make)

    def for_numba(self) -> Any:
        return self._made

    @cached_property
    def _made(self) -> object:
        return self._make()


class Choice(Part):
    """One loop or another, by processor."""

    def __init__(self, choose: Callable[[], Any]) -> None:
        self._choose = choose

    @cached_property
    def loop(self) -> Part:
        """The one for this processor."""
        return cast(Part, self._choose())

    def described(self) -> list[object]:
        return self.loop.described()

    def for_numba(self) -> Any:
        return self.loop.for_numba()


class Loop(Part):
    """One loop, in one piece of machine code for each combination of kinds of arguments that it meets."""

    def __init__(self, kernel: Callable[..., object]) -> None:
        update_wrapper(self, kernel)
        self.py_func = kernel
        self._variants: dict[tuple[object, ...], Callable[..., int]] = {}
        self._libraries: list[Library] = []       # they own the code

    def __call__(self, *arguments: Any) -> int | None:
        """LocalError: the code ended by what would be an exception in Python."""
        kinds = tuple(map(_kind, arguments))
        variant = self._variants.get(kinds) or self._load(kinds)
        result, failure = ctypes.c_int64(0), ctypes.c_void_p()
        if variant(ctypes.addressof(result), ctypes.addressof(failure), *_flat(arguments)) != 0:
            raise LocalError(f"the loop {self.py_func.__name__} failed")
        return result.value if self._returns else None

    @cached_property
    def _returns(self) -> bool:
        return self.py_func.__annotations__["return"] not in (None, "None")

    def _load(self, kinds: tuple[object, ...]) -> Callable[..., int]:
        with _compiling:
            if kinds not in self._variants:
                by = [python_version(), version_of("numba"), version_of("numpy")]
                described = json.dumps([self.described(), kinds, _OPTIONS, by, _calling()])
                library = Library(kept_as(described, lambda: self.text(kinds), this_processor()))
                self._libraries.append(library)
                (self._variants[kinds],) = library.functions.values()
            return self._variants[kinds]

    def text(self, kinds: tuple[object, ...]) -> str:
        """As LLVM text, by numba: one function of all arguments, by pointers, for arguments of these kinds."""
        import numba

        numbers = {_SIGNED: numba.int64, _UNSIGNED: numba.uint64}
        types = [
            numbers[kind] if isinstance(kind, str) else numba.types.Array(
                numba.from_dtype(np.dtype(kind[0])), kind[1], kind[2], readonly=not kind[3], aligned=kind[4])
            for kind in cast(tuple[Any, ...], kinds)
        ]
        dispatcher = self.for_numba()
        dispatcher.compile(tuple(types))
        (signature,) = (one for one in dispatcher.signatures if one == tuple(types))
        returned = dispatcher.overloads[signature].signature.return_type
        assert returned == (numba.int64 if self._returns else numba.none), returned
        return str(dispatcher.inspect_llvm(signature))

    def described(self) -> list[object]:
        return _described(self.py_func)

    def for_numba(self) -> Any:
        import numba

        known = {name: value.for_numba() if isinstance(value, Part) else value
                 for name, value in _globals(self.py_func)}
        plain = FunctionType(_code(self.py_func), known, self.py_func.__name__)
        return cast(Any, numba).njit(**_OPTIONS)(plain)      # its stubs lack three of the options


# ---------------------------------------------------------------- arguments


def _kind(argument: Any) -> object:
    """What numba would compile another variant for."""
    if isinstance(argument, np.ndarray):
        flags = argument.flags
        return (argument.dtype.str, argument.ndim, "C" if flags.c_contiguous else "A", flags.writeable, flags.aligned)
    if isinstance(argument, np.uint64):
        return _UNSIGNED
    assert isinstance(argument, int | np.int64), type(argument)
    assert -1 << 63 <= argument < 1 << 63
    return _SIGNED


def _flat(arguments: tuple[Any, ...]) -> list[int | None]:
    """An array as numba's code takes it: owner and parent, of which there are none, then what it is."""
    flat: list[int | None] = []
    for argument in arguments:
        if isinstance(argument, np.ndarray):
            flat += (None, None, argument.size, argument.itemsize, argument.ctypes.data)
            flat += argument.shape
            flat += argument.strides
        else:
            flat.append(int(argument))
    return flat


# ---------------------------------------------------------------- what code follows from


@cache
def _calling() -> list[object]:
    """How we call what numba made: code that was kept when we called it otherwise is not to be loaded."""
    steps: tuple[Callable[..., object], ...] = (Loop.__call__, Loop.text, _kind, _flat, compiled_text)
    return [_of_code(cast(FunctionType, step).__code__) for step in steps]


def _code(kernel: Callable[..., object]) -> CodeType:
    assert isinstance(kernel, FunctionType)
    assert (kernel.__closure__, kernel.__defaults__, kernel.__kwdefaults__) == (None, None, None), kernel
    return kernel.__code__


def _globals(kernel: Callable[..., object]) -> Iterator[tuple[str, object]]:
    """The module's names that the code reads, built-in ones left out."""
    inside = cast(FunctionType, kernel).__globals__
    for name in sorted(_names(_code(kernel))):
        if name in inside:
            yield name, inside[name]


def _names(code: CodeType) -> set[str]:
    own = {str(step.argval) for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL"}
    return own.union(*(_names(one) for one in code.co_consts if isinstance(one, CodeType)))


def _described(kernel: Callable[..., object]) -> list[object]:
    """The code as it is in memory, not in a file that may have changed since, and the values that it will see."""
    return [_of_code(_code(kernel)), *([name, _of_value(value)] for name, value in _globals(kernel))]


def _of_code(code: CodeType) -> list[object]:
    constants = [_of_code(one) if isinstance(one, CodeType) else repr(one) for one in code.co_consts]
    return [code.co_name, code.co_code.hex(), code.co_argcount, code.co_flags, constants,
            list(code.co_names), list(code.co_varnames), list(code.co_freevars), list(code.co_cellvars)]


def _of_value(value: object) -> object:
    if isinstance(value, Part):
        return value.described()
    if isinstance(value, np.ndarray):
        # Others numba does not embed: their address in this process would be in the code.
        whole = value.flags.c_contiguous and value.nbytes <= 10**6
        assert whole, "an array that a loop refers to is small and whole"
        data = hashlib.sha256(value.tobytes()).hexdigest()
        return [_ARRAY, value.dtype.str, list(value.shape), data]
    if isinstance(value, ModuleType):
        assert value is np, value
        return value.__name__
    assert isinstance(value, int), f"a loop may not refer to a {type(value).__name__}"
    return value
