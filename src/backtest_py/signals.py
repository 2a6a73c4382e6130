"""Signals: what a strategy says of every bar."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py.bars import read_only
from backtest_py.errors import ConfigError
from backtest_py.parameters import counted

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from backtest_py.bars import Bars

__all__ = ["Signals", "checked_signals"]

_NUMBERS: Final = "biuf"
"""Kinds of NumPy's dtypes that hold numbers: bools, integers with and without a sign, floats."""


@dataclass(frozen=True, slots=True)
class Signals:
    """What a strategy says of every bar.

    Attributes
    ----------
    side : ndarray of int8, shape (n_bars,)
        1 to go long, -1 to go short, 0 for nothing.
    risk : ndarray of float64, shape (n_bars,), or None
        Risk of the signal in points, nan where undefined; None if the strategy gives none.
    """

    side: NDArray[np.int8]
    risk: NDArray[np.float64] | None = None


def checked_signals(
    bars: Bars, side: object, risk: object = None, *, where: str = "run_signals"
) -> Signals:
    """Check a user's signals and return a read-only copy of them.

    Parameters
    ----------
    side : array-like, shape (n_bars,)
        -1, 0 or 1 for every bar, as integers, bools or whole floats.
    risk : array-like of float, shape (n_bars,), optional
        Risk in points, finite and at least 0, or nan.
    where : str, optional
        Who gave them, for the message.

    Raises
    ------
    ConfigError
        If a Series has another index than the bars, or if a type, a shape or a value is not
        allowed; the first bad bar is named.
    """
    sides = _per_bar(bars, side, where, "side")
    allowed = (sides == -1) | (sides == 0) | (sides == 1)
    _check_values(bars, f"{where}: side", sides, allowed, "-1, 0 or 1")
    checked = read_only(sides.astype(np.int8))
    if risk is None:
        return Signals(checked)
    risks = np.array(_per_bar(bars, risk, where, "risk"), np.float64, order="C")
    allowed = np.isnan(risks) | (np.isfinite(risks) & (risks >= 0))
    wanted = "a finite number of at least 0, or nan where undefined"
    _check_values(bars, f"{where}: risk", risks, allowed, wanted)
    return Signals(checked, read_only(risks))


def _per_bar(bars: Bars, given: object, where: str, what: str) -> NDArray[Any]:
    """Return one number for each bar, of any dtype that holds numbers."""
    _check_index(bars, given, where, what)
    values = _as_array(given, where, what)
    if values.shape != (len(bars),):
        raise ConfigError(
            f"{where}: {what} has shape {values.shape}; give one value per bar, shape "
            f"({len(bars)},)"
        )
    if values.dtype.kind in _NUMBERS:
        return values
    kinds: tuple[type, ...]
    kinds, wanted = (bool, np.bool_, Integral), "integers, bools or whole floats: -1, 0 or 1"
    if what == "risk":
        kinds, wanted = (Real, type(None)), "numbers, nan where undefined"
    allowed = np.fromiter((isinstance(each, kinds) for each in values), np.bool_, len(values))
    _check_values(
        bars, f"{where}: {what} is not an array of numbers: {what}", values, allowed, wanted
    )
    return values


def _as_array(given: object, where: str, what: str) -> NDArray[Any]:
    ma = sys.modules.get("numpy.ma")  # NumPy imports it when it is first used
    if ma is not None and isinstance(given, ma.MaskedArray) and ma.is_masked(given):
        raise ConfigError(
            f"{where}: {what} is a masked array with masked values; fill them, as in {what}.filled"
            f"({0 if what == 'side' else 'np.nan'})"
        )
    try:
        values = np.asarray(given)
        if values.dtype.kind not in _NUMBERS and not isinstance(given, np.ndarray):
            # a list of mixed values as it is: NumPy turns [1, "a"] into two texts
            values = np.asarray(given, dtype=np.object_)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{where}: {what} is not an array of numbers ({error}); give one value per bar"
        ) from error
    return values


def _check_index(bars: Bars, given: object, where: str, what: str) -> None:
    """Refuse a pandas Series whose index is not the times of the bars: it would be misread."""
    pandas = sys.modules.get("pandas")  # without pandas there is no Series
    if pandas is None or not isinstance(given, pandas.Series):
        return
    problem = _index_problem(bars, given.index, pandas)
    if problem:
        fill = ", fill_value=0" if what == "side" else ""
        raise ConfigError(
            f"{where}: {what} is a Series whose index is not the bars' own: {problem}; align it, "
            f"as in {what}.reindex(bars.to_frame().index{fill}), or give {what}.to_numpy() if it "
            "has one value per bar in their order"
        )


def _index_problem(bars: Bars, index: pd.Index[Any], pandas: Any) -> str:
    """Say how an index differs from the times of the bars, ``""`` where it does not."""
    if not isinstance(index, pandas.DatetimeIndex):
        if index.dtype == np.int64 and np.array_equal(index.to_numpy(), bars.time):
            return ""  # bars.time itself: nanoseconds since 1970
        return f"it is a {type(index).__name__} of {index.dtype}, not of times"
    if (index.tz is None) != bars.is_naive:
        return (
            "its times have a zone, those of the bars have none"
            if bars.is_naive
            else "its times have no zone, those of the bars are instants"
        )
    if len(index) != len(bars):
        return f"it has {counted(len(index), 'time')} for {counted(len(bars), 'bar')}"
    try:
        differs = index.as_unit("ns").asi8 != bars.time
    except pandas.errors.OutOfBoundsDatetime:
        return "it holds times that no bar can have"
    if not differs.any():
        return ""
    row = int(np.argmax(differs))
    return (
        f"value {row} belongs to {index[row]}, but bar {row} opens at {bars.time_text(row)} "
        f"({int(np.count_nonzero(differs)):,} of {len(bars):,} differ)"
    )


def _check_values(
    bars: Bars, what: str, values: NDArray[Any], allowed: NDArray[np.bool_], wanted: str
) -> None:
    if not allowed.all():
        bad = int(np.argmin(allowed))
        count = int(len(allowed) - np.count_nonzero(allowed))
        value = repr(values[bad]) if values.dtype == np.object_ else values[bad]
        raise ConfigError(
            f"{what}[{bad}] = {value} is not allowed (bar {bad} opens at {bars.time_text(bad)}; "
            f"{counted(count, 'such bar')}); give {wanted}"
        )
