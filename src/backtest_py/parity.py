"""Compare two results of one question and name the first place where they differ.

The default demands the same bits: a zero with another sign differs, and nan equals nan whatever
its payload. With ``rtol`` numbers may differ by a share of the larger one; positions, sides,
reasons and flags must be equal all the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from backtest_py.errors import ParityError
from backtest_py.parameters import counted
from backtest_py.records import METRICS, TRADE_DTYPE, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = [
    "AGREED_RTOL",
    "Comparison",
    "Difference",
    "Output",
    "compare",
    "require_same",
    "ulp_distance",
]

AGREED_RTOL: Final = 1e-5
"""The relative difference between metrics that the contract tolerates; the aim is none."""

_ABSENT: Final = "absent"


class Output(Protocol):
    """What is compared: the output of an engine."""

    @property
    def trades(self) -> Mapping[str, NDArray[Any]]:
        """Return the columns of ``records.TRADE_DTYPE``."""

    @property
    def metrics(self) -> NDArray[np.float64]:
        """Return the metrics in the order of ``records.METRICS``."""


def ulp_distance(left: float, right: float) -> int | None:
    """Count the doubles from one value to the other; None where one is nan.

    Examples
    --------
    >>> import math
    >>> ulp_distance(1.0, math.nextafter(1.0, 2.0)), ulp_distance(-0.0, 0.0)
    (1, 0)
    """
    if math.isnan(left) or math.isnan(right):
        return None
    return abs(_rank(left) - _rank(right))


def _rank(value: float) -> int:
    """Return the place of a double among all doubles, 0 for both zeros."""
    bits = int(np.float64(value).view(np.int64))
    return bits if bits >= 0 else -(2**63) - bits


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where two results differ.

    Attributes
    ----------
    field : str
        Column of the trades or name of the metric.
    left, right : object
        Both values; a text where a value, a column or its type is missing or wrong.
    trade : int or None
        Number of the trade, from 0; None for a metric or a whole column.
    bar : int or None
        Signal bar of that trade, the earlier one if they differ.
    counts : tuple of int, or None
        Numbers of trades on both sides.
    """

    field: str
    left: Any
    right: Any
    trade: int | None = None
    bar: int | None = None
    counts: tuple[int, int] | None = None

    @property
    def ulps(self) -> int | None:
        """Doubles between both values; None where one is no number."""
        if isinstance(self.left, float) and isinstance(self.right, float):
            return ulp_distance(self.left, self.right)
        return None

    def describe(self, left: str = "left", right: str = "right") -> str:
        """Say in one line what differs, where, and how far."""
        where = f"metric {self.field}"
        if self.trade is not None:
            where = f"trade {self.trade} (signal bar {self.bar}), {self.field}"
        elif self.counts is not None:
            where = f"trades, {self.field}"
        text = f"{where}: {left} {self._show(self.left)}, {right} {self._show(self.right)}"
        if self.ulps is not None:
            text += f", {self.ulps} ulp apart"
        if self.counts is not None and self.counts[0] != self.counts[1]:
            text += f"; {counted(self.counts[0], 'trade')} against {self.counts[1]:,}"
        return text

    def _show(self, value: Any) -> str:
        if isinstance(value, float):
            return f"{value!r} (0x{int(np.float64(value).view(np.uint64)):016x})"
        if self.field == "reason" and isinstance(value, int):
            known = value in set(Reason)
            return f"{value} ({Reason(value).name if known else 'no such reason'})"
        return str(value)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two results have in common.

    Attributes
    ----------
    trades : Difference or None
        The first divergent field of the first divergent trade.
    metrics : tuple of Difference
        Every divergent metric.
    largest : float
        Largest relative difference between numbers of both results, tolerated or not: 0.0 where
        all bits agree, inf where trades cannot be matched or a number meets nan or an infinity.
    """

    trades: Difference | None
    metrics: tuple[Difference, ...]
    largest: float

    @property
    def differences(self) -> tuple[Difference, ...]:
        """All differences, the trade first."""
        return (() if self.trades is None else (self.trades,)) + self.metrics

    @property
    def same(self) -> bool:
        """Whether nothing differs beyond the tolerance."""
        return not self.differences

    def describe(self, left: str = "left", right: str = "right") -> str:
        """List the differences, one a line; empty where there are none."""
        return "\n".join(item.describe(left, right) for item in self.differences)


def compare(left: Output, right: Output, *, rtol: float = 0.0, atol: float = 0.0) -> Comparison:
    """Compare trades and metrics of two results.

    Parameters
    ----------
    left, right : Output
        Anything with ``trades`` and ``metrics`` as engines return them.
    rtol : float
        Tolerated difference as a share of the larger magnitude; 0 with ``atol`` 0 demands the
        same bits.
    atol : float
        Tolerated absolute difference.

    Returns
    -------
    Comparison
        What differs, and by how much at most.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> trades = {name: np.zeros(0, dtype) for name, dtype in TRADE_DTYPE.items()}
    >>> one = SimpleNamespace(trades=trades, metrics=np.zeros(len(METRICS)))
    >>> other = SimpleNamespace(trades=trades, metrics=np.zeros(len(METRICS)))
    >>> compare(one, other).same
    True
    """
    trades, largest = _compare_trades(left.trades, right.trades, rtol, atol)
    metrics, largest_metric = _compare_metrics(left.metrics, right.metrics, rtol, atol)
    return Comparison(trades, metrics, max(largest, largest_metric))


def require_same(
    left: Output,
    right: Output,
    *,
    names: tuple[str, str] = ("numba", "rust"),
    rtol: float = 0.0,
    atol: float = 0.0,
) -> None:
    """Raise ParityError with every difference, if there is one.

    Raises
    ------
    ParityError
        If the results differ beyond the tolerance.
    """
    comparison = compare(left, right, rtol=rtol, atol=atol)
    if not comparison.same:
        raise ParityError(f"{names[0]} and {names[1]} disagree:\n{comparison.describe(*names)}")


def _compare_trades(
    left: Mapping[str, NDArray[Any]], right: Mapping[str, NDArray[Any]], rtol: float, atol: float
) -> tuple[Difference | None, float]:
    """Find the first divergent trade and, in it, the first divergent column."""
    counts = (_count(left), _count(right))
    for name in (*TRADE_DTYPE, *sorted((left.keys() | right.keys()) - TRADE_DTYPE.keys())):
        kinds = _column_kind(left, name, counts[0]), _column_kind(right, name, counts[1])
        if kinds != (_expected_kind(name),) * 2:
            return Difference(name, *kinds, counts=counts), math.inf
    shared = min(counts)
    first, field, largest = shared, "count", 0.0
    for name in TRADE_DTYPE:
        a, b = left[name][:shared], right[name][:shared]
        if a.dtype.kind == "f":
            largest = max(largest, _largest(a, b))
        wrong = np.flatnonzero(~_agree(a, b, rtol, atol))
        if wrong.size and wrong[0] < first:
            first, field = int(wrong[0]), name
    if first == shared and counts[0] == counts[1]:
        return None, largest
    if counts[0] != counts[1]:
        largest = math.inf
    bar = min(int(t["signal_bar"][first]) for t in (left, right) if first < len(t["signal_bar"]))
    values = _value(left, field, first), _value(right, field, first)
    return Difference(field, *values, trade=first, bar=bar, counts=counts), largest


def _count(trades: Mapping[str, NDArray[Any]]) -> int:
    return max((len(column) for column in trades.values()), default=0)


def _column_kind(trades: Mapping[str, NDArray[Any]], name: str, count: int) -> str:
    """Say what a column is, so that a missing, mistyped or short one is a difference."""
    if name not in trades:
        return _ABSENT
    column = trades[name]
    wrong = f", shape {column.shape} for {counted(count, 'trade')}"
    short = "" if column.shape == (count,) else wrong
    return f"{column.dtype}{short}"


def _expected_kind(name: str) -> str:
    return str(TRADE_DTYPE[name]) if name in TRADE_DTYPE else _ABSENT


def _value(trades: Mapping[str, NDArray[Any]], field: str, trade: int) -> Any:
    """Return one value as a Python object."""
    if trade >= len(trades["signal_bar"]):
        return "no such trade"
    if field == "count":
        return f"a trade with entry bar {int(trades['entry_bar'][trade])}"
    return trades[field][trade].item()


def _compare_metrics(
    left: NDArray[np.float64], right: NDArray[np.float64], rtol: float, atol: float
) -> tuple[tuple[Difference, ...], float]:
    """List the divergent metrics."""
    expected = f"float64, shape ({len(METRICS)},)"
    kinds = _vector_kind(left), _vector_kind(right)
    if kinds != (expected, expected):
        return (Difference(f"vector (must be {expected})", *kinds),), math.inf
    wrong = np.flatnonzero(~_agree(left, right, rtol, atol))
    found = (Difference(METRICS[k], left[k].item(), right[k].item()) for k in wrong)
    return tuple(found), _largest(left, right)


def _vector_kind(values: NDArray[Any]) -> str:
    return f"{values.dtype}, shape {values.shape}"


def _agree(left: NDArray[Any], right: NDArray[Any], rtol: float, atol: float) -> NDArray[np.bool_]:
    """Tell where two columns of one type agree."""
    if left.dtype.kind != "f":
        return np.asarray(left == right)
    agree = _same_bits(left, right)
    if rtol == 0.0 and atol == 0.0:
        return agree
    with np.errstate(invalid="ignore", over="ignore"):
        near = np.abs(left - right) <= np.maximum(
            atol, rtol * np.maximum(np.abs(left), np.abs(right))
        )
    return np.asarray(agree | (near & np.isfinite(left) & np.isfinite(right)))


def _same_bits(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell where two columns hold the same bits, any nan being the same."""
    bits = np.ascontiguousarray(left).view(np.int64) == np.ascontiguousarray(right).view(np.int64)
    return np.asarray(bits | (np.isnan(left) & np.isnan(right)))


def _largest(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """Return the largest relative difference; inf where one side alone is not finite."""
    differing = ~_same_bits(left, right)
    if not differing.any():
        return 0.0
    a, b = left[differing], right[differing]
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return math.inf
    size = np.maximum(np.abs(a), np.abs(b))
    size[size == 0.0] = 1.0
    return float(np.max(np.abs(a / size - b / size)))
