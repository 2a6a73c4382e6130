"""Strategies: importing a module here registers it, and ``bt`` shows what is in ``__all__``."""

from __future__ import annotations

from backtest_py.strategies.barra_elefante import BarraElefante
from backtest_py.strategies.base import Strategy, strategy_names
from backtest_py.strategies.moving_average_cross import MovingAverageCross
from backtest_py.strategies.opening_range_breakout import OpeningRangeBreakout

__all__ = [
    "BarraElefante",
    "MovingAverageCross",
    "OpeningRangeBreakout",
    "Strategy",
    "strategy_names",
]
