"""From bars to signals and average true ranges. Mirrors ``engine_rust/src/strategy.rs``."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from backtest_py.engines.numba_engine.types import bar_columns
from backtest_py.errors import UnsupportedError
from backtest_py.indicators import atr_sma, atr_wilder
from backtest_py.signals import Signals

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backtest_py.bars import Bars
    from backtest_py.engines.layouts import BarColumns
    from backtest_py.strategies.base import Strategy

__all__ = ["Scores", "average_true_range", "detect", "detect_from", "scored", "unscored"]


class Scores(NamedTuple):
    """What a sweep needs of every bar: side and risk before the thresholds, and the scores.

    ``risk`` is empty if the strategy gives none; ``columns`` has shape (n_thresholds, n_bars).
    """

    side: NDArray[np.int8]
    risk: NDArray[np.float64]
    columns: NDArray[np.float64]


def detect(bars: Bars, strategy: Strategy) -> Signals:
    """Return the signals of every bar.

    Raises
    ------
    UnsupportedError
        If the strategy has no kernel.
    """
    return detect_from(bar_columns(bars), strategy, 0, len(bars))


def detect_from(bars: BarColumns, strategy: Strategy, start: int, until: int) -> Signals:
    """Return the signals of bars ``start`` to ``until``, and none at the others.

    Raises
    ------
    UnsupportedError
        If the strategy has no kernel.
    """
    n = len(bars.open)
    whole = until - start == n
    side = np.empty(n, np.int8) if whole else np.zeros(n, np.int8)
    risk = np.empty(n if strategy.gives_risk else 0)
    values = np.array(strategy.values(), np.float64)
    # read from the class, because a function read from an instance becomes a method
    kernel = type(strategy).kernel
    if kernel is None:
        raise UnsupportedError(f"strategy {strategy.name!r} has no kernel to compute its signals")
    kernel(bars, values, start, side[start:until], risk[start:until])
    return Signals(side, risk if strategy.gives_risk else None)


def scored(bars: Bars, strategy: Strategy) -> Scores:
    """Return what a sweep needs of every bar; without thresholds, the signals themselves.

    Raises
    ------
    UnsupportedError
        If the strategy has no kernel for it.
    """
    n, thresholds = len(bars), len(strategy.thresholds)
    if thresholds == 0:
        return unscored(detect(bars, strategy))
    scores = Scores(
        np.empty(n, np.int8),
        np.empty(n if strategy.gives_risk else 0),
        np.empty((thresholds, n)),
    )
    kernel = type(strategy).score_kernel
    if kernel is None:
        raise UnsupportedError(
            f"strategy {strategy.name!r} has thresholds but no score_kernel; give its class one, "
            "or declare no thresholds"
        )
    kernel(bar_columns(bars), np.array(strategy.values(), np.float64), *scores)
    return scores


def unscored(signals: Signals) -> Scores:
    """Return signals as what a sweep needs: no threshold cuts them."""
    risk = np.empty(0) if signals.risk is None else signals.risk
    return Scores(signals.side, risk, np.empty((0, len(signals.side))))


def average_true_range(bars: Bars, period: int, method: str) -> NDArray[np.float64]:
    """Return the average true range of every bar, shape (n_bars,)."""
    out = np.empty(len(bars))
    smooth = atr_wilder if method == "wilder" else atr_sma
    smooth(bars.high, bars.low, bars.close, period, out)
    return out
