"""The one jit decorator: every kernel of the package, and of users, is compiled from here.

Importing a kernel does not import numba. The first call, or the first look at ``dispatcher``,
builds the compiled function; the machine code of the package's own kernels is kept on disk by
``_kernel_cache``. Kernels of other packages are compiled in every process, because the cache
key cannot know their sources.

Options are fixed: without fastmath LLVM neither reorders sums nor fuses ``a*b + c``, and numba's
"numpy" error model divides as IEEE (and Rust) does instead of raising. That is what lets two
engines agree bit for bit.
"""

from __future__ import annotations

import dis
import functools
import hashlib
from enum import EnumType
from types import CellType, CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Final, cast, overload

from backtest_py._forks import NO_FORK, hold_while_forking
from backtest_py._kernel_cache import attach_cache, kernel_key
from backtest_py.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Kernel", "kernel", "kernel_key"]

JIT_OPTIONS: Final[dict[str, Any]] = {"fastmath": False, "error_model": "numpy", "nogil": True}
"""How every kernel is compiled. NUMBA_BOUNDSCHECK and NUMBA_DISABLE_JIT work as in numba."""

_PACKAGE: Final = __name__.rpartition(".")[0]


class Kernel:
    """A function that numba compiles on first use; see :func:`kernel`.

    Attributes
    ----------
    py_func : function
        The undecorated function.
    allocates : bool
        Whether it may make arrays.
    inlined : bool
        Whether it becomes part of the kernels that call it.
    fingerprint : str
        Digest of the code and constants of this kernel and of all that it calls; empty until
        the dispatcher is built.
    """

    py_func: Callable[..., Any]
    __name__: str
    __qualname__: str

    def __init__(
        self, function: Callable[..., Any], *, allocates: bool = True, inlined: bool = False
    ) -> None:
        functools.update_wrapper(self, function)
        self.py_func = function
        self.allocates = allocates
        self.inlined = inlined
        self._dispatcher: Callable[..., Any] | None = None
        self.fingerprint = ""
        self._building = False

    def __call__(self, *args: Any) -> Any:
        """Call the compiled function; the first call with new argument types compiles it."""
        dispatcher = self._dispatcher
        if dispatcher is None:
            dispatcher = self.dispatcher
        return dispatcher(*args)

    def __repr__(self) -> str:
        return f"<kernel {self.__module__}.{self.__qualname__}>"

    def __reduce__(self) -> str:
        return self.__qualname__

    @property
    def dispatcher(self) -> Any:
        """The numba dispatcher, built on first use; a plain function under NUMBA_DISABLE_JIT.

        A caller in a hot Python loop fetches it once and saves the indirection.
        """
        if self._dispatcher is None:
            with NO_FORK:
                self._build()
        return self._dispatcher

    def _build(self) -> None:
        if self._dispatcher is not None:
            return
        if self._building:
            raise EngineError(
                f"{self!r} calls itself, directly or through another kernel; write it as a loop"
            )
        self._building = True
        try:
            function, references = self._linked()
            references.append(f"allocates={self.allocates} inlined={self.inlined}")
            self.fingerprint = _digest(_code_text(function.__code__), *references)
            self._dispatcher = self._compile_lazily(function)
        finally:
            self._building = False

    def _linked(self) -> tuple[FunctionType, list[str]]:
        """Return the function with other kernels replaced by dispatchers, and what it refers to."""
        function = cast("FunctionType", self.py_func)
        code = function.__code__
        scope = {**function.__globals__}
        closed = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
        texts = [f"defaults={function.__defaults__!r}"]
        for name in sorted(_referenced_names(code) & scope.keys()):
            scope[name], text = self._resolve(name, scope[name])
            texts.append(text)
        for name, cell in closed.items():
            value, text = self._resolve(name, cell.cell_contents)
            closed[name] = CellType(value)
            texts.append(text)
        linked = FunctionType(
            code, scope, function.__name__, function.__defaults__, tuple(closed.values())
        )
        functools.update_wrapper(linked, function)
        del linked.__wrapped__  # type: ignore[attr-defined]  # numba would unwrap to the original
        return linked, texts

    def _resolve(self, name: str, value: object) -> tuple[object, str]:
        """Return what numba sees for a name, and a text that changes when its value does.

        Numba freezes globals into the machine code, so they belong to a kernel's fingerprint.
        """
        if isinstance(value, Kernel):
            dispatcher = value.dispatcher
            return dispatcher, f"{name}={value.fingerprint}"
        if isinstance(value, ModuleType):
            self._refuse_kernels_of(value, name)
        return value, f"{name}={_value_text(value)}"

    def _refuse_kernels_of(self, module: ModuleType, name: str) -> None:
        """Refuse ``module.kernel``: numba would find no dispatcher there."""
        before = ""
        for instruction in _instructions(cast("FunctionType", self.py_func).__code__):
            if before == name and isinstance(vars(module).get(instruction.argval), Kernel):
                raise EngineError(
                    f"{self!r} calls {name}.{instruction.argval}, a kernel, through its module; "
                    f"write `from {module.__name__} import {instruction.argval}`"
                )
            loads = instruction.opname in {"LOAD_GLOBAL", "LOAD_DEREF"}
            before = instruction.argval if loads else ""

    def _compile_lazily(self, function: FunctionType) -> Callable[..., Any]:
        from numba import njit  # noqa: PLC0415
        from numba.core import config  # noqa: PLC0415

        if config.DISABLE_JIT:  # type: ignore[attr-defined]  # set from the environment
            import numpy as np  # noqa: PLC0415

            # Plain Python must divide silently too, as the compiled code does.
            return cast("Callable[..., Any]", np.errstate(all="ignore")(function))
        _finish_compiling_before_forks()
        options = JIT_OPTIONS | {"_nrt": self.allocates, "forceinline": self.inlined}
        dispatcher = njit(**options)(function)
        if self.__module__.partition(".")[0] == _PACKAGE:
            attach_cache(dispatcher, f"{self.__module__}.{self.__qualname__}", self.fingerprint)
        return cast("Callable[..., Any]", dispatcher)


@functools.cache
def _finish_compiling_before_forks() -> None:
    """Make forks wait for numba, or a child could find its lock held by a thread that is gone."""
    from numba.core.compiler_lock import global_compiler_lock  # noqa: PLC0415

    hold_while_forking(global_compiler_lock)


@overload
def kernel(function: Callable[..., Any], /) -> Kernel: ...
@overload
def kernel(*, allocates: bool, inlined: bool = False) -> Callable[[Callable[..., Any]], Kernel]: ...
def kernel(
    function: Callable[..., Any] | None = None, /, *, allocates: bool = True, inlined: bool = False
) -> Kernel | Callable[[Callable[..., Any]], Kernel]:
    """Make a function a Numba kernel that is compiled on first use.

    Kernels may call each other by name, within a module or imported from another one with
    ``from module import name``; module-level numbers, NamedTuple classes and enums are constants.
    A kernel may not call itself.

    Parameters
    ----------
    function : callable
        Written in the part of Python that numba compiles.
    allocates : bool
        False for a kernel that makes no array, nor calls one that does: numba then counts no
        references, which costs more than a short kernel itself (simulating a backtest of 2,000
        trades: 0.93 ms with, 0.44 ms without). Numba refuses to compile it if it does allocate.
    inlined : bool
        True for a part of a hot loop: a call hands over every field of every array, which takes
        longer than a short trade (20,000 trades: 0.77 ms with calls, 0.43 ms inlined).

    Returns
    -------
    Kernel
        Called like the function.

    Raises
    ------
    EngineError
        On first use, if the kernel calls itself or reaches another through its module.

    Examples
    --------
    >>> import numpy as np
    >>> from backtest_py._jit import kernel
    >>> @kernel
    ... def total(values):
    ...     result = 0.0
    ...     for value in values:
    ...         result += value
    ...     return result
    >>> total(np.array([1.0, 2.0, 3.5]))
    6.5
    """
    if function is None:
        return functools.partial(Kernel, allocates=allocates, inlined=inlined)
    return Kernel(function)


def _code_objects(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code_objects(constant)


def _instructions(code: CodeType) -> Iterator[dis.Instruction]:
    for item in _code_objects(code):
        yield from dis.get_instructions(item)


def _referenced_names(code: CodeType) -> set[str]:
    return {name for item in _code_objects(code) for name in item.co_names}


def _code_text(code: CodeType) -> str:
    """Describe the bytecode completely, without file names and line numbers."""
    parts = []
    for item in _code_objects(code):
        constants = [each for each in item.co_consts if not isinstance(each, CodeType)]
        parts.append(f"{item.co_code.hex()} {constants!r} {item.co_names!r} {item.co_varnames!r}")
    return "\n".join(parts)


def _value_text(value: object, inside: frozenset[object] = frozenset()) -> str:
    """Describe a constant of a kernel, without addresses, which differ between processes.

    ``inside`` are the functions that are being described, so that recursion ends.
    """
    if isinstance(value, EnumType):
        return repr(list(cast("Any", value)))
    if isinstance(value, (bool, int, float, str, tuple)):
        return repr(value)
    if hasattr(value, "tobytes") and hasattr(value, "dtype"):
        return f"{value.dtype!r}{getattr(value, 'shape', ())}{_digest(value.tobytes().hex())}"
    function = getattr(value, "py_func", None)  # of a function that numba compiled by itself
    if isinstance(function, FunctionType) and function not in inside:
        closed = (cell.cell_contents for cell in function.__closure__ or ())
        scope = function.__globals__ | dict(zip(function.__code__.co_freevars, closed, strict=True))
        read = {*_referenced_names(function.__code__), *function.__code__.co_freevars}
        texts = (
            f"{name}={_value_text(scope[name], inside | {function})}"
            for name in sorted(read & scope.keys())
        )
        return _digest(_code_text(function.__code__), repr(function.__defaults__), *texts)
    name = getattr(value, "__qualname__", getattr(value, "__name__", ""))
    return f"{type(value).__qualname__} {name} {getattr(value, '_fields', '')}"


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode("utf-8", "backslashreplace")).hexdigest()
