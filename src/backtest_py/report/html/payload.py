"""Bars and trades as few bytes that a page unpacks to the same bits.

Prices that are whole ticks travel as whole numbers, and as differences, because these are small
and repeat. The page multiplies or divides them again as Python did here, where it was seen that
every price comes back exactly. Where none of these ways does, as in ratio-adjusted series, a table
of all prices that there are travels, and their places in it.
"""

from __future__ import annotations

import base64
import zlib
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from backtest_py.bars import Bars
    from backtest_py.report.html.account import Span

__all__ = ["packed_bars", "packed_columns"]

_LARGEST: Final = 2**30
_LEVEL: Final = 6
"""Of zlib: higher levels take several times as long and save some 2 %."""
_UNITS: Final = (60_000_000_000, 1_000_000_000, 1_000_000)
"""Lengths in nanoseconds that a clock may count in: minutes, seconds, milliseconds."""


def packed_bars(bars: Bars, span: Span, tick_size: float) -> dict[str, Any]:
    """Return prices and session clock of the bars of a span."""
    part = slice(span.first, span.end)
    prices = [getattr(bars, name)[part] for name in ("open", "high", "low", "close")]
    wall = bars.wall_at(np.arange(*span))
    unit = next((unit for unit in _UNITS if not (wall % unit).any()), _UNITS[-1])
    clock = {"unit": unit // _UNITS[-1], "data": packed_integers(wall // unit)}
    return {"n": len(wall), "clock": clock, **_packed_prices(prices, tick_size)}


def packed_columns(columns: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """Return columns of trades: whole numbers as differences, all others as doubles."""
    packed = {}
    for name, column in columns.items():
        if column.dtype.kind in "iub":
            packed[name] = packed_integers(column.astype(np.int64))
        else:
            packed[name] = {"kind": "f64", "bytes": _bytes_of(column.astype("<f8"))}
    return packed


def packed_integers(values: NDArray[np.int64]) -> dict[str, Any]:
    """Return whole numbers as differences, or as doubles where a difference is too large."""
    steps = np.diff(values, prepend=0)
    first = int(values[0]) if len(values) else 0
    if len(values):
        steps[0] = 0
    if np.abs(steps).max(initial=0) > _LARGEST:
        return {"kind": "f64", "bytes": _bytes_of(values.astype("<f8"))}
    return {"kind": "i32", "first": first, "bytes": _bytes_of(_folded(steps))}


def _packed_prices(prices: Sequence[NDArray[np.float64]], tick_size: float) -> dict[str, Any]:
    steps = [(tick_size, 0.0)] + [(0.0, 10.0**decimals) for decimals in range(9)]
    per_unit = float(round(1.0 / tick_size)) if tick_size < 1 else 0.0
    if per_unit and 1.0 / per_unit == tick_size:
        steps.insert(0, (0.0, per_unit))
    for step, parts in steps:
        counted = [_counted(column, step, parts) for column in prices]
        if all(each is not None for each in counted):
            return {"step": step, "parts": parts, "ticks": _packed_candles(counted)}
    table, places = np.unique(np.concatenate(prices), return_inverse=True)
    ranks = places.astype(np.int64).reshape(len(prices), -1)
    return {"table": _bytes_of(table.astype("<f8")), "ticks": _packed_candles(list(ranks))}


def _counted(prices: NDArray[np.float64], step: float, parts: float) -> NDArray[np.int64] | None:
    """Return how many steps prices are, None where these do not give the same prices back."""
    with np.errstate(over="ignore", invalid="ignore"):
        number = np.rint(prices * parts if parts else prices / step)
        again = number / parts if parts else number * step
    exact = np.array_equal(again, prices) and np.abs(number).max(initial=0) <= _LARGEST // 4
    return number.astype(np.int64) if exact else None


def _packed_candles(counted: Sequence[Any]) -> str:
    """Return open against the close before, close against open, and both wicks."""
    opened, high, low, close = counted
    before = np.append(0, close[:-1])
    columns = (
        opened - before,
        close - opened,
        high - np.maximum(opened, close),
        np.minimum(opened, close) - low,
    )
    return _bytes_of(_folded(np.concatenate(columns)))


def _folded(values: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Return 0, -1, 1, -2, … as 0, 1, 2, 3, …: small numbers of either sign have leading zeros."""
    return ((values << 1) ^ (values >> 63)).astype("<u4")


def _bytes_of(array: NDArray[Any]) -> str:
    """Return an array compressed, as text.

    The first bytes of all values come first, then the second ones, and so on: beside each other
    they are alike.
    """
    planes = array.view(np.uint8).reshape(len(array), array.itemsize).T
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, 31)  # 31 is gzip
    return base64.b64encode(packer.compress(planes.tobytes()) + packer.flush()).decode()
