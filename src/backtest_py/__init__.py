"""Backtests that two independent engines agree on, bit for bit.

Examples
--------
>>> import backtest_py as bt
>>> bars = bt.synthetic_bars(n_days=30)
>>> rules = bt.ExitRules(stop=2.0, target=3.0, close_time="17:00")
>>> contract = bt.Contract(tick_size=5, point_value=0.20, fee_per_side=0.25, slippage_ticks=1)
>>> result = bt.run(bars, bt.BarraElefante(), rules, contract, engine="numba")
>>> result.provenance.engine
'numba'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backtest_py.bars import Bars
from backtest_py.config import Config
from backtest_py.contract import Contract, MetricSettings
from backtest_py.data.readers import load_bars
from backtest_py.data.synthetic import synthetic_bars
from backtest_py.engines import engine_status
from backtest_py.errors import (
    ArgumentError,
    BacktestError,
    BacktestWarning,
    ConfigError,
    DataError,
    EngineError,
    EngineUnavailableError,
    ParityError,
    UnsupportedError,
)
from backtest_py.results import BacktestResult
from backtest_py.rules import ExitRules
from backtest_py.run import run, run_signals
from backtest_py.strategies import (
    BarraElefante,
    MovingAverageCross,
    OpeningRangeBreakout,
    Strategy,
    strategy_names,
)
from backtest_py.strategies.user import register_strategy

if TYPE_CHECKING:
    __version__: str

__all__ = [
    "ArgumentError",
    "BacktestError",
    "BacktestResult",
    "BacktestWarning",
    "BarraElefante",
    "Bars",
    "Config",
    "ConfigError",
    "Contract",
    "DataError",
    "EngineError",
    "EngineUnavailableError",
    "ExitRules",
    "MetricSettings",
    "MovingAverageCross",
    "OpeningRangeBreakout",
    "ParityError",
    "Strategy",
    "UnsupportedError",
    "engine_status",
    "load_bars",
    "register_strategy",
    "run",
    "run_signals",
    "strategy_names",
    "synthetic_bars",
]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> str:
        # reading installed metadata takes a tenth of this import, so it waits until asked
        if name == "__version__":
            from backtest_py.provenance import package_version  # noqa: PLC0415

            return package_version()
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
