"""Bounds of an expression over a box of values: what it can be at least and at most.

A range is a pair ``(least, greatest)``, of truth values too: ``(False, False)`` never holds, and
``(False, True)`` may or may not. ``None`` is a number of which nothing is known. Rounding keeps the
order of float64 numbers, so the ends of a range, computed like any other value, bound what lies
between them to the last bit. Only overflow breaks that: its results are ``None``.
"""

from __future__ import annotations

import itertools
import math
import operator
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

__all__ = ["BOUNDS", "Bounds", "column_bounds"]

Bounds: TypeAlias = "tuple[Any, Any] | None"


def column_bounds(column: NDArray[Any]) -> Bounds:
    """Return the least and the greatest value of a column: numbers, truth values or texts."""
    if column.dtype.kind == "U":
        texts = column.ravel().tolist()
        return min(texts), max(texts)
    if column.dtype.kind == "b":
        return bool(column.min()), bool(column.max())
    return _finite(float(column.min()), float(column.max()))


def _finite(least: float, greatest: float) -> Bounds:
    return (least, greatest) if math.isfinite(least) and math.isfinite(greatest) else None


def _compared(
    function: Callable[[tuple[Any, Any], tuple[Any, Any]], tuple[bool, bool]],
) -> Callable[[Bounds, Bounds], Bounds]:
    def compare(a: Bounds, b: Bounds) -> Bounds:
        return (False, True) if a is None or b is None else function(a, b)

    return compare


def _computed(
    function: Callable[[tuple[Any, Any], tuple[Any, Any]], Bounds],
) -> Callable[[Bounds, Bounds], Bounds]:
    def compute(a: Bounds, b: Bounds) -> Bounds:
        result = None if a is None or b is None else function(a, b)
        return None if result is None else _finite(*result)

    return compute


def _corners(
    function: Callable[[float, float], float], a: tuple[Any, Any], b: tuple[Any, Any]
) -> Bounds:
    """Return the bounds of a product or a quotient, which are taken at the ends of both ranges."""
    values = [function(x, y) for x, y in itertools.product(a, b)]
    return min(values), max(values)


def _quotient(a: tuple[Any, Any], b: tuple[Any, Any]) -> Bounds:
    return None if b[0] <= 0.0 <= b[1] else _corners(operator.truediv, a, b)


def _equal(a: tuple[Any, Any], b: tuple[Any, Any]) -> tuple[bool, bool]:
    return a[0] == a[1] == b[0] == b[1], a[0] <= b[1] and b[0] <= a[1]


def _not(a: Any) -> tuple[bool, bool]:
    return not a[1], not a[0]


BOUNDS: Final[Mapping[str, Callable[..., Any]]] = {
    "Lt": _compared(lambda a, b: (a[1] < b[0], a[0] < b[1])),
    "LtE": _compared(lambda a, b: (a[1] <= b[0], a[0] <= b[1])),
    "Gt": _compared(lambda a, b: (a[0] > b[1], a[1] > b[0])),
    "GtE": _compared(lambda a, b: (a[0] >= b[1], a[1] >= b[0])),
    "Eq": _compared(_equal),
    "NotEq": _compared(lambda a, b: _not(_equal(a, b))),
    "Add": _computed(lambda a, b: (a[0] + b[0], a[1] + b[1])),
    "Sub": _computed(lambda a, b: (a[0] - b[1], a[1] - b[0])),
    "Mult": _computed(lambda a, b: _corners(operator.mul, a, b)),
    "Div": _computed(_quotient),
    "USub": lambda a: None if a is None else (-a[1], -a[0]),
    "And": lambda a, b: (a[0] and b[0], a[1] and b[1]),
    "Or": lambda a, b: (a[0] or b[0], a[1] or b[1]),
    "Not": _not,
}
"""Every operator of conditions, under its name in Python's ``ast``."""
