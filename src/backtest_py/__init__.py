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

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from backtest_py import strategies
from backtest_py.backtest.run import run, run_signals
from backtest_py.bars import Bars
from backtest_py.contract import Contract, MetricSettings
from backtest_py.errors import (
    ArgumentError,
    BacktestError,
    BacktestWarning,
    ConfigError,
    DataError,
    EngineError,
    EngineUnavailableError,
    ParityError,
    StorageError,
    UnsupportedError,
    WorkerError,
)
from backtest_py.rules import ExitRules
from backtest_py.strategies import *  # noqa: F403 - a strategy is named there alone

if TYPE_CHECKING:
    from backtest_py.analysis.lookahead.check import check_lookahead
    from backtest_py.analysis.lookahead.result import LookaheadResult
    from backtest_py.analysis.monte_carlo.result import MonteCarlo
    from backtest_py.analysis.monte_carlo.run import monte_carlo
    from backtest_py.backtest.chunked import run_chunked
    from backtest_py.backtest.many import ManyResults, run_many
    from backtest_py.backtest.result import BacktestResult
    from backtest_py.config import Config
    from backtest_py.data.readers import load_bars
    from backtest_py.data.settings import open_feed
    from backtest_py.data.synthetic import synthetic_bars
    from backtest_py.engines.registry import engine_status
    from backtest_py.metrics.custom import ColumnMetric, TradeMetric
    from backtest_py.strategies.user import register_strategy
    from backtest_py.sweep.progress import Progress
    from backtest_py.sweep.result.result import SweepResult, open_sweep
    from backtest_py.sweep.run import plan_sweep, sweep
    from backtest_py.sweep.space.sample import Sample

    __version__: str

__all__ = [
    "ArgumentError",
    "BacktestError",
    "BacktestResult",
    "BacktestWarning",
    "Bars",
    "ColumnMetric",
    "Config",
    "ConfigError",
    "Contract",
    "DataError",
    "EngineError",
    "EngineUnavailableError",
    "ExitRules",
    "LookaheadResult",
    "ManyResults",
    "MetricSettings",
    "MonteCarlo",
    "ParityError",
    "Progress",
    "Sample",
    "StorageError",
    "SweepResult",
    "TradeMetric",
    "UnsupportedError",
    "WorkerError",
    "check_lookahead",
    "engine_status",
    "load_bars",
    "monte_carlo",
    "open_feed",
    "open_sweep",
    "plan_sweep",
    "register_strategy",
    "run",
    "run_chunked",
    "run_many",
    "run_signals",
    "sweep",
    "synthetic_bars",
]
__all__ += strategies.__all__

_LATER: Final = {
    "BacktestResult": "backtest_py.backtest.result",
    "ColumnMetric": "backtest_py.metrics.custom",
    "Config": "backtest_py.config",
    "LookaheadResult": "backtest_py.analysis.lookahead.result",
    "ManyResults": "backtest_py.backtest.many",
    "MonteCarlo": "backtest_py.analysis.monte_carlo.result",
    "Progress": "backtest_py.sweep.progress",
    "Sample": "backtest_py.sweep.space.sample",
    "SweepResult": "backtest_py.sweep.result.result",
    "TradeMetric": "backtest_py.metrics.custom",
    "check_lookahead": "backtest_py.analysis.lookahead.check",
    "engine_status": "backtest_py.engines.registry",
    "load_bars": "backtest_py.data.readers",
    "monte_carlo": "backtest_py.analysis.monte_carlo.run",
    "open_feed": "backtest_py.data.settings",
    "open_sweep": "backtest_py.sweep.result.result",
    "plan_sweep": "backtest_py.sweep.run",
    "register_strategy": "backtest_py.strategies.user",
    "run_chunked": "backtest_py.backtest.chunked",
    "run_many": "backtest_py.backtest.many",
    "sweep": "backtest_py.sweep.run",
    "synthetic_bars": "backtest_py.data.synthetic",
}
"""Names whose modules are imported on first use, so that importing the package is quick."""

if not TYPE_CHECKING:
    # the first import of a package binds its name here, and this name belongs to the function
    import_module("backtest_py.sweep")
    del globals()["sweep"]

    def __getattr__(name: str) -> Any:
        if name in _LATER:
            found = getattr(import_module(_LATER[name]), name)
        elif name == "__version__":
            from backtest_py.provenance import package_version  # noqa: PLC0415

            found = package_version()
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__, "__version__"})
