"""From bars to signals and average true ranges. Mirrors ``engine_rust/src/strategy.rs``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from backtest_py.engines.numba_engine.types import bar_columns
from backtest_py.indicators import atr_sma, atr_wilder
from backtest_py.signals import Signals

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backtest_py.bars import Bars
    from backtest_py.strategies.base import Strategy

__all__ = ["average_true_range", "detect"]


def detect(bars: Bars, strategy: Strategy) -> Signals:
    """Return the signals of every bar."""
    n = len(bars)
    side = np.empty(n, np.int8)
    risk = np.empty(n if strategy.gives_risk else 0)
    values = np.array(strategy.values(), np.float64)
    strategy.kernel(bar_columns(bars), values, 0, side, risk)
    return Signals(side, risk if strategy.gives_risk else None)


def average_true_range(bars: Bars, period: int, method: str) -> NDArray[np.float64]:
    """Return the average true range of every bar, shape (n_bars,)."""
    out = np.empty(len(bars))
    smooth = atr_wilder if method == "wilder" else atr_sma
    smooth(bars.high, bars.low, bars.close, period, out)
    return out
