"""Signals: what a strategy says of every bar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest_py.bars import read_only
from backtest_py.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backtest_py.bars import Bars

__all__ = ["Signals", "checked_signals"]


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
    """Return a copy of a user's signals that nobody can change any more, or refuse them.

    Parameters
    ----------
    side : ndarray of int8, shape (n_bars,)
        -1, 0 or 1 for every bar.
    risk : array of float, shape (n_bars,), optional
        Risk in points, finite and at least 0, or nan.

    Raises
    ------
    ConfigError
        If dtype, shape or a value is not allowed; the first bad bar is named.
    """
    sides = np.asarray(side)
    if sides.dtype != np.int8:
        raise ConfigError(
            f"{where}: side has dtype {sides.dtype}; give int8, for example side.astype(np.int8)"
        )
    _check_shape(where, "side", sides, len(bars))
    _check_values(where, "side", sides, (sides >= -1) & (sides <= 1), "-1, 0 or 1")
    sides = read_only(sides.copy())
    if risk is None:
        return Signals(sides)
    try:
        risks = np.array(risk, np.float64, order="C")
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: risk is not an array of numbers ({error})") from error
    _check_shape(where, "risk", risks, len(bars))
    allowed = np.isnan(risks) | (np.isfinite(risks) & (risks >= 0))
    _check_values(where, "risk", risks, allowed, "finite and at least 0, or nan where undefined")
    return Signals(sides, read_only(risks))


def _check_shape(where: str, what: str, values: NDArray[Any], n_bars: int) -> None:
    if values.shape != (n_bars,):
        raise ConfigError(
            f"{where}: {what} has shape {values.shape}; give one value per bar, shape ({n_bars},)"
        )


def _check_values(
    where: str, what: str, values: NDArray[Any], allowed: NDArray[np.bool_], text: str
) -> None:
    if not allowed.all():
        bad = int(np.argmin(allowed))
        count = int(len(allowed) - np.count_nonzero(allowed))
        raise ConfigError(
            f"{where}: {what}[{bad}] = {values[bad]} is not allowed ({count} such bars); "
            f"give {text}"
        )
