"""Eight numbers that kernels work on together. Mirrors the vectors of ``engine_rust/src/simd``.

LLVM finds vectors in simple loops by itself, but it does not keep whole rows of running sums in
registers, nor take 512-bit instructions where it thinks that they clock down. With these functions
a kernel says what it means: a value of type ``Vector`` is one LLVM vector, every operation is done
on its eight lanes, none is reordered or fused. LLVM splits vectors that a machine does not have.
What differs from Rust: operators do the arithmetic, and LLVM chooses the instructions, so that
there are no levels.

The functions are plain Python on NumPy arrays of eight elements, which is what runs under
NUMBA_DISABLE_JIT; what numba makes of them is said in the second half.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import lower_builtin, register_model, type_callable

from backtest_py._jit import kernel

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "LANES",
    "any_lane",
    "keep",
    "larger",
    "load",
    "select",
    "smaller",
    "splat",
    "store",
    "to_float",
]

LANES: Final = 8
"""Vector of a vector."""


def splat(x):
    """Return the same number or truth value in every lane."""
    return np.full(LANES, x)


def load(table, row):
    """Return a row of a table of eight columns; whole numbers are widened to 64 bits."""
    found = table[row]
    return found.copy() if found.dtype == np.float64 else found.astype(np.int64)


def store(table, row, lanes):
    """Set a row of a table of eight columns."""
    table[row] = lanes


def to_float(words):
    """Return whole numbers as floating-point ones."""
    return words.astype(np.float64)


def select(mask, a, b):
    """Return ``a if mask else b``, lane by lane."""
    return np.where(mask, a, b)


def any_lane(mask):
    """Tell whether a mask holds in any lane."""
    return bool(mask.any())


@kernel(allocates=False)
def keep(mask, a):
    """Return ``a if mask else 0.0``, lane by lane."""
    return select(mask, a, splat(0.0))


@kernel(allocates=False)
def larger(a, b):
    """Return ``a if a > b else b``, lane by lane."""
    return select(a > b, a, b)


@kernel(allocates=False)
def smaller(a, b):
    """Return ``a if a < b else b``, lane by lane."""
    return select(b > a, a, b)


class Vector(types.Type):
    """Numba's type of eight numbers or truth values."""

    def __init__(self, dtype: types.Type) -> None:
        self.dtype = dtype
        super().__init__(name=f"Vector({dtype})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Vector) -> None:
        element = manager.lookup(lanes.dtype).get_value_type()
        super().__init__(manager, lanes, ir.VectorType(element, LANES))


_FLOATS: Final = Vector(types.float64)
_WORDS: Final = Vector(types.int64)
_MASK: Final = Vector(types.boolean)


def _build(
    function: Callable[..., Any], result: types.Type, *arguments: types.Type
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator for what emits the instructions of a function for such arguments."""
    cases = [signature(result, *arguments)]
    template = type(function.__name__, (ConcreteTemplate,), {"key": function, "cases": cases})
    infer_global(function)(template)

    def decorate(emit: Callable[..., Any]) -> Callable[..., Any]:
        lower_builtin(function, *arguments)(
            lambda _context, builder, _sig, args: emit(builder, *args)
        )
        return emit

    return decorate


for _operator, _kind, _name in (
    (operator.add, _FLOATS, "fadd"),
    (operator.sub, _FLOATS, "fsub"),
    (operator.mul, _FLOATS, "fmul"),
    (operator.truediv, _FLOATS, "fdiv"),
    (operator.add, _WORDS, "add"),
    (operator.and_, _WORDS, "and_"),
    (operator.lshift, _WORDS, "shl"),
    (operator.rshift, _WORDS, "lshr"),
    (operator.and_, _MASK, "and_"),
    (operator.or_, _MASK, "or_"),
):
    _build(_operator, _kind, _kind, _kind)(
        lambda builder, a, b, name=_name: getattr(builder, name)(a, b)
    )

_build(operator.gt, _MASK, _FLOATS, _FLOATS)(lambda builder, a, b: builder.fcmp_ordered(">", a, b))
_build(operator.le, _MASK, _FLOATS, _FLOATS)(lambda builder, a, b: builder.fcmp_ordered("<=", a, b))
_build(operator.invert, _MASK, _MASK)(lambda builder, mask: builder.not_(mask))
_build(to_float, _FLOATS, _WORDS)(
    lambda builder, words: builder.sitofp(words, _vector(ir.DoubleType()))
)
_build(any_lane, types.boolean, _MASK)(
    lambda builder, mask: cgutils.is_not_null(builder, builder.bitcast(mask, ir.IntType(LANES)))
)
for _kind in (_FLOATS, _WORDS):
    _build(select, _kind, _MASK, _kind, _kind)(
        lambda builder, mask, a, b: builder.select(mask, a, b)
    )


def _vector(element: ir.Type) -> ir.VectorType:
    return ir.VectorType(element, LANES)


@type_callable(splat)
def _type_splat(_context: Any) -> Any:
    def typer(x: Any) -> Any:
        kinds = ((types.Boolean, _MASK), (types.Integer, _WORDS), (types.Float, _FLOATS))
        return next((lanes for kind, lanes in kinds if isinstance(x, kind)), None)

    return typer


def _emit_splat(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    x = context.cast(builder, args[0], sig.args[0], sig.return_type.dtype)
    lane = ir.IntType(32)
    empty = ir.Constant(_vector(x.type), ir.Undefined)
    first = builder.insert_element(empty, x, ir.Constant(lane, 0))
    return builder.shuffle_vector(first, empty, ir.Constant(_vector(lane), [0] * LANES))


@type_callable(load)
def _type_load(_context: Any) -> Any:
    def typer(table: Any, row: Any) -> Any:
        if isinstance(table, types.Array) and table.ndim == 2 and isinstance(row, types.Integer):
            return _FLOATS if table.dtype == types.float64 else _WORDS
        return None

    return typer


@type_callable(store)
def _type_store(_context: Any) -> Any:
    def typer(table: Any, row: Any, lanes: Any) -> Any:
        if isinstance(table, types.Array) and table.ndim == 2 and isinstance(row, types.Integer):
            return types.none if isinstance(lanes, Vector) and table.dtype == lanes.dtype else None
        return None

    return typer


def _row_pointer(context: Any, builder: Any, kinds: Any, table: Any, row: Any) -> Any:
    """Return the address of a row, as that of a vector of its elements."""
    array = context.make_array(kinds[0])(context, builder, table)
    row = context.cast(builder, row, kinds[1], types.intp)
    stride = builder.extract_value(array.strides, 0)
    place = cgutils.pointer_add(builder, array.data, builder.mul(row, stride))
    element = context.get_data_type(kinds[0].dtype)
    return builder.bitcast(place, _vector(element).as_pointer())


def _emit_load(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    dtype = sig.args[0].dtype
    found = builder.load(_row_pointer(context, builder, sig.args, *args), align=dtype.bitwidth // 8)
    if dtype == types.float64:
        return found
    widen = builder.sext if dtype.signed else builder.zext
    return widen(found, _vector(ir.IntType(64)))


def _emit_store(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    table, row, lanes = args
    place = _row_pointer(context, builder, sig.args, table, row)
    builder.store(lanes, place, align=sig.args[0].dtype.bitwidth // 8)
    return context.get_dummy_value()


lower_builtin(splat, types.Any)(_emit_splat)
lower_builtin(load, types.Array, types.Integer)(_emit_load)
lower_builtin(store, types.Array, types.Integer, Vector)(_emit_store)
